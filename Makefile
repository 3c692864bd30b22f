# make setup | demo | study | test | lint | bench | lock | clean
# Nothing is needed but Python 3.11 or newer (with venv and pip) and make.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := .uv/bin/uv
STAMP  := $(VENV)/.installed
TESTS  ?= tests
DEMO   := runs/demo

.PHONY: setup demo study test lint bench lock clean help
.DEFAULT_GOAL := help

help:  ## what there is to make
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

setup: $(STAMP)  ## the environment .venv, exactly as in requirements.lock

# uv, in an environment of its own, installs PyTorch and the rest in a fraction of pip's time.
$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than 3.11. Name a newer one: make PYTHON=python3.12 ..." >&2; exit 2; }
	@echo "setting up uv"
	@$(PYTHON) -m venv .uv && .uv/bin/python -m pip install --quiet --disable-pip-version-check uv

$(STAMP): requirements.lock pyproject.toml | $(UV)
	@echo "installing the environment into $(VENV)"
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: $(STAMP)  ## sample data, convert, train, score, report: 2 to 5 minutes on 2 cores
	@$(BIN)/python demo.py

study: $(STAMP)  ## some forty trainings on sample data, compared in docs/study.md: 17 to 44 minutes on 2 cores
	@$(BIN)/python study.py

test: $(STAMP) lint  ## lint, types and every test: 6 to 13 minutes on 2 cores
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(TESTS)

lint: $(STAMP)  ## ruff, mypy, and who imports whom
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary
	@mkdir -p .cache && { $(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter >.cache/imports.txt 2>&1 || \
		{ cat .cache/imports.txt >&2; exit 1; }; }

bench: $(STAMP)  ## speed against named alternatives, kept in benchmarks/RESULTS.md
	@$(BIN)/python benchmarks/run.py

lock: $(UV)  ## requirements.lock anew from pyproject.toml
	@$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		--extra dev --extra headless --extra ray --custom-compile-command "make lock" pyproject.toml --output-file requirements.lock

clean:  ## remove the environment and caches; data sets and runs stay
	rm -rf $(VENV) .uv .cache .pytest_cache .mypy_cache .ruff_cache *.egg-info
