"""The scripted provider: a model server on loopback that plays a file, so that no key and no money is needed.

`with ScriptedProvider(script) as provider:` runs it in a thread of this process;
`python -m orchestrator.adapters.scripted SCRIPT --port 0 --log FILE` on its own.
"""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from orchestrator.adapters.scripted_playing import Barriers, Call, CallLog, Player
from orchestrator.adapters.scripted_script import Script, load_script, parse_script
from orchestrator.core.catalogue import Catalogue, Deployment
from orchestrator.core.domain import ModelAlias, OrchestratorError
from orchestrator.core.text import one_line

if TYPE_CHECKING:
    import asyncio

    from orchestrator.adapters.scripted_server import Stage

SCRIPTED_KEY = "scripted-no-key"
_START_SECONDS = 30.0


class ScriptedProviderFailed(OrchestratorError):
    """The scripted provider could not listen or start, or is not where it was said to be."""


class ScriptedProvider:
    """Plays a script in a thread of its own, from `__enter__` to `__exit__`."""

    def __init__(
        self, script: Script | Path | str, *, port: int = 0, log: Path | None = None, host: str = "127.0.0.1"
    ) -> None:
        """`script` is a Script, a path, or YAML text; port 0 takes a free one; `log` gets JSON lines."""
        match script:
            case Script():
                self._script = script
            case Path():
                self._script = load_script(script)
            case str():
                self._script = parse_script(script)
        self._log = CallLog(path=log)
        self._host, self._port = host, port
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._stage: Stage | None = None

    def __enter__(self) -> Self:
        # Named by its protocol, because asyncio turns Nagle's delay off only then: 40 ms a reply.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self._port))
        except OSError as error:
            listener.close()
            raise ScriptedProviderFailed(
                f"scripted provider: cannot listen on {self._host}:{self._port}: {error.strerror}"
            ) from None
        # Listening from here on: a client that comes before the loop runs waits, it is not refused.
        listener.listen(1024)
        self._port = listener.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(listener, ready), name="scripted-provider", daemon=True
        )
        self._thread.start()
        if not ready.wait(_START_SECONDS):
            raise ScriptedProviderFailed(f"scripted provider: did not start within {_START_SECONDS:.0f} s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(_START_SECONDS)

    def _run(self, listener: socket.socket, ready: threading.Event) -> None:
        import asyncio

        from orchestrator.adapters.scripted_server import Performance, Stage, serve

        async def play() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            self._stage = Stage(Performance(Player(self._script), self._log, Barriers()))
            await serve(self._stage, listener, stop=self._stop, ready=ready)

        asyncio.run(play())

    @property
    def url(self) -> str:
        """The server's root, as the Anthropic dialect and `scripted_catalogue` want it."""
        return f"http://{self._host}:{self._port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base: the root and `/v1`."""
        return f"{self.url}/v1"

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every call so far, in the order of arrival."""
        return self._log.calls

    def play(self, script: Script | str) -> None:
        """Go on with another script and a new record; for tests that share one provider."""
        from orchestrator.adapters.scripted_server import Performance

        parsed = parse_script(script) if isinstance(script, str) else script
        self._log = CallLog(path=self._log.path)
        self._playing().performance = Performance(Player(parsed), self._log, Barriers())

    def release(self, barrier: str, count: int | None = None) -> None:
        """Let `count` held replies go; None opens the barrier for good."""
        self._playing().performance.barriers.release(barrier, count)

    def wait_until_held(self, barrier: str, count: int = 1, *, timeout_seconds: float = 60.0) -> bool:
        """Block until `count` replies wait at the barrier (from async code: through `asyncio.to_thread`)."""
        return self._playing().performance.barriers.wait_until_held(
            barrier, count, timeout_seconds=timeout_seconds
        )

    def wait_for_calls(self, count: int, *, finished: bool = False, timeout_seconds: float = 60.0) -> bool:
        """Block until `count` calls came in, or came to their end."""
        return self._log.wait_for(count, finished=finished, timeout_seconds=timeout_seconds)

    def _playing(self) -> Stage:
        if self._stage is None:
            raise ScriptedProviderFailed("scripted provider: not running; use it in a `with` statement")
        return self._stage


def running_provider(url: str) -> str:
    """Return the root of the scripted provider that already runs at `url`, on this machine.

    Raises ScriptedProviderFailed when another server answers there, or none: a real one would have to be paid, and
    what a script plays counts in nobody's budget.
    """
    import http.client
    from urllib.parse import urlsplit

    shown = one_line(url, 80)
    try:
        place = urlsplit(url)
        host, port = place.hostname or "", place.port or 80
    except ValueError:
        raise ScriptedProviderFailed(f"{shown!r} is no address such as http://127.0.0.1:8100") from None
    if place.scheme != "http" or host not in ("127.0.0.1", "localhost"):
        raise ScriptedProviderFailed(
            f"{shown}: a scripted provider runs on this machine: http://127.0.0.1:PORT"
        )
    connection = http.client.HTTPConnection(host, port, timeout=_START_SECONDS)
    try:
        connection.request("GET", "/control/barriers")
        answer = connection.getresponse()
        if answer.status == 200 and isinstance(json.loads(answer.read(100_000)), dict):
            return f"http://{host}:{port}"
        told = "another server answers there"
    except (OSError, http.client.HTTPException, ValueError) as error:
        told = one_line(str(error), 80) or "no answer"
    finally:
        connection.close()
    raise ScriptedProviderFailed(
        f"{shown} is no scripted provider ({told}): "
        f"`python -m orchestrator.adapters.scripted SCRIPT --port {port}` starts one"
    )


def scripted_catalogue(catalogue: Catalogue, url: str) -> Catalogue:
    """Return the catalogue with every alias answered by the scripted provider at `url`, at its real prices.

    An alias with no usable deployment (its keys are missing) comes back to life with the prices it would have.
    The alias is part of the address, so that a script can tell apart two aliases of one model.
    """
    root = url.rstrip("/").removesuffix("/v1")
    return replace(
        catalogue,
        pools={
            alias: (_scripted(alias, pool[0], root),)
            for alias in {**catalogue.pools, **catalogue.unusable}
            if (pool := (*catalogue.pool(alias), *catalogue.unusable.get(alias, ())))
        },
        unusable={},
        skipped=(),
    )


def _scripted(alias: ModelAlias, deployment: Deployment, root: str) -> Deployment:
    from urllib.parse import quote

    _, _, model = deployment.model.partition("/")
    return replace(
        deployment,
        model=f"openai/{model or deployment.model}",
        api_base=f"{root}/{quote(alias, safe='')}/v1",
        key_variable=None,
        requests_per_minute=None,
        tokens_per_minute=None,
        parameters={"api_key": SCRIPTED_KEY},
    )


def main(arguments: list[str] | None = None) -> int:
    """`python -m orchestrator.adapters.scripted SCRIPT [--port N] [--log FILE]`: print the URL, play until stopped."""
    import argparse
    import signal
    import sys

    parser = argparse.ArgumentParser(
        prog="python -m orchestrator.adapters.scripted",
        description="Play a script as an OpenAI-compatible model server on loopback.",
    )
    parser.add_argument("script", type=Path, help="YAML script, see docs/reference/scripted-provider.md")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--log", type=Path, help="append every call to this file, as JSON lines")
    given = parser.parse_args(arguments)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        with ScriptedProvider(given.script, port=given.port, log=given.log) as provider:
            print(provider.url, flush=True)
            stopped.wait()
    except OrchestratorError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
