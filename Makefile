# The two commands that matter: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test torture fuzz check audit format clean

SHARE ?= 1
PART ?=

demo: $(READY)
	$(BIN)/datatrial run studies/quickstart.yaml

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal

# Breaks things at length, and prints what it found: SHARE=0.1 is a tenth of the kills and executions, PART='kills or disk'
# the tests with such names.
torture: $(READY)
	timeout 1500 $(BIN)/python -m pytest tests/torture -m torture -n 3 --dist load --maxschedchunk 1 --share $(SHARE) -k '$(PART)'

# An hour's worth of executions of the fuzzer, of which `make torture` has a hundredth.
fuzz: $(READY)
	$(BIN)/python -m pytest tests/torture/test_fuzz.py -m torture -n 2 --dist worksteal --share 100

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/kinds.py check

# Says so, and does not fail, where no service of advisories can be reached.
audit: $(READY)
	$(BIN)/python tools/audit.py

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch comes first and by itself, at its pinned version, so that nothing else chooses another build of it.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("datatrial needs Python 3.11 or newer; try: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@echo "Installing into $(VENV): about 2 GB on disk, some minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) .datatrial .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
