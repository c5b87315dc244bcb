"""Compact encoding for the journal: as `core.serial.encode`, without the fields that hold their default.

A journal is written while attempts wait for it, and read whole by `resume`; most fields of most events say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from typing import Any

from orchestrator.core.domain import AttemptId
from orchestrator.core.money import Usd

Encoder = Callable[[Any], Any]


def compact(value: Any) -> Any:
    """Return `value` as plain data; `core.serial.decode` reads it back to an equal value."""
    return (_ENCODERS.get(type(value)) or _encoder(type(value)))(value)


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
    defaults = [
        (field.name, field.default if field.default_factory is MISSING else field.default_factory())
        for field in fields(kind)
        if field.init
    ]

    def encode(value: Any) -> dict[str, Any]:
        plain = {}
        for name, default in defaults:
            item = getattr(value, name)
            # Equal is not enough: 1, 1.0 and True are different values on paper.
            if item is default or (type(item) is type(default) and item == default):
                continue
            plain[name] = compact(item)
        return plain

    return encode
