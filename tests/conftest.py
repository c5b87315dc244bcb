"""What every test stands on: a home of its own, no keys, no settings of the machine, and tools asked for by name.

`@requires("bwrap", "tmux")` on a test, or `skip_unless(condition, reason)` inside one, skips it visibly on a
developer's machine. Where `CI=true` the tools are installed (`.ci/run`), so there it fails instead.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]

# Remembered in a variable, for the workers of pytest-xdist, and taken away from the program under test, which
# is stricter where CI=true: a test of that sets it itself.
if os.environ.pop("CI", "") == "true":
    os.environ["TESTS_IN_CI"] = "true"
IN_CI = os.environ.get("TESTS_IN_CI") == "true"

# A shell starts what it puts in the background with SIGINT ignored, and every child would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_SHARED = Path(
    os.environ.pop("ORCHESTRATOR_SHARED", "") or os.environ.get("TESTS_SHARED", "") or ROOT.parent / "shared"
)
os.environ["TESTS_SHARED"] = str(_SHARED)

_NOT_FOR_TESTS = re.compile(
    r".*_(API_KEY|API_BASE|BASE_URL|AUTH_TOKEN|ACCESS_TOKEN)|(AWS|AZURE|GIT|LITELLM|ORCHESTRATOR|XDG)_.*"
    r"|(NO|FORCE)_COLOR|CLICOLOR.*|PY_COLORS|COLUMNS|LINES|GITHUB_ACTIONS|EDITOR|VISUAL|PAGER"
)
_FIXED = {
    # Without it litellm fetches a price list when it is imported.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "TZ": "UTC",
}


def _clean_environment() -> None:
    for name in [name for name in os.environ if _NOT_FOR_TESTS.fullmatch(name)]:
        del os.environ[name]
    os.environ.update(_FIXED)


def _home_variables(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
        "XDG_STATE_HOME": str(home / ".local" / "state"),
    }


def pytest_configure(config: pytest.Config) -> None:
    _clean_environment()
    # For what runs outside a test: session fixtures, subprocesses started while modules are imported.
    home = tempfile.mkdtemp(prefix="orchestrator-tests-")
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    os.environ.update(_home_variables(Path(home)))
    config.addinivalue_line(
        "markers", "requires(*names): needs these tools; a failure instead of a skip in CI"
    )


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh HOME, with nothing in it: no test sees the state of another, or of the user."""
    path = tmp_path_factory.mktemp("home")
    for name, value in _home_variables(path).items():
        monkeypatch.setenv(name, value)
    return path


# --- Tools ---------------------------------------------------------------------------------------------------

# Names under which the same tool is found.
_COMMANDS = {
    "chromium": ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
}


@cache
def find_tool(name: str) -> str | None:
    """The path of a tool, from PATH or from `.tools/` (scripts/install-test-tools.sh); None when it is absent."""
    path = os.pathsep.join(
        [os.environ.get("PATH", os.defpath), str(ROOT / ".tools" / "node_modules" / ".bin")]
    )
    found = (shutil.which(command, path=path) for command in _COMMANDS.get(name, (name,)))
    return next((place for place in found if place), None)


@cache
def _why_unusable(name: str) -> str | None:
    if name == "shared":
        return None if (_SHARED / "data").is_dir() else f"no shared data in {_SHARED}/data"
    tool = find_tool(name)
    if tool is None:
        return f"{name} is not installed: scripts/install-test-tools.sh --agents"
    if name == "bwrap":
        # Installed is not usable: a container may forbid user namespaces.
        command = [tool, "--ro-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "true"]
        probe = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        if probe.returncode != 0:
            return f"bwrap does not work here: {probe.stderr.strip()}"
    return None


def skip_unless(condition: object, reason: str) -> None:
    """Skip the running test when the condition is false; in CI fail it: what is needed is installed there."""
    if condition:
        return
    if IN_CI:
        pytest.fail(f"may not be skipped in CI: {reason}", pytrace=False)
    pytest.skip(reason)


def requires(*names: str) -> pytest.MarkDecorator:
    """Mark a test as needing tools: `bwrap`, `chromium`, `tmux`, `strace`, `claude`, `opencode`, ... or `shared`."""
    return pytest.mark.requires(*names)


def pytest_runtest_setup(item: pytest.Item) -> None:
    names = [name for marker in item.iter_markers("requires") for name in marker.args]
    if item.get_closest_marker("needs_shared"):
        names.append("shared")
    for name in names:
        reason = _why_unusable(name)
        skip_unless(reason is None, reason or "")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The data beside the project: ../shared/data, or data/ in $ORCHESTRATOR_SHARED."""
    reason = _why_unusable("shared")
    skip_unless(reason is None, reason or "")
    return _SHARED / "data"


@pytest.fixture
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory that is the current one during the test."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path


# --- Generated tests -------------------------------------------------------------------------------------------

# No deadline: the machines are slow and shared, and time limits are pytest-timeout's business.
hypothesis.settings.register_profile("daily", max_examples=50, deadline=None)
# Derandomized: a red CI is red again on the next try. The daily runs are the ones that explore.
hypothesis.settings.register_profile("ci", max_examples=300, deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if IN_CI else "daily"))
