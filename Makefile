# make repro: run the whole pipeline · make test: run the tests · make test-all: run the tests marked `long` as well
# make lint: run ruff and mypy · make venv: only create the virtual environment
PYTHON ?= python3
ON := . .venv/bin/activate &&
PIP := python -m pip install -qq --disable-pip-version-check -c constraints.txt
VIEW := http://127.0.0.1:5000/\#/experiments/1/runs?viewStateShareKey=predictions&workflowType=machine_learning

.PHONY: repro test test-all venv lint repository
venv: .venv/ready

# DVC needs git: check before a long installation
repository:
	@git rev-parse --git-dir >/dev/null || { echo "DVC needs a git repository that git can open (its message is above). Clone the project, or run: git init && git add . && git commit -m whaleid" >&2; exit 1; }

# the stamp file is written last: after an interruption, the installation starts again
.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "whaleid needs Python 3.11 or newer: make venv PYTHON=python3.11")'
	@echo "Creating .venv with torch, MLflow, DVC and their dependencies: about 6 GB and five minutes, longer on a slow connection."
	@$(PYTHON) -m venv .venv
	@$(ON) $(PIP) -e .
	@touch $@

.venv/ready-dev: .venv/ready
	@echo "Installing the test dependencies into .venv: about a minute."
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

# records its result in docs/reliability.md
test-all: .venv/ready-dev
	$(ON) pytest --quiet -m "" --record

lint: .venv/ready-dev
	$(ON) ruff check && ruff format --check && mypy
