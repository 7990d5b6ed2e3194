"""What the project promises of its default catalogue, with the parameters as they come."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from whaleid import config
from whaleid.catalog.split import split
from whaleid.core import paths
from whaleid.core.labels import NEW_WHALE
from whaleid.sample.compose import compose
from whaleid.training.sampler import select

DEFAULTS = config.load(ROOT / "params.yaml")


def reported(variant: str) -> dict[str, float]:
    found: dict[str, float] = json.loads((ROOT / paths.metrics(variant)).read_text(encoding="utf-8"))
    return found


def test_threshold_beats_duplicates_and_they_beat_new_whale_alone() -> None:
    truth = [entry.label for entry in compose(DEFAULTS.sample, DEFAULTS.seed) if entry.part == "test"]
    new_whale_alone = truth.count(NEW_WHALE) / len(truth)
    assert reported("threshold")["solution_map5"] > reported("phash")["solution_map5"] + 0.1
    assert reported("phash")["solution_map5"] > new_whale_alone + 0.05


@pytest.mark.parametrize("variant", ["full", "threshold"])
def test_a_trained_network_knows_whales(variant: str) -> None:
    assert reported(variant)["map5_known"] > 0.3
    assert reported(variant)["map5_unknown"] > 0.7


@pytest.mark.parametrize("variant", [*DEFAULTS.variants, paths.ENSEMBLE])
def test_figures_keep_what_they_promise(variant: str) -> None:
    figures = reported(variant)
    # the truth is of 400 queries, and has chance of its own
    found, truth = figures["map5"], figures["solution_map5"]
    bound = figures["map5_high"] if truth > found else figures["map5_low"]
    assert abs(truth - found) < np.hypot(bound - found, 1.96 * (truth * (1 - truth) / DEFAULTS.sample.queries) ** 0.5)
    assert figures["threshold_auto_low"] <= figures["threshold_auto"] <= figures["threshold_auto_high"]
    assert figures["ece"] < 2 * figures["ece_chance"]
    # what one threshold for all, picked with a look at the answers, would gain
    curve = pd.read_csv(ROOT / paths.threshold_curve(variant))
    assert curve["map5"].max() - figures["map5_auto"] < 0.02


def test_toy_has_56_whales_with_about_equally_many_photos() -> None:
    train = [entry for entry in compose(DEFAULTS.sample, DEFAULTS.seed) if entry.part == "train"]
    labels: dict[tuple[int, int], set[str]] = {}
    for entry in train:
        labels.setdefault((entry.whale, entry.number), set()).add(entry.label)
    pictures = [(f"{whale:05}-{number:03}.jpg", *found) for (whale, number), found in labels.items() if len(found) == 1]
    unique = pd.DataFrame(pictures, columns=["Image", "Id"])
    none = pd.DataFrame({"group": [0][:0], "Image": [""][:0], "part": [""][:0], "Id": [""][:0]})
    toy = select(split(unique, none, DEFAULTS.split, DEFAULTS.seed), "toy", DEFAULTS.variants["toy"])
    photos = toy["Id"].value_counts()
    assert len(photos) == 56
    assert photos.max() <= 1.5 * photos.min()


@pytest.mark.parametrize("variant", ["phash", *DEFAULTS.variants, paths.ENSEMBLE])
def test_the_readme_tells_what_is_reported(variant: str) -> None:
    figures = reported(variant)
    shown = (
        (ROOT / "README.md").read_text(encoding="utf-8").replace("**", "").replace("ensemble` of the two", "ensemble`")
    )
    shown = shown.replace("\N{EN DASH}", "-")
    (row,) = [line for line in shown.splitlines() if line.startswith(f"| `{variant}` | 0.")]
    rounded = {key: f"{value:.3f}" for key, value in figures.items()}
    interval = f"{rounded['map5']} ({rounded['map5_low']}-{rounded['map5_high']})"
    others = [rounded[key] for key in ("map5_no_duplicates", "map5_known", "map5_unknown", "solution_map5")]
    assert [cell.strip() for cell in row.strip("|").split("|")][1:] == [interval, *others]


def test_the_readme_tells_what_final_reaches() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert (
        f"| `final`, which learns from validation too | | | | | **{reported('final')['solution_map5']:.3f}** |" in text
    )
