#!/usr/bin/env bash
# Regenerate requirements.lock (what runs) and requirements-dev.lock (that, and what tests it) from pyproject.toml.
# The newest versions are taken: pass `--upgrade-package NAME` to move one package and keep the others.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools/venv"
"$tools/venv/bin/python" -m pip install --quiet --disable-pip-version-check uv

# --universal: one file for every system, with markers. --only-binary: only versions that come as wheels.
compile() {
  "$tools/venv/bin/uv" pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
    --only-binary :all: --no-header --no-annotate --quiet "$@"
}

if [ $# -eq 0 ]; then set -- --upgrade; fi
compile --group build "$@" --output-file requirements.lock >/dev/null
# The constraint keeps the two from disagreeing on anything that runs.
compile --group build --group dev --constraint requirements.lock "$@" --output-file requirements-dev.lock >/dev/null

if grep -nE '://|^-' requirements.lock requirements-dev.lock; then
  echo "lock.sh: a lock names an address or an option (above): it must hold packages and hashes only" >&2
  exit 1
fi
# Wheels for all that setup.sh promises, on the oldest and the newest Python: a dry run resolves, downloads nothing.
for platform in x86_64-manylinux_2_28 aarch64-manylinux_2_28 aarch64-apple-darwin; do
  for version in 3.11 3.14; do
    "$tools/venv/bin/uv" pip install --quiet --dry-run --target "$tools/nowhere" --require-hashes --only-binary :all: \
      --python-platform "$platform" --python-version "$version" --requirement requirements-dev.lock
    echo "lock.sh: wheels for $platform, Python $version"
  done
done
grep -c '==' requirements.lock requirements-dev.lock
