"""Results promised for the default catalogue and parameters, checked in the committed reports."""

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
CALIBRATED = [
    name
    for name, prediction in DEFAULTS.predictions.items()
    if prediction.networks and prediction.calibrated_by is None
]


def load_figures(prediction: str) -> dict[str, float]:
    figures: dict[str, float] = json.loads((ROOT / paths.figures(prediction)).read_text(encoding="utf-8"))
    return figures


def test_threshold_beats_phash_and_phash_beats_new_whale() -> None:
    solution = [entry.label for entry in compose(DEFAULTS.sample, DEFAULTS.seed) if entry.part == "test"]
    new_whale_alone = solution.count(NEW_WHALE) / len(solution)
    assert load_figures("threshold")["solution_map5"] > load_figures("phash")["solution_map5"] + 0.05
    assert load_figures("phash")["solution_map5"] > new_whale_alone + 0.05


@pytest.mark.parametrize("prediction", ["full", "threshold"])
def test_a_trained_network_identifies_whales(prediction: str) -> None:
    assert load_figures(prediction)["map5_known"] > 0.12  # chance is below 0.01 with 230 whales
    assert load_figures(prediction)["map5_unknown"] > 0.7


@pytest.mark.parametrize("prediction", CALIBRATED)
def test_validation_agrees_with_the_solution(prediction: str) -> None:
    figures = load_figures(prediction)
    # the solution has its own sampling error
    validation, solution = figures["map5"], figures["solution_map5"]
    bound = figures["map5_high"] if solution > validation else figures["map5_low"]
    error = 1.96 * (solution * (1 - solution) / DEFAULTS.sample.queries) ** 0.5
    assert abs(solution - validation) < np.hypot(bound - validation, error)
    assert figures["threshold_auto_low"] <= figures["threshold_auto"] <= figures["threshold_auto_high"]
    assert figures["ece"] < 3 * figures["ece_chance"]
    assert figures["oracle_gain"] < 0.02


def test_toy_has_56_whales_with_similar_numbers_of_photos() -> None:
    train = [entry for entry in compose(DEFAULTS.sample, DEFAULTS.seed) if entry.part == "train"]
    labels: dict[tuple[int, int], set[str]] = {}
    for entry in train:
        labels.setdefault((entry.whale, entry.number), set()).add(entry.label)
    rows = [(f"{whale:05}-{number:03}.jpg", *names) for (whale, number), names in labels.items() if len(names) == 1]
    unique = pd.DataFrame(rows, columns=["Image", "Id"])
    no_groups = pd.DataFrame({"group": [0][:0], "Image": [""][:0], "part": [""][:0], "Id": [""][:0]})
    parts = split(unique, no_groups, DEFAULTS.split, DEFAULTS.seed)
    train_part = parts.loc[parts["part"] == "train", ["Image", "Id"]]
    toy = select(train_part, "toy", DEFAULTS.variants["toy"].train)
    photos = toy["Id"].value_counts()
    assert len(photos) == 56
    assert photos.max() <= 1.5 * photos.min()
