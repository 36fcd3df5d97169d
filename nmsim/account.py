"""What the analytical model of a GPU thinks happens in GEMMs: kernel, parts of K, waves, bound.

For reading errors by, not for timing: no figure here enters a prediction.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.engine import call_times
from nmsim.engine.gpu_call import STAGES, TK, TM, TN, Call, Chip, Form, resolve
from nmsim.engine.gpu_choice import Rules, choose, rules_of
from nmsim.engine.tensor_core_analytical import BOUNDS, estimate
from nmsim.hardware import Gpu
from nmsim.jit import kernel

__all__ = ["account"]

_KERNEL, _SPLIT, _TILES, _WAVES, _BOUND, _CLOCKS = range(6)


@kernel
def _accounts(
    chip: Chip,
    form: Form,
    table: NDArray[np.float64],
    splits: NDArray[np.float64],
    rules: Rules,
    sizes: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    for i in range(len(sizes)):
        m, n, k, copies = sizes[i]
        chosen, split = choose(chip, form, table, splits, rules, m, n, k, copies)
        found = estimate(chip, form, table[chosen], split, m, n, k, copies)
        out[i, 0] = chosen
        out[i, 1] = split
        out[i, 2] = found.tiles
        out[i, 3] = found.waves
        out[i, 4] = np.argmax(found.shares)
        out[i, 5] = found.clocks


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
    found = resolve(machine, call)
    shrunk = np.ascontiguousarray(sizes * np.array([1, 1, found.shrink, 1]), np.float64)
    out = np.empty((len(sizes), 6))
    _accounts(found.chip, found.form, found.table, found.splits, rules_of(found), shrunk, out)
    # A kernel that reads a matrix once for a few rows is not in the table: it shows by its time.
    clocks = call_times(machine, call, sizes, "analytical") * machine.clock_mhz
    vector = clocks < out[:, _CLOCKS] * (1 - 1e-9)
    names = np.array([_name(row) for row in found.table] + ["matrix-vector"], object)
    kernels = np.where(vector, len(found.table), out[:, _KERNEL]).astype(np.intp)
    bounds = np.where(vector, BOUNDS.index("dram bandwidth"), out[:, _BOUND]).astype(np.intp)
    return {
        "model_kernel": names[kernels],
        "split": np.where(vector, 1, out[:, _SPLIT]).astype(np.int64),
        "tiles": np.where(vector, 1, out[:, _TILES]).astype(np.int64),
        "waves": np.where(vector, 1, out[:, _WAVES]).astype(np.int64),
        "bound": np.array(BOUNDS, object)[bounds],
    }


def _name(row: NDArray[np.float64]) -> str:
    return f"{row[TM]:.0f}x{row[TN]:.0f}x{row[TK]:.0f}_{row[STAGES]:.0f}"
