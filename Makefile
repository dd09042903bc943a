# `make quickstart` and `make test` create the virtual environment and install the package themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Number of test processes, of one thread each; auto: one per CPU core. One more is faster, since many tests wait.
TEST_WORKERS ?= auto
# For `make gpu` without a network: a folder of wheels. The packages of PYTHON, such as its torch, are used, also where
# it is in a virtual environment, and those that are missing come from the folder.
WHEELS ?=
VENV_OPTIONS := $(if $(WHEELS),--system-site-packages --without-pip)
PIP_OPTIONS := $(if $(WHEELS),--no-index --no-build-isolation --find-links $(WHEELS))
# An environment that uv has made contains no pip.
PIP_INSTALL = { $(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip; } && \
  $(BIN)/python -m pip install --disable-pip-version-check

.PHONY: help quickstart test lint types unit test-faults test-lowest gpu docs format clean

help:
	@echo "make quickstart   install, write a data set of real video files, train, test, write a report"
	@echo "make test         install with the test extra; lint, check types, run all tests but the slow ones"
	@echo "make test-faults  run the slow fault tests"
	@echo "make test-lowest  run all tests but the slow ones with the lowest versions that pyproject.toml allows"
	@echo "make gpu          run the tests and short benchmarks of a GPU, at most 9 minutes; results in output/gpu"
	@echo "                  (WHEELS=FOLDER: install from this folder, without a network)"
	@echo "make docs         build the documentation site in output/site; warnings, such as dead links, are errors"
	@echo "make format       format the code and fix what ruff can fix"
	@echo "make clean        remove $(VENV), $(VENV)-lowest and build products; keeps outputs of runs"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11; give a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV_OPTIONS) $(VENV)
ifneq ($(WHEELS),)
	@# The option shows the packages of the system only. The pip of Python 3.11 would bring an old setuptools.
	$(PYTHON) -c 'import site; print(*site.getsitepackages(), sep="\n")' \
	  > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/packages_of_python.pth"
	$(BIN)/python -m pip --version || \
	  { $(BIN)/python -m ensurepip && $(BIN)/python -m pip uninstall --yes setuptools; }
endif

# These files mark a finished installation, which is repeated only when pyproject.toml changes.
$(VENV)/installed-%: pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) -e '.[$*]'
	@touch $@

$(VENV)/installed-gpu: pyproject.toml | $(BIN)/python
ifneq ($(WHEELS),)
	@# Builds this package, which pip does before it installs what the package needs.
	$(PIP_INSTALL) $(PIP_OPTIONS) 'setuptools>=77'
endif
	$(PIP_INSTALL) $(PIP_OPTIONS) -e '.[gpu]'
	@touch $@

$(VENV)/installed-test: pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) -e '.[test]'
	@touch $@ $(VENV)/installed-quickstart $(VENV)/installed-gpu $(VENV)/installed-docs

# pip cannot choose the lowest versions, uv can. Older Pythons have wheels of more versions: PYTHON=python3.11.
$(VENV)-lowest/installed: pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --disable-pip-version-check uv
	$(VENV)-lowest/bin/uv pip install --python $(VENV)-lowest/bin/python --resolution lowest-direct -e '.[test]'
	@touch $@

quickstart: $(VENV)/installed-quickstart
	$(BIN)/vtn quickstart

test: lint types unit

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-test
	$(BIN)/mypy

unit: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal -m "not faults and not gpu"

test-faults: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m faults

test-lowest: $(VENV)-lowest/installed
	OMP_NUM_THREADS=1 $(VENV)-lowest/bin/python -m pytest -n $(TEST_WORKERS) --dist worksteal -m "not faults and not gpu"

gpu: $(VENV)/installed-gpu
	$(BIN)/python -m benchmarks.gpu

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --config-file docs/site/mkdocs.yml
	@echo "open output/site/index.html, or for its search: $(BIN)/python -m http.server --directory output/site"

format: $(VENV)/installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(VENV)-lowest build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
