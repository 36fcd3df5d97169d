"""How many threadblocks are resident on a multiprocessor at once.

Source: CUDA C++ Programming Guide, "Compute Capabilities", and the CUDA occupancy calculator.
"""

import math
from typing import NamedTuple

from nmsim.errors import ShapeError
from nmsim.machines.gpu.sm.program import ACCUMULATOR_BITS, Tile, fragments, stage_bytes

__all__ = ["Residency", "ctas_per_sm", "registers_of", "shared_bytes_of", "tile_ctas_per_sm"]

WARP = 32
"""Threads."""


class Residency(NamedTuple):
    """What the threadblocks of a multiprocessor share; the defaults are compute capability 8.0.

    Parameters
    ----------
    shared_bytes
        Of shared memory.
    registers
        32-bit, of all sub-cores.
    threads, ctas
        At most.
    shared_reserved
        Bytes that the system takes of shared memory for every threadblock.
    shared_unit
        Bytes that shared memory is given out in.
    shared_per_cta
        Bytes of a threadblock at most, without those reserved.
    register_unit
        Registers that a warp's are rounded up to.
    thread_registers
        Of a thread at most.
    sub_cores
        Between which the registers are divided: a warp's lie in one of them.
    """

    shared_bytes: int = 164 * 1024
    registers: int = 65536
    threads: int = 2048
    ctas: int = 32
    shared_reserved: int = 1024
    shared_unit: int = 128
    shared_per_cta: int = 163 * 1024
    register_unit: int = 256
    thread_registers: int = 255
    sub_cores: int = 4


def ctas_per_sm(limits: Residency, *, threads: int, registers: int, shared_bytes: int) -> int:
    """Threadblocks resident at once; 0 if not even one fits.

    Parameters
    ----------
    threads
        Of a threadblock.
    registers
        Of a thread.
    shared_bytes
        Of a threadblock, without those reserved.

    Raises
    ------
    ShapeError
        if a threadblock has no threads, or negative needs.
    """
    if threads < 1 or min(registers, shared_bytes) < 0:
        raise ShapeError(
            f"{threads} threads, {registers} registers, {shared_bytes} bytes: expected 1 or more "
            "threads and nothing below zero"
        )
    if registers > limits.thread_registers or shared_bytes > limits.shared_per_cta:
        return 0
    warps = math.ceil(threads / WARP)
    by_threads = limits.threads // (warps * WARP)
    taken = _up(shared_bytes + limits.shared_reserved, limits.shared_unit)
    return min(
        limits.ctas,
        by_threads,
        limits.shared_bytes // taken,
        _by_registers(limits, warps, registers),
    )


def _by_registers(limits: Residency, warps: int, registers: int) -> int:
    if registers == 0:
        return limits.ctas
    warp = _up(registers * WARP, limits.register_unit)
    return limits.registers // limits.sub_cores // warp * limits.sub_cores // warps


def _up(size: int, unit: int) -> int:
    return math.ceil(size / unit) * unit


def shared_bytes_of(tile: Tile) -> int:
    """Bytes of shared memory of a tile's threadblock: its stages, or what its epilogue exchanges.

    The epilogue's rows of accumulators, one of each warp, reuse the stages.
    """
    held, shape = fragments(tile), tile.instruction
    return max(tile.stages * sum(stage_bytes(tile)), tile.warps * held.b * shape.c_bytes)


def registers_of(tile: Tile, *, overhead: int = 40) -> int:
    """Registers of a thread: accumulators, two buffers of fragments, addresses and the like.

    ``overhead`` is an estimate; compilers' own figures should be preferred where they are known.
    """
    held, shape = fragments(tile), tile.instruction
    accumulators = held.a * held.b * shape.m * shape.n * ACCUMULATOR_BITS // 32 // WARP
    one = (
        held.a * math.ceil(shape.a_bytes / 128)
        + held.b * math.ceil(shape.b_bytes / 128)
        + math.ceil(held.e * shape.metadata_bytes / 128)
    )
    return accumulators + 2 * one + overhead


def tile_ctas_per_sm(limits: Residency, tile: Tile, registers: int | None = None) -> int:
    """Threadblocks of a tile resident at once, ``registers`` a thread (default: the estimate).

    The estimate is not let exceed what a thread may have: compilers spill or reuse, kernels at the
    limit are common.
    """
    used = min(registers_of(tile), limits.thread_registers) if registers is None else registers
    return ctas_per_sm(
        limits, threads=tile.warps * WARP, registers=used, shared_bytes=shared_bytes_of(tile)
    )
