# The whole project from here: `make demo` runs the pipeline, `make test` the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
# Stages and tools run by the environment's own programs, activated or not.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
# Every stage is a process of its own: without bytecode each of them would compile torch anew, for 15 s.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check format lock bench ablation ui report

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## make the environment in .venv from requirements.lock

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("s2rm needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 setup") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: setup ## run the whole pipeline on RefShapes (CPU, minutes)
	dvc repro

test: setup ## run all tests but the slow ones, with coverage
	pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow" --cov --cov-report=term-missing:skip-covered

test-all: setup ## run every test
	pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term-missing:skip-covered

check: setup ## lint, format, types, import rules
	ruff check .
	ruff format --check .
	mypy
	lint-imports

format: setup ## format the code in place
	ruff check --fix .
	ruff format .

lock: ## resolve pyproject.toml anew into requirements.lock (names, versions, hashes; no index address)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-annotate --extra dev --upgrade --output-file requirements.lock pyproject.toml

bench: setup ## run every benchmark of speed and memory, into reports/benchmarks and docs/performance.md
	python benchmarks/all.py

report: setup ## render the report again
	dvc repro report

ablation: setup ## compare the recorded runs with the full model, params.yaml as it is
	s2rm ablation

ui: setup ## open MLflow on the recorded runs
	s2rm ui
