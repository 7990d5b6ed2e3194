"""Shared by the fault tests: the environment of a project's commands, digests of their outputs and run statuses."""

import hashlib
import os
import re
import sys
from pathlib import Path

from helpers.project import runs

OUTPUTS = ("data", "checkpoints", "models", "features", "calibrations", "rankings", "reports", "submissions")
STAGE_STARTED = re.compile(r"Running stage '(.+)':")
"""Line that `dvc repro` prints at the start of a stage."""
STRAY = re.compile(r"\..+\.(partial|before).*|.+\.unfinished\.safetensors")
"""Temporary files of whaleid, see docs/reliability.md."""


def environment(home: Path, **variables: str) -> dict[str, str]:
    """Return the environment of the processes that these scripts start; caches are kept in `home`."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_", "WHALEID_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    changes = {"PATH": path, "XDG_CACHE_HOME": str(home), "PYTHONUNBUFFERED": "1", "GOMP_SPINCOUNT": "1000"}
    inherited.pop("PYTHONPATH", None)  # a stage runs the code of its own project
    return inherited | changes | variables


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each output file of the pipeline, by relative path; .gitignore files are excluded."""
    files = [path for top in OUTPUTS for path in (folder / top).rglob("*") if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
        if path.name != ".gitignore"
    }


def differing_files(first: dict[str, str], second: dict[str, str]) -> list[str]:
    """Return the names of files that are missing on one side or have different digests."""
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


def temporary_files(folder: Path) -> list[str]:
    """Return the temporary files of whaleid that remain in `folder`."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if STRAY.fullmatch(path.name))


def statuses(folder: Path) -> list[str]:
    """Return the status of each run in the project's store."""
    return [*status_by_run(folder).values()]


def status_by_run(folder: Path) -> dict[str, str]:
    """Return the status of each run in the project's store, by run id."""
    stored = runs(folder) if (folder / "mlflow.db").exists() else []
    return {run.info.run_id: run.info.status for run in stored}
