"""Folds of validation, by whale and duplicate group: what is fitted on some folds is measured on another."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import NEW_WHALE

FOLDS = 5
ROLES = ["known", "unknown", "duplicate", "new_whale", "new_whale_train"]
"""Roles that have no weight come last."""


def clusters(queries: pd.DataFrame, groups: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return (Q,) the number of each query's cluster, in order of first appearance.

    A cluster is a whale with all that duplicate groups tie to it: photos of one whale are alike, and so are those of a
    group, whatever their labels. A photo of no named whale is a cluster of its own, unless a group ties it to others.
    `queries` is `Image,whale`, `groups` is `group,Image,part,Id`.
    """
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def key(image: str, whale: str) -> str:
        return f"photo {image}" if whale == NEW_WHALE else f"whale {whale}"

    labelled = groups[groups["part"] == "train"]
    for group, image, whale in zip(labelled["group"], labelled["Image"], labelled["Id"], strict=True):
        parent[root(key(image, whale))] = root(f"group {group}")
    number: dict[str, int] = {}
    pairs = zip(queries["Image"], queries["whale"], strict=True)
    return np.array([number.setdefault(root(key(*pair)), len(number)) for pair in pairs], dtype=np.int64)


def assign(images: Sequence[str], roles: Sequence[str], cluster: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the fold of each query (Q,), from 0 to 4: clusters are kept whole, and each role is spread evenly.

    Clusters are assigned one by one, those of the first `ROLES` and the larger ones first, the rest by a hash of their
    first Image: each to the fold that has least of its roles. So the order of queries and the number of those without
    weight change no other query's fold, which scikit-learn's StratifiedGroupKFold does not ensure.
    """
    role = np.array([ROLES.index(each) for each in roles])
    total = np.maximum(np.bincount(role, minlength=len(ROLES)), 1)
    held = np.zeros((FOLDS, len(ROLES)))
    folds = np.empty(len(cluster), dtype=np.int64)
    order = np.argsort(cluster, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1) if len(order) else []

    def turn(rows: npt.NDArray[np.int64]) -> tuple[int, int, str]:
        first = min(images[query] for query in rows)
        return int(role[rows].min()), -len(rows), sha256(first.encode()).hexdigest()

    for rows in sorted(members, key=turn):
        counts = np.bincount(role[rows], minlength=len(ROLES))
        fold = int(np.lexsort((held.sum(axis=1), held @ (counts / total)))[0])
        held[fold] += counts
        folds[rows] = fold
    return folds
