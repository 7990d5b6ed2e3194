"""Stage `calibrate`: scores into probabilities and a threshold, fitted on validation by cross-fitting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from whaleid.core import arrays, features, files, paths
from whaleid.core.record import Record
from whaleid.identification import validation
from whaleid.identification.crossfit import COMPARED, CrossFit, calibrate
from whaleid.identification.figures import threshold_range
from whaleid.identification.validation import Shares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whaleid.config import Params


def run(params: Params, variant: str) -> Record:
    """Calibrate `variant` alone; write the folder `paths.calibration`."""
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
    shares = Shares(params.split.unknown_share, validation.duplicate_share(leaks, catalog))
    fit, compared = calibrate(
        features.load({network: network for network in networks}, split["Image"]),
        {network: params.variants[network].scores for network in networks},
        split,
        groups,
        shares,
        partial(arrays.allocate, folder=folder),
    )
    files.write_csv(fit.answers, folder / paths.VALIDATION)
    files.write_csv(fit.curve, folder / paths.CURVE)
    scores = pd.DataFrame.from_dict(compared, orient="index").reindex(columns=COMPARED)
    files.write_csv(scores.rename_axis("score").reset_index(), folder / paths.SCORES)
    decision = fit.decision
    files.write_json(decision.as_json() | {"thresholds": fit.thresholds.tolist()}, folder / paths.DECISION)
    auto = {"threshold_auto": decision.threshold} | threshold_range(fit.answers, decision.threshold)
    figures = auto | {"map5_auto": [*compared.values()][-1]["map5_no_duplicates"]}
    print(_summary(name, fit, figures))
    return Record(
        params={"variant": name, "unknown_share": shares.unknown, "scores": " ".join(decision.fusion.weights)},
        metrics={f"weight_{score}": weight for score, weight in decision.fusion.weights.items()}
        | {"bias": decision.fusion.bias}
        | {f"calibration_{key}": value for key, value in asdict(decision.calibration).items()}
        | figures
        | {f"{key}_{score}": value for score, row in compared.items() for key, value in row.items()},
        artifacts=[place / paths.CURVE, place / paths.SCORES],
        inputs=[*map(paths.features, networks), paths.GROUPS, paths.LEAKS],
        outputs=[place / paths.DECISION, place / paths.VALIDATION],
        dataset=paths.SPLIT,
    )


def _summary(name: str, fit: CrossFit, figures: Mapping[str, float]) -> str:
    decision, roles = fit.decision, fit.answers["role"]
    weights = ", ".join(f"{score} {weight:g}" for score, weight in decision.fusion.weights.items())
    counted = np.isin(validation.kinds(roles), ["known", "unknown"]).sum()
    text = (
        f"calibrate {name}: {weights}, new_whale {decision.fusion.bias:g}, calibration slope "
        f"{decision.calibration.slope:g} and intercept {decision.calibration.intercept:g}, threshold "
        f"{decision.threshold:g} ({figures['threshold_auto_low']:g} to {figures['threshold_auto_high']:g} by fold): "
        f"MAP@5 {figures['map5_auto']:.4f} on {counted:,} validation photos without duplicates"
    )
    if not (roles == "unknown").any() and (roles == "new_whale").any():
        text += "; no whale is held out, so photos labelled new_whale stand for unknown whales"
    return text
