"""Code that all other packages use: files, paths, labels, errors, logging and parallel work."""
