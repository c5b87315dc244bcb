"""Runs one command and leaves nothing of it behind: a small program of its own, started by `processes`.

    python -I -S process_supervisor.py CONTROL STATUS LIMITS ARGV...

It is the subreaper of everything the command starts, so that not even a double fork with `setsid` gets away. It
ends the whole tree when the command has ended, when CONTROL (a pipe whose other end only the orchestrator has) is
closed, also by the orchestrator's death, or when the tree passes a limit. STATUS takes lines of JSON. Standard
library only, few imports: its start is paid for each command.
"""

import json
import os
import resource
import select
import signal
import sys

GRACE_SECONDS = 2.0
SWEEP_SECONDS = 20.0
TICK_SECONDS = 0.1
_PR_SET_CHILD_SUBREAPER = 36
_LINUX = sys.platform == "linux"

Limits = dict[str, int]


def main(arguments: list[str]) -> int:
    control, status = int(arguments[0]), int(arguments[1])
    limits: Limits = json.loads(arguments[2])
    argv = arguments[3:]
    # The command could tell its own story on STATUS, or keep CONTROL open.
    os.set_inheritable(control, False)
    os.set_inheritable(status, False)
    if _LINUX:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)

    enclosure = _enclose(limits)
    child, error = _start(argv, limits, enclosure)
    _forget_output()
    _hurry(limits)
    if error:
        _remove(enclosure)
        _tell(status, {"error": error})
        return 127
    _tell(status, {"pid": child})
    ended, reason = _watch(child, control, wake_read, limits)
    left = _sweep(child)
    _remove(enclosure)
    if ended is None:
        ended = _reaped.get(child)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    _tell(
        status,
        {
            "exit": os.waitstatus_to_exitcode(ended) if ended is not None else -int(signal.SIGKILL),
            "limit": reason,
            "left": left,
            "cpu": usage.ru_utime + usage.ru_stime,
        },
    )
    return 0


def _start(argv: list[str], limits: Limits, enclosure: str) -> tuple[int, str]:
    """Fork and execute; return the process id, or why the command cannot run."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            # Python ignores these two; a command expects to die of them.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            _limit(limits)
            _limit_processes(limits)
            if enclosure:
                _write(f"{enclosure}/cgroup.procs", "0")
            os.execvpe(argv[0], argv, os.environ)
        except BaseException as error:
            os.write(write, str(getattr(error, "strerror", None) or error).encode())
        os._exit(127)
    os.close(write)
    with os.fdopen(read, "rb") as reader:
        return child, reader.read(1000).decode(errors="replace")


def _limit(limits: Limits) -> None:
    for kind, name in (
        (resource.RLIMIT_CORE, "core"),
        (resource.RLIMIT_FSIZE, "file_bytes"),
        (resource.RLIMIT_CPU, "cpu_seconds"),
        # Not RLIMIT_AS: node and go reserve far more address space than they ever use.
        (resource.RLIMIT_DATA, "memory_bytes"),
    ):
        if name in limits:
            _, hard = resource.getrlimit(kind)
            value = limits[name] if hard == resource.RLIM_INFINITY else min(limits[name], hard)
            resource.setrlimit(kind, (value, value))


def _limit_processes(limits: Limits) -> None:
    """Let the kernel stop a fork bomb before the watch sees it; it does so for every user but root.

    The kernel counts all threads of the user, so room is left for all that run on this machine now.
    """
    if "processes" not in limits or os.getuid() == 0:
        return
    try:
        with open("/proc/loadavg") as file:
            running = int(file.read().split()[3].partition("/")[2])
    except (OSError, ValueError, IndexError):
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    # Twice the limit: the watch is what ends the command by name, this only keeps it from winning the race.
    value = running + 2 * limits["processes"]
    if hard == resource.RLIM_INFINITY or value <= hard:
        resource.setrlimit(resource.RLIMIT_NPROC, (value, hard))


# The kernel counts threads: room for as many as an honest tree at its limit has.
_THREADS_PER_PROCESS = 4
_NAME = "orchestrator-"


def _enclose(limits: Limits) -> str:
    """For root, whom no limit of `_limit_processes` binds: a control group with a bound, below our own.

    Return its directory; empty where there is none to be had (then only the watch ends a fork bomb).
    """
    if "processes" not in limits or not _LINUX or os.getuid() != 0:
        return ""
    for parent in _own_groups():
        place = f"{parent}/{_NAME}{os.getpid()}"
        try:
            _clear_away(parent)
            os.mkdir(place)
        except OSError:
            continue
        try:
            _write(f"{place}/pids.max", str(_THREADS_PER_PROCESS * limits["processes"]))
        except OSError:
            _remove(place)
            continue
        return place
    return ""


def _own_groups() -> list[str]:
    """The control groups of this process in which processes can be counted; version 1, then version 2."""
    found: list[str] = []
    try:
        with open("/proc/self/cgroup") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return []
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if "pids" in controllers.split(","):
            found.insert(0, f"/sys/fs/cgroup/pids{path}".rstrip("/"))
        elif not controllers:
            found.append(f"/sys/fs/cgroup{path}".rstrip("/"))
    return found


def _clear_away(parent: str) -> None:
    """Remove the groups of supervisors that were killed; the kernel keeps those in which something still runs."""
    for name in os.listdir(parent):
        owner = name.removeprefix(_NAME)
        if owner != name and owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
            _remove(f"{parent}/{name}")


def _remove(place: str) -> None:
    import time

    for _ in range(50 if place else 0):
        try:
            os.rmdir(place)
        except FileNotFoundError:
            return
        except OSError:
            # Of what was killed the kernel may not have let go yet.
            _reap()
            time.sleep(0.002)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _hurry(limits: Limits) -> None:
    """Let the watch come to its turn while a fork bomb keeps every processor busy, where we may ask for that."""
    if "processes" in limits and _LINUX:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        except OSError:
            return


def _forget_output() -> None:
    """The command's pipes are not held open by its supervisor."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)


def _tell(status: int, message: dict[str, object]) -> None:
    try:
        os.write(status, json.dumps(message).encode() + b"\n")
    except BrokenPipeError:
        return  # The orchestrator is gone; the sweep still has to be done.


_reaped: dict[int, int] = {}


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _reaped[pid] = status


def _watch(child: int, control: int, wake: int, limits: Limits) -> tuple[int | None, str]:
    """Wait until the command ends, is called off, or passes a limit: its wait status and the limit's name."""
    poll = select.poll()
    poll.register(control, select.POLLIN | select.POLLHUP)
    poll.register(wake, select.POLLIN)
    watched = "processes" in limits or "memory_bytes" in limits
    while True:
        _reap()
        if child in _reaped:
            return _reaped[child], ""
        ready = {number for number, _ in poll.poll(TICK_SECONDS * 1000 if watched else None)}
        if wake in ready:
            # SIGCHLD only wakes; any other signal is a request to end.
            if set(os.read(wake, 4096)) - {int(signal.SIGCHLD)}:
                break
            continue
        if control in ready:
            break
        if watched and (passed := _passed(limits)):
            return None, passed
    _terminate(child, wake)
    return _reaped.get(child), ""


def _terminate(child: int, wake: int) -> None:
    """Ask everyone to end, and give them a moment."""
    for pid in descendants():
        _kill(pid, signal.SIGTERM)
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    for _ in range(int(GRACE_SECONDS / TICK_SECONDS)):
        _reap()
        if child in _reaped and not descendants():
            return
        if poll.poll(TICK_SECONDS * 1000):
            os.read(wake, 4096)


def _passed(limits: Limits) -> str:
    tree = _known_below()
    if len(tree) > limits.get("processes", 1 << 30):
        return "processes"
    most = limits.get("memory_bytes", 1 << 62)
    # The cheap number counts shared pages once for each process, the dear one does not.
    if sum(map(_resident, tree)) > most and sum(map(_proportional, tree)) > most:
        return "memory"
    return ""


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    except (OSError, ValueError, StopIteration):
        return _resident(pid)


def _sweep(child: int) -> int:
    """Kill everything below this process; return how many would not go (stuck in the kernel)."""
    import time

    deadline = time.monotonic() + SWEEP_SECONDS
    while True:
        _reap()
        tree = descendants()
        if not tree:
            return 0
        if time.monotonic() > deadline:
            return len(tree)
        if len(tree) > 8:
            # What is stopped forks no more; killing alone loses the race against a fork bomb.
            for pid in tree:
                _kill(pid, signal.SIGSTOP)
        if child not in _reaped:
            _kill_group(child)
        for pid in tree:
            _kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def descendants() -> list[int]:
    """Every living process below this one; zombies that a parent has not collected do not count."""
    below: dict[int, list[int]] = {}
    dead: set[int] = set()
    for pid, parent, state in _processes():
        below.setdefault(parent, []).append(pid)
        if state == "Z":
            dead.add(pid)
    found: list[int] = []
    frontier = [os.getpid()]
    while frontier:
        children = below.get(frontier.pop(), [])
        found += children
        frontier += children
    return [pid for pid in found if pid not in dead]


def _known_below() -> list[int]:
    """Like `descendants`, for the price of the tree and not of the machine; may miss what is just being born."""
    found: list[int] = []
    frontier = [os.getpid()]
    try:
        while frontier:
            children = _children(frontier.pop())
            found += children
            frontier += children
    except FileNotFoundError:
        return descendants()
    return found


def _children(pid: int) -> list[int]:
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        if pid == os.getpid():
            raise FileNotFoundError from None
        return []
    found: list[int] = []
    for task in tasks:
        try:
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += map(int, file.read().split())
        except OSError:
            # It ended meanwhile; when it is ourselves, the kernel has no such lists.
            if pid == os.getpid():
                raise FileNotFoundError from None
    return found


def _processes() -> list[tuple[int, int, str]]:
    if not _LINUX:
        return _processes_by_ps()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The name in parentheses may hold anything, parentheses and blanks too.
                state, parent = file.read().rpartition(b")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        found.append((int(name), int(parent), state.decode()))
    return found


def _processes_by_ps() -> list[tuple[int, int, str]]:
    """Without /proc. Without a subreaper too: of an orphan only its process group is still known."""
    with os.popen("/bin/ps -axo pid=,ppid=,stat=") as listing:  # noqa: TID251
        rows = [line.split() for line in listing]
    return [(int(row[0]), int(row[1]), row[2][:1]) for row in rows if len(row) >= 3]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
