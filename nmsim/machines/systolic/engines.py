"""The engines of a systolic machine at both fidelities, of one array or of several."""

from nmsim.machines.kind import Sample, Stored
from nmsim.machines.systolic import analytical, cycle
from nmsim.machines.systolic.mapper import Choice, Timed, choose
from nmsim.machines.systolic.placement import Placement
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.several import analytical as several_analytical
from nmsim.machines.systolic.several import cycle as several_cycle
from nmsim.mask import SparseGemm
from nmsim.result import Result

__all__ = ["choice", "simulate_analytical", "simulate_cycle", "stored"]


def simulate_cycle(
    machine: SystolicArray, work: SparseGemm, sample: Sample | None = None
) -> Result:
    """Run a sparse GEMM fold by fold, on all arrays of a machine."""
    return choice(machine, work, sample).result


def choice(machine: SystolicArray, work: SparseGemm, sample: Sample | None = None) -> Choice:
    """The placement that is fastest fold by fold, on all arrays, and what it was chosen from."""
    if machine.arrays == 1:
        return cycle.choice(machine, work, sample)
    return choose(machine, work, _several_folds, _several_closed)


def _several_folds(machine: SystolicArray, placement: Placement) -> Timed:
    return Timed.told(placement, several_cycle.run(machine, placement))


def _several_closed(machine: SystolicArray, placement: Placement) -> Timed:
    return Timed.told(placement, several_analytical.estimate(machine, placement))


def simulate_analytical(
    machine: SystolicArray, work: SparseGemm, sample: Sample | None = None
) -> Result:
    """Estimate what a sparse GEMM costs on all arrays of a machine, in closed form."""
    clock = analytical.timed if machine.arrays == 1 else _several_closed
    return analytical.simulate(machine, work, sample, clock)


def stored(machine: SystolicArray, work: SparseGemm) -> tuple[Stored, Stored]:
    """How A and B stand in memory (``nmsim.machines.systolic.analytical.stored``)."""
    clock = analytical.timed if machine.arrays == 1 else _several_closed
    return analytical.stored(machine, work, clock)
