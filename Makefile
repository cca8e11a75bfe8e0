# `make demo` and `make test` are all that a fresh machine needs; both set up a virtual environment of their own first.
VENV   ?= .venv
PYTHON ?= python3
BIN     = $(VENV)/bin
DEMO   ?= demo

.PHONY: demo test lint types bench docs clean

$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/.core
	$(BIN)/vermilion separate data/sample_cube.fits --components 4 --output $(DEMO) --overwrite
	$(BIN)/vermilion compare $(DEMO) --truth data/sample_truth.fits

test: $(VENV)/.dev
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

# about ten minutes; the large problems of factorization.py, which take hours, are asked for by hand
bench: $(VENV)/.dev
	$(BIN)/python scripts/benchmarks/steps.py
	$(BIN)/python scripts/benchmarks/proxes.py
	$(BIN)/python scripts/benchmarks/abundances.py
	$(BIN)/python scripts/benchmarks/factorization.py --sections weighted unweighted memory --problems hs --limit 10

# the pictures that README and docs show
docs: $(VENV)/.dev
	$(BIN)/python scripts/make_docs_figures.py

clean:
	rm -rf $(VENV) $(DEMO) .mypy_cache .pytest_cache .ruff_cache .hypothesis
