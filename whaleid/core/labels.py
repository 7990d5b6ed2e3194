"""What names a whale, how many names count, and what ranks them."""

from typing import Literal

NEW_WHALE = "new_whale"
"""The label that names no whale: its photo is of one outside the catalogue."""
PHASH = "phash"
"""The prediction without networks: the labels of duplicates, else `new_whale`."""
PLACES = 5
"""How many labels of a ranking count, the likeliest first."""
Score = Literal["class", "nearest", "centroid", "duplicates"]
"""What ranks whales: the classes learnt, a whale's nearest photo, the centroid of its photos, labels of duplicates."""
