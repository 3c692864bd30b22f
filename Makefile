# make setup | demo | study | test | quick | bare | lint | bench | docs | lock | clean
# Nothing is needed but Python 3.11 or newer (with venv and pip) and make.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := .uv/bin/uv
STAMP  := $(VENV)/.installed
TESTS  ?= tests
DEMO   := runs/demo
CPU    ?=
# uv's progress bars are for a terminal; elsewhere it would list every package.
QUIET  := $(shell test -t 2 || echo --quiet)

.PHONY: setup demo study test quick bare lint bench docs lock clean help
.DEFAULT_GOAL := help

help:  ## what there is to make
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

setup: $(STAMP)  ## the environment .venv, exactly as in requirements.lock; CPU=1 for PyTorch without CUDA

# uv, in an environment of its own, installs PyTorch and the rest in a fraction of pip's time.
$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than 3.11. Name a newer one: make PYTHON=python3.12 ..." >&2; exit 2; }
	@echo "setting up uv"
	@$(PYTHON) -m venv .uv && .uv/bin/python -m pip install --quiet --disable-pip-version-check uv

$(STAMP): requirements.lock pyproject.toml | $(UV)
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
ifeq ($(CPU),)
	@echo "installing the environment into $(VENV): up to 3.3 GB to fetch, 7 GB on disk (with CUDA; make setup CPU=1 does without)"
	@$(UV) pip sync $(QUIET) --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
else
	@echo "installing the environment into $(VENV), PyTorch without CUDA: about 0.6 GB to fetch"
	@mkdir -p .cache
	@awk '/^[a-z]/ {skip = /^(torch|torchvision|triton|nvidia-|cuda-)/} !skip' requirements.lock >.cache/requirements-cpu.txt
	@$(UV) pip install $(QUIET) --python $(BIN)/python --torch-backend cpu \
		$$(sed -nE 's/^(torch|torchvision)==([^ ]+) .*/\1==\2/p' requirements.lock)
	@$(UV) pip install $(QUIET) --compile-bytecode --python $(BIN)/python --require-hashes --no-deps -r .cache/requirements-cpu.txt
endif
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: $(STAMP)  ## sample data, convert, train, score, report: 2 to 5 minutes on 2 cores
	@$(BIN)/python demo.py

study: $(STAMP)  ## some seventy trainings on sample data, compared in docs/study.md: about an hour on 2 cores
	@$(BIN)/python study.py

test: $(STAMP) lint  ## lint, types and every test, with coverage by room: 6 to 15 minutes on 2 cores
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --cov --cov-report= $(TESTS)

quick: $(STAMP)  ## the tests without training, browser and cluster: a minute
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not slow and not browser" $(TESTS)

# The package as `pip install .` gives it, without PyTorch, in an environment of its own; versions as in the lock.
bare: $(UV)  ## the bare package, installed without extras, and the tests that need no more
	@echo "installing the bare package into .bare"
	@rm -rf .bare build && $(UV) venv --quiet --python $(PYTHON) .bare
	@$(UV) pip install --quiet --python .bare/bin/python --constraint requirements.lock ".[test,headless]"
	@rm -rf build
	@.bare/bin/python -m pytest --numprocesses 2 --dist loadfile tests/bare tests/common tests/convert tests/evaluate/metrics

lint: $(STAMP)  ## ruff, mypy, and who imports whom
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary
	@mkdir -p .cache && { $(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter >.cache/imports.txt 2>&1 || \
		{ cat .cache/imports.txt >&2; exit 1; }; }

bench: $(STAMP)  ## speed against named alternatives, kept in benchmarks/RESULTS.md
	@$(BIN)/python benchmarks/run.py

# The variable leaves out a notice of another version of MkDocs.
docs: $(STAMP)  ## the documents as a site: site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "site/index.html"

lock: $(UV)  ## requirements.lock anew from pyproject.toml
	@$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		--extra dev --extra headless --custom-compile-command "make lock" pyproject.toml --output-file requirements.lock

clean:  ## remove the environment and caches; data sets and runs stay
	rm -rf $(VENV) .bare .uv .cache .pytest_cache .mypy_cache .ruff_cache *.egg-info
