"""The catalogue folder: read and check it, summarize it, split it for validation, and write submissions."""
