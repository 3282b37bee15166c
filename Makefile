# `make ablation` runs the main job in a few minutes, `make experiments` everything, `make test` the tests. Each sets up what it needs.
# LATEST=1 installs the newest tested versions of all dependencies in a separate environment. Without it, the oldest
# allowed versions are installed; the published results were measured with these.
# DEVICE=cpu or DEVICE=gpu (NVIDIA) chooses where the tests run; without it, JAX chooses.
PYTHON ?= python3
EXTRAS ?= dev
ifeq ($(DEVICE),gpu)
PLATFORMS := JAX_PLATFORMS=cuda,cpu
else ifeq ($(DEVICE),cpu)
PLATFORMS := JAX_PLATFORMS=cpu
else ifneq ($(DEVICE),)
$(error DEVICE=$(DEVICE): must be cpu or gpu; leave it out to let JAX choose)
endif
ifdef LATEST
VENV ?= .venv-newest
CONSTRAINTS := constraints/newest.txt
OLDEST_PYTHON := 12
else
VENV ?= .venv
CONSTRAINTS := constraints/oldest.txt
OLDEST_PYTHON := 11
endif
BIN := $(VENV)/bin
# At most 4 minutes: the layers' contract, one training run, its resumption and one evaluation, as a user runs them.
SMOKE := tests/layers/test_layers_contract.py tests/test_xla.py tests/test_dependencies.py tests/test_smoke.py

# NVIDIA's libraries are installed only where they are asked for.
INSTALLED := $(if $(filter gpu,$(DEVICE)),.installed-cuda,.installed-dev)

.PHONY: ablation experiments test test-long mutants smoke gpu lint types format clean

# One seed in place of the planned ones; the report says what it cannot decide, and where the published result is.
ablation: $(VENV)/.installed
	$(BIN)/python -m experiments.head_ordering --seeds=1

# All experiments and the index of their reports, runs/experiments/index.html. Interrupted, it goes on with what is missing.
experiments: $(VENV)/.installed
	$(BIN)/python -m experiments

test: $(VENV)/$(INSTALLED)
	$(PLATFORMS) $(BIN)/python -m pytest

# What `make test` leaves out: full counts of what it samples, and what needs the network.
test-long: $(VENV)/$(INSTALLED)
	$(PLATFORMS) $(BIN)/python -m pytest -m long

# Measures whether the tests notice mistakes: a sample of changed lines, each tried in a copy; see CONTRIBUTING.md.
mutants: $(VENV)/$(INSTALLED)
	$(PLATFORMS) $(BIN)/python tests/mutation/run_mutants.py $(MUTANTS)

smoke: $(VENV)/$(INSTALLED)
	$(PLATFORMS) $(BIN)/python -m pytest $(SMOKE)

# Measures and tests on a card with the Python that it is given, under 8 minutes; installs nothing.
gpu:
	$(PYTHON) -m fcnjax.bench.gpu

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-newest $(VENV) runs .pytest_cache .ruff_cache .hypothesis

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, $(OLDEST_PYTHON)) and "PYTHON=$(PYTHON): is Python %d.%d; $(CONSTRAINTS) needs 3.$(OLDEST_PYTHON) or newer, as in PYTHON=python3.13." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable .
	touch $@

$(VENV)/.installed-cuda: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[cuda]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[$(EXTRAS)]'
	touch $@
