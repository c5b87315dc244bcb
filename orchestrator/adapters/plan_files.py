"""Plan files and goals on disk: read within bounds, written whole or not at all, never over something else."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

from orchestrator.adapters.state import digest
from orchestrator.core.domain import OrchestratorError, Plan
from orchestrator.core.planning_document import MAX_GOAL_CHARACTERS, SCHEMA, plan_from_json, plan_to_json
from orchestrator.core.planning_problems import InvalidPlan
from orchestrator.core.text import one_line

MAX_PLAN_BYTES = 256 * 1024 * 1024
_MAX_GOAL_BYTES = 4 * MAX_GOAL_CHARACTERS


class PlanFileFault(OrchestratorError):
    """A plan file cannot be read or written."""


class WouldOverwrite(PlanFileFault):
    """There is already something else under that name. Nothing was written."""


class InvalidGoal(OrchestratorError):
    """The goal is empty, too long or not text. Nothing was called and nothing was spent."""


def read_plan(path: Path, *, commands: Collection[str] | None = None) -> Plan:
    """Return the plan in `path`. Raises PlanFileFault, and InvalidPlan with every problem under the file's name."""
    data = _read(path, MAX_PLAN_BYTES, "a plan file")
    try:
        return plan_from_json(data, commands=commands)
    except InvalidPlan as error:
        raise InvalidPlan(
            type(problem)(
                where=f"{path.name}: {problem.where}" if problem.where else path.name, what=problem.what
            )
            for problem in error.problems
        ) from None


def is_plan_file(path: Path) -> bool:
    """Return whether the file says that it is a plan of ours; anything else may be a goal or a task list."""
    try:
        with path.open("rb") as file:
            return SCHEMA.encode() in file.read(4096)
    except OSError:
        return False


def write_plan(path: Path, plan: Plan, *, overwrite: bool = False) -> None:
    """Write the plan, durably and whole. Raises WouldOverwrite when other contents are there and may not go."""
    write_text(path, plan_to_json(plan), overwrite=overwrite)


def write_text(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write `text` to `path` by way of a temporary name; what was there stays until all of the new is on disk."""
    # Through a symbolic link the file it leads to is meant, not the link.
    target = path.resolve()
    data = text.encode("utf-8", "surrogatepass")
    name = ""
    try:
        if target.exists():
            if target.is_dir():
                raise PlanFileFault(f"{path} is a directory: name a file in it")
            if target.stat().st_size == len(data) and target.read_bytes() == data:
                return
            if not overwrite:
                raise WouldOverwrite(
                    f"{path} exists and holds something else: name another file, or add --force"
                )
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            if target.exists():
                Path(name).chmod(target.stat().st_mode & 0o777)
            else:
                Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(target)
        else:
            Path(name).chmod(0o666 & ~_umask())
            try:
                # Fails when somebody made the file meanwhile, which a rename would not.
                os.link(name, target)
            except FileExistsError:
                raise WouldOverwrite(
                    f"{path} was made meanwhile: name another file, or add --force"
                ) from None
            finally:
                Path(name).unlink()
        name = ""
    except OSError as error:
        raise PlanFileFault(f"cannot write {path}: {error.strerror or error}; nothing was changed") from None
    finally:
        if name:
            with contextlib.suppress(OSError):
                Path(name).unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _read(path: Path, at_most: int, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(at_most + 1)
    except OSError as error:
        raise PlanFileFault(f"cannot read {path}: {error.strerror or error}") from None
    if len(data) > at_most:
        raise PlanFileFault(f"{path} has more than {at_most:,} bytes, the most {what} may have")
    return data


# --- goals --------------------------------------------------------------------------------------


def read_goal(path: Path) -> str:
    """Return the text of a file as a goal. Raises InvalidGoal, PlanFileFault."""
    return checked_goal(_decoded(_read(path, _MAX_GOAL_BYTES, "a goal"), str(path)))


def goal_from_stdin() -> str:
    """Return the goal that comes on standard input, reading no more than a goal may have. Raises InvalidGoal."""
    data = sys.stdin.buffer.read(_MAX_GOAL_BYTES + 1)
    if len(data) > _MAX_GOAL_BYTES:
        raise InvalidGoal(
            f"the goal has more than {_MAX_GOAL_BYTES:,} bytes: say it shorter, or name the files"
        )
    return checked_goal(_decoded(data, "standard input"))


def checked_goal(goal: str) -> str:
    """Return the goal, or raise InvalidGoal that names what is wrong with it."""
    if not goal.strip():
        raise InvalidGoal(
            'the goal is empty: say what to do, as in `orchestrator plan "Improve this application"`'
        )
    if len(goal) > MAX_GOAL_CHARACTERS:
        raise InvalidGoal(
            f"the goal has {len(goal):,} characters, at most {MAX_GOAL_CHARACTERS:,} are read: say it shorter"
        )
    if "\0" in goal:
        raise InvalidGoal(f"the goal holds a NUL character at {goal.index(chr(0)) + 1}: it must be text")
    if any("\ud800" <= char <= "\udfff" for char in goal):
        raise InvalidGoal("the goal is not valid UTF-8: it must be text")
    return goal.strip()


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidGoal(f"{where} is not UTF-8 text (byte {error.start + 1})") from None


# --- stale plans --------------------------------------------------------------------------------


def stale(plan: Plan, *, commit: str | None, standard: str, prices: str) -> tuple[str, ...]:
    """Return why the plan no longer fits what it was made from, a line each; the user's own edits are no reason.

    `commit` is the repository's current one (None: unknown), `standard` and `prices` are the digests of today's.
    """
    made_from = plan.made_from
    reasons = []
    if commit is not None and made_from.commit and commit != made_from.commit:
        reasons.append(
            f"the repository is at {commit[:12]}, the plan was made at {one_line(made_from.commit[:12], 12)}"
        )
    if made_from.standard and standard != made_from.standard:
        reasons.append("the standard changed since: tags may be others now")
    if made_from.prices and prices != made_from.prices:
        reasons.append("models or prices changed since: the forecast is made with today's")
    return tuple(reasons)


# --- what the planner keeps -----------------------------------------------------------------------


class PlanCacheFiles:
    """The planner's plans by the digest of its question, in the user's cache; losing them costs one more call."""

    def __init__(self, cache: Path) -> None:
        self._directory = cache / "plans"

    def get(self, key: str) -> str | None:
        try:
            return (self._directory / f"{key}.json").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    def put(self, key: str, document: str) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        write_text(self._directory / f"{key}.json", document, overwrite=True)


def keep_reply(state: Path, text: str) -> str:
    """Store a planner's reply that could not be used, for the user to look at; return where."""
    directory = state / "planning"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"reply-{digest(text)}.txt"
    write_text(path, text, overwrite=True)
    return str(path)
