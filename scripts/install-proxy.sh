#!/usr/bin/env bash
# Make .tools/litellm-proxy, an environment of its own with the real LiteLLM proxy: slow tests start it, and
# benchmarks measure beside it. It is half a gigabyte, and nothing of the orchestrator needs it. Safe to run twice.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

place=.tools/litellm-proxy
# The version that the orchestrator itself runs on.
wanted=$(sed -n 's/^  "litellm==\(.*\)",$/\1/p' pyproject.toml)

if [ -x "$place/bin/litellm" ] && "$place/bin/python" -c "
import sys
from importlib.metadata import version
sys.exit(version('litellm') != '$wanted')"; then
  printf 'install-proxy: %s has litellm[proxy] %s already\n' "$place" "$wanted"
  exit 0
fi

python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3
rm -rf "$place"
"$python" -m venv "$place"
"$place/bin/python" -m pip install --quiet --disable-pip-version-check "litellm[proxy]==$wanted"
printf 'install-proxy: %s has litellm[proxy] %s\n' "$place" "$wanted"
