"""The one place that starts a process: an argument list, its own session, a time limit, and nothing left behind.

`run` and `run_blocking` start a command below a supervisor (`process_supervisor`) that ends its whole tree,
whatever it did. `contained=False` is for programs we trust to leave nothing behind (git): it saves the
supervisor's start, some 20 ms, and only the command's own process group is ended.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.background import in_background
from orchestrator.adapters.process_output import KeptOutput
from orchestrator.core.domain import OrchestratorError
from orchestrator.core.text import one_line

_SUPERVISOR = str(Path(__file__).with_name("process_supervisor.py"))
_ALLOWED = {
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM", "TMPDIR", "SYSTEMROOT",
    "CI", "NO_COLOR",
}  # fmt: skip
_ALLOWED_PREFIXES = ("LC_",)
DEFAULT_OUTPUT_BYTES = 1 << 20
# A command that writes this many times what is kept of it is ended rather than drained for hours.
_DRAINED_TIMES = 256
_TERM_SECONDS = 2.0
# Longer than the supervisor's own grace and sweep.
_SUPERVISOR_SECONDS = 30.0
_DRAIN_SECONDS = 1.0
_TICK_SECONDS = 0.1
_CHUNK = 1 << 16


class CannotStart(OrchestratorError):
    """The command does not exist, may not be executed, or its directory is gone."""

    def __init__(self, argv: Sequence[str], reason: str) -> None:
        self.argv, self.reason = tuple(argv), reason
        super().__init__(f"cannot start {one_line(argv[0] if argv else '(nothing)')}: {one_line(reason)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceLimits:
    """Bounds on one command. `processes` and `memory_bytes` hold for its whole tree, the others for each process.

    `memory_bytes` also bounds what a single process may allocate; `file_bytes` the size of any file it writes.
    """

    memory_bytes: int | None = None
    processes: int | None = None
    file_bytes: int | None = None
    cpu_seconds: int | None = None

    def as_json(self) -> str:
        names = ("memory_bytes", "processes", "file_bytes", "cpu_seconds")
        chosen = {name: value for name in names if (value := getattr(self, name)) is not None}
        return json.dumps(chosen | {"core": 0})


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A command that ended. A negative `exit_code` is the signal it died of.

    `limit` names what ended it early: `time`, `output`, `processes`, `memory`, or nothing. Of output beyond its
    cap the middle is missing, with a line that says so, and `truncated` is true. `left` counts processes that
    would not die.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    seconds: float
    timed_out: bool = False
    truncated: bool = False
    limit: str = ""
    left: int = 0

    @property
    def text(self) -> str:
        """Standard output as text; what is not UTF-8 shows as replacement characters."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def error_text(self) -> str:
        return self.stderr.decode("utf-8", "replace")


def allowed_environment(environ: Mapping[str, str], extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a command may see of our environment, by name (never a key), with `extra` laid over it."""
    allowed = {
        name: value
        for name, value in environ.items()
        if name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES)
    }
    return allowed | dict(extra or {})


async def run(
    argv: Sequence[str],
    *,
    cwd: str | Path,
    env: Mapping[str, str],
    timeout_seconds: float,
    stdin: bytes | None = None,
    max_output_bytes: int = DEFAULT_OUTPUT_BYTES,
    limits: ResourceLimits | None = None,
    merge_stderr: bool = False,
    contained: bool = True,
) -> Completed:
    """Run the command; when it ends, its time is up or we are cancelled, no process of its tree is left.

    The time limit covers everything but the two seconds a process has to obey SIGTERM. Raises CannotStart.
    """
    command = _Command(
        argv, cwd=cwd, env=env, stdin=stdin, cap=max_output_bytes, limits=limits, merge=merge_stderr,
        contained=contained,
    )  # fmt: skip
    return await in_background(lambda: command.run(timeout_seconds), cancel=command.cancel)


def run_blocking(
    argv: Sequence[str],
    *,
    cwd: str | Path,
    env: Mapping[str, str],
    timeout_seconds: float,
    stdin: bytes | None = None,
    max_output_bytes: int = DEFAULT_OUTPUT_BYTES,
    limits: ResourceLimits | None = None,
    merge_stderr: bool = False,
    contained: bool = True,
) -> Completed:
    """`run` without an event loop, for commands that only read. KeyboardInterrupt ends the tree and goes on."""
    command = _Command(
        argv, cwd=cwd, env=env, stdin=stdin, cap=max_output_bytes, limits=limits, merge=merge_stderr,
        contained=contained,
    )  # fmt: skip
    return command.run(timeout_seconds)


def spawn_detached(argv: Sequence[str], *, cwd: str | Path, env: Mapping[str, str], log: Path) -> int:
    """Start a process that outlives us, in a session of its own, writing to `log`; return its process id."""
    try:
        with log.open("ab") as output:
            process = subprocess.Popen(
                list(argv),
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise CannotStart(argv, error.strerror or str(error)) from None
    # Never waited for: without a return code Popen would warn when it is collected.
    process.returncode = 0
    return process.pid


def run_in_terminal(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Give a program of the user's, an editor, the terminal until it ends; return its exit code. Raises CannotStart.

    No session of its own, no time limit, no captured output. Control-C is the program's to answer: it goes to
    every process on the terminal, and ours must not end and leave the program behind.
    """
    # A handler, not SIG_IGN, which the program would inherit.
    usual = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        return subprocess.Popen(list(argv), env=dict(env)).wait()
    except OSError as error:
        raise CannotStart(argv, error.strerror or str(error)) from None
    finally:
        signal.signal(signal.SIGINT, usual)


class _Command:
    """One command from its start to the death of its tree; `run` blocks, `cancel` comes from another thread."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: str | Path,
        env: Mapping[str, str],
        stdin: bytes | None,
        cap: int,
        limits: ResourceLimits | None,
        merge: bool,
        contained: bool,
    ) -> None:
        if isinstance(argv, str) or not argv:
            raise TypeError("a command is a list of arguments, never a line for a shell")
        if limits is not None and not contained:
            raise ValueError("limits need a contained command")
        self.argv, self.cwd, self.env = list(argv), cwd, dict(env)
        self.limits, self.merge, self.contained = limits, merge, contained
        self.stdin, self.fed = memoryview(stdin or b""), stdin is not None
        self.cap, self.kept = cap, {"out": KeptOutput(cap), "err": KeptOutput(cap)}
        self.limit, self.deadline, self.lines = "", 0.0, b""
        self.control = self.status = self.exit = -1
        self.selector = selectors.DefaultSelector()
        self.lock = threading.Lock()
        self.wake_read, self.wake_write = os.pipe()

    def cancel(self) -> None:
        """From any thread: end the tree now."""
        with self.lock:
            if self.wake_write >= 0:
                os.write(self.wake_write, b"x")

    def run(self, timeout_seconds: float) -> Completed:
        start = time.monotonic()
        self.deadline = start + timeout_seconds
        try:
            process = self._start()
            try:
                self._follow(process)
                return self._completed(process, time.monotonic() - start)
            except BaseException:
                self._let_go()
                if not self.contained:
                    _signal_group(process.pid, signal.SIGKILL)
                process.wait()
                raise
            finally:
                for stream in (process.stdin, process.stdout, process.stderr):
                    if stream is not None:
                        stream.close()
        finally:
            self._close()

    def _close(self) -> None:
        self._let_go()
        self.selector.close()
        with self.lock:
            wake, self.wake_write = self.wake_write, -1
        for number in (self.status, self.exit, self.wake_read, wake):
            if number >= 0:
                os.close(number)

    def _let_go(self) -> None:
        """Close the supervisor's control pipe: whatever is left of the tree goes."""
        control, self.control = self.control, -1
        if control >= 0:
            os.close(control)

    def _start(self) -> subprocess.Popen[bytes]:
        argv, passed = self.argv, []
        if self.contained:
            control_read, self.control = os.pipe()
            self.status, status_write = os.pipe()
            passed = [control_read, status_write]
            limits = (self.limits or ResourceLimits()).as_json()
            supervisor = [sys.executable, "-I", "-S", "-B", _SUPERVISOR]
            argv = [*supervisor, str(control_read), str(status_write), limits, *self.argv]
        try:
            return subprocess.Popen(
                argv,
                cwd=self.cwd,
                env=self.env,
                stdin=subprocess.PIPE if self.fed else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if self.merge else subprocess.PIPE,
                start_new_session=True,
                pass_fds=passed,
                bufsize=0,
            )
        except (OSError, ValueError) as error:
            raise CannotStart(self.argv, _reason(error, self.cwd)) from None
        finally:
            for number in passed:
                os.close(number)

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        """Move bytes until every stream has ended and the process with it."""
        waiting = {"wake"}
        self.selector.register(self.wake_read, selectors.EVENT_READ, "wake")
        for stream, name in ((process.stdout, "out"), (process.stderr, "err")):
            if stream is not None:
                self.selector.register(stream.fileno(), selectors.EVENT_READ, name)
                waiting.add(name)
        if self.status >= 0:
            self.selector.register(self.status, selectors.EVENT_READ, "status")
            waiting.add("status")
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            self.selector.register(process.stdin.fileno(), selectors.EVENT_WRITE, "in")
        tick = self._watch_exit(process)
        gone_at: float | None = None
        while waiting > {"wake"} or process.poll() is None:
            now = time.monotonic()
            if gone_at is None and process.poll() is not None:
                # A stray holding our pipes open does not hold us: the group is ended, the rest is not read.
                gone_at = now
                if not self.contained:
                    _signal_group(process.pid, signal.SIGKILL)
            if now >= self.deadline:
                self._end(process, "time")
            # Once its output has ended, so has the command as a rule, or is about to.
            pause = tick if waiting > {"wake"} or tick > _TICK_SECONDS else 0.001
            ready = self.selector.select(max(0.0, min(self.deadline - now, pause)))
            if not ready and gone_at is not None and now > gone_at + _DRAIN_SECONDS:
                return
            for key, _ in ready:
                self._move(process, key.data, key.fd, waiting)

    def _watch_exit(self, process: subprocess.Popen[bytes]) -> float:
        """Let the exit wake us where the kernel can; return how long we may sleep, in seconds."""
        try:
            self.exit = os.pidfd_open(process.pid)
        except (AttributeError, OSError):
            return _TICK_SECONDS
        self.selector.register(self.exit, selectors.EVENT_READ, "exit")
        return _DRAIN_SECONDS

    def _move(self, process: subprocess.Popen[bytes], name: str, number: int, waiting: set[str]) -> None:
        if name == "wake":
            self.selector.unregister(number)
            self._end(process, "cancelled")
            return
        if name == "in":
            self._feed(process)
            return
        if name == "exit":
            self.selector.unregister(number)
            process.poll()
            return
        data = os.read(number, _CHUNK)
        if not data:
            self.selector.unregister(number)
            waiting.discard(name)
        elif name == "status":
            self.lines += data
        else:
            self.kept[name].add(data)
            if not self.limit and self.kept[name].total > _DRAINED_TIMES * max(self.cap, _CHUNK):
                self._end(process, "output")

    def _feed(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        try:
            self.stdin = self.stdin[os.write(process.stdin.fileno(), self.stdin[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.stdin = memoryview(b"")
        if not self.stdin:
            self.selector.unregister(process.stdin.fileno())
            process.stdin.close()

    def _end(self, process: subprocess.Popen[bytes], why: str) -> None:
        """Ask the tree to end; when that has been asked before and has not helped, make it."""
        first = not self.limit
        self.limit = self.limit or why
        self._let_go()
        if first:
            self.deadline = time.monotonic() + (_SUPERVISOR_SECONDS if self.contained else _TERM_SECONDS)
            if not self.contained:
                _signal_group(process.pid, signal.SIGTERM)
        else:
            self.deadline = time.monotonic() + _TERM_SECONDS
            _signal_group(process.pid, signal.SIGKILL)

    def _completed(self, process: subprocess.Popen[bytes], seconds: float) -> Completed:
        exit_code, limit, left = process.wait(), self.limit, 0
        if self.contained:
            report: dict[str, object] = {}
            for line in self.lines.splitlines():
                report |= json.loads(line)
            if "error" in report:
                raise CannotStart(self.argv, str(report["error"]))
            # No word of an exit: the supervisor itself was killed, and its command with it, or worse.
            code, survivors = report.get("exit"), report.get("left", 0)
            exit_code = code if isinstance(code, int) else -int(signal.SIGKILL)
            left = survivors if isinstance(survivors, int) else 0
            limit = limit or str(report.get("limit", ""))
            if code is None and isinstance(pid := report.get("pid"), int):
                _signal_group(pid, signal.SIGKILL)
        out, err = self.kept["out"], self.kept["err"]
        return Completed(
            exit_code=exit_code,
            stdout=out.value(),
            stderr=err.value(),
            seconds=seconds,
            timed_out=limit == "time",
            truncated=out.truncated or err.truncated,
            limit=limit,
            left=left,
        )


def _reason(error: Exception, cwd: str | Path) -> str:
    if isinstance(error, FileNotFoundError) and not Path(cwd).is_dir():
        return f"no directory {cwd}"
    return getattr(error, "strerror", None) or str(error)


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return
