"""What killed processes leave beside outputs: the temporary names of `files`, which the next stage sweeps up."""

import os
import re
import shutil
from pathlib import Path

FOLDERS = ("data", "checkpoints", "features", "calibrations", "rankings", "models", "reports", "submissions")
"""Where stages put their outputs; some are one output as a whole, whose temporary name stands beside it."""
NAME = re.compile(r"\.(?P<output>.+)\.(?P<process>\d+)\.(partial|before)(\..*)?")
"""Of a temporary file or folder."""


def sweep(catalogue: Path) -> None:
    """Remove temporary files and folders whose process is gone; the `catalogue` folder, of many photos, is left out.

    As DVC's own locks, this takes a project folder for one machine's at a time.
    """
    for path in [*Path().iterdir()]:
        if (match := NAME.fullmatch(path.name)) and match["output"] in FOLDERS:
            _sweep(path, int(match["process"]))
    for top in FOLDERS:
        for folder, inner, names in os.walk(top):
            for name in [*inner, *names]:
                if match := NAME.fullmatch(name):
                    _sweep(Path(folder, name), int(match["process"]))
            inner[:] = [name for name in inner if Path(folder, name) != catalogue and not NAME.fullmatch(name)]


def _sweep(path: Path, process: int) -> None:
    if not _gone(process):
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _gone(process: int) -> bool:
    if process == os.getpid():
        return True  # an earlier one's, that had the same number: this one has just begun
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False  # another user's; no process has such a number
    return False
