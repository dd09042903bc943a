# Two commands do all the set-up: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Two test processes of one thread each suit two cores; more cores, more processes.
TEST_WORKERS ?= auto

.PHONY: help quickstart test lint types unit test-faults format clean

help:
	@echo "make quickstart   install, make a data set of real videos, train, test, write the report"
	@echo "make test         install with the test extra; lint, type check, all everyday tests"
	@echo "make test-faults  the slow fault tests"
	@echo "make format       let ruff format and mend the code"
	@echo "make clean        remove $(VENV) and build products (never outputs)"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps make a second run skip the installation until pyproject.toml changes.
$(VENV)/installed-quickstart: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[quickstart]'
	@touch $@

$(VENV)/installed-test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[test]'
	@touch $@ $(VENV)/installed-quickstart

quickstart: $(VENV)/installed-quickstart
	$(BIN)/python tools/quickstart.py

test: lint types unit

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-test
	$(BIN)/mypy

unit: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) -m "not faults"

test-faults: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m faults

format: $(VENV)/installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
