"""Change the budget in the user's own configuration: the few values that must change, nothing else in the file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from orchestrator.adapters import settings_yaml as tree
from orchestrator.adapters.settings import FILE_NAME, VARIABLE
from orchestrator.adapters.settings_routing import DEFAULT_BUDGET
from orchestrator.adapters.state import config_directory, packaged
from orchestrator.core.domain import OrchestratorError
from orchestrator.core.money import NANO_PER_DOLLAR, Usd
from orchestrator.core.text import one_line

# Dollars a day.
PRESETS: Mapping[str, Usd] = {
    "conservative": Usd.of(2),
    "normal": Usd.of(5),
    "power": Usd.of(10),
    "team": Usd.of(20),
}

_BAND = re.compile(r"^(\s*(?:>=|<=|>|<)\s*\$?\s*)([0-9][0-9_]*(?:\.[0-9]+)?)(\s*)$")


class CannotEdit(OrchestratorError):
    """The file is written in a way that a small edit would not survive; the message says what to change by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One value of the file: where it stands, what it was and what it becomes."""

    key: str
    line: int
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """`backup` is the untouched file as it was, None when there was none."""

    path: Path
    backup: Path | None
    edits: tuple[Edit, ...]


def editable_file(config: Path | None, repository: Path | None, environ: Mapping[str, str]) -> Path:
    """The user's own file: the one named by `--config` or $ORCHESTRATOR_CONFIG, else in his configuration directory.

    Raises CannotEdit when that is the repository's, which may only tighten what the user allows.
    """
    named = config or (Path(environ[VARIABLE]) if environ.get(VARIABLE) else None)
    path = (named or config_directory(environ) / FILE_NAME).resolve()
    if repository is not None and path == (repository / FILE_NAME).resolve():
        raise CannotEdit(
            f"{path} belongs to the repository and is not changed: name your own file with --config, "
            f"or leave $ORCHESTRATOR_CONFIG unset"
        )
    return path


def set_budget(path: Path, cap: Usd) -> Edited:
    """Set `max_budget` in the file, bands and alerts in dollars scaling along; comments and order stay.

    A file that is not there is made from the packaged default. The old one is kept beside it.
    Raises CannotEdit or InvalidDocument; then nothing was changed.
    """
    exists = path.exists()
    try:
        content = (path if exists else packaged("templates", FILE_NAME)).read_bytes()
    except OSError as error:
        raise CannotEdit(f"{path} cannot be read: {error.strerror}") from None
    root = tree.read_yaml(content, file=str(path))
    edits = tuple(_edits(root, cap, str(path)))
    changed = _applied(content.decode("utf-8"), edits, path)
    if not _has_budget(root):
        changed = _with_budget(changed, root, cap)
    _verify(tree.read_yaml(changed.encode(), file=str(path)), cap, edits, path)
    if changed.encode() == content and exists:
        return Edited(path=path, backup=None, edits=())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        backup = _backed_up(path, content) if exists else None
        _replace(path, changed.encode())
    except OSError as error:
        raise CannotEdit(f"{path} cannot be written: {error.strerror}") from None
    return Edited(path=path, backup=backup, edits=edits)


def scaled(amount: Usd, *, old: Usd, new: Usd) -> Usd:
    """The amount in the same proportion to the new cap as it had to the old one, in whole cents above ten."""
    nano = -(-amount.nano * new.nano // old.nano)
    cent = NANO_PER_DOLLAR // 100
    return Usd(-(-nano // cent) * cent if nano > 10 * cent else nano)


def _has_budget(root: tree.Mapping) -> bool:
    general = root.items.get("general_settings")
    return isinstance(general, tree.Mapping) and "max_budget" in general.items


def _edits(root: tree.Mapping, cap: Usd, file: str) -> Iterator[Edit]:
    old = DEFAULT_BUDGET
    general = root.items.get("general_settings")
    if isinstance(general, tree.Mapping):
        budget = general.items.get("max_budget")
        if isinstance(budget, tree.Scalar):
            old = _amount(budget)
            yield Edit(key="max_budget", line=budget.line, before=budget.text, after=_plain(cap))
        if old.nano <= 0:
            raise CannotEdit(
                f"{file}: max_budget is {old}, so nothing can be scaled from it: set it by hand once"
            )
        alerts = general.items.get("budget_alerts")
        for entry in alerts.items if isinstance(alerts, tree.Sequence) else ():
            threshold = entry.items.get("threshold") if isinstance(entry, tree.Mapping) else None
            if isinstance(threshold, tree.Scalar) and not threshold.text.strip().endswith("%"):
                after = _plain(scaled(_amount(threshold), old=old, new=cap))
                yield Edit(key="threshold", line=threshold.line, before=threshold.text, after=after)
    router = root.items.get("router_settings")
    for place in (root, router):
        bands = place.items.get("budget_based_routing") if isinstance(place, tree.Mapping) else None
        for entry in bands.items if isinstance(bands, tree.Sequence) else ():
            remaining = entry.items.get("budget_remaining") if isinstance(entry, tree.Mapping) else None
            if not isinstance(remaining, tree.Scalar):
                continue
            if found := _BAND.match(remaining.text):
                amount = scaled(Usd.of(found[2].replace("_", "")), old=old, new=cap)
                after = f"{found[1]}{_plain(amount)}{found[3]}"
                yield Edit(key="budget_remaining", line=remaining.line, before=remaining.text, after=after)


def _amount(node: tree.Scalar) -> Usd:
    try:
        return Usd.of(node.text.replace("_", ""))
    except ValueError as error:
        raise CannotEdit(f"{node.file}:{node.line}: {one_line(str(error))}") from None


def _plain(amount: Usd) -> str:
    """As people write dollars in a file: at least two decimals, no sign."""
    return str(amount).removeprefix("$")


def _applied(text: str, edits: tuple[Edit, ...], path: Path) -> str:
    lines = text.splitlines(keepends=True)
    for edit in edits:
        line = lines[edit.line - 1]
        # The value as written, after its key; anything else on the line, comments included, stays.
        pattern = re.compile(rf"({edit.key}[\"']?\s*:\s*[\"']?){re.escape(edit.before)}(?=[\"',}}\s]|$)")
        found = pattern.findall(line)
        lines[edit.line - 1] = pattern.sub(lambda match: f"{match[1]}{edit.after}", line)  # noqa: B023  # used at once
        if len(found) != 1:
            raise CannotEdit(
                f"{path}:{edit.line}: {edit.key} is written in a way that is not edited here: "
                f"change {one_line(edit.before, 40)} to {edit.after} by hand"
            )
    return "".join(lines)


def _with_budget(text: str, root: tree.Mapping, cap: Usd) -> str:
    general = root.items.get("general_settings")
    setting = f"max_budget: {_plain(cap)}\n"
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    if isinstance(general, tree.Mapping) and general.lines:
        first = min(general.lines.values())
        indent = re.match(r"\s*", lines[first - 1])
        if first > root.lines["general_settings"] and indent:
            return "".join([*lines[: first - 1], f"{indent[0]}{setting}", *lines[first - 1 :]])
    if "general_settings" in root.items:
        raise CannotEdit(
            f"{root.file}:{root.lines['general_settings']}: add `max_budget: {_plain(cap)}` by hand"
        )
    return "".join([*lines, "\ngeneral_settings:\n", f"  {setting}"])


def _verify(root: tree.Mapping, cap: Usd, edits: tuple[Edit, ...], path: Path) -> None:
    """Read what is about to be written: it must say what was meant, or the file stays as it is."""
    general = root.items.get("general_settings")
    budget = general.items.get("max_budget") if isinstance(general, tree.Mapping) else None
    missed = not isinstance(budget, tree.Scalar) or Decimal(budget.text) != cap.dollars
    if missed or [edit.after for edit in _edits(root, cap, str(path))] != (
        [edit.after for edit in edits]
        if any(edit.key == "max_budget" for edit in edits)
        else [_plain(cap), *(edit.after for edit in edits)]
    ):
        raise CannotEdit(
            f"{path} is written in a way that is not edited here: set max_budget: {_plain(cap)} by hand"
        )


def _backed_up(path: Path, content: bytes) -> Path:
    for number in range(1, 1000):
        backup = path.with_name(f"{path.name}.{number}.bak")
        try:
            with backup.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        except FileExistsError:
            continue
        return backup
    raise CannotEdit(f"{path} has 999 backups beside it: remove some")


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with draft.open("xb") as stream:
            if path.exists():
                draft.chmod(path.stat().st_mode & 0o7777)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
