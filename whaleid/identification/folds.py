"""Folds of validation for cross-fitting, grouped by whale and duplicate group."""

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
"""Roles of validation queries, in the order in which their clusters are assigned; those without weight come last."""


def clusters(queries: pd.DataFrame, groups: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the cluster of each query (Q,), numbered from 0 in order of first appearance.

    Photos of one whale belong to one cluster, and so do the labelled photos of one duplicate group, whatever their
    labels. A photo labelled `new_whale` that is in no group is a separate cluster. `queries` has columns
    `Image,whale`; `groups` has the columns of `paths.GROUPS`.
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
    """Assign each query (Q,) to a fold, from 0 to 4: clusters stay together, and each role is spread evenly.

    Clusters are assigned one by one, each to the fold with the smallest share of its roles. They are ordered by role
    (as in `ROLES`), then by size, the largest first, then by a hash of their first Image. Therefore neither the order
    of the queries nor queries without weight change the fold of any other query. scikit-learn's StratifiedGroupKFold
    does not guarantee this.
    """
    role = np.array([ROLES.index(name) for name in roles])
    total = np.maximum(np.bincount(role, minlength=len(ROLES)), 1)
    sizes = np.zeros((FOLDS, len(ROLES)))  # queries of each role in each fold
    folds = np.empty(len(cluster), dtype=np.int64)

    def sort_key(rows: npt.NDArray[np.int64]) -> tuple[int, int, str]:
        first = min(images[query] for query in rows)
        return int(role[rows].min()), -len(rows), sha256(first.encode()).hexdigest()

    by_cluster = np.argsort(cluster, kind="stable")
    _, starts = np.unique(cluster[by_cluster], return_index=True)
    for rows in sorted(np.split(by_cluster, starts[1:]), key=sort_key):
        counts = np.bincount(role[rows], minlength=len(ROLES))
        fold = np.lexsort((sizes.sum(axis=1), sizes @ (counts / total)))[0]
        sizes[fold] += counts
        folds[rows] = fold
    return folds
