# Every target makes what it needs: Python 3.11 to 3.14, make and a package index are enough.
# Another interpreter: make test PYTHON=python3.13

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PINS := constraints.txt setup.py pyproject.toml $(wildcard kernels/mdp_lite_kernels/*.[ch])
# A separate environment: schemathesis' plugin for pytest would slow `make test` down.
FUZZ := $(VENV)/fuzz
FUZZ_OPTIONS ?= -n 100
INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt

.DEFAULT_GOAL := help
.NOTPARALLEL:  # two pip runs in one environment break each other
.PHONY: help demo test slow ray browser fuzz bench lint docs train clean

# Nothing is fetched once the environment stands.
demo test slow ray browser fuzz bench train: export HF_HUB_OFFLINE := 1

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s  %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo  ## edit a picture with the bundled model, say where it is
	$(BIN)/mdp-lite demo

test: $(VENV)/.dev  ## the tests, without the slow ones, a process for each core
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

slow: $(VENV)/.dev  ## the slow tests alone
	$(BIN)/python -m pytest -m slow

ray: $(VENV)/.ray  ## the tests on a Ray cluster of this machine
	$(BIN)/python -m pytest -m ray tests/batch tests/serve

browser: $(VENV)/.dev  ## the app's tests in a browser (needs chromium, as of apt-get)
	$(BIN)/python -m pytest -m browser -n 2 --dist loadfile

fuzz: $(VENV)/.dev $(FUZZ)/.made  ## schemathesis on the service's OpenAPI document (FUZZ_OPTIONS="-n 100")
	PYTHONPATH=tests $(BIN)/python -m support.fuzz_service $(FUZZ)/bin/schemathesis $(FUZZ_OPTIONS)

bench: $(VENV)/.bench  ## the comparisons in benchmarks/
	$(BIN)/python -m pytest benchmarks -m "" --benchmark-enable

lint: $(VENV)/.dev  ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/.docs  ## the documentation, into site/; a dead link is an error
	$(BIN)/python docs/make_site.py

train: $(VENV)/.demo  ## the recipe of the model tiny, from nothing
	PYTHONPATH=weights $(BIN)/python -m train_tiny

clean:  ## remove the environment, build outputs and caches
	rm -rf $(VENV) build demo dist site *.egg-info kernels/*/*.so .pytest_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One environment, one stamp for each set of extras. pip is the last thing venv writes: a venv that
# failed half-way is made again.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.version_info >= (3, 11) or \
	sys.exit(f"mdp-lite needs Python 3.11 or later, got {v} from $(PYTHON); try make PYTHON=python3.13")'
	$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.demo: $(PINS) | $(BIN)/pip
	$(INSTALL) -e .
	@touch $@

$(VENV)/.dev: $(PINS) | $(BIN)/pip
	$(INSTALL) -e '.[dev]'
	@touch $@

$(VENV)/.ray: $(PINS) | $(BIN)/pip
	$(INSTALL) -e '.[dev,ray]'
	@touch $@

$(VENV)/.bench: $(PINS) | $(BIN)/pip
	$(INSTALL) -e '.[dev,bench]'
	@touch $@

$(FUZZ)/.made: $(PINS) | $(BIN)/pip
	$(PYTHON) -m venv --clear $(FUZZ)
	$(FUZZ)/bin/python -m pip install --quiet -c constraints.txt schemathesis
	@touch $@

$(VENV)/.docs: $(PINS) | $(BIN)/pip
	$(INSTALL) -e '.[docs]'
	@touch $@
