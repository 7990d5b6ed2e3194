# make repro: the whole pipeline · make test: the tests · make venv: only set up
PYTHON ?= python3
ON := . .venv/bin/activate &&

.PHONY: repro test venv lint
venv: .venv/ready

# the stamp comes last: an interrupted installation is taken up again
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "whaleid needs Python 3.11 or newer: make venv PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(ON) python -m pip install -c constraints.txt -e '.[dev]'
	touch $@

repro: venv
	$(ON) whaleid check && dvc repro

test: venv
	$(ON) pytest --numprocesses auto --dist loadfile

lint: venv
	$(ON) ruff check && ruff format --check && mypy
