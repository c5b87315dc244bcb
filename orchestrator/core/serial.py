"""Domain values to plain JSON data and back, by their type hints.

One codec for plans, events and reports: dollars travel as exact decimal strings, enums by value, tuples as
lists, and a field that holds its default may be missing. Unknown keys and wrong types are errors that name
the path, because a document that is half understood is worse than one that is refused.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any, NewType, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from orchestrator.core.decoders import Mismatch, decoder
from orchestrator.core.domain import AttemptId, OrchestratorError
from orchestrator.core.money import Usd

T = TypeVar("T")


class Undecodable(OrchestratorError):
    """Plain data that is not a value of the type asked for; the message names the path."""


def encode(value: object) -> Any:
    """Return `value` as dicts, lists, strings, numbers, booleans and None."""
    match value:
        case Usd():
            return format(value.dollars.normalize(), "f")
        case AttemptId():
            return str(value)
        case StrEnum():
            return value.value
        case None | bool() | int() | float() | str():
            return value
        case tuple() | list():
            return [encode(item) for item in value]
        case Mapping():
            return {str(key): encode(item) for key, item in value.items()}
    if is_dataclass(value):
        kind: Any = type(value)
        return {name: encode(getattr(value, name)) for name in _field_names(kind)}
    raise TypeError(f"{type(value).__name__} has no plain form")


def decode(kind: type[T], plain: object, *, where: str = "") -> T:
    """Return the value of type `kind` that `plain` stands for. Raises Undecodable."""
    try:
        return cast(T, decoder(cast(Any, kind))(plain))
    except Mismatch:
        return cast(T, _decode(kind, plain, where))


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


@cache
def _required(kind: type) -> frozenset[str]:
    return frozenset(
        field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING
    )


def _fail(where: str, what: str) -> Undecodable:
    return Undecodable(f"{where or 'document'}: {what}")


def _decode(kind: Any, plain: object, where: str) -> object:
    if kind is Any or kind is object:
        return plain
    if isinstance(kind, NewType):
        return _decode(kind.__supertype__, plain, where)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _decode_union(get_args(kind), plain, where)
    if origin is tuple:
        return _decode_tuple(get_args(kind), plain, where)
    if origin is not None and issubclass(origin, Mapping):
        key_kind, item_kind = get_args(kind)
        if not isinstance(plain, Mapping):
            raise _fail(where, f"expected an object, got {_name(plain)}")
        return {
            _decode(key_kind, key, where): _decode(item_kind, item, f"{where}.{key}")
            for key, item in plain.items()
        }
    if kind is Usd:
        return _decode_usd(plain, where)
    if kind is AttemptId:
        try:
            return AttemptId.parse(_expect(str, plain, where))
        except ValueError as error:
            raise _fail(where, str(error)) from None
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        text = _expect(str, plain, where)
        if text not in [member.value for member in kind]:
            raise _fail(where, f"{text!r} is not one of {', '.join(member.value for member in kind)}")
        return kind(text)
    if is_dataclass(kind):
        return _decode_dataclass(cast(type, kind), plain, where)
    if kind is float and isinstance(plain, int) and not isinstance(plain, bool):
        return float(plain)
    return _expect(kind, plain, where)


def _decode_union(kinds: tuple[Any, ...], plain: object, where: str) -> object:
    if plain is None and type(None) in kinds:
        return None
    errors: list[Undecodable] = []
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return _decode(kind, plain, where)
        except Undecodable as error:
            errors.append(error)
    raise errors[0]


def _decode_tuple(kinds: tuple[Any, ...], plain: object, where: str) -> tuple[object, ...]:
    if not isinstance(plain, list | tuple):
        raise _fail(where, f"expected a list, got {_name(plain)}")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_decode(kinds[0], item, f"{where}[{place}]") for place, item in enumerate(plain))
    if len(kinds) != len(plain):
        raise _fail(where, f"expected {len(kinds)} items, got {len(plain)}")
    return tuple(
        _decode(kind, item, f"{where}[{place}]")
        for place, (kind, item) in enumerate(zip(kinds, plain, strict=True))
    )


def _decode_usd(plain: object, where: str) -> Usd:
    if isinstance(plain, bool) or not isinstance(plain, str | int | float):
        raise _fail(where, f"expected an amount of dollars, got {_name(plain)}")
    try:
        return Usd.of(plain)
    except ValueError as error:
        raise _fail(where, str(error)) from None


def _decode_dataclass(kind: type, plain: object, where: str) -> object:
    if not isinstance(plain, Mapping):
        raise _fail(where, f"expected an object, got {_name(plain)}")
    hints = _hints(kind)
    names = _field_names(kind)
    unknown = [str(key) for key in plain if key not in names]
    if unknown:
        raise _fail(where, f"unknown key {unknown[0]!r} in {kind.__name__}")
    missing = [name for name in names if name in _required(kind) and name not in plain]
    if missing:
        raise _fail(where, f"{kind.__name__} needs {missing[0]!r}")
    prefix = f"{where}." if where else ""
    values = {name: _decode(hints[name], plain[name], f"{prefix}{name}") for name in names if name in plain}
    try:
        return kind(**values)
    except ValueError as error:
        raise _fail(where, str(error)) from None


def _expect(kind: Any, plain: object, where: str) -> Any:
    if not isinstance(plain, kind) or (isinstance(plain, bool) and kind is not bool):
        raise _fail(where, f"expected {kind.__name__}, got {_name(plain)}")
    return plain


def _name(plain: object) -> str:
    return "null" if plain is None else type(plain).__name__
