"""The scripted provider at play: which rule answers a request, what is held back, and the record of it all."""

from __future__ import annotations

import fnmatch
import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.adapters.scripted_script import Condition, Reply, Script, ScriptRule
from orchestrator.adapters.state import digest

if TYPE_CHECKING:
    import asyncio


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as the rules see it, whatever its dialect. `alias` is None when the address names none."""

    dialect: str
    alias: str | None
    model: str
    texts: tuple[str, ...]
    stream: bool
    max_tokens: int | None
    body: Mapping[str, Any]
    authorized: bool

    @property
    def digest(self) -> str:
        """Equal for equal questions: the same messages to the same model."""
        return digest(self.model, *self.texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request that came in. `rule` and `play` are None when no rule applied; `outcome` when it still runs.

    `usage` is what the reply said in the wire's own words, or None.
    """

    number: int
    asked: Asked
    rule: str | None
    play: int | None
    outcome: str | None = None
    usage: object = None


@dataclass(slots=True)
class _Progress:
    seen: int = 0
    played: int = 0


class Player:
    """Chooses replies in the script's order. Safe to use from several threads."""

    def __init__(self, script: Script) -> None:
        self._lock = threading.Lock()
        self._script = script
        self._progress = [_Progress() for _ in script.rules]

    def choose(self, asked: Asked) -> tuple[ScriptRule, int, Reply] | None:
        """Return the rule that answers, how often it has (this time included), and the reply."""
        with self._lock:
            for rule, progress in zip(self._script.rules, self._progress, strict=True):
                if not applies(rule.when, asked):
                    continue
                progress.seen += 1
                if rule.when.calls and progress.seen not in rule.when.calls:
                    continue
                if rule.plays is not None and progress.played >= rule.plays:
                    continue
                reply = rule.replies[min(progress.played, len(rule.replies) - 1)]
                progress.played += 1
                return rule, progress.played, reply
        return None


def applies(when: Condition, asked: Asked) -> bool:
    """Whether everything but the number of the call holds."""
    everything = "\n".join(asked.texts)
    last = asked.texts[-1] if asked.texts else ""
    return (
        (not when.aliases or (asked.alias or "") in when.aliases)
        and (not when.models or any(fnmatch.fnmatchcase(asked.model, glob) for glob in when.models))
        and all(text in everything for text in when.contains)
        and not any(text in everything for text in when.lacks)
        and all(text in last for text in when.last_contains)
        and (when.matches is None or _found(when.matches, everything))
    )


def _found(pattern: str, text: str) -> bool:
    import re2

    return re2.search(pattern, text) is not None


class Barriers:
    """Replies that wait until a test lets them go. Safe to use from several threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: set[str] = set()
        self._permits: dict[str, int] = {}
        self._waiting: dict[str, list[Callable[[], None]]] = {}

    @asynccontextmanager
    async def held_at(self, name: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set when the barrier lets this reply go; leaving the block leaves the barrier."""
        import asyncio

        event, loop = asyncio.Event(), asyncio.get_running_loop()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

        self._arrive(name, wake)
        try:
            yield event
        finally:
            with self._changed:
                if wake in self._waiting.get(name, ()):
                    self._waiting[name].remove(wake)

    def _arrive(self, name: str, wake: Callable[[], None]) -> None:
        with self._changed:
            if name in self._open:
                wake()
            elif self._permits.get(name, 0):
                self._permits[name] -= 1
                wake()
            else:
                self._waiting.setdefault(name, []).append(wake)
            self._changed.notify_all()

    def release(self, name: str, count: int | None = None) -> None:
        """Let `count` replies go, waiting ones first; None opens the barrier for good."""
        with self._changed:
            waiting = self._waiting.get(name, [])
            going = len(waiting) if count is None else min(count, len(waiting))
            for wake in waiting[:going]:
                wake()
            del waiting[:going]
            if count is None:
                self._open.add(name)
            else:
                self._permits[name] = self._permits.get(name, 0) + count - going
            self._changed.notify_all()

    def held(self) -> dict[str, int]:
        with self._changed:
            return {name: len(waiting) for name, waiting in self._waiting.items() if waiting}

    def wait_until_held(self, name: str, count: int = 1, *, timeout_seconds: float = 60.0) -> bool:
        """Block until at least `count` replies wait at the barrier; False when that did not happen in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: len(self._waiting.get(name, [])) >= count, timeout=timeout_seconds
            )


@dataclass(slots=True)
class CallLog:
    """Every request in the order of arrival, in memory and as JSON lines; no times, no keys.

    Each call leaves two lines: `received` with the whole question, `finished` with what came of it.
    """

    path: Path | None = None
    _calls: dict[int, Call] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def calls(self) -> tuple[Call, ...]:
        with self._changed:
            return tuple(self._calls.values())

    def received(self, asked: Asked, chosen: tuple[ScriptRule, int, Reply] | None) -> Call:
        with self._changed:
            call = Call(
                number=len(self._calls) + 1,
                asked=asked,
                rule=chosen[0].name if chosen else None,
                play=chosen[1] if chosen else None,
            )
            self._calls[call.number] = call
            self._write(
                {
                    "event": "received",
                    "call": call.number,
                    "rule": call.rule,
                    "play": call.play,
                    "dialect": asked.dialect,
                    "alias": asked.alias,
                    "model": asked.model,
                    "stream": asked.stream,
                    "max_tokens": asked.max_tokens,
                    "digest": asked.digest,
                    "authorization": "redacted" if asked.authorized else None,
                    "body": asked.body,
                }
            )
            self._changed.notify_all()
        return call

    def finished(self, call: Call, outcome: str, usage: object = None) -> None:
        with self._changed:
            self._calls[call.number] = replace(call, outcome=outcome, usage=usage)
            self._write({"event": "finished", "call": call.number, "outcome": outcome, "usage": usage})
            self._changed.notify_all()

    def wait_for(self, count: int, *, finished: bool = False, timeout_seconds: float = 60.0) -> bool:
        """Block until `count` calls came in (or are finished); False when that did not happen in time."""

        def enough() -> bool:
            calls = self._calls.values()
            return sum(not finished or call.outcome is not None for call in calls) >= count

        with self._changed:
            return self._changed.wait_for(enough, timeout=timeout_seconds)

    def _write(self, record: Mapping[str, object]) -> None:
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
