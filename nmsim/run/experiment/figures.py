"""Figures of a point that follow without a run: what its machine is built of, and what it keeps.

Searches name them as they name sums of a point. ``area_ge`` and ``area_um2`` are those of the
whole machine, as ``nmsim cost`` prints them in the point's technology; ``memory_bytes`` is what a
step keeps in memory, and ``capacity_bytes`` what the machine has, as ``nmsim simulate`` tells them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from nmsim.cost.price import cost_of
from nmsim.cost.technology import load_technology
from nmsim.files import remembered
from nmsim.machines import Machine, chip_of
from nmsim.run.memory import held
from nmsim.run.point import Point

__all__ = ["FIGURES"]

Figure = int | float | None


def _area(unit: str) -> Callable[[Point], Figure]:
    def area(point: Point) -> Figure:
        load_technology(point.technology)  # which looks whether its file is as it was
        found: Figure = _array(point.machine, str(point.technology))[unit]
        return found

    return area


@remembered(maxsize=64)
def _array(machine: Machine, technology: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = cost_of(chip_of(machine), load_technology(technology)).document()
    array: Mapping[str, Any] = found["array"]
    return array


FIGURES: Mapping[str, Callable[[Point], Figure]] = {
    "area_ge": _area("area_ge"),
    "area_um2": _area("area_um2"),
    "memory_bytes": lambda point: held(point).memory_bytes,
    "capacity_bytes": lambda point: point.machine.capacity_bytes,
}
"""By name: from a point to its figure; None where it has none."""
