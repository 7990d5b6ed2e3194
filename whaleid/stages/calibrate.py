"""Stage `calibrate`: scores into probabilities, and a threshold, found on validation and measured where not found."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from whaleid.core import arrays, files, paths
from whaleid.core.record import Record
from whaleid.identification import validation
from whaleid.identification.calibrated import COMPARED, Calibrated, calibrate
from whaleid.stages import features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whaleid.config import Params


def run(params: Params, variant: str) -> Record:
    """Write what is found on validation for `variant` alone to `paths.calibration`."""
    with files.replacing_folder(paths.calibration(variant)) as folder:
        if params.variants[variant].learn == "all":
            files.write_json({"validated": False}, folder / paths.DECISION)
            print(f"calibrate {variant}: it learns validation's photos too, so there is nothing to calibrate it on")
            return Record()
        return write(params, variant, [variant], folder, paths.calibration(variant))


def write(params: Params, name: str, networks: Sequence[str], folder: Path, place: Path) -> Record:
    """Calibrate `networks` that decide together as `name`; write it to `folder`, which is renamed to `place` later."""
    split, groups, leaks, catalog = (
        files.read_csv(path) for path in (paths.SPLIT, paths.GROUPS, paths.LEAKS, paths.CATALOG)
    )
    calibrated = calibrate(
        features.load({network: network for network in networks}, split["Image"]),
        {network: params.variants[network].scores for network in networks},
        split,
        groups,
        (params.split.unknown_share, validation.duplicate_share(leaks, catalog)),
        params.neighbours,
        partial(arrays.room, folder=folder),
    )
    decision = calibrated.decision
    files.write_csv(calibrated.answers, folder / paths.VALIDATION)
    files.write_csv(calibrated.curve, folder / paths.CURVE)
    scores = pd.DataFrame.from_dict(dict(calibrated.compared), orient="index").reindex(columns=COMPARED)
    files.write_csv(scores.rename_axis("score").reset_index(), folder / paths.SCORES)
    thresholds = {"thresholds": calibrated.thresholds.tolist()}
    files.write_json(decision.as_json() | thresholds, folder / paths.DECISION)
    print(_summary(name, calibrated))
    alone = {f"{key}_{label}": value for label, row in calibrated.compared.items() for key, value in row.items()}
    weights = {f"weight_{score}": weight for score, weight in decision.fusion.weights.items()}
    return Record(
        params={
            "variant": name,
            "unknown_share": params.split.unknown_share,
            "scores": " ".join(decision.fusion.weights),
            "calibration": decision.calibration.method,
            "neighbours": params.neighbours,
        },
        metrics=weights
        | {"bias": decision.fusion.bias}
        | calibrated.threshold_figures
        | alone
        | dict(calibrated.recall),
        artifacts=[place / paths.CURVE, place / paths.SCORES],
        inputs=[*map(paths.features, networks), paths.GROUPS, paths.LEAKS],
        outputs=[place / paths.DECISION, place / paths.VALIDATION],
        dataset=paths.SPLIT,
    )


def _summary(name: str, calibrated: Calibrated) -> str:
    decision, figures, roles = calibrated.decision, calibrated.threshold_figures, calibrated.answers["role"]
    weights = ", ".join(f"{score} {weight:g}" for score, weight in decision.fusion.weights.items())
    counted = np.isin(validation.kinds(roles), ["known", "unknown"]).sum()
    text = (
        f"calibrate {name}: {weights}, new_whale {decision.fusion.bias:g}, calibration {decision.calibration.method}, "
        f"threshold {decision.threshold:g} ({figures['threshold_auto_low']:g} to {figures['threshold_auto_high']:g} by "
        f"part): MAP@5 {figures['map5_auto']:.4f} on {counted:,} validation photos without duplicates"
    )
    if not (roles == "unknown").any() and (roles == "new_whale").any():
        text += "; no whale is held out, so photos labelled new_whale stand for unknown whales"
    return text
