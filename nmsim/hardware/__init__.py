"""Machines, one per YAML file with its sources, and the schema that each file obeys."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nmsim.errors import SpecError
from nmsim.hardware._ideal import IdealMachine
from nmsim.hardware._in_format import Ran, in_format
from nmsim.hardware._systolic import (
    Delivery,
    Dram,
    IndexWidth,
    Intersecting,
    Sram,
    SystolicArray,
)
from nmsim.hardware._tensor_core import (
    Calibration,
    FitError,
    FittedConstant,
    Format,
    Gpu,
    Library,
)
from nmsim.registry import unknown_name
from nmsim.spec import Catalog, override, validate

__all__ = [
    "HARDWARE",
    "SCHEMAS",
    "Calibration",
    "Delivery",
    "Dram",
    "FitError",
    "FittedConstant",
    "Format",
    "Gpu",
    "IdealMachine",
    "IndexWidth",
    "Intersecting",
    "Library",
    "Machine",
    "Ran",
    "Sram",
    "SystolicArray",
    "in_format",
    "load_hardware",
]

Machine = SystolicArray | Gpu | IdealMachine

SCHEMAS: Mapping[str, type[Machine]] = {
    "systolic": SystolicArray,
    "tensor-core": Gpu,
    "ideal": IdealMachine,
}
"""Schema of a machine's file, by its kind."""

HARDWARE: Catalog[Any] = Catalog("hardware", Path(__file__).parent, SystolicArray)
"""The machines that ship with nmsim."""


def _validated(document: Mapping[str, Any], where: str) -> Machine:
    kind = document.get("kind")
    if not isinstance(kind, str):
        raise SpecError(f"{where}: kind is {kind!r}, expected one of {', '.join(SCHEMAS)}")
    if kind not in SCHEMAS:
        raise SpecError(f"{where}: {unknown_name('kind', kind, SCHEMAS)}")
    return validate(SCHEMAS[kind], document, where)


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
    if isinstance(name, Machine):
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
    return _validated(document, where)
