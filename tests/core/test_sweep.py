"""What killed processes leave beside outputs is swept up, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from whaleid.core import files

ENDED = "999999999"  # no system gives so high a number


def test_only_what_ended_processes_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    there = str(os.getppid())
    gone = [
        f"data/.catalog.{ENDED}.partial.csv",
        f"data/.sample.{ENDED}.partial/train/a.jpg",
        f"data/.sample.{ENDED}.before/train.csv",
        f"reports/histories/.toy.{ENDED}.partial.csv",
        f"reports/.figures.{ENDED}.partial/toy.json",
        f"checkpoints/.toy.{os.getpid()}.partial.safetensors",
        f"calibrations/.toy.{ENDED}.partial/decision.json",
        f"models/.boxes.{ENDED}.partial.safetensors",
        # of outputs that are a whole folder
        f".rankings.{ENDED}.partial/toy/queries.csv",
        f".rankings.{ENDED}.before/toy/queries.csv",
        f".submissions.{ENDED}.partial/toy.csv",
    ]
    kept = [
        f"data/.dedup.{there}.partial/unique.csv",
        f"data/.photos.{10**30}.partial.npy",
        f"data/sample/train/.a.{ENDED}.partial.jpg",
        f"data/catalog.{ENDED}.partial.csv",
        "data/.gitignore",
        "models/toy.unfinished.safetensors",
        f"elsewhere/.toy.{ENDED}.partial.pt",
        f".rankings.{there}.partial/toy/queries.csv",
        f".notes.{ENDED}.partial/mine.txt",
    ]
    for name in gone + kept:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path(f"models/.linked.{ENDED}.before").symlink_to(Path("elsewhere").resolve())
    files.sweep(Path("data/sample"))
    assert sorted(str(path) for path in Path().rglob("*") if not path.is_dir()) == sorted(kept)
    assert list(Path("data").glob(".sample*")) == []
    assert [path.name for path in Path().glob(".[rs]*")] == [f".rankings.{there}.partial"]


def test_a_stage_sweeps_before_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[2]
    (tmp_path / "params.yaml").write_bytes((root / "params.yaml").read_bytes())
    stray = tmp_path / f"data/.catalog.{ENDED}.partial.csv"
    stray.parent.mkdir()
    stray.touch()
    known = os.environ | {"PYTHONPATH": str(root), "WHALEID_TRACKING": "off"}
    command = [sys.executable, "-m", "whaleid", "split"]
    ended = subprocess.run(command, cwd=tmp_path, env=known, capture_output=True, text=True, check=False)
    assert "does not exist: `dvc repro` makes it" in ended.stderr
    assert not stray.exists()
