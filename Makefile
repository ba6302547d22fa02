# Both commands set up everything they need on a machine with Python 3.11.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 2

.PHONY: demo test test-slow test-all check eval bench data browser clean

demo: $(VENV)/.demo
	$(BIN)/python app.py

test: $(VENV)/.dev browser
	$(BIN)/python -m pytest -m "not slow and not gpu and not network"

test-slow: $(VENV)/.dev browser
	$(BIN)/python -m pytest -m "slow and not gpu and not network"

test-all: $(VENV)/.dev browser
	$(BIN)/python -m pytest

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

eval: $(VENV)/.demo
	$(BIN)/python -m evals run --suite smoke

bench: $(VENV)/.demo
	$(BIN)/python -m mtgen bench

# Exit code 3 means: built, but without the sources that were named.
data: $(VENV)/.data
	for set in images parallel text; do \
	  $(BIN)/python -m mtgen.data build $$set --out build/data --pack build/pack \
	    || test $$? = 3 || exit 1; \
	done
	$(BIN)/python -m mtgen.data check build/data
	$(BIN)/python -m mtgen.data sheets build/pack --out build/sheets
	$(BIN)/python -m mtgen.data rate build/pack

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: requirements.txt pre-requirements.txt | $(VENV)/bin/python
	@echo "Installing packages into $(VENV), once (about 1.7 GB)"
	$(PIP) -r pre-requirements.txt
	$(PIP) -r requirements.txt
	@touch $@

$(VENV)/.data: requirements-data.txt $(VENV)/.demo
	$(PIP) -r requirements-data.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.data
	$(PIP) -r requirements-dev.txt
	@touch $@

# The tests of the page drive a Chromium that is on the system; where apt-get can, it brings it.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null \
	  || command -v google-chrome >/dev/null || test -n "$$MTGEN_CHROMIUM" \
	  || { command -v apt-get >/dev/null \
	       && SUDO=$$(test "$$(id -u)" = 0 || echo "sudo -n") \
	       && $$SUDO apt-get update -qq && $$SUDO apt-get install -y -qq chromium >/dev/null; } \
	  || echo "No Chromium found: the tests of the page will be skipped. Set MTGEN_CHROMIUM to one."

clean:
	rm -rf $(VENV) build *.egg-info
