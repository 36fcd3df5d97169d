"""An array of processing elements with its buffers: what it is built of.

What comes in at a row or column a cycle later than at the one before is read so from the buffers,
by staggered addresses: no registers delay it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from nmsim.cost.bill import Bill, Component
from nmsim.cost.pe.built import bill_of
from nmsim.cost.pe.delay import Delay, delay_of
from nmsim.cost.pe.structure import PeStructure

__all__ = ["Buffer", "Chip", "bill_of_chip"]


@dataclass(frozen=True)
class Buffer:
    """Buffers alike: whose they are, KiB of each, and how many there are."""

    name: str
    kib: float
    count: int = 1


@dataclass(frozen=True)
class Chip:
    """Arrays of PEs alike, and buffers.

    Parameters
    ----------
    pe
        One of the PEs.
    rows, cols, arrays
        PEs of an array, and arrays.
    density
        Share of the elements that a mask which the PE is made for keeps, at least; None where it
        does not follow from the structure.
    edge_rows, edge_cols
        PEs at the rows' or columns' edge choose for all others, which have no multiplexers.
    buffers
        Of all arrays.
    memory
        Kind of DRAM, as technologies call it; None: a technology's own.
    """

    pe: PeStructure
    rows: int
    cols: int
    arrays: int = 1
    density: float | None = 1.0
    edge_rows: bool = False
    edge_cols: bool = False
    buffers: tuple[Buffer, ...] = ()
    memory: str | None = None

    @property
    def pes(self) -> int:
        """PEs of all arrays."""
        return self.arrays * self.rows * self.cols

    @property
    def edge_multiplexers(self) -> int:
        """Multiplexers at the edges of all arrays, where PEs there choose for all others."""
        each = self.rows * self.edge_rows + self.cols * self.edge_cols
        return self.arrays * each * self.pe.macs

    @property
    def path_bits(self) -> int:
        """Bits a cycle that come in at the edges while rows stream, with their indices.

        What moves comes in at the rows; under os B does at the columns.
        """
        pe, sides = self.pe, (self.rows, self.cols)
        return self.arrays * sum(
            side * pe.moving_bits(one) for one, side in zip(pe.moving, sides, strict=False)
        )

    @property
    def delay(self) -> Delay:
        """The longest path of any of its PEs."""
        return delay_of(self.pe, at_edge=self.edge_multiplexers > 0)

    @property
    def dense(self) -> "Chip":
        """The same with dense PEs: what the chip is held against."""
        return replace(self, pe=self.pe.dense, density=1.0, edge_rows=False, edge_cols=False)


def bill_of_chip(chip: Chip, pe: Bill | None = None) -> Bill:
    """The components of a chip; those of its PEs, if they are known."""
    own = pe or bill_of(chip.pe)
    rest = Bill.of([*_edges(chip), *_buffers(chip), *_wires(chip)])
    return own.times(chip.pes).plus(rest)


def _edges(chip: Chip) -> Iterator[Component]:
    """Multiplexers of the PEs at the edge, where these choose for all others."""
    pe = chip.pe
    count = chip.edge_multiplexers * pe.multiplexer.two_input
    name = f"selection at the edge, {pe.inputs}:1"
    yield Component(name, "multiplexer", count, "two-input multiplexers", {"mux2": 1})


def _buffers(chip: Chip) -> Iterator[Component]:
    for one in chip.buffers:
        bits = round(one.kib * 8192)
        name = f"buffer {one.name}, {one.kib:g} KiB"
        yield Component(name, "sram", one.count, f"buffers of {bits} bits", sram_kib=one.kib)


def _wires(chip: Chip) -> Iterator[Component]:
    """Wires from PE to PE, counted and not priced: they run over the cells."""
    own = chip.pe.registers
    bits = own.passed * own.word_bits + own.metadata_bits + own.accumulator_bits
    yield Component(
        "wires between PEs (estimate; over the cells, no area)",
        "wire",
        chip.pes * bits,
        "wires of a PE's pitch",
    )
