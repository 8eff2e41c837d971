# Atelier's commands. The first one that needs Python packages installs them in .venv.
#
#   make run                 start the app
#   make test                prove every promise, on both databases and in a browser: ten minutes on two cores
#   make test T=generation   only the tests in tests/generation; T can also be a path, or several of either
#   make lint                read the code with ruff, mypy and import-linter: half a minute
#   make check               make lint, then look for known vulnerabilities in the packages
#   make proof               the long proofs: 150 kills on each database, thousands of inputs for each parser
#                            and route, a deployment that loses a replica, a clean clone, servers of other projects: 20 minutes
#   make chaos KILLS=20      only the kills, as many as you say
#   make fuzz FUZZ=PATH      only the fuzzing, of one file or folder
#   make bench               measure speed and memory; BENCH="--only startup poll --json figures.json"
#   make errors              write docs/errors.md from the code
#   make settings            write docs/settings.md from the code
#   make format              format the code
#   make browser             install a browser for the tests where there is none
#   make clean               delete what these commands have installed and cached
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INTEROP := .interop

.PHONY: run test lint check proof chaos fuzz bench errors settings format browser clean

run: $(VENV)/.app-ready
	@$(BIN)/python app.py

# A word in T that names something in tests/ is found there.
T ?= tests
test: $(VENV)/.tests-ready browser
	$(BIN)/python -m pytest $(foreach each,$(T),$(if $(wildcard tests/$(firstword $(subst ::, ,$(each)))),tests/)$(each))

lint: $(VENV)/.tests-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

check: lint
	$(BIN)/python -m tests.support.advisories

proof: $(VENV)/.tests-ready $(INTEROP)/.ready browser
	$(BIN)/python -m pytest -m "proof or hypothesis" --hypothesis-profile=long --dist=loadgroup

# Servers of other projects, which the proof runs beside Atelier. Without npm, those from npm are skipped.
$(INTEROP)/.ready: tests/interop/requirements.txt tests/interop/package.json
	$(PYTHON) -m venv $(INTEROP)/python
	$(INTEROP)/python/bin/python -m pip install --quiet --disable-pip-version-check -r tests/interop/requirements.txt
	cp tests/interop/package.json $(INTEROP)/
	if command -v npm >/dev/null; then npm install --prefix $(INTEROP) --no-audit --no-fund --ignore-scripts --silent; \
	  else echo "npm is missing: apt-get install nodejs npm"; fi
	@touch $@

KILLS ?= 100
chaos: $(VENV)/.tests-ready
	$(BIN)/python -m tests.resilience.random_kills --kills $(KILLS)

FUZZ ?= tests
fuzz: $(VENV)/.tests-ready
	$(BIN)/python -m pytest -m hypothesis --hypothesis-profile=long $(FUZZ)

bench: $(VENV)/.tests-ready browser
	$(BIN)/python -m tests.bench $(BENCH)

errors: $(VENV)/.tests-ready
	$(BIN)/python -m tests.support.error_table --write

settings: $(VENV)/.tests-ready
	$(BIN)/python -m tests.support.settings_table --write

format: $(VENV)/.tests-ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

browser: $(VENV)/.tests-ready
	$(BIN)/python -m tests.support.chromium

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Atelier needs Python 3.11 or newer; set PYTHON=/path/to/python3")'
	@echo "Creating the Python environment $(VENV)."
	$(PYTHON) -m venv $(VENV)

$(VENV)/.app-ready: requirements.txt constraints.txt | $(VENV)/bin/python
	@echo "Installing Atelier's packages into $(VENV). This happens once and takes a minute or two."
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt -c constraints.txt
	@touch $@

$(VENV)/.tests-ready: requirements.txt tests/requirements.txt constraints.txt | $(VENV)/bin/python
	@echo "Installing the packages of Atelier and of its tests into $(VENV). This happens once."
	$(BIN)/python -m pip install --disable-pip-version-check -r tests/requirements.txt -c constraints.txt
	@touch $@ $(VENV)/.app-ready

clean:
	rm -rf $(VENV) $(INTEROP) .pytest_cache .mypy_cache .ruff_cache .hypothesis
