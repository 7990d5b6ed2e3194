"""What every room uses: files, paths, labels, errors, logs, and work on all cores."""
