PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# One stamp per interpreter and lock file: set-up runs when either changed, and is instant otherwise.
KEY := $(shell $(PYTHON) -c 'import sys, zlib; print("%d.%d.%d-%08x" % (*sys.version_info[:3], zlib.crc32(open("requirements-dev.lock", "rb").read() + open("pyproject.toml", "rb").read())))')
STAMP := $(VENV)/ready-$(KEY)

.DEFAULT_GOAL := help
.PHONY: help setup demo crash-demo test chaos check format lock bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP) ## .venv with the exact versions of the lock file (PYTHON=python3.13 for another interpreter)

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "branchwork needs Python 3.11 or later; $(PYTHON) is older: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "$(PYTHON) has no venv module: apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## a real run on a small repository, watched live
	@$(BIN)/python examples/demo/demo.py

crash-demo: setup ## a run whose worker is killed in the middle, and that goes on
	@$(BIN)/python examples/crash-demo/crash_demo.py

test: setup ## every test
	$(BIN)/pytest -n 6

chaos: setup ## random plans killed at random: SECONDS=600, SEED=7 begins with that seed
	@PYTHONPATH=tests $(BIN)/python -m chaos.loop --seconds $(or $(SECONDS),300) $(if $(SEED),--seed $(SEED))

check: setup ## lint, types, import contracts, spelling
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
	$(BIN)/codespell

format: setup ## format and mend what ruff can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: setup ## print the overhead beside a bare script, and what large runs cost
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/big_run.py
	$(BIN)/python benchmarks/big_run.py --layered

lock: ## new lock files, versions as of today (needs uv)
	uv pip compile pyproject.toml --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements.lock
	uv pip compile pyproject.toml --upgrade --group dev -c requirements.lock --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements-dev.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
