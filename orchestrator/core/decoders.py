"""Fast decoding of what is well-formed: one function per type, made once from its type hints.

A journal of a large run holds hundreds of thousands of events, and `resume` reads them all. These functions only
say that something is wrong (`Mismatch`), not where: `core.serial` then reads it again, slowly, for the message.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

from orchestrator.core.domain import AttemptId
from orchestrator.core.money import Usd

REMEMBERED = 4096

Decoder = Callable[[Any], Any]


class Mismatch(Exception):
    """The plain data is not a value of the type. Never shown to anyone."""


@cache
def decoder(kind: Any) -> Decoder:
    """Return the function that turns plain data into a value of `kind`, or raises Mismatch."""
    if kind is Any or kind is object:
        return _as_it_is
    if isinstance(kind, NewType):
        return decoder(kind.__supertype__)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _union(get_args(kind))
    if origin is tuple:
        return _tuple(get_args(kind))
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(*get_args(kind))
    if kind is Usd:
        return _dollars
    if kind is AttemptId:
        return _attempt
    if kind is float:
        return _number
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _member(kind)
    if is_dataclass(kind):
        return _dataclass(kind)
    return _exactly(kind)


def _as_it_is(plain: Any) -> Any:
    return plain


def _exactly(kind: type) -> Decoder:
    def decode(plain: Any) -> Any:
        if type(plain) is not kind:
            raise Mismatch
        return plain

    return decode


def _number(plain: Any) -> float:
    if type(plain) is float:
        return plain
    if type(plain) is not int:
        raise Mismatch
    return float(plain)


def _dollars(plain: Any) -> Usd:
    if type(plain) is not str:
        # Numbers are rare and are read the careful way.
        raise Mismatch
    return _amount(plain)


@lru_cache(maxsize=4096)
def _amount(text: str) -> Usd:
    try:
        return Usd.of(text)
    except ValueError:
        raise Mismatch from None


def _attempt(plain: Any) -> AttemptId:
    if type(plain) is not str:
        raise Mismatch
    return _attempt_named(plain)


@lru_cache(maxsize=4096)
def _attempt_named(text: str) -> AttemptId:
    # What happens to an attempt is told by several events, not far from each other.
    try:
        return AttemptId.parse(text)
    except ValueError:
        raise Mismatch from None


def _member(kind: type[StrEnum]) -> Decoder:
    members = {member.value: member for member in kind}

    def decode(plain: Any) -> Any:
        if type(plain) is not str or plain not in members:
            raise Mismatch
        return members[plain]

    return decode


def _union(kinds: tuple[Any, ...]) -> Decoder:
    optional = type(None) in kinds
    decoders = [decoder(kind) for kind in kinds if kind is not type(None)]
    if len(decoders) == 1:
        only = decoders[0]
        return (lambda plain: None if plain is None else only(plain)) if optional else only

    def decode(plain: Any) -> Any:
        if plain is None and optional:
            return None
        for one in decoders:
            try:
                return one(plain)
            except Mismatch:
                continue
        raise Mismatch

    return decode


def _tuple(kinds: tuple[Any, ...]) -> Decoder:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        if _exact_type(kinds[0]) == (str, False):
            return _words
        item = decoder(kinds[0])

        def decode_all(plain: Any) -> Any:
            if type(plain) is not list:
                raise Mismatch
            return tuple([item(one) for one in plain]) if plain else ()

        return decode_all
    items = [decoder(kind) for kind in kinds]

    def decode_each(plain: Any) -> Any:
        if type(plain) is not list or len(plain) != len(items):
            raise Mismatch
        return tuple([one(value) for one, value in zip(items, plain, strict=True)])

    return decode_each


def _words(plain: Any) -> Any:
    if type(plain) is not list or not {*map(type, plain)} <= {str}:
        raise Mismatch
    return tuple(plain)


def _mapping(key_kind: Any, item_kind: Any) -> Decoder:
    key, item = decoder(key_kind), decoder(item_kind)

    def decode(plain: Any) -> Any:
        if type(plain) is not dict:
            raise Mismatch
        return {key(name): item(value) for name, value in plain.items()}

    return decode


def _dataclass(kind: Any) -> Decoder:
    hints = get_type_hints(kind)
    names = frozenset(field.name for field in fields(kind) if field.init)
    # One function for every set of fields that is met: the encoder leaves out what holds its default.
    makers: dict[tuple[str, ...], Decoder] = {}

    def decode(plain: Any) -> Any:
        if type(plain) is not dict:
            raise Mismatch
        shape = tuple(plain)
        try:
            return makers[shape](plain)
        except KeyError:
            if shape in makers or not names.issuperset(shape):
                raise Mismatch from None
            # Made when it is met, so that a field may lead back to its own class.
            made = _maker(kind, {name: hints[name] for name in shape})
            if len(makers) < REMEMBERED:
                makers[shape] = made
            return decode_as(made, plain)
        except (TypeError, ValueError):
            # A field is missing, or its class refuses the value.
            raise Mismatch from None

    return decode


def decode_as(made: Decoder, plain: Any) -> Any:
    try:
        return made(plain)
    except (KeyError, TypeError, ValueError):
        raise Mismatch from None


def _maker(kind: Any, hints: Mapping[str, Any]) -> Decoder:
    """Write the function that makes a `kind` of a dict with exactly these fields, in this order.

    Written out as `dataclasses` does it: a loop over the fields takes twice as long, and a plan has a million.
    """
    given: dict[str, Any] = {"kind": kind, "Mismatch": Mismatch}
    lines = ["def make(plain):"]
    values = [f"v{place}" for place in range(len(hints))]
    if values:
        lines.append(f"    {', '.join(values)}, = plain.values()")
    for value, hint in zip(values, hints.values(), strict=True):
        exact, optional = _exact_type(hint)
        if exact is not None:
            unless = f"{value} is not None and " if optional else ""
            lines.append(f"    if {unless}type({value}) is not {exact.__name__}: raise Mismatch")
        else:
            given[f"read_{value}"] = decoder(hint)
            lines.append(f"    {value} = read_{value}({value})")
    named = dict(zip(hints, values, strict=True))
    plainly = bool(values) and all(_is_plain(hint) for hint in hints.values())
    if plainly:
        # A plan repeats the same ranges and tags thousands of times. Their types are known by now: 1 is not True.
        given["known"] = {}
        lines += [
            f"    key = ({', '.join(values)},)",
            "    made = known.get(key)",
            "    if made is not None: return made",
        ]
    lines += [f"    {line}" for line in _built(kind, named, given)]
    if plainly:
        lines.append(f"    if len(known) < {REMEMBERED}: known[key] = made")
    lines.append("    return made")
    exec("\n".join(lines), given)
    make: Decoder = given["make"]
    return make


def _built(kind: Any, named: Mapping[str, str], given: dict[str, Any]) -> list[str]:
    """The lines that make a `kind` of these fields, called `made`.

    A frozen dataclass is built by `object.__setattr__`, field by field: half of the time it takes to decode it. Where
    its class checks nothing, a twin that is not frozen is filled, and then made one of the class.
    """
    wanted = fields(kind)
    if (
        not kind.__dataclass_params__.frozen
        or hasattr(kind, "__post_init__")
        or getattr(kind, "__slots__", None) != tuple(field.name for field in wanted)
        or any(_unsaid(field) is MISSING for field in wanted if field.name not in named)
    ):
        return [f"made = kind({', '.join(f'{name}={value}' for name, value in named.items())})"]
    given["twin"] = _twin(kind)
    lines = ["made = twin()"]
    for field in wanted:
        if field.name not in named:
            given[f"unsaid_{field.name}"] = _unsaid(field)
        lines.append(f"made.{field.name} = {named.get(field.name, f'unsaid_{field.name}')}")
    return [*lines, "made.__class__ = kind"]


@cache
def _twin(kind: Any) -> type:
    return type(f"{kind.__name__}Twin", (), {"__slots__": kind.__slots__})


def _unsaid(field: Field[Any]) -> Any:
    """The value of a field nothing is said of; MISSING where it needs one, or must not be shared."""
    if field.default_factory is MISSING:
        return field.default if field.init else MISSING
    value = field.default_factory()
    made_by = getattr(type(value), "__dataclass_params__", None)
    return value if field.init and made_by is not None and made_by.frozen else MISSING


def _exact_type(hint: Any) -> tuple[type | None, bool]:
    """The built-in type whose values are taken as they are, and whether None is taken, too."""
    while isinstance(hint, NewType):
        hint = hint.__supertype__
    if hint in (str, int, bool):
        return hint, False
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        if len(kinds) == 1 and len(get_args(hint)) == 2:
            exact, optional = _exact_type(kinds[0])
            return exact, exact is not None and not optional
    return None, False


def _is_plain(hint: Any) -> bool:
    """Whether values of the type are numbers or words."""
    if isinstance(hint, NewType):
        return _is_plain(hint.__supertype__)
    return hint in (int, str) or (isinstance(hint, type) and issubclass(hint, StrEnum))
