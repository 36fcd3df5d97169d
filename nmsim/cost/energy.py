"""Energy of a run by component: what engines count, times what a technology says it takes.

A count is the engine's and a price the table's; a component is one times the other, and the total
is their sum. Bands are those of the tables: published figures of one thing differ by two to four
times, and they err together.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from nmsim.cost.bill import Bill
from nmsim.cost.chip import Chip, bill_of_chip
from nmsim.cost.pe.built import bill_of
from nmsim.cost.pe.structure import PeStructure
from nmsim.cost.technology import Band, Technology

__all__ = ["PARTS", "Counters", "Energy", "Prices", "energy_of", "prices_of"]

PARTS = ("mac", "mux", "register", "sram", "hop", "dram", "metadata", "static")
"""Components of a run's energy, in the order of a row's columns."""

NONE = Band(0.0, 0.0, 0.0)


class Energy(NamedTuple):
    """Energy of a run by component, pJ.

    ``mac`` multiplies and adds, ``mux`` selects (and queues), ``register`` clocks, ``sram`` reads
    and writes buffers, ``hop`` moves words and sums from PE to PE, ``dram`` moves them to and from
    memory, ``metadata`` reads which elements were kept from the buffers, ``static`` leaks.
    """

    mac: Band = NONE
    mux: Band = NONE
    register: Band = NONE
    sram: Band = NONE
    hop: Band = NONE
    dram: Band = NONE
    metadata: Band = NONE
    static: Band = NONE

    @property
    def total(self) -> Band:
        """All components, and the ends of their bands."""
        return Band.total(self)

    def columns(self) -> dict[str, float]:
        """The columns of a row: the components, and what they sum up to."""
        own = {f"energy_{name}_pj": band.value for name, band in zip(PARTS, self, strict=True)}
        total = self.total
        return {
            "energy_pj": math.fsum(own.values()),
            "energy_low_pj": total.low,
            "energy_high_pj": total.high,
            **own,
        }


@dataclass(frozen=True)
class Counters:
    """What a run does, as engines count it.

    Parameters
    ----------
    macs
        Slots in which a multiplier works.
    cycles
        In which registers are clocked; waiting for memory stops the clock.
    sram_bits
        Read from and written to each buffer, metadata included.
    metadata_bits
        The part that is metadata, by buffer.
    hop_bits
        From PE to PE.
    dram_bits
        From and to memory, metadata included.
    time_us
        In which everything leaks.
    """

    macs: float
    cycles: float
    sram_bits: Mapping[str, float]
    metadata_bits: Mapping[str, float]
    hop_bits: float
    dram_bits: float
    time_us: float


@dataclass(frozen=True)
class Prices:
    """What the counts of a chip are multiplied by, pJ.

    Parameters
    ----------
    mac, select
        A MAC, and what is selected for it.
    clock
        A cycle of all registers.
    sram
        A bit of each buffer.
    hop, dram
        A bit from PE to PE, and from or to memory.
    static
        A microsecond: microwatts.
    """

    mac: Band
    select: Band
    clock: Band
    sram: Mapping[str, Band]
    hop: Band
    dram: Band
    static: Band


def prices_of(chip: Chip, technology: Technology) -> Prices:
    """Prices of a chip's work in a technology.

    Multiplexers of PEs and of the array's edge take as much of the MACs' energy as they have of
    their area. A bit moves from PE to PE by the side of a square PE. What leaks is all cells and
    buffers.

    Raises
    ------
    SpecError
        if the technology says nothing of energies, or not of the chip's memory.
    """
    pe, own = chip.pe, technology.energies
    one = _bill(pe)
    mac = technology.mac_pj(pe.operand_bits, floating=pe.floating)
    bill = bill_of_chip(chip, one)
    pitch = math.sqrt(technology.um2(technology.ge(one.cells())) or 0.0) * 1e-3
    cells = bill.cells()
    leaks = own.leakage_nw.band.times(1e-3 * technology.ge(cells)) if own.leakage_nw else NONE
    buffers = math.fsum(one.count * technology.sram_leakage_uw(one.kib) for one in chip.buffers)
    return Prices(
        mac=mac,
        select=mac.times(_selecting(bill, technology)),
        clock=own.register_bit.band.times(cells.get("dff", 0.0)),
        sram={one.name: technology.sram_read_pj(one.kib) for one in chip.buffers},
        hop=own.wire_bit_mm.band.times(pitch),
        dram=technology.dram_pj(chip.memory),
        static=Band.total([leaks, Band(buffers, buffers, buffers)]),
    )


@lru_cache(maxsize=1024)
def _bill(pe: PeStructure) -> Bill:
    return bill_of(pe)


def _selecting(bill: Bill, technology: Technology) -> float:
    """Area of what selects for MACs over that of the MACs."""
    selects = bill.cells(without=["mac", "register", "metadata"])
    selects.pop("dff", None)  # registers of queues are clocked as all are
    macs = bill.cells(without=["multiplexer", "register", "metadata", "queue", "control"])
    return technology.ge(selects) / technology.ge(macs)


def energy_of(prices: Prices, counted: Counters) -> Energy:
    """Energy of a run on a chip."""
    metadata = _stored(prices, counted.metadata_bits)
    read = {
        name: bits - counted.metadata_bits.get(name, 0.0)
        for name, bits in counted.sram_bits.items()
    }
    return Energy(
        mac=prices.mac.times(counted.macs),
        mux=prices.select.times(counted.macs),
        register=prices.clock.times(counted.cycles),
        sram=_stored(prices, read),
        hop=prices.hop.times(counted.hop_bits),
        dram=prices.dram.times(counted.dram_bits),
        metadata=metadata,
        static=prices.static.times(counted.time_us),
    )


def _stored(prices: Prices, bits: Mapping[str, float]) -> Band:
    return Band.total([prices.sram[name].times(count) for name, count in bits.items() if count])
