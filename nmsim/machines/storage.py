"""How operands stand in a machine's memory: the answer of its kind, asked once for like masks.

The masks' cost and the memory of a step ask for the same operands, and an array finds its placement
anew for each answer.
"""

from dataclasses import dataclass, field, replace

from nmsim.files import remembered
from nmsim.machines.kind import Machine, Stored, kind_of
from nmsim.mask import SparseGemm

__all__ = ["stored"]


@dataclass(frozen=True)
class _Question:
    """A machine and a GEMM whose masks have no bits; alike where the masks promise the same."""

    machine: Machine
    promises: tuple[object, ...]
    work: SparseGemm = field(compare=False)


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
    promises = (work.gemm, work.a.promise, work.b.promise)
    bare = replace(work, a=work.a.bare, b=work.b.bare)
    return _answer(_Question(machine, promises, bare))


@remembered(maxsize=4096)
def _answer(question: _Question) -> tuple[Stored, Stored]:
    return kind_of(question.machine).stored(question.machine, question.work)
