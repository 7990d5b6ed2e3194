"""The small version of tests/faults/fuzz.py: some readers, few cases, always the same ones."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from faults.fuzz import Guard

SCRIPT = Path(__file__).parent / "fuzz.py"
READ = ["train.csv", "boxes.csv", "submission", "params.yaml", "params", "image", "checkpoint", "packed", "features"]
READ += ["bundle.json", "coco", "zip", "request"]


@pytest.mark.long
def test_no_changed_file_makes_a_reader_fail() -> None:
    command = [sys.executable, str(SCRIPT), "--together", "--cases", "15000", "--only", *READ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["faults"] == []
    assert found["cases"] > 8_000


def test_what_no_reader_may_do_is_seen(tmp_path: Path) -> None:
    guard = Guard(str(tmp_path))
    guard.on = True
    guard("open", (str(tmp_path / "a"), "w", 577))
    guard("os.mkdir", (str(tmp_path / "a"), 511, -1))
    assert guard.said == ""
    guard("open", (str(tmp_path / "../b"), "w", 577))
    assert guard.said.startswith("open ")
    guard.said = ""
    guard("subprocess.Popen", ("ls", ["ls"], None, None))
    assert guard.said.startswith("subprocess.Popen")
