"""The complete pipeline of the preset `real` on real photos, with small photos and few epochs to finish in minutes."""

import json
from pathlib import Path

import pandas as pd
import pytest
from helpers.project import copy_project, run
from ruamel.yaml import YAML

from whaleid.core import paths

pytestmark = [pytest.mark.long, pytest.mark.real]


def test_the_pipeline_of_the_preset_real(real_data: Path, tmp_path: Path) -> None:
    copy_project(tmp_path)
    run(tmp_path, "git", "init", "--quiet")
    run(tmp_path, "python", "-m", "whaleid", "preset", "real", "--root", str(real_data), "--weights", "none")
    yaml = YAML()
    document = yaml.load(tmp_path / "params.yaml")
    document["boxes"] |= {"size": 32, "steps": 20}
    document["pack"] |= {"width": 32, "height": 24}
    for variant in document["variants"].values():
        variant["train"] |= {"epochs": 2, "whales": 80}
    yaml.dump(document, tmp_path / "params.yaml")
    run(tmp_path, "dvc", "repro")
    queries = len(list((real_data / "test").iterdir()))
    predictions = ["phash", "toy", "full", "threshold", "margin", "pairs", "ensemble", "final"]
    assert [*document["predictions"]] == predictions
    for name in predictions:
        submission = pd.read_csv(tmp_path / paths.submission(name))
        assert len(submission) == queries
        assert submission["Id"].str.split().map(len).eq(5).all()
        assert (tmp_path / paths.page(name)).exists()
    figures = {name: json.loads((tmp_path / paths.figures(name)).read_text()) for name in predictions}
    assert [name for name in predictions if "map5" not in figures[name]] == ["final"]  # trained on validation photos
    assert figures["final"]["threshold"] == figures["ensemble"]["threshold"]
    weights = json.loads((tmp_path / paths.ranking("ensemble") / paths.DECISION).read_text())["weights"]
    assert {name.split("_")[0] for name in weights} == {"margin", "pairs", "duplicates"}
    assert (tmp_path / paths.bundle("final") / "bundle.json").exists()
