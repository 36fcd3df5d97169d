"""A machine that runs operands in the number format that a recipe asks for.

A GPU that has the format runs it at its own rate. One that has not runs its own format, bytes and
all. A systolic array keeps its multipliers: narrower operands take fewer bytes in DRAM, buffers and
on the way to the array, and no fewer cycles; wider ones do not fit and run as the array's own.
"""

from functools import lru_cache
from typing import NamedTuple

from nmsim.formats import format_bits
from nmsim.hardware._ideal import IdealMachine
from nmsim.hardware._systolic import SystolicArray
from nmsim.hardware._tensor_core import Gpu

__all__ = ["Ran", "in_format"]


class Ran(NamedTuple):
    """What a machine makes of a number format.

    Parameters
    ----------
    machine
        To be simulated.
    name
        What operands are in memory: a format, or the width of an array's own.
    note
        Where that is not what was asked for, or not what is multiplied; else empty.
    """

    machine: SystolicArray | Gpu | IdealMachine
    name: str
    note: str = ""


@lru_cache(maxsize=256)
def in_format(machine: SystolicArray | Gpu | IdealMachine, wanted: str = "") -> Ran:
    """The machine as it runs operands of a number format; none: its own.

    Parameters
    ----------
    wanted
        From ``nmsim.formats``, or empty.
    """
    if isinstance(machine, Gpu):
        return _on_gpu(machine, wanted) if wanted else Ran(machine, machine.dtype)
    own = f"{machine.operand_bits}-bit"
    bits = format_bits(wanted) if wanted else machine.operand_bits
    if bits == machine.operand_bits:
        return Ran(machine, wanted or own)
    if bits > machine.operand_bits:
        return Ran(machine, own, f"{wanted} does not fit the array and runs as {own}")
    narrow = machine.model_copy(update={"operand_bits": bits})
    return Ran(narrow, wanted, f"{wanted} in memory and buffers, multiplied as {own}")


def _on_gpu(machine: Gpu, wanted: str) -> Ran:
    has = any(form.dtype == wanted for form in machine.formats)
    served = any(
        not library.sparse and (not library.dtypes or wanted in library.dtypes)
        for library in machine.libraries
    )
    if has and served:
        return Ran(machine.model_copy(update={"dtype": wanted}), wanted)
    return Ran(machine, machine.dtype, f"the GPU has no {wanted} and runs {machine.dtype}")
