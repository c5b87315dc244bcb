"""What `agent-os install` puts into a project, and how it goes again: new files and one marked block, never more.

Every change is remembered with the bytes before it, so that `uninstall` gives them back as they were.
"""

from __future__ import annotations

import base64
import contextlib
import difflib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from orchestrator.adapters.formats.task_files import keep_backup, replace_file
from orchestrator.adapters.state import digest, packaged
from orchestrator.core.domain import OrchestratorError

BEGIN, END = b"<!-- orchestrator:begin -->", b"<!-- orchestrator:end -->"
HOOK_COMMAND = "orchestrator hook execute-tasks"
# What later versions of Agent OS call the work on a task list; version 3 has no such command.
LATER_COMMANDS = ("implement-tasks", "orchestrate-tasks", "implement-spec")
_FRONT = re.compile(rb"(?:\xef\xbb\xbf)?---[ \t]*\r?\n.*?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_MOST = 4 * 1024 * 1024


class InstallRefused(OrchestratorError):
    """Something there is not what it should be; nothing was changed."""


class Kind(StrEnum):
    FILE = "file"
    BLOCK = "block"
    SETTINGS = "settings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One file as it is and as it is to be. `before` is None where there is no file yet."""

    path: Path
    kind: Kind
    before: bytes | None
    after: bytes

    def diff(self) -> str:
        old = (self.before or b"").decode("utf-8", "replace").splitlines(keepends=True)
        new = self.after.decode("utf-8", "replace").splitlines(keepends=True)
        name = str(self.path)
        return "".join(difflib.unified_diff(old, new, "/dev/null" if self.before is None else name, name))


_BLOCK = f"""{BEGIN.decode()}
Before anything else run `{HOOK_COMMAND} --plan` with the arguments of this command. If it shows a plan of the
orchestrator, show that plan to the user and stop: do not carry out the tasks yourself. Only when the user says go,
run `{HOOK_COMMAND} --go` with the same arguments, and then `orchestrator show` for the state. If the command
is not there or shows no plan, go on below as usual; no budget cap applies then.
{END.decode()}
"""
_COMMAND = f"""---
description: Plan the tasks of an Agent OS spec with the orchestrator; `go` carries them out within the budget
argument-hint: "[go] [spec] [task numbers]"
allowed-tools: Bash({HOOK_COMMAND}:*)
---

The orchestrator says:

!`{HOOK_COMMAND} --plan $ARGUMENTS`

Show this to the user as it is. Do not carry out any of these tasks yourself. When the user says go, run
`{HOOK_COMMAND} --go $ARGUMENTS` and report what it prints; `orchestrator show` says where the run stands.
"""


def layouts(root: Path) -> tuple[Path, ...]:
    """The Agent OS folders that are there: `.agent-os` (version 1) and `agent-os` (2 and 3).

    In a home folder `agent-os` is what versions 2 and 3 install projects from; no agent reads it.
    """
    found = [root / name for name in (".agent-os", "agent-os")]
    return tuple(
        path
        for path in found
        if path.is_dir()
        and not (path / "scripts" / "project-install.sh").exists()
        and any(
            (path / part).exists() for part in ("instructions", "standards", "specs", "product", "config.yml")
        )
    )


def opencode_folder(root: Path, *, user: bool, configuration: str | None = None) -> Path:
    """Where OpenCode's files lie: in a project, or the user's own. `configuration` is $XDG_CONFIG_HOME."""
    if not user:
        return root / ".opencode"
    place = Path(configuration or root / ".config") / "opencode"
    return place if place.is_relative_to(root) else root / ".config" / "opencode"


def wanted(
    root: Path,
    *,
    agents: Sequence[str],
    hook: bool,
    opencode: Path | None = None,
    ours: Collection[Path] = (),
) -> list[Change]:
    """Everything an install would change beneath `root`; empty when it is all there.

    `opencode` is the folder of OpenCode, the project's own where none is named. `ours` are files that an earlier
    install made and nobody changed since: they become what this version makes.
    """
    changes = []
    for layout in layouts(root):
        changes.append(_new(layout / "standards" / "prompt-optimization.md", _packaged("standards"), ours))
        own = [layout / "instructions" / "core", layout / "instructions"]
        instructions = next((folder / "execute-tasks.md" for folder in own if _is_file(folder)), None)
        if instructions is None:
            instructions = (own[0] if own[0].is_dir() else own[1]) / "execute-tasks.md"
        changes.append(_new_or_block(instructions, _packaged("instructions"), ours))
        for name in LATER_COMMANDS:
            own_command = layout / "commands" / name / f"{name}.md"
            changes += [_block(own_command)] if own_command.is_file() else []
    folders = {
        "claude": root / ".claude" / "commands",
        "opencode": (opencode or opencode_folder(root, user=False)) / "command",
    }
    for agent in agents:
        place = folders[agent] / "execute-tasks.md"
        text = _COMMAND.encode()
        if agent == "opencode":
            text = b"".join(
                line
                for line in text.splitlines(keepends=True)
                if not line.startswith((b"argument-hint", b"allowed-"))
            )
        changes.append(_new_or_block(place, text, ours))
        for name in LATER_COMMANDS:
            for other in (folders[agent] / "agent-os" / f"{name}.md", folders[agent] / f"{name}.md"):
                changes += [_block(other)] if other.is_file() else []
    if hook:
        changes.append(_with_hook(root / ".claude" / "settings.json"))
    return [change for change in changes if change.before != change.after]


def _is_file(folder: Path) -> bool:
    return (folder / "execute-tasks.md").is_file()


def _packaged(what: str) -> bytes:
    name = "prompt-optimization.md" if what == "standards" else "execute-tasks.md"
    return packaged("agent-os", what, name).read_bytes()


def _read(path: Path) -> bytes:
    if path.is_symlink() and not path.exists():
        raise InstallRefused(f"{path} is a link that leads nowhere: remove it first")
    if path.is_dir():
        raise InstallRefused(f"{path} is a directory")
    data = path.read_bytes()
    if len(data) > _MOST:
        raise InstallRefused(f"{path} has more than {_MOST:,} bytes")
    return data


def _new(path: Path, text: bytes, ours: Collection[Path]) -> Change:
    """A file of ours where there is none; a user's own file of that name stays as it is."""
    before = _read(path) if path.exists() or path.is_symlink() else None
    after = text if before is None or path in ours else before
    return Change(path=path, kind=Kind.FILE, before=before, after=after)


def _new_or_block(path: Path, text: bytes, ours: Collection[Path]) -> Change:
    """A file of ours where there is none, else our block in the user's."""
    there = path.exists() and path not in ours and _read(path) != text
    return _block(path) if there else _new(path, text, ours)


def _block(path: Path) -> Change:
    before = _read(path)
    block = _BLOCK.encode()
    if BEGIN in before:
        start, end = before.find(BEGIN), before.find(END, before.find(BEGIN))
        # An earlier version's block becomes this version's; half a block is left to the user.
        after = before if end < 0 else before[:start] + block.rstrip(b"\n") + before[end + len(END) :]
        return Change(path=path, kind=Kind.BLOCK, before=before, after=after)
    front = _FRONT.match(before)
    head = front.group() if front is not None else b""
    if head and not head.endswith(b"\n"):
        block = b"\n" + block
    return Change(path=path, kind=Kind.BLOCK, before=before, after=head + block + before[len(head) :])


def without_block(data: bytes) -> bytes:
    """The file without our block; as it is when there is none, or only half of one."""
    start = data.find(BEGIN)
    end = data.find(END, start)
    if start < 0 or end < 0:
        return data
    end += len(END)
    return data[:start] + data[end + (data[end : end + 1] == b"\n") :]


def _settings(path: Path, data: bytes | None) -> dict[str, Any]:
    try:
        value = json.loads(data) if data and data.strip() else {}
    except ValueError:
        raise InstallRefused(f"{path} is not JSON: mend it first, nothing was changed") from None
    hooks = value.get("hooks", {}) if isinstance(value, dict) else None
    if not isinstance(hooks, dict) or not isinstance(hooks.get("UserPromptSubmit", []), list):
        raise InstallRefused(f"{path} has hooks of an unknown shape: nothing was changed")
    assert isinstance(value, dict)
    return value


def _ours(entry: object) -> bool:
    return isinstance(entry, dict) and any(
        isinstance(hook, dict) and hook.get("command") == HOOK_COMMAND
        for hook in entry.get("hooks", ())
        if isinstance(entry.get("hooks"), list)
    )


def _with_hook(path: Path) -> Change:
    before = _read(path) if path.exists() else None
    value = _settings(path, before)
    entries = value.setdefault("hooks", {}).setdefault("UserPromptSubmit", [])
    if any(_ours(entry) for entry in entries):
        return Change(path=path, kind=Kind.SETTINGS, before=before, after=before or b"")
    entries.append({"hooks": [{"type": "command", "command": HOOK_COMMAND, "timeout": 10}]})
    after = json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"
    return Change(path=path, kind=Kind.SETTINGS, before=before, after=after)


def without_hook(path: Path, data: bytes) -> bytes:
    """The settings without our hook, and without the empty lists that it leaves."""
    value = _settings(path, data)
    hooks = value.get("hooks", {})
    hooks["UserPromptSubmit"] = [entry for entry in hooks.get("UserPromptSubmit", []) if not _ours(entry)]
    if not hooks["UserPromptSubmit"]:
        del hooks["UserPromptSubmit"]
    if not hooks:
        value.pop("hooks", None)
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def _original(change: Change, known: Mapping[str, Any] | None) -> dict[str, str | None]:
    """What an uninstall is to give back: the file as it was before the first install, as far as that is known."""
    if known is not None and change.before == base64.b64decode(known["after"]):
        return {"before": known["before"]}
    before = change.before
    if before is not None and change.kind is Kind.BLOCK:
        before = without_block(before)
    return {"before": None if before is None else base64.b64encode(before).decode()}


# --- doing and undoing ------------------------------------------------------------------------------


class Installed:
    """What was installed beneath one root, kept in the state directory."""

    def __init__(self, root: Path, state: Path) -> None:
        self.root = root.resolve()
        self._backups = state / "backups"
        self._record = state / "agent-os" / f"{digest(str(self.root))}.json"

    def entries(self) -> list[dict[str, Any]]:
        try:
            value = json.loads(self._record.read_bytes())
        except FileNotFoundError:
            return []
        except ValueError:
            raise InstallRefused(
                f"{self._record} is damaged, so what was there before is not known: take out what stands between "
                f"{BEGIN.decode()} and {END.decode()} by hand, then delete it"
            ) from None
        return [entry for entry in value.get("entries", []) if isinstance(entry, dict)]

    def _write(self, entries: list[dict[str, Any]]) -> None:
        self._record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if entries:
            text = json.dumps({"schema": "agent-os-install", "version": 1, "entries": entries}, indent=1)
            replace_file(self._record, text.encode())
        else:
            self._record.unlink(missing_ok=True)

    def install(self, changes: Sequence[Change]) -> None:
        """Make the changes; each is remembered before it is made. Raises InstallRefused."""
        for change in changes:
            # A project's settings may be a link to the user's own, which are not the project's to change.
            if not change.path.resolve().is_relative_to(self.root):
                raise InstallRefused(
                    f"{change.path} leads out of {self.root}, to {change.path.resolve()}: nothing was changed"
                )
        for change in changes:
            name = change.path.relative_to(self.root).as_posix()
            known = next((entry for entry in self.entries() if entry["path"] == name), None)
            entry = {
                "path": name,
                "kind": change.kind.value,
                **_original(change, known),
                "after": base64.b64encode(change.after).decode(),
                "folders": [
                    *(known["folders"] if known else ()),
                    *self._missing_folders(change.path.parent),
                ],
            }
            if change.before is not None:
                keep_backup(self._backups, change.path.name, change.before)
            self._write([*(other for other in self.entries() if other["path"] != name), entry])
            change.path.parent.mkdir(parents=True, exist_ok=True)
            if not replace_file(change.path.resolve(), change.after, expected=change.before):
                raise InstallRefused(f"{change.path} was changed meanwhile: run install again")

    def unchanged(self) -> frozenset[Path]:
        """Files that an install made new and that are as it made them."""
        return frozenset(
            path
            for entry in self.entries()
            if entry["before"] is None
            and (path := self.root / entry["path"]).is_file()
            and path.read_bytes() == base64.b64decode(entry["after"])
        )

    def _missing_folders(self, folder: Path) -> list[str]:
        found = []
        while folder != self.root and not folder.exists():
            found.append(folder.relative_to(self.root).as_posix())
            folder = folder.parent
        return found

    def uninstall(self) -> Iterator[str]:
        """Give every file back as it was, or without what is ours where the user has changed it; yield a line each."""
        entries = self.entries()
        folders: list[str] = []
        for entry in reversed(entries):
            path = self.root / entry["path"]
            before = None if entry["before"] is None else base64.b64decode(entry["before"])
            after = base64.b64decode(entry["after"])
            yield f"{entry['path']}: {self._restored(path, Kind(entry['kind']), before, after)}"
            folders += entry["folders"]
        for name in sorted(set(folders), key=len, reverse=True):
            with contextlib.suppress(OSError):
                (self.root / name).rmdir()
        self._write([])

    def _restored(self, path: Path, kind: Kind, before: bytes | None, after: bytes) -> str:
        if not path.is_file():
            return "is gone already"
        now = path.read_bytes()
        if now == after:
            if before is None:
                path.unlink()
                return "removed"
            replace_file(path.resolve(), before)
            return "as it was"
        match kind:
            case Kind.BLOCK:
                rest = without_block(now)
            case Kind.SETTINGS:
                rest = without_hook(path, now)
                if before is not None and json.loads(rest) == json.loads(before or b"{}"):
                    rest = before
            case Kind.FILE:
                return "left, because it was changed since"
        keep_backup(self._backups, path.name, now)
        replace_file(path.resolve(), rest)
        return "what was ours is taken out, your changes stay"

    def states(self) -> Iterator[tuple[str, str]]:
        """Each file of the install with where it stands."""
        for entry in self.entries():
            path = self.root / entry["path"]
            if not path.is_file():
                yield entry["path"], "gone"
            else:
                same = path.read_bytes() == base64.b64decode(entry["after"])
                yield entry["path"], "installed" if same else "installed, changed since"
