# Every target makes the virtual environment first when it is missing or out of date.
#   make PYTHON=/path/to/python3.12 venv     another interpreter (3.11-3.13)
#   make PIP_ARGS="--index-url URL" venv     more arguments for pip
#   make ARGS="-k galaxy" test               more arguments for the command of a target

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
    $$p -c '' >/dev/null 2>&1 && echo $$p && exit; done; echo python3)
PIP_ARGS ?=
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.skyloom-installed
SERSIC := plugins/skyloom-sersic

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test lint format docs bench train clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1  \2/p' $(MAKEFILE_LIST)

venv: $(STAMP)  ## make or update .venv

# The stamp is written last, so an installation that failed half-way is done again.
$(STAMP): pyproject.toml constraints.txt $(wildcard $(SERSIC)/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
	  echo "make: Skyloom needs Python 3.11, 3.12 or 3.13; '$(PYTHON)' is" \
	    "$$($(PYTHON) --version 2>/dev/null || echo 'no Python that runs')." \
	    "Name one that fits: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@if [ -f $(SERSIC)/pyproject.toml ]; then set -x; \
	  $(BIN)/pip install --quiet --disable-pip-version-check $(PIP_ARGS) --no-deps -e $(SERSIC); fi
	@touch $@

demo: venv  ## a mock survey field of learned galaxies: FITS, truth table and picture in demo/
	$(BIN)/skyloom demo -o demo $(ARGS)

test: venv  ## all tests
	$(BIN)/python -m pytest $(ARGS)

lint: venv  ## ruff, mypy and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: venv  ## let ruff repair what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: venv  ## HTML documentation in docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html $(ARGS)

bench: venv  ## galaxies a second: decoding, drawing, GalSim
	$(BIN)/python benchmarks/run.py $(ARGS)
	$(BIN)/python benchmarks/fields.py

train: venv  ## train the model `cosmos` that ships with the package
	$(BIN)/python scripts/train_cosmos.py $(ARGS)

clean:  ## remove what the targets above made, .venv too
	rm -rf $(VENV) demo docs/_build build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
