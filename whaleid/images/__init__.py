"""Read photos from files and convert them to the arrays that the network reads."""
