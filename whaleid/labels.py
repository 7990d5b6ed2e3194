"""The label that names no whale: its photo is of one outside the catalogue."""

NEW_WHALE = "new_whale"
