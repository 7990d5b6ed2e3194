"""Stage `calibrate`: scores into probabilities, and a threshold, found on validation and measured where not found."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core import files, paths
from whaleid.core.parallel import cores
from whaleid.core.record import Record
from whaleid.identification import crossfit, measures, validation
from whaleid.identification.answers import decided, wide
from whaleid.identification.decision import Decision
from whaleid.identification.metrics import reciprocal_ranks
from whaleid.identification.parts import clusters, parts
from whaleid.identification.similarity import DUPLICATES
from whaleid.stages import features

if TYPE_CHECKING:
    from whaleid.config import Params

COMPARED = ["map5", "map5_no_duplicates", "map5_known"]
"""The figures of each score alone, which is not calibrated: a threshold in its own units ranks as well."""

HELD = 2**30
"""Bytes of scores that are held in memory; more lie in a file."""


def run(params: Params, variant: str) -> Record:
    """Weigh the scores, calibrate them and find the threshold; compare with each score alone.

    Written are the decision for the queries to come, fitted on all of validation, and answers to validation itself by
    decisions that were fitted without the part they answer.
    """
    split, groups, leaks = (files.read_csv(path) for path in (paths.SPLIT, paths.GROUPS, paths.LEAKS))
    shares = params.split.unknown_share, validation.duplicate_share(leaks, files.read_csv(paths.CATALOG))
    networks = features.load(params.networks_of(variant), split["Image"])
    given = {
        network: [networks.called(network, score) for score in params.settings_of(network).scores]
        for network in networks.features
    }
    names = [*dict.fromkeys(chain.from_iterable(given.values()))]
    asked = validation.queries(split, networks.classes)
    images, photos = asked["Image"].tolist(), validation.gallery(split, held_out=False)
    part = parts(images, asked["role"].tolist(), clusters(asked, groups))
    whales = np.unique(photos["Id"].to_numpy(dtype=np.str_))
    table = _room(len(names), (len(images), len(whales) + 1))
    density: list[float] = []
    by_centroid: list[list[str]] = []
    among = networks.among(photos, params.neighbours)
    for scores in among.scores(names, images, validation.duplicate_evidence(asked, groups), by_centroid=True):
        for each, found in zip(table, scores.table, strict=True):
            each[len(density) : len(density) + len(scores.density)] = found
        density += scores.density.tolist()
        by_centroid += scores.by_centroid.tolist()
    queries = crossfit.Queries(asked, part, whales, table, np.array(density), *shares)

    alternatives = _alternatives(given)
    with ThreadPoolExecutor(cores()) as pool:
        fits = list(pool.map(partial(_fit, queries, names), alternatives.values()))
    answers = [_answers(queries, fitted) for fitted in fits]
    compared = {label: _compared(frame, shares) for label, frame in zip(alternatives, answers, strict=True)}
    # the last alternative is the variant itself
    fitted, own = fits[-1], answers[-1]
    own["centroid"] = reciprocal_ranks(by_centroid, asked["truth"].tolist())
    decision, thresholds = fitted.whole, fitted.thresholds
    figures = {
        "threshold_auto": decision.threshold,
        "threshold_auto_low": min(float(thresholds.min()), decision.threshold),
        "threshold_auto_high": max(float(thresholds.max()), decision.threshold),
        "map5_auto": [*compared.values()][-1]["map5_no_duplicates"],
    }
    files.write_csv(own, paths.validation(variant))
    files.write_csv(fitted.curve, paths.threshold_curve(variant))
    shown = pd.DataFrame.from_dict(compared, orient="index").reindex(columns=COMPARED)
    files.write_csv(shown.rename_axis("score").reset_index(), paths.scores(variant))
    files.write_json(decision.as_json() | {"thresholds": thresholds.tolist()}, paths.calibration(variant))
    print(_summary(variant, decision, figures, asked["role"]))
    alone = {f"{figure}_{label}": value for label, found in compared.items() for figure, value in found.items()}
    weights = {f"weight_{name}": weight for name, weight in decision.fusion.weights.items()}
    return Record(
        params={
            "variant": variant,
            "unknown_share": params.split.unknown_share,
            "scores": " ".join(names),
            "calibration": decision.calibration.method,
            "neighbours": params.neighbours,
        },
        metrics=weights | {"bias": decision.fusion.bias} | figures | alone | among.recall(images),
        artifacts=[paths.threshold_curve(variant), paths.scores(variant)],
        inputs=[*map(paths.features, networks.features), paths.GROUPS, paths.LEAKS],
        outputs=[paths.calibration(variant), paths.validation(variant)],
        dataset=paths.SPLIT,
    )


def _room(scores: int, shape: tuple[int, int]) -> list[npt.NDArray[np.float32]]:
    """Return room for `scores` arrays of a `shape`, float32: beyond `HELD` in a file without a name beside the outputs.

    The system keeps of it in memory what it has room for, and takes it away with this process.
    """
    size = shape[0] * shape[1] * np.dtype(np.float32).itemsize
    if scores * size <= HELD:
        return [np.empty(shape, dtype=np.float32) for _ in range(scores)]
    folder = paths.calibration("any").parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(scores * size)
        if hasattr(os, "posix_fallocate"):  # that there is no space left is told now, by an error
            os.posix_fallocate(file.fileno(), 0, scores * size)
        return [np.memmap(file, np.float32, "r+", offset=number * size, shape=shape) for number in range(scores)]


def _fit(queries: crossfit.Queries, names: Sequence[str], chosen: Sequence[str]) -> crossfit.Fitted:
    """Fit by some of the scores, of which `queries` has those named; calibrate where they are all of them."""
    if chosen == names:
        return crossfit.fit(chosen, queries)
    table = [queries.table[names.index(name)] for name in chosen]
    return crossfit.fit(chosen, replace(queries, table=table), ["none"])


def _compared(answers: pd.DataFrame, shares: tuple[float, float]) -> dict[str, float]:
    found = measures.answered(decided(answers, answers["threshold"].to_numpy()), np.ones((1, len(answers))), *shares)
    return {key: float(found[key][0]) for key in COMPARED if key in found}


def _answers(queries: crossfit.Queries, fitted: crossfit.Fitted) -> pd.DataFrame:
    """Return the columns of `paths.validation`, but for `centroid`."""
    asked = queries.asked[["Image", "whale", "role", "truth"]]
    of_part = dict(zip(np.unique(queries.part).tolist(), fitted.thresholds.tolist(), strict=True))
    asked = asked.assign(part=queries.part, threshold=[of_part[part] for part in queries.part.tolist()])
    return asked.join(wide(fitted.labels, fitted.values)).assign(uncalibrated=crossfit.rounded(fitted.uncalibrated))


def _summary(variant: str, decision: Decision, figures: Mapping[str, float], roles: pd.Series[str]) -> str:
    weights = ", ".join(f"{name} {weight:g}" for name, weight in decision.fusion.weights.items())
    counted = np.isin(validation.kinds(roles), ["known", "unknown"]).sum()
    lowest, highest = figures["threshold_auto_low"], figures["threshold_auto_high"]
    said = (
        f"calibrate {variant}: {weights}, new_whale {decision.fusion.bias:g}, calibration "
        f"{decision.calibration.method}, threshold {decision.threshold:g} ({lowest:g} to {highest:g} by part): MAP@5 "
        f"{figures['map5_auto']:.4f} on {counted:,} validation photos without duplicates"
    )
    if not (roles == "unknown").any() and (roles == "new_whale").any():
        said += "; no whale is held out, so photos labelled new_whale stand for unknown whales"
    return said


def _alternatives(given: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the sets of scores to compare by what they are called; the last has all that networks have `given`.

    Of one network they are its scores one by one, of several those of each network.
    """
    names = [*dict.fromkeys(chain.from_iterable(given.values()))]
    if len(names) == 1:
        return {names[0]: names}
    rankers = [name for name in names if name != DUPLICATES]  # duplicates alone rank no whales
    found = {name: [name] for name in rankers}
    if len(given) > 1:
        found = {network: [name for name in rankers if name in own] for network, own in given.items()}
    if len(rankers) not in (1, len(names)):
        found["without_duplicates"] = rankers
    return {label: chosen for label, chosen in found.items() if chosen} | {"all": names}
