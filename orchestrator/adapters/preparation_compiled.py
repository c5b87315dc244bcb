"""Go and Rust: modules and crates are fetched once with a network; checks build from them without one."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.check_runner import Environment
from orchestrator.adapters.preparation_recipe import CannotPrepare, SetUp, failed
from orchestrator.adapters.state import digest


@dataclass(frozen=True, slots=True, kw_only=True)
class GoRecipe:
    """Build results are kept between checks: every command has a home of its own, and Go would start from nothing."""

    key: str
    directories: tuple[str, ...]
    name: str = "go"

    async def build(self, place: Path, worktree: Path, set_up: SetUp) -> None:
        if shutil.which("go") is None:
            raise CannotPrepare("go is not installed: install it, or configure a set-up")
        (place / "mod").mkdir()
        (place / "build").mkdir()
        variables = {
            "GOMODCACHE": str(place / "mod"),
            "GOCACHE": str(place / "build"),
            "GOFLAGS": "-modcacherw",
        }
        for directory in self.directories:
            ran = await set_up(("go", "mod", "download"), worktree / directory, variables)
            if ran.exit_code != 0:
                raise failed("go mod download", ran)

    def use(self, place: Path, worktree: Path) -> Environment:
        return Environment(
            variables={
                "GOMODCACHE": str(place / "mod"),
                "GOCACHE": str(place / "build"),
                "GOFLAGS": "-modcacherw",
                "GOPROXY": "off",
                "GOTOOLCHAIN": "local",
            },
            readable=(str(place),),
            writable=(str(place / "build"),),
            said="set up with go mod download",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CargoRecipe:
    key: str
    name: str = "cargo"

    async def build(self, place: Path, worktree: Path, set_up: SetUp) -> None:
        if shutil.which("cargo") is None:
            raise CannotPrepare("cargo is not installed: install it, or configure a set-up")
        (place / "home").mkdir()
        (place / "target").mkdir()
        for name in ("config.toml", "config"):
            _copy_without_tokens(Path.home() / ".cargo" / name, place / "home" / name)
        ran = await set_up(("cargo", "fetch"), worktree, {"CARGO_HOME": str(place / "home")})
        if ran.exit_code != 0:
            raise failed("cargo fetch", ran)

    def use(self, place: Path, worktree: Path) -> Environment:
        return Environment(
            variables={
                "CARGO_HOME": str(place / "home"),
                "CARGO_TARGET_DIR": str(place / "target"),
                "CARGO_NET_OFFLINE": "true",
            },
            readable=(str(place),),
            writable=(str(place / "target"), str(place / "home")),
            said="set up with cargo fetch",
        )


def _copy_without_tokens(source: Path, target: Path) -> None:
    """The user's own mirrors and proxies; a file with a credential in it stays where it is."""
    try:
        text = source.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return
    if not re.search(r"token|password|credential|://[^/\s\"]*@", text, re.IGNORECASE):
        target.write_text(text, "utf-8")


def detect_go(worktree: Path) -> GoRecipe | None:
    found = sorted(_named(worktree, "go.mod"))
    if not found:
        return None
    contents = []
    for path in found:
        sums = path.with_name("go.sum")
        contents += [str(path.relative_to(worktree)).encode(), path.read_bytes()]
        contents.append(sums.read_bytes() if sums.is_file() else b"")
    directories = tuple(path.parent.relative_to(worktree).as_posix() for path in found)
    return GoRecipe(key=digest("go", "1", *contents), directories=directories)


def detect_cargo(worktree: Path) -> CargoRecipe | None:
    if not (worktree / "Cargo.toml").is_file():
        return None
    lock = worktree / "Cargo.lock"
    contents = [path.read_bytes() for path in sorted(_named(worktree, "Cargo.toml"))]
    return CargoRecipe(key=digest("cargo", "1", lock.read_bytes() if lock.is_file() else b"", *contents))


def outside(worktree: Path) -> str | None:
    """A module or crate that is taken from beside the repository, where no worktree has its own; or None."""
    for path in (*_named(worktree, "go.mod"), *_named(worktree, "go.work"), *_named(worktree, "Cargo.toml")):
        text = path.read_text("utf-8", "replace")
        for match in re.finditer(
            r"(?:=>|^\s*use|path\s*=)\s*[\"(]?\s*(\.\.?/[^\s\"]*|/[^\s\"]*)", text, re.MULTILINE
        ):
            aim = Path(os.path.normpath(path.parent / match.group(1)))
            if not aim.is_relative_to(worktree):
                return f"{path.relative_to(worktree)} takes {match.group(1)} from outside the repository"
    return None


def _named(worktree: Path, wanted: str) -> list[Path]:
    found = []
    for directory, names, files in os.walk(worktree):
        names[:] = [
            name for name in names if name not in (".git", "node_modules", "vendor", "testdata", "target")
        ]
        if wanted in files and not (Path(directory) / wanted).is_symlink():
            found.append(Path(directory) / wanted)
    return found
