"""`python -m whaleid`. `dvc.yaml` uses it so that each experiment runs the code of its own working copy."""

from whaleid.cli import main

main()
