"""Area, leakage and delay of a chip in a technology."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nmsim.cost.bill import Bill, Component
from nmsim.cost.chip import Chip, bill_of_chip
from nmsim.cost.pe.built import bill_of
from nmsim.cost.pe.delay import Delay, delay_of
from nmsim.cost.pe.mac import mac_cells
from nmsim.cost.pe.structure import PeStructure
from nmsim.cost.technology import Technology

__all__ = ["Cost", "Priced", "cost_of", "per_dense_mac", "pitch_mm", "priced"]


@dataclass(frozen=True)
class Priced:
    """A component with its area, gate equivalents and square micrometres, and its leakage.

    ``area_um2`` is None where a technology counts transistors, ``leakage_uw`` where it has none;
    ``area_ge`` of a buffer is its area over a gate's.
    """

    component: Component
    area_ge: float
    area_um2: float | None
    leakage_uw: float | None
    source: str

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "name": self.component.name,
            "part": self.component.part,
            "count": self.component.count,
            "unit": self.component.unit,
            "area_ge": self.area_ge,
            "area_um2": self.area_um2,
            "leakage_uw": self.leakage_uw,
            "source": self.source,
        }


def priced(bill: Bill, technology: Technology) -> tuple[Priced, ...]:
    """The components of a bill with what they take."""
    return tuple(_price(one, technology) for one in bill.components)


def _price(one: Component, technology: Technology) -> Priced:
    if one.sram_kib:
        return _price_buffer(one, technology)
    ge = one.count * technology.ge(one.cells)
    energy = technology.energy
    leaks = energy.leakage_nw.value * 1e-3 * ge if energy and energy.leakage_nw else None
    source = f"{technology.name}: cells; {one.basis}"
    return Priced(one, ge, technology.um2(ge), leaks, source)


def _price_buffer(one: Component, technology: Technology) -> Priced:
    if technology.energy is None:
        return Priced(one, 0.0, None, None, f"{technology.name}: has no buffers")
    um2 = one.count * technology.sram_um2(one.sram_kib)
    leaks = one.count * technology.sram_leakage_uw(one.sram_kib)
    source = f"{technology.name}: {technology.energy.sram_source}"
    return Priced(one, um2 / technology.gate, um2, leaks, source)


@dataclass(frozen=True)
class Cost:
    """What a chip takes in a technology.

    Parameters
    ----------
    chip, technology
        Whose.
    pe, array
        Components of one PE, and of the whole, buffers included.
    dense_pe_ge
        Gate equivalents of the dense PE, one multiplier a PE taken so often as there are.
    delay
        Of the PE.
    per_dense_mac
        Area of a PE for each MAC that a dense PE would need, over that PE's; None where no mask
        says how many these are.
    band
        The same growth of the PE with the MAC of each multiplier: least and most.
    """

    chip: Chip
    technology: Technology
    pe: tuple[Priced, ...]
    array: tuple[Priced, ...]
    dense_pe_ge: float
    delay: Delay
    per_dense_mac: float | None
    band: tuple[float, float]

    @property
    def pe_ge(self) -> float:
        """Gate equivalents of a PE."""
        return math.fsum(one.area_ge for one in self.pe)

    @property
    def array_ge(self) -> float:
        """Gate equivalents of the whole, buffers included."""
        return math.fsum(one.area_ge for one in self.array)

    @property
    def logic_ge(self) -> float:
        """Gate equivalents of all PEs and what stands at their edges, without buffers."""
        return math.fsum(one.area_ge for one in self.array if not one.component.sram_kib)

    @property
    def growth(self) -> float:
        """Area of the PE over that of its dense twin, which multiplies as many products."""
        return self.pe_ge / self.dense_pe_ge

    @property
    def leakage_uw(self) -> float:
        """Leakage of the whole, microwatts; 0 where a technology says nothing of it."""
        return math.fsum(one.leakage_uw or 0.0 for one in self.array)

    def document(self) -> dict[str, Any]:
        """As ``nmsim cost --format json`` prints it."""
        both = {
            "delay_levels": self.delay.levels,
            "dense_delay_levels": self.delay.dense_levels,
            "clock_share": self.delay.clock_share,
            "per_dense_mac": self.per_dense_mac,
        }
        return {
            "pe": {**_sums(self.pe), **both, "growth": self.growth},
            "array": {**_sums(self.array), **both, "pes": self.chip.pes},
            "band": {
                "of": "area of a PE over the dense one",
                "value": self.growth,
                "low": min(self.band[0], self.growth),
                "high": max(self.band[1], self.growth),
            },
            "tables": {"technology": self.technology.name, **self.technology.sources},
        }


def _sums(parts: Sequence[Priced]) -> dict[str, Any]:
    areas = [one.area_um2 for one in parts]
    known = [one for one in areas if one is not None]
    return {
        "components": [one.document() for one in parts],
        "area_ge": math.fsum(one.area_ge for one in parts),
        "area_um2": math.fsum(known) if known and len(known) == len(areas) else None,
        "leakage_uw": math.fsum(one.leakage_uw or 0.0 for one in parts),
    }


def cost_of(chip: Chip, technology: Technology) -> Cost:
    """What a chip takes in a technology."""
    own = bill_of(chip.pe)
    pe = priced(own, technology)
    dense = technology.ge(bill_of(chip.pe.dense).cells())
    return Cost(
        chip=chip,
        technology=technology,
        pe=pe,
        array=priced(bill_of_chip(chip, own), technology),
        dense_pe_ge=dense,
        delay=delay_of(chip.pe),
        per_dense_mac=per_dense_mac(chip, technology),
        band=_band(chip.pe, technology),
    )


def per_dense_mac(chip: Chip, technology: Technology) -> float | None:
    """Area for each dense-equivalent MAC, over that of a dense PE with one multiplier."""
    if chip.density is None:
        return None
    one = PeStructure(
        operand_bits=chip.pe.operand_bits,
        sum_bits=chip.pe.sum_bits,
        floating=chip.pe.floating,
        dataflow=chip.pe.dataflow,
    )
    lone = technology.ge(bill_of(one).cells())
    return technology.ge(bill_of(chip.pe).cells()) * chip.density / (chip.pe.macs * lone)


def _band(pe: PeStructure, technology: Technology) -> tuple[float, float]:
    """Growth of a PE, by the largest and the smallest MAC that a flow makes of its width."""
    beside = technology.ge(bill_of(pe).cells(without=["mac"]))
    dense = technology.ge(bill_of(pe.dense).cells(without=["mac"]))
    found = []
    for multiplier in ("default", "booth"):
        cells, _ = mac_cells(
            pe.operand_bits, pe.sum_bits, floating=pe.floating, multiplier=multiplier
        )
        mac = pe.macs * technology.ge(cells)
        found.append((mac + beside) / (mac + dense))
    return min(found), max(found)


def pitch_mm(cost: Cost) -> float | None:
    """Side of a PE that is square, mm; None where a technology has no areas."""
    um2 = cost.technology.um2(cost.pe_ge)
    return None if um2 is None else math.sqrt(um2) * 1e-3
