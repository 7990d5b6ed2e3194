"""Reports: plots, contact sheets, HTML pages and comparison tables."""
