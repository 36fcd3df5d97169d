"""What a machine of any kind is built of."""

from nmsim.cost.chip import Chip
from nmsim.errors import SpecError
from nmsim.machines.kind import KINDS, Machine, Unmodelled, kind_of

__all__ = ["chip_of", "unmodelled"]


def chip_of(machine: Machine) -> Chip:
    """The PEs, arrays and buffers of a machine.

    Raises
    ------
    SpecError
        if its kind does not say what it is built of; names those that do.
    """
    silicon = kind_of(machine).silicon
    if silicon is None:
        known = " or ".join(sorted(name for name in KINDS if KINDS[name].silicon is not None))
        raise SpecError(
            f"{machine.name}: a machine of kind {machine.kind} does not say what it is built of, "
            f"expected one of kind {known}"
        )
    return silicon(machine)


def unmodelled(machine: Machine) -> Unmodelled | None:
    """What is said instead of a machine whose silicon no source tells; None: its kind tells it."""
    said = kind_of(machine).unmodelled
    return None if said is None else said(machine)
