"""Compact encoding for the journal: as `core.serial.encode`, without the fields that hold their default.

A journal is written while attempts wait for it, and read whole by `resume`; most fields of most events say nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from orchestrator.core.domain import AttemptId
from orchestrator.core.money import Usd

# From so many items on, a tuple is written item by item.
LONG = 200

Encoder = Callable[[Any], Any]


def compact(value: Any) -> Any:
    """Return `value` as plain data; `core.serial.decode` reads it back to an equal value."""
    return (_ENCODERS.get(type(value)) or _encoder(type(value)))(value)


def compact_text(value: Any) -> str:
    """Return `compact(value)` as JSON text. A large plan in it is never held as plain data as a whole."""
    return "".join(_pieces(value))


def _pieces(value: Any) -> Iterator[str]:
    if type(value) is tuple and len(value) >= LONG:
        yield "["
        for place, item in enumerate(value):
            yield ("," if place else "") + _text(compact(item))
        yield "]"
    elif _holds_much(value):
        yield "{"
        for place, (name, item) in enumerate(_said(value)):
            yield ("," if place else "") + _text(name) + ":"
            yield from _pieces(item)
        yield "}"
    else:
        yield _text(compact(value))


def _holds_much(value: Any) -> bool:
    """Whether a dataclass holds a long tuple, itself or in a dataclass of its own. Asked of every event."""
    kind: Any = type(value)
    for name in _names(kind):
        item = getattr(value, name)
        if (type(item) is tuple and len(item) >= LONG) or _holds_much(item):
            return True
    return False


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else ()


def _text(plain: Any) -> str:
    return json.dumps(plain, separators=(",", ":"), allow_nan=False)


def _as_it_is(value: Any) -> Any:
    return value


def _dollars(value: Usd) -> str:
    return format(value.dollars.normalize(), "f")


def _member(value: StrEnum) -> str:
    return value.value


def _items(value: Any) -> list[Any]:
    return [compact(item) for item in value]


def _entries(value: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): compact(item) for key, item in value.items()}


_ENCODERS: dict[type, Encoder] = {
    type(None): _as_it_is,
    bool: _as_it_is,
    int: _as_it_is,
    float: _as_it_is,
    str: _as_it_is,
    Usd: _dollars,
    AttemptId: str,
    tuple: _items,
    list: _items,
    dict: _entries,
}


def _encoder(kind: type) -> Encoder:
    """Make the function for a type that is met for the first time."""
    if issubclass(kind, StrEnum):
        made: Encoder = _member
    elif is_dataclass(kind):
        made = _dataclass(kind)
    elif issubclass(kind, str | int | float):
        made = _as_it_is
    elif issubclass(kind, Mapping):
        made = _entries
    else:
        raise TypeError(f"{kind.__name__} has no plain form")
    _ENCODERS[kind] = made
    return made


def _dataclass(kind: Any) -> Encoder:
    def encode(value: Any) -> dict[str, Any]:
        return {name: compact(item) for name, item in _said(value)}

    return encode


def _said(value: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a dataclass that say something, with their values."""
    kind: Any = type(value)
    for name, default in _defaults(kind):
        item = getattr(value, name)
        # Equal is not enough: 1, 1.0 and True are different values on paper.
        if item is not default and (type(item) is not type(default) or item != default):
            yield name, item


@cache
def _defaults(kind: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (field.name, field.default if field.default_factory is MISSING else field.default_factory())
        for field in fields(kind)
        if field.init
    )
