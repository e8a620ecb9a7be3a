# Each command sets up .venv first; a change of pyproject.toml, constraints.txt or a kernel sets it up again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# of check-versions: the tests, the sets of versions, and versions that are the same in both sets
CONTRACTS ?= tests/experts/test_core_contract.py tests/comms tests/tasks/test_task_contract.py tests/badger/learners/test_learner_contract.py tests/badger/act/test_act_contract.py tests/repository/test_torch_internals.py
VERSIONS ?= oldest newest
PINS ?=
# of soak
MINUTES ?= 30

.DEFAULT_GOAL := help
.PHONY: help demo test nightly soak envs check check-versions docs notebooks clean
.NOTPARALLEL:

help: ## list the commands
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1	\2/p' Makefile | expand -t 24

demo: $(VENV)/.test ## train an agent on the guessing game (two minutes)
	$(BIN)/badger train guessing_game

test: $(VENV)/.test ## run the tests on two cores, except the nightly ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

nightly: $(VENV)/.test ## run the nightly tests: full products of parameters, long trainings
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --timeout=0 -m nightly

soak: $(VENV)/.test ## train for MINUTES with worlds, TensorBoard and checkpoints; memory and files must not grow
	OMP_NUM_THREADS=1 $(BIN)/python tests/soak.py --minutes $(MINUTES)

envs: $(VENV)/.test ## play and train in the environments of other libraries that are installed; prints a Markdown table
	SDL_VIDEODRIVER=dummy OMP_NUM_THREADS=1 $(BIN)/python tests/conformance.py

check: $(VENV)/.dev ## lint, check format and types, run the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) test

docs: $(VENV)/.docs ## build the API reference: site/index.html
	$(BIN)/python docs/build.py site

check-versions: ## run the contract tests with the oldest and the newest versions (downloads gigabytes without TORCH_INDEX)
	OMP_NUM_THREADS=1 $(PYTHON) tests/check_versions.py --sets $(VERSIONS) --pins $(PINS) -- $(CONTRACTS)

notebooks: $(VENV)/.test ## run the notebooks in full and save their outputs
	$(BIN)/python -m pytest --nbmake --nbmake-timeout=86400 --timeout=0 --overwrite notebooks

clean: ## remove .venv, builds and caches, but no runs
	rm -rf $(VENV) build dist site .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# .venv/.test, .venv/.dev and .venv/.docs mark that the extra of that name is installed.
# torch is installed first, so that no other package selects its build.
$(VENV)/.%: pyproject.toml constraints.txt hatch_build.py $(wildcard experts/kernels/*.[ch]) experts/kernels/build.py
	@echo "setting up $(VENV) with the extra '$*': some minutes the first time"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[$*]"
	@touch $@
