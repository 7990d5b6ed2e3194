"""Where the fluke lies on a photo: the network, and how it learns."""
