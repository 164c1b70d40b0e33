# make demo   set up .venv and run the main job: synthetic faces, pretraining, fine-tuning, evaluation, one figure
# make test   set up .venv, check the style and pass the tests
# make bench  set up .venv, measure speed and memory, write benchmarks/results and the README's tables
#
# PYTHON   the interpreter that makes .venv (3.10 or newer)
# PIP      extra arguments of the torch installation, e.g. an index with CPU builds
PYTHON ?= python3
PIP ?=
BIN := .venv/bin

.PHONY: demo test bench style clean

demo: .venv/installed
	$(BIN)/micron-bert demo

# one thread a worker: two workers with two threads each would fight for two cores; longest files first (conftest)
test: .venv/installed style
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

style: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: .venv/installed
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.pretraining
	$(BIN)/python -m benchmarks.clip_formats
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.faces
	$(BIN)/python -m benchmarks.conversion

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --constraint constraints.txt $(PIP) torch
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf .venv demo_output .cache
