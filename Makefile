PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Wheels are not byte-compiled: only the modules that run are worth compiling, and Python does that itself.
PIP    := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt
RUNS   := runs/embedded
TRAIN   = $(BIN)/fewstep train $(1) --out $(RUNS)/$(1)
BUNDLE  = $(BIN)/python -m fewstep.bundle parts

.DEFAULT_GOAL := help
.PHONY: help install dev demo test lint types imports typed embedded results bench clean

help:  ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is required, $$($(PYTHON) --version 2>&1) came; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

# torch goes first and by its pin alone, so that an index which offers a CPU build of it is taken at its word.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing fewstep into $(VENV) (once; a minute or two)"
	$(PIP) torch
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	@touch $@

install: $(VENV)/.installed  ## Install the package into .venv
dev: $(VENV)/.installed-dev  ## Install the package and what its tests need

demo: install  ## Distil a one-step student live and write out/demo/index.html
	$(BIN)/fewstep demo

test: dev lint types imports typed  ## Everything a change must pass
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# The public tensor functions again, with every annotated shape and dtype checked at each call.
TYPED  := fewstep.diffusion,fewstep.objectives,fewstep.models.rope,fewstep.models.discriminator,fewstep.models.vae
typed: dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --jaxtyping-packages=$(TYPED),beartype.beartype \
	  tests/diffusion tests/objectives tests/models/test_rope.py tests/models/test_discriminator.py tests/models/test_vae.py

lint: dev
	$(BIN)/ruff check .

types: dev
	$(BIN)/mypy

imports: dev
	$(BIN)/lint-imports

# Each run resumes where it stopped, and is left alone once it is complete: interrupt and repeat at will.
embedded: install  ## Train the bundled models again, from nothing (hours)
	$(call TRAIN,vae.shapes)
	$(call TRAIN,text.shapes)
	$(BUNDLE) shapes-base $(RUNS)/vae.shapes/model $(RUNS)/text.shapes/model
	$(call TRAIN,teacher.shapes)
	$(BUNDLE) shapes-teacher $(RUNS)/teacher.shapes/model
	$(call TRAIN,ode.shapes)
	$(BUNDLE) shapes-init $(RUNS)/ode.shapes/model
	$(call TRAIN,asd.shapes)
	$(BUNDLE) shapes-asd $(RUNS)/asd.shapes/model

# The baselines are too many to ship; their scores are in docs/results.
RESULTS := results/shapes
results: install  ## Train the DMD baselines, score every model at every plan, print the table (an hour)
	$(call TRAIN,self_forcing.shapes)
	$(call TRAIN,self_forcing.shapes_2step)
	$(call TRAIN,self_forcing.shapes_1step)
	$(BIN)/fewstep evaluate shapes-teacher shapes-init shapes-asd $(RUNS)/self_forcing.shapes/model \
	  $(RUNS)/self_forcing.shapes_2step/model $(RUNS)/self_forcing.shapes_1step/model --output $(RESULTS)
	$(BIN)/fewstep table $(RESULTS)
	$(BIN)/python -m fewstep.bundle scores $(RESULTS)

bench: install  ## Measure streaming speed on this machine
	$(BIN)/fewstep bench

clean:  ## Remove what runs and builds leave behind (not .venv)
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
