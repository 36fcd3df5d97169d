"""A GPU and a GEMM as numbers: what both fidelities, and the choice of kernel, compute with."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled_uncounted
from nmsim.machines.gpu.schema import Constants, Gpu, Library

__all__ = [
    "Chip",
    "Form",
    "Size",
    "chip_of",
    "held_share",
    "read_by_lines",
    "resolved",
    "sharing",
    "takes",
]

TM, TN, TK, STAGES, CTAS, WM, WN, ORDER = range(8)
"""Columns of a kernel table."""

DOWN, ACROSS, LEAST_M, LEAST_N, LEAST_K, MOST_M, MOST_N = range(ORDER + 1, ORDER + 8)
"""Columns of a kernel table: threadblocks of a cluster, and the sizes that a kernel is for."""

CAST_DOWN, CAST_ACROSS, STREAM_K = range(MOST_N + 1, MOST_N + 4)
"""Columns of a kernel table: multicast, of the cycle model, and whether slices of K are dealt."""

AS_SQUARE, ALONG_ROWS, ALONG_COLUMNS = 0.0, 1.0, 2.0
"""Orders in which tiles of C are launched: waves as square as they can be, or line after line."""

MATRIX_VECTOR = -1
"""Stands for a row of the table: the matrix-vector kernel, which has no tile."""

_UNSAID = {
    "start_us": 0.0,
    "queue_clk": 0.0,
    "dram_share": 1.0,
    "absorbed_mib": 0.0,
    "results_wait": 1.0,
}
"""What is not declared takes no time and loses no bandwidth."""


class Chip(NamedTuple):
    """A GPU and library in clocks (of an SM), bytes per clock and MACs per clock and SM.

    Each fidelity has one, made of the same fields. Bandwidths of L2, DRAM, stores to DRAM and
    matrix-vector kernels are those of the whole GPU.

    Parameters
    ----------
    sms, macs, shared
        SMs; of one of them the rate of its tensor cores and its shared memory.
    port, store
        From and to an SM.
    l2, l2_bytes, dram, write, gemv
        Of L2 and its capacity, of DRAM for reads and for results, of a matrix-vector kernel.
    launch, reduce
        Of a kernel, of the kernel that adds up parts of K.
    near
        Latency of L2.
    load, wave, overlap
        Until a stage arrives under load, between two tiles of a slot, and the share of the shorter
        of on-chip and DRAM time that is not hidden: of the closed form, like ``l2_bytes``.
    l2_kept
        Bytes that a series of launches may move until L2 begins to lose what it has read.
    unpack
        Of an SM for each weight of a tile that it unpacks; 0: weights come as they are multiplied.
    throttle, throttle_half
        Slow-down of a long kernel, and when half of it is there.
    latency, queue
        Of DRAM that is idle, and what comes to it when it is fully used: of the cycle model.
    start, absorbed, waiting
        Of a threadblock before its first load, bytes of results that L2 holds until the kernel has
        ended, and the share of what is left that tiles wait for: of the cycle model.
    """

    sms: float
    macs: float
    shared: float
    port: float
    l2: float
    l2_bytes: float
    dram: float
    launch: float
    near: float
    load: float
    wave: float
    reduce: float
    overlap: float
    store: float
    write: float
    throttle: float
    throttle_half: float
    gemv: float
    latency: float = 0.0
    queue: float = 0.0
    start: float = 0.0
    absorbed: float = 0.0
    waiting: float = 1.0
    l2_kept: float = 0.0
    unpack: float = 0.0


class Form(NamedTuple):
    """Bytes of an element of A, of B (per element of K, compressed with metadata) and of C.

    ``a_once`` and ``b_once`` are the shares of an operand's elements that are distinct in memory: a
    convolution's columns are made of fewer pixels. ``in_turn`` is that of the call.
    """

    a: float
    b: float
    out: float
    a_once: float = 1.0
    b_once: float = 1.0
    in_turn: float = 0.0


class Size(NamedTuple):
    """M, N and K of a GEMM, and how many copies of it one launch runs; floats, as kernels count."""

    m: float
    n: float
    k: float
    copies: float


@compiled_uncounted
def read_by_lines(chip: Chip, form: Form, row: NDArray[np.float64], size: Size) -> float:
    """Bytes of one copy from DRAM where tiles are launched line after line; 0: they are not.

    A wave has the tiles of a few lines. The operand that lies along them is read anew for every
    wave, unless L2 holds all of it: a cache that is gone through in a circle, and replaces what was
    used longest ago, has lost each line of an operand beyond its size when that one's turn comes.
    The other operand is read once. A row without an order is square.
    """
    if len(row) <= ORDER or row[ORDER] == AS_SQUARE:
        return 0.0
    m, n, k, _ = size
    a, b = m * k * form.a * form.a_once, n * k * form.b * form.b_once
    down, across = np.ceil(m / row[TM]), np.ceil(n / row[TN])
    if row[ORDER] == ALONG_COLUMNS:  # of C: B lies along a line of tiles
        a, b, down, across = b, a, across, down
    lines = max(1.0, chip.sms * row[CTAS] / down)
    again = max(0.0, across / lines - 1) * a if a > chip.l2_bytes else 0.0
    read: float = a + b + again
    return read


def _layers(machine: Gpu, library: Library | None, fidelity: str) -> Iterator[Constants]:
    """Blocks of constants; a later one overrides an earlier one."""
    for source in (machine, library):
        if source is not None:
            yield source.timing
            if fidelity == "cycle":
                yield source.cycle


def resolved(
    machine: Gpu, library: Library | None = None, fidelity: str = "analytical"
) -> dict[str, float]:
    """The constants that a model runs with: the machine's, overridden by a library's own.

    ``cycle`` speaks to the cycle model alone, and there overrides ``timing``. What no block says is
    not in it, but for what can be said in numbers: ``start_us`` is 0, ``efficiency`` the library's.

    Examples
    --------
    >>> from nmsim.machines import load_hardware
    >>> a100 = load_hardware("a100-sxm4-80gb")
    >>> [resolved(a100, None, fidelity)["launch_us"] for fidelity in ("analytical", "cycle")]
    [3.03, 2.85]
    """
    said: dict[str, float] = {**_UNSAID, "efficiency": library.efficiency if library else 1.0}
    for block in _layers(machine, library, fidelity):
        said |= block.model_dump(exclude_none=True)
    return said


def chip_of(
    machine: Gpu, library: Library, macs: float, fidelity: str, unpack: float = 0.0
) -> Chip:
    """A machine and library as a fidelity sees them.

    Parameters
    ----------
    macs
        Per clock and SM, of the instruction that the library's kernels use, at its best.
    unpack
        Clocks of an SM for each weight that is unpacked.
    """
    said = resolved(machine, library, fidelity)
    said |= _throttling(machine, said)
    clock = machine.clock_mhz
    return Chip(
        sms=float(machine.sms),
        macs=macs * said["efficiency"],
        shared=machine.sm.shared_bytes_per_clk,
        port=machine.sm.port_bytes_per_clk,
        l2=machine.l2.gbps * 1e3 / clock,
        l2_bytes=machine.l2.mib * 2**20,
        dram=machine.dram.gbps * said["dram_share"] * 1e3 / clock,
        launch=said["launch_us"] * clock,
        near=machine.l2.latency_clk,
        load=said["load_us"] * clock,
        wave=said["wave_us"] * clock,
        reduce=said["reduce_us"] * clock,
        overlap=said["overlap"],
        store=said["store_bytes_per_clk"],
        write=said["write_gbps"] * 1e3 / clock,
        throttle=said["throttle"],
        throttle_half=said["throttle_us"] * clock,
        gemv=min(said["gemv_gbps"], machine.dram.gbps) * 1e3 / clock,
        latency=machine.dram.latency_clk,
        queue=said["queue_clk"],
        start=said["start_us"] * clock,
        absorbed=said["absorbed_mib"] * 2**20,
        waiting=said["results_wait"],
        l2_kept=machine.l2.mib * 2**20 * machine.l2.kept_share,
        unpack=unpack,
    )


def _throttling(machine: Gpu, said: dict[str, float]) -> dict[str, float]:
    """What a load slows the clock down by, under the conditions that a machine is under."""
    if machine.conditions == "free":
        return {}
    lasting = max(said["throttle"], said["sustained_throttle"])
    return {
        "throttle": lasting if machine.conditions == "sustained" else 0.0,
        "throttle_us": 0.0,
    }


@compiled_uncounted
def takes(row: NDArray[np.float64], m: float, n: float, k: float) -> bool:
    """Whether a row of a kernel table is for GEMMs of a size."""
    deep = k >= row[LEAST_K]
    found: bool = deep and row[LEAST_M] <= m <= row[MOST_M] and row[LEAST_N] <= n <= row[MOST_N]
    return found


@compiled_uncounted
def sharing(row: NDArray[np.float64], down: float, across: float) -> tuple[float, float]:
    """Threadblocks that a load of A, and of B, arrives in at once (multicast in a cluster).

    A is shared along a row of tiles, B along a column; ``down`` and ``across`` are tiles of C.
    """
    return min(row[ACROSS], across), min(row[DOWN], down)


@compiled_uncounted
def held_share(chip: Chip, passed: float) -> float:
    """Share of what was read that L2 still holds once so many bytes have passed through it.

    All of it up to ``l2_kept``, nothing from the capacity on, in proportion between the two.
    """
    lost = max(0.0, passed - chip.l2_kept) / (chip.l2_bytes - chip.l2_kept)
    return max(0.0, 1 - lost)
