"""Names of the files that stand in a folder of results, and the manifest that may stand in one."""

from pathlib import Path
from typing import Any

from nmsim.errors import SpecError
from nmsim.files.strict_json import parse_json

__all__ = ["MANIFEST", "PAGE", "RESULTS", "manifest_there"]

RESULTS = "results.csv"
MANIFEST = "manifest.json"
PAGE = "index.html"


def manifest_there(folder: Path) -> dict[str, Any]:
    """The manifest of a folder as it is written; empty if there is none that can be read.

    For who only looks whether a folder is what it seems; `nmsim.report.table` refuses a bad one.
    """
    path = folder / MANIFEST
    try:
        found = parse_json(path.read_text(encoding="utf-8"), str(path))
    except (OSError, ValueError, SpecError):
        return {}
    return found if isinstance(found, dict) else {}
