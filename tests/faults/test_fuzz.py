"""The short version of tests/faults/fuzz.py: some readers, few cases, a fixed seed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from faults.fuzz import AuditHook

SCRIPT = Path(__file__).parent / "fuzz.py"
READERS = ["train.csv", "boxes.csv", "submission", "params.yaml", "params", "image", "checkpoint", "packed", "features"]
READERS += ["bundle.json", "coco", "zip", "request"]


@pytest.mark.long
def test_mutated_files_make_no_reader_fail() -> None:
    command = [sys.executable, str(SCRIPT), "--together", "--cases", "15000", "--only", *READERS]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    report = json.loads(process.stdout.splitlines()[-1])
    assert report["faults"] == []
    assert report["cases"] > 8_000


def test_forbidden_actions_are_detected(tmp_path: Path) -> None:
    hook = AuditHook(str(tmp_path))
    hook.on = True
    hook("open", (str(tmp_path / "a"), "w", 577))
    hook("os.mkdir", (str(tmp_path / "a"), 511, -1))
    assert hook.violation == ""
    hook("open", (str(tmp_path / "../b"), "w", 577))
    assert hook.violation.startswith("open ")
    hook.violation = ""
    hook("subprocess.Popen", ("ls", ["ls"], None, None))
    assert hook.violation.startswith("subprocess.Popen")
