"""The ideal machine: a GEMM takes its MACs over the peak, and nothing else.

Its one formula is exact, so both fidelities are the same function and agree by definition. A mask
that obeys its pattern along K leaves N slots of every group of M (a short last group its quota),
filled or not; one that does not gains nothing, as in the papers' count, whatever zeros it has. Two
masks leave the products of two kept elements, counted from the bits, K N1 N2 / (M1 M2) on average
(Chmiel et al., ICLR 2023, section 5); lock-step arrays cannot reach that: ``two_masks: one``.

Bytes are compulsory traffic, every operand once and the result once; they take no time.
"""

import math

from nmsim.machines.ideal.schema import IdealMachine
from nmsim.machines.kind import Sample, Stored
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import Pattern
from nmsim.result import Result

__all__ = ["simulate", "stored"]


def stored(machine: IdealMachine, work: SparseGemm) -> tuple[Stored, Stored]:
    """How A and B stand in an ideal machine's memory: packed where a mask obeys its own pattern."""
    return _stored(machine, work.a), _stored(machine, work.b)


def _stored(machine: IdealMachine, mask: Mask) -> Stored:
    if mask.is_dense or not mask.fits:
        broken = "promises nothing" if mask.pattern.is_unstructured else f"breaks {mask.pattern}"
        why = "" if mask.is_dense else f"the mask {broken}"
        return Stored.dense(mask.k, machine.operand_bits, why)
    index = machine.metadata_bits(mask.pattern) if mask.indexed else 0
    return Stored(mask.pattern, machine.operand_bits, index, mask.pattern.stored(mask.k))


def simulate(machine: IdealMachine, work: SparseGemm, _sample: Sample | None = None) -> Result:
    """What a sparse GEMM costs where only MACs do; there is nothing to sample."""
    g = work.gemm
    masked = {name: mask for name, mask in (("a", work.a), ("b", work.b)) if not mask.is_dense}
    shares = {name: _misfit_share(mask) for name, mask in masked.items()}
    sides = dict(zip("ab", stored(machine, work), strict=True))
    used = [name for name in masked if sides[name].compressed]
    (a_bytes, a_index), (b_bytes, b_index) = (
        _operand(work, name, sides[name]) for name in ("a", "b")
    )
    issued = _issued(machine, work, [masked[name] for name in used])
    cycles = math.ceil(issued / machine.macs_per_cycle) * g.repeat
    return Result(
        engine="ideal",
        kernel="peak",
        transposed=False,
        compute_cycles=cycles,
        stall_cycles=0,
        clock_mhz=machine.clock_mhz,
        peak_macs=machine.peak_macs,
        macs_issued=issued * g.repeat,
        dram_read_bytes=(a_bytes + b_bytes) * g.repeat,
        dram_write_bytes=-(-g.m * g.n * g.count * machine.output_bits // 8) * g.repeat,
        sram_read_bytes=0,
        metadata_bytes=(a_index + b_index) * g.repeat,
        bound="compute",
        misfit_share=max(shares.values(), default=None),
        compressed="".join(used),
        mask_cycles=cycles if used else None,
        note="; ".join(
            _runs_dense(name.upper(), masked[name].pattern, share)
            for name, share in shares.items()
            if name not in used
        ),
    )


def _runs_dense(name: str, pattern: Pattern, share: float) -> str:
    """Why the mask of an operand gains nothing."""
    if pattern.is_unstructured:
        return f"runs dense: the mask of {name} promises nothing"
    return f"runs dense: {share:.1%} of the groups of {name} break {pattern}"


def _misfit_share(mask: Mask) -> float:
    """Share of the groups that keep more than the pattern allows."""
    if mask.fits or mask.pattern.is_unstructured:
        return 0.0
    return mask.broken_groups() / mask.groups


def _issued(machine: IdealMachine, work: SparseGemm, used: list[Mask]) -> int:
    """MAC slots of all copies of a launch."""
    g = work.gemm
    if len(used) == 2 and machine.two_masks == "intersect":
        return work.macs_useful // g.repeat
    stored = min((mask.pattern.stored(mask.k) for mask in used), default=work.k)
    return g.m * g.n * g.count * stored


def _operand(work: SparseGemm, name: str, stored: Stored) -> tuple[int, int]:
    """Bytes of all copies of an operand, metadata included, and bytes of that."""
    g = work.gemm
    mask, distinct = (work.a, g.a_elements) if name == "a" else (work.b, g.b_elements)
    elements = (mask.rows // g.count * g.k if distinct is None else distinct) * g.count
    if not stored.compressed:
        return -(-elements * stored.value_bits // 8), 0
    kept = -(-elements * int(stored.elements) // g.k)
    return -(-kept * stored.bits // 8), -(-kept * stored.index_bits // 8)
