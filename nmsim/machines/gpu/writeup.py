"""From what a launch took, by either fidelity, to a result: cycles, bytes, MAC slots."""

import math
from collections.abc import Mapping

from nmsim.machines.gpu.chip import CTAS, MATRIX_VECTOR, TM, TN, WM, WN, read_by_lines
from nmsim.machines.gpu.l2.lru import Cut, read_bytes
from nmsim.machines.gpu.launch import Launch, cast_clocks, copy_clocks
from nmsim.machines.gpu.schema import Gpu
from nmsim.result import Result

__all__ = ["SLOTS", "writeup"]

SLOTS = "slots of tiles"
"""Among the clocks of a result: MAC slots of the tiles, those beyond C included, of one launch."""


def writeup(
    machine: Gpu,
    launch: Launch,
    *,
    clocks: float,
    multiplying: float,
    tiles: float,
    read_bytes: float,
    bound: str,
    spent: Mapping[str, float],
) -> Result:
    """The result of one launch, times ``repeat``.

    A matrix-vector kernel has no tiles; it runs on CUDA cores and reads its operands once.

    Parameters
    ----------
    clocks
        In all, what comes before it (copy, cast) not included.
    multiplying
        Clocks in which the tensor cores of the fullest SM work.
    tiles
        Threadblocks.
    read_bytes
        Of the operands, from DRAM, at most: what time was taken for.
    bound
        What takes longest.
    spent
        ``clocks`` by cause, and ``SLOTS``; no "tensor cores" where CUDA cores read and multiply.
    """
    g = launch.work.gemm
    m, n, k, copies = launch.size
    form, native = launch.form, launch.resolved.native
    before = {"copy": copy_clocks(launch), "cast": cast_clocks(machine, launch)}
    cycles = math.ceil(clocks + sum(before.values()))
    compute = min(cycles, math.ceil(multiplying))
    index = machine.metadata_bits(native) if not native.is_dense else 0
    rows = m if launch.call.sparse_operand == "a" else n
    tiled = launch.row != MATRIX_VECTOR
    stored = native.stored(int(k))
    return Result(
        engine="tensor-core",
        kernel=launch.kernel,
        transposed=False,
        compute_cycles=compute * g.repeat,
        stall_cycles=(cycles - compute) * g.repeat,
        clock_mhz=machine.clock_mhz,
        peak_macs=machine.peak_macs,
        macs_issued=int(m * n * copies) * stored * g.repeat,
        dram_read_bytes=math.ceil(_read(launch, read_bytes) + launch.copied_bytes / 2) * g.repeat,
        dram_write_bytes=math.ceil(m * n * copies * form.out + launch.copied_bytes / 2) * g.repeat,
        sram_read_bytes=math.ceil(_shared_bytes(launch, tiles)) * g.repeat,
        metadata_bytes=math.ceil(rows * stored * index / 8 * copies) * g.repeat,
        bound=bound,
        note=launch.note,
        misfit_share=launch.misfit_share,
        tiles=int(tiles) * g.repeat if tiled else None,
        waves=tiles / _slots(launch) if tiled else None,
        compressed="" if native.is_dense else launch.call.sparse_operand,
        mask_cycles=None if native.is_dense else cycles * g.repeat,
        spent={**spent, **before},
    )


def _read(launch: Launch, most: float) -> float:
    """Bytes of both operands from DRAM, as L2 leaves them to be read.

    A matrix-vector kernel's, and those of tiles launched line after line, are what time is of.
    """
    m, n, k, copies = launch.size
    form, parts = launch.form, int(launch.split)
    if launch.row == MATRIX_VECTOR:
        return most
    row = launch.table_row
    if read_by_lines(launch.resolved.chip, form, row, launch.size):
        return most
    cut = Cut(
        a=m * k * form.a * form.a_once / parts,
        b=n * k * form.b * form.b_once / parts,
        down=math.ceil(m / row[TM]),
        across=math.ceil(n / row[TN]),
        at_once=int(_slots(launch)),
    )
    return copies * parts * read_bytes(cut, launch.resolved.chip.l2_bytes)


def _shared_bytes(launch: Launch, tiles: float) -> float:
    """Bytes of both operands read from the SMs' own memory: by warps as fragments, or once."""
    m, n, k, copies = launch.size
    form, row = launch.form, launch.table_row
    if launch.row == MATRIX_VECTOR:
        return (m * form.a + n * form.b) * k * copies
    fragments: float = form.a / row[WN] + form.b / row[WM]
    return float(tiles * row[TM] * row[TN] * fragments * k / launch.split)


def _slots(launch: Launch) -> float:
    """Threadblocks that the GPU holds at once."""
    return float(launch.resolved.chip.sms * launch.table_row[CTAS])
