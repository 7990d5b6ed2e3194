"""Fingerprints of many photos side by side."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from whaleid.duplicates.hashing import SIDE, Thumbnails
from whaleid.images.fingerprint import Fingerprint

FACTS = {"width": "width", "height": "height", "mode": "mode", "bytes": "size", "sha256": "sha256"}
"""Columns of `paths.CATALOG`, and what they are of a fingerprint."""


def table(found: Sequence[Fingerprint]) -> pd.DataFrame:
    """Return the columns of `FACTS`, a row a photo."""
    return pd.DataFrame({column: [getattr(each, fact) for each in found] for column, fact in FACTS.items()})


def thumbnails(found: Sequence[Fingerprint]) -> Thumbnails:
    """Return (N, SIDE, SIDE) the thumbnail of each photo."""
    pixels = b"".join(each.thumbnail for each in found)
    return np.frombuffer(pixels, dtype=np.uint16).reshape(-1, SIDE, SIDE)
