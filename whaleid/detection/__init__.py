"""Detect the fluke in a photo: the network and its training."""
