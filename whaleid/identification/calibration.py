"""Platt scaling of the best whale's probability: p' = 1 / (1 + exp(-(slope * logit(p) + intercept))).

The probabilities of a fusion are over- or underconfident. Calibration maps the probability of the best whale to the
share of such queries for which it is correct. The order of the whales does not change. Platt, "Probabilistic outputs
for support vector machines", in *Advances in Large Margin Classifiers*, 1999.

Of the methods compared, Platt scaling has the lowest log loss on held-out folds, 0.334 (temperature scaling 0.338, the
method selected by cross-validation 0.339, isotonic regression 0.347, no calibration 0.357), and the highest MAP@5,
0.350. These are means over four networks on synthetic photos and two on real ones. Isotonic regression overfits the few
validation photos of the synthetic catalogue (docs/measurements.md#calibration).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, FiniteFloat

from whaleid.identification.fusion import TopWhales
from whaleid.identification.ranking import Floats

EPSILON = 1e-6
"""Probabilities are clipped to [EPSILON, 1 - EPSILON], so that their logits are finite."""
MIN_QUERIES = 50
"""Minimum number of queries to fit a calibration on."""
INVERSE_PENALTY = 1e4
"""scikit-learn's C. The penalty is weak, but keeps the slope finite if a threshold separates all correct answers from
all wrong ones."""


@dataclass(frozen=True)
class Calibration:
    """A linear map of the best whale's logit; the default is the identity."""

    slope: Annotated[FiniteFloat, Field(gt=0)] = 1.0
    intercept: FiniteFloat = 0.0

    def predict(self, probability: Floats) -> Floats:
        """Map the uncalibrated probability of the best whale (Q,) to the probability (Q,) that it is correct."""
        calibrated: Floats = 1 / (1 + np.exp(-(self.slope * logit(probability) + self.intercept)))
        return calibrated

    def transform(self, top: TopWhales) -> TopWhales:
        """Calibrate the probabilities of the best whales.

        If the probability of the best whale decreases, those of the other whales decrease by the same factor, and
        `new_whale` gains the difference. If it increases, those of the other whales and `new_whale` decrease in
        proportion, so that all sum to 1.
        """
        if self == Calibration():
            return top
        before = top.probabilities[:, 0]
        after = self.predict(before)
        if_lower = np.divide(after, before, out=np.zeros_like(after), where=before > 0)
        if_higher = np.divide(1 - after, 1 - before, out=np.zeros_like(after), where=before < 1)
        scale = np.minimum(if_lower, if_higher)
        other_whales = np.maximum(top.known_probability - before, top.probabilities[:, 1:].sum(axis=1)) * scale
        probabilities = np.column_stack([after, top.probabilities[:, 1:] * scale[:, None]])
        return TopWhales(top.labels, probabilities, after + other_whales)


def fit(probability: Floats, correct: npt.NDArray[np.bool_], sample_weight: Floats) -> Calibration:
    """Fit a calibration by logistic regression on the logit of the best whale's probability.

    `correct` (Q,) is whether the best whale is the true one. Slope and intercept are rounded to five decimals, so that
    the saved values are those used. The identity is returned for fewer than `MIN_QUERIES` queries, if all or none are
    correct, or if higher probabilities are correct less often.
    """
    if len(correct) < MIN_QUERIES or correct.all() or not correct.any():
        return Calibration()
    from sklearn.linear_model import LogisticRegression  # imported here because `identify` does not fit

    model = LogisticRegression(C=INVERSE_PENALTY, solver="newton-cholesky")
    model.fit(logit(probability)[:, None], correct, sample_weight * (len(correct) / sample_weight.sum()))
    slope, intercept = round(float(model.coef_[0, 0]), 5), round(float(model.intercept_[0]), 5)
    return Calibration(slope, intercept) if slope > 0 else Calibration()


def logit(probability: Floats) -> Floats:
    """Compute the log-odds of probabilities, clipped so that they are finite."""
    clipped = np.clip(probability, EPSILON, 1 - EPSILON)
    odds: Floats = np.log(clipped / (1 - clipped))
    return odds
