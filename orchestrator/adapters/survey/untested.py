"""Modules that no test imports or names, and where a test of them would lie by the project's own habits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.adapters.survey.languages import ECMASCRIPT, is_runnable_test, is_shown
from orchestrator.adapters.survey.suites import Places, Suite, family
from orchestrator.core.facts import Package, SourceFile, Untested

_WANTED = ECMASCRIPT | {"Python", "Go", "Rust", "Java", "Kotlin", "C#", "Ruby", "PHP"}
_LEAVE_OUT = re.compile(
    r"(^|/)(setup|conftest|manage|noxfile|fabfile|tasks|conf|settings|config|wsgi|asgi|version|_version|__main__)\.py$"
    r"|(^|/)(migrations|seeds?|seeders?|alembic|scripts?|bin|tools|dev|fuzz(ing)?|public|static|assets)/|\.d\.[cm]?ts$|\.config\.[cm]?[jt]s$"
    r"|(^|/)(gulpfile|gruntfile|webpack[^/]*|next-env)\.[jt]s$|(^|/)(main|doc)\.go$|(^|/)(main|lib|mod|build)\.rs$"
    # Go builds these on one system or processor alone: a test of them may never run.
    r"|_(aix|android|darwin|dragonfly|freebsd|illumos|ios|js|linux|netbsd|openbsd|plan9|solaris|unix|wasip1|windows)"
    r"(_\w+)?\.go$|_(386|amd64|arm|arm64|loong64|mips\w*|ppc64\w*|riscv64|s390x|wasm)\.go$",
    re.IGNORECASE,
)
_MAX_TESTS = 4
_SUFFIX = re.compile(r"(\.d)?\.\w+$")


def untested(
    files: Sequence[SourceFile],
    documents: Mapping[str, Mapping[str, Any]],
    packages: Sequence[Package],
) -> tuple[Untested, ...]:
    """Every module with public functions that no test reaches by import or names, in the order of their paths."""
    tests = [file for file in files if file.test and documents.get(file.path, {}).get("words")]
    suites: dict[str, Suite] = {}
    for test in tests:
        suites.setdefault(family(test.language), Suite()).add(test, documents[test.path]["words"])
    places = Places([package.directory for package in packages], {file.path for file in files}, suites)
    reached = _reached(files, tests, documents)
    found: list[Untested] = []
    for file in files:
        document = documents.get(file.path, {})
        symbols = [(str(name), int(line)) for name, line in document.get("symbols", ())]
        if not symbols or file.path in reached or not _wants_tests(file) or _tests_itself(file, document):
            continue
        suite = suites.get(family(file.language), Suite())
        if suite.names_any(name for name, _ in symbols) or suite.is_named_after(file.path):
            continue
        place, near = places.of(file)
        if place is None:
            continue
        found.append(
            Untested(
                path=file.path,
                symbols=tuple(symbols[:12]),
                lines=file.lines,
                complexity=sum(int(function["complexity"]) for function in document.get("functions", ())),
                test_path=place,
                fact=_fact(symbols, suite, file.language),
                near=near,
            )
        )
    return tuple(found)


def _wants_tests(file: SourceFile) -> bool:
    return not (
        file.test
        or file.generated
        or file.language not in _WANTED
        or _LEAVE_OUT.search(file.path)
        or is_shown(file.path)
    )


def _fact(symbols: Sequence[tuple[str, int]], suite: Suite, language: str) -> str:
    shown = ", ".join(f"`{name}`" for name, _ in symbols[:3])
    what = shown if len(symbols) == 1 else f"any of its {len(symbols)} functions and classes ({shown}"
    what += "" if len(symbols) == 1 else ")" if len(symbols) <= 3 else ", ...)"
    if not suite:
        return f"there is no {family(language)} test that could test {what}"
    return f"no test imports this module or names {what}"


def _tests_itself(file: SourceFile, document: Mapping[str, Any]) -> bool:
    """Rust keeps unit tests in the module, below `mod tests`."""
    return file.language == "Rust" and any(
        str(function["name"]).startswith("tests::") or str(function["name"]).startswith("test_")
        for function in document.get("functions", ())
    )


# --- what tests import ----------------------------------------------------------------------------


def tests_of(
    files: Sequence[SourceFile], documents: Mapping[str, Mapping[str, Any]]
) -> dict[str, tuple[str, ...]]:
    """The tests that import each Python, JavaScript or TypeScript module, those of its own name first."""
    tests = [file for file in files if file.test and is_runnable_test(file.path)]
    found: dict[str, list[str]] = {}
    for module, names in _reached(files, tests, documents).items():
        stem = _SUFFIX.sub("", module.rpartition("/")[2]).lower()
        ranked = sorted(set(names), key=lambda name: (stem not in name.rpartition("/")[2].lower(), name))
        found[module] = ranked[:_MAX_TESTS]
    # A Go test belongs to the package of its directory, and to the file of its name.
    for test in tests:
        module = test.path.replace("_test.go", ".go")
        if module != test.path:
            found[module] = [test.path]
    paths = {file.path for file in files if not file.test}
    return {module: tuple(found[module]) for module in sorted(found) if module in paths}


def _reached(
    files: Sequence[SourceFile], tests: Sequence[SourceFile], documents: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[str]]:
    modules: dict[str, set[str]] = {}
    for file in files:
        if file.language == "Python" or file.language in ECMASCRIPT:
            parts = _SUFFIX.sub("", file.path).split("/")
            if parts[-1] in ("__init__", "index") and len(parts) > 1:
                parts = parts[:-1]
            for start in range(len(parts)):
                modules.setdefault("/".join(parts[start:]), set()).add(file.path)
    reached: dict[str, list[str]] = {}
    for test in tests:
        for name, _ in documents.get(test.path, {}).get("imports", ()):
            for module in modules.get(_target(test, str(name)), ()):
                reached.setdefault(module, []).append(test.path)
    return reached


def _target(test: SourceFile, name: str) -> str:
    """The path, without suffix, that an import in a test names; an alias like `@/lib` is taken off."""
    folder = test.path.split("/")[:-1]
    if test.language == "Python":
        dots = len(name) - len(name.lstrip("."))
        rest = [part for part in name.lstrip(".").split(".") if part]
        return "/".join([*folder[: len(folder) - dots + 1], *rest] if dots else rest)
    path = re.sub(r"(\.d)?\.[cm]?[jt]sx?$|\.vue$", "", name)
    if path.startswith("."):
        for part in path.split("/"):
            if part == "..":
                folder = folder[:-1]
            elif part not in (".", ""):
                folder = [*folder, part]
        return "/".join(folder).removesuffix("/index") or "index"
    return re.sub(r"^(@|~|#|src)/", "", path).removesuffix("/index")
