"""Where the cycles of an ideal machine go: products, and slots that it could not skip."""

from collections.abc import Iterator

from nmsim.machines.explanation import Effort, Explain, Mend, Part, whole
from nmsim.machines.ideal.schema import IdealMachine
from nmsim.mask import SparseGemm
from nmsim.result import Result

__all__ = ["EXPLAIN"]

_PARTS = (
    ("useful products", "pairs whose mask bits are both set, at the peak"),
    ("slots not skipped", "MAC slots beyond those: empty, or of masks that are not followed"),
)


def _parts(
    machine: IdealMachine, work: SparseGemm, result: Result, _fidelity: str
) -> tuple[Part, ...]:
    useful = work.macs_useful / machine.peak_macs
    shares = whole((useful, max(0.0, result.cycles - useful)), result.cycles)
    return tuple(Part(name, n, says) for (name, says), n in zip(_PARTS, shares, strict=True))


def _mends(machine: IdealMachine, work: SparseGemm, _part: str) -> Iterator[Mend]:
    if machine.two_masks == "one" and not (work.a.is_dense or work.b.is_dense):
        says = "products of two kept elements alone"
        yield Mend(says, Effort.UNITS, {"two_masks": "intersect"})


EXPLAIN = Explain(_parts, _mends)
"""An ideal machine waits for nothing, so that all it can lose is slots."""
