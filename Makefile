PYTHON ?= .venv/bin/python

.PHONY: test lint slow fuzz bench clips

test: lint
	$(PYTHON) -m pytest

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

slow:
	$(PYTHON) -m pytest -m slow

fuzz:
	$(PYTHON) -m pytest -m fuzz

bench:
	$(PYTHON) tests/benchmarks/against_plain_script.py

clips:
	$(PYTHON) examples/make_clips.py
