"""The drawn catalogue: flukes, photos of them, copies, and what the catalogue holds."""
