# Two commands: `make demo` installs and runs the main job on sample_data, `make test` installs and checks everything.
# While working: `make quick-test`, which leaves out the tests of more than about five seconds.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := demo

# Tests side by side, each process with one thread (tests/conftest.py) and about a gigabyte.
TOGETHER := --numprocesses auto --maxprocesses 8 --dist worksteal

.PHONY: demo test check full-test quick-test clean
.DELETE_ON_ERROR:

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/python sample_data/demo.py --out $(DEMO)

test: check

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest $(TOGETHER) -m "not long"

# Those of more than about fifteen seconds, too: whole reports, and several processes at once.
full-test: $(INSTALLED)
	$(BIN)/pytest $(TOGETHER)

quick-test: $(INSTALLED)
	$(BIN)/pytest $(TOGETHER) -m "not slow and not long"

clean:
	rm -rf $(VENV) $(DEMO) .mypy_cache .pytest_cache .ruff_cache
