"""The texts that say what a project is made of, and where in them a word stands."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.adapters.survey.languages import is_shown, is_test
from orchestrator.core.facts import Command, CommandKind, Package

MANIFESTS = frozenset(
    {
        "pyproject.toml", "setup.py", "setup.cfg", "tox.ini", "pytest.ini", ".pytest.ini", "noxfile.py",
        "mypy.ini", ".mypy.ini", "pyrightconfig.json", ".flake8", ".pylintrc", "pylintrc", "ruff.toml",
        ".ruff.toml", "manage.py", "Pipfile", "conftest.py", ".pre-commit-config.yaml", "package.json",
        "pnpm-workspace.yaml", "turbo.json", "nx.json", "project.json", "lerna.json", "tsconfig.json",
        "go.mod", "go.work", "Cargo.toml", "Makefile", "GNUmakefile", "makefile", "justfile",
        "Justfile", ".golangci.yml", ".golangci.yaml", "rustfmt.toml", "composer.json", "Gemfile",
        "Rakefile", "pom.xml", "build.gradle", "build.gradle.kts", "rush.json", "deno.json",
    }
)  # fmt: skip
_REQUIREMENTS = re.compile(r"(^|/)(requirements[^/]*|requirements/[^/]+)\.(txt|in)$")


def is_manifest(path: str) -> bool:
    return path.rpartition("/")[2] in MANIFESTS or _REQUIREMENTS.search(path) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A command as one manifest declares it, before it has a name; `label` tells it from others of its kind."""

    kind: CommandKind
    argv: tuple[str, ...]
    path: str
    line: int
    package: str = ""
    source: str = ""
    label: str = ""


@dataclass(slots=True, kw_only=True)
class Project:
    """What the manifests of a repository declare; filled by one module per ecosystem."""

    packages: list[Package] = field(default_factory=list)
    commands: list[Found] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Manifests:
    """The committed manifests by path, and the names of all files of the commit."""

    def __init__(self, contents: Mapping[str, bytes], everything: frozenset[str]) -> None:
        self._texts = {
            path: data.decode("utf-8", "replace") for path, data in contents.items() if is_manifest(path)
        }
        self.everything = everything

    def text(self, path: str) -> str | None:
        return self._texts.get(path)

    def named(self, name: str, *, globs: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
        """`(directory, text)` of every manifest of that name, the root's first.

        One in an example or a test fixture is no part of the product, unless a workspace's `globs` name it.
        """
        import pathspec

        lines = [f"/{glob.removeprefix('./').rstrip('/')}" for glob in globs if not glob.startswith("!")]
        members = pathspec.GitIgnoreSpec.from_lines(lines)
        for path in sorted(self._texts, key=lambda path: (path.count("/"), path)):
            directory, _, last = path.rpartition("/")
            if last != name:
                continue
            inside = f"{directory}/"
            if not directory or members.match_file(directory) or not (is_shown(inside) or is_test(inside)):
                yield directory, self._texts[path]

    def requirements(self) -> Iterator[tuple[str, str]]:
        for path in sorted(self._texts):
            if _REQUIREMENTS.search(path):
                yield path, self._texts[path]

    def toml(self, path: str) -> dict[str, Any]:
        """The parsed document; empty when it is missing or cannot be parsed."""
        try:
            return tomllib.loads(self._texts.get(path, ""))
        except tomllib.TOMLDecodeError:
            return {}

    def json(self, path: str) -> dict[str, Any]:
        try:
            document = json.loads(self._texts.get(path, "{}"))
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}


def join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name


def line_of(text: str, pattern: str, *, after: int = 1) -> int:
    """The first line, from `after` on, on which the regular expression is found; 0 when on none."""
    compiled = re.compile(pattern)
    for number, line in enumerate(text.splitlines(), 1):
        if number >= after and compiled.search(line):
            return number
    return 0


def named(found: list[Found]) -> tuple[Command, ...]:
    """Give every command its name: the kind alone for the first at the root, else with its package or label."""
    taken: set[str] = set()
    seen: set[tuple[CommandKind, tuple[str, ...]]] = set()
    commands: list[Command] = []
    for item in found:
        if (item.kind, item.argv) in seen:
            continue
        seen.add((item.kind, item.argv))
        base = f"{item.kind.value}:{item.package}" if item.package else item.kind.value
        name = base
        if name in taken and item.label:
            name = f"{base}:{item.label}"
        number = 2
        while name in taken:
            name, number = f"{base}:{number}", number + 1
        taken.add(name)
        commands.append(
            Command(
                name=name,
                kind=item.kind,
                argv=item.argv,
                path=item.path,
                line=item.line,
                package=item.package,
                source=item.source,
            )
        )
    return tuple(commands)
