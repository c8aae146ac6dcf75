# Two commands do all the set-up: `make mnist` and `make test`. Both build `.venv` on the first call.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: mnist classify test slow lint types format clean

mnist: $(VENV)/.experiments ## train the convnet on real digits with hand-written gradients
	$(BIN)/python -m experiments.mnist $(ARGS)

classify: $(VENV)/.experiments ## classify images with the parameters that `make mnist` saved
	$(BIN)/python -m experiments.classify $(ARGS)

test: $(VENV)/.dev ## the whole quick suite
	$(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# A stamp a set of packages, made again only when pyproject.toml changed: a second call starts at once.
$(VENV)/.experiments: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[experiments]"
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@ $(VENV)/.experiments

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
