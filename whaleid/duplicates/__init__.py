"""Find duplicates: photos that show the same picture."""
