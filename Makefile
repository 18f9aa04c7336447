# Everything below sets up .venv by itself when that is missing or out of date.
#   make demo    run the main job on the embedded model and a fixture workspace
#   make test    all tests            make lint / types / contracts    what CI checks before them
#   make dist    wheel and sdist      make bench    keystroke, edit, text and lint benchmarks
# PYTHON=python3.12 chooses the interpreter, VENV=folder another environment, PIP_ARGS=... options for pip.

SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
PIP_ARGS ?=
supported := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c '$(supported)' >/dev/null 2>&1 && { echo $$p; break; }; done)
# Contents, not times: a checkout changes times without changing what must be installed.
inputs := $(shell cat pyproject.toml constraints.txt hatch_build.py | cksum | cut -d' ' -f1)
# Only its semgrep-core is run, so that what else it asks for needn't agree with the rest.
semgrep := semgrep==1.172.0
installed := $(VENV)/.deltaloom-$(inputs)

.PHONY: demo test lint types contracts dist bench clean distclean setup help
.DEFAULT_GOAL := help

help:
	@sed -n '2,5s/^# *//p' Makefile

setup: $(installed)

demo: $(installed)
	@$(BIN)/deltaloom demo fixtures/workspaces/shop

test: $(installed)
	@$(BIN)/python -m pytest -q $(PYTEST_ARGS)

lint: $(installed)
	@$(BIN)/ruff check .

types: $(installed)
	@$(BIN)/mypy

contracts: $(installed)
	@$(BIN)/lint-imports

dist: $(installed)
	@rm -rf dist
	@$(BIN)/python -m build --outdir dist . > dist.log 2>&1 || { cat dist.log; rm -f dist.log; exit 1; }
	@rm -f dist.log; ls -l dist

bench: $(installed)
	@$(BIN)/deltaloom bench text
	@$(BIN)/deltaloom bench edits --context 4096 16384
	@$(BIN)/deltaloom bench keystroke
	@$(BIN)/deltaloom bench lint

clean:
	@rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find server model tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	@rm -rf $(VENV)

$(installed):
	@case "$$(uname -s)" in Linux|Darwin) ;; *) \
	  echo "Deltaloom runs on Linux and macOS; on Windows, run this inside WSL." >&2; exit 1;; esac
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c '$(supported)'; then \
	  echo "Deltaloom needs Python 3.11, 3.12 or 3.13; install one and name it: make PYTHON=python3.12" >&2; \
	  exit 1; fi
	@if [ ! -x $(BIN)/python ]; then \
	  echo "Making $(VENV) with $$($(PYTHON) --version)"; \
	  $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "No environment could be made; on Debian and Ubuntu install python3-venv first." >&2; exit 1; }; fi
	@echo "Installing what pyproject.toml names into $(VENV) (torch is large; minutes on a slow line)"
	@set -o pipefail; $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
	  $(PIP_ARGS) -c constraints.txt -e ".[dev]" \
	  | awk '/Downloading .*[MG]B|^Installing|^Successfully/ { print substr($$0, 1, 110); fflush() }'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(PIP_ARGS) "$(semgrep)"
	@rm -f $(VENV)/.deltaloom-*; touch $@
