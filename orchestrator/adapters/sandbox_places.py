"""What a sandboxed command may see besides its worktree: system directories, toolchains, the read-only git data."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix", "/gnu", "/snap",
    "/System", "/Library/Developer", "/Library/Frameworks", "/private/var/db/timezone",
)  # fmt: skip
# Of /etc only what programs need to run: it holds passwords and tokens as well.
ETC = (
    "alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies", "debian_version", "fonts", "gai.conf",
    "group", "host.conf", "hosts", "java", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "locale.alias", "locale.conf",
    "localtime", "magic", "mime.types", "nsswitch.conf", "openssl", "os-release", "passwd", "pki", "protocols",
    "resolv.conf", "services", "ssl", "terminfo", "timezone",
)  # fmt: skip
# Below the home directory. Named one by one: beside them lie credentials (`~/.cargo/credentials.toml`).
_HOME = (
    ".pyenv", ".local/share/uv/python", ".local/share/uv/tools", ".local/share/pipx", ".local/share/pypoetry",
    ".local/share/mise/installs",
    ".asdf/installs", ".asdf/shims", ".nvm/versions", ".volta/bin", ".volta/tools", ".local/share/fnm",
    ".local/share/pnpm", ".bun/bin", ".deno/bin", "go/bin", "go/pkg/mod", "sdk", ".rustup", ".cargo/bin",
    ".cargo/registry", ".cargo/git", ".sdkman/candidates", "miniconda3", "miniforge3", "anaconda3", ".rbenv",
)  # fmt: skip
# With another HOME these tools no longer find themselves.
_VARIABLES = {
    "PYENV_ROOT": ".pyenv",
    "RUSTUP_HOME": ".rustup",
    "CARGO_HOME": ".cargo",
    "NVM_DIR": ".nvm",
    "VOLTA_HOME": ".volta",
    "GOMODCACHE": "go/pkg/mod",
}
_CREDENTIAL = re.compile(r"://[^/\s]*@|extraheader|token|password|helper", re.IGNORECASE)
_KEPT_KEYS = re.compile(
    r"repositoryformatversion|filemode|bare|symlinks|ignorecase|autocrlf|precomposeunicode|sparsecheckout\w*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchains:
    """Directories a project's own tools need to read, and the variables by which they find themselves."""

    readable: tuple[Path, ...]
    variables: Mapping[str, str]


def toolchains(environ: Mapping[str, str]) -> Toolchains:
    """The interpreters, compilers and package stores of this user, as far as they are there."""
    home = Path(environ.get("HOME") or "/nonexistent")
    found: list[Path] = [Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent]
    found += [home / name for name in _HOME]
    for entry in environ.get("PATH", "").split(os.pathsep):
        place = Path(entry)
        # A relative entry means the worktree; the home directory itself would show everything in it.
        if place.is_absolute() and place != home and not home.is_relative_to(place):
            found += [place, *_beside(place)]
    for name in ("CONDA_PREFIX", "JAVA_HOME", "GOROOT"):
        if (value := environ.get(name, "")).startswith("/"):
            found.append(Path(value))
    variables = {
        name: environ.get(name) or str(home / place)
        for name, place in _VARIABLES.items()
        if environ.get(name) or (home / place).is_dir()
    }
    return Toolchains(readable=tuple(_existing(found)), variables=variables)


def _beside(directory: Path) -> Iterator[Path]:
    """Where the programs of a directory on PATH have their code: a virtual environment, packages of npm."""
    above = directory.parent
    if (above / "pyvenv.cfg").is_file():
        yield above
    if directory.name == ".bin" and above.name == "node_modules":
        yield above
    yield above / "lib" / "node_modules"


def system_places() -> tuple[Path, ...]:
    return tuple(Path(name) for name in SYSTEM if Path(name).exists())


def etc_places() -> tuple[Path, ...]:
    etc = Path("/etc")
    return tuple(etc / name for name in ETC if (etc / name).exists())


def _existing(places: Iterable[Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    for place in places:
        for form in (place, place.resolve()):
            if form not in seen and form.is_dir() and form != Path("/"):
                seen.add(form)
                yield form


@dataclass(frozen=True, slots=True, kw_only=True)
class GitPlaces:
    """A worktree's link to its repository: all read-only inside. `config` has credentials that must not show."""

    link: Path
    directories: tuple[Path, ...]
    config: Path
    plain_config: str
    secret: bool


def git_places(worktree: Path) -> GitPlaces | None:
    """The repository a worktree belongs to, when both agree that it does; None for a link that was tampered with."""
    link = worktree / ".git"
    try:
        if link.is_symlink() or not link.is_file():
            return None
        git_dir = Path(os.fsdecode(link.read_bytes()).removeprefix("gitdir:").strip())
        if Path(os.fsdecode((git_dir / "gitdir").read_bytes()).strip()) != link:
            return None
        common = (git_dir / os.fsdecode((git_dir / "commondir").read_bytes()).strip()).resolve()
        if git_dir.resolve().parent != common / "worktrees":
            return None
        directories = [common, *_alternates(common)]
        text = (common / "config").read_text(errors="replace")
    except OSError:
        return None
    return GitPlaces(
        link=link,
        directories=tuple(directories),
        config=common / "config",
        plain_config=_plain(text),
        secret=_CREDENTIAL.search(text) is not None,
    )


def _alternates(common: Path) -> Iterator[Path]:
    try:
        lines = (common / "objects" / "info" / "alternates").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        place = (common / "objects" / line).resolve()
        if place.name == "objects" and place.is_dir():
            yield place


def _plain(text: str) -> str:
    """What of a repository's configuration says how it is laid out, without remotes, drivers and credentials."""
    kept, section = [], ""
    for line in text.splitlines():
        if found := re.match(r"\s*\[\s*([\w.-]+)\s*\]\s*$", line):
            section = found[1].lower()
            if section in ("core", "extensions"):
                kept.append(f"[{section}]")
        elif line.lstrip().startswith("["):
            section = ""
        elif section == "extensions" or (section == "core" and _KEPT_KEYS.match(line.strip())):
            kept.append(line)
    return "\n".join(kept) + "\n"
