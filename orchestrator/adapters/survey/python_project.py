"""Python: packages (uv workspaces included), set-up, test runner, type checker, linter and formatter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.adapters.survey.languages import is_shown
from orchestrator.adapters.survey.manifests import Found, Manifests, Project, join, line_of
from orchestrator.core.facts import CommandKind, Package

_PYTHON = "python"
_TEST_FILE = re.compile(r"(^|/)(test_[^/]+|[^/]+_test|tests)\.py$")


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonStyle:
    """What the project says of its format: whether ruff or black made it, and the length of a line."""

    formatter: str | None
    line_length: int | None
    where: str


def read(
    manifests: Manifests, project: Project, *, test_imports: Mapping[str, Iterable[tuple[str, int]]]
) -> None:
    """Add what the Python manifests declare. `test_imports` are the imports of each Python test file, with lines."""
    python = any(path.endswith(".py") for path in manifests.everything)
    workspace = manifests.toml("pyproject.toml").get("tool", {}).get("uv", {}).get("workspace", {})
    globs = [str(glob) for glob in workspace.get("members", [])] if isinstance(workspace, dict) else []
    roots = [directory for directory, _ in manifests.named("pyproject.toml", globs=globs)]
    roots += [directory for directory, _ in manifests.named("setup.py") if directory not in roots]
    for directory in roots:
        path = join(directory, "pyproject.toml")
        document = manifests.toml(path)
        if manifests.text(path) is None:
            path = join(directory, "setup.py")
        elif not ({"project", "build-system"} & document.keys() or "poetry" in document.get("tool", {})):
            continue
        declared = document.get("project") or document.get("tool", {}).get("poetry") or {}
        line = line_of(manifests.text(path) or "", r"^\s*name\s*=") or 1
        project.packages.append(
            Package(
                name=str(declared.get("name") or directory.rpartition("/")[2] or "(root)"),
                directory=directory,
                ecosystem="python",
                path=path,
                line=line,
            )
        )
    if not python:
        return
    project.commands += _setup(manifests)
    for directory in sorted({"", *roots}, key=lambda directory: (directory.count("/"), directory)):
        project.commands += _tests(manifests, directory, test_imports, nested=[r for r in roots if r])
        project.commands += _checkers(manifests, directory)


def _setup(manifests: Manifests) -> list[Found]:
    choices = (
        ("uv.lock", ("uv", "sync")),
        ("poetry.lock", ("poetry", "install")),
        ("pdm.lock", ("pdm", "install")),
        ("Pipfile.lock", ("pipenv", "sync", "--dev")),
    )
    for lock, argv in choices:
        if lock in manifests.everything:
            return [Found(kind=CommandKind.SETUP, argv=argv, path=lock, line=1, label=argv[0])]
    found: list[Found] = []
    for path, _ in manifests.requirements():
        if path.count("/") <= 1 and not is_shown(path):
            install = (_PYTHON, "-m", "pip", "install", "-r", path)
            label = path.removesuffix(".txt").removesuffix(".in").replace("/", "-")
            found.append(Found(kind=CommandKind.SETUP, argv=install, path=path, line=1, label=label))
    found.sort(key=lambda item: (item.path != "requirements.txt", item.path))
    for path, pattern in (
        ("pyproject.toml", r"^\[(project|build-system|tool\.poetry)\]"),
        ("setup.py", r"setup\("),
    ):
        text = manifests.text(path)
        if text is not None and (line := line_of(text, pattern)):
            editable = (_PYTHON, "-m", "pip", "install", "-e", ".")
            found.append(Found(kind=CommandKind.SETUP, argv=editable, path=path, line=line, label="editable"))
            break
    return found


def _tests(
    manifests: Manifests,
    directory: str,
    test_imports: Mapping[str, Iterable[tuple[str, int]]],
    *,
    nested: list[str],
) -> list[Found]:
    def mine(path: str) -> bool:
        if directory:
            return path.startswith(directory + "/")
        return True

    files = {path: found for path, found in test_imports.items() if mine(path) and _TEST_FILE.search(path)}
    found: list[Found] = []
    suffix = (directory,) if directory else ()
    manage = join(directory, "manage.py")
    if place := _declares_pytest(manifests, directory, files):
        found.append(
            Found(
                kind=CommandKind.TEST, argv=(_PYTHON, "-m", "pytest", *suffix), path=place[0], line=place[1],
                package=directory, source=place[2], label="pytest",
            )
        )  # fmt: skip
    elif files and "django" in (manifests.text(manage) or "").lower():
        line = line_of(manifests.text(manage) or "", "django") or 1
        found.append(
            Found(
                kind=CommandKind.TEST, argv=(_PYTHON, manage, "test"), path=manage, line=line, package=directory,
                source="a Django project with tests", label="django",
            )
        )  # fmt: skip
    else:
        for path, imports in sorted(files.items()):
            line = next((line for name, line in imports if name.partition(".")[0] == "unittest"), 0)
            if line:
                found.append(
                    Found(
                        kind=CommandKind.TEST, argv=_unittest(manifests, path, directory), path=path, line=line,
                        package=directory, source="import unittest", label="unittest",
                    )
                )  # fmt: skip
                break
    if directory:
        return found
    if (text := manifests.text("tox.ini")) is not None and (line := line_of(text, r"^\[testenv")):
        found.append(Found(kind=CommandKind.TEST, argv=("tox",), path="tox.ini", line=line, label="tox"))
    if (text := manifests.text("pyproject.toml")) is not None and (line := line_of(text, r"^\[tool\.tox")):
        found.append(
            Found(kind=CommandKind.TEST, argv=("tox",), path="pyproject.toml", line=line, label="tox")
        )
    if (text := manifests.text("noxfile.py")) is not None and (line := line_of(text, r"def tests?\b")):
        found.append(
            Found(
                kind=CommandKind.TEST, argv=("nox", "-s", _session(text)), path="noxfile.py", line=line, label="nox"
            )
        )  # fmt: skip
    return found


def _session(text: str) -> str:
    match = re.search(r"def (tests?)\b", text)
    return match.group(1) if match else "tests"


def _declares_pytest(
    manifests: Manifests, directory: str, files: Mapping[str, Iterable[tuple[str, int]]]
) -> tuple[str, int, str] | None:
    for name, pattern in (
        ("pyproject.toml", r"^\[tool\.pytest"),
        ("pytest.ini", r"^\[pytest\]"),
        (".pytest.ini", r"^\[pytest\]"),
        ("setup.cfg", r"^\[tool:pytest\]"),
        ("tox.ini", r"^\[pytest\]"),
    ):
        path = join(directory, name)
        text = manifests.text(path)
        if text is not None and (line := line_of(text, pattern)):
            return path, line, text.splitlines()[line - 1].strip()
    for path, imports in sorted(files.items()):
        line = next((line for name, line in imports if name.partition(".")[0] == "pytest"), 0)
        if line:
            return path, line, "import pytest"
    if not files:
        return None
    dependency = r"(^|[\s\"'\[,])pytest([\s\"'=<>~!,\];\[]|$)"
    candidates = [
        join(directory, name) for name in ("pyproject.toml", "setup.cfg", "setup.py", "tox.ini", "Pipfile")
    ]
    if not directory:
        candidates += [path for path, _ in manifests.requirements()]
    for path in candidates:
        text = manifests.text(path)
        if text is not None and (line := line_of(text, dependency)):
            return path, line, text.splitlines()[line - 1].strip()
    return None


def _unittest(manifests: Manifests, path: str, directory: str) -> tuple[str, ...]:
    """`unittest discover` for the directory of a test file; from the root where its directories are packages."""
    folder, _, name = path.rpartition("/")
    pattern = () if name.startswith("test") else ("-p", "*_test.py")
    start = folder
    while start and join(start, "__init__.py") in manifests.everything:
        start = start.rpartition("/")[0]
    if folder and start == directory:
        return (_PYTHON, "-m", "unittest", "discover", "-s", folder.split("/")[0] if not directory else folder,
                "-t", directory or ".", *pattern)  # fmt: skip
    return (_PYTHON, "-m", "unittest", "discover", "-s", folder or ".", *pattern)


def _checkers(manifests: Manifests, directory: str) -> list[Found]:
    found: list[Found] = []
    target = directory or "."
    choices: tuple[tuple[CommandKind, str, str, tuple[str, ...]], ...] = (
        (CommandKind.TYPE, "pyproject.toml", r"^\[tool\.mypy\]", (_PYTHON, "-m", "mypy")),
        (CommandKind.TYPE, "mypy.ini", r"^\[mypy\]", (_PYTHON, "-m", "mypy")),
        (CommandKind.TYPE, ".mypy.ini", r"^\[mypy\]", (_PYTHON, "-m", "mypy")),
        (CommandKind.TYPE, "setup.cfg", r"^\[mypy\]", (_PYTHON, "-m", "mypy")),
        (CommandKind.TYPE, "pyproject.toml", r"^\[tool\.pyright\]", ("pyright",)),
        (CommandKind.TYPE, "pyrightconfig.json", r"\{", ("pyright",)),
        (CommandKind.LINT, "pyproject.toml", r"^\[tool\.ruff", ("ruff", "check", target)),
        (CommandKind.LINT, "ruff.toml", r"\S", ("ruff", "check", target)),
        (CommandKind.LINT, ".ruff.toml", r"\S", ("ruff", "check", target)),
        (CommandKind.LINT, ".flake8", r"^\[flake8\]", (_PYTHON, "-m", "flake8", target)),
        (CommandKind.LINT, "setup.cfg", r"^\[flake8\]", (_PYTHON, "-m", "flake8", target)),
        (CommandKind.LINT, "tox.ini", r"^\[flake8\]", (_PYTHON, "-m", "flake8", target)),
        (CommandKind.FORMAT, "pyproject.toml", r"^\[tool\.ruff\.format", ("ruff", "format", target)),
        (CommandKind.FORMAT, ".pre-commit-config.yaml", r"id:\s*ruff-format\b", ("ruff", "format", target)),
        (CommandKind.FORMAT, "pyproject.toml", r"^\[tool\.black\]", (_PYTHON, "-m", "black", target)),
        (CommandKind.FORMAT, ".pre-commit-config.yaml", r"id:\s*black\b", (_PYTHON, "-m", "black", target)),
    )
    for kind, name, pattern, argv in choices:
        path = join(directory, name)
        text = manifests.text(path)
        if text is None or not (line := line_of(text, pattern)):
            continue
        if any(item.kind is kind and item.label == argv[0 if argv[0] != _PYTHON else 2] for item in found):
            continue
        if argv[-1] == "mypy" and not _mypy_knows_what(manifests, path):
            argv = (*argv, target)
        label = argv[2] if argv[0] == _PYTHON else argv[0]
        source = text.splitlines()[line - 1].strip()
        found.append(
            Found(kind=kind, argv=argv, path=path, line=line, package=directory, source=source, label=label)
        )
    return found


def _mypy_knows_what(manifests: Manifests, path: str) -> bool:
    if path.endswith("pyproject.toml"):
        mypy = manifests.toml(path).get("tool", {}).get("mypy", {})
        # Run from the root: a nested package's own list of files would not be found.
        return "/" not in path and bool({"files", "packages", "modules"} & mypy.keys())
    text = manifests.text(path) or ""
    return "/" not in path and line_of(text, r"^(files|packages|modules)\s*=") > 0


def style(manifests: Manifests) -> PythonStyle:
    """What formatted the project's Python, as far as it says so."""
    document = manifests.toml("pyproject.toml").get("tool", {})
    text = manifests.text("pyproject.toml") or ""
    hooks = manifests.text(".pre-commit-config.yaml") or ""
    for name in ("ruff.toml", ".ruff.toml"):
        if manifests.text(name) is not None:
            return PythonStyle(
                formatter="ruff", line_length=manifests.toml(name).get("line-length"), where=f"{name}:1"
            )
    if line := line_of(text, r"^\[tool\.ruff"):
        return PythonStyle(
            formatter="ruff",
            line_length=document.get("ruff", {}).get("line-length"),
            where=f"pyproject.toml:{line}",
        )
    if line := line_of(hooks, r"id:\s*ruff-format\b"):
        return PythonStyle(formatter="ruff", line_length=None, where=f".pre-commit-config.yaml:{line}")
    if line := line_of(text, r"^\[tool\.(black|yapf|autopep8)"):
        return PythonStyle(formatter="other", line_length=None, where=f"pyproject.toml:{line}")
    if line := line_of(hooks, r"id:\s*(black|yapf|autopep8)\b"):
        return PythonStyle(formatter="other", line_length=None, where=f".pre-commit-config.yaml:{line}")
    return PythonStyle(formatter=None, line_length=None, where="")
