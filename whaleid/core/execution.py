"""The pipeline execution that this process is part of: `dvc repro`, a DVC experiment, or a stage run directly."""

import getpass
import hashlib
import os
import subprocess
from collections.abc import Mapping

from whaleid.core import paths

MAX_NAMED_PARAMS = 2
"""Maximum number of changed parameters in the name of an execution. If there are more, it shows their number."""


def tags() -> dict[str, str]:
    """Return the MLflow tags that all runs of this pipeline execution share.

    `whaleid.key` identifies the execution. It is a hash of the DVC experiment and its baseline commit or, outside an
    experiment, of the commit and the parameters.
    """
    commit = _git("rev-parse", "HEAD").strip()
    experiment, baseline = os.environ.get("DVC_EXP_NAME", ""), os.environ.get("DVC_EXP_BASELINE_REV", "")
    key = (experiment, baseline) if experiment else (commit, hashlib.md5(paths.PARAMS.read_bytes()).hexdigest())
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"  # the user of a container may have no name
    shared = {
        "mlflow.user": user,
        "mlflow.source.git.commit": commit,
        "whaleid.key": hashlib.md5(repr(key).encode()).hexdigest(),
    }
    return shared | ({"dvc.experiment": experiment, "dvc.baseline": baseline} if experiment else {})


def name(execution: Mapping[str, str]) -> str:
    """Return the name of the execution with these tags, such as `dvc repro 49a6c14` or `threshold=0.2 (crash-grot)`."""
    if experiment := execution.get("dvc.experiment"):
        return f"{_changed_params(execution['dvc.baseline']) or 'as committed'} ({experiment})"
    kind = "dvc repro" if "DVC_STAGE" in os.environ else "whaleid"
    commit = execution["mlflow.source.git.commit"]
    return " ".join(part for part in (kind, commit[:7], _changed_params(commit)) if part)


def _changed_params(baseline: str) -> str:
    """Return the parameters that differ from the commit `baseline`, such as `threshold=0.2`, or their number."""
    from whaleid.config import leaves, parse

    committed = _git("show", f"{baseline}:./{paths.PARAMS}") if baseline else ""
    if not committed:
        return ""
    try:
        before = leaves(parse(committed))
    except Exception:  # ruamel raises many types of errors, and a run must not fail because of its name
        return ""
    now = leaves(parse(paths.PARAMS.read_text(encoding="utf-8")))
    changed = [key for key in before | now if before.get(key) != now.get(key)]
    if len(changed) > MAX_NAMED_PARAMS:
        return f"{len(changed)} parameters"
    return " ".join(f"{key}={now.get(key)}" for key in changed)


def _git(*command: str) -> str:
    """Return the output of a git command; an empty string if git or a repository is missing."""
    try:
        process = subprocess.run(["git", *command], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return process.stdout if process.returncode == 0 else ""
