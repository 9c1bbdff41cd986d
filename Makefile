# Two commands are all that a fresh machine needs: `make demo` and `make test`.
# Both make .venv by themselves; Python 3.11 to 3.13 with venv is all that is assumed.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Python 3.11 first: constraints.txt was tested there.
PYTHONS := python3.11 python3.12 python3.13 python3
DEMO_OUT := demo

.DEFAULT_GOAL := help
.PHONY: help demo test bench lint format clean clean-all

help:
	@echo "make demo    simulate, train, segment, graph; ends in $(DEMO_OUT)/report.html"
	@echo "make test    every check: style, types, import order, tests"
	@echo "make bench   every benchmark, under 40 minutes; benchmarks/results.json, docs/benchmarks.md"
	@echo "make lint    the same without the tests"
	@echo "make format  put code and imports in order"
	@echo "make clean   remove caches, builds and $(DEMO_OUT)/ (also .venv: make clean-all)"

demo: $(STAMP)
	$(BIN)/vpbsd demo --out $(DEMO_OUT)

test: lint
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python benchmarks/run_all.py

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build dist $(DEMO_OUT) .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

clean-all: clean
	rm -rf $(VENV)

# Installed anew only when one of these files changed since. A name on the PATH is not yet a Python
# that runs and brings venv, so each candidate is tried; PYTHON=/path/to/python overrides the search.
$(STAMP): pyproject.toml constraints.txt
	@set -e; \
	if [ ! -x $(BIN)/python ]; then \
	    found=""; \
	    for candidate in $(PYTHON) $(PYTHONS); do \
	        if "$$candidate" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	            >/dev/null 2>&1; then found="$$candidate"; break; fi; \
	    done; \
	    if [ -z "$$found" ]; then \
	        echo "vpbsd needs Python 3.11 to 3.13 with venv, and none of '$(strip $(PYTHON) $(PYTHONS))' is that;" \
	            "install one (Debian: apt install python3 python3-venv) or name it:" \
	            "make PYTHON=/path/to/python $(MAKECMDGOALS)" >&2; \
	        exit 1; \
	    fi; \
	    echo "making $(VENV) with $$found"; \
	    "$$found" -m venv $(VENV); \
	fi
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e ".[dev]"
	@touch $@
