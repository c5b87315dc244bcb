#!/usr/bin/env bash
# Install what tests can use beyond .venv: bubblewrap, chromium, tmux, strace, and with --agents two coding agents.
# What can't be had is said, and its tests are skipped. With --require (CI) that is a failure.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

# The versions whose behaviour the executors were written against.
agents=(@anthropic-ai/claude-code@2.1.197 opencode-ai@1.18.33)
agent_commands=(claude opencode)

want_agents='' require='' absent=()
for argument in "$@"; do
  case $argument in
    --agents) want_agents=yes ;;
    --require) require=yes ;;
    *)
      echo "install-test-tools: unknown option '$argument': --agents and --require are known" >&2
      exit 2
      ;;
  esac
done

say() { printf 'install-test-tools: %s\n' "$*"; }
has() { command -v "$1" >/dev/null 2>&1; }

# --- Packages of the system -----------------------------------------------------------------------------------

missing=()
has bwrap || missing+=(bubblewrap)
has tmux || missing+=(tmux)
has strace || missing+=(strace)
has chromium || has chromium-browser || has google-chrome || has google-chrome-stable || missing+=(chromium)

as_root=()
if [ "$(id -u)" != 0 ]; then as_root=(sudo -n); fi

if [ ${#missing[@]} -eq 0 ]; then
  say "bubblewrap, chromium, strace and tmux are there"
elif ! has apt-get; then
  case $(uname -s) in
    Darwin) say "install by hand: brew install tmux, and Chromium; bubblewrap and strace exist on Linux only" ;;
    *) say "no apt-get here: install with the package manager of this system: ${missing[*]}" ;;
  esac
  absent+=("${missing[@]}")
elif [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; then
  say "neither root nor sudo without a password: sudo apt-get install ${missing[*]}"
  absent+=("${missing[@]}")
else
  say "apt-get install ${missing[*]}"
  install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
  }
  # The list of packages may be old, or not there at all as in a fresh container.
  if ! install "${missing[@]}" 2>/dev/null; then
    "${as_root[@]}" apt-get update -qq || say "apt-get update failed (above)"
    for package in "${missing[@]}"; do
      install "$package" || absent+=("$package")
    done
  fi
fi

# --- Coding agents --------------------------------------------------------------------------------------------

agents_work() {
  local command
  for command in "${agent_commands[@]}"; do
    ".tools/node_modules/.bin/$command" --version >/dev/null 2>&1 || return 1
  done
}

if [ -n "$want_agents" ]; then
  if [ "$(cat .tools/agents 2>/dev/null)" = "${agents[*]}" ] && agents_work; then
    say "${agents[*]} are there"
  elif ! has npm; then
    say "no npm here: the agents need Node.js 18 or newer"
    absent+=("${agent_commands[@]}")
  else
    say "npm install ${agents[*]} into .tools (some 600 MB)"
    mkdir -p .tools
    if npm install --prefix .tools --no-save --no-package-lock --no-audit --no-fund --loglevel=error \
      "${agents[@]}" && agents_work; then
      echo "${agents[*]}" >.tools/agents
    else
      absent+=("${agent_commands[@]}")
    fi
  fi
fi

if [ ${#absent[@]} -gt 0 ]; then
  say "not available: ${absent[*]}"
  if [ -n "$require" ]; then exit 1; fi
fi
