"""A learned residual on a GPU: attached to a machine, and applied to what the closed form says.

It corrects dense GEMMs. A masked one, whose kernels nothing was learned of, is corrected by what
was learned of the same GEMM when dense: its speed-up stays that of the physics, and the dense run
that it is held against is the same whatever the recipe.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import SpecError
from nmsim.files import remembered
from nmsim.machines.folders import columns_in
from nmsim.machines.gpu.analytical import times
from nmsim.machines.gpu.call import resolve
from nmsim.machines.gpu.learned.features import ACCOUNT, FEATURES, describe
from nmsim.machines.gpu.routines import least_times
from nmsim.machines.gpu.schema import Gpu
from nmsim.machines.kind import Call, Corrected, Described, Learned, Sample
from nmsim.mask import SparseGemm
from nmsim.residual.file import Correction, Residual, read_residual
from nmsim.result import Result

__all__ = [
    "COLUMNS",
    "LEARNED",
    "applied",
    "attach",
    "corrected",
    "physics_alone",
    "times_corrected",
]

Simulate = Callable[[Gpu, SparseGemm, Sample | None], Result]

COLUMNS = columns_in(Path(__file__).parents[1], "residual")

MOVED = 0.02
"""Share by which a closed form may have moved since a residual was fitted to what it lacks."""


def attach(machine: Gpu, path: Path) -> Gpu:
    """The machine with a residual, after a look at whether it is one of this machine.

    Raises
    ------
    SpecError
        if the file is no residual, sees other features, or was fitted to other constants.
    """
    _check(machine, path, read_residual(path))
    return machine.model_copy(update={"residual": str(path)})


@remembered(maxsize=64)
def _check(machine: Gpu, path: Path, residual: Residual) -> None:
    """Refuse a residual that sees other features, or was fitted to other constants."""
    again = "fit it again: nmsim calibrate --residual"
    if residual.features != FEATURES:
        raise SpecError(f"{path}: its features are not those of this version, {again}")
    for dtype, one in residual.corrections.items():
        if dtype not in machine.dtypes:
            raise SpecError(f"{path}: corrects {dtype}, which {machine.name} does not have")
        now = times(machine, _call(dtype, one), one.probe[:, :4])
        if np.abs(np.log(now / one.probe[:, 4])).max(initial=0.0) > MOVED:
            raise SpecError(
                f"{path}: was fitted to other constants than {machine.name} has, {again}"
            )


def _call(dtype: str, one: Correction) -> Call:
    return Call(dtype, library=one.library, in_turn=one.in_turn)


def _correction(machine: Gpu, call: Call) -> Correction | None:
    """What was learned of a call: dense, in this format, by this library's own choice of kernel."""
    if not machine.residual or not call.pattern.is_dense or call.kernel or machine.kernel:
        return None
    path = Path(machine.residual)
    residual = read_residual(path)
    _check(machine, path, residual)
    one = residual.corrections.get(call.dtype)
    return one if one and resolve(machine, call).library.library == one.library else None


def times_corrected(machine: Gpu, call: Call, sizes: NDArray[np.float64]) -> Corrected:
    """The closed form's times of GEMMs of a call, microseconds, and by what they are corrected.

    1 where nothing was learned of the call, and beyond the region of what was.

    Parameters
    ----------
    sizes
        GEMMs x 4: M, N, K and copies in one launch.
    """
    one = _correction(machine, call)
    if one is None:
        return Corrected(times(machine, call, sizes), np.ones(len(sizes)))
    seen = _call(call.dtype, one)
    described = describe(machine, seen, sizes)
    physics = described.us if call == seen else times(machine, call, sizes)
    return Corrected(physics, _factors(machine, one, seen, sizes, described))


def applied(
    machine: Gpu, one: Correction, call: Call, sizes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The factors of a correction that was learned of a call."""
    seen = _call(call.dtype, one)
    return _factors(machine, one, seen, sizes, describe(machine, seen, sizes))


def _factors(
    machine: Gpu, one: Correction, seen: Call, sizes: NDArray[np.float64], described: Described
) -> NDArray[np.float64]:
    """A correction's factors; no corrected time is shorter than bytes and MACs allow."""
    found = one.factors(described.features, described.where)
    floor: NDArray[np.float64] = np.minimum(1.0, least_times(machine, seen, sizes) / described.us)
    return np.maximum(found, floor)


def corrected(engine: Simulate) -> Simulate:
    """An engine of the closed form whose cycles are corrected where the machine has a residual."""

    def simulated(machine: Gpu, work: SparseGemm, sample: Sample | None = None) -> Result:
        result = engine(machine, work, sample)
        if not machine.residual:
            return result
        factor = _of_dense(machine, work)
        name = Path(machine.residual).name.partition(".")[0]
        cycles = max(1, round(result.cycles * factor))
        compute = min(result.compute_cycles, cycles)
        tried = result.mask_cycles
        return result.but(
            compute_cycles=compute,
            stall_cycles=cycles - compute,
            mask_cycles=None if tried is None else max(1, round(tried * factor)),
            own={**result.own, "residual": name, "residual_factor": factor},
        )

    return simulated


def _of_dense(machine: Gpu, work: SparseGemm) -> float:
    """The factor of a GEMM when dense; 1 for convolutions, of which none was measured."""
    g = work.gemm
    if g.kind == "conv" or g.a_elements is not None or g.b_elements is not None:
        return 1.0
    return _factor(machine, (g.m, g.n, g.k, g.count))


@remembered(maxsize=65536)
def _factor(machine: Gpu, size: tuple[int, int, int, int]) -> float:
    call = Call(machine.dtype, accumulator=machine.accumulator)
    return float(times_corrected(machine, call, np.array([size], np.float64)).factors[0])


def physics_alone(engine: Simulate) -> Simulate:
    """An engine that no residual was fitted to: it refuses a machine that has one."""

    def simulated(machine: Gpu, work: SparseGemm, sample: Sample | None = None) -> Result:
        if machine.residual:
            raise SpecError(
                f"{machine.name}: a residual corrects the closed form, expected fidelity analytical"
            )
        return engine(machine, work, sample)

    return simulated


LEARNED = Learned(
    attach=attach,
    corrects=lambda machine, call: _correction(machine, call) is not None,
    corrected=times_corrected,
    applied=applied,
    features=FEATURES,
    account=len(ACCOUNT),
    describe=describe,
)
"""What learned residuals ask of a GPU."""
