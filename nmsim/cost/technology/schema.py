"""What the YAML file of a technology says."""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from nmsim.cost.bill import CELLS, Cell
from nmsim.errors import SpecError
from nmsim.spec import Spec

__all__ = ["Band", "Energies", "Figure", "MacEnergy", "Sram", "Technology"]

Positive = Annotated[float, Field(gt=0, le=1e12)]


class Band(NamedTuple):
    """A value, and what published sources let it be."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Band":
        """So many of it."""
        return Band(*(factor * one for one in self))

    @classmethod
    def total(cls, bands: "Sequence[Band]") -> "Band":
        """The sum, low and high ends together: what errs is a table, not chance."""
        return cls(*(math.fsum(ends) for ends in zip(*bands, strict=True))) if bands else NONE


NONE = Band(0.0, 0.0, 0.0)


class Figure(Spec):
    """A figure, the band that published sources give it, and which of ``sources`` it is from."""

    value: Positive
    low: Positive | None = Field(None, description="the least that a source says; null: value")
    high: Positive | None = Field(None, description="the most that a source says; null: value")
    source: str = Field(description="a name of `sources`")
    ends: tuple[str, ...] = Field(
        (), description="names of `sources` that low and high are from; none: `source`"
    )

    @property
    def band(self) -> Band:
        """The value between its ends."""
        ends = (self.low or self.value, self.high or self.value)
        return Band(self.value, min(ends), max(ends))


class Sram(Spec):
    """A buffer of one size: what a read of one bit takes, its area and its leakage."""

    kib: Positive = Field(description="size, KiB")
    source: str = Field("", description="a name of `sources`; empty: `sram_source`")
    read_pj: Positive = Field(description="of a bit that is read, pJ")
    mm2: Positive = Field(description="area")
    leakage_uw: Positive = Field(description="leakage, microwatts")


class MacEnergy(Spec):
    """What a multiply-accumulate of one number format takes."""

    arithmetic: Literal["int", "float"]
    bits: Annotated[int, Field(ge=1, le=64)] = Field(description="of an operand")
    pj: Figure


class Energies(Spec):
    """What work takes, pJ."""

    macs: tuple[MacEnergy, ...] = Field(min_length=1, description="by number format")
    register_bit: Figure = Field(description="a bit of a register, clocked")
    wire_bit_mm: Figure = Field(description="a bit, moved by a millimetre")
    sram: tuple[Sram, ...] = Field(min_length=1, description="buffers by size, ascending")
    sram_source: str = Field(description="a name of `sources`")
    sram_factor: tuple[Positive, Positive] = Field(
        (1.0, 1.0), description="band of a read: least and most, over the value"
    )
    dram: Mapping[str, Figure] = Field(description="a bit from or to memory, by kind")
    memory: str = Field(description="kind of a machine that does not say")
    leakage_nw: Figure | None = Field(None, description="of a gate equivalent, nW")


class Technology(Spec):
    """A technology: areas of cells, and what energy work takes."""

    name: str = Field("", description="filled in from the file's name")
    summary: str = Field("", description="one line")
    node_nm: Positive | None = Field(None, description="nm; null: none")
    volts: Positive | None = Field(None, description="supply")
    sources: Mapping[str, str] = Field(description="what figures are from, by a short name")
    unit: Literal["um2", "transistors"] = Field("um2", description="of `cells`")
    cells: Mapping[str, Figure] = Field(description="area of a cell of one bit")
    energy: Energies | None = Field(None, description="pJ; null: runs cannot be priced")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for cell in self.cells:
            if cell not in CELLS:
                raise ValueError(f"cells.{cell}: expected one of {', '.join(CELLS)}")
        for cell in ("dff", "mux2", "not", "and2", "or2", "nand2", "nor2", "xor2"):
            if cell not in self.cells:
                raise ValueError(f"cells.{cell} is missing")
        if self.energy is not None and self.energy.memory not in self.energy.dram:
            raise ValueError(f"energy.memory is {self.energy.memory!r}: expected one of dram")
        for where, source in self._cited():
            if source not in self.sources:
                known = ", ".join(self.sources)
                raise ValueError(f"{where}: source {source!r} is none of sources ({known})")
        return self

    def _cited(self) -> Iterator[tuple[str, str]]:
        """Which figure cites which source, of all figures of the table."""
        figures = {f"cells.{name}": one for name, one in self.cells.items()}
        own = self.energy
        if own is not None:
            yield "energy.sram_source", own.sram_source
            yield from ((f"energy.sram {one.kib:g}", one.source) for one in own.sram if one.source)
            figures |= {f"energy.macs {one.arithmetic}{one.bits}": one.pj for one in own.macs}
            figures |= {f"energy.dram.{name}": one for name, one in own.dram.items()}
            figures |= {"energy.register_bit": own.register_bit}
            figures |= {"energy.wire_bit_mm": own.wire_bit_mm}
            figures |= {"energy.leakage_nw": own.leakage_nw} if own.leakage_nw else {}
        for where, figure in figures.items():
            yield from ((where, source) for source in (figure.source, *figure.ends))

    def area(self, cell: Cell) -> float:
        """Area of a cell; of one that a library lacks, of what takes its place."""
        if cell in self.cells:
            return self.cells[cell].value
        return sum(self.cells[one].value for one in _INSTEAD[cell])

    @property
    def gate(self) -> float:
        """Area of the gate equivalent: a NAND of two inputs."""
        return self.cells["nand2"].value

    def ge(self, cells: Mapping[Cell, float]) -> float:
        """Gate equivalents of some cells."""
        return sum(count * self.area(cell) for cell, count in cells.items()) / self.gate

    def um2(self, ge: float) -> float | None:
        """Square micrometres of gate equivalents; None where the table counts transistors."""
        return ge * self.gate if self.unit == "um2" else None

    @property
    def energies(self) -> Energies:
        """What work takes.

        Raises
        ------
        SpecError
            if the table says nothing of it.
        """
        if self.energy is None:
            raise SpecError(f"technology {self.name}: has no energies, expected one that has")
        return self.energy

    def mac_pj(self, bits: int, *, floating: bool) -> Band:
        """Energy of a MAC; between the widths that the table has by a power of the width."""
        kind = "float" if floating else "int"
        known = sorted(
            ((one.bits, one.pj.band) for one in self.energies.macs if one.arithmetic == kind),
        )
        if not known:
            raise SpecError(f"technology {self.name}: energy.macs has none of {kind}")
        return Band(
            *(between([(width, band[end]) for width, band in known], bits) for end in range(3))
        )

    def sram_read_pj(self, kib: float) -> Band:
        """Energy of a bit that a buffer of some KiB reads or writes."""
        own = self.energies
        least = own.sram[0]
        if kib < least.kib:  # lines grow with the side of the array of bits
            value = least.read_pj * math.sqrt(kib / least.kib)
        else:
            value = between([(one.kib, one.read_pj) for one in own.sram], kib)
        return Band(value, value * own.sram_factor[0], value * own.sram_factor[1])

    def sram_um2(self, kib: float) -> float:
        """Area of a buffer, square micrometres."""
        return 1e6 * between([(one.kib, one.mm2) for one in self.energies.sram], kib)

    def sram_leakage_uw(self, kib: float) -> float:
        """Leakage of a buffer, microwatts."""
        return between([(one.kib, one.leakage_uw) for one in self.energies.sram], kib)

    def dram_pj(self, memory: str | None) -> Band:
        """Energy of a bit from or to memory of a kind; None: the table's own."""
        own = self.energies
        name = memory or own.memory
        if name not in own.dram:
            known = ", ".join(sorted(own.dram))
            raise SpecError(f"dram.memory is {name!r}, expected one of {known} ({self.name})")
        return own.dram[name].band


_INSTEAD: Mapping[Cell, tuple[Cell, ...]] = {
    "xnor2": ("xor2",),
    "andnot": ("nor2", "not"),
    "ornot": ("nand2", "not"),
}
"""What takes the place of a cell that a library does not have."""


def between(points: Sequence[tuple[float, float]], at: float) -> float:
    """A positive value between known ones by a power of the place; beyond them by the last power.

    Examples
    --------
    >>> between([(1, 1), (4, 2)], 16)
    4.0
    """
    if len(points) == 1:
        return points[0][1]
    places = [place for place, _ in points]
    high = min(max(bisect_left(places, at), 1), len(points) - 1)
    (x0, y0), (x1, y1) = points[high - 1], points[high]
    exponent = math.log(y1 / y0) / math.log(x1 / x0)
    return float(y0 * (at / x0) ** exponent)
