"""The rules of the house that no single module can keep: layers, sizes, names, and what importing costs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import skip_unless

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "orchestrator"
MODULES = sorted(PACKAGE.rglob("*.py"))
LOCKS = ["requirements.lock", "requirements-dev.lock"]

LONGEST_FILE_LINES = 450
VAGUE_NAMES = {"util", "utils", "helper", "helpers", "manager", "managers", "misc"}
# Each costs more than everything else that a read command imports.
HEAVY = {"litellm", "mcp", "networkx", "openai", "pydantic", "rich", "starlette", "typer", "uvicorn"}

# Run in a fresh interpreter: imports what it is told to and prints what that loaded and did.
PROBE = """
import json, pkgutil, sys
done = []
def hook(event, args):
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        done.append(f"open {args[0]} {args[1]}")
    elif event in ("os.mkdir", "os.remove", "os.rename", "socket.connect", "socket.bind",
                   "socket.getaddrinfo", "subprocess.Popen", "os.exec", "os.fork", "sqlite3.connect"):
        done.append(f"{event} {args}")
names = sys.argv[1:]
before = set(sys.modules)
if names == ["everything"]:
    import orchestrator
    names = [m.name for m in pkgutil.walk_packages(orchestrator.__path__, "orchestrator.")]
    names.remove("orchestrator.__main__")
sys.addaudithook(hook)
for name in names:
    __import__(name)
roots = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps({"roots": sorted(roots), "done": done}))
"""


def _import(names: list[str], *, directory: Path) -> tuple[set[str], list[str]]:
    """Import the modules in a new process: the top-level packages this loaded, and the effects it had."""
    process = subprocess.run(
        [sys.executable, "-B", "-c", PROBE, *names],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    report = json.loads(process.stdout)
    assert list(directory.iterdir()) == []
    return set(report["roots"]), report["done"]


def _tracked_files() -> list[Path]:
    command = ["git", "ls-files", "-z"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    skip_unless(listing.returncode == 0, "not a git checkout")
    paths = (ROOT / name for name in listing.stdout.split("\0") if name)
    return [path for path in paths if path.is_file()]


def test_imports_keep_to_the_layers(capsys: pytest.CaptureFixture[str]):
    from importlinter.cli import lint_imports

    code = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True)
    assert code == 0, capsys.readouterr().out


def test_importing_the_package_has_no_effect_and_loads_nothing_else(tmp_path: Path):
    roots, done = _import(["orchestrator"], directory=tmp_path)
    assert roots == {"orchestrator"}
    assert done == []


def test_importing_every_module_has_no_effect_and_leaves_litellm_and_networkx_alone(tmp_path: Path):
    roots, done = _import(["everything"], directory=tmp_path)
    assert done == []
    assert not roots & {"litellm", "networkx", "openai"}


def test_the_core_runs_on_the_standard_library_and_re2(tmp_path: Path):
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in MODULES
        if path.is_relative_to(PACKAGE / "core")
    ]
    roots, done = _import(modules, directory=tmp_path)
    assert done == []
    assert not roots & HEAVY
    # re2 brings its own extension module along.
    assert {root for root in roots if root not in sys.stdlib_module_names} <= {"orchestrator", "re2", "_re2"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_read_in_one_sitting(path: Path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_FILE_LINES, f"{path.name} has {lines} lines: split it along its nouns"


def test_no_file_has_a_name_that_says_nothing():
    code = [path for path in _tracked_files() if path.suffix == ".py"]
    vague = [str(path.relative_to(ROOT)) for path in code if set(path.stem.lower().split("_")) & VAGUE_NAMES]
    assert vague == []


def test_no_tracked_file_names_a_registry_or_a_path_of_the_machine_it_was_made_on():
    # Written so that they do not match themselves.
    registries = (
        r"https?://[^/\s\"']*(pypi|npmjs|pythonhosted|registry|artifact|nexus|mirror)|[/.]py[p]i\.org"
    )
    options = r"(index|extra-index|find)-(url|links)\s*[= ]\s*\S"
    machine = r"(?<![\w.])/(wor[k]/(main|shared)|roo[t]/\w|op[t]/(wheels|pypi)|tm[p]/bash_jobs)"
    pattern = re.compile(f"{registries}|{options}|{machine}")
    found = []
    for path in _tracked_files():
        text = path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            if match := pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match.group()}")
    assert found == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_exact_versions_and_hashes_and_nothing_else(lock: str):
    text = (ROOT / lock).read_text(encoding="utf-8")
    entries = text.replace("\\\n", " ").splitlines()
    entry = re.compile(r"[a-z0-9][a-z0-9._-]*==[^\s;]+( ; [^\\]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*")
    assert [line for line in entries if not entry.fullmatch(line)] == []
    assert not re.search(r"^litellm==1\.(82\.[78]|107\.)", text, re.MULTILINE)


def test_the_locks_pin_all_that_the_project_names_and_agree_with_each_other():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pinned = {}
    for lock in LOCKS:
        lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
        # A package may be pinned twice, for two Python versions, so the value is a set.
        pinned[lock] = {line.rstrip("\\ ") for line in lines if "==" in line}
    assert pinned["requirements.lock"] <= pinned["requirements-dev.lock"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[=<>~!\[; ]", requirement)[0].lower() for requirement in requirements}

    runtime = names(project["project"]["dependencies"]) | names(project["dependency-groups"]["build"])
    development = names(project["dependency-groups"]["dev"])
    assert runtime <= names(sorted(pinned["requirements.lock"]))
    assert development <= names(sorted(pinned["requirements-dev.lock"]))


def test_every_dependency_says_what_it_is_for():
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[tool.")[0].splitlines()
    dependencies = [n for n, line in enumerate(lines) if re.fullmatch(r'  "[\w-]+(==[\d.]+)?",', line)]
    assert len(dependencies) > 20
    assert [lines[n] for n in dependencies if not lines[n - 1].startswith("  # ")] == []
