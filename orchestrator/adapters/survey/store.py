"""Surveys kept by what they were made from. Everything here may be deleted at any time."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from orchestrator.core.facts import SCHEMA, VERSION, Survey
from orchestrator.core.serial import Undecodable, decode, encode

_KEPT = 40


class SurveyStore:
    """A directory of surveys, one JSON file each; the oldest go when there are more than `_KEPT`."""

    def __init__(self, cache: Path) -> None:
        self.directory = cache / "surveys"

    def load(self, key: str) -> Survey | None:
        """The survey kept under this key; None when there is none that this version can read."""
        try:
            plain = json.loads((self.directory / f"{key}.json").read_text(encoding="utf-8"))
            survey = decode(Survey, plain)
        except (OSError, ValueError, Undecodable):
            # A cache that cannot be read is made again.
            return None
        return survey if (survey.schema, survey.version) == (SCHEMA, VERSION) else None

    def save(self, key: str, survey: Survey) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.directory, suffix=".new")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                # `dumps` is C, `dump` is not.
                file.write(json.dumps(encode(survey), separators=(",", ":")))
            Path(name).replace(self.directory / f"{key}.json")
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._prune()

    def _prune(self) -> None:
        aged: list[tuple[float, Path]] = []
        for path in self.directory.glob("*.json"):
            try:
                aged.append((path.stat().st_mtime, path))
            except FileNotFoundError:
                continue  # Another process prunes too.
        for _, path in sorted(aged)[:-_KEPT]:
            path.unlink(missing_ok=True)
