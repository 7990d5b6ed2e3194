"""The special labels, the scores that rank whales, and the columns of a box."""

from typing import Literal

NEW_WHALE = "new_whale"
"""The label of photos whose whale is not in the catalogue or has no name."""
PHASH = "phash"
"""The baseline prediction without a network: the labels of duplicates, else `new_whale`."""
TOP_K = 5
"""Number of labels in a prediction."""
Score = Literal["class", "nearest", "centroid", "duplicates"]
"""How well a query fits a whale.

`class`, `nearest` and `centroid` are similarities to the class centres of the whale, to its nearest photo and to the
centroid of its photos. `duplicates` is 1 if a duplicate of the query has the label of the whale, else 0.
"""
CORNERS = ["x0", "y0", "x1", "y1"]
"""The columns of a box: left, top, right and bottom, as fractions of the photo's width and height."""
