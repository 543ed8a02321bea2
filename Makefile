# hdiff: a bare machine with python3 and make is enough. `make help` lists the targets.

PYTHON ?= python3
# More arguments for pip, e.g. PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu" for the small CPU build of torch.
PIP_ARGS ?=
# More arguments for pytest, e.g. PYTEST_ARGS="-m 'not slow' -k report".
PYTEST_ARGS ?=
# Processes that run the tests: a number, or auto for one per core.
JOBS ?= auto
# SIGKILLs of `make soak`.
KILLS ?= 20
# Inputs of `make fuzz`, for each reader.
INPUTS ?= 10000
SENTENCE ?= The old fisherman who lived by the sea mended his nets before the storm came.

VENV := .venv
BIN := $(VENV)/bin
HDIFF := $(BIN)/hdiff
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test soak fuzz lint docs clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    install, then prepare, train, evaluate, sample: ends with HTML pages to open"
	@echo "make test    install everything and run the tests"
	@echo "make soak    kill a small training KILLS times, compare what it ends with with an uninterrupted one"
	@echo "make fuzz    feed every reader INPUTS inputs that are nearly right; only documented errors may come out"
	@echo "make lint    ruff and mypy"
	@echo "make docs    the documentation as a site, in site/"
	@echo "make clean   remove $(VENV), data/pydoc and the runs of the demo"
	@echo "variables: PYTHON=$(PYTHON)  PIP_ARGS=...  PYTEST_ARGS=...  JOBS=$(JOBS)  KILLS=$(KILLS)  INPUTS=$(INPUTS)  SENTENCE='...'"

# --- Installation: one stamp per layer, so that a second call does nothing. ---

$(BIN)/python:
	@$(PYTHON) -c "import sys; v = sys.version_info; sys.exit(0 if v >= (3, 10) else 'hdiff needs Python 3.10 or newer, $(PYTHON) is %d.%d; choose another with: make PYTHON=python3.11 <target>' % v[:2])"
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "no virtual environment: on Debian and Ubuntu run: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/torch.stamp: constraints.txt | $(BIN)/python
	@echo "installing torch"
	@$(PIP) torch==2.13.0 setuptools
	@touch $@

$(VENV)/demo.stamp: pyproject.toml constraints.txt $(VENV)/torch.stamp
	@echo "installing hdiff[spacy,train]"
	@$(PIP) --editable ".[spacy,train]"
	@touch $@

$(VENV)/test.stamp: pyproject.toml constraints.txt $(VENV)/torch.stamp
	@echo "installing hdiff[all]"
	@$(PIP) --editable ".[all]"
	@touch $@

$(VENV)/lint.stamp: pyproject.toml constraints.txt $(VENV)/test.stamp
	@echo "installing hdiff[dev]"
	@$(PIP) --editable ".[dev]"
	@touch $@

# Without hdiff itself: its docstrings are read, not imported.
$(VENV)/docs.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing mkdocs-material and mkdocstrings"
	@$(PIP) "mkdocs-material>=9.6,<10" "mkdocstrings[python]>=0.29"
	@touch $@

# --- What a person runs. ---

demo: $(VENV)/demo.stamp
	$(HDIFF) prepare builtin:pydoc --out data/pydoc
	$(HDIFF) train recipes/judge.yaml output=runs/judge resume=auto
	$(HDIFF) train recipes/quickstart.yaml output=runs/quickstart resume=auto
	$(HDIFF) eval runs/quickstart --judge runs/judge
	$(HDIFF) sample runs/quickstart --num 4 --steps 16 --trajectory runs/quickstart/trajectory.html
	$(HDIFF) inspect "$(SENTENCE)" --html runs/inspect.html
	$(HDIFF) report runs/quickstart
	@echo
	@echo "Open in a browser:"
	@echo "  runs/quickstart/report.html      what was trained and what it can do"
	@echo "  runs/quickstart/trajectory.html  four texts as they are filled in, step by step"
	@echo "  runs/inspect.html                one sentence, its spans, and the order in which they are masked"

test: $(VENV)/test.stamp $(VENV)/docs.stamp
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal $(PYTEST_ARGS)

soak: $(VENV)/demo.stamp
	$(BIN)/python tests/soak --kills $(KILLS)

$(VENV)/fuzz.stamp: $(VENV)/test.stamp
	@$(PIP) atheris==3.0.0 || echo "no atheris for this machine: all inputs will come from Hypothesis"
	@touch $@

fuzz: $(VENV)/fuzz.stamp
	$(BIN)/python tests/fuzz --inputs $(INPUTS)

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p hdiff
	$(BIN)/mypy --strict parsers

docs: $(VENV)/docs.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open site/index.html, or to search: $(BIN)/python -m http.server --directory site"

clean:
	rm -rf $(VENV) data/pydoc runs/judge runs/quickstart runs/inspect.html
