"""`python -m whaleid`: what `dvc.yaml` calls, so that an experiment runs the code of its own working copy."""

from whaleid.cli import main

main()
