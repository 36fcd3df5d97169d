"""Pages that stand beside a page: of a sweep's points, of a machine's validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nmsim.report.again import without_out
from nmsim.report.files import MANIFEST, PAGE, manifest_there

__all__ = ["NOBODY", "POINTS", "VALIDATION", "Neighbours", "neighbours"]

POINTS = "points"
"""Folder beside a sweep's page in which those of its points stand, a folder each."""

VALIDATION = "validation"
"""Folder in or beside a run's folder in which its machine's validation stands."""


@dataclass(frozen=True)
class Neighbours:
    """What a page may point at; nothing that is not there.

    Parameters
    ----------
    points
        Addresses of pages of points by the words of the commands that wrote them.
    validation, sweep
        Addresses of the page of the machine's validation, and of the sweep that a run is a point
        of; empty: none is there.
    """

    points: Mapping[Sequence[str], str] = field(default_factory=dict)
    validation: str = ""
    sweep: str = ""


NOBODY = Neighbours()
"""Of a page that stands alone, or in no folder."""


def neighbours(folder: Path, manifest: Mapping[str, Any]) -> Neighbours:
    """The pages beside that of a folder, which is there or about to be written."""
    if manifest["kind"] == "sweep":
        machines = set(manifest.get("machines") or {})
        return Neighbours(_points(folder), _validation(folder, machines))
    own = {str(manifest.get("hardware"))}
    above = folder.absolute().parent  # the folder itself may not be there yet
    there = above.name == POINTS and _about(above.parent).get("kind") == "sweep"
    found = f"../../{PAGE}" if there else ""
    return Neighbours({}, _validation(folder, own), found)


def _points(folder: Path) -> dict[Sequence[str], str]:
    found: dict[Sequence[str], str] = {}
    for path in sorted((folder / POINTS).glob(f"*/{MANIFEST}")):
        about = _about(path.parent)
        if about.get("kind") == "simulate":
            words = tuple(without_out(str(about.get("command", ""))))
            found[words] = f"{POINTS}/{path.parent.name}/{PAGE}"
    return found


def _validation(folder: Path, machines: set[str]) -> str:
    """The page of a validation of one of the machines."""
    for there, way in ((folder, ""), (folder.absolute().parent, "../")):
        about = _about(there / VALIDATION)
        if about.get("kind") == "validate" and machines & set(about.get("machines") or ()):
            return f"{way}{VALIDATION}/{PAGE}"
    return ""


def _about(folder: Path) -> dict[str, Any]:
    """The manifest of a folder that has a page; empty where there is none that can be read."""
    return manifest_there(folder) if (folder / PAGE).is_file() else {}
