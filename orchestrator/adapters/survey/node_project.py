"""JavaScript and TypeScript: packages of a workspace, package manager, scripts, and the project's own compiler."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.adapters.survey.manifests import Found, Manifests, Project, join, line_of
from orchestrator.core.facts import CommandKind, Package

_LOCKS = {
    "pnpm-lock.yaml": "pnpm",
    "yarn.lock": "yarn",
    "bun.lockb": "bun",
    "bun.lock": "bun",
    "package-lock.json": "npm",
    "npm-shrinkwrap.json": "npm",
}
_SETUP = {
    "npm": ("npm", "ci"),
    "pnpm": ("pnpm", "install", "--frozen-lockfile"),
    "yarn": ("yarn", "install", "--frozen-lockfile"),
    "bun": ("bun", "install", "--frozen-lockfile"),
}
# In the order in which they are preferred: one that ends by itself and changes nothing.
_SCRIPTS: Mapping[CommandKind, tuple[str, ...]] = {
    CommandKind.TEST: ("test", "test:ci", "test:unit", "unit", "tests", "vitest", "jest"),
    CommandKind.TYPE: (
        "typecheck",
        "type-check",
        "check-types",
        "check:types",
        "types:check",
        "tsc",
        "types",
    ),
    CommandKind.LINT: ("lint", "lint:check", "eslint", "lint:js", "lint:ts"),
    CommandKind.BUILD: ("build", "compile"),
    CommandKind.FORMAT: ("format", "format:write", "prettier", "fmt"),
}
_NO_TEST = re.compile(r"no tests?( specified| yet)?|^\s*(echo|exit|true\b|:\s*$)", re.IGNORECASE)
# Such a script does not end by itself. Plain `vitest` does where there is no terminal.
_WATCHES = re.compile(r"--watch(?!=false|All=false)|\bnodemon\b|^\s*(jest|vitest)\s+watch")


def read(manifests: Manifests, project: Project, *, installed: frozenset[str]) -> None:
    """Add what the package.json files declare. `installed` are the tools in the checkout's node_modules/.bin."""
    directories = dict(manifests.named("package.json", globs=_workspace(manifests)))
    for directory, text in directories.items():
        path = join(directory, "package.json")
        document = manifests.json(path)
        manager, lock = _manager(manifests, directory, directories)
        project.packages.append(
            Package(
                name=str(document.get("name") or directory or "(root)"),
                directory=directory,
                ecosystem="node",
                path=path,
                line=max(1, line_of(text, r'"name"\s*:')),
            )
        )
        if lock is not None and lock.rpartition("/")[0] == directory:
            argv = _SETUP[manager]
            if directory:
                argv = _in_directory(manager, directory, argv)
            project.commands.append(
                Found(kind=CommandKind.SETUP, argv=argv, path=lock, line=1, package=directory, label=manager)
            )
        elif lock is None and not directory and (line := _dependencies(text, document)):
            argv = (manager, "install")
            project.commands.append(
                Found(kind=CommandKind.SETUP, argv=argv, path=path, line=line, package="", label=manager)
            )
        project.commands += _scripts(manager, directory, path, text, document)
        project.commands += _compiler(manifests, directory, text, path, document, installed, project)
    if manifests.text("turbo.json") is not None or manifests.text("nx.json") is not None:
        _tasks(manifests, project)


def _dependencies(text: str, document: Mapping[str, Any]) -> int:
    """The line at which a package names what it needs; 0 when it needs nothing."""
    for group in ("dependencies", "devDependencies"):
        if isinstance(document.get(group), dict) and document[group]:
            return line_of(text, rf'"{group}"\s*:')
    return 0


def _workspace(manifests: Manifests) -> list[str]:
    """The globs of the workspace at the root: npm, yarn, pnpm, lerna."""
    globs: list[str] = []
    declared = manifests.json("package.json").get("workspaces")
    if isinstance(declared, dict):
        declared = declared.get("packages")
    if isinstance(declared, list):
        globs += [str(item) for item in declared]
    if (text := manifests.text("pnpm-workspace.yaml")) is not None:
        inside = False
        for line in text.splitlines():
            if re.match(r"\S", line):
                inside = line.startswith("packages")
            if inside and (match := re.match(r"\s*-\s*[\"']?([^\"'#\s]+)", line)):
                globs.append(match.group(1))
    if isinstance(lerna := manifests.json("lerna.json").get("packages"), list):
        globs += [str(item) for item in lerna]
    return globs


def _manager(manifests: Manifests, directory: str, directories: Mapping[str, str]) -> tuple[str, str | None]:
    """The package manager of a directory and its lock file: its own, or that of the nearest directory above."""
    above = directory
    while True:
        declared = str(manifests.json(join(above, "package.json")).get("packageManager") or "").partition(
            "@"
        )[0]
        locks = [(name, join(above, lock)) for lock, name in _LOCKS.items()]
        present = [(name, lock) for name, lock in locks if lock in manifests.everything]
        for name, lock in present:
            if declared in ("", name):
                return name, lock
        if declared in _SETUP:
            return declared, None
        if present:
            return present[0]
        if not above:
            return "npm", None
        above = above.rpartition("/")[0]


def _in_directory(manager: str, directory: str, argv: tuple[str, ...]) -> tuple[str, ...]:
    option = {"npm": "--prefix", "pnpm": "--dir", "yarn": "--cwd", "bun": "--cwd"}[manager]
    return (argv[0], option, directory, *argv[1:])


def _scripts(
    manager: str, directory: str, path: str, text: str, document: Mapping[str, Any]
) -> Iterator[Found]:
    scripts = document.get("scripts")
    if not isinstance(scripts, dict):
        return
    begin = line_of(text, r'"scripts"\s*:')
    for kind, names in _SCRIPTS.items():
        for name in names:
            body = scripts.get(name)
            if not isinstance(body, str) or not body.strip() or _WATCHES.search(body):
                continue
            if kind is CommandKind.TEST and _NO_TEST.search(body):
                continue
            line = line_of(text, rf"{re.escape(json.dumps(name))}\s*:", after=begin)
            if not line:
                continue
            argv: tuple[str, ...] = (manager, "run", name)
            if directory:
                argv = _in_directory(manager, directory, argv)
            yield Found(
                kind=kind, argv=argv, path=path, line=line, package=directory, source=f"{name}: {body}", label=name
            )  # fmt: skip
            break


def _compiler(
    manifests: Manifests,
    directory: str,
    text: str,
    path: str,
    document: Mapping[str, Any],
    installed: frozenset[str],
    project: Project,
) -> Iterator[Found]:
    """The project's own tsc and eslint, when no script calls them: listed as commands, never run by the survey."""
    has = {found.kind for found in project.commands if found.package == directory}
    config = join(directory, "tsconfig.json")
    wanted = (
        (CommandKind.TYPE, "typescript", "tsc", ("tsc", "--noEmit", "-p", directory or ".")),
        (CommandKind.LINT, "eslint", "eslint", ("eslint", directory or ".")),
    )
    for kind, dependency, tool, argv in wanted:
        declared = any(
            dependency in (document.get(group) or {})
            for group in ("dependencies", "devDependencies")
            if isinstance(document.get(group), dict)
        )
        if kind in has or not declared or tool not in installed:
            continue
        if tool == "tsc" and config not in manifests.everything:
            continue
        line = line_of(text, rf'"{dependency}"\s*:')
        yield Found(
            kind=kind, argv=("npx", "--no-install", *argv), path=path, line=line, package=directory,
            source=f"{dependency} in the dependencies, installed", label=tool,
        )  # fmt: skip


def _tasks(manifests: Manifests, project: Project) -> None:
    """Task runners of a workspace: turbo's tasks and nx's targets, where no script of the root calls them."""
    has = {found.kind for found in project.commands if found.package == ""}
    if (text := manifests.text("turbo.json")) is not None:
        for kind, names in _SCRIPTS.items():
            if kind in has or kind is CommandKind.FORMAT:
                continue
            members = {found.source.partition(":")[0] for found in project.commands if found.kind is kind}
            for name in names:
                line = line_of(text, rf'"{re.escape(name)}"\s*:')
                if line and name in members:
                    project.commands.append(
                        Found(
                            kind=kind, argv=("npx", "--no-install", "turbo", "run", name), path="turbo.json",
                            line=line, source=f"task {name}", label="turbo",
                        )
                    )  # fmt: skip
                    break
    for directory, text in manifests.named("project.json"):
        path = join(directory, "project.json")
        document = manifests.json(path)
        targets = document.get("targets")
        if manifests.text("nx.json") is None or not isinstance(targets, dict) or not directory:
            continue
        name = str(document.get("name") or directory.rpartition("/")[2])
        if all(package.directory != directory for package in project.packages):
            project.packages.append(Package(name=name, directory=directory, ecosystem="nx", path=path))
        begin = line_of(text, r'"targets"\s*:')
        for kind, names in _SCRIPTS.items():
            for target in names:
                line = line_of(text, rf'"{re.escape(target)}"\s*:', after=begin)
                if target in targets and line:
                    project.commands.append(
                        Found(
                            kind=kind, argv=("npx", "--no-install", "nx", "run", f"{name}:{target}"), path=path,
                            line=line, package=directory, source=f"target {target}", label="nx",
                        )
                    )  # fmt: skip
                    break
