# `make run` and `make test` are the whole of it on a fresh machine: python3 (3.11 or newer) and make are enough.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help run demo test check format lock bench bench-quick clean

help:  ## Show what there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

.venv/runtime: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

.venv/dev: requirements-dev.lock .venv/runtime
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

run: .venv/runtime  ## Set up and start the gateway on http://127.0.0.1:4000 (no key needed)
	@exec $(BIN)/python -m app serve

demo: .venv/dev  ## The whole life of a container against the running gateway, with the OpenAI SDK
	@exec $(BIN)/python -m app demo

# Three on two cores: one of them mostly waits, for a child, a disk or a lease.
test: .venv/dev  ## Set up and run every test
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile

check: .venv/dev  ## Lint, format, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: .venv/dev  ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/dev  ## Our speed beside our peers' and alone, in three quarters of an hour
	$(BIN)/python -m bench

bench-quick: .venv/dev  ## The essentials of it in under two minutes
	$(BIN)/python -m bench --quick

lock:  ## Write both locks anew from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-annotate --custom-compile-command "make lock" --extra postgres --extra redis --group build \
		pyproject.toml --output-file requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-annotate --custom-compile-command "make lock" --all-extras --group build --group dev \
		--constraint requirements.lock pyproject.toml --output-file requirements-dev.lock

clean:  ## Remove the environment and caches, not your data
	rm -rf .venv .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
