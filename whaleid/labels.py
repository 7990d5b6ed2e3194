"""What names a whale, and how many names count."""

NEW_WHALE = "new_whale"
"""The label that names no whale: its photo is of one outside the catalogue."""
PLACES = 5
"""How many labels of a ranking count, the likeliest first."""
