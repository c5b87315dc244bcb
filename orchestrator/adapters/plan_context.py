"""What a planner is shown of a repository: facts of the survey as lines, and the most relevant files that may be sent.

Everything is read from the commit, not from the checkout: uncommitted changes are not part of a run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Protocol

from orchestrator.adapters.context import Context, ShownFile
from orchestrator.core.facts import Survey
from orchestrator.core.text import one_line

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{2,}")
_PATH = re.compile(r"[\w@./-]+")
# More of one file than this tells the planner less than the next file does.
_MAX_FILE_BYTES = 16_000
_USUAL_FIRST = ("readme.md", "readme.rst", "pyproject.toml", "package.json", "go.mod", "cargo.toml")


class Commit(Protocol):
    """A commit's files, as the git adapter gives them."""

    def files_at(self, commit: str) -> tuple[str, ...]: ...

    def read_blob(self, commit: str, path: str) -> bytes | None: ...


class PlanContext:
    """Facts and files of one commit for one goal. `denied` are further globs of files that never go to a model."""

    def __init__(
        self, git: Commit, *, root: str, commit: str, survey: Survey, goal: str, denied: Sequence[str] = ()
    ) -> None:
        self._git, self._commit, self._survey, self._goal = git, commit, survey, goal
        self._paths = git.files_at(commit)
        self._context = Context(root, self._paths, denied=denied)

    @property
    def lines(self) -> Mapping[str, int]:
        """The lines of each file of the commit."""
        return _Lines(
            self._git, self._commit, self._paths, {file.path: file.lines for file in self._survey.files}
        )

    def pack(self, max_bytes: int) -> tuple[ShownFile, ...]:
        """Return the most relevant files, whole or cut, of at most `max_bytes` together; a denied file never."""
        shown: list[ShownFile] = []
        room = max_bytes
        for path in self._ranked:
            if room < 400:
                break
            text = self._text(path)
            if not text:
                continue
            file = _fitted(path, text, min(room, _MAX_FILE_BYTES))
            room -= len(file.text.encode())
            shown.append(file)
        # By name, so that the prompt's beginning stays the same when a score changes a little.
        return tuple(sorted(shown, key=lambda file: file.path))

    @cached_property
    def _ranked(self) -> list[str]:
        """Paths that may be sent, most relevant first: named in the goal, rich in findings, often changed."""
        survey = self._survey
        words = {word.casefold() for word in _WORD.findall(self._goal)}
        named = {word.removeprefix("./").rstrip("./") for word in _PATH.findall(self._goal)}
        score: dict[str, float] = {}
        scope = {file.path for file in survey.files if not file.generated}
        for finding in survey.findings:
            score[finding.path] = score.get(finding.path, 0.0) + finding.weight
        for place, spot in enumerate(survey.hot_spots[:30]):
            score[spot.path] = score.get(spot.path, 0.0) + 20.0 - place / 2
        for module in survey.untested:
            score[module.path] = score.get(module.path, 0.0) + 4.0
        for path in self._paths:
            name = path.rpartition("/")[2].casefold()
            stem = name.partition(".")[0]
            if path in named or ("." in name and path.rpartition("/")[2] in named):
                score[path] = score.get(path, 0.0) + 1000.0
            elif words & {stem, *stem.split("_"), *stem.split("-")} and path in scope:
                score[path] = score.get(path, 0.0) + 30.0
            if path.casefold() in _USUAL_FIRST:
                score[path] = score.get(path, 0.0) + 15.0
            elif path in scope:
                score.setdefault(path, 0.5)
        known = set(self._paths)
        candidates = [path for path in score if path in known and not self._context.denies(path)]
        return sorted(candidates, key=lambda path: (-score[path], path))[:400]

    def _text(self, path: str) -> str:
        data = self._git.read_blob(self._commit, path)
        if not data or b"\0" in data[:8000] or len(data) > 2_000_000:
            return ""
        try:
            return data.decode("utf-8").rstrip("\n")
        except UnicodeDecodeError:
            return ""

    def facts(self, max_lines: int) -> str:
        """Return the survey as lines `path:line: fact`, the weightiest first, within `max_lines` or a little more."""
        survey = self._survey
        lines = [
            f"{len(survey.files)} files, {survey.lines} lines: "
            + ", ".join(f"{share.language} {share.lines}" for share in survey.languages[:6])
        ]
        lines += [f"package {package.name} in {package.directory or '.'}" for package in survey.packages[:10]]
        lines += [
            f"{command.where}: {command.kind.value} command `{command.name}` = {' '.join(command.argv)}"
            for command in survey.commands[:12]
        ]
        found: list[tuple[float, str, str]] = [
            (finding.weight, finding.path, f":{finding.line}: {finding.kind.value}: {finding.fact}")
            for finding in survey.findings
        ]
        found += [(5.0, module.path, f":1: {module.fact}") for module in survey.untested]
        found += [
            (
                min(9.0, function.complexity / 3),
                function.path,
                f":{function.line}: function {function.name} has complexity {function.complexity} "
                f"in {function.lines} lines",
            )
            for function in survey.functions
            if function.complexity > 8
        ]
        found += [
            (4.0, spot.path, f": changed in {spot.commits} commits, complexity {spot.complexity}")
            for spot in survey.hot_spots[:10]
        ]
        told = [
            f"{path}{text}"
            for _, path, text in sorted(found, key=_heaviest)
            if not self._context.denies(path)
        ]
        room = max(0, max_lines - len(lines))
        lines += told[:room]
        if len(told) > room:
            lines.append(f"{len(told) - room} more of less weight")
        paths = [path for path in self._paths if not self._context.denies(path)]
        if len(paths) <= 5 * max_lines:
            lines.append("all files: " + ", ".join(paths))
        return "\n".join(one_line(line, 4000 if line.startswith("all files") else 300) for line in lines)


def _heaviest(fact: tuple[float, str, str]) -> tuple[float, str, str]:
    weight, path, text = fact
    return -weight, path, text


def _fitted(path: str, text: str, max_bytes: int) -> ShownFile:
    if len(text.encode()) <= max_bytes:
        return ShownFile(path=path, text=text)
    lines = text.split("\n")
    kept: list[str] = []
    used = 0
    for line in lines:
        used += len(line.encode()) + 1
        if used > max_bytes:
            break
        kept.append(line)
    return ShownFile(path=path, text="\n".join(kept), part=f"lines 1 to {len(kept)} of {len(lines)}")


class _Lines(Mapping[str, int]):
    """Line counts by path; files the survey has not counted are counted when they are asked for."""

    def __init__(self, git: Commit, commit: str, paths: Sequence[str], counted: Mapping[str, int]) -> None:
        self._git, self._commit, self._paths, self._counted = git, commit, frozenset(paths), dict(counted)

    def __getitem__(self, path: str) -> int:
        if path not in self._paths:
            raise KeyError(path)
        if path not in self._counted:
            data = self._git.read_blob(self._commit, path) or b""
            self._counted[path] = data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
        return self._counted[path]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._paths))

    def __len__(self) -> int:
        return len(self._paths)
