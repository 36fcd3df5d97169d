"""Machines, one per YAML file with its sources, and the schema that each file obeys."""

from pathlib import Path
from typing import Any

from nmsim.errors import SpecError
from nmsim.hardware._systolic import (
    Delivery,
    Dram,
    IndexWidth,
    Intersecting,
    Sram,
    SystolicArray,
)
from nmsim.spec import Catalog, override, validate

__all__ = [
    "HARDWARE",
    "Delivery",
    "Dram",
    "IndexWidth",
    "Intersecting",
    "Machine",
    "Sram",
    "SystolicArray",
    "load_hardware",
]

Machine = SystolicArray

HARDWARE: Catalog[SystolicArray] = Catalog("hardware", Path(__file__).parent, SystolicArray)
"""The machines that ship with nmsim."""


def load_hardware(name: str | Path | Machine, /, **fields: Any) -> Machine:
    """A machine by name, path or value, with any of its fields replaced.

    Parameters
    ----------
    name
        From ``nmsim list hardware``, a path to a YAML file, or a machine.
    **fields
        Fields by name; a dotted path reaches into a group: ``**{"dram.gbps": 100}``.

    Raises
    ------
    UnknownName, SpecError
        for a name that does not exist, or a field that is unknown or out of range.

    Examples
    --------
    >>> load_hardware("scale-sim", rows=32, cols=16, dataflow="ws").peak_macs
    512
    """
    if isinstance(name, SystolicArray):
        document, where = name.model_dump(), name.name
    else:
        path = HARDWARE.path(name)
        document, where = HARDWARE.document(name), str(path)
        document.setdefault("name", path.stem)
    for field, value in fields.items():
        try:
            document = override(document, field, value)
        except SpecError as error:
            raise SpecError(f"{where}: {error}") from error
    return validate(SystolicArray, document, where)
