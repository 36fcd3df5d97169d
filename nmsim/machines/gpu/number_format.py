"""A GPU as it runs operands in the number format that a recipe asks for."""

from functools import lru_cache

from nmsim.machines.gpu.schema import Gpu
from nmsim.machines.kind import Ran

__all__ = ["in_format"]


@lru_cache(maxsize=256)
def in_format(machine: Gpu, wanted: str = "") -> Ran:
    """The GPU with another ``dtype``, at that format's rate; if it has none such, with its own.

    Parameters
    ----------
    wanted
        From ``nmsim.formats``, or empty.
    """
    if not wanted:
        return Ran(machine, machine.dtype)
    has = any(form.dtype == wanted for form in machine.formats)
    served = any(
        not library.sparse and (not library.dtypes or wanted in library.dtypes)
        for library in machine.libraries
    )
    if has and served:
        return Ran(machine.model_copy(update={"dtype": wanted}), wanted)
    return Ran(machine, machine.dtype, f"the GPU has no {wanted} and runs {machine.dtype}")
