# `make` lists what there is. Everything runs from a fresh clone: set-up comes first, and is quick when done.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup setup-dev demo smoke lint test test-slow test-all check bench reference lock clean

python := .venv/bin/python
# Two workers pay from two cores on; their start costs about a second.
pytest := $(python) -m pytest -n 2

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv from the lock
	@./setup.sh

setup-dev:
	@./setup.sh --dev

demo: setup ## the whole thing on a small application, with scripted models: no key, no cost
	@$(python) examples/demo.py

smoke: setup ## the demo's goal with real models for a few cents; skipped without a key
	@$(python) examples/smoke.py

lint: setup-dev ## ruff and mypy
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy

test: lint ## the linters, then the tests that take seconds
	$(pytest)

test-slow: setup-dev ## only the tests that take longer: sweeps, fuzzing, real agents
	$(pytest) -m slow

test-all: test test-slow ## the linters, then all tests

check: test ## what to run before a commit: the same as test

bench: setup-dev ## what each claim in the documents measures here, with the quick settings
	@failed=; for script in bench/*.py; do \
	  echo "== $$script"; $(python) "$$script" --quick || failed="$$failed $$script"; \
	done; test -z "$$failed" || { echo "beyond a limit, or not run:$$failed"; exit 1; }

reference: setup-dev ## docs/reference/commands.md from the commands
	$(python) scripts/command_reference.py

lock: ## resolve the newest dependencies into the locks
	scripts/lock.sh

clean: ## caches and build output; not .venv and .tools
	rm -rf build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find agent-os bench examples orchestrator templates tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
