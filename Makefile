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
COARSE_TO_FINE := "{kind: ancestral, order: longest_first, lengths: {20: 2, 6: 2, 2: 3}}"
SENTENCE ?= The old fisherman who lived by the sea mended his nets before the storm came.

VENV := .venv
BIN := $(VENV)/bin
HDIFF := $(BIN)/hdiff
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo tour test soak fuzz lint docs clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    install, show the shipped model, then prepare, train, evaluate: ends with pages to open"
	@echo "make tour    the first act of it: what the shipped model writes, in a minute"
	@echo "make test    install everything and run the tests"
	@echo "make soak    kill a small training KILLS times, compare what it ends with with an uninterrupted one"
	@echo "make fuzz    feed every reader INPUTS inputs that are nearly right; only documented errors may come out"
	@echo "make lint    ruff and mypy"
	@echo "make docs    the documentation as a site, in site/"
	@echo "make clean   remove $(VENV), data/stories and the runs of the demo"
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

# Two acts: what the shipped model writes, then a model of your own.
demo: tour
	$(HDIFF) prepare builtin:stories-text --limit 700 --tokenizer builtin:stories --out data/stories --workers 2
	$(HDIFF) train recipes/judge.yaml data.path=data/stories output=runs/judge resume=auto
	$(HDIFF) train recipes/demo.yaml resume=auto
	$(HDIFF) eval runs/demo --judge runs/judge
	$(HDIFF) sample runs/demo --num 4 --steps 8 --quiet
	$(HDIFF) report runs/demo
	@echo
	@echo "Open in a browser:"
	@echo "  runs/tour.html               the shipped model beside its token-masking twin, text by text"
	@echo "  runs/story.html              three stories written coarse to fine: long spans first, words last"
	@echo "  runs/inspect.html            one sentence corrupted by clauses, phrases and words, under one slider"
	@echo "  runs/demo/report.html        the model that was trained just now"
	@echo "Play with it: $(HDIFF) serve builtin:stories --open   (after: pip install '.[serve]')"

tour: $(VENV)/demo.stamp
	$(HDIFF) tour --html runs/tour.html
	$(HDIFF) sample builtin:stories --num 3 --temperature 0.8 --infill "Once upon a time, [80]" --steps 80 --sampler $(COARSE_TO_FINE) --trajectory runs/story.html
	$(HDIFF) inspect "$(SENTENCE)" --level clause,phrase,word --html runs/inspect.html > runs/inspect.txt

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
	rm -rf $(VENV) data/stories runs/judge runs/demo runs/tour.html runs/story.html runs/inspect.html runs/inspect.txt
