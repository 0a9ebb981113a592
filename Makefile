# make setup   a virtual environment in .venv with the pinned dependencies
# make train   setup, then the main job: a small real model learns to use a calculator
# make test    setup with the test tools, then format, lint, types and tests
# make bench   the benchmarks and method comparisons; tables on the screen, JSON in runs/bench
# make families   every causal LM family of transformers, tiny: writes docs/families.md
# make house   rooms, imports, sizes and names of the package as figures
# make clean   remove what tools left behind (the environment and runs/ stay)

.DEFAULT_GOAL := help
.PHONY: help setup train test bench families house clean

# Any Python from 3.11 on; `make PYTHON=/path/to/python setup` chooses another.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PINS := pyproject.toml constraints.txt
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Those that run by themselves; the others are told what to run (their heads say how), or want vLLM.
STUDIES := $(patsubst %,bench/%.py,arms alignment search_seeds judge_seeds judge_use weights rollout \
	decoupled_world resume_world kill_facts kill_points kills_world families against versus house \
	results_picture fuzz_seeds fuzz_values fuzz_folders hostile_pages hostile_parts hostile_run \
	hostile_servers blame_benchmark world_tasks gateway_kills_agent gateway_kills_world \
	agent_start agent_train gateway_load paired_arms power claims claims_page claims_search \
	claims_tables)
BENCHES ?= $(filter-out $(STUDIES),$(wildcard bench/*.py))

help:
	@grep '^# make' Makefile | cut -c3-

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 found: install one, or say make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.setup: $(PINS) | $(BIN)/python
	$(INSTALL) -e .
	@touch $@

.venv/.dev: $(PINS) | $(BIN)/python
	$(INSTALL) -e '.[dev]'
	@touch $@ .venv/.setup

.venv/.bench: $(PINS) | $(BIN)/python
	$(INSTALL) -e '.[dev,bench]'
	@touch $@ .venv/.setup .venv/.dev

setup: .venv/.setup

train: setup
	$(BIN)/hornbeam train recipes/calculator.toml --out runs/calculator

# One thread a process: two torch processes of two threads each collapse on two cores.
test: export OMP_NUM_THREADS = 1
test: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto --cov --cov-report=term

bench: .venv/.bench
	@mkdir -p runs/bench
	@set -e; for script in $(BENCHES); do echo "== $$script"; \
		$(BIN)/python $$script --json runs/bench/$$(basename $$script .py).json; done

families: export OMP_NUM_THREADS = 1
families: .venv/.dev
	$(BIN)/python bench/families.py --docs docs/families.md --json docs/results/families.json

house: .venv/.dev
	$(BIN)/python bench/house.py

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
