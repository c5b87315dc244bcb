"""Prepared worktrees: what is detected, made once and linked; whose code runs; and the files a worktree lacks."""

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

import pytest

from orchestrator.adapters.canary import look
from orchestrator.adapters.check_runner import CheckRunner, Environment, Ran
from orchestrator.adapters.git import Repository
from orchestrator.adapters.preparation import Preparation
from orchestrator.adapters.preparation_compiled import detect_cargo, detect_go, outside
from orchestrator.adapters.preparation_node import detect_node
from orchestrator.adapters.preparation_python import detect_python, import_roots, own_packages
from orchestrator.adapters.preparation_recipe import Built, CannotPrepare, failed
from orchestrator.adapters.registries import local_places, registry_variables
from orchestrator.adapters.sandbox import Sandbox
from orchestrator.core.ports import Worktree
from tests.adapters.repositories import make_repository, write
from tests.conftest import find_tool, skip_unless

PYPROJECT = '[project]\nname = "shop"\nversion = "1"\ndependencies = ["attrs"]\n'


class SetUp:
    """A set-up that runs nothing: remembers the commands, and what it did not know of fails as asked."""

    def __init__(self, *, fails: str = "", then=lambda argv, cwd: None):
        self.commands, self.fails, self.then = [], fails, then

    async def __call__(self, argv, cwd, variables):
        self.commands.append(" ".join(map(str, argv)))
        self.then(argv, Path(cwd))
        bad = bool(self.fails) and self.fails in self.commands[-1]
        return Ran(
            argv=tuple(argv), exit_code=int(bad), seconds=0.0, output="ERROR: no such thing\n" if bad else ""
        )


# --- Python -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "tool"),
    [
        ({"app.py": "x = 1\n"}, None),
        ({"pyproject.toml": "[tool.ruff]\n"}, None),
        ({"pyproject.toml": '[project]\nname = "a"\nversion = "1"\n'}, None),
        ({"pyproject.toml": PYPROJECT}, "pip"),
        ({"requirements.txt": "attrs\n"}, "pip"),
        ({"requirements/dev.txt": "attrs\n"}, "pip"),
        ({"setup.py": "setup(install_requires=['attrs'])\n"}, "pip"),
        ({"pyproject.toml": PYPROJECT, "uv.lock": ""}, "uv"),
        ({"pyproject.toml": PYPROJECT, "poetry.lock": ""}, "poetry"),
        ({"pyproject.toml": "not [ toml"}, None),
    ],
)
def test_what_a_python_project_needs_is_read_from_its_manifests(tmp_path, files, tool):
    write(tmp_path, files)
    found = detect_python(tmp_path)
    assert (found.tool if found else None) == tool


def test_the_key_follows_the_lock_file_and_nothing_else(tmp_path):
    write(tmp_path, {"requirements.txt": "attrs\n", "app.py": "x = 1\n"})
    first = detect_python(tmp_path).key
    write(tmp_path, {"app.py": "x = 2\n", "README.md": "# it\n"})
    assert detect_python(tmp_path).key == first
    write(tmp_path, {"requirements.txt": "attrs>=1\n"})
    assert detect_python(tmp_path).key != first


def test_groups_and_extras_for_tests_are_installed_too(tmp_path):
    text = (
        PYPROJECT
        + '[project.optional-dependencies]\ntests = ["pytest"]\ndocs = ["sphinx"]\n[dependency-groups]\n'
        + 'dev = ["hypothesis", {include-group = "lint"}]\nlint = ["ruff"]\nrelease = ["twine"]\n'
    )
    write(tmp_path / "wt", {"pyproject.toml": text, "requirements-dev.txt": "coverage\n"})
    found, set_up = detect_python(tmp_path / "wt"), SetUp()
    (tmp_path / "place").mkdir()
    asyncio.run(found.build(tmp_path / "place", tmp_path / "wt", set_up))
    assert set_up.commands[0].endswith(f"-m venv {tmp_path}/place/venv")
    assert set_up.commands[1].endswith("-r requirements-dev.txt hypothesis ruff .[tests]")


def test_poetrys_versions_are_read_as_pip_knows_them(tmp_path):
    text = (
        '[tool.poetry]\nname = "a"\n[tool.poetry.dependencies]\npython = "^3.11"\n'
        "[tool.poetry.group.dev.dependencies]\n"
        'pytest = "^8.1"\ncoverage = "*"\nmypy = "~1.2.3"\nruff = "0.5"\nolder = "^0.3.1"\ntyped = {version = ">=2"}\n'
    )
    write(tmp_path, {"pyproject.toml": text})
    assert detect_python(tmp_path).grouped == (
        "pytest>=8.1,<9", "coverage", "mypy>=1.2.3,<1.3", "ruff==0.5", "older>=0.3.1,<0.4", "typed>=2",
    )  # fmt: skip


def test_the_line_that_tells_why_a_set_up_failed_is_the_one_that_is_shown():
    said = "Scope: all 16\n ERR_PNPM_LOCKFILE_CONFIG_MISMATCH  Cannot proceed\n\nUpdate your lockfile\n"
    ran = Ran(argv=("pnpm",), exit_code=1, seconds=0.0, output=said)
    assert str(failed("pnpm install", ran)) == (
        "pnpm install ended with exit code 1: ERR_PNPM_LOCKFILE_CONFIG_MISMATCH  Cannot proceed"
    )


def test_where_poetry_fails_pip_sets_up_and_that_is_said(tmp_path, monkeypatch):
    write(tmp_path, {"bin/poetry": "#!/bin/sh\n", "wt/pyproject.toml": PYPROJECT, "wt/poetry.lock": ""})
    (tmp_path / "bin" / "poetry").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    recipe = detect_python(tmp_path / "wt")

    def made(argv, cwd):
        if "venv" in argv:
            write(Path(argv[-1]), {"bin/python": ""})

    places = {}
    for fails in ("", "poetry install", "install"):
        set_up = SetUp(fails=fails, then=made)
        built = Built(tmp_path / f"built-{len(places)}-{len(fails)}")
        if fails == "install":
            # Neither can: the first is the one to mend.
            with pytest.raises(CannotPrepare, match=r"^poetry install ended"):
                asyncio.run(built.make(recipe, tmp_path / "wt", set_up))
        else:
            places[fails] = recipe.use(
                asyncio.run(built.make(recipe, tmp_path / "wt", set_up)), tmp_path / "wt"
            )
    assert places[""].said == "set up with poetry"
    said = "set up with pip without the lock, because poetry install ended with exit code 1: ERROR: no such thing"
    assert places["poetry install"].said == said


def test_a_set_up_that_fails_says_which_command_and_leaves_nothing(tmp_path):
    write(tmp_path / "wt", {"requirements.txt": "attrs\n"})
    built = Built(tmp_path / "environments")
    with pytest.raises(CannotPrepare, match="pip install ended with exit code 1: ERROR: no such thing"):
        asyncio.run(built.make(detect_python(tmp_path / "wt"), tmp_path / "wt", SetUp(fails="pip install")))
    assert list((tmp_path / "environments").iterdir()) == []


def test_import_roots_are_src_or_the_root_also_of_workspace_members(tmp_path):
    write(tmp_path, {
        "pyproject.toml": '[tool.uv.workspace]\nmembers = ["packages/*", "../out"]\n',
        "packages/a/src/alpha/__init__.py": "",
        "packages/b/beta/__init__.py": "",
        "top/__init__.py": "",
        "tests/__init__.py": "",
        "setup.py": "",
    })  # fmt: skip
    roots = [root.relative_to(tmp_path).as_posix() for root in import_roots(tmp_path)]
    assert roots == [".", "packages/a/src", "packages/b"]
    assert own_packages(tmp_path) == ("top", "alpha", "beta")


def prepared(tmp_path: Path, files, **options):
    """A repository with these files, and the preparation of its worktrees."""
    make_repository(tmp_path / "repo", files)
    environ = dict(os.environ)
    repository = Repository.open(tmp_path / "repo", environ)

    async def changed(worktree):
        root = Path(worktree.path)
        return [path for path, text in files.items() if (root / path).read_text() != text]

    made = Preparation(
        repository=repository,
        base=repository.head(),
        changed=changed,
        sandbox=Sandbox.probe(),
        environ=environ,
        cache=tmp_path / "cache",
        **options,
    )
    write(tmp_path / "wt", files)
    return made, Worktree(path=str(tmp_path / "wt"), base=repository.head(), name="wt.1")


def test_a_project_without_dependencies_needs_nothing(tmp_path):
    made, worktree = prepared(tmp_path, {"shop/__init__.py": ""})
    environment = asyncio.run(made.prepare(worktree))
    assert environment.python == sys.executable and environment.said == "no set-up needed"
    assert environment.variables == {"PYTHONPATH": worktree.path}


def test_configured_commands_are_the_only_set_up_and_run_in_the_worktree(tmp_path):
    files = {"requirements.txt": "nowhere-to-be-found\n", "make.py": "open('made', 'w').write('x')\n"}
    made, worktree = prepared(tmp_path, files, commands=[("python", "make.py")], network=False)
    environment = asyncio.run(made.prepare(worktree))
    assert environment.said == "set up as configured" and (tmp_path / "wt/made").read_text() == "x"
    broken, worktree = prepared(tmp_path / "b", files, commands=[("python", "-c", "raise SystemExit('no')")])
    with pytest.raises(CannotPrepare, match="the configured set-up python -c"):
        asyncio.run(broken.prepare(worktree))


def test_there_is_a_network_only_for_what_the_base_declares(tmp_path):
    """What a model has written may not call home, and finds no included file either."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        script = (
            "import os, socket\ntry:\n"
            f"    socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 1)\n    called = True\n"
            "except OSError:\n    called = False\n"
            "open('seen', 'w').write(f\"{called} {'.env' in os.listdir('.')}\")\n"
        )
        files = {"scripts/make.py": script, ".gitignore": ".env\nseen\n", ".worktreeinclude": ".env\n"}
        made, worktree = prepared(tmp_path, files, commands=[("python", "scripts/make.py")])
        write(tmp_path / "repo", {".env": "A=1\n"})
        root = Path(worktree.path)
        asyncio.run(made.prepare(worktree))
        assert (root / "seen").read_text() == "True False" and (root / ".env").exists()
        write(root, {"scripts/make.py": script + "# by a model\n"})
        (root / ".env").unlink()
        asyncio.run(made.prepare(worktree))
        assert (root / "seen").read_text() == "False False"


def test_ignored_files_that_are_named_are_copied_and_no_others(tmp_path):
    files = {
        ".gitignore": ".env\nlocal/\nlink\n",
        ".worktreeinclude": ".env\nlocal/*.json\nlink\nREADME.md\n*.txt\n",
    }
    made, worktree = prepared(tmp_path, files | {"README.md": "# it\n"})
    write(tmp_path, {"secret": "outside\n"})
    write(
        tmp_path / "repo",
        {".env": "A=1\n", "local/a.json": "{}", "local/b.yml": "b", "new.txt": "not ignored"},
    )
    (tmp_path / "repo" / "link").symlink_to(tmp_path / "secret")
    asyncio.run(made.prepare(worktree))
    found = {
        path.relative_to(worktree.path).as_posix()
        for path in Path(worktree.path).rglob("*")
        if path.is_file()
    }
    assert found == {".gitignore", ".worktreeinclude", "README.md", ".env", "local/a.json"}


@pytest.mark.slow
def test_an_environment_is_built_once_and_the_worktrees_code_is_what_runs(tmp_path):
    """A real virtual environment of a project in a src layout, its own code taken out again."""
    files = {
        "pyproject.toml": '[project]\nname = "shop"\nversion = "1"\nscripts = {shop = "shop:main"}\n'
        "optional-dependencies = {test = []}\n"
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n',
        "src/shop/__init__.py": "def main():\n    print('worktree')\n",
        "requirements.txt": "\n",
    }
    made, worktree = prepared(tmp_path, files)
    environment = asyncio.run(made.prepare(worktree))
    assert environment.said.startswith("set up with pip")
    assert asyncio.run(made.prepare(worktree)) == environment
    runner = CheckRunner(sandbox=Sandbox.probe(), environ=dict(os.environ), seconds=60.0)
    canary = asyncio.run(look(runner, worktree.path, environment))
    assert canary.fault == "" and "shop imported from the worktree" in canary.proved
    ran = asyncio.run(runner.run(("shop",), worktree=worktree.path, environment=environment))
    assert ran.output == "worktree\n"
    gone = Environment(python=environment.python, readable=environment.readable)
    ran = asyncio.run(runner.run(("python", "-c", "import shop"), worktree=worktree.path, environment=gone))
    assert ran.exit_code == 1 and "No module named" in ran.output


# --- the canary ---------------------------------------------------------------------------------------


def test_an_editable_install_of_another_checkout_is_found_out(tmp_path):
    """The environment puts the user's checkout in front, as a `.pth` file or PYTHONPATH of an activated one does."""
    write(tmp_path / "checkout", {"shop/__init__.py": ""})
    write(tmp_path / "wt", {"src/shop/__init__.py": ""})
    environment = Environment(
        variables={"PYTHONPATH": str(tmp_path / "checkout")}, readable=(str(tmp_path / "checkout"),)
    )
    runner = CheckRunner(sandbox=Sandbox.probe(), environ=dict(os.environ), seconds=60.0)
    canary = asyncio.run(look(runner, str(tmp_path / "wt"), environment))
    assert "would not run the worktree's code: package shop comes from" in canary.fault
    assert asyncio.run(look(runner, str(tmp_path / "wt"), Environment())).fault.endswith("shop is not found")


def test_modules_from_beside_the_repository_are_found_out(tmp_path):
    write(
        tmp_path / "wt",
        {"go.mod": "module a\n\nreplace b => ../b\n", "sub/go.mod": "module c\nreplace d => ./d\n"},
    )
    assert outside(tmp_path / "wt") == "go.mod takes ../b from outside the repository"
    write(tmp_path / "wt", {"go.mod": "module a\n\nreplace b => ./b\n"})
    assert outside(tmp_path / "wt") is None
    write(tmp_path / "wt", {"Cargo.toml": '[dependencies]\nb = { path = "../b" }\n'})
    assert "Cargo.toml takes ../b" in outside(tmp_path / "wt")


# --- Node ---------------------------------------------------------------------------------------------

WORKSPACE = {
    "package.json": json.dumps({"name": "root", "workspaces": ["packages/*"]}),
    "package-lock.json": "{}",
    "packages/core/package.json": json.dumps({"name": "@w/core", "main": "index.js"}),
    "packages/core/index.js": "module.exports = 'the worktree';\n",
    "packages/app/package.json": json.dumps({"name": "app", "dependencies": {"@w/core": "*"}}),
    "packages/app/index.js": "console.log(require('@w/core'), require('left'));\n",
}


def install(argv, tree: Path) -> None:
    """What npm leaves: a package of its own, and links to the packages of the workspace."""
    if "ci" not in argv:
        return
    write(
        tree,
        {
            "node_modules/left/package.json": '{"name": "left"}',
            "node_modules/left/index.js": "module.exports = 1\n",
        },
    )
    (tree / "node_modules/@w").mkdir()
    (tree / "node_modules/@w/core").symlink_to("../../packages/core")
    (tree / "node_modules/app").symlink_to("../packages/app")
    write(tree, {"node_modules/.bin/left": "#!/bin/sh\n"})


def test_workspace_packages_are_linked_to_the_worktree_and_others_to_the_installation(tmp_path):
    root = (tmp_path / "wt").resolve()
    write(root, WORKSPACE)
    recipe = detect_node(root)
    assert (recipe.manager, recipe.locked) == ("npm", True)
    place = asyncio.run(Built(tmp_path / "environments").make(recipe, root, SetUp(then=install)))
    assert not (place / "tree/packages/core/index.js").exists()
    for _ in range(2):
        environment = recipe.use(place, root)
    assert (root / "node_modules/@w/core").resolve() == root / "packages/core"
    assert (root / "node_modules/left").resolve() == (place / "tree/node_modules/left").resolve()
    runner = CheckRunner(sandbox=Sandbox.probe(), environ=dict(os.environ), seconds=60.0)
    canary = asyncio.run(look(runner, str(root), environment))
    assert canary.fault == "" and "2 links to packages of the workspace" in canary.proved
    skip_unless(find_tool("node"), "node is not installed")
    ran = asyncio.run(
        runner.run(("node", "packages/app/index.js"), worktree=str(root), environment=environment)
    )
    assert ran.output == "the worktree 1\n"
    # A dependency brings a release of the project itself: of no matter, unless a test imports it by its name.
    write(place / "tree", {"node_modules/root/index.js": "module.exports = 0\n"})
    (root / "node_modules/root").symlink_to(place / "tree/node_modules/root")
    write(root, {"test/a.test.js": "require('..')\n", "bench.js": "require('root')\n"})
    assert asyncio.run(look(runner, str(root), environment)).fault == ""
    write(root, {"test/a.test.js": "require('root')\n"})
    assert "root leads to" in asyncio.run(look(runner, str(root), environment)).fault
    (root / "node_modules/root").unlink()
    (root / "node_modules/@w/core").unlink()
    (root / "node_modules/@w/core").symlink_to(place / "tree/packages/core")
    assert "@w/core leads to" in asyncio.run(look(runner, str(root), environment)).fault


@pytest.mark.parametrize(
    ("files", "manager"),
    [
        ({}, None),
        ({"package.json": '{"name": "a"}'}, None),
        ({"package.json": '{"devDependencies": {"jest": "1"}}'}, "npm"),
        ({"package.json": "{}", "pnpm-lock.yaml": ""}, "pnpm"),
        ({"package.json": "{}", "yarn.lock": ""}, "yarn"),
        ({"package.json": '{"packageManager": "pnpm@9.1.0", "dependencies": {"a": "1"}}'}, "pnpm"),
        ({"package.json": "[" * 5000, "package-lock.json": ""}, "npm"),
    ],
)
def test_the_package_manager_is_the_one_of_the_lock_file(tmp_path, files, manager):
    write(tmp_path, files)
    found = detect_node(tmp_path)
    assert (found.manager if found else None) == manager


def test_go_and_cargo_are_known_by_their_manifests(tmp_path):
    assert detect_go(tmp_path) is None and detect_cargo(tmp_path) is None
    write(tmp_path, {"go.mod": "module a\n", "sub/go.mod": "module b\n", "vendor/x/go.mod": "module c\n"})
    assert detect_go(tmp_path).directories == (".", "sub")
    write(tmp_path, {"Cargo.toml": '[package]\nname = "a"\n'})
    before = detect_cargo(tmp_path).key
    write(tmp_path, {"Cargo.lock": "version = 3\n"})
    assert detect_cargo(tmp_path).key != before


# --- registries ---------------------------------------------------------------------------------------


def test_the_set_up_gets_addresses_and_never_a_key(tmp_path):
    write(tmp_path, {
        ".config/pip/pip.conf": f"[global]\nindex-url{' = '}https://packages.example/simple\n"
        f"extra-index-url{' = '}https://me:secret@private.example/simple\n",
        ".npmrc": "registry=https://npm.example/\n//npm.example/:_authToken=secret\n",
    })  # fmt: skip
    environ = {
        "HOME": str(tmp_path),
        "UV_DEFAULT_INDEX": "https://packages.example/simple",
        "HTTPS_PROXY": "http://user:secret@proxy.example:8080",
        "SSL_CERT_FILE": str(tmp_path / ".npmrc"),
        "OPENROUTER_API_KEY": "secret",
        "NPM_TOKEN": "secret",
        "PIP_FIND_LINKS": f"file://{tmp_path} /nonexistent",
    }
    found = registry_variables(environ)
    assert "secret" not in json.dumps(found)
    assert found["PIP_INDEX_URL"] == found["UV_DEFAULT_INDEX"] == "https://packages.example/simple"
    assert found["npm_config_registry"] == "https://npm.example/"
    assert {str(tmp_path / ".npmrc"), str(tmp_path)} <= set(local_places(found))


def test_values_of_included_files_are_taken_out_of_what_checks_print(tmp_path):
    files = {".gitignore": ".env\n", ".worktreeinclude": ".env\n", "p.py": "print(open('.env').read())\n"}
    made, worktree = prepared(tmp_path, files)
    write(
        tmp_path / "repo", {".env": "API_TOKEN=hunter2hunter2\nURL='postgres://me:pw@host/db'\nPORT=8080\n"}
    )
    environment = asyncio.run(made.prepare(worktree))
    runner = CheckRunner(sandbox=Sandbox.probe(), environ=dict(os.environ), seconds=60.0)
    ran = asyncio.run(runner.run(("python", "p.py"), worktree=worktree.path, environment=environment))
    assert "hunter2" not in ran.output and "me:pw" not in ran.output and "PORT=8080" in ran.output


def test_values_of_the_repositorys_own_denied_files_are_taken_out_as_well(tmp_path):
    settings = {
        ".ENV.Production": "TOKEN=case-canary\n",
        ".env": "STRIPE=sk_live_canary1\n",
        ".env.example": "STRIPE=put-yours-here\n",
    }
    key = "-----BEGIN PRIVATE KEY-----\nMIIBVAIBADANBgkqhkiG9w0BAQ\n-----END PRIVATE KEY-----\n"
    show = "import pathlib\nprint(*(p.read_text() for p in pathlib.Path('.').rglob('*') if p.is_file()))\n"
    files = {**settings, "deploy/server.pem": key, "own.vault": "code: opensesame\n", "p.py": show}
    made, worktree = prepared(tmp_path, files, denied=("*.vault",))
    environment = asyncio.run(made.prepare(worktree))
    runner = CheckRunner(sandbox=Sandbox.probe(), environ=dict(os.environ), seconds=60.0)
    ran = asyncio.run(runner.run(("python", "p.py"), worktree=worktree.path, environment=environment))
    assert ran.exit_code == 0 and "put-yours-here" in ran.output
    for secret in ("sk_live_canary1", "case-canary", "MIIBVAIBADANBgkqhkiG9w0BAQ", "opensesame"):
        assert secret not in ran.output
