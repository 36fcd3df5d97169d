"""Calls of a GPU's libraries, as predictions of measured times ask for them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.machines.gpu import analytical, cycle
from nmsim.machines.gpu.analytical import BOUND, BOUNDS, KERNEL, SPLIT, TILES, WAVES, estimates
from nmsim.machines.gpu.call import resolve
from nmsim.machines.gpu.launch import kernel_name
from nmsim.machines.gpu.schema import Gpu
from nmsim.machines.kind import FIDELITIES, Call, Routines
from nmsim.registry import unknown_name

__all__ = ["ROUTINES", "account", "call_times"]


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
        return cycle.times(machine, call, sizes)
    return analytical.times(machine, call, sizes)


def account(machine: Gpu, call: Call, sizes: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """What the closed form thinks happens in every GEMM: kernel, split, tiles, waves and bound.

    For reading errors by, not for timing: no figure here enters a prediction.

    Parameters
    ----------
    sizes
        GEMMs x 4: M, N, K and copies in one launch.

    Returns
    -------
    dict
        ``model_kernel``, ``split`` (parts of K), ``tiles`` and ``waves`` of threadblocks,
        ``bound``: what takes longest, one of ``analytical.BOUNDS``.
    """
    found = estimates(machine, call, sizes)
    kernels, splits, tiles, bounds = found[:, (KERNEL, SPLIT, TILES, BOUND)].astype(np.int64).T
    names = [kernel_name(row) for row in resolve(machine, call).table]
    return {
        "model_kernel": np.array([*names, "matrix-vector"], object)[kernels],
        "split": splits,
        "tiles": tiles,
        "waves": found[:, WAVES],
        "bound": np.array(BOUNDS, object)[bounds],
    }


def _offered(machine: Gpu) -> dict[str, list[str]]:
    """Sparsities of each number format: dense, and native patterns if it has an instruction."""
    return {
        dtype: ["dense", *(str(p) for p in machine.native if machine.format(dtype).sparse_macs(p))]
        for dtype in machine.dtypes
    }


ROUTINES = Routines(
    times=call_times,
    account=account,
    note=lambda machine, call: resolve(machine, call).note,
    dtypes=lambda machine: machine.dtypes,
    libraries=lambda machine: tuple(
        name for one in machine.libraries for name in (one.library, *one.also)
    ),
    offered=_offered,
    sustained=lambda machine: machine.sustained,
)
"""What `nmsim validate` and `nmsim calibrate` ask of a GPU."""
