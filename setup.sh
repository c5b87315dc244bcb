#!/usr/bin/env bash
# Make .venv from the hash-pinned lock and install the project in it, editable. Safe to run twice.
#
#   ./setup.sh          what running needs        ./setup.sh --dev    and what testing needs
#
# The Python is found by itself; PYTHON=/path/to/python names another one. Exit code 2: this machine will not do.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")"

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: %s\n' "$1" >&2
  exit "${2:-1}"
}

lock=requirements.lock
for argument in "$@"; do
  case $argument in
    --dev) lock=requirements-dev.lock ;;
    -h | --help)
      sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' setup.sh
      exit 0
      ;;
    *) fail "unknown option '$argument': only --dev is known" 2 ;;
  esac
done

machine=$(uname -m)
case $machine in
  armv6l | armv7l | armv8l)
    fail "32-bit ARM ($machine) is not supported: there are no wheels for it; use a 64-bit system (aarch64)" 2
    ;;
esac

# --- A Python -------------------------------------------------------------------------------------------------

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

python='' without_venv=''
for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
  new_enough "$candidate" || continue
  if "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    python=$candidate
    break
  fi
  without_venv=${without_venv:-$candidate}
done
if [ -z "$python" ] && [ -n "$without_venv" ]; then
  package=$("$without_venv" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
  fail "$without_venv cannot make virtual environments; on Debian: sudo apt install $package" 2
fi
if [ -z "$python" ]; then
  found=$("${PYTHON:-python3}" -c 'import platform; print(", found " + platform.python_version())' 2>/dev/null || true)
  fail "Python 3.11 or newer is needed$found; install it, or name one: PYTHON=/path/to/python ./setup.sh" 2
fi

# A 32-bit system on a 64-bit kernel (Raspberry Pi OS has one) calls itself aarch64; its Python knows better.
if [ "$machine" = aarch64 ] && [ "$("$python" -c 'import struct; print(struct.calcsize("P"))')" = 4 ]; then
  fail "32-bit ARM (a 32-bit Python on $machine) is not supported: use a 64-bit system" 2
fi

# --- The virtual environment ----------------------------------------------------------------------------------

# What the environment was made from. A change of any of it makes the next set-up do its work again.
fingerprint() {
  .venv/bin/python - "$1" <<'PYTHON'
import hashlib, json, pathlib, sys, tomllib
project = tomllib.loads(pathlib.Path("pyproject.toml").read_text(encoding="utf-8"))
# The settings of the linters and of pytest are not installed.
project["tool"] = project["tool"]["hatch"]
made_from = [sys.prefix, sys.version_info[:2], pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"), project]
print(sys.argv[1], hashlib.sha256(json.dumps(made_from).encode()).hexdigest())
PYTHON
}

# Works, and lies where it was made: its commands name their interpreter by its full path.
sound() {
  new_enough .venv/bin/python && grep -qF "$PWD/.venv/bin/python" .venv/bin/pip 2>/dev/null &&
    .venv/bin/python -c 'import pip' 2>/dev/null
}

up_to_date() {
  local have
  have=$(cat .venv/.setup 2>/dev/null) || return 1
  # The development lock holds all of the other: no need to take anything away for a plain set-up.
  [ "$have" = "$(fingerprint "$lock")" ] || [ "$have" = "$(fingerprint requirements-dev.lock)" ]
}

if [ -e .venv ] || [ -L .venv ]; then
  if ! sound; then
    say "the virtual environment .venv is broken or was moved: making it again"
    rm -rf .venv
  elif up_to_date; then
    say ".venv is up to date"
    exit 0
  fi
fi
if [ ! -d .venv ]; then
  say "making .venv with $("$python" -c 'import platform, sys; print("Python", platform.python_version(), sys.executable)')"
  "$python" -m venv .venv || fail "$python could not make the virtual environment (above)"
fi

pip_install() { .venv/bin/python -m pip --disable-pip-version-check install --quiet --no-input "$@"; }

# Gone until all is done: a set-up that was interrupted does its work again.
rm -f .venv/.setup
say "installing $(grep -c '==' "$lock") packages of $lock, checked by hash (some 250 MB; minutes on a slow machine)"
pip_install --require-hashes --only-binary :all: --requirement "$lock" ||
  fail "the packages could not be installed (above); once that is solved run ./setup.sh again"
# The build backend is in the lock, so this fetches nothing.
pip_install --no-deps --no-build-isolation --no-index --editable . ||
  fail "the project could not be installed (above)"
fingerprint "$lock" >.venv/.setup
say "ready: .venv/bin/orchestrator"
