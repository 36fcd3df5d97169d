"""The engines of a systolic machine at both fidelities, of one array or of several."""

from collections.abc import Sequence

from nmsim.machines.kind import Sample, Stored
from nmsim.machines.systolic import analytical, cycle
from nmsim.machines.systolic.mapper import Choice, Clock, Timed, choose, each
from nmsim.machines.systolic.placement import Placement
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.several import analytical as several_analytical
from nmsim.machines.systolic.several import cycle as several_cycle
from nmsim.mask import SparseGemm
from nmsim.result import Result

__all__ = ["choice", "simulate_all_analytical", "simulate_analytical", "simulate_cycle", "stored"]


def simulate_cycle(
    machine: SystolicArray, work: SparseGemm, sample: Sample | None = None
) -> Result:
    """Run a sparse GEMM fold by fold, on all arrays of a machine."""
    return choice(machine, work, sample).result


def choice(machine: SystolicArray, work: SparseGemm, sample: Sample | None = None) -> Choice:
    """The placement that is fastest fold by fold, on all arrays, and what it was chosen from."""
    if machine.arrays == 1:
        return cycle.choice(machine, work, sample)
    return choose(machine, work, _SEVERAL_FOLDS, _SEVERAL_CLOSED)


def _several_folds(machine: SystolicArray, placement: Placement) -> Timed:
    return Timed.told(placement, several_cycle.run(machine, placement))


def _several_closed(machine: SystolicArray, placement: Placement) -> Timed:
    return Timed.told(placement, several_analytical.estimate(machine, placement))


_SEVERAL_FOLDS, _SEVERAL_CLOSED = each(_several_folds), each(_several_closed)


def _closed(machine: SystolicArray) -> Clock:
    return analytical.CLOCK if machine.arrays == 1 else _SEVERAL_CLOSED


def simulate_analytical(
    machine: SystolicArray, work: SparseGemm, _sample: Sample | None = None
) -> Result:
    """Estimate what a sparse GEMM costs on all arrays of a machine, in closed form."""
    return simulate_all_analytical(machine, [work])[0]


def simulate_all_analytical(machine: SystolicArray, works: Sequence[SparseGemm]) -> list[Result]:
    """Estimate what sparse GEMMs cost on all arrays of a machine, in closed form."""
    return analytical.simulate_all(machine, works, _closed(machine))


def stored(machine: SystolicArray, work: SparseGemm) -> tuple[Stored, Stored]:
    """How A and B stand in memory (``nmsim.machines.systolic.analytical.stored``)."""
    return analytical.stored(machine, work, _closed(machine))
