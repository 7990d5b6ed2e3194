"""The catalogue: drawn or read, explored, and split for validation."""
