"""What a model is shown of a worktree for one subtask: the files it touches, their tests, then their callers.

The pack fits a token budget, never holds a denied file, and says which files it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from orchestrator.adapters.beneath import Beneath, PathRefused
from orchestrator.core.domain import Subtask
from orchestrator.core.text import safe_text

if TYPE_CHECKING:
    import pathspec

# A rough, deliberately low figure: code has 3 to 4 bytes a token.
BYTES_PER_TOKEN = 3
SHOWN_NAMES = 200
DENIED = (
    ".env",
    ".env.*",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.keystore",
    "id_rsa*",
    "id_ed25519*",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    "*credentials*.json",
    "*secret*.json",
    "*secrets*.y*ml",
    ".aws/**",
    ".ssh/**",
)


class NotText(PathRefused):
    """A file a model cannot be shown or edit, because it is not UTF-8 text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownFile:
    """`part` says which lines are shown when it is not the whole file."""

    path: str
    text: str
    part: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextPack:
    files: tuple[ShownFile, ...]
    other_files: tuple[str, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(file.path for file in self.files)


class Context:
    """Packs files of a worktree for its subtasks. `paths` are all of its tracked files, relative."""

    def __init__(self, worktree: str, paths: Sequence[str], *, denied: Iterable[str] = ()) -> None:
        self.beneath = Beneath(worktree)
        self.paths = tuple(paths)
        self.denied_globs = (*DENIED, *denied)

    @cached_property
    def _denied(self) -> pathspec.PathSpec[Any]:
        return _spec(self.denied_globs)

    def denies(self, path: str) -> bool:
        """Whether the file may never go to a model."""
        return bool(self._denied.match_file(path))

    def pack(self, subtask: Subtask, *, max_tokens: int) -> ContextPack:
        """Choose files by need until the budget is used; a touched file too large for it is cut, and says so."""
        budget = max_tokens * BYTES_PER_TOKEN
        shown: list[ShownFile] = []
        for path in self._wanted(subtask):
            if self.denies(path):
                continue
            try:
                text = self.text(path)
            except PathRefused:
                continue
            size = len(text.encode())
            if size <= budget:
                shown.append(ShownFile(path=path, text=text.rstrip("\n")))
                budget -= size
            elif budget > 1000 and path in self._touched(subtask):
                shown.append(
                    _cut(path, text, budget, [fact.line for fact in subtask.evidence if fact.path == path])
                )
                budget = 0
        named = {file.path for file in shown}
        others = tuple(
            safe_text(path, newlines=False)
            for path in self.paths
            if path not in named and not self.denies(path)
        )
        return ContextPack(files=tuple(shown), other_files=others[:SHOWN_NAMES])

    def text(self, path: str) -> str:
        """Return the file's text. Raises PathRefused, and NotText by the file's name."""
        data = self.beneath.read(path)
        if data is None:
            raise PathRefused(path, "there is no such file")
        if b"\0" in data[:8000]:
            raise NotText(path, "is binary")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise NotText(path, f"is not UTF-8 text (byte {error.start})") from None

    def _touched(self, subtask: Subtask) -> list[str]:
        if not subtask.touches:
            return []
        spec = _spec(subtask.touches)
        return [path for path in self.paths if spec.match_file(path)]

    def _wanted(self, subtask: Subtask) -> list[str]:
        """Paths by need: cited and touched, then their tests, then files that name them, then the manifest."""
        touched = self._touched(subtask)
        known = set(self.paths)
        cited = [fact.path for fact in subtask.evidence if fact.path in known]
        checked = [target.partition("::")[0] for check in subtask.checks for target in check.targets]
        stems = {
            PurePosixPath(path).stem.removeprefix("test_").removesuffix("_test")
            for path in [*touched, *cited]
        }
        stems.discard("__init__")
        tests = [path for path in self.paths if _is_test(path) and _tested_stem(path) in stems]
        named = [path for path in re.findall(r"[\w./-]+\.\w+", subtask.instructions) if path in known]
        callers = self._callers(stems) if len(self.paths) <= 2000 else []
        wanted = [*touched, *cited, *(path for path in checked if path in known), *named, *tests, *callers]
        return list(dict.fromkeys(wanted))

    def _callers(self, stems: set[str]) -> list[str]:
        """Source files that import or require a touched module by its name."""
        if not stems:
            return []
        names = "|".join(re.escape(stem) for stem in sorted(stems) if len(stem) > 2)
        if not names:
            return []
        uses = re.compile(rf"^\s*(?:import|from|.*\brequire\(|.*\buse\b).*\b(?:{names})\b", re.MULTILINE)
        found = []
        for path in self.paths:
            if PurePosixPath(path).suffix in (
                ".py",
                ".js",
                ".ts",
                ".tsx",
                ".jsx",
                ".go",
                ".rs",
                ".mjs",
                ".cjs",
            ):
                try:
                    if uses.search(self.text(path)):
                        found.append(path)
                except PathRefused:
                    continue
        return found


def _spec(globs: Iterable[str]) -> pathspec.PathSpec[Any]:
    import pathspec

    return pathspec.PathSpec.from_lines("gitwildmatch", globs)


def _is_test(path: str) -> bool:
    name = PurePosixPath(path).name
    return bool(re.search(r"(^|[_.-])(test|tests|spec)([_.-]|$)", name)) or "/tests/" in f"/{path}"


def _tested_stem(path: str) -> str:
    stem = PurePosixPath(path).name.split(".")[0]
    return re.sub(r"^test_|_test$|_spec$|-test$|-spec$", "", stem)


def _cut(path: str, text: str, budget: int, around: list[int]) -> ShownFile:
    """The part of a large file around the cited lines, or its beginning, by whole lines."""
    lines = text.split("\n")
    centre = around[0] - 1 if around else 0
    start = end = max(0, min(centre, len(lines) - 1))
    used = 0
    while used < budget and (start > 0 or end < len(lines)):
        if end < len(lines):
            used += len(lines[end].encode()) + 1
            end += 1
        if start > 0 and used < budget:
            start -= 1
            used += len(lines[start].encode()) + 1
    return ShownFile(
        path=path, text="\n".join(lines[start:end]), part=f"lines {start + 1} to {end} of {len(lines)}"
    )
