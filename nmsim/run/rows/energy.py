"""Energy columns of a row, where a run asks for them."""

from collections.abc import Callable
from typing import Any

from nmsim.cost.energy import Energy
from nmsim.cost.technology import Technology, load_technology
from nmsim.machines import Machine, kind_of
from nmsim.result import ENERGY_COLUMNS, Result

__all__ = ["energies", "no_energies"]

Pricing = Callable[[Result], Energy]


def energies(technology: str) -> Callable[[Machine, Result], dict[str, Any]]:
    """From a machine and a result to the columns; prices of a machine are worked out once.

    None in all of them where the kind of machine has no prices, or the model no counters.
    """
    table = load_technology(technology)
    known: dict[Machine, Pricing | None] = {}

    def columns(machine: Machine, result: Result) -> dict[str, Any]:
        if machine not in known:
            known[machine] = _pricing(machine, table)
        pricing = known[machine]
        none = pricing is None or not result.cycles
        return no_energies() if none or pricing is None else pricing(result).columns()

    return columns


def _pricing(machine: Machine, technology: Technology) -> Pricing | None:
    kind = kind_of(machine)
    return None if kind.energy is None else kind.energy(machine, technology)


def no_energies() -> dict[str, Any]:
    """The columns of a row without energies."""
    return dict.fromkeys(column.name for column in ENERGY_COLUMNS)
