"""What the tests of faults share: how a project's commands are started, and the bytes of what they leave."""

import hashlib
import os
import re
import sys
from pathlib import Path

from helpers.project import runs

OUTPUTS = ("data", "checkpoints", "models", "features", "calibrations", "rankings", "reports", "submissions")
STAGE_STARTED = re.compile(r"Running stage '(.+)':")
"""What `dvc repro` says when it comes to a stage."""
STRAY = re.compile(r"\..+\.(partial|before).*|.+\.unfinished\.safetensors")
"""The temporary names of whaleid: docs/reliability.md."""


def environment(home: Path, **further: str) -> dict[str, str]:
    """Return what every process of these scripts is started with: what is known of photos is kept in `home`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_", "WHALEID_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "XDG_CACHE_HOME": str(home), "PYTHONUNBUFFERED": "1", "GOMP_SPINCOUNT": "1000"}
    kept.pop("PYTHONPATH", None)  # a stage runs the code of its own project
    return kept | own | further


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that the pipeline left; what DVC tells git is none of it."""
    found = [path for top in OUTPUTS for path in (folder / top).rglob("*") if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(found)
        if path.name != ".gitignore"
    }


def differing_files(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Return the files that only one has, or that differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def temporary_files(folder: Path) -> list[str]:
    """Return what was left under a temporary name of whaleid."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if STRAY.fullmatch(path.name))


def statuses(folder: Path) -> list[str]:
    """Return how each run in the project's store stands."""
    return [*status_by_run(folder).values()]


def status_by_run(folder: Path) -> dict[str, str]:
    """Return how each run in the project's store stands, by its id."""
    stored = runs(folder) if (folder / "mlflow.db").exists() else []
    return {each.info.run_id: each.info.status for each in stored}
