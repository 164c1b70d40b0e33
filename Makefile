# make demo   set up .venv and run the main job: synthetic faces, pretraining, fine-tuning, evaluation, one figure
# make test   set up .venv, check the style and pass the tests
# make bench  set up .venv, measure speed and memory, write benchmarks/results and the tables of README and docs
# make docs   set up .venv and build the site of docs/ into site/
#
# PYTHON   the interpreter that makes .venv (3.10 or newer)
# PIP      extra arguments of the torch installation, e.g. an index with CPU builds
PYTHON ?= python3
PIP ?=
BIN := .venv/bin

.PHONY: demo test browser bench docs style clean

demo: .venv/installed
	$(BIN)/micron-bert demo

# one thread a worker: two workers with two threads each would fight for two cores; longest files first (conftest)
test: .venv/installed browser style
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# Debian's, which the tests of the web page drive, if there is none yet
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
browser:
	@if ! command -v chromium > /dev/null; then \
		if ! command -v apt-get > /dev/null || { [ "$$(id -u)" != 0 ] && [ -z "$(SUDO)" ]; }; then \
			echo "The tests of the web page need chromium: install it, then run this again." >&2; exit 1; \
		fi; \
		$(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends chromium; \
	fi

style: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: .venv/installed
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.pretraining
	$(BIN)/python -m benchmarks.clip_formats
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.faces
	$(BIN)/python -m benchmarks.conversion

docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --constraint constraints.txt $(PIP) torch
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf .venv demo_output .cache site
