"""Node projects: dependencies are installed once per lock file beside the cache, and linked into each worktree.

A workspace's own packages are linked to the worktree's directories, everything else to the shared installation.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.adapters.check_runner import Environment
from orchestrator.adapters.preparation_recipe import CannotPrepare, SetUp, failed
from orchestrator.adapters.state import digest

_LOCKS = {
    "pnpm-lock.yaml": "pnpm",
    "yarn.lock": "yarn",
    "package-lock.json": "npm",
    "npm-shrinkwrap.json": "npm",
}
_INSTALL = {
    ("npm", True): ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"),
    ("npm", False): ("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"),
    ("pnpm", True): ("pnpm", "install", "--frozen-lockfile", "--ignore-scripts"),
    ("pnpm", False): ("pnpm", "install", "--ignore-scripts"),
    ("yarn", True): ("yarn", "install", "--frozen-lockfile", "--ignore-scripts", "--non-interactive"),
    ("yarn", False): ("yarn", "install", "--ignore-scripts", "--non-interactive"),
}
# Without these an installation would not be the project's own.
_BESIDE = (".npmrc", ".yarnrc", ".yarnrc.yml", ".pnpmfile.cjs", "pnpm-workspace.yaml", *_LOCKS)
_LEFT_OUT = ("node_modules", ".git", ".yarn")
_MOST_PACKAGES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecipe:
    """`files` are the manifests, lock file and patches by path, which are all that an installation needs."""

    manager: str
    locked: bool
    key: str
    files: Mapping[str, bytes]

    @property
    def name(self) -> str:
        return self.manager

    async def build(self, place: Path, worktree: Path, set_up: SetUp) -> None:
        variables = {"npm_config_update_notifier": "false", **_corepack(place)}
        tree = place / "tree"
        for path, data in self.files.items():
            target = tree / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        argv = _INSTALL[self.manager, self.locked]
        if shutil.which(self.manager) is None:
            argv = (str(await self._bring(place, worktree, set_up)), *argv[1:])
        ran = await set_up(argv, tree, variables)
        if ran.exit_code != 0:
            raise failed(f"{self.manager} install", ran)
        if self.manager == "npm" and b'"hasInstallScript": true' in self.files.get("package-lock.json", b""):
            # Packages that build or fetch their program; a failure shows in the checks that need it.
            await set_up(("npm", "rebuild"), tree, {})

    async def _bring(self, place: Path, worktree: Path, set_up: SetUp) -> Path:
        """Let corepack, which comes with Node, bring the package manager that the project names."""
        if shutil.which("corepack") is None:
            raise CannotPrepare(f"{self.manager} is not installed: install it, or configure a set-up")
        (place / "bin").mkdir()
        enable = ("corepack", "enable", "--install-directory", str(place / "bin"), self.manager)
        ran = await set_up(enable, place, _corepack(place))
        if ran.exit_code != 0:
            raise failed(f"corepack enable {self.manager}", ran)
        return place / "bin" / self.manager

    def use(self, place: Path, worktree: Path) -> Environment:
        tree = place / "tree"
        for directory in installations(tree):
            relative = directory.relative_to(tree)
            if (worktree / relative.parent).is_dir():
                _link_all(directory, worktree / relative, tree, worktree)
        return Environment(
            path=(str(worktree / "node_modules" / ".bin"), str(place / "bin")),
            variables=_corepack(place) if (place / "bin").is_dir() else {},
            readable=(str(place),),
            said=f"set up with {self.manager}",
        )


def _corepack(place: Path) -> dict[str, str]:
    return {
        "COREPACK_HOME": str(place / "corepack"),
        "COREPACK_ENABLE_DOWNLOAD_PROMPT": "0",
        "COREPACK_ENABLE_AUTO_PIN": "0",
        "COREPACK_DEFAULT_TO_LATEST": "0",
    }


def detect_node(worktree: Path) -> NodeRecipe | None:
    """Read the root's package.json; None without one, or when it needs nothing."""
    manifest = worktree / "package.json"
    if not manifest.is_file() or manifest.is_symlink():
        return None
    document = _json(manifest)
    lock = next((name for name in _LOCKS if (worktree / name).is_file()), None)
    wants = any(document.get(name) for name in ("dependencies", "devDependencies", "workspaces"))
    if lock is None and not wants:
        return None
    declared = str(document.get("packageManager") or "").partition("@")[0]
    manager = declared if (declared, True) in _INSTALL else _LOCKS.get(lock or "", "npm")
    files = dict(_manifests(worktree))
    contents = [path.encode() + b"\n" + data for path, data in sorted(files.items())]
    return NodeRecipe(
        manager=manager, locked=lock is not None, key=digest("node", "1", manager, *contents), files=files
    )


def _manifests(worktree: Path) -> Iterator[tuple[str, bytes]]:
    count = 0
    for directory, names, files in os.walk(worktree):
        names[:] = sorted(name for name in names if name not in _LEFT_OUT)
        relative = Path(directory).relative_to(worktree)
        patches = "patches" in relative.parts
        for name in sorted(files):
            place = Path(directory) / name
            wanted = name == "package.json" or patches or (relative == Path() and name in _BESIDE)
            if wanted and not place.is_symlink() and count < _MOST_PACKAGES:
                count += 1
                yield (relative / name).as_posix(), place.read_bytes()


def installations(tree: Path) -> Iterator[Path]:
    """Every node_modules directory of a project, not those inside them."""
    for directory, names, _ in os.walk(tree):
        if "node_modules" in names:
            yield Path(directory) / "node_modules"
        names[:] = [name for name in names if name != "node_modules"]


def _link_all(source: Path, target: Path, tree: Path, worktree: Path) -> None:
    if target.is_symlink():
        target.unlink()
    target.mkdir(exist_ok=True)
    for entry in sorted(source.iterdir()):
        if entry.name in (".cache", ".vite"):
            continue
        if entry.name.startswith("@") and not entry.is_symlink():
            _link_all(entry, target / entry.name, tree, worktree)
            continue
        aim = _own(entry, tree, worktree) or entry
        link = target / entry.name
        if link.is_symlink() and os.readlink(link) == str(aim):  # noqa: PTH115  # as written: a Path is made normal
            continue
        if link.is_symlink() or link.is_file():
            link.unlink()
        elif link.is_dir():
            continue  # The checks made it; it is in nobody's way.
        link.symlink_to(aim)


def _own(entry: Path, tree: Path, worktree: Path) -> Path | None:
    """The worktree's directory for a link to a package of the workspace; None for everything else."""
    if not entry.is_symlink():
        return None
    real = entry.resolve()
    if not real.is_relative_to(tree.resolve()):
        return None
    relative = real.relative_to(tree.resolve())
    return None if "node_modules" in relative.parts else worktree / relative


def workspace_packages(worktree: Path) -> dict[str, Path]:
    """The packages of the repository by name, with their directories."""
    found: dict[str, Path] = {}
    for path, data in _manifests(worktree):
        if path.endswith("package.json"):
            try:
                name = json.loads(data).get("name")
            except (ValueError, AttributeError, RecursionError):
                continue
            if isinstance(name, str):
                found.setdefault(name, worktree / Path(path).parent)
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
