# All commands of the project: `make demo` runs the pipeline, `make test` the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
# Stages and tools use the programs of this environment, whether it is activated or not.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
# Each stage is a separate process; without bytecode files each of them would compile torch again for 15 s.
unexport PYTHONDONTWRITEBYTECODE
# A file's tests share fixtures, so they stay on one worker; tests/conftest.py puts the longest files first.
PYTEST := pytest -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-all check format docs lock bench ablation ui report

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## create the environment in .venv from requirements.lock

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("s2rm needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 setup") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: setup ## run the whole pipeline on RefShapes (CPU, minutes)
	dvc repro

test: setup ## run the tests except the slow ones (at most 5 minutes)
	$(PYTEST) -m "not slow"

test-slow: setup ## run the slow tests that CI runs after `make test`
	$(PYTEST) -m "slow and not long"

test-all: setup ## run all tests, and require a coverage of 95 %
	$(PYTEST) --cov --cov-report=term-missing:skip-covered --cov-fail-under=95

check: setup ## check style, format, types, imports and wording
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	python tools/check_wording.py

format: setup ## format the code, and fix what ruff can fix
	ruff check --fix .
	ruff format .

docs: setup ## write docs/parameters.md from the descriptions of the parameters
	python -m s2rm.config.parameter_docs > docs/.partial-parameters.md \
		|| { rm docs/.partial-parameters.md; exit 1; }
	mv docs/.partial-parameters.md docs/parameters.md

lock: ## write requirements.lock from pyproject.toml: newest versions with their hashes
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-annotate --extra dev --upgrade --output-file requirements.lock pyproject.toml

bench: setup ## measure speed and memory (half an hour), and write a report into benchmarks/results
	python benchmarks/all.py

report: setup ## render the report again
	dvc repro report

ablation: setup ## compare the recorded runs with the full model of params.yaml
	s2rm ablation

ui: setup ## open MLflow with the recorded runs
	s2rm ui
