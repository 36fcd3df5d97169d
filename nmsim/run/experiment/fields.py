"""What a field of an experiment is called, and whose it is: the run's, or its machine's.

``batch`` is a keyword of a run, ``sram.a_kib`` a field of a machine by its path. What both own is
the run's; ``hardware.FIELD`` is the machine's whoever else owns the name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from nmsim.errors import NmsimError, SpecError
from nmsim.files import once_per_content
from nmsim.machines import COLUMNS, KINDS, load_hardware
from nmsim.registry import unknown_name
from nmsim.run.keyword import REQUIRED, Declared, keywords
from nmsim.run.point import Point
from nmsim.spec import field_keys

__all__ = ["RUN", "Field", "default", "field_named", "machine_value", "refuse_twice"]

RUN: dict[str, Declared] = {one.name: one for one in keywords(Point) if one.name != "overrides"}
"""The keywords of a run that an experiment may vary."""

_MACHINE = "hardware."
_COLUMNS = frozenset(column.name for column in COLUMNS) | {"point"}


@dataclass(frozen=True)
class Field:
    """A field that an experiment varies, derives or asks for.

    Parameters
    ----------
    name
        As the file has it.
    path
        Of the machine's field; empty: it is a keyword of the run.
    """

    name: str
    path: str = ""

    @property
    def column(self) -> str:
        """What a table of results calls it: its name, and whose it is where rows have one too."""
        if self.path:
            return (
                f"{_MACHINE}{self.path}" if self.path in _COLUMNS or self.path in RUN else self.path
            )
        return f"run.{self.name}" if self.name in _COLUMNS - {"hardware"} else self.name


def field_named(name: str, where: str) -> Field:
    """The field that a name stands for.

    Raises
    ------
    SpecError
        for a name that neither a run nor any kind of machine owns.
    """
    path = name.removeprefix(_MACHINE)
    if path == name and name in RUN:
        return Field(name)
    if path.partition(".")[0] not in _machine_fields():
        known = _machine_fields() if path != name else {*RUN, *_machine_fields()}
        raise SpecError(f"{where}: {unknown_name('field', path, known)}")
    return Field(name, path)


@lru_cache(maxsize=1)
def _machine_fields() -> frozenset[str]:
    """First names of the fields of machines of every kind."""
    return frozenset(name for kind in KINDS for name in KINDS[kind].schema.model_fields)


def default(name: str) -> Any:
    """What a keyword of a run is where nobody says."""
    value = RUN[name].default
    return None if value is REQUIRED else value


def machine_value(hardware: Any, path: str, where: str) -> Any:
    """The value that a machine's file has of a field.

    Raises
    ------
    SpecError
        for a path that leads nowhere.
    """
    value: Any = _fields_of(str(hardware))
    try:
        for key in field_keys(value, path):
            value = value[key]
    except NmsimError as error:
        raise SpecError(f"{where}: {error}") from error
    return value


@once_per_content
def _fields_of(hardware: str) -> Mapping[str, Any]:
    machine: Any = load_hardware(hardware)
    fields: dict[str, Any] = machine.model_dump()
    return fields


def refuse_twice(fields: Iterable[Field], where: str) -> None:
    """Refuse a field that is said twice, under one name or two.

    Raises
    ------
    SpecError
        naming it.
    """
    seen: dict[tuple[bool, str], str] = {}
    for field in fields:
        own = (bool(field.path), field.path or field.name)
        if own in seen:
            both = field.name if seen[own] == field.name else f"{seen[own]} and {field.name}"
            raise SpecError(f"{where}: {both}, expected each field once")
        seen[own] = field.name
