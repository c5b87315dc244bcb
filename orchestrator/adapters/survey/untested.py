"""Modules that no test imports or names, and where a test of them would lie by the project's own habits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.adapters.survey.languages import ECMASCRIPT, is_runnable_test, is_shown
from orchestrator.core.facts import Package, SourceFile, Untested

_WANTED = ECMASCRIPT | {"Python", "Go", "Rust", "Java", "Kotlin", "C#", "Ruby", "PHP"}
_LEAVE_OUT = re.compile(
    r"(^|/)(setup|conftest|manage|noxfile|fabfile|tasks|conf|settings|config|wsgi|asgi|version|_version|__main__)\.py$"
    r"|(^|/)(migrations|alembic|scripts?|bin|tools|dev|fuzz(ing)?|public|static|assets)/|\.d\.[cm]?ts$|\.config\.[cm]?[jt]s$"
    r"|(^|/)(gulpfile|gruntfile|webpack[^/]*|next-env)\.[jt]s$|(^|/)(main|doc)\.go$|(^|/)(main|lib|mod|build)\.rs$",
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
    words: dict[str, set[str]] = {}
    for file in tests:
        words.setdefault(_family(file.language), set()).update(documents[file.path]["words"])
    reached = _reached(files, tests, documents)
    test_names = [(_family(file.language), file.path.rpartition("/")[2].lower()) for file in tests]
    found: list[Untested] = []
    for file in files:
        document = documents.get(file.path, {})
        symbols = [(str(name), int(line)) for name, line in document.get("symbols", ())]
        if (
            file.test or file.generated or file.language not in _WANTED or not symbols or file.path in reached
            or _LEAVE_OUT.search(file.path) or is_shown(file.path)
        ):  # fmt: skip
            continue
        known = words.get(_family(file.language), set())
        if any(name in known for name, _ in symbols) or _tests_itself(file, document):
            continue
        stem = _SUFFIX.sub("", file.path.rpartition("/")[2]).lower()
        if any(
            family == _family(file.language) and len(stem) > 3 and stem in name for family, name in test_names
        ):
            continue
        mine = [test for test in tests if _family(test.language) == _family(file.language)]
        place, near = _place(file, mine, packages, everything={item.path for item in files})
        if place is None:
            continue
        found.append(
            Untested(
                path=file.path,
                symbols=tuple(symbols[:12]),
                lines=file.lines,
                complexity=sum(int(function["complexity"]) for function in document.get("functions", ())),
                test_path=place,
                fact=_fact(len(symbols), symbols[0][0], mine, file.language),
                near=near,
            )
        )
    return tuple(found)


def _family(language: str) -> str:
    return "JavaScript" if language in ECMASCRIPT else language


def _fact(count: int, first: str, tests: Sequence[SourceFile], language: str) -> str:
    if not tests:
        what = f"`{first}`" if count == 1 else f"its {count} functions and classes, `{first}` the first"
        return f"no {_family(language)} test was found in the survey, so none tests {what}"
    what = f"`{first}`" if count == 1 else f"any of its {count} functions and classes, `{first}` the first"
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
        return "/".join(folder).removesuffix("/index")
    return re.sub(r"^(@|~|#|src)/", "", path).removesuffix("/index")


# --- where a test would lie -----------------------------------------------------------------------


def _place(
    file: SourceFile, tests: Sequence[SourceFile], packages: Sequence[Package], *, everything: set[str]
) -> tuple[str | None, str]:
    """The path of a test of `file`, and an existing test to follow; None when there is no habit to go by."""
    folder, _, name = file.path.rpartition("/")
    stem = _SUFFIX.sub("", name)
    package = max((p.directory for p in packages if _below(file.path, p.directory)), key=len, default="")
    mine = [test for test in tests if _below(test.path, package)]
    # A test of another package shows the style, but not the place.
    shown = mine or list(tests)
    match file.language:
        case "Python":
            named = [test for test in mine if re.search(r"(^|/)test_[^/]+\.py$|_test\.py$", test.path)]
            near = _nearest(named or shown, file)
            home = _commonest(named) if named else _join(package, "tests")
            pattern = (
                "{}_test.py" if named and all(t.path.endswith("_test.py") for t in named) else "test_{}.py"
            )
            stem = folder.rpartition("/")[2] if stem == "__init__" else stem.lstrip("_")
            return _free(home, pattern, stem, folder, everything), near
        case "Go":
            return _free(folder, "{}_test.go", stem, folder, everything), _nearest(shown, file)
        case "Rust":
            return file.path, ""
        case "Java" | "Kotlin" | "C#" | "Ruby" | "PHP":
            return _mirrored(file, stem), _nearest(shown, file)
    near = _nearest([test for test in shown if is_runnable_test(test.path)] or shown, file)
    return _ecmascript(file, folder, stem, near if mine else "", package, everything), near


def _ecmascript(
    file: SourceFile, folder: str, stem: str, near: str, package: str, everything: set[str]
) -> str | None:
    suffix = "ts" if file.language == "TypeScript" else "js"
    mark = "test"
    if match := re.search(r"\.(test|spec)\.([cm]?[jt]s)x?$", near):
        mark, suffix = match.group(1), match.group(2)
    if file.path.endswith(("tsx", "jsx")):
        suffix = suffix.removesuffix("x") + "x"
    pattern = f"{{}}.{mark}.{suffix}"
    stem = folder.rpartition("/")[2] if stem == "index" and folder else stem
    if "__tests__/" in near:
        return _free(_join(folder, "__tests__"), pattern, stem, folder, everything)
    if near and not re.search(r"(^|/)(tests?|spec)/", near):
        return _free(folder, pattern, stem, folder, everything)
    home = near.rpartition("/")[0] if near else _join(package, "test")
    if near and not re.search(r"\.(test|spec)\.", near):
        pattern = "{}.test." + near.rpartition(".")[2]
    return _free(home, pattern, stem, folder, everything)


def _mirrored(file: SourceFile, stem: str) -> str | None:
    folder, _, name = file.path.rpartition("/")
    suffix = name.rpartition(".")[2]
    match file.language:
        case "Java" | "Kotlin" if "src/main/" in file.path:
            return f"{folder.replace('src/main/', 'src/test/', 1)}/{stem}Test.{suffix}"
        case "Ruby" if file.path.startswith(("lib/", "app/")):
            return f"spec/{folder.partition('/')[2]}/{stem}_spec.rb".replace("//", "/")
        case "PHP" if file.path.startswith(("src/", "app/")):
            return f"tests/{folder.partition('/')[2]}/{stem}Test.php".replace("//", "/")
    return None


def _nearest(tests: Iterable[SourceFile], file: SourceFile) -> str:
    """The test that shares most directories with the file; the shortest of those."""

    def shared(test: SourceFile) -> int:
        return sum(
            1 for one, other in zip(test.path.split("/"), file.path.split("/"), strict=False) if one == other
        )

    ranked = sorted(tests, key=lambda test: (-shared(test), test.lines < 10, test.lines, test.path))
    return ranked[0].path if ranked else ""


def _commonest(tests: Iterable[SourceFile]) -> str:
    counted = Counter(test.path.rpartition("/")[0] for test in tests)
    return min(counted, key=lambda folder: (-counted[folder], folder))


def _free(home: str, pattern: str, stem: str, folder: str, everything: set[str]) -> str | None:
    parent = folder.rpartition("/")[2]
    for name in (stem, f"{parent}_{stem}"):
        path = _join(home, pattern.format(name))
        if path not in everything and name:
            return path
    return None


def _below(path: str, directory: str) -> bool:
    return not directory or path.startswith(directory + "/")


def _join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name
