"""Identification of whales with a bundle, independent of the pipeline and its files."""
