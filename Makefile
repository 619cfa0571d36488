# `make help` lists what there is.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# What Ringback is measured beside, apart from what it needs.
BENCH_VENV := .cache/bench-venv
BENCH_READY := $(BENCH_VENV)/.ready
# Tests of real programs in real time wait most of the time. They run after all others, which would slow them down, and
# those of one file one after the other: they share what takes long to start. Those that measure sound run alone.
REAL_TIME := tests/e2e tests/chaos
SOUND := tests/telephony
WORKERS := -n $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

.DEFAULT_GOAL := help
.PHONY: help install parts demo test lint format types floors lock bench-api bench-courier bench-engine bench-intake bench-telephony fuzz-door fuzz-api chaos clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

install: $(READY) ## Make the virtual environment .venv with everything pinned by hash

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Ringback needs Python 3.11 or newer; this is $$($(PYTHON) --version). Name another with PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "Python cannot make virtual environments here; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $(READY)

parts: ## Fetch what the tests drive and this machine lacks into .cache (no root, nothing installed)
	@bash tests/parts/fetch_telephony.sh
	@bash tests/parts/fetch_postgres.sh

demo: install ## A group call and its recall flow, over real SIP on this machine
	$(BIN)/ringback demo

test: install parts lint types floors ## Everything: lint, types, floors, then all tests
	$(BIN)/pytest $(WORKERS) --dist worksteal $(patsubst %,--ignore=%,$(REAL_TIME) $(SOUND))
	$(BIN)/pytest $(WORKERS) --dist loadfile $(REAL_TIME)
	$(BIN)/pytest $(SOUND)

lint: install ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install ## Write style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: install ## Check types
	$(BIN)/mypy

floors: install ## Check that no lower floor knows a higher one
	$(BIN)/lint-imports

lock: ## Renew the pinned requirements (needs an installed .venv)
	$(BIN)/pip-compile --quiet --upgrade --allow-unsafe --strip-extras --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header -o requirements/run.txt pyproject.toml
	$(BIN)/pip-compile --quiet --upgrade --allow-unsafe --strip-extras --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --extra dev -o requirements/dev.txt pyproject.toml
	$(BIN)/pip-compile --quiet --upgrade --allow-unsafe --strip-extras --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header -o requirements/bench.txt requirements/bench.in

bench-courier: install ## Reports a second through one courier to a receiver on loopback (1 minute)
	$(BIN)/python -m bench.courier

bench-engine: install parts $(BENCH_READY) ## Dialling beside bare SQL and job engines, recall rounds, stops, queries (12 minutes)
	$(BIN)/python -m bench.engine

$(BENCH_READY): requirements/bench.txt
	$(PYTHON) -m venv --clear $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/bench.txt
	@touch $(BENCH_READY)

bench-api: install ## The vendor's queries and new tasks, beside an empty endpoint and the bare work (3 minutes)
	$(BIN)/python -m bench.api

bench-intake: install ## Time and memory of taking 200,000 numbers, beside the bare work
	$(BIN)/python -m bench.intake

bench-telephony: install parts ## Throughput, pacing, lines, engines and memory, beside the bare parts (15 minutes)
	$(BIN)/python -m bench.telephony

fuzz-api: install ## 12,000 requests made from the description of our own door (2 minutes; FUZZ_API_CASES=50000)
	FUZZ_API_CASES=$(or $(FUZZ_API_CASES),12000) $(BIN)/pytest -q tests/api/v1/test_schema_cases.py

fuzz-door: install ## 10,000 requests made from the door's own description (4 minutes; FUZZ_DOOR_CASES=50000)
	FUZZ_DOOR_CASES=$(or $(FUZZ_DOOR_CASES),10000) $(BIN)/pytest -q tests/api/test_schema_cases.py

chaos: install parts ## Kill everything under a campaign and compare carrier and store (10 minutes; CHAOS="--seed 2")
	$(BIN)/python -m chaos $(CHAOS)

clean: ## Remove what was made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench/results chaos/results
