# make repro   run the pipeline            make test   the default tests
# make ui      compare runs in MLflow      make bench  speed against the plain formulation
SHELL := /bin/bash
PYTHON ?= python3
# make test BIN=/opt/winnow/bin uses an environment that is there already, as in a container
BIN := .venv/bin
export PATH := $(abspath $(BIN)):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1

.PHONY: setup repro test slow fuzz audit ui bench lint lock clean chaos

setup: $(if $(filter .venv/bin,$(BIN)),.venv/ready)

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "winnow needs Python 3.11 or newer; set PYTHON=…"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "no venv module: apt install python3-venv"; exit 1; }
	@echo "installing the locked packages (once; about two minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@if [ -d .git ] && [ ! -d .dvc ]; then $(BIN)/dvc init --quiet; fi
	@touch $@

repro: setup
	dvc repro

test: setup
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile

slow: setup
	$(BIN)/python -m pytest -m slow

chaos: setup # 100 kills at random moments of all stages; counts what went on and what ended in the same bytes
	nice -n 19 $(BIN)/python -m tests.chaos --kills 100

fuzz: setup # every reader of files against 10,000 damaged inputs: about ten minutes
	$(BIN)/python -m tests.fuzz --count 10000

audit: # known weaknesses of the locked packages, in a .venv of its own; asks a service on the network
	$(PYTHON) -m venv .venv-audit && .venv-audit/bin/python -m pip install --quiet pip-audit==2.10.1 && \
	.venv-audit/bin/pip-audit --strict --requirement requirements.lock --no-deps --disable-pip; status=$$?; rm -rf .venv-audit; exit $$status

ui: setup
	winnow ui

bench: setup
	$(BIN)/python benchmarks/run.py --suite search --device cpu --out benchmarks/results/search-cpu.json

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

lock: # after a change of pyproject.toml: what is installed becomes the lock
	$(PYTHON) -m venv .venv-lock && .venv-lock/bin/python -m pip install --quiet torch==2.13.0 && \
	.venv-lock/bin/python -m pip install --quiet ".[dev]" setuptools && \
	.venv-lock/bin/python -m pip freeze --all --exclude winnow --exclude pip | sed 's/+cpu$$//' > requirements.lock; rm -rf .venv-lock

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
