# Coterie's commands. `make run` and `make test` are all the set-up there is; both are safe to repeat.
#
#   make run                 environments, models, encoder, then experts, API and console together
#   make run PROFILE=tiny    the same with the smallest expert alone
#   make test                every test, the one on real vLLM included
#   make check               what CI runs: lint, format, types, import contract, tests
#   make clean               remove the environments and tool caches (data and models stay)
#
# Settings, on the command line or in the environment:
PYTHON ?= python3.11
PROFILE ?= cpu
# Where CPU wheels of torch are, asked only when pip's own configuration does not know the wheel.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# Further words for pytest, as in `make test PYTEST_ARGS="-k route -x"`.
PYTEST_ARGS ?=

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

# torch goes first and alone: any other resolution takes its CUDA build, several GB for nothing.
# The locks hold every package, so nothing else is resolved.
define environment
	@command -v $(PYTHON) >/dev/null || { echo "Coterie needs Python 3.11 and there is no '$(PYTHON)' here: \
	install it, or name yours: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || { echo "Coterie needs Python 3.11 \
	or newer; '$(PYTHON)' is $$($(PYTHON) -V)" >&2; exit 1; }
	@echo "Installing $(1) into $(2) (minutes, once) ..."
	@test -x $(2)/bin/python || $(PYTHON) -m venv $(2) || { rm -rf $(2); echo "Cannot make a virtual environment; \
	on Debian and Ubuntu it takes the package python3.11-venv" >&2; exit 1; }
	@$(2)/bin/python -m pip install -qq --disable-pip-version-check --no-deps "$(TORCH)" 2>/dev/null \
	  || $(2)/bin/python -m pip install -qq --disable-pip-version-check --no-deps --index-url $(TORCH_INDEX) "$(TORCH)"
	@$(2)/bin/python -m pip install -qq --disable-pip-version-check --no-deps -r $(1)
endef

$(APP)/.locked: locks/app.txt
	$(call environment,locks/app.txt,$(APP))
	@touch $@

$(APP)/.ready: $(APP)/.locked pyproject.toml
	@$(APP)/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VLLM)/.ready: locks/vllm.txt
	$(call environment,locks/vllm.txt,$(VLLM))
	@touch $@

# Both look first whether there is anything to do.
models: setup
	@$(APP)/bin/python -m experts.local fetch --registry experts/$(PROFILE).yaml
	@$(APP)/bin/python -m routers.encoder_export >/dev/null

run: models
	@exec $(APP)/bin/coterie up --profile $(PROFILE)

test: override PROFILE := tiny
test: models
	@$(APP)/bin/python -m pytest $(PYTEST_ARGS)

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
