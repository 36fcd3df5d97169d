"""Names of the files that stand in a folder of results."""

__all__ = ["MANIFEST", "PAGE", "RESULTS"]

RESULTS = "results.csv"
MANIFEST = "manifest.json"
PAGE = "index.html"
