"""Stage `calibrate`: a variant's temperature and threshold, found on validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from whaleid import files, paths
from whaleid.identify.calibration import best_threshold, fit_temperature, threshold_curve
from whaleid.identify.similarity import probabilities
from whaleid.identify.validation import queries
from whaleid.labels import NEW_WHALE
from whaleid.record import Record
from whaleid.stages import features

if TYPE_CHECKING:
    from whaleid.params import Params


def run(params: Params, variant: str) -> Record:
    """Fit the temperature, draw MAP@5 over all thresholds and take the best one."""
    split = files.read_csv(paths.SPLIT)
    found = features.load(variant, split["Image"])
    classes = found.classes.tolist()
    # duplicates stay out: they would reward remembering a picture, and evidence decides them where it is used
    asked = queries(split, classes)
    asked = asked[asked["role"] != "duplicate"]
    truth = asked["truth"].to_numpy(dtype=np.str_)
    logits = found.logits(asked["Image"])

    column = {label: index for index, label in enumerate(classes)}
    learnt = np.isin(truth, found.classes)
    temperature = (
        fit_temperature(logits[learnt], np.array([column[label] for label in truth[learnt]])) if learnt.any() else 1.0
    )
    whales = found.classes != NEW_WHALE
    likely = probabilities(logits, temperature)[:, whales]
    curve = threshold_curve(likely, found.classes[whales], truth, params.split.unknown_share)
    threshold, best = best_threshold(curve), float(curve["map5"].max())
    figures = {"temperature": temperature, "threshold_auto": threshold, "map5_auto": best}
    files.write_csv(curve, paths.threshold_curve(variant))
    files.write_json(figures, paths.calibration(variant))
    print(
        f"calibrate {variant}: temperature {temperature:g}, best threshold {threshold:g}: "
        f"MAP@5 {best:.4f} on {len(asked):,} validation photos without duplicates"
    )
    return Record(
        params={"variant": variant, "unknown_share": params.split.unknown_share},
        metrics=figures,
        artifacts=[paths.threshold_curve(variant)],
        inputs=[paths.features(variant)],
        outputs=[paths.calibration(variant)],
        dataset=paths.SPLIT,
    )
