# Everything lives in .venv. `make app` and `make test` set it up themselves, the first time only.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: app test check format bench

app: .venv/.app
	$(BIN)/streamlit run spice_explorer/app.py

# A process for each core, up to four; each brings torch, which takes a gigabyte. A browser wants the machine
# for itself.
test: check
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not browser"
	$(BIN)/python -m pytest -m browser

check: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

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
