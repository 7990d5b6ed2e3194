"""The ablation of benchmarks/: the parameters and epochs of each change, and the table of results."""

import importlib
import shutil
from pathlib import Path

import pandas as pd
import pytest
from dvc.utils.hydra import apply_overrides
from helpers.project import ROOT

from whaleid import config, tracking
from whaleid.cli import presets
from whaleid.core.record import Record

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(ROOT / "benchmarks")  # not a package: its scripts import each other by name
    ablation = importlib.import_module("ablation")

PHOTOS = pd.Series([11, 5, 2, 1, 1, 30], ["w1", "w2", "w3", "w4", "w5", "new_whale"])
"""Number of photos by label: twenty of five whales, thirty of `new_whale`."""
CHANGES = {change.name: change for change in ablation.CHANGES}
EXPECTED_PARAMETERS = {
    "the recipe": {},
    "photos not cropped": {"pack.crop": False},
    "crops keep their proportions": {"pack.stretch": False},
    "in colour": {"pack.grey": False},
    "boxes without a margin": {"pack.margin": 0.0},
    "upside-down photos rotated": {"pack.turn": True},
    "last stride kept": {"backbone.fine": False},
    "first layers trained too": {"variants.margin.train.layers": "all"},
    "weight decay 0.05": {"variants.margin.train.weight_decay": 0.05},
    "no augmentation": {"variants.margin.train.augment": False},
    "a mirrored fluke is the same whale": {"variants.margin.train.flip": "augment"},
    "no mirrored flukes": {"variants.margin.train.flip": "off"},
    "whales with a single photo excluded": {"variants.margin.train.min_photos": 2},
    "rare whales twice an epoch": {"variants.margin.train.oversample": 2},
    "four photos of a whale in a batch": {"variants.margin.train.per_whale": 4},
    "new_whale as a class": {"variants.margin.train.new_whale": True},
    "softmax": {
        "variants.margin.train.loss.kind": "softmax",
        "variants.margin.train.loss.scale": 16.0,
        "variants.margin.train.loss.margin": 0.0,
    },
    "ArcFace": {"variants.margin.train.loss.kind": "arcface"},
    "sub-centre ArcFace": {"variants.margin.train.loss.kind": "arcface", "variants.margin.train.loss.centres": 3},
    "triplet, batch-hard": {"variants.margin.train.loss.kind": "triplet", "variants.margin.train.per_whale": 4},
    "embeddings of whole crops": {"variants.margin.embed.zoom": 1.0},
    "embeddings averaged over rotations by ±4°": {"variants.margin.embed.tilt": 4.0},
}
"""By change: the parameters that differ from `whaleid preset real`, except the number of epochs."""


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a `params.yaml` for real photos, in a temporary folder."""
    monkeypatch.chdir(tmp_path)
    Path("whales").mkdir()
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    presets.apply("real", Path("params.yaml"), {"data.root": "whales"})
    return Path("params.yaml")


def parameters(path: Path) -> dict[str, object]:
    """Validate the parameters in `path` and map each key to its value."""
    (row,) = pd.json_normalize(config.load(path).model_dump()).to_dict("records")
    return {str(key): value for key, value in row.items()}


def test_every_change_is_covered_here() -> None:
    assert list(CHANGES) == list(EXPECTED_PARAMETERS)
    assert len(ablation.CHANGES) == len(CHANGES)


@pytest.mark.parametrize("name", EXPECTED_PARAMETERS)
def test_a_change_sets_only_the_parameters_listed_here(real: Path, name: str) -> None:
    before = parameters(real)
    overrides = CHANGES[name].overrides(PHOTOS, 10)
    apply_overrides(real, overrides)
    after = parameters(real)
    assert after.keys() == before.keys()
    changed = {key: value for key, value in after.items() if value != before[key]}
    epochs = changed.pop("variants.margin.train.epochs")
    assert changed == EXPECTED_PARAMETERS[name]
    assert f"variants.margin.train.epochs={epochs}" in overrides


@pytest.mark.parametrize(
    ("name", "epochs"),
    [
        ("the recipe", 10),  # of 20 photos
        ("in colour", 10),
        ("ArcFace", 10),
        ("whales with a single photo excluded", 11),  # of 11 + 5 + 2 = 18
        ("rare whales twice an epoch", 9),  # of 11 + 5 + 2 + 2 + 2 = 22
        ("four photos of a whale in a batch", 6),  # of 12 + 8 + 4 + 4 + 4 = 32
        ("triplet, batch-hard", 6),
        ("new_whale as a class", 4),  # of 20 + 30
    ],
)
def test_a_change_trains_on_about_as_many_photos_as_the_recipe(name: str, epochs: int) -> None:
    assert f"variants.margin.train.epochs={epochs}" in CHANGES[name].overrides(PHOTOS, 10)


def test_a_change_trains_for_at_least_one_epoch() -> None:
    lonely = pd.Series([1, 1, 0], ["w1", "w2", "new_whale"])
    assert "variants.margin.train.epochs=1" in CHANGES["four photos of a whale in a batch"].overrides(lonely, 1)


def test_a_part_of_a_catalogue_has_all_photos_of_its_whales(tmp_path: Path) -> None:
    catalogue, subset = tmp_path / "whole", tmp_path / "part"
    for folder in ("train", "test"):
        (catalogue / folder).mkdir(parents=True)
    labels = [f"w{number:02}" for number in range(20) for _ in range(3)] + ["new_whale"] * 40
    rows = [(f"{row:03}.jpg", label) for row, label in enumerate(labels)]
    for image, _ in rows:
        (catalogue / "train" / image).write_text(image)
    for row in range(40):
        (catalogue / "test" / f"q{row}.jpg").write_text(str(row))
    pd.DataFrame(rows, columns=["Image", "Id"]).to_csv(catalogue / "train.csv", index=False)
    boxes = pd.DataFrame({"Image": [image for image, _ in rows], "x0": 0.25, "y0": 0.0, "x1": 0.75, "y1": 1.0})
    boxes.to_csv(catalogue / "boxes.csv", index=False)
    ablation.subsample(catalogue, 0.25, subset)
    kept = pd.read_csv(subset / "train.csv")
    counts = kept["Id"].value_counts()
    assert set(counts.drop("new_whale")) == {3}
    assert len(counts) == 6  # a quarter of 20 whales, and new_whale
    assert 4 <= counts["new_whale"] <= 16
    assert sorted(path.name for path in (subset / "train").iterdir()) == sorted(kept["Image"])
    assert (subset / "train" / kept["Image"][0]).read_text() == kept["Image"][0]
    assert 4 <= len(list((subset / "test").iterdir())) <= 16
    subset_boxes = pd.read_csv(subset / "boxes.csv")
    assert sorted(subset_boxes["Image"]) == sorted(kept["Image"])
    assert subset_boxes["x0"].tolist() == [0.25] * len(subset_boxes)


def test_keep_only_leaves_a_prediction_and_the_variants_it_needs(real: Path) -> None:
    measure = importlib.import_module("measure")
    before = config.load(real)
    text = real.read_text(encoding="utf-8")
    for prediction, variants in (
        ("margin", ["margin", "pairs"]),  # pairs is needed because margin starts from it
        ("ensemble", ["margin", "pairs"]),
        ("toy", ["toy"]),
        ("threshold", ["toy", "full", "threshold"]),
    ):
        real.write_text(text, encoding="utf-8")
        measure.keep_only(real, prediction)
        kept = config.load(real)
        networks = before.predictions[prediction].networks
        assert kept.predictions == dict.fromkeys((prediction, "final"), config.Prediction(networks=networks))
        assert kept.variants == {name: before.variants[name] for name in variants}
        assert kept.pack == before.pack


def figures(total: float, known: float, unknown: float, with_duplicates: float) -> dict[str, float]:
    """Return the metrics that every experiment has."""
    named = {"map5_no_duplicates": total, "map5_known": known, "map5_unknown": unknown, "map5": with_duplicates}
    return named | {"map5_auto": total, "top1": 0.25}


def test_the_table_shows_paired_differences_from_the_recipe() -> None:
    scores = {"map5_no_duplicates_class": 0.5, "map5_no_duplicates_without_duplicates": 0.625}
    scores |= {"map5_class": 0.25, "map5_known_class": 0.25, "map5_without_duplicates": 0.5}
    results = {
        "the recipe": [
            figures(0.5, 0.25, 0.75, 0.5) | scores | {"map5_no_duplicates_all": 0.5},
            figures(0.7, 0.25, 1.0, 0.5) | scores | {"map5_no_duplicates_all": 0.7},
        ],
        "softmax": [figures(0.4, 0.5, 0.75, 0.375), figures(0.4, 0.5, 0.75, 0.875)],
        "in colour": [figures(0.5, 0.5, 0.5, 0.5), {}],
    }
    assert ablation.table(results) == [
        "| MAP@5 on 2 folds | map5_no_duplicates | map5_known | map5_unknown | map5 |",
        "|---|---|---|---|---|",
        "| the recipe | 0.600 ± 0.141 | 0.250 ± 0.000 | 0.875 ± 0.177 | 0.500 ± 0.000 |",
        "| softmax | -0.200 ± 0.141 | +0.250 ± 0.000 | -0.125 ± 0.177 | +0.125 ± 0.354 |",
        "| in colour | failed | failed | failed | failed |",
        "| scores: class | -0.100 ± 0.141 | +0.000 ± 0.000 |  | -0.250 ± 0.000 |",
        "| scores: without duplicates | +0.025 ± 0.141 |  |  | +0.000 ± 0.000 |",
    ]


def test_the_table_of_one_fold_has_no_deviations() -> None:
    results = {"the recipe": [figures(0.5, 0.25, 0.75, 0.5)], "softmax": [figures(0.25, 0.5, 0.75, 0.625)]}
    assert ablation.table(results)[2:] == [
        "| the recipe | 0.500 | 0.250 | 0.750 | 0.500 |",
        "| softmax | -0.250 | +0.250 | +0.000 | +0.125 |",
    ]


def test_results_are_read_for_the_variant_and_the_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHALEID_TRACKING", "on")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    runs: list[tuple[str, str, str, dict[str, float]]] = [
        ("change-1-fold-0", "calibrate", "margin", {"map5_no_duplicates_class": 0.5, "threshold_auto": 0.375}),
        ("change-1-fold-0", "predict", "margin", {"map5": 0.75, "top1": 0.25, "solution_map5": 0.875}),
        ("change-1-fold-0", "predict", "toy", {"map5": 0.125}),
        ("change-1-fold-1", "predict", "margin", {"map5": 0.0625}),
        ("", "predict", "margin", {"map5_known": 1}),
    ]
    for experiment, stage, variant, metrics in runs:
        monkeypatch.setenv("DVC_EXP_NAME", experiment)
        with tracking.run(stage, [variant]) as tracked:
            tracked.log({variant: Record(metrics=metrics)})
    store = tmp_path / "mlflow.db"
    results = {"map5_no_duplicates_class": 0.5, "map5": 0.75, "top1": 0.25}
    assert ablation.read_metrics(store, "change-1-fold-0") == results
    assert ablation.read_metrics(store, "change-1-fold-1") == {"map5": 0.0625}
    assert ablation.read_metrics(store, "change-2-fold-0") == {}
