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

__all__ = ["ROUTINES", "account", "call_times", "least_times"]


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


def least_times(machine: Gpu, call: Call, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times that no launch stays under, microseconds: kept MACs at peak, bytes from DRAM.

    Of a series that goes through its operands again, L2 may hold as much as it has room for.

    Parameters
    ----------
    sizes
        GEMMs x 4: M, N, K and copies in one launch.
    """
    form, kept = machine.format(call.dtype, call.accumulator), call.pattern.density
    m, n, k, copies = sizes.T
    shrink = resolve(machine, call).shrink  # V:N:M needs no more of the dense operand
    a, b = (kept if call.sparse_operand == operand else shrink for operand in ("a", "b"))
    moved = copies * (m * k * a * form.bits + n * k * b * form.weight_bits()) / 8
    if call.in_turn:
        moved += copies * m * n * form.output_bits / 8 - machine.l2.mib * 2**20
    macs = copies * m * n * k * kept
    found: NDArray[np.float64] = np.maximum(
        macs / (machine.sms * form.macs_per_clk * machine.clock_mhz),
        moved / (machine.dram.gbps * 1e3),
    )
    return found


def _offered(machine: Gpu) -> dict[str, list[str]]:
    """Sparsities of each number format: dense, and native patterns if it has an instruction."""
    return {dtype: ["dense", *map(str, machine.natives(dtype))] for dtype in machine.dtypes}


ROUTINES = Routines(
    times=call_times,
    account=account,
    note=lambda machine, call: resolve(machine, call).note,
    dtypes=lambda machine: machine.dtypes,
    libraries=lambda machine: tuple(
        name for one in machine.libraries for name in (one.library, *one.also)
    ),
    offered=_offered,
    under=lambda machine, conditions: machine.under(conditions),
    least=least_times,
)
"""What `nmsim validate` and `nmsim calibrate` ask of a GPU."""
