"""What cells, buffers, memory and wires take: a YAML file a technology, each figure sourced.

A user's own file stands beside those that ship, or is a Liberty file of a cell library.
"""

from pathlib import Path

from nmsim.cost.technology.liberty import cells_of_liberty
from nmsim.cost.technology.scaling import scaled
from nmsim.cost.technology.schema import Band, Technology
from nmsim.files import once_per_content
from nmsim.spec import Catalog, read_yaml, validate

__all__ = ["DEFAULT", "TECHNOLOGIES", "Band", "Technology", "load_technology"]

DEFAULT = "45nm"

TECHNOLOGIES: Catalog[Technology] = Catalog("technology", Path(__file__).parent, Technology)
"""The technologies that ship, by name."""


def load_technology(name: str | Path | Technology = DEFAULT) -> Technology:
    """A technology by its name, or from a YAML or Liberty file.

    Raises
    ------
    UnknownName, SpecError
        if there is none such; names the file, the field and what was expected.
    """
    return name if isinstance(name, Technology) else _loaded(str(name))


@once_per_content
def _loaded(name: str) -> Technology:
    if name.lower().endswith(".lib"):
        return _of_liberty(Path(name))
    path = TECHNOLOGIES.path(name)
    document = dict(read_yaml(path))
    based_on = document.pop("based_on", "")
    if based_on:
        known = path.parent / f"{based_on}.yaml"
        base = load_technology(known if known.is_file() else based_on)
        return scaled(base, document, path)
    own: Technology = validate(Technology, {"name": path.stem, **document}, str(path))
    return own


def _of_liberty(path: Path) -> Technology:
    """Areas of a library's cells; nothing of energy."""
    found = cells_of_liberty(path).items()
    document = {
        "name": path.stem,
        "summary": f"cells of {path.name}",
        "sources": {"liberty": path.name},
        "cells": {cell: {"value": area, "source": "liberty"} for cell, area in found},
    }
    own: Technology = validate(Technology, document, str(path))
    return own
