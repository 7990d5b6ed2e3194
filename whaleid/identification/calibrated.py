"""A prediction calibrated on validation: weights, calibration and threshold, cross-fitted, and each score alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import Score
from whaleid.core.parallel import cores
from whaleid.identification import crossfit, measures, validation
from whaleid.identification.answers import decided, wide
from whaleid.identification.decision import Decision
from whaleid.identification.metrics import reciprocal_ranks
from whaleid.identification.networks import Networks
from whaleid.identification.parts import clusters, parts
from whaleid.identification.similarity import DUPLICATES

COMPARED = ["map5", "map5_no_duplicates", "map5_known"]
"""The figures of each score alone, which is not calibrated: a threshold in its own units ranks as well."""
Room = Callable[[int, tuple[int, int]], list[npt.NDArray[np.float32]]]
"""Takes a number of arrays and their shape; returns them, float32, their values undefined."""


@dataclass(frozen=True)
class Calibrated:
    """What calibration leaves of a prediction."""

    decision: Decision
    """Fitted on all of validation, for the queries to come."""
    thresholds: npt.NDArray[np.float64]
    """(P,) the threshold found without each part of validation."""
    answers: pd.DataFrame
    """The answer to each validation query by what was fitted without its part; the columns of `paths.VALIDATION`."""
    curve: pd.DataFrame
    """`threshold,map5,map5_known,map5_unknown` of these answers, without duplicates."""
    compared: Mapping[str, Mapping[str, float]]
    """`COMPARED` of each score alone and, last, of all together."""
    recall: Mapping[str, float]
    """`neighbour_recall`, where not all photos are compared."""

    @property
    def threshold_figures(self) -> dict[str, float]:
        """The threshold found, its range over the parts of validation, and MAP@5 at it without duplicates."""
        auto = self.decision.threshold
        return {
            "threshold_auto": auto,
            "threshold_auto_low": min(float(self.thresholds.min()), auto),
            "threshold_auto_high": max(float(self.thresholds.max()), auto),
            "map5_auto": [*self.compared.values()][-1]["map5_no_duplicates"],
        }


def calibrate(
    networks: Networks,
    scores: Mapping[str, Sequence[Score]],
    split: pd.DataFrame,
    groups: pd.DataFrame,
    shares: tuple[float, float],
    neighbours: str,
    room: Room,
) -> Calibrated:
    """Weight the scores, calibrate them and find the threshold; compare with each score alone.

    Args:
        networks: that decide together.
        scores: of each network.
        split: `Image,Id,part,role`.
        groups: `group,Image,part,Id`, the photos of each duplicate group.
        shares: of unknown whales among the queries to come that are no duplicates, and of duplicates among all.
        neighbours: `exact` or `approximate`.
        room: for the scores of all queries, (queries, whales + 1) each.
    """
    given = {network: [networks.called(network, score) for score in scores[network]] for network in networks.features}
    names = [*dict.fromkeys(chain.from_iterable(given.values()))]
    asked = validation.queries(split, networks.classes)
    images, photos = asked["Image"].tolist(), validation.gallery(split, held_out=False)
    part = parts(images, asked["role"].tolist(), clusters(asked, groups))
    whales = np.unique(photos["Id"].to_numpy(dtype=np.str_))
    table = room(len(names), (len(images), len(whales) + 1))
    density: list[float] = []
    by_centroid: list[list[str]] = []
    comparison = networks.among(photos, neighbours)
    for block in comparison.scores(names, images, validation.duplicate_evidence(asked, groups), by_centroid=True):
        for room_of, rows in zip(table, block.table, strict=True):
            room_of[len(density) : len(density) + len(block.density)] = rows
        density += block.density.tolist()
        by_centroid += block.by_centroid.tolist()
    queries = crossfit.Queries(asked, part, whales, table, np.array(density), *shares)

    alternatives = _alternatives(given)
    with ThreadPoolExecutor(cores()) as pool:
        fits = list(pool.map(partial(_fit, queries, names), alternatives.values()))
    answers = [_answers(queries, fitted) for fitted in fits]
    compared = {label: _compared(frame, shares) for label, frame in zip(alternatives, answers, strict=True)}
    # the last alternative is the prediction itself
    own = answers[-1].assign(centroid=reciprocal_ranks(by_centroid, asked["truth"].tolist()))
    fitted = fits[-1]
    return Calibrated(fitted.whole, fitted.thresholds, own, fitted.curve, compared, comparison.recall(images))


def _fit(queries: crossfit.Queries, names: Sequence[str], chosen: Sequence[str]) -> crossfit.Fitted:
    """Fit by some of the scores, of which `queries` has those named; calibrate where they are all of them."""
    if chosen == names:
        return crossfit.fit(chosen, queries)
    table = [queries.table[names.index(name)] for name in chosen]
    return crossfit.fit(chosen, replace(queries, table=table), ["none"])


def _compared(answers: pd.DataFrame, shares: tuple[float, float]) -> dict[str, float]:
    figures = measures.answered(decided(answers, answers["threshold"].to_numpy()), np.ones((1, len(answers))), *shares)
    return {key: float(figures[key][0]) for key in COMPARED if key in figures}


def _answers(queries: crossfit.Queries, fitted: crossfit.Fitted) -> pd.DataFrame:
    """Return the columns of `paths.VALIDATION`, but for `centroid`."""
    of_part = dict(zip(np.unique(queries.part).tolist(), fitted.thresholds.tolist(), strict=True))
    rows = queries.asked[["Image", "whale", "role", "truth"]]
    rows = rows.assign(part=queries.part, threshold=[of_part[part] for part in queries.part.tolist()])
    return rows.join(wide(fitted.labels, fitted.values)).assign(uncalibrated=crossfit.rounded(fitted.uncalibrated))


def _alternatives(given: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the sets of scores to compare, by name; the last has all scores of all networks.

    Of one network they are its scores one by one, of several those of each network.
    """
    names = [*dict.fromkeys(chain.from_iterable(given.values()))]
    if len(names) == 1:
        return {names[0]: names}
    rankers = [name for name in names if name != DUPLICATES]  # duplicates alone rank no whales
    sets = {name: [name] for name in rankers}
    if len(given) > 1:
        sets = {network: [name for name in rankers if name in own] for network, own in given.items()}
    if len(rankers) not in (1, len(names)):
        sets["without_duplicates"] = rankers
    return {label: chosen for label, chosen in sets.items() if chosen} | {"all": names}
