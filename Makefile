# make repro: the whole pipeline · make test: the tests · make test-all: those that take long as well
# make lint: ruff and mypy · make venv: only set up
PYTHON ?= python3
ON := . .venv/bin/activate &&
PIP := python -m pip install -qq --disable-pip-version-check -c constraints.txt
VIEW := http://127.0.0.1:5000/\#/experiments/1/runs?viewStateShareKey=predictions&workflowType=machine_learning

.PHONY: repro test test-all venv lint repository
venv: .venv/ready

# DVC versions by git: said before anything is installed
repository:
	@git rev-parse --git-dir >/dev/null 2>&1 || { echo "This folder is no git repository, and DVC needs one. Clone the project, or run: git init && git add . && git commit -m whaleid" >&2; exit 1; }

# the stamps come last: an interrupted installation is taken up again
.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "whaleid needs Python 3.11 or newer: make venv PYTHON=python3.11")'
	@echo "Setting up .venv: torch, MLflow, DVC and what they need. About 6 GB; five minutes, more on a slow line."
	@$(PYTHON) -m venv .venv
	@$(ON) $(PIP) -e .
	@touch $@

.venv/ready-dev: .venv/ready
	@echo "Adding what the tests need to .venv: a minute."
	@$(ON) $(PIP) -e '.[dev]'
	@touch $@

repro: repository .venv/ready
	@$(ON) whaleid check && dvc repro
	@echo
	@echo "Look at reports/pages/margin.html (any threshold), reports/explore/explore.html, and: whaleid compare"
	@echo "Every run: mlflow ui, then open $(VIEW)"
	@echo "Keep this run: git add dvc.lock reports && git commit -m 'First run'"

test: .venv/ready-dev
	$(ON) pytest --quiet

# its result goes into docs/reliability.md
test-all: .venv/ready-dev
	$(ON) pytest --quiet -m "" --record

lint: .venv/ready-dev
	$(ON) ruff check && ruff format --check && mypy
