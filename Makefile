# All commands of the project: `make demo` runs the pipeline, `make test` the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
# Which builds of torch: those of the lock (on Linux with CUDA), or a backend of uv, such as cpu, cu126 or auto, which
# asks the driver. `make TORCH=cpu setup` chooses, and the environment remembers it.
INSTALLED := $(shell cat $(VENV)/torch-backend 2>/dev/null)
TORCH ?= $(INSTALLED)
ifeq ($(TORCH),)
LOCKED := --require-hashes --constraints requirements.lock
else
# The same versions, but torch from its own index, whose hashes are not in the lock.
LOCKED := --torch-backend $(TORCH) --constraints $(VENV)/versions.txt
endif
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python
# The programs of an environment hold the path at which it was made; pyvenv.cfg ends with the command that made it.
MOVED := $(shell test ! -L $(VENV) && sed -n 's/^command = .* -m venv [^\/]*//p' $(VENV)/pyvenv.cfg 2>/dev/null \
	| grep -qvxF "$(CURDIR)/$(VENV)" && echo moved)
# Stages and tools use the programs of this environment, whether it is activated or not.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
# DVC asks for the user's name, which an account without a line in /etc/passwd does not have.
export USER := $(or $(USER),$(LOGNAME),$(shell id -un 2>/dev/null),s2rm)
# Each stage is a separate process; without bytecode files each of them would compile torch again for 15 s.
unexport PYTHONDONTWRITEBYTECODE
# A file's tests share fixtures, so they stay on one worker; tests/conftest.py puts the longest files first.
PYTEST := pytest -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup dev demo test test-slow test-all check format docs lock bench ablation experiments ui report

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## create the environment in .venv from requirements.lock (TORCH=cpu: without CUDA)
	@$(BIN)/python tools/check_setup.py git

ifneq ($(TORCH)$(MOVED),$(INSTALLED))
.PHONY: $(VENV)/.ready
endif
$(VENV)/.ready: requirements.lock pyproject.toml
	@test -z "$(MOVED)" \
		|| { echo "error: $(VENV) was made in another folder, and works only there: rm -r $(VENV)" >&2; exit 2; }
	@$(PYTHON) tools/check_setup.py machine
	$(PYTHON) -m venv $(if $(filter-out $(INSTALLED),$(TORCH))$(filter-out $(TORCH),$(INSTALLED)),--clear) $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	sed -nE 's/^([a-z0-9._-]+==[^\\]+).*/\1/p' requirements.lock > $(VENV)/versions.txt
	$(INSTALL) $(LOCKED) -r pyproject.toml
	$(INSTALL) --no-deps --editable .
	@echo $(TORCH) > $(VENV)/torch-backend
	@touch $@

dev: $(VENV)/.ready-dev ## add what tests and checks need to the environment

$(VENV)/.ready-dev: $(VENV)/.ready
	$(INSTALL) $(LOCKED) -r pyproject.toml --extra dev
	@touch $@

demo: setup ## run the whole pipeline on RefShapes (CPU, minutes)
	dvc repro

test: $(VENV)/.ready-dev ## run the tests except the slow ones (at most 5 minutes)
	$(PYTEST) -m "not slow"

test-slow: $(VENV)/.ready-dev ## run the slow tests that CI runs after `make test`
	$(PYTEST) -m "slow and not long"

test-all: $(VENV)/.ready-dev ## run all tests, and require a coverage of 95 %
	$(PYTEST) --cov --cov-report=term-missing:skip-covered --cov-fail-under=95

check: $(VENV)/.ready-dev ## check style, format, types, imports and wording
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	python tools/check_wording.py

format: $(VENV)/.ready-dev ## format the code, and fix what ruff can fix
	ruff check --fix .
	ruff format .

docs: $(VENV)/.ready ## write docs/parameters.md from the descriptions of the parameters
	python -m s2rm.config.parameter_docs > docs/.partial-parameters.md \
		|| { rm docs/.partial-parameters.md; exit 1; }
	mv docs/.partial-parameters.md docs/parameters.md

lock: $(VENV)/.ready ## write requirements.lock from pyproject.toml: newest versions with their hashes
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-annotate --extra dev --upgrade --output-file requirements.lock pyproject.toml

bench: $(VENV)/.ready ## measure speed and memory (half an hour), and write a report into benchmarks/results
	python benchmarks/all.py

report: setup ## render the report again, as after `make ablation`
	dvc repro --force --single-item report

ablation: setup ## compare the recorded runs with the full model, the committed params.yaml
	s2rm ablation

experiments: setup ## compare the experiments of DVC: means over the val splits, and the parameters that differ
	dvc exp show --only-changed --no-pager --hide-workspace --hide-queued \
		--drop '(\.digests|data|weights|models|results)/|[^.]+\.(refcoco|referit)\w*_(val|test[AB]?)$$|State|Executor'

ui: setup ## open MLflow with the recorded runs
	s2rm ui
