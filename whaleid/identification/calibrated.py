"""Networks that decide together, calibrated on validation: the fit as tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from whaleid.core.calibration_files import Calibrated, Inputs
from whaleid.core.labels import Score
from whaleid.identification import crossfit, validation
from whaleid.identification.crossfit import COMPARED, Allocate, CrossFit
from whaleid.identification.figures import threshold_range
from whaleid.identification.validation import Shares


def calibrate(
    name: str, inputs: Inputs, scores: Mapping[str, Sequence[Score]], unknown_share: float, allocate: Allocate
) -> Calibrated:
    """Calibrate networks that decide together as `name`; `scores` are those of each network."""
    shares = Shares(unknown_share, validation.duplicate_share(inputs.leaks, inputs.catalog))
    fit, compared = crossfit.calibrate(inputs.features, scores, inputs.split, inputs.groups, shares, allocate)
    decision = fit.decision
    auto = {"threshold_auto": decision.threshold_auto} | threshold_range(fit.answers, decision.threshold_auto)
    figures = auto | {"map5_auto": [*compared.values()][-1]["map5_no_duplicates"]}
    table = pd.DataFrame.from_dict(compared, orient="index").reindex(columns=COMPARED)
    return Calibrated(
        decision=asdict(decision) | {"thresholds": fit.thresholds.tolist()},
        answers=fit.answers,
        curve=fit.curve,
        scores=table.rename_axis("score").reset_index(),
        params={"variant": name, "unknown_share": shares.unknown, "scores": " ".join(decision.weights)},
        metrics={f"weight_{score}": weight for score, weight in decision.weights.items()}
        | {"bias": decision.bias}
        | {f"calibration_{key}": value for key, value in asdict(decision.calibration).items()}
        | figures
        | {f"{key}_{score}": value for score, row in compared.items() for key, value in row.items()},
        summary=_summary(name, fit, figures),
    )


def _summary(name: str, fit: CrossFit, figures: Mapping[str, float]) -> str:
    decision, roles = fit.decision, fit.answers["role"]
    weights = ", ".join(f"{score} {weight:g}" for score, weight in decision.weights.items())
    counted = np.isin(validation.kinds(roles), ["known", "unknown"]).sum()
    text = (
        f"calibrate {name}: {weights}, new_whale {decision.bias:g}, calibration slope "
        f"{decision.calibration.slope:g} and intercept {decision.calibration.intercept:g}, threshold "
        f"{decision.threshold_auto:g} ({figures['threshold_auto_low']:g} to {figures['threshold_auto_high']:g} by "
        f"fold): MAP@5 {figures['map5_auto']:.4f} on {counted:,} validation photos without duplicates"
    )
    if not (roles == "unknown").any() and (roles == "new_whale").any():
        text += "; no whale is held out, so photos labelled new_whale stand for unknown whales"
    return text
