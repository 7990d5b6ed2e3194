"""What the project promises of its default catalogue, with the parameters as they come."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers.project import ROOT

from whaleid import config
from whaleid.catalog.split import split
from whaleid.core import paths
from whaleid.core.labels import NEW_WHALE
from whaleid.sample.compose import compose
from whaleid.training.subset import select

DEFAULTS = config.load(ROOT / "params.yaml")
CALIBRATED = [name for name, each in DEFAULTS.predictions.items() if each.networks and each.calibrated_by is None]


def reported(prediction: str) -> dict[str, float]:
    figures: dict[str, float] = json.loads((ROOT / paths.figures(prediction)).read_text(encoding="utf-8"))
    return figures


def test_threshold_beats_duplicates_and_they_beat_new_whale_alone() -> None:
    truth = [entry.label for entry in compose(DEFAULTS.sample, DEFAULTS.seed) if entry.part == "test"]
    new_whale_alone = truth.count(NEW_WHALE) / len(truth)
    assert reported("threshold")["solution_map5"] > reported("phash")["solution_map5"] + 0.05
    assert reported("phash")["solution_map5"] > new_whale_alone + 0.05


@pytest.mark.parametrize("prediction", ["full", "threshold"])
def test_a_trained_network_knows_whales(prediction: str) -> None:
    assert reported(prediction)["map5_known"] > 0.12  # of 230 whales
    assert reported(prediction)["map5_unknown"] > 0.7


@pytest.mark.parametrize("prediction", CALIBRATED)
def test_figures_keep_what_they_promise(prediction: str) -> None:
    figures = reported(prediction)
    # the solution has its own sampling error
    measured, truth = figures["map5"], figures["solution_map5"]
    bound = figures["map5_high"] if truth > measured else figures["map5_low"]
    error = 1.96 * (truth * (1 - truth) / DEFAULTS.sample.queries) ** 0.5
    assert abs(truth - measured) < np.hypot(bound - measured, error)
    assert figures["threshold_auto_low"] <= figures["threshold_auto"] <= figures["threshold_auto_high"]
    assert figures["ece"] < 3 * figures["ece_chance"]
    assert figures["oracle_gain"] < 0.02


def test_toy_has_56_whales_with_about_equally_many_photos() -> None:
    train = [entry for entry in compose(DEFAULTS.sample, DEFAULTS.seed) if entry.part == "train"]
    labels: dict[tuple[int, int], set[str]] = {}
    for entry in train:
        labels.setdefault((entry.whale, entry.number), set()).add(entry.label)
    pictures = [(f"{whale:05}-{number:03}.jpg", *held) for (whale, number), held in labels.items() if len(held) == 1]
    unique = pd.DataFrame(pictures, columns=["Image", "Id"])
    none = pd.DataFrame({"group": [0][:0], "Image": [""][:0], "part": [""][:0], "Id": [""][:0]})
    parts = split(unique, none, DEFAULTS.split, DEFAULTS.seed)
    train_part = parts.loc[parts["part"] == "train", ["Image", "Id"]]
    toy = select(train_part, "toy", DEFAULTS.variants["toy"].train)
    photos = toy["Id"].value_counts()
    assert len(photos) == 56
    assert photos.max() <= 1.5 * photos.min()
