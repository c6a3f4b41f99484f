PYTHON ?= .venv/bin/python

.PHONY: field test lint slow fuzz bench newest oldest help clips

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

# The suite with the newest releases of every library.
newest:
	python3 -m venv --clear .venv-newest
	.venv-newest/bin/python -m pip install --upgrade -e '.[dev]'
	.venv-newest/bin/python -m pytest

# The suite with the oldest releases that pyproject.toml allows; these use what newer releases of their
# own dependencies deprecate.
oldest:
	python3.11 -m venv --clear .venv-oldest
	$(PYTHON) tests/versions.py floors > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install -c .venv-oldest/constraints.txt -e '.[dev]'
	.venv-oldest/bin/python -m pytest -W ignore::DeprecationWarning

# The golden files of the help texts, after a change of options.
# Failures that people reported, each with two more of its kind.
field:
	$(PYTHON) -m pytest -m field

help:
	$(PYTHON) tests/update_help.py

clips:
	$(PYTHON) examples/make_clips.py
