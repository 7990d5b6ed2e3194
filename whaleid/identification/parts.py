"""Validation in parts, so that what is fitted on some is measured on another: what belongs together stays together."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import NEW_WHALE

PARTS = 5


def clusters(asked: pd.DataFrame, groups: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return (Q,) the number of each query's cluster, in order of first appearance.

    A cluster is a whale with all that duplicate groups tie to it: photos of one whale are alike, and so are those of a
    group, whatever their labels. A photo of no named whale is a cluster of its own, unless a group ties it. `asked`
    is the result of `validation.queries`, `groups` is `group,Image,part,Id`.
    """
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def named(image: str, whale: str) -> str:
        return f"photo {image}" if whale == NEW_WHALE else f"whale {whale}"

    labelled = groups[groups["part"] == "train"]
    for group, image, whale in zip(labelled["group"], labelled["Image"], labelled["Id"], strict=True):
        parent[root(named(image, whale))] = root(f"group {group}")
    number: dict[str, int] = {}
    return np.array(
        [
            number.setdefault(root(named(image, whale)), len(number))
            for image, whale in zip(asked["Image"], asked["whale"], strict=True)
        ],
        dtype=np.int64,
    )


def parts(images: Sequence[str], roles: Sequence[str], cluster: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return (Q,) the part of each query, from 0 to 4: clusters are kept whole, and each role is spread evenly.

    Clusters are dealt out one by one, first those that figures count, the larger ones first, others by chance (a hash
    of their first Image); each to the part that has least of what it brings. Queries of the role `new_whale_train`
    come last, so that what is asked besides does not move the others.
    """
    late = ["known", "unknown", "duplicate", "new_whale", "new_whale_train"]
    role = np.array([late.index(each) for each in roles])
    total = np.maximum(np.bincount(role, minlength=len(late)), 1)
    held = np.zeros((PARTS, len(late)))
    found = np.empty(len(cluster), dtype=np.int64)
    order = np.argsort(cluster, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1) if len(order) else []

    def turn(of: npt.NDArray[np.int64]) -> tuple[int, int, str]:
        first = min(images[query] for query in of)
        return int(role[of].min()), -len(of), sha256(first.encode()).hexdigest()

    for of in sorted(members, key=turn):
        brings = np.bincount(role[of], minlength=len(late))
        part = int(np.lexsort((held.sum(axis=1), held @ (brings / total)))[0])
        held[part] += brings
        found[of] = part
    return found
