"""A hand-made folder for calibrate, rank and predict: every figure can be worked out from the tables here."""

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
LIKELY = {  # of CLASSES
    "a3.jpg": [0.60, 0.10, 0.10, 0.10, 0.10],  # at 0.22: w_a, new_whale: 1
    "b2.jpg": [0.40, 0.30, 0.20, 0.06, 0.04],  # w_a, w_b, new_whale: 1/2
    "c2.jpg": [0.70, 0.12, 0.10, 0.05, 0.03],  # w_a, new_whale, w_b, w_c: 1/4; its duplicate says w_c: 1
    "n1.jpg": [0.20, 0.20, 0.20, 0.20, 0.20],  # new_whale: 1
    "n2.jpg": [0.70, 0.10, 0.10, 0.05, 0.05],  # w_a, new_whale: 1/2
    "u1.jpg": [0.55, 0.25, 0.10, 0.05, 0.05],  # w_a, w_b, new_whale: 1/3
    "t1.jpg": [0.10, 0.10, 0.60, 0.10, 0.10],
    "t2.jpg": [0.30, 0.10, 0.06, 0.04, 0.50],
    "t3.jpg": [0.20, 0.20, 0.20, 0.20, 0.20],
    "t4.jpg": [0.04, 0.03, 0.02, 0.90, 0.01],
}
LOOKS = {**dict.fromkeys(["a3.jpg", "b2.jpg", "u1.jpg"], 9.0), **dict.fromkeys(TEST, -9.0)}
"""One more number of embeddings, that photos have in common with others and not with classes: what validation holds
out looks unlike the queries to come, so that w_u, which is no class, is their last candidate."""
NINEFOLD = float(np.log(9))
"""The weight of duplicates that makes the whale of a duplicate nine times as likely."""
NONE = {"slope": 1.0, "intercept": 0.0}
SOLUTION = {"t1.jpg": "w_c", "t2.jpg": "w_e", "t3.jpg": "new_whale", "t4.jpg": "w_a"}


def part_of(image: str) -> str:
    return "test" if image in TEST else "train"


def put(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)


def put_tables() -> None:
    """Write what `catalog`, `dedup` and `split` leave."""
    photos = {**TRAIN, **dict.fromkeys(TEST, "")}
    put(paths.CATALOG, ["Image", "Id", "part"], [(i, photos[i], part_of(i)) for i in photos])
    split = [
        (i, label, "validation" if i in ROLES else "train", ROLES.get(i, "catalogue")) for i, label in TRAIN.items()
    ]
    put(paths.SPLIT, ["Image", "Id", "part", "role"], split)
    groups = [(0, "c1.jpg"), (0, "c2.jpg"), (1, "b1.jpg"), (1, "t2.jpg")]
    put(paths.GROUPS, ["group", "Image", "part", "Id"], [(g, i, part_of(i), photos[i]) for g, i in groups])
    put_leaks(("t2.jpg", "b1.jpg", "w_b", 2, 0.01))
    put(paths.SOLUTION, ["Image", "Id"], [*SOLUTION.items()])


def put_leaks(*leaks: tuple[str, str, str, int, float]) -> None:
    put(paths.LEAKS, ["query", "photo", "Id", "distance", "error"], leaks)


def put_features(
    variant: str,
    classes: Sequence[str] = CLASSES,
    likely: Mapping[str, Sequence[float]] = LIKELY,
    looks: Mapping[str, float] = LOOKS,
) -> None:
    """Write logarithms of probabilities as embeddings and one class an axis: the softmax gives the former back."""
    images = [*dict.fromkeys([*TRAIN, *TEST, *likely])]
    rows = [[*np.log(likely.get(image, [1 / len(classes)] * len(classes))), looks.get(image, 0.0)] for image in images]
    paths.features(variant).parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        paths.features(variant),
        images=np.array(images),
        embeddings=np.array([rows], dtype=np.float32),
        centres=np.eye(len(classes), len(classes) + 1, dtype=np.float32)[None, :, None],
        classes=np.array(classes),
    )


def put_calibration(
    name: str,
    threshold_auto: float = 0.65,
    bias: float = -99.0,
    calibration: Mapping[str, object] = NONE,
    weights: Mapping[str, float] | None = None,
    **further: float,
) -> None:
    """Write a decision: with a weight of 1 the class scores are the logits; that of new_whale is out of the way."""
    decision = {"weights": ({"class": 1.0} | further) if weights is None else dict(weights), "bias": bias}
    paths.calibration(name).mkdir(parents=True, exist_ok=True)
    written = decision | {"calibration": dict(calibration), "threshold_auto": threshold_auto}
    (paths.calibration(name) / paths.DECISION).write_text(json.dumps(written))


def put_validation(
    name: str, evidence: Collection[str] = (), thresholds: Sequence[float] = (0.65,), learnt: Collection[str] = ()
) -> None:
    """Write answers to validation as LIKELY has them, and a curve; `evidence` makes w_c nine times as likely."""
    rows = []
    for number, (image, role) in enumerate(sorted({**ROLES, "n1.jpg": "new_whale_train"}.items())):
        if role in learnt:
            continue
        likely = dict(zip(CLASSES, LIKELY[image], strict=True))
        if image in evidence:
            likely["w_c"] *= 9
        total = sum(likely.values())
        ranked = sorted(likely, key=lambda label: (-likely[label], label))
        whale = TRAIN[image]
        truth = "new_whale" if role == "unknown" else whale
        values = [round(likely[label] / total, 6) for label in ranked]
        threshold = thresholds[number % len(thresholds)]
        centroid = 1 / (1 + ranked.index(truth)) if truth in ranked else 0
        # in order of appearance: a whale each; a photo of no whale is a cluster of its own
        rows.append((image, whale, role, truth, number % 5, number, threshold, *ranked, *values, values[0], centroid))
    named = [f"{kind}{place}" for kind in ("label", "probability") for place in range(1, 6)]
    columns = ["Image", "whale", "role", "truth", "fold", "cluster", "threshold", *named, "uncalibrated", "centroid"]
    put(paths.calibration(name) / paths.VALIDATION, columns, rows)
    put(paths.calibration(name) / paths.CURVE, ["threshold", "map5"], [(0.0, 0.5), (0.65, 0.6), (1.0, 0.4)])


def settings(
    predictions: Mapping[str, Mapping[str, object]] | None = None,
    threshold: float | str = "auto",
    scores: Sequence[str] = ("class", "duplicates"),
    **changes: object,
) -> Params:
    """Return parameters with these predictions alone; a prediction of each variant that is validated is the default.

    What is written has a prediction `final` besides, which `params.yaml` must have.
    """
    yaml = YAML()
    values = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["threshold"] = threshold
    values["split"]["unknown_share"] = 0.3
    for variant in values["variants"].values():
        variant["scores"] = list(scores)
    values["variants"]["second"] = {**values["variants"]["final"], "init": "toy"}
    chosen = predictions or of("toy", "full", "threshold", "margin")
    final = {"final": {"networks": ["final"], "calibrated_by": "margin"}}
    values["predictions"] = {name: dict(each) for name, each in {**of("margin"), **final, **chosen}.items()}
    values |= changes
    with paths.PARAMS.open("w", encoding="utf-8") as file:
        yaml.dump(values, file)
    params = config.load(paths.PARAMS)
    return params.model_copy(update={"predictions": {name: params.predictions[name] for name in chosen}})


def of(*variants: str) -> dict[str, dict[str, object]]:
    """Return predictions of one network each, called as their variants; `phash` has none."""
    return {variant: {"networks": [] if variant == "phash" else [variant]} for variant in variants}
