"""What predictions ask of a machine whose library calls were measured."""

from nmsim.errors import SpecError
from nmsim.machines import Machine, kind_of
from nmsim.machines.kind import Routines

__all__ = ["routines_of"]


def routines_of(machine: Machine) -> Routines:
    """How a machine times the routines of its libraries.

    Raises
    ------
    SpecError
        of a kind of machine that has no libraries.
    """
    routines = kind_of(machine).routines
    if routines is None:
        raise SpecError(f"hardware {machine.name}: expected a GPU, as measured times are of one")
    return routines
