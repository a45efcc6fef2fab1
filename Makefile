# What people and CI type. `make test` and `make demo` install what they need into .venv.
PYTHON ?= python3.11
BIN := .venv/bin
PACKAGES := latkit.py devices profiler lut search export tests bench

.PHONY: help install check test integration demo gpu clean

help:
	@echo "make demo    install, then the whole road on this CPU: about five minutes"
	@echo "make test    install, check, run every test"
	@echo "make check   format, lint, types"
	@echo "make integration   as root on Debian: what tests of ssh, adb, Chromium and Arm need"
	@echo "make gpu     the tests that need a CUDA device"

# One pass with every version pinned; repeated only when a requirement changes.
$(BIN)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

install: $(BIN)/installed

check: install
	$(BIN)/ruff format --check $(PACKAGES)
	$(BIN)/ruff check $(PACKAGES)
	$(BIN)/mypy

test: check
	$(BIN)/pytest -m "not gpu" -n 2 --dist loadfile --no-loadscope-reorder

integration: install
	PYTHON=$(BIN)/python bash tests/integration_setup.sh

gpu: install
	$(BIN)/pytest -m gpu

demo: install
	$(BIN)/latkit demo -o demo

clean:
	rm -rf .venv demo runs dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
