"""The commands as people type them."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest
from helpers.project import ROOT
from helpers.terminal import whaleid
from ruamel.yaml import YAML

from whaleid.config import Params


def test_help_names_a_command_a_stage() -> None:
    told = whaleid("--help").stdout
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name in [*stages, "score", "submit", "preset", "compare", "import"]:
        assert f" {name} " in told


def test_help_is_instant() -> None:
    def seconds() -> float:
        started = time.perf_counter()
        assert whaleid("--help").returncode == 0
        return time.perf_counter() - started

    assert median(seconds() for _ in range(5)) < 0.5


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, whaleid.cli; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    for name in ("'torch'", "'mlflow'", "'dvc'", "'pandas'", "'numpy'", "'pydantic'", "'rich'"):
        assert name not in loaded


def test_an_error_is_plain(project: Callable[..., Params]) -> None:
    project()
    ended = whaleid("train", "toyy")
    assert ended.returncode == 1
    assert ended.stderr == (
        "error: 'toyy' is no variant in params.yaml. There are: toy, full, threshold, margin, final.\n"
    )


def test_phash_is_predicted_but_neither_trained_nor_bundled(project: Callable[..., Params]) -> None:
    project()
    for stage in ("train", "embed", "calibrate"):
        assert whaleid(stage, "phash").stderr == (
            "error: 'phash' is no variant in params.yaml. There are: toy, full, threshold, margin, final.\n"
        )
    for command in ("bundle", "register"):
        assert whaleid(command, "phash").stderr == (
            "error: 'phash' is no prediction with a network in params.yaml. There are: toy, full, threshold, "
            "margin, final.\n"
        )
    # it is one of those that are ranked, once there is something to rank
    assert whaleid("rank").stderr == (
        "error: data/catalog.csv does not exist: `dvc repro` makes it, and everything that it needs.\n"
    )


@pytest.mark.parametrize("stage", ["rank", "predict", "report"])
def test_all_predictions_are_made_at_once(project: Callable[..., Params], stage: str) -> None:
    project()
    ended = whaleid(stage, "toy")
    assert ended.returncode == 2
    assert "unexpected extra argument" in ended.stderr


def test_an_input_that_is_missing_says_what_to_run(project: Callable[..., Params]) -> None:
    project()
    ended = whaleid("split")
    assert ended.returncode == 1
    assert "data/dedup/unique.csv" in ended.stderr
    assert "dvc repro" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_score(tmp_path: Path) -> None:
    solution, submission = tmp_path / "solution.csv", tmp_path / "submission.csv"
    solution.write_text("Image,Id\na.jpg,w_1\nb.jpg,new_whale\nc.jpg,w_2\n")
    submission.write_text("Image,Id\nb.jpg,w_1 new_whale\na.jpg,w_1 w_2 w_3\nc.jpg,w_3 w_3 w_4 w_2\n")
    # 1, 1/2, and the third distinct label
    assert whaleid("score", str(submission), str(solution)).stdout == "0.61111\n"
    submission.write_text("Image,Id\nb.jpg,w_1\nb.jpg,w_1\nd.jpg,w_1\n")
    ended = whaleid("score", str(submission), str(solution))
    assert ended.returncode == 1
    for said in ("line 3: 'b.jpg' is repeated", "line 4: 'd.jpg' is not asked for", "'a.jpg' is missing"):
        assert said in ended.stderr


def test_compare(project: Callable[..., Params]) -> None:
    project()
    ended = whaleid("compare")
    assert ended.returncode == 1
    assert ended.stderr == (
        "error: There is nothing to compare: none of phash, toy, full, threshold, margin, final has figures in "
        "reports/figures/PREDICTION.json. `dvc repro` predicts them all.\n"
    )
    Path("reports/figures").mkdir(parents=True)
    for name, map5 in (("full", 0.7), ("phash", 0.4)):
        Path("reports/figures", f"{name}.json").write_text(f'{{"map5": {map5}}}', encoding="utf-8")
    printed = whaleid("compare").stdout
    assert re.search(r"^ *phash +0\.400 +-$", printed, re.MULTILINE)
    assert re.search(r"^ *full +0\.700\* +-$", printed, re.MULTILINE)
    assert "Without figures so far: toy, threshold, margin, final.\n" in printed


def test_a_disk_that_fills_up_leaves_the_last_whole_output(project: Callable[..., Params]) -> None:
    project()
    Path("checkpoints").mkdir()
    Path("checkpoints/backbone.safetensors").write_text("whole")
    command = f"ulimit -f 64; exec {sys.executable} -m whaleid backbone"  # no file may grow beyond 64 blocks
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: File too large")
    assert "Outputs are written whole or not at all" in ended.stderr
    assert [(path.name, path.read_text()) for path in Path("checkpoints").iterdir()] == [
        ("backbone.safetensors", "whole")
    ]


@pytest.mark.parametrize("setting", ["maybe", ""])
def test_tracking_is_on_or_off(project: Callable[..., Params], setting: str) -> None:
    project()
    ended = whaleid("dedup", WHALEID_TRACKING=setting)
    assert ended.returncode == 1
    assert ("WHALEID_TRACKING is" in ended.stderr) == (setting not in ("on", "off"))
