"""Energy columns of rows, where a run asks for them."""

from collections.abc import Callable, Sequence
from typing import Any

from nmsim.cost.energy import Energy
from nmsim.cost.technology import load_technology
from nmsim.files import remembered
from nmsim.machines import Machine, kind_of
from nmsim.result import ENERGY_COLUMNS, Columns, Result
from nmsim.run.rows.row import GemmRun

__all__ = ["energies", "pricing"]

Pricing = Callable[[Result], Energy]


def energies(technology: str, runs: Sequence[GemmRun]) -> Columns:
    """The columns of GEMMs that ran; prices of a machine are worked out once.

    None in all of them where nobody asks ("" for a technology), the kind of machine has no prices,
    or the model no counters.
    """
    if not technology:
        none: Sequence[Any] = [None] * len(runs)
        return dict.fromkeys((column.name for column in ENERGY_COLUMNS), none)
    load_technology(technology)  # which looks whether its file is as it was
    found = [_columns(_pricing(run.ran.machine, technology), run.result) for run in runs]
    return {column.name: [one.get(column.name) for one in found] for column in ENERGY_COLUMNS}


def _columns(pricing: Pricing | None, result: Result) -> dict[str, Any]:
    return {} if pricing is None or not result.cycles else pricing(result).columns()


@remembered(maxsize=64)
def _pricing(machine: Machine, technology: str) -> Pricing | None:
    return pricing(machine, technology)


def pricing(machine: Machine, technology: str) -> Pricing | None:
    """What prices results of a machine; None: its kind has no prices, or not of this machine."""
    kind = kind_of(machine)
    return None if kind.energy is None else kind.energy(machine, load_technology(technology))
