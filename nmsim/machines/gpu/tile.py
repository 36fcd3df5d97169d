"""A kernel's tile as a multiprocessor runs it: from a row of a kernel table to cycles.

A matrix instruction of a tensor core computes 16 x 8 elements of C and takes 256 bits of a row of A
as stored, which is K of 16 for 16-bit operands and twice that where 2 of 4 are kept. Its cycles
follow from the machine's rates. CUDA cores are taken as an instruction of 16 x 8 x 1 that lasts as
long as its multiply-adds.

Where a kernel set's operands are in shared memory (Hopper's ``wgmma``), four warps multiply 64 rows
by up to 256 columns together, each warp 16 of the rows; the kernel's warp tile is the four warps'.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.machines.gpu.call import Resolved
from nmsim.machines.gpu.chip import ORDER, resolved
from nmsim.machines.gpu.schema import Gpu, Library
from nmsim.machines.gpu.sm import multiprocessor as sm
from nmsim.machines.gpu.sm.multiprocessor import Feed, Sm, TileTime
from nmsim.machines.gpu.sm.program import Instruction, Tile
from nmsim.pattern import DENSE, Pattern

__all__ = ["Packing", "core_of", "instruction_of", "packing_of", "tile_of", "tile_time"]

ROWS, COLS = 16, 8
"""Rows and columns of C that one instruction computes."""

WARPGROUP = 4
"""Warps that multiply out of shared memory together."""

WIDEST = 256
"""Columns of an instruction that does so."""

DEPTH_BITS = 256
"""Bits of a row of A, as stored, that one instruction takes."""

# What a machine's file does not say, or not always; all of them assumptions.
SHARED_INTERVAL = 2  # cycles between two accesses to shared memory, however small
SHARED_QUEUE = 32  # cycles of accesses that wait for shared memory
REGISTER_READS = 2  # of a sub-core in a cycle: two banks, one port each
BARRIER = 20  # cycles from the last warp's arrival
IN_FLIGHT = 64 * 1024  # bytes that an SM may have asked for
STORE_QUEUE = 16 * 1024  # bytes of results on their way


def _instruction(
    machine: Gpu, dtype: str, native: Pattern, macs: float, *, tensor: bool = True
) -> Instruction:
    """The instruction of a number format and pattern at a rate per clock of an SM."""
    form = machine.format(dtype)
    stored = max(1, DEPTH_BITS // form.bits) if tensor else 1
    k, keep, group, metadata = stored, 1, 1, 0
    if not native.is_dense:
        keep, group = native.keep, native.group
        k = group * 2 ** max(0, math.floor(math.log2(stored / keep)))
        metadata = math.ceil(ROWS * k * native.density * machine.metadata_bits(native) / 8)
    return Instruction(
        m=ROWS,
        n=COLS,
        k=k,
        bits=form.bits,
        cycles=ROWS * COLS * k * machine.sm.sub_cores / macs,
        latency=machine.sm.mma_latency,
        keep=keep,
        group=group,
        metadata_bytes=metadata,
        tensor=tensor,
    )


def instruction_of(machine: Gpu, dtype: str, found: Resolved) -> Instruction:
    """The instruction that a call's kernels multiply with; a compressed operand is its A."""
    macs, tensor = found.cycle_chip.macs, not found.kernels.cuda_cores
    one = _instruction(machine, dtype, found.native, macs, tensor=tensor)
    return one._replace(sharers=WARPGROUP) if found.kernels.operands == "shared" else one


def core_of(
    machine: Gpu,
    dtype: str,
    library: Library | None = None,
    *,
    bulk: bool = False,
    accumulator: str = "",
) -> Sm:
    """The multiprocessor, as a library's kernels find it.

    Registers are read as fast as the machine's rates need it at least. What selecting by metadata
    takes beside reading registers is what the machine's sparse rate leaves. ``bulk``: what has been
    asked for is bounded by the stages alone.
    """
    form, own = machine.format(dtype, accumulator), machine.sm
    said = resolved(machine, library, "cycle")
    all_of = [_instruction(machine, dtype, DENSE, form.macs_per_clk)]
    if form.sparse_macs_per_clk:
        rate = form.sparse_macs_per_clk
        natives = machine.natives(dtype, accumulator)
        all_of += [_instruction(machine, dtype, native, rate) for native in natives]
    reads = max(REGISTER_READS, *(math.ceil(one.registers / one.cycles) for one in all_of))
    left = [one.cycles - one.registers / reads for one in all_of[1:]]
    selection = max(0.0, min(left, default=0.0))
    return Sm(
        sub_cores=own.sub_cores,
        shared_bytes=int(own.shared_bytes_per_clk),
        shared_interval=SHARED_INTERVAL,
        shared_latency=max(0, own.shared_latency - SHARED_INTERVAL),
        shared_queue=int(said.get("shared_queue_clk", SHARED_QUEUE)),
        register_reads=reads,
        selection_cycles=selection,
        barrier_latency=int(said.get("barrier_clk", BARRIER)),
        in_flight=int(own.shared_kib * 1024) if bulk else IN_FLIGHT,
        store_queue=STORE_QUEUE,
    )


class Packing(NamedTuple):
    """How weights, which are B, are packed: their share of the bytes, and what unpacks them.

    ``issues`` are those of a warp for each weight of its part of a tile.
    """

    share: float = 1.0
    issues: float = 0.0


def packing_of(machine: Gpu, dtype: str, native: Pattern) -> Packing:
    """The packing of a number format's weights, of which a pattern stores a share."""
    form = machine.format(dtype)
    if form.weights is None:
        return Packing()
    # An instruction of a warp holds the issue slots that its lanes take.
    lanes = machine.format("fp32").macs_per_clk / machine.sm.sub_cores
    share = form.weight_bits(native.density) / form.bits
    return Packing(share, form.weights.instructions * native.density / lanes)


def tile_of(
    row: NDArray[np.float64],
    instruction: Instruction,
    output_bits: int,
    packing: Packing = Packing(),  # noqa: B008 - a frozen value
    *,
    swapped: bool,
) -> Tile:
    """The tile of a row of a kernel table, its sides in whole instructions of every warp.

    ``swapped``: the kernel's columns are the instruction's rows, because B is compressed; also done
    where a kernel has too few rows for an instruction. One that reads shared memory is made as wide
    as the part of the tile allows; then its sums are added to without a gap.
    """
    m, n, k, stages, _, warp_m, warp_n = map(int, row[:ORDER])
    together = max(1, instruction.sharers)
    others = math.ceil(warp_n * instruction.k * packing.issues)
    if swapped or warp_m % (together * instruction.m):
        m, n, warp_m, warp_n = n, m, warp_n, warp_m
        instruction = instruction._replace(a_packed=packing.share)
    else:
        instruction = instruction._replace(b_packed=packing.share)
    if instruction.sharers and instruction.keep == instruction.group and not packing.issues:
        m, n, warp_m, warp_n = _widest(m, n, warp_m, warp_n)
    warps_m, warps_n = together * max(1, m // warp_m), max(1, n // warp_n)
    if instruction.sharers:
        columns = math.ceil(n / warps_n / COLS)
        wide = max(i for i in range(1, WIDEST // COLS + 1) if columns % i == 0)
        cycles = instruction.cycles * wide
        instruction = instruction._replace(n=wide * COLS, cycles=cycles, latency=math.ceil(cycles))
    return Tile(
        m=_up(m, warps_m * instruction.m),
        n=_up(n, warps_n * instruction.n),
        k=_up(k, instruction.k),
        warps_m=warps_m,
        warps_n=warps_n,
        stages=stages,
        instruction=instruction,
        output_bits=output_bits,
        others=others,
    )


def _widest(m: int, n: int, warp_m: int, warp_n: int) -> tuple[int, int, int, int]:
    """The sides of a tile and of a warpgroup's part of it, so that instructions are widest.

    The wider, the less they read: A of 64 rows anew for each. Operands may change places, and
    warpgroups have rows of their own (CUTLASS 3, ``KernelTmaWarpSpecializedCooperative``).
    """
    groups = max(1, m // warp_m) * max(1, n // warp_n)
    for rows, cols in ((m, n), (n, m)):
        wider = min(cols, WIDEST) > min(warp_n, WIDEST)
        if wider and rows % (groups * WARPGROUP * ROWS) == 0:
            return rows, cols, rows // groups, cols
    return m, n, warp_m, warp_n


def _up(size: int, unit: int) -> int:
    return math.ceil(size / unit) * unit


@lru_cache(maxsize=65536)
def tile_time(core: Sm, tile: Tile, feed: Feed, slices: int, ctas: int) -> TileTime:
    """The time of a tile on a multiprocessor, remembered: launches have few kinds of tile."""
    return sm.time_tile(core, tile, feed, slices, ctas=ctas)
