"""Figures of a technology replaced by those of Accelergy's tables: energies (ERT), areas (ART).

Wu, Emer and Sze, ICCAD 2019. An energy reference table has the actions of each component with what
one takes, pJ; an area reference table has components' areas, um2. They do not say what a component
is in our terms, nor how many bits an action moves, so that a technology's file says it:

.. code-block:: yaml

    based_on: 45nm
    accelergy:
      ert:
        file: ERT.yaml
        components:
          system.PE[0..63].mac: {replaces: mac.int8, action: mac_random}
          system.glb: {replaces: sram.128, action: read, bits: 64}
          system.DRAM: {replaces: dram.hbm2, action: read, bits: 64}
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from nmsim.cost.bill import CELLS
from nmsim.cost.technology.schema import Technology
from nmsim.errors import SpecError
from nmsim.spec import Spec, read_yaml, validate

__all__ = ["refuse_tables", "replaced"]

NOTHING = "nothing"

_ENERGIES = "mac.int8, mac.float16 (any width), register_bit, sram.KIB, dram.KIND or nothing"
_AREAS = f"cells.{{{', '.join(CELLS)}}}, sram.KIB or nothing"


class _Component(Spec):
    """What a component of a table is: a figure of the technology that it replaces."""

    replaces: str = Field(description=f"{_ENERGIES}; of areas {_AREAS}")
    action: str = Field("", description="of the component; empty: it has one alone")
    bits: Annotated[int, Field(ge=1, le=2**20)] = Field(
        1, description="that an action moves, or that an area has; of a MAC 1"
    )


class _Table(Spec):
    """A file of Accelergy, and what each of its components is: all of them, by name."""

    file: str = Field(description="path, beside this file")
    components: Mapping[str, _Component]


class _Tables(Spec):
    """Tables of energies and of areas."""

    ert: _Table | None = None
    art: _Table | None = None


class _Figure(NamedTuple):
    """A figure that a table has: where it stands, of what, and how much."""

    where: str
    what: str
    of: str
    value: float


def refuse_tables(document: Mapping[str, Any], path: Path) -> None:
    """Refuse a table of Accelergy that is named as if it were a technology.

    Raises
    ------
    SpecError
        saying what a technology says of it.
    """
    for name in ("ERT", "ART"):
        if name in document:
            raise SpecError(
                f"{path}: a table of Accelergy ({name}) does not say what its components are: "
                f"expected a technology with based_on and accelergy: {{{name.lower()}: {{file: "
                f"{path.name}, components: ...}}}}"
            )


def replaced(base: Technology, document: Mapping[str, Any], path: Path) -> Technology:
    """A technology of which tables of Accelergy replace some figures, and a file others.

    Raises
    ------
    SpecError
        if a table cannot be read, or has a component that the file does not map, or maps to what
        no figure is; names the file and the component.
    """
    said = dict(document)
    tables: _Tables = validate(_Tables, said.pop("accelergy") or {}, f"{path}: accelergy")
    own = base.model_dump(mode="python")
    own["sources"] = dict(own["sources"])
    if tables.ert is not None:
        if own["energy"] is None:
            raise SpecError(f"{path}: accelergy.ert: {base.name} has no energies to be replaced")
        for one in _energies(tables.ert, path):
            _put_energy(own, one, base)
    if tables.art is not None:
        for one in _areas(tables.art, path):
            _put_area(own, one, base)
    for table in filter(None, (tables.ert, tables.art)):
        own["sources"][table.file] = f"Accelergy, {table.file}"
    found: Technology = validate(Technology, {**own, "name": path.stem, **said}, str(path))
    return found


def _rows(table: _Table, kind: str, path: Path) -> Iterator[tuple[str, _Component, Any]]:
    """Components of a table with what a technology's file says that they are."""
    file = path.parent / table.file
    whole = read_yaml(file).get(kind)
    rows = whole.get("tables") if isinstance(whole, Mapping) else None
    if not isinstance(rows, list) or not all(isinstance(one, Mapping) for one in rows):
        raise SpecError(f"{file}: expected a table of Accelergy, {kind}: {{tables: [...]}}")
    names = [str(one.get("name")) for one in rows]
    unmapped = [name for name in names if name not in table.components]
    if unmapped:
        raise SpecError(
            f"{path}: accelergy.{kind.lower()}.components: {', '.join(unmapped)} of {table.file} "
            f"not said to be anything, expected {_ENERGIES if kind == 'ERT' else _AREAS}"
        )
    missing = [name for name in table.components if name not in names]
    if missing:
        raise SpecError(f"{file}: {missing[0]} is missing, expected one of {', '.join(names)}")
    for name, row in zip(names, rows, strict=True):
        if table.components[name].replaces != NOTHING:
            yield name, table.components[name], row


def _energies(table: _Table, path: Path) -> Iterator[_Figure]:
    for name, component, row in _rows(table, "ERT", path):
        actions = [one for one in row.get("actions") or [] if isinstance(one, Mapping)]
        named = [one for one in actions if component.action in ("", one.get("name"))]
        if len(named) != 1:
            known = ", ".join(str(one.get("name")) for one in actions)
            raise SpecError(
                f"{path.parent / table.file}: {name}: action {component.action!r}, expected one "
                f"of {known or 'none'} that stands there once"
            )
        energy = _number(named[0].get("energy"), f"{path.parent / table.file}: {name}: energy")
        yield _Figure(f"{path}: {name}", component.replaces, table.file, energy / component.bits)


def _areas(table: _Table, path: Path) -> Iterator[_Figure]:
    for name, component, row in _rows(table, "ART", path):
        area = _number(row.get("area"), f"{path.parent / table.file}: {name}: area")
        yield _Figure(f"{path}: {name}", component.replaces, table.file, area / component.bits)


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise SpecError(f"{where} is {value!r}, expected a number above 0")
    return float(value)


def _put_energy(own: dict[str, Any], one: _Figure, base: Technology) -> None:
    """Put an energy into a technology's fields, of which it has no band."""
    what, _, of = one.what.partition(".")
    figure = {"value": one.value, "source": one.of}
    energy = own["energy"]
    kind = next((kind for kind in ("int", "float") if of.startswith(kind)), "")
    bits = of.removeprefix(kind)
    if what == "mac" and kind and bits.isdecimal():
        others = [m for m in energy["macs"] if (m["arithmetic"], str(m["bits"])) != (kind, bits)]
        energy["macs"] = (*others, {"arithmetic": kind, "bits": int(bits), "pj": figure})
    elif one.what == "register_bit":
        energy["register_bit"] = figure
    elif what == "dram" and of:
        energy["dram"] = {**energy["dram"], of: figure}
    else:
        _put_buffer(own, one, base, {"read_pj": one.value}, _ENERGIES)


def _put_area(own: dict[str, Any], one: _Figure, base: Technology) -> None:
    what, _, of = one.what.partition(".")
    if what == "cells" and of in CELLS:
        own["cells"] = {**own["cells"], of: {"value": one.value, "source": one.of}}
    else:
        _put_buffer(own, one, base, {"mm2": one.value * 1e-6}, _AREAS)


def _put_buffer(
    own: dict[str, Any], one: _Figure, base: Technology, told: Mapping[str, float], known: str
) -> None:
    """A figure of a buffer of some KiB; what else it takes is as the base has it of that size."""
    what, _, text = one.what.partition(".")
    if what != "sram" or not text.replace(".", "", 1).isdecimal() or own["energy"] is None:
        raise SpecError(f"{one.where}: replaces is {one.what!r}, expected {known}")
    kib = float(text)
    sizes = {size["kib"]: size for size in own["energy"]["sram"]}
    usual = {
        "kib": kib,
        "read_pj": base.sram_read_pj(kib).value,
        "mm2": base.sram_um2(kib) * 1e-6,
        "leakage_uw": base.sram_leakage_uw(kib),
    }
    sizes[kib] = {**sizes.get(kib, usual), **told, "source": one.of}
    own["energy"]["sram"] = tuple(sizes[size] for size in sorted(sizes))
