"""Area, leakage and delay of a chip in a technology."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from nmsim.cost.bill import Bill, Component
from nmsim.cost.chip import Chip, bill_of_chip
from nmsim.cost.pe.built import bill_of, mac_in
from nmsim.cost.pe.delay import Delay
from nmsim.cost.pe.mac import MULTIPLIERS
from nmsim.cost.pe.structure import PeStructure
from nmsim.cost.technology import Technology

__all__ = ["Cost", "Priced", "cost_of", "per_dense_mac", "priced"]


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
    per_dense_mac, array_per_dense_mac
        Area for each MAC that the dense twin would need, over that twin's: of a PE, and of all PEs
        with what stands at their edges; 1 if it is dense itself, None where no mask says how many
        these are.
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
    array_per_dense_mac: float | None
    band: tuple[float, float]

    @property
    def pe_ge(self) -> float:
        """Gate equivalents of a PE."""
        return math.fsum(one.area_ge for one in self.pe)

    @property
    def growth(self) -> float:
        """Area of the PE over that of its dense twin, which multiplies as many products."""
        return self.pe_ge / self.dense_pe_ge

    def document(self) -> dict[str, Any]:
        """As ``nmsim cost --format json`` prints it."""
        both = {
            "delay_levels": self.delay.levels,
            "dense_delay_levels": self.delay.dense_levels,
            "clock_share": self.delay.clock_share,
        }
        pe = {**both, "per_dense_mac": self.per_dense_mac, "growth": self.growth}
        array = {**both, "per_dense_mac": self.array_per_dense_mac, "pes": self.chip.pes}
        return {
            "pe": {**_sums(self.pe), **pe},
            "array": {**_sums(self.array), **array},
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
    own, dense = bill_of(chip.pe), bill_of(chip.pe.dense)
    whole = bill_of_chip(chip, own)
    dense_ge = technology.ge(dense.cells())

    def over_dense(bill: Bill, pes: int) -> float | None:
        area = technology.ge(bill.cells()) / (pes * dense_ge)
        return None if chip.density is None else area * chip.density

    return Cost(
        chip=chip,
        technology=technology,
        pe=priced(own, technology),
        array=priced(whole, technology),
        dense_pe_ge=dense_ge,
        delay=chip.delay,
        per_dense_mac=over_dense(own, 1),
        array_per_dense_mac=over_dense(whole, chip.pes),
        band=_band(chip.pe, own, dense, technology),
    )


def per_dense_mac(chip: Chip, technology: Technology) -> float | None:
    """Area of a PE for each MAC that dense PEs would need, over a dense PE with one multiplier.

    PEs of one and of several multipliers are held against the same one so; ``Cost`` holds each
    against its own dense twin, which has as many. None where no mask says how many MACs these are.
    """
    if chip.density is None:
        return None
    lone = replace(chip.pe.dense, macs=1)
    area, least = (technology.ge(bill_of(one).cells()) for one in (chip.pe, lone))
    return area * chip.density / (chip.pe.macs * least)


def _band(pe: PeStructure, own: Bill, base: Bill, technology: Technology) -> tuple[float, float]:
    """Growth of a PE, by the largest and the smallest MAC that a flow makes of its width."""
    beside, dense = (technology.ge(one.cells(without=["mac"])) for one in (own, base))
    found = []
    for multiplier in MULTIPLIERS:
        mac = technology.ge(mac_in(pe, multiplier).cells)
        found.append((mac + beside) / (mac + dense))
    return min(found), max(found)
