# Everything runs in .venv, which the first target that needs it makes. Another Python: make demo PYTHON=/path/to/python3.12

.DELETE_ON_ERROR:
.PHONY: help demo test lint bench clean

PYTHON ?=
export PYTHON
RUN := .venv/bin/python -m
# Stamps are copies of pyproject.toml as it was installed, so nothing is fetched again until it changes.
DEMO := .venv/.installed-demo
DEV := .venv/.installed-dev

help:
	@echo "make demo    500 orders become PDF invoices: the whole of batchctl in a minute"
	@echo "make test    all tests"
	@echo "make lint    ruff and mypy"
	@echo "make bench   speed, against the limits of the machine and against other tools"
	@echo "make clean   removes .venv, caches and what the demo made"

demo: $(DEMO)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" examples/bulk-invoices/demo

test: $(DEV)
	@$(RUN) pytest -n auto --dist worksteal

lint: $(DEV)
	@$(RUN) ruff check .
	@$(RUN) ruff format --check -q .
	@$(RUN) mypy
	@$(RUN) mypy -p invoicing

bench: $(DEV)
	@$(RUN) bench

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info examples/*/out
	find . -name __pycache__ -prune -exec rm -rf {} +

$(DEMO): pyproject.toml tools/setup
	@tools/setup demo

$(DEV): pyproject.toml tools/setup
	@tools/setup dev
