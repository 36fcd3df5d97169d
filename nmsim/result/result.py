"""What one GEMM costs on one machine, and where its cycles go."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Parts", "Result", "Survivors"]


@dataclass(frozen=True)
class Survivors:
    """Shares of (PE, group) pairs that have x = 0, 1, ... products of two kept elements.

    ``measured`` from the bits of both masks; empty where no bits were asked for. ``expected`` for
    the same counts of kept elements at independent positions.
    """

    measured: tuple[float, ...]
    expected: tuple[float, ...]

    @staticmethod
    def mean(shares: tuple[float, ...]) -> float | None:
        """Surviving products per PE and group; None without shares."""
        return math.fsum(x * share for x, share in enumerate(shares)) if shares else None


class Parts(NamedTuple):
    """Where the cycles go, all repeats: they add up to ``cycles``.

    The first five to ``compute_cycles``: cycles that stream (which a row splits by what fills the
    slots), skew in and out of the array, shifting in and out, and waiting for the buffers' path.
    The others to ``stall_cycles``: what the array waits for, DRAM's bandwidth, its latency, or
    results to leave.
    """

    streamed: int
    fill: int
    preload: int
    drain: int
    path_wait: int
    dram_wait: int
    latency_wait: int
    writeback_wait: int

    def times(self, count: int) -> "Parts":
        """Of so many repeats."""
        return Parts._make(count * value for value in self)

    @classmethod
    def columns(cls, parts: "Parts | None") -> dict[str, int | None]:
        """The columns of a row that hold them, but for what streams; None: a machine has none."""
        values = parts or (None,) * len(cls._fields)
        columns = {f"{name}_cycles": v for name, v in zip(cls._fields, values, strict=True)}
        del columns["streamed_cycles"]
        return columns


@dataclass(frozen=True)
class Result:
    """What one GEMM costs on one machine: all copies and repeats, whole cycles and bytes.

    Parameters
    ----------
    engine, kernel
        The model that ran it and what it chose: the dataflow of an array, the tile of a GPU.
    transposed
        It ran as ``C^T = B . A^T``.
    compute_cycles, stall_cycles
        Cycles at work, and cycles that it waited for memory.
    delivery_cycles
        The part of ``compute_cycles`` that waits for the path from the buffers.
    clock_mhz
        Cycles per microsecond.
    peak_macs
        Physical MACs per cycle.
    macs_issued
        MAC slots spent, group padding and empty slots included.
    dram_read_bytes, dram_write_bytes
        Traffic with DRAM; metadata included.
    sram_read_bytes
        Bytes of both operands, metadata included, read from the on-chip buffers; not partial sums.
    metadata_bytes
        The part of ``dram_read_bytes`` that is metadata.
    a_bits_per_cycle, b_bits_per_cycle
        What the array asks of each operand's buffer per cycle in which the operand moves (streams,
        or shifts in before), metadata included.
    bound
        What most of its cycles go to: "compute", "array fill", "buffer bandwidth", "dram bandwidth"
        or "dram latency"; a GPU's words are its kind's.
    note
        What the reader should know.
    selects
        The selectors followed a mask.
    misfit_share
        Share of the groups of a mask that the selectors followed, or would follow, which they do
        not cover; None if they can follow none.
    survivors
        What both masks leave of a group; None unless the array intersects two of them.
    half_width
        Half the 95% confidence interval of ``compute_cycles``; 0 where nothing was estimated.
    folds_run
        Folds of an intersecting array that were run, all copies; None elsewhere.
    tiles, waves
        Threadblocks of a GPU, and those of one launch over its slots (1.1: a second round for a
        tenth of them); None for arrays and matrix-vector kernels.
    compressed
        Operands that were read compressed: "a", "b", "ab" or "".
    chosen
        What the machine chose of the ways to run the GEMM, and what it passed over.
    mask_cycles
        Cycles of the fastest way that uses a mask, whether it runs or not; None where none can be.
    parts
        Where the cycles go; None where a machine does not tell.
    spent
        Clocks of one launch by what its model adds up, in words of the machine's kind, which makes
        parts of them; empty where ``parts`` has them, or nobody tells.
    partition
        What each of several arrays gets a part of: "m", "n", "k" or "copies"; "" where one has all.
    idle_cycles
        The part of ``compute_cycles`` in which arrays have no work left, mean of all arrays.
    own
        Columns that only machines of its kind have, by name, as far as the model counts them.
    """

    engine: str
    kernel: str
    transposed: bool
    compute_cycles: int
    stall_cycles: int
    clock_mhz: float
    peak_macs: float
    macs_issued: int
    dram_read_bytes: int
    dram_write_bytes: int
    sram_read_bytes: int
    metadata_bytes: int
    bound: str
    delivery_cycles: int = 0
    a_bits_per_cycle: float | None = None
    b_bits_per_cycle: float | None = None
    note: str = ""
    selects: bool = False
    misfit_share: float | None = None
    survivors: Survivors | None = None
    half_width: int = 0
    folds_run: int | None = None
    tiles: int | None = None
    waves: float | None = None
    compressed: str = ""
    chosen: str = ""
    mask_cycles: int | None = None
    parts: Parts | None = None
    spent: Mapping[str, float] = field(default_factory=dict)
    partition: str = ""
    idle_cycles: int = 0
    own: Mapping[str, Any] = field(default_factory=dict)

    def but(self, **changes: Any) -> "Result":
        """The same result with other values of some fields; ``replace`` takes ten times as long."""
        made = Result.__new__(Result)
        made.__dict__.update(self.__dict__, **changes)
        return made

    @property
    def cycles(self) -> int:
        """All cycles of the GEMM: at work, and waiting."""
        return self.compute_cycles + self.stall_cycles

    @property
    def time_us(self) -> float:
        """Microseconds that all copies and repeats take."""
        return self.cycles / self.clock_mhz

    @property
    def utilization(self) -> float:
        """MAC slots spent over all that the machine has in these cycles; 0 if there are none."""
        return self.macs_issued / (max(1, self.cycles) * self.peak_macs)

    @property
    def dram_gbps(self) -> float:
        """DRAM traffic over time, gigabytes (1e9) per second."""
        moved = self.dram_read_bytes + self.dram_write_bytes
        return moved / self.time_us * 1e-3 if self.cycles else 0.0
