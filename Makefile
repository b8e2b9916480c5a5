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
	$(BIN)/ruff format --check .

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
	$(call TRAIN,aad1.shapes)
	$(BUNDLE) shapes-i2v $(RUNS)/aad1.shapes/model

# The bundled students are seed 0 of their recipes; the others are too many to ship, their scores are in results/.
RESULTS  := results/shapes
SEEDS    := 0 1 2
COMPARED := asd.shapes self_forcing.shapes self_forcing.shapes_2step self_forcing.shapes_1step
RUN       = $(1)$(if $(filter-out 0,$(2)),.seed$(2))
RERUNS    = $(filter-out asd.shapes,$(foreach recipe,$(COMPARED),$(foreach seed,$(SEEDS),$(call RUN,$(recipe),$(seed)))))
results: install  ## Train the students of all seeds, score them at every plan, print the table (hours)
	@set -e; for run in $(RERUNS); do case $$run in *.seed*) seed=$${run##*.seed};; *) seed=0;; esac; \
	  $(BIN)/fewstep train $${run%.seed*} --seed $$seed --out $(RUNS)/$$run; done
	$(BIN)/fewstep shapebench shapes-teacher shapes-init shapes-asd $(RERUNS:%=$(RUNS)/%/model) \
	  --clips 128 --batch 16 --output $(RESULTS)
	$(BIN)/fewstep table $(RESULTS)
	$(BIN)/python -m fewstep.bundle scores $(RESULTS)

bench: install  ## Measure streaming speed on this machine
	$(BIN)/fewstep bench

clean:  ## Remove what runs and builds leave behind (not .venv)
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
