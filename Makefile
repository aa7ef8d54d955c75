# Two commands for a newcomer: `make demo` trains the whole ladder small, `make test` checks everything.
PYTHON ?= python3
BIN := .venv/bin
NATIVE := $(shell find native -type f) CMakeLists.txt

# A lent machine has no .venv: there its own Python runs `make gpu`.
GPU_PYTHON ?= $(if $(wildcard .venv/installed),$(BIN)/python,$(PYTHON))

.PHONY: setup demo gpu gpu-data test lint clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cpu1 needs Python 3.11 or newer: make setup PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/cpu1 study --scale demo --round r1 --equal-bytes --out runs/demo

# What training on a lent GPU needs, packed from a folder of texts: make gpu-data DATA=folder
gpu-data: setup
	$(BIN)/python bench/gpu_data.py $(DATA)

# Nothing is installed. More words: make gpu WORDS='--minutes 5'
gpu:
	$(GPU_PYTHON) bench/gpu_study.py $(WORDS)

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv build runs
