"""Detect the fluke on a photo: the network and its training."""
