"""Who holds money: a process, named so that a later process with the same number is not taken for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """`started` is the start time in clock ticks since boot, `boot` the boot and the namespace of process ids.

    Both are empty where the system does not tell; then only the number is compared, which can keep the hold
    of a dead process open but never frees the money of a living one.
    """

    pid: int
    started: str = ""
    boot: str = ""


def this_process() -> Holder:
    return Holder(pid=os.getpid(), started=_started(os.getpid()) or "", boot=_boot())


def is_alive(holder: Holder) -> bool:
    """Whether the process still runs. What cannot be seen from here counts as alive."""
    boot = _boot()
    if holder.boot and boot and holder.boot != boot:
        # Another namespace of the same boot cannot be looked into.
        return holder.boot.partition(" ")[0] == boot.partition(" ")[0]
    if holder.started and Path("/proc/self/stat").exists():
        return _started(holder.pid) == holder.started
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_seen(holder: Holder) -> bool:
    """Whether it can be looked for from here; a process of another container, which counts as alive, cannot."""
    boot = _boot()
    return not holder.boot or not boot or holder.boot == boot


def _started(pid: int) -> str | None:
    """The start time of a living process; None when there is none (a zombie holds nothing either)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command's name may hold spaces and brackets; the fields after it do not.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _boot() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""
