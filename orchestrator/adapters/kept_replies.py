"""Replies that an attempt has paid for, kept until it has an outcome.

A reply is durable before its call is settled. An attempt that is delivered again after a crash and asks the
same question gets it from here: the provider does not see a finished call twice, and it is not charged twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from orchestrator.adapters.state import digest
from orchestrator.core.domain import AttemptId
from orchestrator.core.ports import ModelReply, ModelRequest
from orchestrator.core.serial import Undecodable, decode, encode


class KeptReplies:
    """`directory` gives an attempt's own directory; requests without an attempt are not kept."""

    def __init__(self, directory: Callable[[AttemptId], Path]) -> None:
        self._directory = directory

    def read(self, request: ModelRequest) -> ModelReply | None:
        """The reply to exactly this question of this attempt, if it was kept; an unreadable one counts as none."""
        path = self._path(request)
        if path is None or not path.is_file():
            return None
        try:
            return decode(ModelReply, json.loads(path.read_text(encoding="utf-8")), where=path.name)
        except (ValueError, Undecodable):
            # Written aside and renamed, so this was damaged later: asking again is the safe way.
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
        if request.attempt is None:
            return None
        asked = [f"{message.role}\n{message.content}" for message in request.messages]
        name = digest(request.model, str(request.max_output_tokens), *asked)
        return self._directory(request.attempt) / "replies" / f"{name}.json"
