"""Draw a synthetic catalogue: flukes, photos of them, copies of photos, and the catalogue's files."""
