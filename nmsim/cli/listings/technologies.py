"""Technologies, as ``nmsim list technologies`` and ``nmsim show technology NAME`` tell of them."""

from nmsim.cost.technology import TECHNOLOGIES, Technology, load_technology
from nmsim.registry import Facts, Listing

__all__ = ["LISTING"]


def _facts(name: str) -> Facts:
    found = load_technology(name)
    own = [("name", found.name), ("summary", found.summary)]
    cells = [
        (cell, f"{one.value:.4g} {found.unit} ({one.source})") for cell, one in found.cells.items()
    ]
    return [*own, *cells, *_energies(found), *found.sources.items()]


def _energies(technology: Technology) -> Facts:
    if technology.energy is None:
        return []
    macs = [(f"MAC {one.arithmetic}{one.bits}", one.pj, "pJ") for one in technology.energy.macs]
    memories = [(name, one, "pJ a bit") for name, one in technology.energy.dram.items()]
    return [
        (name, f"{one.value:.4g} {unit}, {one.band.low:.4g} to {one.band.high:.4g} ({one.source})")
        for name, one, unit in (*macs, *memories)
    ]


LISTING = Listing(lambda: TECHNOLOGIES, TECHNOLOGIES.summary, _facts, Technology)
