# Coterie's commands. `make run` and `make test` are all the set-up there is; both are safe to repeat.
#
#   make run                 environments, models, encoder, then experts, API and console together
#   make run PROFILE=tiny    the same with the smallest expert alone
#   make test                every test, the one on real vLLM included
#   make check               what CI runs: lint, format, types, import contract, tests
#   make clean               remove the environments and tool caches (data and models stay)
#
# Settings, on the command line or in the environment:
# The Python that makes the environments; none: the first that can.
PYTHON ?=
# Tried in this order without PYTHON. The locks are tested with 3.11, and have wheels for the others.
PYTHONS := python3.11 python3.12 python3.13 python3.14 python3 python
PROFILE ?= cpu
# Where CPU wheels of torch are, asked only when pip's own configuration does not know the wheel.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# Further words for pytest, as in `make test PYTEST_ARGS="-k route -x"`; "-n 0" runs tests in one process.
PYTEST_ARGS ?=
# One process of tests a core. A file's tests stay in one, for the fixtures they share, and files keep their
# order: the longest tests, on a real vLLM, come first.
PARALLEL := -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

APP := .venv
VLLM := .venv-vllm
TORCH := torch==2.13.0+cpu
export COTERIE_VLLM_PYTHON ?= $(CURDIR)/$(VLLM)/bin/python

.PHONY: help setup models run test lint check clean locks
.DEFAULT_GOAL := help
.SUFFIXES:

help:
	@sed -n 's/^#   \(make .*\)/  \1/p' Makefile

setup: $(APP)/.ready $(VLLM)/.ready

# Finds a Python that runs (a pyenv shim may not), is new enough and can make virtual environments.
# $(1) is the environment, $(2) its lock, $(3) its size in GB.
define environment
	@for python in $(if $(PYTHON),"$(PYTHON)",$(PYTHONS)); do \
	  "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Coterie needs Python 3.11 or newer with its venv module, and found none: tried" \
	    $(if $(PYTHON),"$(PYTHON)",$(PYTHONS)) "(on Debian and Ubuntu: apt install python3 python3-venv)." \
	    "To name one: make PYTHON=/path/to/python3.11" >&2; \
	  exit 1; \
	fi; \
	echo "Using $$("$$python" -c 'import sys; print(sys.executable, sys.version.split()[0])')." >&2; \
	"$$python" deploy/virtual_environment.py $(1) $(2) --torch "$(TORCH)" --torch-index "$(TORCH_INDEX)" --size $(3)
endef

$(APP)/.locked: locks/app.txt
	$(call environment,$(APP),locks/app.txt,2.8)
	@touch $@

$(APP)/.ready: $(APP)/.locked pyproject.toml
	@$(APP)/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VLLM)/.ready: locks/vllm.txt
	$(call environment,$(VLLM),locks/vllm.txt,3.5)
	@touch $@

# Both look first whether there is anything to do.
models: setup
	@$(APP)/bin/python -m experts.local fetch --registry experts/$(PROFILE).yaml
	@$(APP)/bin/python -m routers.encoder_export >/dev/null

run: models
	@exec $(APP)/bin/coterie up --profile $(PROFILE)

test: override PROFILE := tiny
test: models
	@$(APP)/bin/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

lint: $(APP)/.ready
	@$(APP)/bin/ruff check .
	@$(APP)/bin/ruff format --check .
	@$(APP)/bin/mypy
	@$(APP)/bin/lint-imports

check: lint
	@$(MAKE) --no-print-directory test

clean:
	rm -rf $(APP) $(VLLM) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Left: ./var (logs, decisions) and the models and encoders in $${COTERIE_CACHE:-~/.cache/coterie}."

# Write down what the two environments hold, after changing them with pip and seeing `make check` pass.
locks:
	@$(call lock,app,$(APP))
	@$(call lock,vllm,$(VLLM))

define lock
	$(2)/bin/python -m pip freeze --all --exclude-editable | sed 's/+cpu$$//' \
	  | grep -v -E '^(pip|coterie|torchvision|torchaudio|torchcodec)==' > locks/$(1).new \
	&& ! grep ' @ ' locks/$(1).new \
	&& { sed -n '/^#/p' locks/$(1).txt; cat locks/$(1).new; } > locks/$(1).both \
	&& mv locks/$(1).both locks/$(1).txt && rm locks/$(1).new
endef
