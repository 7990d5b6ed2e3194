"""The weights of a fusion, found on validation: a conditional logit by Newton's method within limits.

Few parameters over millions of numbers: a look at the table costs far more than the algebra after it, so each look
brings loss, slope and curvature, and there are about as many looks as Newton's method has steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whaleid.identification.fusion import FAR, Fusion, Table

START = 10.0
"""Of every weight: where one stays of which validation tells nothing, as of duplicates where it has none."""
LIMIT = 99.0
"""Of weights and bias: scores that are always right would have no best weight."""
RIDGE = 1e-6
"""How much the loss grows with the square of a weight's way from the start: far less than validation tells."""
ENOUGH = 1e-6
"""Nats. A step that promises less is the last: so near, what Newton's method leaves is about its square."""
NEARBY = 1e-4
"""The same where a search begins at the end of another, to which it is near."""
ROUGH = 1e-2
"""The same where another search is to follow."""
STEPS = 100
SPARSE = 8
"""Of so many queries one is looked at until the weights are about right."""
FEW = 100
"""Queries, fewer than which tell too little to begin with."""
BLOCK = 2**18
"""Scores of all kinds that are looked at together: so many stay in a core's cache from one operation to the next."""
Floats = npt.NDArray[np.float64]
Cells = dict[tuple[float, ...], npt.NDArray[np.int64]]
"""Rows of queries by what they count in each fit: a look at them serves all fits."""


@dataclass(frozen=True)
class Look:
    """The log loss at weights and bias (K + 1,), its slope (K + 1,) and its curvature (K + 1, K + 1)."""

    loss: float
    slope: Floats
    curvature: Floats


def fit_fusion(names: Sequence[str], table: Table, truth: npt.NDArray[np.int64], importance: Floats) -> Fusion:
    """Return the first of `fit_fusions`, for one `importance` (Q,)."""
    return fit_fusions(names, table, truth, importance[None])[0]


def fit_fusions(names: Sequence[str], table: Table, truth: npt.NDArray[np.int64], importances: Floats) -> list[Fusion]:
    """Return, for each row of `importances`, the weights of the scores and the bias of least log loss.

    `table` is the scores named, K of (Q, W + 1); `truth` (Q,) the column of each query's true candidate; `importances`
    (F, Q) how much its loss counts in each of the fits, 1 in sum. Weights are 0 or more. The loss is convex, and the
    search the same every time: Newton's method, each step to the lowest allowed point of a parabola and halved until
    it helps (Nocedal and Wright, *Numerical Optimization*, 2006, chapters 3 and 16). The first fit is sought from doubt
    to certainty, on some of the queries and then on all; the others begin where it ends. All values are rounded to four
    decimals, so that those on file are those that were used.
    """
    start = np.append(np.ones(len(names)), 0.0)  # where all is certain, slopes tell nothing of where to go
    rows = np.flatnonzero(importances[0])
    if len(rows) >= SPARSE * FEW:
        some = np.zeros(len(truth))
        some[rows[::SPARSE]] = importances[0, rows[::SPARSE]]
        start = _search(start, None, 0, table, truth, _cells(some[None] / some.sum()), ROUGH)
    cells = _cells(importances)
    points = [_search(start, None, 0, table, truth, cells, ENOUGH)]
    if len(importances) > 1:
        seen = _seen(points[0], table, truth, cells)
        points += [_search(points[0], seen, fit, table, truth, cells, NEARBY) for fit in range(1, len(importances))]
    return [
        Fusion(dict(zip(names, np.round(point[:-1], 4).tolist(), strict=True)), round(float(point[-1]), 4))
        for point in points
    ]


def _cells(importances: Floats) -> Cells:
    counts, cell = np.unique(importances.T, axis=0, return_inverse=True)
    found = {tuple(each.tolist()): np.flatnonzero(cell.ravel() == index) for index, each in enumerate(counts)}
    return {counts: rows for counts, rows in found.items() if any(counts)}


def _search(
    point: Floats,
    seen: dict[tuple[float, ...], Look] | None,
    fit: int,
    table: Table,
    truth: npt.NDArray[np.int64],
    cells: Cells,
    enough: float,
) -> Floats:
    """Return the lowest allowed point of one of the fits, from `point`, of which `seen` is what is known already.

    The last step is the first that promises less than `enough`.
    """
    least = np.append(np.zeros(len(point) - 1), -LIMIT)
    counted = {counts: rows for counts, rows in cells.items() if counts[fit]}

    def look(at: Floats, seen: dict[tuple[float, ...], Look] | None = None) -> Look:
        return _sum(at, seen or _seen(at, table, truth, counted), fit)

    here = look(point, seen)
    for _ in range(STEPS):
        step = _step(here, point, least)
        promised = -float(here.slope @ step)
        if promised < enough:
            return point + step
        size = 1.0
        # a step must bring some of what the slope promises
        while (there := look(point + size * step)).loss > here.loss - 1e-4 * size * promised and size > 1e-6:
            size /= 2
        point, here = point + size * step, there
    return point


def _sum(point: Floats, seen: dict[tuple[float, ...], Look], fit: int) -> Look:
    """Return what one of the fits makes of the cells, with its ridge."""
    away = point - np.append(np.full(len(point) - 1, START), 0.0)
    looks = [(counts[fit], look) for counts, look in seen.items()]
    return Look(
        sum(count * look.loss for count, look in looks) + RIDGE * float(away @ away),
        sum((count * look.slope for count, look in looks), 2 * RIDGE * away),
        sum((count * look.curvature for count, look in looks), 2 * RIDGE * np.eye(len(point))),
    )


def _step(here: Look, point: Floats, least: Floats) -> Floats:
    """Return the step to the lowest allowed point of the parabola that has this slope and curvature at `point`.

    An active-set search: go to the lowest point of what is free to move, stop at the first limit on the way and hold
    what reached it; once there, let go what would rather leave its limit.
    """
    step = np.zeros(len(point))
    low, high = least - point, LIMIT - point
    held = ((low >= 0) & (here.slope > 0)) | ((high <= 0) & (here.slope < 0))
    for _ in range(STEPS):
        free = np.flatnonzero(~held)
        move = np.zeros(len(point))
        slope = here.slope + here.curvature @ step
        if len(free):
            move[free] = -np.linalg.solve(here.curvature[np.ix_(free, free)], slope[free])
        room = np.where(move < 0, low - step, high - step)
        shares = np.divide(room, move, out=np.full(len(point), np.inf), where=move != 0)
        first = int(shares.argmin())
        if shares[first] < 1:
            step += max(shares[first], 0.0) * move
            step[first] = low[first] if move[first] < 0 else high[first]
            held[first] = True
            continue
        step += move
        slope = here.slope + here.curvature @ step
        inwards = np.where(held, np.where(step <= low, -slope, slope), 0.0)
        if inwards.max() <= 1e-12:
            break
        held[int(inwards.argmax())] = False
    return np.clip(step, low, high)


def _seen(point: Floats, table: Table, truth: npt.NDArray[np.int64], cells: Cells) -> dict[tuple[float, ...], Look]:
    return {counts: _look(point, table, truth, rows) for counts, rows in cells.items()}


def _look(point: Floats, table: Table, truth: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> Look:
    """Return the sum of the log loss of some queries, without the ridge.

    With a candidate's attributes z (its scores, and 1 for `new_whale`), the slope is E[z] less that of the true
    candidate, the curvature E[zz'] - E[z]E[z]', where E is the expectation by the probabilities.
    """
    scores, candidates = len(table), table[0].shape[1]
    weights, bias = point[:-1].astype(np.float32), np.float32(point[-1])
    loss, slope, curvature = 0.0, np.zeros(scores + 1), np.zeros((scores + 1, scores + 1))
    several = max(1, BLOCK // (scores * candidates))
    for first in range(0, len(rows), several):
        of = rows[first : first + several]
        block, true = np.stack([each[of] for each in table]), truth[of]  # (K, B, W + 1), (B,)
        queries = np.arange(len(of))
        flat = block.reshape(scores, -1)
        likely = (weights @ flat).reshape(len(of), candidates)
        likely[:, -1] += bias
        likely -= likely.max(axis=1, keepdims=True)
        of_true = likely[queries, true].astype(np.float64)
        np.maximum(likely, FAR, out=likely)
        np.exp(likely, out=likely)
        sums = likely.sum(axis=1)
        likely /= sums[:, None]
        loss += float((np.log(sums.astype(np.float64)) - of_true).sum())

        weighed = block * likely  # (K, B, W + 1)
        expected = np.column_stack([weighed.sum(axis=2).T, likely[:, -1]]).astype(np.float64)
        attributes = np.column_stack([block[:, queries, true].T, true == candidates - 1])
        slope += (expected - attributes).sum(axis=0)
        curvature -= expected.T @ expected
        curvature[:-1, :-1] += weighed.reshape(scores, -1) @ flat.T
        of_new = weighed[:, :, -1].sum(axis=1, dtype=np.float64)
        curvature[:-1, -1] += of_new
        curvature[-1, :-1] += of_new
        curvature[-1, -1] += float(likely[:, -1].sum(dtype=np.float64))
    return Look(loss, slope, (curvature + curvature.T) / 2)
