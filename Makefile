# Two commands do all the set-up: `make mnist` and `make test`. Both build `.venv` on the first call.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: mnist classify test slow mutation shootout lint types format clean

mnist: $(VENV)/.experiments ## train the convnet on real digits with hand-written gradients
	$(BIN)/python -m experiments.mnist $(ARGS)

classify: $(VENV)/.experiments ## classify images with the parameters that `make mnist` saved
	$(BIN)/python -m experiments.classify $(ARGS)

test: $(VENV)/.dev ## the whole quick suite
	$(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

slow: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 -m slow $(ARGS)

mutation: $(VENV)/.dev ## the share of planted faults that the checker finds, layer by layer: all of them
	$(BIN)/python -m experiments.mutation $(ARGS)

shootout: $(VENV)/.dev ## the checker against those of jax, chex and torch
	$(BIN)/python -m experiments.checker_shootout $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# A .venv is kept if it has a pip or can be given one; else it is made, or made again.
define READY
@$(BIN)/python -m pip --version >/dev/null 2>&1 \
|| $(BIN)/python -m ensurepip >/dev/null 2>&1 \
|| $(PYTHON) -m venv --clear $(VENV) \
|| $(PYTHON) -m virtualenv --quiet --clear $(VENV) \
|| { echo "Could not make $(VENV): $(PYTHON) has neither a whole venv nor virtualenv. On Debian and \
Ubuntu: apt install python3-venv; elsewhere: $(PYTHON) -m pip install virtualenv; or name another Python, \
3.11 or newer: make PYTHON=python3.12" >&2; exit 1; }
endef

# A stamp a set of packages, made again only when pyproject.toml changed: a second call starts at once.
$(VENV)/.experiments: pyproject.toml
	@echo "Installing what the experiments need into $(VENV); on the first call this takes minutes."
	$(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[experiments]"
	@touch $@

$(VENV)/.dev: pyproject.toml
	@echo "Installing what the tests need into $(VENV); on the first call this takes minutes."
	$(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@ $(VENV)/.experiments

# Not runs/: what was trained is the user's.
clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
