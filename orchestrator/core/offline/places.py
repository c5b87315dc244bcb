"""Which part of a repository a goal names: a file, a directory, a package; the plan keeps to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from orchestrator.core.domain import OrchestratorError
from orchestrator.core.facts import Survey
from orchestrator.core.text import one_line

_WORD = re.compile(r"[\w@./-]+")
_FILE = re.compile(r".+/[^/]*\.[A-Za-z]\w{0,4}")
_PART = re.compile(
    r"(?<![\w./-])(?P<before>[\w.-]+) (?:package|module|folder|directory|workspace|crate)\b"
    r"|\b(?:in|within|inside|under|of|for|to) (?:the |our |my )?(?P<after>[\w.-]++)(?!/)",
    re.IGNORECASE,
)


class NotThere(OrchestratorError):
    """The goal names a file that the commit does not have. Nothing was planned."""


def places_of(goal: str, survey: Survey) -> tuple[str, ...]:
    """Return the files and directories that the goal names, in their order; none when it means the whole.

    A word that only might be a name (`errors`) counts where it stands as one: "in errors", "the errors module".
    Raises NotThere for a path that looks like that of a file and is none.
    """
    files = [file.path for file in survey.files]
    folders = {path[: match.start()] for path in files for match in re.finditer("/", path)}
    found: list[str] = []
    for word in _WORD.findall(goal):
        name = word.removeprefix("./").rstrip("./-")
        if name in files or ("/" in name and name in folders):
            found.append(name)
        elif "." in name and (same := [path for path in files if path.endswith(f"/{name}")]):
            found += same
        elif _FILE.fullmatch(name):
            raise NotThere(
                f"the goal names {one_line(name, 80)}, which is not at commit {survey.commit[:12]}: commit it, or name "
                "another file"
            )
    for match in _PART.finditer(goal):
        found += _called((match["before"] or match["after"]).rstrip(".").casefold(), survey, folders)
    return () if "" in found else tuple(dict.fromkeys(found))


def _called(name: str, survey: Survey, folders: set[str]) -> Iterator[str]:
    """The packages of a name, else the directories, else the modules."""
    packages = [
        package.directory
        for package in survey.packages
        if name in (package.name.casefold(), package.name.rpartition("/")[2].casefold())
    ]
    directories = sorted(path for path in folders if path.rpartition("/")[2].casefold() == name)
    modules = [
        file.path
        for file in survey.files
        if not file.test and file.path.rpartition("/")[2].partition(".")[0].casefold() == name
    ]
    yield from packages or directories or modules


def within(survey: Survey, places: Sequence[str]) -> Survey:
    """Return the survey with the facts of these places alone; files and commands stay, tests may lie elsewhere."""

    def inside(path: str) -> bool:
        return any(path == place or path.startswith(f"{place}/") for place in places)

    return replace(
        survey,
        findings=tuple(finding for finding in survey.findings if inside(finding.path)),
        functions=tuple(function for function in survey.functions if inside(function.path)),
        hot_spots=tuple(spot for spot in survey.hot_spots if inside(spot.path)),
        untested=tuple(module for module in survey.untested if inside(module.path)),
    )
