"""Typed reading of one YAML mapping: what is wrong goes into one list, with its line, and reading goes on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import TypeVar

from orchestrator.adapters.settings_yaml import Mapping, Node, Scalar, Sequence
from orchestrator.core.domain import Problem
from orchestrator.core.money import Usd
from orchestrator.core.text import did_you_mean, nearest, one_line

_Choice = TypeVar("_Choice", bound=StrEnum)

_INTEGER = re.compile(r"0|[1-9][0-9_]*")


class Fields:
    """The keys of one mapping. A getter returns None where the key is missing or wrong; wrong ones are noted."""

    def __init__(self, node: Mapping, path: str, problems: list[Problem]) -> None:
        self.node, self.path, self.problems = node, path, problems

    def __contains__(self, key: str) -> bool:
        return key in self.node.items

    def __iter__(self) -> Iterator[str]:
        return iter(self.node.items)

    def named(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def line(self, key: str) -> int:
        return self.node.lines.get(key, self.node.line)

    def fault(self, key: str, what: str) -> None:
        file = self.node.items[key].file if key in self.node.items else self.node.file
        self.problems.append(
            Problem(where=f"{file}:{self.line(key)}", what=f"{one_line(self.named(key), 100)}: {what}")
        )

    def require(self, *keys: str) -> None:
        for key in keys:
            if key not in self.node.items:
                self.problems.append(
                    Problem(
                        where=f"{self.node.file}:{self.node.line}",
                        what=f"{one_line(self.path, 100)}: {key} is missing"
                        if self.path
                        else f"{key} is missing",
                    )
                )

    def only(self, known: Iterable[str]) -> None:
        """Every other key is a fault."""
        known = tuple(known)
        for key in self.node.items:
            if key not in known:
                hint = did_you_mean(key, known) or f", the keys here are {', '.join(known)}"
                self.fault(key, f"unknown key{hint}")

    def not_nearly(self, known: Iterable[str]) -> None:
        """Other keys belong to LiteLLM and pass; one that is nearly one of ours is a slip of the pen."""
        known = tuple(known)
        for key in self.node.items:
            if key not in known and (near := nearest(key, known)) and _alike(key, near):
                self.fault(key, f"unknown key, did you mean {near!r}?")

    # --- getters ---

    def scalar(self, key: str) -> Scalar | None:
        node = self.node.items.get(key)
        if node is None or (isinstance(node, Scalar) and node.kind == "null"):
            return None
        if isinstance(node, Scalar):
            return node
        self.fault(key, f"one value is expected here, not a {_kind(node)}")
        return None

    def text(self, key: str) -> str | None:
        node = self.scalar(key)
        if node is None:
            return None
        if node.kind in ("bool", "timestamp"):
            self.fault(key, f"{_odd(node)}: put the text in quotes")
            return None
        if not node.text.strip():
            self.fault(key, "is empty")
            return None
        return node.text

    def usd(self, key: str) -> Usd | None:
        """An amount of dollars, zero or more."""
        node = self.scalar(key)
        if node is None:
            return None
        try:
            if node.kind in ("bool", "timestamp"):
                raise ValueError
            amount = Usd.of(node.text)
        except ValueError:
            self.fault(key, f"{_odd(node)}, not an amount of dollars such as 0.50")
            return None
        if amount.nano < 0:
            self.fault(key, f"{one_line(node.text, 40)} is below zero")
            return None
        return amount

    def dollars_per_token(self, key: str) -> Decimal | None:
        node = self.scalar(key)
        if node is None:
            return None
        value = decimal_of(node)
        if value is None or not 0 <= value < 1000:
            self.fault(key, f"{_odd(node)}, not a price in dollars such as 0.0000003 or 3.0e-7")
            return None
        return value

    def integer(self, key: str, *, low: int, high: int) -> int | None:
        node = self.scalar(key)
        if node is None:
            return None
        if node.kind != "int" or not _INTEGER.fullmatch(node.text) or not low <= int(node.text) <= high:
            self.fault(key, f"{_odd(node)}, not a whole number from {low:,} to {high:,}")
            return None
        return int(node.text)

    def number(self, key: str, *, low: float, high: float) -> Decimal | None:
        node = self.scalar(key)
        if node is None:
            return None
        value = decimal_of(node)
        if value is None or not Decimal(repr(low)) <= value <= Decimal(repr(high)):
            self.fault(key, f"{_odd(node)}, not a number from {low:g} to {high:g}")
            return None
        return value

    def boolean(self, key: str) -> bool | None:
        node = self.scalar(key)
        if node is None:
            return None
        if node.kind != "bool":
            self.fault(key, f"{_odd(node)}, not true or false")
            return None
        return node.text.lower() in ("true", "yes", "on")

    def choice(self, key: str, options: Iterable[str]) -> str | None:
        node = self.scalar(key)
        if node is None:
            return None
        options = tuple(options)
        if node.text not in options:
            hint = did_you_mean(node.text, options) or f", write one of {', '.join(options)}"
            self.fault(key, f"{one_line(node.text, 40)!r} is not known{hint}")
            return None
        return node.text

    def enum(self, key: str, kind: type[_Choice]) -> _Choice | None:
        chosen = self.choice(key, [option.value for option in kind])
        return None if chosen is None else kind(chosen)

    def items(self, key: str) -> list[Node] | None:
        node = self.node.items.get(key)
        if node is None or (isinstance(node, Scalar) and node.kind == "null"):
            return None
        if isinstance(node, Sequence):
            return node.items
        self.fault(key, f"a list is expected here, not a {_kind(node)}")
        return None

    def texts(self, key: str) -> tuple[str, ...] | None:
        """A list of texts; one text alone is a list of one."""
        node = self.node.items.get(key)
        if isinstance(node, Scalar) and node.kind == "str":
            return (node.text,)
        found = self.items(key)
        if found is None:
            return None
        texts = []
        for item in found:
            if isinstance(item, Scalar) and item.kind == "str" and item.text.strip():
                texts.append(item.text)
            else:
                self.problems.append(
                    Problem(where=f"{item.file}:{item.line}", what=f"{self.named(key)}: each entry is a text")
                )
        return tuple(texts)

    def command(self, key: str) -> tuple[str, ...] | None:
        """An argument list: a list of texts, or one text taken apart as a shell would, without a shell."""
        node = self.node.items.get(key)
        return None if node is None else self.argv(key, node)

    def argv(self, key: str, node: Node) -> tuple[str, ...] | None:
        if isinstance(node, Scalar) and node.kind == "str":
            try:
                arguments = tuple(shlex.split(node.text))
            except ValueError as error:
                self.fault(key, f"{one_line(node.text, 60)!r} is no command: {error}")
                return None
        elif isinstance(node, Sequence) and all(isinstance(item, Scalar) for item in node.items):
            arguments = tuple(item.text for item in node.items if isinstance(item, Scalar))
        else:
            self.fault(key, "a command is a list of arguments, or one text")
            return None
        if not arguments or not arguments[0] or any("\0" in argument for argument in arguments):
            self.fault(key, "a command needs a program to start")
            return None
        return arguments

    def inside(self, key: str) -> Fields | None:
        """The mapping below `key`."""
        node = self.node.items.get(key)
        if node is None or (isinstance(node, Scalar) and node.kind == "null"):
            return None
        if isinstance(node, Mapping):
            return Fields(node, self.named(key), self.problems)
        self.fault(key, f"a mapping is expected here, not a {_kind(node)}")
        return None

    def entries(self, key: str) -> list[Fields]:
        """The mappings in the list below `key`."""
        found = []
        for place, item in enumerate(self.items(key) or ()):
            path = f"{self.named(key)}[{place}]"
            if isinstance(item, Mapping):
                found.append(Fields(item, path, self.problems))
            else:
                self.problems.append(
                    Problem(
                        where=f"{item.file}:{item.line}",
                        what=f"{path}: a mapping is expected here, not a {_kind(item)}",
                    )
                )
        return found


def decimal_of(node: Scalar) -> Decimal | None:
    """The exact number that was written; None for anything that is no finite decimal number."""
    if node.kind not in ("int", "float", "str"):
        return None
    try:
        value = Decimal(node.text.strip())
    except InvalidOperation:
        return None
    return value if value.is_finite() and abs(value.adjusted()) < 40 else None


def _alike(key: str, near: str) -> bool:
    import difflib

    return difflib.SequenceMatcher(None, key, near).ratio() >= 0.8


def _kind(node: Node) -> str:
    match node:
        case Sequence():
            return "list"
        case Mapping():
            return "mapping"
        case Scalar():
            return f"single value ({one_line(node.text, 30)!r})"


def _odd(node: Scalar) -> str:
    """What YAML made of the text, where that may surprise."""
    shown = repr(one_line(node.text, 40))
    if node.kind == "bool":
        return f"{shown} is a truth value in YAML"
    if node.kind == "timestamp":
        return f"{shown} is a date in YAML"
    if node.kind == "int" and ":" in node.text:
        return f"{shown} is a number to base 60 in YAML"
    return f"{shown} is given"
