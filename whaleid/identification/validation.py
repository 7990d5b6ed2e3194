"""The validation queries, their gallery, and the labels of their duplicates.

`split` has the columns `Image,Id,part,role` (`paths.SPLIT`), `groups` the columns `group,Image,part,Id`
(`paths.GROUPS`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pandas as pd

from whaleid.core.errors import WhaleidError
from whaleid.core.labels import NEW_WHALE


def queries(split: pd.DataFrame, classes: Collection[str]) -> pd.DataFrame:
    """Select the validation queries of networks with these `classes`.

    Queries are the validation photos. If `new_whale` is not a class, training photos with that label are queries too,
    with the role `new_whale_train`. The network was not trained on them, but the network that it was initialised from
    may have been. Therefore they are measured separately and have no weight.

    Returns a table `Image,whale,truth,role`, sorted by Image: `whale` is the label of the photo; `truth` is
    `new_whale` for the role `unknown`, else the label.

    Raises:
        WhaleidError: all queries are duplicates or have the role `new_whale_train`.
    """
    table = split[["Image", "Id", "Id", "role"]].set_axis(["Image", "whale", "truth", "role"], axis=1)
    selected = split["part"] == "validation"
    if NEW_WHALE not in classes:
        not_trained_on = (split["part"] == "train") & (split["Id"] == NEW_WHALE)
        table.loc[not_trained_on, "role"] = "new_whale_train"
        selected |= not_trained_on
    table.loc[table["role"] == "unknown", "truth"] = NEW_WHALE
    table = table[selected].sort_values("Image", ignore_index=True)
    if table["role"].isin(["duplicate", "new_whale_train"]).all():
        raise WhaleidError(
            "No photo that counts in MAP@5 is held out for validation. Increase split.known, split.unknown or "
            "split.new_whale in params.yaml."
        )
    return table


def gallery(split: pd.DataFrame, held_out: bool) -> pd.DataFrame:
    """Select the photos of named whales that queries are compared with, `Image,Id`: one per duplicate group.

    With `held_out`, the photos that validation holds out are included: this is the gallery of future queries.
    """
    unique = split["role"] != "duplicate" if held_out else split["part"] == "train"
    return split.loc[unique & (split["Id"] != NEW_WHALE), ["Image", "Id"]]


def duplicate_pairs(groups: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of labelled photos in a duplicate group, in both directions: `query,photo,Id`.

    `Id` is the label of `photo`, as in `paths.LEAKS`. The pairs of a query are sorted by `photo`.
    """
    labelled = groups.loc[groups["part"] == "train", ["group", "Image", "Id"]].sort_values("Image")
    queries = labelled[["group", "Image"]].rename(columns={"Image": "query"})
    pairs = queries.merge(labelled.rename(columns={"Image": "photo"}), on="group")
    return pairs[pairs["query"] != pairs["photo"]]


def labels_by_image(images: Iterable[str], pairs: pd.DataFrame) -> list[list[str]]:
    """Return, for each of `images`, the labels `Id` of its rows in `pairs` (`query,Id`), in their order."""
    labels = {query: rows.tolist() for query, rows in pairs.groupby("query", sort=False)["Id"]}
    return [labels.get(image, []) for image in images]


def duplicate_labels(queries: pd.DataFrame, groups: pd.DataFrame) -> list[list[str]]:
    """Return the labels of the other photos in the duplicate group of each validation query.

    `queries` has columns `Image,role`. Queries with a role other than `duplicate` have no labels.
    """
    return labels_by_image(queries["Image"].where(queries["role"] == "duplicate", ""), duplicate_pairs(groups))


def duplicate_share(leaks: pd.DataFrame, catalog: pd.DataFrame) -> float:
    """Compute the share of the catalogue's queries that duplicate a labelled photo; 0 if there are no queries.

    `leaks` has one row per pair of a `query` and a labelled photo; `catalog` has a column `part`.
    """
    return float(leaks["query"].nunique() / max(1, (catalog["part"] == "test").sum()))
