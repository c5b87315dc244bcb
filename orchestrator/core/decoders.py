"""Fast decoding of what is well-formed: one function per type, made once from its type hints.

A journal of a large run holds hundreds of thousands of events, and `resume` reads them all. These functions only
say that something is wrong (`Mismatch`), not where: `core.serial` then reads it again, slowly, for the message.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
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
    # A field that leads back to its own class is looked up when it is met.
    found: dict[str, Decoder] = {}

    def decode(plain: Any) -> Any:
        if type(plain) is not dict:
            raise Mismatch
        try:
            return kind(**{name: found[name](value) for name, value in plain.items()})
        except KeyError:
            if found or not names.issuperset(plain):
                raise Mismatch from None
            for name in names:
                found[name] = decoder(hints[name])
            return decode(plain)
        except (TypeError, ValueError):
            # A field is missing, or its class refuses the value.
            raise Mismatch from None

    return _remembered(decode) if names and all(_is_plain(hints[name]) for name in names) else decode


def _is_plain(hint: Any) -> bool:
    """Whether values of the type are numbers, words, or a few words."""
    if isinstance(hint, NewType):
        return _is_plain(hint.__supertype__)
    return hint in (int, str, tuple[str, ...]) or (isinstance(hint, type) and issubclass(hint, StrEnum))


def _remembered(decode: Decoder) -> Decoder:
    """For classes of plain numbers and words: a plan repeats the same ranges thousands of times."""
    known: dict[tuple[Any, ...], Any] = {}

    def recall(plain: Any) -> Any:
        if type(plain) is not dict:
            raise Mismatch
        # The types belong to the key: 1, 1.0 and True are equal, and only one of them is a number of tokens.
        key = (*plain.items(), *map(type, plain.values()))
        try:
            return known[key]
        except (KeyError, TypeError):
            value = decode(plain)
            if len(known) < REMEMBERED:
                known[key] = value
            return value

    return recall
