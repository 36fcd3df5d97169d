"""What the analytical model of a GPU thinks happens in GEMMs: kernel, parts of K, waves, bound.

For reading errors by, not for timing: no figure here enters a prediction.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.machines.gpu.analytical import (
    BOUND,
    BOUNDS,
    KERNEL,
    SPLIT,
    TILES,
    WAVES,
    estimates,
)
from nmsim.machines.gpu.call import resolve
from nmsim.machines.gpu.launch import kernel_name
from nmsim.machines.gpu.schema import Gpu
from nmsim.machines.kind import Call

__all__ = ["account"]


def account(machine: Gpu, call: Call, sizes: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Kernel, split, tiles, waves and bound of every GEMM.

    Parameters
    ----------
    sizes
        GEMMs x 4: M, N, K and copies in one launch.

    Returns
    -------
    dict
        ``model_kernel``, ``split`` (parts of K), ``tiles`` and ``waves`` of threadblocks,
        ``bound``: what takes longest, one of ``tensor_core_analytical.BOUNDS``.
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
