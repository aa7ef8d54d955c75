# Two commands for a newcomer: `make demo` trains the whole ladder small, `make test` checks everything that is quick.
PYTHON ?= python3
BIN := .venv/bin
EXTRAS ?= dev
NATIVE := $(shell find native -type f) $(shell find src -name operations.py) CMakeLists.txt

# A machine with a GPU that is lent for minutes has no .venv: there its own Python runs `make gpu`.
GPU_PYTHON ?= $(if $(wildcard .venv/installed),$(BIN)/python,$(PYTHON))
# Processes of the tests. Tensors of tests are tiny: a thread each is enough.
JOBS ?= 2
SECONDS ?= 60
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

.PHONY: help setup demo test test-all check lint format docs bench coverage gpu gpu-data wheels wheels-test web site notebook actionlint fuzz lock audit sbom release-check clean

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|'

setup: .venv/installed  ## make .venv with everything that development needs

.venv/installed: pyproject.toml constraints.txt $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cpu1 needs Python 3.11 or newer: make setup PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $@

demo: setup  ## train all runs of the ladder small and write a report (ten minutes)
	$(BIN)/cpu1 study --scale demo --round r1 --equal-bytes --out runs/demo

test: setup  ## run the tests, but for the slow ones (five minutes)
	$(PYTEST) -m "not slow"

test-all: setup  ## run all tests
	$(PYTEST)

lint: setup  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test  ## lint and test

format: setup  ## bring Python and C++ into the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	git ls-files 'native/*.cpp' 'native/*.h' 'native/*.inl' 'examples/*.c' | xargs $(BIN)/clang-format -i

docs: setup  ## write the generated parts of the docs again
	$(BIN)/python docs/update.py

bench: setup  ## measure this machine, with llama.cpp if that is installed, for docs/results/engines.md (some minutes)
	$(BIN)/python bench/peers.py --keep
	$(BIN)/python docs/update.py
	$(BIN)/python bench/generation.py --scale nano
	$(BIN)/python bench/training.py --scale nano

coverage: setup  ## run all tests and report which lines of Python and C++ they reach
	$(PYTEST) --cov=cpu1 --cov-report=term:skip-covered
	bench/native_coverage.sh

texts: setup  ## build texts of other kinds from packages and repositories: make texts ARGS=folder
	$(BIN)/python texts/build_texts.py $(ARGS)

wheels:  ## build the wheels for Linux into dist/ (half an hour); ARGS=x86_64-linux-gnu builds one system's
	$(PYTHON) release/wheels.py $(ARGS)

wheels-test: setup  ## install the wheels in clean environments and compare what they compute
	$(BIN)/python release/try_wheels.py $(ARGS)

web:  ## build the package for web pages and its playground into build/web/; make web ARGS=--serve shows it
	$(PYTHON) release/wasm.py $(ARGS)

site: .venv/site  ## build the website into build/site/; make site ARGS=--serve shows it
	$(BIN)/python release/website.py $(ARGS)

notebook: .venv/site  ## run the notebook again and keep what it shows (two minutes)
	cd examples && rm -rf runs && ../$(BIN)/jupyter execute --inplace ablation.ipynb

actionlint:  ## check the workflows in .github/
	$(PYTHON) release/workflows.py

fuzz: setup  ## give the readers of files damaged input: make fuzz SECONDS=60, for each fuzzer
	$(BIN)/python fuzz/run.py $(SECONDS) --jobs $(JOBS)

lock: setup  ## write requirements-dev.txt again: the versions of constraints.txt with their hashes
	$(BIN)/python release/lock.py

audit: build/tools/made  ## ask PyPI for known faults of the packages that development uses
	build/tools/bin/pip-audit --require-hashes --disable-pip --requirement requirements-dev.txt

sbom: setup  ## write the bills of materials of a release into dist/
	$(BIN)/python release/sbom.py

release-check: setup  ## list what a release still needs
	$(BIN)/python release/check.py

.venv/site: .venv/installed
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[site]'
	@touch $@

build/tools/made:
	$(PYTHON) -m venv build/tools
	build/tools/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	@touch $@

gpu-data: setup  ## pack what training on a lent GPU needs: make gpu-data DATA=folder
	$(BIN)/python bench/gpu_data.py $(DATA)

gpu:  ## train on a lent GPU for nine minutes, nothing is installed: make gpu ARGS='--minutes 5'
	$(GPU_PYTHON) bench/gpu_study.py $(ARGS)

clean:  ## remove what make built here, and the runs of `make demo`; models in other folders of runs/ stay
	rm -rf .venv build runs/demo
