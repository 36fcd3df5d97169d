"""Models that run a sparse GEMM on a machine, two for each kind of machine.

The cycle-level model and its analytical twin share the machine's fields, the choice of kernel
(``placement``) and the arithmetic from elements to bytes (``traffic``); cycles and elements they
find apart.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from nmsim.engine import ideal, systolic, systolic_analytical, tensor_core, tensor_core_analytical
from nmsim.engine.gpu_call import Call
from nmsim.engine.intersect_sampling import Sample
from nmsim.gemm import Gemm
from nmsim.hardware import Gpu, Machine
from nmsim.mask import SparseGemm
from nmsim.registry import Registry, unknown_name
from nmsim.result import Run

__all__ = [
    "ENGINES",
    "FIDELITIES",
    "Engine",
    "Fidelity",
    "Sample",
    "call_times",
    "run",
    "run_dense",
    "run_twin",
]

Fidelity = Literal["cycle", "analytical"]

FIDELITIES: tuple[Fidelity, ...] = get_args(Fidelity)


@dataclass(frozen=True)
class Engine:
    """A model of one kind of machine.

    Parameters
    ----------
    simulate
        From a machine of this kind, a sparse GEMM and a sample of folds (None: all) to what it
        costs.
    summary
        One line.
    """

    simulate: Callable[[Any, SparseGemm, Sample | None], Run]
    summary: str


ENGINES: Registry[Engine] = Registry("engine")
"""By kind of machine and fidelity: ``systolic-cycle``."""

ENGINES.add("systolic-cycle", Engine(systolic.simulate, "systolic array, fold by fold"))
ENGINES.add(
    "systolic-analytical", Engine(systolic_analytical.simulate, "systolic array, closed forms")
)


def run(
    machine: Machine, work: SparseGemm, fidelity: str = "cycle", sample: Sample | None = None
) -> Run:
    """What a sparse GEMM costs on a machine.

    Parameters
    ----------
    sample
        Run about so many folds where cycles need both masks' bits, instead of all.

    Raises
    ------
    UnknownName
        if the fidelity is neither "cycle" nor "analytical".
    ShapeError
        if the GEMM is too large for the cycle model's 64-bit counters.
    """
    if fidelity not in FIDELITIES:
        raise unknown_name("fidelity", fidelity, FIDELITIES)
    return ENGINES[f"{machine.kind}-{fidelity}"].simulate(machine, work, sample)


ENGINES.add(
    "tensor-core-analytical",
    Engine(tensor_core_analytical.simulate, "GPU with tensor cores, closed forms"),
)
ENGINES.add(
    "tensor-core-cycle",
    Engine(tensor_core.simulate, "GPU with tensor cores, tiles cycle by cycle and waves"),
)


def call_times(
    machine: Gpu, call: Call, sizes: NDArray[np.float64], fidelity: str = "analytical"
) -> NDArray[np.float64]:
    """Times of many GEMMs of one routine on a GPU, microseconds.

    Parameters
    ----------
    call
        The routine: library, number format, pattern of the compressed operand.
    sizes
        GEMMs x 4: M, N, K and copies in one launch.

    Raises
    ------
    SpecError
        for a number format, library or kernel that the machine does not have.
    """
    if fidelity not in FIDELITIES:
        raise unknown_name("fidelity", fidelity, FIDELITIES)
    if fidelity == "cycle":
        return tensor_core.times(machine, call, sizes)
    return tensor_core_analytical.times(machine, call, sizes)


_IDEAL = Engine(ideal.simulate, "MACs over the peak, one exact formula for both fidelities")
ENGINES.add("ideal-cycle", _IDEAL)
ENGINES.add("ideal-analytical", _IDEAL)


@lru_cache(maxsize=4096)
def run_dense(machine: Machine, gemm: Gemm, fidelity: str = "cycle") -> Run:
    """What the same GEMM costs with nothing pruned."""
    return run(machine, SparseGemm.dense(gemm), fidelity)


def run_twin(machine: Machine, gemm: Gemm, result: Run, fidelity: str = "cycle") -> Run:
    """The dense run that a result's speed-up is measured by.

    For a result that ran transposed it is the faster of the dense GEMM's two orders, so that
    turning alone is no gain.
    """
    direct = run_dense(machine, gemm, fidelity)
    if not result.transposed:
        return direct
    turned = run_dense(machine, SparseGemm.dense(gemm).swapped().gemm, fidelity)
    return min(direct, turned, key=lambda run: run.cycles)
