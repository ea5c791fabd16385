# make repro   run the pipeline            make test   the default tests
# make ui      compare runs in MLflow      make bench  speed against the plain formulation
# make docs    this site in site/
SHELL := /bin/bash
PYTHON ?= python3
# make test BIN=/opt/winnow/bin uses an environment that is there already, as in a container
BIN := .venv/bin
export PATH := $(abspath $(BIN)):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1

.PHONY: setup dev repro test slow fuzz audit ui bench docs lint lock release mutants clean chaos

setup: $(if $(filter .venv/bin,$(BIN)),.venv/ready)

dev: $(if $(filter .venv/bin,$(BIN)),.venv/ready-dev) # what tests and lint need beside it

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "winnow needs Python 3.11 or newer; set PYTHON=…"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "no venv module: apt install python3-venv"; exit 1; }
	@echo "installing the locked packages (once; about two minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@if [ -d .git ] && [ ! -d .dvc ]; then $(BIN)/dvc init --quiet; fi
	@touch $@

.venv/ready-dev: .venv/ready requirements-dev.lock
	@echo "installing what the tests need beside it (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-dev.lock
	@touch $@

repro: setup
	dvc repro

test: dev
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile

slow: dev
	$(BIN)/python -m pytest -m slow

chaos: dev # 100 kills at random moments of all stages; counts what went on and what ended in the same bytes
	nice -n 19 $(BIN)/python -m tests.chaos --kills 100

fuzz: dev # every reader of files against 10,000 damaged inputs: about ten minutes
	$(BIN)/python -m tests.fuzz --count 10000

COUNT ?= 200
MUTANTS ?= benchmarks/results/mutants.jsonl
mutants: dev # COUNT small changes of the code of the lower floors: which of them does no test see? Hours; nice
	@test -x .venv-mutants/bin/python || $(PYTHON) -m venv .venv-mutants
	.venv-mutants/bin/python -m pip install --quiet --disable-pip-version-check cosmic-ray==8.7.0
	nice -n 19 .venv-mutants/bin/python -m tests.mutants --python $(BIN)/python --count $(COUNT) --out $(MUTANTS)

audit: # known weaknesses of the locked packages, in a .venv of its own; asks a service on the network
	$(PYTHON) -m venv .venv-audit && .venv-audit/bin/python -m pip install --quiet pip-audit==2.10.1 && \
	.venv-audit/bin/pip-audit --strict --requirement requirements.lock --requirement requirements-dev.lock --no-deps --disable-pip; status=$$?; rm -rf .venv-audit; exit $$status

ui: setup
	winnow ui

bench: setup
	$(BIN)/python benchmarks/suites.py

docs: dev # reference pages from the code, then site/, which opens from a disk (docs/offline.js: nothing is fetched)
	$(BIN)/python benchmarks/reference.py
	$(BIN)/zensical build --clean --strict
	find site -name '*.html' -exec sed -i '/iframe-worker/d' {} +

lint: dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

FREEZE := .venv-lock/bin/python -m pip freeze --all --exclude winnow --exclude pip | sed 's/+cpu$$//'

lock: # after a change of pyproject.toml: what is installed becomes the locks, of running and of testing beside it
	$(PYTHON) -m venv .venv-lock && .venv-lock/bin/python -m pip install --quiet torch==2.13.0 && \
	.venv-lock/bin/python -m pip install --quiet . setuptools && $(FREEZE) > requirements.lock && \
	.venv-lock/bin/python -m pip install --quiet --constraint requirements.lock ".[dev]" && \
	$(FREEZE) | grep --invert-match --line-regexp --fixed-strings --file requirements.lock > requirements-dev.lock; rm -rf .venv-lock

release: dev # lint, test, build, try the wheel in another folder, tag; .ci/release --dry-run says what stands against it
	$(BIN)/python .ci/release

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
