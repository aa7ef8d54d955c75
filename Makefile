# Two commands for a newcomer: `make demo` trains the whole ladder small, `make test` checks everything.
PYTHON ?= python3
BIN := .venv/bin
NATIVE := $(shell find native -type f) $(shell find src -name operations.py) CMakeLists.txt

.PHONY: setup demo test lint clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cpu1 needs Python 3.11 or newer: make setup PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/cpu1 study --scale demo --round r1 --equal-bytes --out runs/demo

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv build runs
