"""Duplicates: photos that are the same picture."""
