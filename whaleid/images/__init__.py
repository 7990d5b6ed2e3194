"""Photos: from files to the arrays that the network reads."""
