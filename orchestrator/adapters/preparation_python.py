"""Python projects: one virtual environment per lock file, shared by all worktrees, without the project's own code.

The code comes from the worktree by PYTHONPATH. An editable install would import whatever checkout it was made in,
so the project is installed for its metadata and its console scripts, and its modules are taken out again.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.adapters.check_runner import Environment
from orchestrator.adapters.preparation_recipe import CannotPrepare, SetUp, failed
from orchestrator.adapters.state import digest

_REQUIREMENTS = re.compile(
    r"(requirements|requirements[-_.]?(dev|tests?|testing|ci)|(dev|tests?|testing|ci)[-_]requirements)\.txt"
    r"|requirements/(base|main|dev|development|tests?|testing|ci|local)\.txt"
)
_FOR_TESTS = ("test", "tests", "testing", "dev", "develop", "development", "ci")
_MANIFESTS = ("pyproject.toml", "setup.py", "setup.cfg", "uv.lock", "poetry.lock", "Pipfile.lock")
_LOCKS = {"uv.lock": "uv", "poetry.lock": "poetry"}
_INSTEAD = "instead"
_NOT_IMPORTED = (
    "tests",
    "test",
    "docs",
    "doc",
    "examples",
    "example",
    "build",
    "dist",
    "node_modules",
    "bench",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonRecipe:
    """`tool` is `uv`, `poetry` or `pip`; `needs` are distributions the checks call that nothing may declare."""

    tool: str
    key: str
    requirements: tuple[str, ...]
    installable: bool
    extras: tuple[str, ...]
    grouped: tuple[str, ...]
    needs: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.tool

    @property
    def _used(self) -> str:
        """The tool that is there: pip reads what the others' projects declare, if not their locks."""
        return self.tool if self.tool == "pip" or shutil.which(self.tool) else "pip"

    async def build(self, place: Path, worktree: Path, set_up: SetUp) -> None:
        venv = place / "venv"
        if self._used == "uv":
            await self._uv(venv, worktree, set_up)
        else:
            made = await set_up((sys.executable, "-m", "venv", str(venv)), worktree, {})
            if made.exit_code != 0:
                raise failed("python -m venv", made)
            if self._used == "poetry":
                await self._poetry_or_pip(place, worktree, set_up)
            else:
                await self._pip(venv, worktree, set_up)
        for module in self.needs:
            seen = await set_up((str(venv / "bin" / "python"), "-c", f"import {module}"), worktree, {})
            if seen.exit_code != 0:
                await self._install(venv, worktree, set_up, [module])
        _take_out(venv)

    async def _uv(self, venv: Path, worktree: Path, set_up: SetUp) -> None:
        variables = {"UV_PROJECT_ENVIRONMENT": str(venv), "UV_LINK_MODE": "copy", "UV_NO_PROGRESS": "1"}
        sync = ("uv", "sync", "--frozen", "--no-install-workspace")
        ran = await set_up((*sync, "--all-extras", "--all-groups"), worktree, variables)
        if ran.exit_code != 0:
            # Extras may exclude each other.
            ran = await set_up(sync, worktree, variables)
        if ran.exit_code != 0:
            raise failed("uv sync", ran)
        await set_up(
            ("uv", "pip", "install", "--python", str(venv / "bin" / "python"), "--no-deps", "."), worktree, variables
        )  # fmt: skip

    async def _poetry_or_pip(self, place: Path, worktree: Path, set_up: SetUp) -> None:
        """Poetry takes no package index from pip's configuration, and may not reach its own: pip can, without locks."""
        venv = place / "venv"
        try:
            await self._poetry(venv, worktree, set_up)
        except CannotPrepare as error:
            try:
                await self._pip(venv, worktree, set_up)
            except CannotPrepare:
                raise error from None
            (place / _INSTEAD).write_text(f"pip without the lock, because {error}", "utf-8")

    async def _poetry(self, venv: Path, worktree: Path, set_up: SetUp) -> None:
        variables = {
            "VIRTUAL_ENV": str(venv),
            "POETRY_VIRTUALENVS_CREATE": "false",
            "POETRY_NO_INTERACTION": "1",
        }
        ran = await set_up(("poetry", "install", "--no-root"), worktree, variables)
        if ran.exit_code != 0:
            raise failed("poetry install", ran)
        await set_up(
            (str(venv / "bin" / "python"), "-m", "pip", "install", "--no-deps", "."), worktree, variables
        )

    async def _pip(self, venv: Path, worktree: Path, set_up: SetUp) -> None:
        wanted: list[str] = []
        for path in self.requirements:
            wanted += ["-r", path]
        wanted += self.grouped
        if self.installable:
            wanted.append(f".[{','.join(self.extras)}]" if self.extras else ".")
        if wanted:
            await self._install(venv, worktree, set_up, wanted)

    async def _install(self, venv: Path, worktree: Path, set_up: SetUp, wanted: Iterable[str]) -> None:
        install = (str(venv / "bin" / "python"), "-m", "pip", "install", "--no-input", "--progress-bar=off")
        ran = await set_up((*install, *wanted), worktree, {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
        if ran.exit_code != 0:
            raise failed("pip install", ran)

    def use(self, place: Path, worktree: Path) -> Environment:
        venv = place / "venv"
        python, instead = venv / "bin" / "python", place / _INSTEAD
        if not python.exists():
            raise CannotPrepare(f"the environment in {place} is broken: delete it, then run again")
        return Environment(
            python=str(python),
            path=(str(venv / "bin"),),
            variables={"VIRTUAL_ENV": str(venv)} | python_path(worktree),
            readable=(str(place),),
            said=f"set up with {instead.read_text('utf-8') if instead.is_file() else self._used}",
        )


def detect_python(worktree: Path, *, needs: Iterable[str] = ()) -> PythonRecipe | None:
    """Read the root's manifests; None when the project declares no dependency and needs nothing we lack."""
    present = {name: (worktree / name).read_bytes() for name in _MANIFESTS if _is_file(worktree / name)}
    requirements = tuple(sorted(_requirement_files(worktree)))
    document = _toml(present.get("pyproject.toml", b""))
    tool = next((tool for lock, tool in _LOCKS.items() if lock in present), "pip")
    project = document.get("project")
    project = project if isinstance(project, dict) else {}
    optional = project.get("optional-dependencies")
    optional = optional if isinstance(optional, dict) else {}
    groups = tuple(_groups(document))
    lacking = tuple(name for name in needs if not _we_have(name))
    declares = bool(
        project.get("dependencies") or optional or groups or "dependencies" in project.get("dynamic", ())
        or document.get("tool", {}).get("poetry", {}).get("dependencies")
    )  # fmt: skip
    legacy = any(
        re.search(rb"install_requires|tests_require|extras_require|ext_modules", present.get(name, b""))
        for name in ("setup.py", "setup.cfg")
    )
    if tool == "pip" and not (requirements or declares or legacy or lacking):
        return None
    installable = bool(project.get("name")) or "poetry" in document.get("tool", {}) or "setup.py" in present
    contents = [f"{name}\n".encode() + present.get(name, b"") for name in sorted(present)] + [
        path.encode() + b"\n" + (worktree / path).read_bytes() for path in requirements
    ]
    version = ".".join(map(str, sys.version_info[:3]))
    return PythonRecipe(
        tool=tool,
        key=digest("python", "1", tool, shutil.which(tool) or "", version, sys.executable, *needs, *contents),
        requirements=requirements,
        installable=installable and (declares or legacy or not requirements),
        extras=tuple(name for name in optional if str(name).lower() in _FOR_TESTS),
        grouped=groups,
        needs=tuple(needs),
    )


def python_path(worktree: Path) -> dict[str, str]:
    """PYTHONPATH for the worktree's own import roots; empty when it has none."""
    roots = [str(root) for root in import_roots(worktree)]
    return {"PYTHONPATH": ":".join(roots)} if roots else {}


def import_roots(worktree: Path) -> tuple[Path, ...]:
    """The directories from which the project's packages are imported: `src` or the root, also of workspace members."""
    members = [worktree]
    document = _toml(_bytes(worktree / "pyproject.toml"))
    workspace = document.get("tool", {}).get("uv", {}).get("workspace", {})
    globs = workspace.get("members", []) if isinstance(workspace, dict) else []
    for glob in globs:
        if isinstance(glob, str) and not glob.startswith(("/", "..")):
            members += sorted(path for path in worktree.glob(glob) if path.is_dir())
    roots = []
    for member in members:
        source = member / "src"
        if any(_packages(source)):
            roots.append(source)
        elif any(_packages(member)):
            roots.append(member)
    return tuple(roots)


def own_packages(worktree: Path) -> tuple[str, ...]:
    """The top-level packages and modules that are the project's own code."""
    return tuple(dict.fromkeys(name for root in import_roots(worktree) for name in _packages(root)))


def _packages(directory: Path) -> Iterator[str]:
    if not directory.is_dir() or directory.is_symlink():
        return
    for entry in sorted(directory.iterdir()):
        if entry.name in _NOT_IMPORTED or entry.name.startswith((".", "_")) or not entry.name.isidentifier():
            if not (entry.suffix == ".py" and entry.stem.isidentifier() and not entry.stem.startswith("_")):
                continue
            if entry.stem in ("setup", "conftest", "noxfile", "tasks", "manage") or entry.stem.startswith(
                "test"
            ):
                continue
            yield entry.stem
        elif entry.is_dir() and (entry / "__init__.py").is_file():
            yield entry.name


def _requirement_files(worktree: Path) -> Iterator[str]:
    for directory in (worktree, worktree / "requirements"):
        if directory.is_dir() and not directory.is_symlink():
            for entry in directory.iterdir():
                path = entry.relative_to(worktree).as_posix()
                if _REQUIREMENTS.fullmatch(path) and _is_file(entry):
                    yield path


def _groups(document: Mapping[str, Any]) -> Iterator[str]:
    """What test and development groups require: PEP 735, and poetry's own tables."""
    groups = document.get("dependency-groups")
    if isinstance(groups, dict):
        for name in groups:
            if str(name).lower() in _FOR_TESTS:
                yield from _expanded(groups, name, set())
    poetry = document.get("tool", {}).get("poetry", {})
    if not isinstance(poetry, dict):
        return
    tables = [poetry.get("dev-dependencies")]
    named = poetry.get("group")
    if isinstance(named, dict):
        tables += [table.get("dependencies") for name, table in named.items() if name in _FOR_TESTS]
    for table in tables:
        if isinstance(table, dict):
            for name, version in table.items():
                wanted = version.get("version", "*") if isinstance(version, dict) else version
                if isinstance(wanted, str) and name != "python":
                    yield name + _specifier(wanted)


def _expanded(groups: Mapping[str, Any], name: str, seen: set[str]) -> Iterator[str]:
    if name in seen:
        return
    seen.add(name)
    for item in groups.get(name) or ():
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict) and isinstance(item.get("include-group"), str):
            yield from _expanded(groups, item["include-group"], seen)


def _specifier(version: str) -> str:
    """Poetry's version constraint as pip reads it: `^1.2` is `>=1.2,<2`."""
    if version in ("*", ""):
        return ""
    if found := re.fullmatch(r"[\^~]\s*(\d+)((?:\.\d+)*)\S*", version):
        major, rest = int(found[1]), found[2]
        if version[0] == "~" and rest:
            return f">={major}{rest},<{major}.{int(rest.split('.')[1]) + 1}"
        if major == 0 and version[0] == "^" and rest:
            return f">=0{rest},<0.{int(rest.split('.')[1]) + 1}"
        return f">={major}{rest},<{major + 1}"
    return version.replace(" ", "") if version[0] in "<>=!" else f"=={version}"


def _take_out(venv: Path) -> None:
    """Remove the project's own modules from the environment; its metadata and console scripts stay.

    A project that builds extension modules keeps them: they are not in the worktree.
    """
    for told in venv.glob("lib/python*/site-packages/*.dist-info/direct_url.json"):
        try:
            if not str(json.loads(told.read_text("utf-8")).get("url", "")).startswith("file:"):
                continue
            lines = (told.parent / "RECORD").read_text("utf-8").splitlines()
        except (OSError, ValueError, AttributeError):
            continue
        names = [line.rsplit(",", 2)[0].strip('"') for line in lines]
        if any(name.endswith((".so", ".pyd", ".dylib")) for name in names):
            continue
        site = told.parent.parent
        for name in names:
            inside = not name.startswith(("..", "/")) and not name.startswith(told.parent.name)
            if inside:
                (site / name).unlink(missing_ok=True)
        for name in sorted({str(Path(name).parent) for name in names}, key=len, reverse=True):
            place = site / name
            if name != "." and not name.startswith("..") and place.is_dir() and not any(place.iterdir()):
                place.rmdir()


def _we_have(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if _is_file(path) else b""


def _toml(data: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        return {}
