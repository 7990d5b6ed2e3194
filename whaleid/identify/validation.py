"""What validation asks of a variant, what it may compare with, and its answers in figures."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.errors import WhaleidError
from whaleid.identify.metrics import reciprocal_ranks
from whaleid.labels import NEW_WHALE


def queries(split: pd.DataFrame, classes: Collection[str]) -> pd.DataFrame:
    """Return the validation queries of a variant with these classes: `Image,truth,role`, sorted by Image.

    `split` is `Image,Id,part,role`. Queries are its validation rows; where `new_whale` is no class, also the
    training photos of that label, as role `new_whale_train`: the variant itself has not learnt them, though one that
    its hidden layers come from may have, so they are measured apart and count for nothing else. The truth of the
    roles `unknown`, `new_whale` and `new_whale_train` is `new_whale`; of others it is the photo's own label.

    Raises:
        WhaleidError: there are none but duplicates.
    """
    found = split[["Image", "Id", "role"]].rename(columns={"Id": "truth"})
    asked = split["part"] == "validation"
    if NEW_WHALE not in classes:
        unlearnt = (split["part"] == "train") & (split["Id"] == NEW_WHALE)
        found.loc[unlearnt, "role"] = "new_whale_train"
        asked |= unlearnt
    found.loc[found["role"].isin(["unknown", "new_whale", "new_whale_train"]), "truth"] = NEW_WHALE
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
    """Return how many of the queries to come duplicate a labelled photo; `leaks` has a row a `query` and photo."""
    return float(leaks["query"].nunique() / (catalog["part"] == "test").sum())


def importance(roles: pd.Series[str], unknown_share: float, duplicate_share: float) -> npt.NDArray[np.float64]:
    """Return (Q,) how much each query counts so that its kind counts as is expected of the queries to come; 1 in sum.

    `roles` (Q,) are those of `queries`. A share of `duplicate_share` is `duplicate`; of the others, `unknown_share` is
    `unknown` or `new_whale`, the rest `known`; `new_whale_train` does not count. A kind without photos leaves its
    share to the others.
    """
    known, unknown, duplicate = (
        members / max(members.sum(), 1)
        for members in (roles.isin(kind).to_numpy() for kind in (["known"], ["unknown", "new_whale"], ["duplicate"]))
    )
    return _mixed(_mixed(known, unknown, unknown_share), duplicate, duplicate_share)


def _mixed(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.float64]:
    """Return weights (Q,) of which a `share` is those of `second`, or all where there are only those."""
    if not first.any():
        return second
    return (1 - share) * first + share * second if second.any() else first


def figures(
    asked: pd.DataFrame, ranked: Sequence[Sequence[str]], unknown_share: float, duplicate_share: float
) -> dict[str, float]:
    """Return the MAP@5 of answered queries by role and overall, and `top1` and `top5` of the role `known`.

    `asked` is the result of `queries`, `ranked` a list of labels for each. Overall figures, `map5` and
    `map5_no_duplicates`, weigh the kinds of queries by `importance`: as they are expected to come, not as validation
    happens to hold them. A kind without photos has no key.
    """
    ranks = reciprocal_ranks(ranked, asked["truth"].tolist())
    of_role = {str(role): ranks[rows] for role, rows in asked.groupby("role").indices.items()}
    others = (asked["role"] != "duplicate").to_numpy()
    found = {"map5": float(importance(asked["role"], unknown_share, duplicate_share) @ ranks)}
    for role in ("known", "unknown", "new_whale", "new_whale_train"):
        if role in of_role:
            found[f"map5_{role}"] = float(of_role[role].mean())
    if "duplicate" in of_role:
        found["map5_duplicates"] = float(of_role["duplicate"].mean())
    found["map5_no_duplicates"] = float(importance(asked["role"][others], unknown_share, 0) @ ranks[others])
    if "known" in of_role:
        found |= {"top1": float((of_role["known"] == 1).mean()), "top5": float((of_role["known"] > 0).mean())}
    return found
