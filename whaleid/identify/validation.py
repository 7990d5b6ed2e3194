"""What validation asks of a variant, and its answers in figures."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from whaleid.errors import WhaleidError
from whaleid.identify.metrics import mixed_mean, reciprocal_ranks
from whaleid.labels import NEW_WHALE


def queries(split: pd.DataFrame, classes: Collection[str]) -> pd.DataFrame:
    """Return the validation queries of a variant with these classes: `Image,truth,role`, sorted by Image.

    `split` is `Image,Id,part,role`. Queries are its validation rows; where `new_whale` is no class, also the
    training photos of that label, as role `new_whale`: the variant itself has not learnt them, though one that its
    hidden layers come from may have. The truth of the roles `unknown` and `new_whale` is `new_whale`; of others it
    is the photo's own label.

    Raises:
        WhaleidError: there are none but duplicates.
    """
    found = split[["Image", "Id", "role"]].rename(columns={"Id": "truth"})
    asked = split["part"] == "validation"
    if NEW_WHALE not in classes:
        unlearnt = (split["part"] == "train") & (split["Id"] == NEW_WHALE)
        found.loc[unlearnt, "role"] = "new_whale"
        asked |= unlearnt
    found.loc[found["role"].isin(["unknown", "new_whale"]), "truth"] = NEW_WHALE
    found = found[asked].sort_values("Image", ignore_index=True)
    if (found["role"] == "duplicate").all():
        raise WhaleidError("Validation has no queries: raise split.known, split.unknown or split.new_whale.")
    return found


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


def figures(
    asked: pd.DataFrame, ranked: Sequence[Sequence[str]], unknown_share: float, duplicate_share: float
) -> dict[str, float]:
    """Return the MAP@5 of answered queries by role and overall, and `top1` and `top5` of the role `known`.

    `asked` is the result of `queries`, `ranked` a list of labels for each. Overall figures weigh the kinds of
    queries as they are expected to come, not as validation happens to hold them:

    - `map5_no_duplicates`: a share of `unknown_share` is `unknown` or `new_whale`, the rest `known`;
    - `map5`: a share of `duplicate_share` is `duplicate`, the rest as in `map5_no_duplicates`.

    A kind without photos has no key, and the other has all the weight.
    """
    ranks = reciprocal_ranks(ranked, asked["truth"].tolist())
    of_role = {str(role): ranks[rows] for role, rows in asked.groupby("role").indices.items()}
    none = np.empty(0)
    known, duplicate = of_role.get("known", none), of_role.get("duplicate", none)
    unknown = np.concatenate([of_role.get("unknown", none), of_role.get("new_whale", none)])
    no_duplicates = mixed_mean(known, unknown, unknown_share)
    found = {"map5": float(mixed_mean(np.array([no_duplicates]), duplicate, duplicate_share))}
    for role in ("known", "unknown", "new_whale"):
        if role in of_role:
            found[f"map5_{role}"] = float(of_role[role].mean())
    if len(duplicate):
        found["map5_duplicates"] = float(duplicate.mean())
    found["map5_no_duplicates"] = float(no_duplicates)
    if len(known):
        found |= {"top1": float((known == 1).mean()), "top5": float((known > 0).mean())}
    return found
