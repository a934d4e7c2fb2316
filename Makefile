# make test    a fresh machine to passing tests
# make train   a fresh machine to a trained ethanol model with plots
# make lint    style; make types: pyright; make docs: HTML; make clean: remove what these made
#
# Variables: PYTHON (3.10 or newer), VENV, TRAIN_ARGS, PYTEST_ARGS. Every install is held to constraints.txt.

PYTHON ?= python3
VENV ?= .venv
TRAIN_ARGS ?=
PYTEST_ARGS ?= -n 2 --dist worksteal

BIN := $(VENV)/bin
CONSTRAINTS := $(abspath constraints.txt)
PIP := PIP_CONSTRAINT="$(CONSTRAINTS)" PIP_BUILD_CONSTRAINT="$(CONSTRAINTS)" PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip
INPUTS := pyproject.toml constraints.txt

.PHONY: help test train lint types docs clean
.DELETE_ON_ERROR:

help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' Makefile

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "geomlib needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Use: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Stamps: a second run installs nothing, a change of the requirements installs again.
$(VENV)/.train: $(VENV)/.created $(INPUTS)
	$(PIP) install --quiet -e ".[train,cpu]"
	@touch $@

$(VENV)/.dev: $(VENV)/.created $(INPUTS)
	$(PIP) install --quiet -e ".[train,cpu,generate,docs,dev]"
	@touch $@ $(VENV)/.train

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

train: $(VENV)/.train
	$(BIN)/geomlib train tensornet --data ethanol --out runs/ethanol $(TRAIN_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/.dev
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf $(VENV) build dist docs/_build .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -maxdepth 1 -name '*.egg-info' -exec rm -rf {} +
