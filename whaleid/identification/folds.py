"""Folds of validation, by whale and duplicate group: what is fitted on some folds is measured on another."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from whaleid.core.labels import NEW_WHALE

FOLDS = 5
ROLES = ["known", "unknown", "duplicate", "new_whale", "new_whale_train"]
"""Roles that have no weight come last."""


def clusters(queries: pd.DataFrame, groups: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return (Q,) the number of each query's cluster, in order of first appearance.

    A cluster is a whale with all whales and photos that duplicate groups tie to it: photos of one whale are alike, and
    so are those of a group, whatever their labels. A photo of no named whale is a cluster of its own, unless a group
    ties it to others. `queries` is `Image,whale`, `groups` is `group,Image,part,Id`.
    """
    labelled = groups[groups["part"] == "train"].rename(columns={"Id": "whale"})
    photos = pd.concat([queries[["Image", "whale"]], labelled[["Image", "whale"]]], ignore_index=True)
    new_whale = photos["whale"] == NEW_WHALE
    node, _ = pd.factorize(("whale " + photos["whale"]).mask(new_whale, "photo " + photos["Image"]))
    group = node.max() + 1 + labelled["group"].to_numpy(dtype=np.int64)
    size = max(node.max(), group.max(initial=0)) + 1
    edges = coo_array((np.ones(len(group)), (node[len(queries) :], group)), (size, size))
    _, component = connected_components(edges, directed=False)
    return pd.factorize(component[node[: len(queries)]])[0].astype(np.int64)


def assign_folds(images: Sequence[str], roles: Sequence[str], cluster: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the fold of each query (Q,), from 0 to 4: clusters are kept whole, and each role is spread evenly.

    Clusters are assigned one by one, those of the first `ROLES` and the larger ones first, the rest by a hash of their
    first Image: each to the fold that has least of its roles. So the order of queries and the number of those without
    weight change no other query's fold, which scikit-learn's StratifiedGroupKFold does not ensure.
    """
    role = np.array([ROLES.index(each) for each in roles])
    total = np.maximum(np.bincount(role, minlength=len(ROLES)), 1)
    sizes = np.zeros((FOLDS, len(ROLES)))
    folds = np.empty(len(cluster), dtype=np.int64)

    def order(rows: npt.NDArray[np.int64]) -> tuple[int, int, str]:
        first = min(images[query] for query in rows)
        return int(role[rows].min()), -len(rows), sha256(first.encode()).hexdigest()

    by_cluster = np.argsort(cluster, kind="stable")
    _, starts = np.unique(cluster[by_cluster], return_index=True)
    for rows in sorted(np.split(by_cluster, starts[1:]), key=order):
        counts = np.bincount(role[rows], minlength=len(ROLES))
        fold = np.lexsort((sizes.sum(axis=1), sizes @ (counts / total)))[0]
        sizes[fold] += counts
        folds[rows] = fold
    return folds
