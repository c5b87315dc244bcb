"""Replies that an attempt has paid for, kept until it has an outcome.

A reply is durable before its call is settled. An attempt that is delivered again after a crash and asks the
same question gets it from here: the provider does not see a finished call twice, and it is not charged twice. So does
the attempt that follows one which the budget or a cancellation stopped before it came to anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestrator.adapters.outcomes import NAME as OUTCOME
from orchestrator.adapters.state import digest
from orchestrator.core.domain import AttemptId
from orchestrator.core.ports import ModelReply, ModelRequest
from orchestrator.core.serial import Undecodable, decode, encode


class KeptReplies:
    """`directory` gives an attempt's own directory; requests without an attempt are not kept."""

    def __init__(self, directory: Callable[[AttemptId], Path]) -> None:
        self._directory = directory

    def read(self, request: ModelRequest) -> ModelReply | None:
        """The reply to exactly this question, if it was kept; an unreadable one counts as none.

        Not one that was cut off at a limit where this request allows for more.
        """
        for path in self._paths(request):
            if not path.is_file():
                continue
            try:
                kept = decode(ModelReply, json.loads(path.read_text(encoding="utf-8")), where=path.name)
            except (ValueError, Undecodable):
                # Written aside and renamed, so this was damaged later: asking again is the safe way.
                continue
            cut_off = kept.finish_reason == "length" and kept.usage is not None
            if not (cut_off and kept.usage and kept.usage.output_tokens < request.max_output_tokens):
                return kept
        return None

    def write(self, request: ModelRequest, reply: ModelReply) -> None:
        """Keep the reply; durable when it returns."""
        path = self._path(request)
        if path is None:
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside = path.with_suffix(".new")
        with aside.open("w", encoding="utf-8") as file:
            json.dump(encode(reply), file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _path(self, request: ModelRequest) -> Path | None:
        return next(self._paths(request), None)

    def _paths(self, request: ModelRequest) -> Iterator[Path]:
        """Where the reply lies: with this attempt, or with those right before it that came to no outcome."""
        attempt = request.attempt
        if attempt is None:
            return
        asked = [f"{message.role}\n{message.content}" for message in request.messages]
        # Without the limit of output: what is left of the budget bounds it, and a paid call has changed that.
        name = digest(request.model, *asked)
        for number in range(attempt.number, 0, -1):
            directory = self._directory(AttemptId(attempt.subtask, number))
            if number < attempt.number and (directory / OUTCOME).exists():
                return
            yield directory / "replies" / f"{name}.json"
