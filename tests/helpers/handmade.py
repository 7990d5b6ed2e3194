"""A hand-made project for the stages calibrate, rank and predict: all figures can be computed by hand."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from helpers.project import ROOT
from ruamel.yaml import YAML

from whaleid import config
from whaleid.config import Params
from whaleid.core import paths

TRAIN = {
    **{"a1.jpg": "w_a", "a2.jpg": "w_a", "a3.jpg": "w_a", "b1.jpg": "w_b", "b2.jpg": "w_b"},
    **{"c1.jpg": "w_c", "c2.jpg": "w_c", "d1.jpg": "w_d", "e1.jpg": "w_e", "u1.jpg": "w_u"},
    **{"n1.jpg": "new_whale", "n2.jpg": "new_whale"},
}
TEST = ["t1.jpg", "t2.jpg", "t3.jpg", "t4.jpg"]
ROLES = {
    **{"a3.jpg": "known", "b2.jpg": "known", "u1.jpg": "unknown"},
    **{"n2.jpg": "new_whale", "c2.jpg": "duplicate"},
}
CLASSES = ["w_a", "w_b", "w_c", "w_d", "w_e"]
CLASS_PROBABILITIES = {
    "a3.jpg": [0.60, 0.10, 0.10, 0.10, 0.10],  # at 0.22: w_a, new_whale: 1
    "b2.jpg": [0.40, 0.30, 0.20, 0.06, 0.04],  # w_a, w_b, new_whale: 1/2
    "c2.jpg": [0.70, 0.12, 0.10, 0.05, 0.03],  # w_a, new_whale, w_b, w_c: 1/4; with its duplicate, w_c: 1
    "n1.jpg": [0.20, 0.20, 0.20, 0.20, 0.20],  # new_whale: 1
    "n2.jpg": [0.70, 0.10, 0.10, 0.05, 0.05],  # w_a, new_whale: 1/2
    "u1.jpg": [0.55, 0.25, 0.10, 0.05, 0.05],  # w_a, w_b, new_whale: 1/3
    "t1.jpg": [0.10, 0.10, 0.60, 0.10, 0.10],
    "t2.jpg": [0.30, 0.10, 0.06, 0.04, 0.50],
    "t3.jpg": [0.20, 0.20, 0.20, 0.20, 0.20],
    "t4.jpg": [0.04, 0.03, 0.02, 0.90, 0.01],
}
"""Probability of each of CLASSES, by photo. Comments: the ranking at a threshold of 0.22, and its average precision."""
EXTRA_DIMENSION = {**dict.fromkeys(["a3.jpg", "b2.jpg", "u1.jpg"], 9.0), **dict.fromkeys(TEST, -9.0)}
"""One more dimension of the embeddings, zero in every prototype. It makes held-out photos dissimilar to the queries, so
that w_u, which is not a class, is the last candidate of each query."""
LOG_9 = float(np.log(9))
"""Weight of the score `duplicates` that multiplies the probability of a duplicate's whale by nine."""
IDENTITY = {"slope": 1.0, "intercept": 0.0}
SOLUTION = {"t1.jpg": "w_c", "t2.jpg": "w_e", "t3.jpg": "new_whale", "t4.jpg": "w_a"}


def catalog_part(image: str) -> str:
    return "test" if image in TEST else "train"


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)


def write_tables() -> None:
    """Write the outputs of the stages `catalog`, `dedup` and `split`, and the solution."""
    photos = {**TRAIN, **dict.fromkeys(TEST, "")}
    write_rows(paths.CATALOG, ["Image", "Id", "part"], [(i, photos[i], catalog_part(i)) for i in photos])
    split = [
        (i, label, "validation" if i in ROLES else "train", ROLES.get(i, "catalogue")) for i, label in TRAIN.items()
    ]
    write_rows(paths.SPLIT, ["Image", "Id", "part", "role"], split)
    groups = [(0, "c1.jpg"), (0, "c2.jpg"), (1, "b1.jpg"), (1, "t2.jpg")]
    write_rows(paths.GROUPS, ["group", "Image", "part", "Id"], [(g, i, catalog_part(i), photos[i]) for g, i in groups])
    write_leaks(("t2.jpg", "b1.jpg", "w_b", 2, 0.01))
    write_rows(paths.SOLUTION, ["Image", "Id"], [*SOLUTION.items()])


def write_leaks(*leaks: tuple[str, str, str, int, float]) -> None:
    write_rows(paths.LEAKS, ["query", "photo", "Id", "distance", "error"], leaks)


def write_features(
    variant: str,
    classes: Sequence[str] = CLASSES,
    probabilities: Mapping[str, Sequence[float]] = CLASS_PROBABILITIES,
    extra: Mapping[str, float] = EXTRA_DIMENSION,
) -> None:
    """Write log-probabilities as embeddings and unit vectors as prototypes: the softmax restores the probabilities."""
    images = [*dict.fromkeys([*TRAIN, *TEST, *probabilities])]
    uniform = [1 / len(classes)] * len(classes)
    rows = [[*np.log(probabilities.get(image, uniform)), extra.get(image, 0.0)] for image in images]
    paths.features(variant).parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        paths.features(variant),
        images=np.array(images),
        embeddings=np.array([rows], dtype=np.float32),
        centres=np.eye(len(classes), len(classes) + 1, dtype=np.float32)[None, :, None],
        classes=np.array(classes),
    )


def write_calibration(
    name: str,
    threshold_auto: float = 0.65,
    bias: float = -99.0,
    calibration: Mapping[str, object] = IDENTITY,
    weights: Mapping[str, float] | None = None,
    **other_weights: float,
) -> None:
    """Write a decision with class scores of weight 1, so they are the logits; `bias` makes new_whale's negligible."""
    decision = {"weights": ({"class": 1.0} | other_weights) if weights is None else dict(weights), "bias": bias}
    paths.calibration(name).mkdir(parents=True, exist_ok=True)
    content = decision | {"calibration": dict(calibration), "threshold_auto": threshold_auto}
    (paths.calibration(name) / paths.DECISION).write_text(json.dumps(content))


def write_validation(
    name: str, boosted: Collection[str] = (), thresholds: Sequence[float] = (0.65,), skipped_roles: Collection[str] = ()
) -> None:
    """Write validation predictions from CLASS_PROBABILITIES, and a curve.

    `boosted` photos have nine times the probability of w_c. Photos with a role in `skipped_roles` are excluded.
    """
    rows = []
    for number, (image, role) in enumerate(sorted({**ROLES, "n1.jpg": "new_whale_train"}.items())):
        if role in skipped_roles:
            continue
        probabilities = dict(zip(CLASSES, CLASS_PROBABILITIES[image], strict=True))
        if image in boosted:
            probabilities["w_c"] *= 9
        total = sum(probabilities.values())
        ranked = sorted(probabilities, key=lambda label: (-probabilities[label], label))
        whale = TRAIN[image]
        truth = "new_whale" if role == "unknown" else whale
        values = [round(probabilities[label] / total, 6) for label in ranked]
        threshold = thresholds[number % len(thresholds)]
        centroid = 1 / (1 + ranked.index(truth)) if truth in ranked else 0
        # number % 5 is the fold, number the cluster
        rows.append((image, whale, role, truth, number % 5, number, threshold, *ranked, *values, values[0], centroid))
    ranks = [f"{kind}{rank}" for kind in ("label", "probability") for rank in range(1, 6)]
    columns = ["Image", "whale", "role", "truth", "fold", "cluster", "threshold", *ranks, "uncalibrated", "centroid"]
    write_rows(paths.calibration(name) / paths.VALIDATION, columns, rows)
    write_rows(paths.calibration(name) / paths.CURVE, ["threshold", "map5"], [(0.0, 0.5), (0.65, 0.6), (1.0, 0.4)])


def write_settings(
    predictions: Mapping[str, Mapping[str, object]] | None = None,
    threshold: float | str = "auto",
    scores: Sequence[str] = ("class", "duplicates"),
    **changes: object,
) -> Params:
    """Write params.yaml, and return its parameters with only the predictions `predictions`.

    The default is one prediction per validated variant. The file also has a prediction `final`, which is required.
    """
    yaml = YAML()
    values = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["threshold"] = threshold
    values["split"]["unknown_share"] = 0.3
    for variant in values["variants"].values():
        variant["scores"] = list(scores)
    values["variants"]["second"] = {**values["variants"]["final"], "init": "toy"}
    chosen = predictions or single_networks("toy", "full", "threshold", "margin")
    final = {"final": {"networks": ["final"], "calibrated_by": "margin"}}
    values["predictions"] = {
        name: dict(prediction) for name, prediction in {**single_networks("margin"), **final, **chosen}.items()
    }
    values |= changes
    with paths.PARAMS.open("w", encoding="utf-8") as file:
        yaml.dump(values, file)
    params = config.load(paths.PARAMS)
    return params.model_copy(update={"predictions": {name: params.predictions[name] for name in chosen}})


def single_networks(*variants: str) -> dict[str, dict[str, object]]:
    """Return one prediction per variant, with the variant's name and its network; `phash` has no network."""
    return {variant: {"networks": [] if variant == "phash" else [variant]} for variant in variants}
