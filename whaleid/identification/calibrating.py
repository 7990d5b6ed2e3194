"""Which calibration fits validation best: fitted through scikit-learn, chosen by cross-validated log loss."""

from collections.abc import Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from whaleid.identification.calibration import FEATURES, Calibration, Method

METHODS: tuple[Method, ...] = get_args(Method)
USES: dict[Method, list[str]] = {
    "temperature": ["logit"],
    "logistic": ["logit"],
    "logistic_features": list(FEATURES),
}
"""The features of each method that is a logistic function."""
FEW = 50
"""Queries, fewer than which choose no calibration."""
LOOSE = 1e4
"""scikit-learn's C: next to no penalty, but a finite slope where all can be told apart."""


def fit(
    method: Method,
    features: npt.NDArray[np.float64],
    right: npt.NDArray[np.bool_],
    importance: npt.NDArray[np.float64],
) -> Calibration:
    """Return the calibration of this method that has the least log loss.

    `features` is (Q, 3), those of `calibration.FEATURES`; `right` (Q,) whether the best whale is, which some are and
    some are not; `importance` (Q,) how much each counts. Temperature is a slope (Guo et al., "On calibration of modern
    neural networks", ICML 2017), logistic has an intercept too (Platt, 1999), isotonic is any rising line (Zadrozny and
    Elkan, KDD 2002). All values are rounded, so that those on file are those that were used.
    """
    counts = importance * len(right) / importance.sum()
    if method == "none":
        return Calibration()
    if method == "isotonic":
        least = 1 / (len(right) + 2)  # nothing is certain after so many queries
        rising = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
        rising.fit(features[:, 0], right.astype(np.float64), counts)
        knots = zip(rising.X_thresholds_.tolist(), rising.y_thresholds_.tolist(), strict=True)
        return Calibration("isotonic", knots=tuple((round(x, 9), round(y, 5)) for x, y in knots))
    used = USES[method]
    model = LogisticRegression(C=LOOSE, fit_intercept=method != "temperature", solver="newton-cholesky")
    model.fit(features[:, [FEATURES.index(name) for name in used]], right, counts)
    weights = {name: round(float(weight), 5) for name, weight in zip(used, model.coef_[0], strict=True)}
    return Calibration(method, weights, round(float(np.ravel(model.intercept_)[0]), 5))


def choose(
    features: npt.NDArray[np.float64],
    right: npt.NDArray[np.bool_],
    importance: npt.NDArray[np.float64],
    parts: npt.NDArray[np.int64],
    methods: Sequence[Method] = METHODS,
) -> Calibration:
    """Return the calibration of the method that has the least log loss on parts that it was not fitted on.

    Arguments are as of `fit`; `parts` (Q,) says which part each query is in. Of equals the first method is taken.
    """
    found = losses(features, right, importance, parts, methods)
    return fit(min(found, key=lambda method: found[method]), features, right, importance) if found else Calibration()


def losses(
    features: npt.NDArray[np.float64],
    right: npt.NDArray[np.bool_],
    importance: npt.NDArray[np.float64],
    parts: npt.NDArray[np.int64],
    methods: Sequence[Method] = METHODS,
) -> dict[Method, float]:
    """Return the cross-validated log loss of `methods`; arguments are as of `choose`.

    The weights of the scores, from which the features come, are not fitted anew without a part. Left out are all where
    there are too few queries to choose by, or nothing to tell right from wrong; and those that would find a whale less
    probable the surer the fusion is.
    """
    folds = [parts == part for part in np.unique(parts)]
    told = len(right) >= FEW and len(folds) > 1 and all(len(np.unique(right[~of])) == 2 for of in folds)
    found: dict[Method, float] = {}
    for method in methods if told else []:
        said, rises = np.empty(len(right)), True
        for of in folds:
            fitted = fit(method, features[~of], right[~of], importance[~of])
            said[of] = fitted.right(features[of])
            slopes = fitted.weights or {"logit": 1.0}
            # near 1 the logit alone decides
            rises &= slopes["logit"] >= 0 and slopes["logit"] + slopes.get("margin", 0.0) > 0
        if rises:
            found[method] = log_loss(said, right, importance)
    return found


def log_loss(said: npt.NDArray[np.float64], right: npt.NDArray[np.bool_], importance: npt.NDArray[np.float64]) -> float:
    """Return the mean of -log of the probability given to what was the case, in nats."""
    of_case = np.clip(np.where(right, said, 1 - said), 1e-15, 1.0)
    return float(-(importance @ np.log(of_case)) / importance.sum())
