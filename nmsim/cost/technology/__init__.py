"""What cells, buffers, memory and wires take: a YAML file a technology, each figure sourced.

A user's own file stands beside those that ship, or is a Liberty file of a cell library. One that
is based on another scales it to a node, or replaces figures by those of Accelergy's tables.
"""

from pathlib import Path

from nmsim.cost.technology.accelergy import refuse_tables, replaced
from nmsim.cost.technology.liberty import cells_of_liberty
from nmsim.cost.technology.scaling import scaled
from nmsim.cost.technology.schema import Band, Technology
from nmsim.errors import SpecError, UnknownName, reason
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
    return _of_file(TECHNOLOGIES.path(name), ())


def _of_file(path: Path, above: tuple[Path, ...]) -> Technology:
    """A technology from its file, of which those ``above`` it say that they are based on it."""
    document = dict(read_yaml(path))
    refuse_tables(document, path)
    based_on = document.pop("based_on", "")
    if not based_on:
        own: Technology = validate(Technology, {"name": path.stem, **document}, str(path))
        return own
    base = _base(path, based_on, (*above, path))
    return (replaced if "accelergy" in document else scaled)(base, document, path)


def _base(path: Path, based_on: object, chain: tuple[Path, ...]) -> Technology:
    if not isinstance(based_on, str):
        raise SpecError(f"{path}: based_on is {based_on!r}, expected a technology's name or path")
    if based_on.lower().endswith(".lib"):
        return _of_liberty(path.parent / based_on)
    beside = [path.parent / one for one in (based_on, f"{based_on}.yaml")]
    try:
        found = next((one for one in beside if one.is_file()), None) or TECHNOLOGIES.path(based_on)
    except (UnknownName, OSError, ValueError) as error:  # a name too long, or with a NUL, is none
        raise SpecError(f"{path}: based_on is {based_on!r}: {reason(error)}") from error
    if found.resolve() in (one.resolve() for one in chain):
        circle = " -> ".join(one.name for one in (*chain, found))
        raise SpecError(
            f"{path}: based_on is {based_on!r}: {circle} is a circle, expected a technology that "
            "is not based on this one"
        )
    return _of_file(found, chain)


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
