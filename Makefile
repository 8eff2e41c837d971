# Atelier: `make run` starts the app, `make test` and `make chaos` prove it, `make check` reads the code.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test check fuzz bench chaos errors format browser clean

run: $(VENV)/.app-ready
	@$(BIN)/python app.py

test: $(VENV)/.tests-ready browser
	$(BIN)/python -m pytest

# Kills it at random moments, on each engine in about five minutes; `make chaos KILLS=20` is shorter.
KILLS ?= 100
chaos: $(VENV)/.tests-ready
	$(BIN)/python -m tests.resilience.random_kills --kills $(KILLS)

check: $(VENV)/.tests-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m tests.support.advisories

# Thousands of inputs for every parser and operation of the API; `make fuzz FUZZ=tests/fuzz/test_texts.py` for some.
FUZZ ?= tests
fuzz: $(VENV)/.tests-ready
	$(BIN)/python -m pytest -m hypothesis --hypothesis-profile=long $(FUZZ)

# Parts of it: make bench BENCH="--only startup poll --json figures.json"
bench: $(VENV)/.tests-ready browser
	$(BIN)/python -m tests.bench $(BENCH)

# Writes the table of docs/errors.md from the code.
errors: $(VENV)/.tests-ready
	$(BIN)/python -m tests.support.error_table --write

format: $(VENV)/.tests-ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

browser: $(VENV)/.tests-ready
	$(BIN)/python -m tests.support.chromium

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Atelier needs Python 3.11 or newer; set PYTHON=/path/to/python3")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.app-ready: requirements.txt constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	@touch $@

$(VENV)/.tests-ready: requirements.txt tests/requirements.txt constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt -c constraints.txt
	@touch $@ $(VENV)/.app-ready

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
