"""Which commands a project declares, found where it says so."""

from __future__ import annotations

import json

import pytest

from orchestrator.adapters.survey import node_project, other_projects, python_project
from orchestrator.adapters.survey.manifests import Manifests, Project, named
from orchestrator.core.facts import Command, CommandKind


def commands(files: dict[str, str], *, installed: tuple[str, ...] = ()) -> dict[str, Command]:
    manifests = Manifests({path: text.encode() for path, text in files.items()}, frozenset(files))
    imports = {
        path: [
            (line.split()[1], number)
            for number, line in enumerate(text.splitlines(), 1)
            if line.startswith(("import ", "from "))
        ]
        for path, text in files.items()
        if path.endswith(".py") and "test" in path
    }
    project = Project()
    python_project.read(manifests, project, test_imports=imports)
    node_project.read(manifests, project, installed=frozenset(installed))
    other_projects.read(manifests, project)
    found = named(project.commands)
    for command in found:
        text = files[command.path]
        assert 1 <= command.line <= max(1, len(text.splitlines()))
    assert len({command.name for command in found}) == len(found)
    return {command.name: command for command in found}


def shown(found: dict[str, Command]) -> dict[str, str]:
    return {name: f"{' '.join(command.argv)} @ {command.where}" for name, command in found.items()}


PYPROJECT = """\
[project]
name = "it"
dependencies = ["requests"]

[dependency-groups]
dev = ["pytest>=8"]

[tool.mypy]
strict = true

[tool.ruff]
line-length = 99

[tool.ruff.format]
quote-style = "single"
"""


def test_pytest_mypy_ruff_and_uv():
    found = commands({"pyproject.toml": PYPROJECT, "uv.lock": "", "tests/test_a.py": "", "it.py": ""})
    assert shown(found) == {
        "setup": "uv sync @ uv.lock:1",
        "test": "python -m pytest @ pyproject.toml:6",
        "type": "python -m mypy . @ pyproject.toml:8",
        "lint": "ruff check . @ pyproject.toml:11",
        "format": "ruff format . @ pyproject.toml:14",
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"pytest.ini": "[pytest]\n", "a.py": ""}, "python -m pytest @ pytest.ini:1"),
        (
            {"setup.cfg": "[metadata]\nname = a\n[tool:pytest]\n", "a.py": ""},
            "python -m pytest @ setup.cfg:3",
        ),
        ({"test_a.py": "import os\nimport pytest\n"}, "python -m pytest @ test_a.py:2"),
        (
            {"requirements-dev.txt": "black\npytest==8\n", "tests/test_a.py": "x = 1\n"},
            "python -m pytest @ requirements-dev.txt:2",
        ),
        ({"test_a.py": "import unittest\n"}, "python -m unittest discover -s . @ test_a.py:1"),
        (
            {"tests/test_a.py": "import unittest\n"},
            "python -m unittest discover -s tests @ tests/test_a.py:1",
        ),
        (
            {
                "tests/__init__.py": "",
                "tests/unit/__init__.py": "",
                "tests/unit/test_a.py": "import unittest\n",
            },
            "python -m unittest discover -s tests -t . @ tests/unit/test_a.py:1",
        ),
        (
            {"manage.py": "import os\nimport django\n", "app/tests.py": "from django.test import TestCase\n"},
            "python manage.py test @ manage.py:2",
        ),
        ({"tox.ini": "[tox]\n[testenv]\n", "a.py": ""}, "tox @ tox.ini:2"),
        ({"noxfile.py": "import nox\n\n\ndef tests(session):\n    pass\n"}, "nox -s tests @ noxfile.py:4"),
    ],
)
def test_the_test_runner_of_a_python_project(files: dict[str, str], expected: str):
    assert shown(commands(files))["test"] == expected


def test_a_python_project_without_tests_has_no_test_command():
    # Nothing would run, and a command that proves nothing must not be called a test.
    assert "test" not in commands({"pyproject.toml": PYPROJECT, "it.py": ""})


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"poetry.lock": "", "pyproject.toml": "[tool.poetry]\nname = 'a'\n", "a.py": ""}, "poetry install"),
        ({"requirements.txt": "flask\n", "a.py": ""}, "python -m pip install -r requirements.txt"),
        ({"setup.py": "from setuptools import setup\nsetup()\n"}, "python -m pip install -e ."),
        ({"Pipfile.lock": "{}", "a.py": ""}, "pipenv sync --dev"),
    ],
)
def test_the_set_up_of_a_python_project(files: dict[str, str], expected: str):
    assert " ".join(commands(files)["setup"].argv) == expected


def test_a_workspace_of_uv_packages():
    files = {
        "pyproject.toml": "[project]\nname = 'root'\n[tool.uv.workspace]\nmembers = ['examples/*']\n",
        "uv.lock": "",
        "examples/one/pyproject.toml": "[project]\nname = 'one'\n[tool.pytest.ini_options]\n",
        "examples/one/one.py": "",
        "docs/pyproject.toml": "[project]\nname = 'docs'\n[tool.pytest.ini_options]\n",
    }
    found = shown(commands(files))
    assert found["test:examples/one"] == "python -m pytest examples/one @ examples/one/pyproject.toml:3"
    assert not [name for name in found if "docs" in name]


def package(name: str = "it", **scripts: str) -> str:
    return json.dumps({"name": name, "version": "1.0.0", "scripts": scripts}, indent=2)


@pytest.mark.parametrize(
    ("lock", "setup", "run"),
    [
        ("package-lock.json", "npm ci", "npm run"),
        ("pnpm-lock.yaml", "pnpm install --frozen-lockfile", "pnpm run"),
        ("yarn.lock", "yarn install --frozen-lockfile", "yarn run"),
        ("bun.lock", "bun install --frozen-lockfile", "bun run"),
    ],
)
def test_npm_pnpm_yarn_and_bun_scripts(lock: str, setup: str, run: str):
    text = package(**{"test": "vitest run", "lint": "eslint .", "check-types": "tsc", "build": "vite build"})
    found = shown(commands({"package.json": text, lock: ""}))
    assert found == {
        "setup": f"{setup} @ {lock}:1",
        "test": f"{run} test @ package.json:5",
        "type": f"{run} check-types @ package.json:7",
        "lint": f"{run} lint @ package.json:6",
        "build": f"{run} build @ package.json:8",
    }


def test_without_a_lock_file_the_set_up_is_what_the_dependencies_ask_for():
    manifest = {"name": "it", "scripts": {"test": "vitest"}, "devDependencies": {"vitest": "^3"}}
    assert shown(commands({"package.json": json.dumps(manifest, indent=2)})) == {
        "setup": "npm install @ package.json:6",
        "test": "npm run test @ package.json:4",
    }
    assert "setup" not in commands({"package.json": package(test="node --test")})


@pytest.mark.parametrize(
    "body",
    ['echo "Error: no test specified" && exit 1', "vitest --watch", "jest --watch", "", "exit 0"],
)
def test_a_script_that_tests_nothing_or_never_ends_is_no_test_command(body: str):
    assert "test" not in commands({"package.json": package(test=body)})


def test_a_workspace_runs_the_scripts_of_its_packages_from_the_root():
    files = {
        "package.json": json.dumps(
            {"name": "root", "private": True, "scripts": {"lint": "turbo run lint"}}, indent=2
        ),
        "pnpm-workspace.yaml": "packages:\n  - 'examples/*'\n  - packages/*\n",
        "pnpm-lock.yaml": "",
        "turbo.json": json.dumps({"tasks": {"test": {}, "build": {}}}, indent=2),
        "packages/api/package.json": package("@it/api", test="vitest run"),
        "examples/app/package.json": package("app", build="vite build"),
        "fixtures/thing/package.json": package("thing", test="jest"),
    }
    assert shown(commands(files)) == {
        "setup": "pnpm install --frozen-lockfile @ pnpm-lock.yaml:1",
        "lint": "pnpm run lint @ package.json:5",
        "test": "npx --no-install turbo run test @ turbo.json:3",
        "build": "npx --no-install turbo run build @ turbo.json:4",
        "test:packages/api": "pnpm --dir packages/api run test @ packages/api/package.json:5",
        "build:examples/app": "pnpm --dir examples/app run build @ examples/app/package.json:5",
    }


def test_nx_targets():
    files = {
        "nx.json": "{}",
        "package.json": package("root"),
        "apps/web/project.json": json.dumps({"name": "web", "targets": {"test": {}, "lint": {}}}, indent=2),
    }
    assert shown(commands(files)) == {
        "test:apps/web": "npx --no-install nx run web:test @ apps/web/project.json:4",
        "lint:apps/web": "npx --no-install nx run web:lint @ apps/web/project.json:5",
    }


def test_the_projects_own_compiler_is_named_only_where_it_is_installed():
    text = json.dumps({"name": "it", "devDependencies": {"typescript": "5", "eslint": "9"}}, indent=2)
    files = {"package.json": text, "tsconfig.json": "{}"}
    assert shown(commands(files)).keys() == {"setup"}
    assert shown(commands(files, installed=("tsc", "eslint"))) == {
        "setup": "npm install @ package.json:3",
        "type": "npx --no-install tsc --noEmit -p . @ package.json:4",
        "lint": "npx --no-install eslint . @ package.json:5",
    }


def test_go_modules():
    files = {
        "go.mod": "module example.org/it\n",
        "main.go": "",
        "tool/go.mod": "module t\n",
        "tool/a_test.go": "",
    }
    assert shown(commands(files)) == {
        "setup": "go mod download @ go.mod:1",
        "test": "go test ./... @ tool/a_test.go:1",
        "build": "go build ./... @ go.mod:1",
        "lint": "go vet ./... @ go.mod:1",
        "setup:tool": "go -C tool mod download @ tool/go.mod:1",
        "test:tool": "go -C tool test ./... @ tool/a_test.go:1",
        "build:tool": "go -C tool build ./... @ tool/go.mod:1",
        "lint:tool": "go -C tool vet ./... @ tool/go.mod:1",
    }


def test_cargo_workspaces_are_run_from_their_top():
    files = {
        "Cargo.toml": "[workspace]\nmembers = ['one']\n",
        "one/Cargo.toml": "[package]\nname = 'one'\n",
        "one/src/lib.rs": "",
    }
    assert shown(commands(files)) == {
        "setup": "cargo fetch @ Cargo.toml:1",
        "test": "cargo test @ Cargo.toml:1",
        "build": "cargo build @ Cargo.toml:1",
    }


def test_make_targets_come_after_what_the_languages_say():
    makefile = "TEST := yes\n.PHONY: test\ntest: build\n\tpytest\nlint:\n\truff check\nbuild: ; true\n"
    found = shown(commands({"Makefile": makefile, "pytest.ini": "[pytest]\n", "a.py": ""}))
    assert found == {
        "test": "python -m pytest @ pytest.ini:1",
        "test:make": "make test @ Makefile:3",
        "lint": "make lint @ Makefile:5",
        "build": "make build @ Makefile:7",
    }


def test_the_command_of_a_file_is_its_packages_own_or_the_roots():
    from orchestrator.core.facts import Survey

    found = commands(
        {
            "package.json": package("root", lint="eslint ."),
            "packages/a/package.json": package("a", lint="eslint src"),
        }
    )
    survey = Survey(commit="0", commands=tuple(found.values()))
    inside = survey.command(CommandKind.LINT, path="packages/a/src/x.ts")
    outside = survey.command(CommandKind.LINT, path="packages/ab/x.ts")
    assert inside is not None and inside.name == "lint:packages/a"
    assert outside is not None and outside.name == "lint"
    assert survey.command(CommandKind.TEST, path="packages/a/src/x.ts") is None


@pytest.mark.parametrize(
    "text", ["{", "[]", "null", '{"scripts": []}', '{"scripts": {"test": 3}}', "\ufeff{}", ""]
)
def test_broken_manifests_declare_nothing(text: str):
    found = commands(
        {"package.json": text, "pyproject.toml": text, "a.py": "", "Cargo.toml": text, "turbo.json": text}
    )
    assert (
        not [name for name in found if name.startswith(("test", "type"))] or found["test"].argv[0] == "cargo"
    )
