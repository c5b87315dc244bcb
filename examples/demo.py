"""The main job, end to end, on a small application: `make demo`.

Copies examples/stockroom to a scratch git repository and runs the real command line on it. The models are
scripted (examples/stockroom-script): their replies are played from files over HTTP on loopback, through the same
path a real model takes; prices are the real ones. Everything else is real: git, checks, sandbox, ledger. Where no
sandbox works the checks run without one, and the screen says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPT = HERE / "stockroom-script" / "script.yaml"
GOAL = "Improve this application"


def environment(scratch: Path) -> dict[str, str]:
    """The user's environment without any key, and with state of its own: the demo touches nothing of the user's."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_TOKEN"))}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "ORCHESTRATOR_STATE": str(scratch / "state"),
        "ORCHESTRATOR_CACHE": str(scratch / "cache"),
        "ORCHESTRATOR_CONFIG_DIR": str(scratch / "config"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }


def make_repository(folder: Path, environ: dict[str, str]) -> None:
    shutil.copytree(HERE / "stockroom", folder, ignore=shutil.ignore_patterns("__pycache__"))
    identity = ["-c", "user.name=Demo", "-c", "user.email=demo@localhost"]
    for arguments in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        [*identity, "commit", "-q", "-m", "Stockroom"],
    ):
        subprocess.run(["git", *arguments], cwd=folder, env=environ, check=True)


def step(words: str) -> None:
    print(f"\n\033[1m{words}\033[0m" if sys.stdout.isatty() else f"\n{words}", flush=True)


def command(arguments: list[str], folder: Path, environ: dict[str, str], *, expected: int = 0) -> None:
    """Show and run one command; a demo that does not do what it says ends here."""
    shown = " ".join(f'"{word}"' if " " in word else word for word in arguments)
    print(f"$ {shown}", flush=True)
    code = subprocess.run(arguments, cwd=folder, env=environ).returncode
    if code != expected:
        raise SystemExit(f"the demo failed: exit code {code} instead of {expected}")


def sandbox_options() -> list[str]:
    """Nothing where a sandbox works; else the option to go without, said aloud. A run of yours would refuse."""
    from orchestrator.adapters.sandbox import NoSandbox, Sandbox

    try:
        Sandbox.probe()
    except NoSandbox as error:
        print(f"UNSANDBOXED: {error}.")
        print(
            "The demo goes on without one, for its replies and its application come with it; `run` would refuse."
        )
        return ["--no-sandbox"]
    return []


def main() -> int:
    started = time.monotonic()
    scratch = Path(tempfile.mkdtemp(prefix="orchestrator-demo-"))
    environ = environment(scratch)
    repository, untouched = scratch / "stockroom", scratch / "stockroom-untouched"
    make_repository(repository, environ)
    make_repository(untouched, environ)
    print(f"A scratch copy of the example application lies in {repository}.")
    print("The models are SCRIPTED: replies from files, real prices, no key and no cost.")

    sandbox = sandbox_options()

    step("1. A goal becomes a priced plan, and the plan is carried out under a cap of $0.50.")
    scripted = ["--scripted", str(SCRIPT)]
    command(
        ["orchestrator", "run", GOAL, "--budget", "0.50", "--yes", *sandbox, *scripted], repository, environ
    )

    step("2. What it came to, as a page.")
    report = scratch / "report.html"
    command(["orchestrator", "show", "--html", str(report)], repository, environ)

    step("3. The work becomes yours when you accept it.")
    command(["orchestrator", "accept"], repository, environ)
    command(["git", "--no-pager", "log", "--oneline"], repository, environ)

    step("4. The same goal without any model: a plan from what the survey finds.")
    command(["orchestrator", "plan", GOAL, "--offline"], untouched, environ)

    seconds = time.monotonic() - started
    print(f"\nDone in {seconds:.0f} s. The report: {report}")
    print(f"Everything lies in {scratch}; delete it when you have seen enough.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
