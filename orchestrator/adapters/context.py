"""What a model is shown of a worktree for one subtask: the files it touches, their tests, then their callers.

The pack fits a token budget, never holds a denied file, and says which files it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from orchestrator.adapters.beneath import Beneath, PathRefused
from orchestrator.adapters.denied_files import DeniedFiles
from orchestrator.adapters.survey.languages import CODE, is_test, language_of
from orchestrator.core.domain import Deliverable, Subtask
from orchestrator.core.globs import segments
from orchestrator.core.text import safe_text

if TYPE_CHECKING:
    import pathspec

# A rough, deliberately low figure: code has 3 to 4 bytes a token.
BYTES_PER_TOKEN = 3
SHOWN_NAMES = 200
SMALLEST_PART = 1000
MOST_PARTS = 4
MOST_SEARCHED = 2000


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
        return tuple(dict.fromkeys(file.path for file in self.files))


class Context:
    """Packs files of a worktree for its subtasks. `paths` are all of its tracked files, relative."""

    def __init__(self, worktree: str, paths: Sequence[str], *, denied: Iterable[str] = ()) -> None:
        self.beneath = Beneath(worktree)
        self.paths = tuple(paths)
        self.denied = DeniedFiles(denied)

    def denies(self, path: str) -> bool:
        """Whether the file may never go to a model."""
        return self.denied.match(path)

    def pack(self, subtask: Subtask, *, max_tokens: int) -> ContextPack:
        """Choose files by need until the budget is used. What is too large is cut to what matters, and says so."""
        budget = max_tokens * BYTES_PER_TOKEN
        touched = set(self._touched(subtask))
        lines: dict[str, list[int]] = {}
        for fact in subtask.evidence:
            lines.setdefault(fact.path, []).append(fact.line)
        shown: list[ShownFile] = []
        for path, around in self._wanted(subtask, touched):
            try:
                text = self.text(path)
            except PathRefused:
                continue
            size = len(text.encode())
            # A file that only uses the code is there for its calls.
            most = (
                budget if path in touched or path in lines else min(budget, max_tokens * BYTES_PER_TOKEN // 4)
            )
            if size <= most:
                shown.append(ShownFile(path=path, text=text.rstrip("\n")))
                budget -= size
            elif most > SMALLEST_PART:
                parts = _parts(path, text, most, lines.get(path) or around)
                shown += parts
                budget -= sum(len(part.text.encode()) for part in parts)
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
        # As the guard reads them: a plain name is the file at the root.
        spec = _spec("/" + "/".join(segments(glob)) for glob in subtask.touches)
        return [path for path in self.paths if spec.match_file(path)]

    def _wanted(self, subtask: Subtask, touched: set[str]) -> Iterator[tuple[str, list[int]]]:
        """Paths by need with lines of interest: cited and touched, checked and named, their tests, their callers."""
        known = set(self.paths)
        cited = [fact.path for fact in subtask.evidence if fact.path in known]
        checked = [target.partition("::")[0] for check in subtask.checks for target in check.targets]
        named = re.findall(r"[\w./-]+\.\w+", subtask.instructions)
        first = [
            *(path for path in cited if path in touched),
            *(path for path in self.paths if path in touched),
            *cited,
            *(path for path in (*checked, *named) if path in known),
        ]
        if not first and subtask.deliverable is Deliverable.DOCUMENT:
            # A review of everything: the code first, then its tests, then what is written about it.
            first = sorted(self.paths, key=lambda path: (language_of(path) not in CODE, is_test(path)))
        stems = {_tested_stem(path) for path in first} - {"__init__", "index", "conftest", ""}
        tests = [path for path in self.paths if is_test(path) and _tested_stem(path) in stems]
        seen: set[str] = set()
        for path in (*first, *tests):
            if path not in seen and not self.denies(path):
                seen.add(path)
                yield path, []
        for path, line in self._callers(stems):
            if path not in seen and not self.denies(path):
                seen.add(path)
                yield path, [line]

    def _callers(self, stems: set[str]) -> Iterator[tuple[str, int]]:
        """Source files that import or require one of these modules by its name, with the line of its first use."""
        names = "|".join(re.escape(stem) for stem in sorted(stems) if len(stem) > 2)
        sources = [path for path in self.paths if language_of(path) in CODE]
        if not names or len(sources) > MOST_SEARCHED:
            return
        imports = re.compile(
            rf"^[^\n]*\b(?:import|from|require|use|include)\b[^\n]*\b(?:{names})\b", re.MULTILINE
        )
        uses = re.compile(rf"\b(?:{names})\s*(?:\.|::|\()")
        for path in sources:
            try:
                text = self.text(path)
            except PathRefused:
                continue
            if found := imports.search(text):
                used = uses.search(text, found.end()) or found
                yield path, text.count("\n", 0, used.start()) + 1


def _spec(globs: Iterable[str]) -> pathspec.PathSpec[Any]:
    import pathspec

    return pathspec.GitIgnoreSpec.from_lines(globs)


def _tested_stem(path: str) -> str:
    """The name that a module and its tests have in common."""
    stem = PurePosixPath(path).name.split(".")[0]
    return re.sub(r"^test_|_test$|_spec$|-test$|-spec$", "", stem)


def _parts(path: str, text: str, budget: int, around: list[int]) -> list[ShownFile]:
    """The parts of a large file around the lines of interest, or its beginning, by whole lines."""
    lines = text.removesuffix("\n").split("\n")
    centres = sorted({max(0, min(line - 1, len(lines) - 1)) for line in around[:MOST_PARTS]}) or [0]
    spans: list[tuple[int, int]] = []
    for centre in centres:
        start, end = _window(lines, centre, budget // len(centres))
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        elif end > start:
            spans.append((start, end))
    return [
        ShownFile(
            path=path, text="\n".join(lines[start:end]), part=f"lines {start + 1} to {end} of {len(lines)}"
        )
        for start, end in spans
    ]


def _window(lines: list[str], centre: int, budget: int) -> tuple[int, int]:
    """The largest stretch around a line that fits, as much before it as after it."""
    start = end = centre
    while True:
        size = len(lines[end].encode()) + 1 if end < len(lines) else budget + 1
        below = size <= budget
        if below:
            budget -= size
            end += 1
        size = len(lines[start - 1].encode()) + 1 if start > 0 else budget + 1
        above = size <= budget
        if above:
            budget -= size
            start -= 1
        if not below and not above:
            return start, end
