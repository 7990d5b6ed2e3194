"""Labels of photos, the scores that rank whales, and the columns of boxes."""

from typing import Literal

NEW_WHALE = "new_whale"
"""The label of photos whose whale is not in the catalogue."""
PHASH = "phash"
"""The prediction without networks: the labels of duplicates, else `new_whale`."""
TOP_K = 5
"""The number of labels in a ranking, the most probable first."""
Score = Literal["class", "nearest", "centroid", "duplicates"]
"""The similarity to the class of a whale, its nearest photo or the centroid of its photos; the labels of duplicates."""
CORNERS = ["x0", "y0", "x1", "y1"]
"""The columns of a box: left, top, right and bottom."""
