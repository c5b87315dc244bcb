#!/usr/bin/env bash
# One request, routed by what is left of the budget: a thin wrapper of `orchestrator do`.
#
#   scripts/yolo-budget-code.sh "fix syntax error on line 23"
#   scripts/yolo-budget-code.sh "refactor this code" --model smart
#
# Run it in the repository that the request is about. Everything after the request goes to `orchestrator do`.
set -euo pipefail

# Found through links to it too: `readlink -f` is not everywhere.
script=${BASH_SOURCE[0]}
while [ -L "$script" ]; do
  target=$(readlink "$script")
  case $target in /*) script=$target ;; *) script=$(dirname "$script")/$target ;; esac
done
here=$(cd -P "$(dirname "$script")/.." && pwd)

if [ $# -eq 0 ] || [ "$1" = -h ] || [ "$1" = --help ]; then
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"
  exit $(($# == 0 ? 2 : 0))
fi

# The checkout's own environment first: it is the one that setup.sh has made.
if [ -x "$here/.venv/bin/orchestrator" ]; then
  exec "$here/.venv/bin/orchestrator" do "$@"
fi
if command -v orchestrator >/dev/null; then
  exec orchestrator do "$@"
fi
printf 'error: orchestrator is not installed: run %s/setup.sh\n' "$here" >&2
exit 2
