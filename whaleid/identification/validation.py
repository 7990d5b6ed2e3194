"""The queries of validation, the photos that they are compared with, and the labels of their duplicates."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pandas as pd

from whaleid.core.errors import WhaleidError
from whaleid.core.labels import NEW_WHALE


def queries(split: pd.DataFrame, classes: Collection[str]) -> pd.DataFrame:
    """Return the validation queries of networks with these classes: `Image,whale,truth,role`, sorted by Image.

    `split` is `Image,Id,part,role`. Queries are its validation rows. Where `new_whale` is no class, the training photos
    of that label are queries too, of role `new_whale_train`: the network itself has not learnt them, though one whose
    hidden layers it starts from may have, so they are measured separately and have no weight. `whale` is the photo's
    own label; `truth` is the same, but `new_whale` for the role `unknown`.

    Raises:
        WhaleidError: there are no queries but duplicates.
    """
    table = split[["Image", "Id", "Id", "role"]].set_axis(["Image", "whale", "truth", "role"], axis=1)
    selected = split["part"] == "validation"
    if NEW_WHALE not in classes:
        unlearnt = (split["part"] == "train") & (split["Id"] == NEW_WHALE)
        table.loc[unlearnt, "role"] = "new_whale_train"
        selected |= unlearnt
    table.loc[table["role"] == "unknown", "truth"] = NEW_WHALE
    table = table[selected].sort_values("Image", ignore_index=True)
    if table["role"].isin(["duplicate", "new_whale_train"]).all():
        raise WhaleidError("Validation has no queries: raise split.known, split.unknown or split.new_whale.")
    return table


def gallery(split: pd.DataFrame, held_out: bool) -> pd.DataFrame:
    """Return the photos of named whales that queries are compared with, `Image,Id`: one a duplicate group.

    `split` is `Image,Id,part,role`. Validation is compared with its training photos. Queries to come are compared with
    the photos that validation holds out as well: `held_out`.
    """
    unique = split["role"] != "duplicate" if held_out else split["part"] == "train"
    return split.loc[unique & (split["Id"] != NEW_WHALE), ["Image", "Id"]]


def duplicate_pairs(groups: pd.DataFrame) -> pd.DataFrame:
    """Return `query,photo,Id` of each pair of labelled photos in a group, in order of `photo`, whose label is `Id`.

    `groups` is `group,Image,part,Id`. The table has the columns of leaks.
    """
    labelled = groups.loc[groups["part"] == "train", ["group", "Image", "Id"]].sort_values("Image")
    queries = labelled[["group", "Image"]].rename(columns={"Image": "query"})
    pairs = queries.merge(labelled.rename(columns={"Image": "photo"}), on="group")
    return pairs[pairs["query"] != pairs["photo"]]


def labels_by_image(images: Iterable[str], pairs: pd.DataFrame) -> list[list[str]]:
    """Return, for each of `images`, the labels that `pairs`, `query,Id`, has of it, in their order."""
    labels = {query: rows.tolist() for query, rows in pairs.groupby("query", sort=False)["Id"]}
    return [labels.get(image, []) for image in images]


def duplicate_labels(queries: pd.DataFrame, groups: pd.DataFrame) -> list[list[str]]:
    """Return, for each query of validation, the labels of its duplicates, as if the query itself had no label.

    `queries` is `Image,role`, `groups` as in `duplicate_pairs`. Only queries of the role `duplicate` have labels.
    """
    return labels_by_image(queries["Image"].where(queries["role"] == "duplicate", ""), duplicate_pairs(groups))


def duplicate_share(leaks: pd.DataFrame, catalog: pd.DataFrame) -> float:
    """Return the share of the queries to come that duplicate a labelled photo, 0 if there are no queries.

    `leaks` has a row for each pair of a `query` and a photo, `catalog` is `Image,Id,part`.
    """
    return float(leaks["query"].nunique() / max(1, (catalog["part"] == "test").sum()))
