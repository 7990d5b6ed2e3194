"""What validation asks of a variant, what it may compare with, and how much each of its queries counts."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.errors import WhaleidError
from whaleid.core.labels import NEW_WHALE


def queries(split: pd.DataFrame, classes: Collection[str]) -> pd.DataFrame:
    """Return the validation queries of a variant with these classes: `Image,whale,truth,role`, sorted by Image.

    `split` is `Image,Id,part,role`. Queries are its validation rows; where `new_whale` is no class, also the
    training photos of that label, as role `new_whale_train`: the variant itself has not learnt them, though one that
    its hidden layers come from may have, so they are measured apart and count for nothing else. `whale` is the photo's
    own label; so is the truth, except that of the role `unknown` it is `new_whale`.

    Raises:
        WhaleidError: there are none but duplicates.
    """
    found = split[["Image", "Id", "Id", "role"]].set_axis(["Image", "whale", "truth", "role"], axis=1)
    asked = split["part"] == "validation"
    if NEW_WHALE not in classes:
        unlearnt = (split["part"] == "train") & (split["Id"] == NEW_WHALE)
        found.loc[unlearnt, "role"] = "new_whale_train"
        asked |= unlearnt
    found.loc[found["role"] == "unknown", "truth"] = NEW_WHALE
    found = found[asked].sort_values("Image", ignore_index=True)
    if found["role"].isin(["duplicate", "new_whale_train"]).all():
        raise WhaleidError("Validation has no queries: raise split.known, split.unknown or split.new_whale.")
    return found


def gallery(split: pd.DataFrame, held_out: bool) -> pd.DataFrame:
    """Return the photos of named whales that queries are compared with, `Image,Id`: one a duplicate group.

    `split` is `Image,Id,part,role`. Validation is compared with its training photos; queries to come with those that
    validation held out as well, where `held_out` says so.
    """
    unique = split["role"] != "duplicate" if held_out else split["part"] == "train"
    return split.loc[unique & (split["Id"] != NEW_WHALE), ["Image", "Id"]]


def duplicate_evidence(asked: pd.DataFrame, groups: pd.DataFrame) -> list[list[str]]:
    """Return, for each query, the labels of its duplicates, as if it were not labelled itself.

    `asked` is the result of `queries`, `groups` is `group,Image,part,Id`. Only the role `duplicate` has evidence:
    the labels of the other labelled photos of its group, in order of their Image.
    """
    labelled = groups[groups["part"] == "train"].sort_values("Image")
    members: dict[int, dict[str, str]] = {}
    for group, image, label in zip(labelled["group"], labelled["Image"], labelled["Id"], strict=True):
        members.setdefault(group, {})[image] = label
    of_photo = {image: photos for photos in members.values() for image in photos}
    return [
        [label for other, label in of_photo[image].items() if other != image] if role == "duplicate" else []
        for image, role in zip(asked["Image"], asked["role"], strict=True)
    ]


def duplicate_share(leaks: pd.DataFrame, catalog: pd.DataFrame) -> float:
    """Return how many of the queries to come duplicate a labelled photo; `leaks` has a row a `query` and photo.

    Of none, that is 0: it is photos still to be taken that are expected.
    """
    return float(leaks["query"].nunique() / max(1, (catalog["part"] == "test").sum()))


def kinds(roles: pd.Series[str]) -> npt.NDArray[np.str_]:
    """Return (Q,) `known`, `unknown`, `duplicate` or, where a query counts in no overall figure, an empty string.

    `roles` (Q,) are those of `queries`. Certain unknowns are photos of whales that were held out whole. A photo
    labelled `new_whale` may be of a known whale that nobody recognised, so it counts apart; but where validation holds
    out no whale, those of the role `new_whale` take their place.
    """
    unknown = "unknown" if (roles == "unknown").any() else "new_whale"
    said = {"known": "known", unknown: "unknown", "duplicate": "duplicate"}
    return np.array([said.get(role, "") for role in roles], dtype=np.str_)


def importance(
    roles: pd.Series[str],
    unknown_share: float,
    duplicate_share: float,
    times: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float64]:
    """Return (Q,) how much each query counts so that its kind counts as is expected of the queries to come; 1 in sum.

    A share of `duplicate_share` is `duplicate`; of the others, `unknown_share` is `unknown`, the rest `known`. A kind
    without queries leaves its share to the others. With `times` (B, Q), how often each query was drawn, it is (B, Q).
    """
    kind = kinds(roles)
    drawn = np.ones((1, len(kind))) if times is None else times
    known, unknown, duplicate = (_even(drawn * (kind == name)) for name in ("known", "unknown", "duplicate"))
    found = _mixed(_mixed(known, unknown, unknown_share), duplicate, duplicate_share)
    return found[0] if times is None else found


def _even(drawn: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return rows (B, Q) that sum to 1, or to 0 where nothing was drawn."""
    sums = drawn.sum(axis=1, keepdims=True)
    even: npt.NDArray[np.float64] = np.divide(drawn, sums, out=np.zeros_like(drawn), where=sums > 0)
    return even


def _mixed(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.float64]:
    """Return rows (B, Q) of which a `share` is those of `second`, or all where there are only those."""
    there, also = first.any(axis=1, keepdims=True), second.any(axis=1, keepdims=True)
    part = np.where(there & also, share, np.where(there, 0.0, 1.0))
    mixed: npt.NDArray[np.float64] = (1 - part) * first + part * second
    return mixed
