"""From a commit to its survey: list, take a snapshot, measure side by side, and put the facts together."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestrator.adapters.state import digest
from orchestrator.adapters.survey import history, node_project, other_projects, python_project, ruff
from orchestrator.adapters.survey.findings import assemble
from orchestrator.adapters.survey.languages import CODE
from orchestrator.adapters.survey.listing import Listing, Repository, SurveyFailed
from orchestrator.adapters.survey.manifests import Manifests, Project, named
from orchestrator.adapters.survey.measuring import measure
from orchestrator.adapters.survey.snapshot import Snapshot, take
from orchestrator.adapters.survey.store import SurveyStore
from orchestrator.adapters.survey.untested import tests_of, untested
from orchestrator.core.facts import FunctionSize, Package, Skipped, SourceFile, Survey, shares
from orchestrator.core.serial import encode
from orchestrator.core.text import one_line
from orchestrator.core.words import counted

# Raised whenever the same commit would give other facts.
_RULES = "5"
_MAX_FUNCTIONS = 2000
_NOTABLE_COMPLEXITY = 5


async def survey(
    repository: Path,
    *,
    commit: str = "HEAD",
    paths: Sequence[str] = (),
    cache: Path,
    environ: Mapping[str, str] | None = None,
) -> Survey:
    """Find the facts of `repository` at `commit`, within `paths` (.gitignore-style globs; none: everything).

    Reads only what is committed and writes only below `cache`, where the result is kept by commit, paths and
    tool versions. Raises SurveyFailed.
    """
    git = Repository(repository, os.environ if environ is None else environ)
    resolved = await _resolve(git, commit)
    tools = (f"ruff {version('ruff')}", f"lizard {version('lizard')}", f"rules {_RULES}")
    installed = _installed(repository)
    key = digest("survey", resolved, *paths, "/", *tools, *sorted(installed))
    store = SurveyStore(cache)
    if (kept := store.load(key)) is not None:
        return kept
    listing = await git.tree(resolved, paths)
    if paths and not listing.blobs and not listing.skipped:
        shown = one_line(", ".join(paths), 200)
        raise SurveyFailed(
            f"no file at {resolved[:12]} matches {shown}: name a directory or a glob of files that are committed"
        )
    with tempfile.TemporaryDirectory(prefix="survey-", dir=cache) as directory:
        snapshot = await take(git, (*listing.blobs, *listing.beside), Path(directory).resolve())
        found = await _facts(git, resolved, listing, snapshot, installed)
    found = replace(found, paths=tuple(paths))
    found = replace(found, tools=tools)
    found = replace(found, digest=digest(_canonical(found)))
    store.save(key, found)
    return found


async def _resolve(git: Repository, commit: str) -> str:
    try:
        told = await git.git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
    except SurveyFailed:
        inside = await git.git("rev-parse", "--is-inside-work-tree")
        if inside.text.strip() and commit == "HEAD":
            raise SurveyFailed(f"{git.root} has no commit yet: commit your files first") from None
        raise SurveyFailed(f"{git.root} has no commit {commit!r}") from None
    return told.text.strip()


def _installed(repository: Path) -> frozenset[str]:
    """Which of the project's own checkers are installed in the checkout; they are named, never run."""
    tools = repository / "node_modules" / ".bin"
    return frozenset(tool for tool in ("tsc", "eslint") if (tools / tool).exists())


async def _facts(
    git: Repository,
    commit: str,
    listing: Listing,
    snapshot: Snapshot,
    installed: frozenset[str],
) -> Survey:
    import asyncio

    manifests = Manifests(snapshot.manifests, listing.everything)
    code = [file for file in snapshot.files if file.language in CODE]
    python = any(file.language == "Python" for file in code)
    documents, changes, told = await asyncio.gather(
        measure(snapshot, code),
        history.churn(git, commit),
        ruff.check(snapshot.tree, line_length=python_project.style(manifests).line_length)
        if python
        else _nothing(),
    )
    project = _project(manifests, code, documents, installed)
    packages = tuple(sorted(project.packages, key=lambda package: (package.directory, package.ecosystem)))
    known = tuple(
        replace(
            file,
            package=_package(file.path, packages),
            generated=bool(documents.get(file.path, {}).get("generated")),
        )
        for file in sorted(snapshot.files, key=lambda file: file.path)
    )
    asked = {blob.path for blob in listing.blobs}
    files = tuple(file for file in known if file.path in asked)
    functions = _functions(files, documents)
    complexity: dict[str, int] = {}
    for function in functions:
        complexity[function.path] = complexity.get(function.path, 0) + function.complexity
    products = {file.path for file in files if not file.test and not file.generated}
    assembled = assemble(snapshot, files, documents, told, python_project.style(manifests))
    ranked = sorted(functions, key=lambda function: (-function.complexity, function.path, function.line))
    notable = tuple(function for function in ranked if function.complexity >= _NOTABLE_COMPLEXITY)
    return Survey(
        commit=commit,
        files=files,
        languages=shares(file for file in files if not file.generated),
        packages=packages,
        commands=named(project.commands),
        findings=assembled.findings,
        functions=notable[:_MAX_FUNCTIONS],
        function_count=len(functions),
        hot_spots=history.hot_spots(
            changes, {path: total for path, total in complexity.items() if path in products}
        ),
        untested=tuple(module for module in untested(known, documents, packages) if module.path in asked),
        tests_of={path: tests for path, tests in tests_of(known, documents).items() if path in asked},
        skipped=_skipped(listing.skipped, snapshot.odd, asked),
        notes=(*project.notes, *assembled.notes, *_failures(documents)),
    )


async def _nothing() -> ruff.RuffReport:
    return ruff.RuffReport(findings=(), broken=(), unformatted=frozenset())


def _project(
    manifests: Manifests,
    code: Iterable[SourceFile],
    documents: Mapping[str, Mapping[str, Any]],
    installed: frozenset[str],
) -> Project:
    project = Project()
    imports = {
        file.path: [(str(name), int(line)) for name, line in documents[file.path].get("imports", ())]
        for file in code
        if file.test and file.language == "Python"
    }
    python_project.read(manifests, project, test_imports=imports)
    node_project.read(manifests, project, installed=installed)
    other_projects.read(manifests, project)
    return project


def _package(path: str, packages: Iterable[Package]) -> str:
    inside = [p.directory for p in packages if not p.directory or path.startswith(p.directory + "/")]
    return max(inside, key=len, default="")


def _functions(files: Iterable[SourceFile], documents: Mapping[str, Mapping[str, Any]]) -> list[FunctionSize]:
    return [
        FunctionSize(**function)
        for file in files
        if not file.test and not file.generated
        for function in documents.get(file.path, {}).get("functions", ())
    ]


def _skipped(
    listed: Iterable[Skipped], odd: Mapping[str, Sequence[str]], asked: set[str]
) -> tuple[Skipped, ...]:
    merged = {skipped.reason: skipped for skipped in listed}
    for reason, found in odd.items():
        paths = [path for path in found if path in asked]
        if not paths:
            continue
        known = merged.get(reason)
        merged[reason] = Skipped(
            reason=reason,
            files=len(paths) + (known.files if known else 0),
            example=known.example if known else paths[0],
        )
    return tuple(merged[reason] for reason in sorted(merged))


def _failures(documents: Mapping[str, Mapping[str, Any]]) -> list[str]:
    failed = [document for _, document in sorted(documents.items()) if "failed" in document]
    if not failed:
        return []
    first = failed[0]
    return [
        f"{counted(len(failed), 'file')} could not be measured, the first is {first['path']}: {first['failed']}"
    ]


def _canonical(found: Survey) -> str:
    import json

    return json.dumps(encode(found), sort_keys=True, separators=(",", ":"))
