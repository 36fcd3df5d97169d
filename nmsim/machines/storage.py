"""How operands stand in a machine's memory: the answer of its kind, asked once for like masks.

The masks' cost and the memory of a step ask for the same operands, and an array finds its placement
anew for each answer.
"""

from nmsim.files import remembered
from nmsim.machines.kind import Machine, Stored, kind_of
from nmsim.mask import Promised, SparseGemm

__all__ = ["stored"]


def stored(machine: Machine, work: SparseGemm) -> tuple[Stored, Stored]:
    """How A and B of a sparse GEMM stand in a machine's memory (``Kind.stored``).

    Parameters
    ----------
    machine
        As it runs the GEMM's number format.
    """
    kind = kind_of(machine)
    if work.a.is_dense and work.b.is_dense and not kind.packs_weights(machine):
        whole = Stored.dense(work.k, kind.operand_bits(machine))
        return whole, whole
    return _answer(machine, work.in_step)


@remembered(maxsize=4096)
def _answer(machine: Machine, asked: Promised) -> tuple[Stored, Stored]:
    return kind_of(machine).stored(machine, asked.work)
