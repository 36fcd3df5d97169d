"""Machines by name: one YAML file each, in the catalog of its kind."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nmsim.errors import SpecError
from nmsim.machines.kind import KINDS, Machine
from nmsim.registry import unknown_name
from nmsim.spec import catalog_path, override, read_yaml, validate

__all__ = ["HARDWARE", "Hardware", "load_hardware", "schema_of"]


class Hardware:
    """The machines that ship with nmsim, of every kind, by the stem of their file."""

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._files()))

    def _files(self) -> dict[str, Path]:
        return {
            path.stem: path for kind in KINDS for path in sorted(KINDS[kind].catalog.glob("*.yaml"))
        }

    def path(self, name: str | Path) -> Path:
        """The file of a catalog entry, or the file at a path.

        Raises
        ------
        UnknownName
            if it is neither a name in the catalog nor a path.
        """
        return catalog_path("hardware", name, self._files())

    def document(self, name: str | Path) -> dict[str, Any]:
        """The fields of an entry or file, not yet validated."""
        path = self.path(name)
        document = read_yaml(path)
        document.setdefault("name", path.stem)
        return document


HARDWARE = Hardware()
"""The machines that ship with nmsim."""


def schema_of(kind: object, where: str) -> type[Machine]:
    """The schema of a machine's file by its ``kind``, or by another name that the kind has.

    Raises
    ------
    SpecError
        naming the kinds that there are.
    """
    if not isinstance(kind, str):
        raise SpecError(f"{where}: kind is {kind!r}, expected one of {', '.join(KINDS)}")
    for name in KINDS:
        if kind in (name, *KINDS[name].other_names):
            return KINDS[name].schema
    raise SpecError(f"{where}: {unknown_name('kind', kind, KINDS)}")


def _validated(document: Mapping[str, Any], where: str) -> Machine:
    return validate(schema_of(document.get("kind"), where), document, where)


def load_hardware(name: str | Path | Machine, /, **fields: Any) -> Any:
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
        document, where = HARDWARE.document(name), str(HARDWARE.path(name))
    for field, value in fields.items():
        try:
            document = override(document, field, value)
        except SpecError as error:
            raise SpecError(f"{where}: {error}") from error
    return _validated(document, where)
