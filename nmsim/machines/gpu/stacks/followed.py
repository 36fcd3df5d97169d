"""Whether a GEMM follows its mask on a GPU: the faster of both, or always, as the stack has it.

The clock is that of who asks: each fidelity compares its own times, so that in neither what runs is
slower than what was passed over. How operands are stored follows the closed forms.
"""

import math
from collections.abc import Callable, Iterable
from functools import wraps

from nmsim.files import remembered
from nmsim.gemm import Gemm
from nmsim.machines.gpu import analytical, cycle
from nmsim.machines.gpu import launch as launches
from nmsim.machines.gpu.call import runs_as
from nmsim.machines.gpu.direct import is_depthwise
from nmsim.machines.gpu.schema import Gpu, of_gemm, unpacked
from nmsim.machines.gpu.stacks.policy import masks_of, stack_of
from nmsim.machines.kind import Fidelity, Sample, Stored
from nmsim.mask import SparseGemm
from nmsim.result import Result

__all__ = ["as_run", "engine", "followed", "foresee", "stored"]

Model = Callable[[Gpu, SparseGemm], Result]

_MODELS: dict[str, Model] = {"analytical": analytical.simulate, "cycle": cycle.simulate}


def engine(fidelity: Fidelity) -> Callable[[Gpu, SparseGemm, Sample | None], Result]:
    """The engine of a fidelity: a GEMM by its mask or dense, and not before its host has called."""

    @wraps(_MODELS[fidelity])
    def simulate(machine: Gpu, work: SparseGemm, _sample: Sample | None = None) -> Result:
        own = of_gemm(machine, work.gemm)
        found = _faster(own, work, fidelity)
        told = found if fidelity == "analytical" else _beside(own, work, found)
        if own is machine:
            return told
        note = "; ".join(filter(None, (told.note, unpacked(machine, work.gemm))))
        return told.but(note=note)

    return simulate


def foresee(machine: Gpu, works: Iterable[SparseGemm]) -> None:
    """Have the closed form estimate all that GEMMs could launch, so that none is estimated alone.

    Those by their masks, and dense.
    """
    plain = [work for work in works if work.gemm.launches and not is_depthwise(work.gemm)]
    owned = [(of_gemm(machine, work.gemm), work) for work in plain]
    analytical.estimate_all(
        launch for own, work in owned for launch in launches.candidates(own, work)
    )


def _beside(machine: Gpu, work: SparseGemm, found: Result) -> Result:
    """A result that tells what the closed forms choose, by which operands are stored, if not it."""
    if found.mask_cycles is None or masks_of(machine) == "always":
        return found
    other = _faster(machine, work, "analytical")
    if other.compressed == found.compressed:
        return found
    way = other.chosen.partition(";")[0]
    return found.but(chosen=f"{found.chosen}; closed forms choose {way}")


def _faster(machine: Gpu, work: SparseGemm, fidelity: Fidelity) -> Result:
    if work.a.is_dense and work.b.is_dense:
        plain = work.k == work.gemm.k
        return _dense(machine, work.gemm, fidelity) if plain else _run(machine, work, fidelity)
    masked = _run(machine, work, fidelity)
    if not masked.compressed:
        return masked
    way = f"{_pattern(machine, work, masked)} of {masked.compressed.upper()} by {masked.kernel}"
    told = masked.but(chosen=way, mask_cycles=masked.cycles)
    if masks_of(machine) == "always":
        return told
    dense = _dense(machine, work.gemm, fidelity)
    if masked.cycles < dense.cycles:
        return told.but(chosen=f"{way}; dense would take {_times(dense, masked)}")
    passed = f"dense by {dense.kernel}; {way} would take {_times(masked, dense)}"
    note = "; ".join(filter(None, (masked.note, dense.note)))
    return dense.but(
        chosen=passed,
        mask_cycles=masked.cycles,
        misfit_share=masked.misfit_share,
        note=note,
    )


def _pattern(machine: Gpu, work: SparseGemm, ran: Result) -> str:
    """The pattern as which a mask ran: that of the operand and library of the result."""
    of = (ran.compressed, ran.kernel.partition(" ")[0])
    launch = next(
        one
        for _, _, one in launches.ways_of(machine, work.in_step)
        if (one.call.sparse_operand, one.resolved.library.library) == of
    )
    return str(runs_as(launch.call) if launch.call.vector_length else launch.resolved.native)


def _times(other: Result, run: Result) -> str:
    return f"{other.cycles / max(1, run.cycles):.2f} times the cycles"


@remembered(maxsize=8192)
def _dense(machine: Gpu, gemm: Gemm, fidelity: Fidelity) -> Result:
    """The dense run of a GEMM, once for all masks."""
    return _run(machine, SparseGemm.dense(gemm), fidelity)


def _run(machine: Gpu, work: SparseGemm, fidelity: Fidelity) -> Result:
    """A GEMM as the model of a fidelity has it, but no sooner than the host calls the next."""
    result = _MODELS[fidelity](machine, work)
    calls = stack_of(machine).host_us
    us = calls.sparse if result.compressed else calls.dense
    called = math.ceil(us * machine.clock_mhz) * work.gemm.repeat
    if called <= result.cycles or not work.gemm.launches or is_depthwise(work.gemm):
        return result
    note = "; ".join(filter(None, (result.note, f"waits for the host, {us:g} us a call")))
    return result.but(stall_cycles=called - result.compute_cycles, bound="host", note=note)


def followed(machine: Gpu, work: SparseGemm, fidelity: Fidelity) -> SparseGemm:
    """What of a GEMM runs: with its masks, or without."""
    return as_run(work, _faster(of_gemm(machine, work.gemm), work, fidelity))


def as_run(work: SparseGemm, result: Result) -> SparseGemm:
    """A GEMM as a result says that it ran: with its masks, or without those that it passed over."""
    passed_over = result.mask_cycles is not None and not result.compressed
    return SparseGemm.dense(work.gemm) if passed_over else work


def stored(machine: Gpu, work: SparseGemm) -> tuple[Stored, Stored]:
    """How A and B stand in a GPU's memory: packed where a kernel follows the mask, else dense."""
    machine = of_gemm(machine, work.gemm)
    sides = launches.stored(machine, work, analytical.clocks_of)
    packed = any(side.compressed for side in sides)
    if not packed or masks_of(machine) == "always":
        return sides
    if _faster(machine, work, "analytical").compressed:
        return sides
    why = "with its mask alone it would be no faster"
    whole = launches.stored(machine, SparseGemm.dense(work.gemm), analytical.clocks_of)
    a, b = (
        other._replace(elements=work.k, why=why) if side.compressed else side
        for side, other in zip(sides, whole, strict=True)
    )
    return a, b
