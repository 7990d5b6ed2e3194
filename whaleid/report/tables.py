"""The tables behind a report's pictures: the answers on validation in, a DataFrame out."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import NEW_WHALE, PLACES
from whaleid.identification.validation import kinds

BINS = 10
"""Of a reliability diagram, equally wide."""
SCORE_BINS = 20
PHOTOS = (1, 2, 3, 4, 5, 6, 10, 20)
"""The least number of photos of each class of whales."""
SHARES: npt.NDArray[np.float64] = np.arange(21) / 20


def gains(answers: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return (Q,) what each query gives to MAP@5: 1 / `rank`, 0 where `rank` is 0."""
    ranks = answers["rank"].to_numpy(dtype=np.float64)
    return np.where(ranks > 0, 1 / np.maximum(ranks, 1), 0.0)


def right(answers: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return (Q,) whether the best whale is the true one."""
    return (answers["label1"] == answers["truth"]).to_numpy()


def unknown_share(answers: pd.DataFrame, duplicate_share: float) -> pd.DataFrame:
    """Return MAP@5 by the share of queries of no known whale: `unknown_share,map5,all_new_whale`, in steps of 0.05.

    MAP@5 is a mean, so mixing the kinds' means is exact. Duplicates are a share of `duplicate_share` throughout;
    a kind without queries leaves its share to the others. `all_new_whale` answers `new_whale` to everything.
    """
    kind, gained = kinds(answers["role"]), gains(answers)
    of = {name: float(gained[kind == name].mean()) for name in ("known", "unknown", "duplicate") if name in kind}
    duplicates = duplicate_share if "duplicate" in of else 0.0
    named_new = (answers["truth"] == NEW_WHALE).to_numpy()[kind == "duplicate"]
    fresh = (1 - SHARES) * of.get("known", of.get("unknown", 0.0)) + SHARES * of.get("unknown", of.get("known", 0.0))
    return pd.DataFrame(
        {
            "unknown_share": SHARES,
            "map5": (1 - duplicates) * fresh + duplicates * of.get("duplicate", 0.0),
            "all_new_whale": (1 - duplicates) * SHARES + duplicates * (named_new.mean() if len(named_new) else 0.0),
        }
    )


def reliability(answers: pd.DataFrame, importance: npt.NDArray[np.float64]) -> pd.DataFrame:
    """Return how often the best whale is right, by its probability: `calibrated,least,most,queries,said,right`.

    `importance` (Q,) is how much each query counts; those of 0 are left out. Bins (`least`, `most`] are equally wide,
    the first with 0; one without queries has no row. `said` is the mean probability, `right` the share that is
    right. Rows of `calibrated` 0 are as before calibration.
    """
    counted = importance > 0
    true, weights = right(answers)[counted], importance[counted]
    rows = []
    for calibrated, column in enumerate(("uncalibrated", "probability1")):
        values = answers[column].to_numpy(dtype=np.float64)[counted]
        bins = np.clip(np.ceil(values * BINS).astype(int) - 1, 0, BINS - 1)
        for number in np.unique(bins):
            of = bins == number
            said, hit = (float(np.average(x[of], weights=weights[of])) for x in (values, true))
            rows.append((calibrated, number / BINS, (number + 1) / BINS, int(of.sum()), said, hit))
    return pd.DataFrame(rows, columns=["calibrated", "least", "most", "queries", "said", "right"])


def scores(answers: pd.DataFrame) -> pd.DataFrame:
    """Count queries by the best whale's probability: `least,most,known_right,known_wrong,unknown`.

    Bins [`least`, `most`) are equally wide, the last with 1.
    """
    kind, true, values = kinds(answers["role"]), right(answers), answers["probability1"].to_numpy(dtype=np.float64)
    edges = np.arange(SCORE_BINS + 1) / SCORE_BINS
    shown = {
        "known_right": (kind == "known") & true,
        "known_wrong": (kind == "known") & ~true,
        "unknown": kind == "unknown",
    }
    counts = {name: np.histogram(values[of], edges)[0] for name, of in shown.items()}
    return pd.DataFrame({"least": edges[:-1], "most": edges[1:], **counts})


def ranks(answers: pd.DataFrame) -> pd.DataFrame:
    """Count queries of known whales by the rank of the truth: `rank,queries,whales_alone`; rank 0 is beyond five.

    `queries` has `new_whale` ranked at the threshold, `whales_alone` leaves it out.
    """
    known = answers[kinds(answers["role"]) == "known"]
    labels = known[[f"label{place}" for place in range(1, PLACES + 1)]].to_numpy()
    found = labels == known["truth"].to_numpy()[:, None]
    alone = np.where(found.any(axis=1), found.argmax(axis=1) + 1, 0)
    order = [*range(1, PLACES + 1), 0]
    counts = [np.bincount(of.astype(int), minlength=PLACES + 1)[order] for of in (known["rank"].to_numpy(), alone)]
    return pd.DataFrame({"rank": order, "queries": counts[0], "whales_alone": counts[1]})


def photos(answers: pd.DataFrame, photos_of_whale: "pd.Series[int]") -> pd.DataFrame:
    """Return MAP@5 of the queries of known whales by their whale's photos: `least,most,queries,map5`.

    `photos_of_whale` is the number of photos that validation is compared with, by whale. Classes without queries have
    no row.
    """
    of_known = kinds(answers["role"]) == "known"
    number = answers.loc[of_known, "whale"].map(photos_of_whale).fillna(0).to_numpy(dtype=np.int64)
    gained = gains(answers)[of_known]
    classes = np.searchsorted(PHOTOS, number, side="right")  # 0: whales without a photo to compare with
    rows = []
    for of in np.unique(classes):
        held = classes == of
        least = PHOTOS[of - 1] if of else 0
        most = PHOTOS[of] - 1 if of < len(PHOTOS) else int(number.max())
        rows.append((least, most, int(held.sum()), float(gained[held].mean())))
    return pd.DataFrame(rows, columns=["least", "most", "queries", "map5"])
