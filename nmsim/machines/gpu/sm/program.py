"""The instruction stream of one warp of a tiled GEMM, as a table that the core model runs.

A threadblock computes a tile of C. Its main loop multiplies one slice of K after another out of a
ring of shared-memory stages, in the order of CUTLASS's multistage kernels (``MmaMultistage``,
CUTLASS 2.x): while slice i is multiplied, slice i + stages − 1 is being copied in, and while one
block of K (an instruction's depth) is multiplied, the fragments of the next are being loaded.

Every warp runs the same rows: a prologue, then the rows of one slice as often as there are slices,
then an epilogue. Loads and copies are spread evenly between the multiplications beside which they
stand, as compilers do.
"""

import itertools
import math
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import ShapeError

__all__ = [
    "ACCUMULATOR_BITS",
    "COLUMNS",
    "COPY_BYTES",
    "SERVED",
    "Instruction",
    "Kind",
    "Program",
    "Tile",
    "fragments",
    "kept_bytes",
    "stage_bytes",
    "stream",
]

COPY_BYTES = 512
"""What one ``cp.async`` of a warp copies at most: 16 bytes for each of 32 threads."""

BULK_BYTES = 2048
"""What one bulk copy moves at most: pieces, so that accesses to shared memory come in between."""

METADATA_LOAD = 128
"""What one 32-bit shared-memory load of a warp moves, bytes."""

ACCUMULATOR_BITS = 32


class Kind(IntEnum):
    """What an instruction asks for beside its issue slot.

    A kind is a case of ``core._room`` (when may it issue?) and of ``core._act`` (what does it
    take?); one more, for multiply-adds on CUDA cores say, is one more case of each.
    """

    OTHER = 0
    """Nothing: address arithmetic, loop control."""
    COPY = 1
    """``cp.async``: bytes from memory to a stage."""
    WAIT = 2
    """``cp.async.wait_group``: this warp's copies of a stage have landed."""
    BARRIER = 3
    """All warps of the threadblock."""
    LOAD = 4
    """``ldmatrix`` or another load from shared memory to fragments."""
    MMA = 5
    """``mma`` or ``mma.sp``: the sub-core's tensor core."""
    KEEP = 6
    """A store of accumulators to shared memory."""
    STORE = 7
    """A store to global memory."""
    WGMMA = 8
    """A warp's part of ``wgmma``: the tensor core, and operands straight out of shared memory."""


SERVED = (Kind.COPY, Kind.LOAD, Kind.KEEP, Kind.STORE, Kind.WGMMA)
"""What one memory serves for all warps, shared memory or what is beyond it."""

KIND, AHEAD, DST, DSTS, SRC_A, SRC_B, SRC_E, ACC, BYTES, YIELDS, LAST = range(11)
COLUMNS = 11
"""Kind; how many slices ahead of the warp's own it works (it does nothing if there are no so many);
first fragment written and how many; fragments of A, B and metadata that it reads; the accumulator
that it reads (and, an MMA, writes); bytes that it moves. −1 is no register. Then whose turn it is
afterwards: 1 if the threadblock gives way after the row, and 1 if the row is the last one before
that which memory serves (``SERVED``)."""


class Instruction(NamedTuple):
    """A matrix instruction and what the tensor core takes for it.

    Parameters
    ----------
    m, n, k
        Its shape, k counted densely.
    bits
        Of an element of A and B.
    cycles
        Between two of them on one tensor core, by multipliers alone; not always whole.
    latency
        Cycles from its start to that of one that reads its result.
    keep, group
        Elements of A stored of each group along K; 1 of 1 is dense.
    metadata_bytes
        Of one fragment of A, bytes.
    sharers
        Warps that issue it together, each its own rows of A and all the same B, out of shared
        memory; 0: operands are fragments in registers. The shape is one warp's.
    tensor
        On a tensor core; else as many multiply-adds of CUDA cores.
    a_packed, b_packed
        Bytes of A, or of B, in memory and shared memory, over those in registers, to which they are
        unpacked.
    """

    m: int
    n: int
    k: int
    bits: int
    cycles: float
    latency: int
    keep: int = 1
    group: int = 1
    metadata_bytes: int = 0
    sharers: int = 0
    tensor: bool = True
    a_packed: float = 1.0
    b_packed: float = 1.0

    @property
    def a_bytes(self) -> int:
        """Bytes of a fragment of A in registers."""
        return self.m * self.k * self.keep * self.bits // (8 * self.group)

    @property
    def b_bytes(self) -> int:
        """Bytes of a fragment of B, which is dense."""
        return self.n * self.k * self.bits // 8

    @property
    def loaded_bytes(self) -> tuple[int, int]:
        """Bytes of a fragment of A, and of B, as they are stored."""
        return math.ceil(self.a_bytes * self.a_packed), math.ceil(self.b_bytes * self.b_packed)

    @property
    def c_bytes(self) -> int:
        """Bytes of a fragment of accumulators in registers."""
        return self.m * self.n * ACCUMULATOR_BITS // 8

    @property
    def shared_bytes(self) -> int:
        """Bytes that a warp's instruction reads from shared memory: rows of A, its share of B."""
        if not self.sharers:
            return 0
        return self.a_bytes + self.metadata_bytes + math.ceil(self.b_bytes / self.sharers)

    @property
    def registers(self) -> int:
        """32-bit registers of a thread that it reads: A, B, accumulators and metadata."""
        operands = sum(math.ceil(size / 128) for size in (self.a_bytes, self.b_bytes, self.c_bytes))
        return operands + (self.metadata_bytes > 0)


class Tile(NamedTuple):
    """A threadblock's tile and how its kernel goes about it.

    Parameters
    ----------
    m, n, k
        Of C, and the slice of K that a stage holds.
    warps_m, warps_n
        Warps along m and n; each has an equal part of the tile.
    stages
        Of shared memory, at least 2.
    instruction
        Multiplies fragments.
    load_bytes
        Moved by one load of A or B fragments: ``ldmatrix`` .x1 128, .x2 256, .x4 512 bytes.
    output_bits
        Of an element of C as written to global memory.
    others
        Further instructions per block of K.
    """

    m: int
    n: int
    k: int
    warps_m: int
    warps_n: int
    stages: int
    instruction: Instruction
    load_bytes: int = 512
    output_bits: int = 16
    others: int = 0

    @property
    def warps(self) -> int:
        """Warps of a threadblock, each with its own part of the tile."""
        return self.warps_m * self.warps_n

    @property
    def blocks(self) -> int:
        """Blocks of K in a slice: multiplications one after another into the same accumulator."""
        return self.k // self.instruction.k


class Fragments(NamedTuple):
    """Fragments that a warp holds for one block of K."""

    a: int
    b: int
    e: int

    @property
    def total(self) -> int:
        """Registers of one of the two buffers of fragments."""
        return self.a + self.b + self.e


class Program(NamedTuple):
    """Rows x ``COLUMNS``: the prologue, from ``body`` one slice, from ``epilogue`` the rest."""

    rows: NDArray[np.int64]
    body: int
    epilogue: int


def fragments(tile: Tile) -> Fragments:
    """How many fragments a warp's part of the tile has.

    Raises
    ------
    ShapeError
        if the tile does not divide into warps and instructions, or has fewer than two stages.
    """
    shape = tile.instruction
    wholes = (
        tile.m % (tile.warps_m * shape.m),
        tile.n % (tile.warps_n * shape.n),
        tile.k % shape.k,
        shape.k * shape.keep % shape.group,
    )
    if any(wholes) or tile.stages < 2:
        raise ShapeError(
            f"tile {tile.m} x {tile.n} x {tile.k}, {tile.warps_m} x {tile.warps_n} warps, "
            f"{tile.stages} stages: expected multiples of the instruction's "
            f"{shape.m} x {shape.n} x {shape.k} for every warp, and 2 stages or more"
        )
    a = tile.m // (tile.warps_m * shape.m)
    return Fragments(a, tile.n // (tile.warps_n * shape.n), a if shape.metadata_bytes else 0)


def stage_bytes(tile: Tile) -> tuple[int, int, int]:
    """Bytes of A, B and metadata in a stage of shared memory."""
    shape = tile.instruction
    blocks, (a, b) = tile.blocks, shape.loaded_bytes
    return (
        tile.m // shape.m * blocks * a,
        tile.n // shape.n * blocks * b,
        tile.m // shape.m * blocks * shape.metadata_bytes,
    )


Row = tuple[int, ...]
NONE = -1


def _row(
    kind: Kind,
    ahead: int = 0,
    *,
    dst: int = NONE,
    dsts: int = 0,
    reads: tuple[int, int, int] = (NONE, NONE, NONE),
    acc: int = NONE,
    size: int = 0,
) -> Row:
    return (kind, ahead, dst, dsts, *reads, acc, size)


def _copies(tile: Tile, ahead: int) -> list[Row]:
    """One warp's share of a stage: as few copies of equal size as hold each operand."""
    rows: list[Row] = []
    most = BULK_BYTES if tile.instruction.sharers else COPY_BYTES
    for size in stage_bytes(tile):
        share = math.ceil(size / tile.warps)
        count = math.ceil(share / most)
        rows += [_row(Kind.COPY, ahead, size=math.ceil(share / count)) for _ in range(count)]
    return rows


def _loads(first: int, count: int, size: int, width: int, ahead: int) -> list[Row]:
    """Loads of ``count`` fragments of ``size`` bytes: several in one load, or one in several."""
    if width < size:
        parts = math.ceil(size / width)
        return [
            _row(
                Kind.LOAD,
                ahead,
                dst=first + i // parts,
                dsts=1,
                size=min(width, size - i % parts * width),
            )
            for i in range(count * parts)
        ]
    together = width // size
    held = [(i, min(together, count - i)) for i in range(0, count, together)]
    return [_row(Kind.LOAD, ahead, dst=first + i, dsts=j, size=j * size) for i, j in held]


def _block_loads(tile: Tile, buffer: int, ahead: int) -> list[Row]:
    """All fragments of one block of K, metadata last."""
    shape, held = tile.instruction, fragments(tile)
    if shape.sharers:
        return []
    first, (a, b) = buffer * held.total, shape.loaded_bytes
    rows = _loads(first, held.a, a, tile.load_bytes, ahead)
    rows += _loads(first + held.a, held.b, b, tile.load_bytes, ahead)
    if held.e:
        metadata = first + held.a + held.b
        rows += _loads(metadata, held.e, shape.metadata_bytes, METADATA_LOAD, ahead)
    return rows


def _mmas(tile: Tile, buffer: int) -> list[Row]:
    """The multiplications of a block of K, a row of accumulators after another."""
    held, shape = fragments(tile), tile.instruction
    if shape.sharers:
        sums = range(2 * held.total, 2 * held.total + held.a * held.b)
        return [_row(Kind.WGMMA, acc=acc, size=shape.shared_bytes) for acc in sums]
    first = buffer * held.total
    metadata = first + held.a + held.b
    return [
        _row(
            Kind.MMA,
            reads=(first + i, first + held.a + j, metadata + i if held.e else NONE),
            acc=2 * held.total + i * held.b + j,
        )
        for i in range(held.a)
        for j in range(held.b)
    ]


def _spread(beside: list[Row], mmas: list[Row]) -> Iterable[Row]:
    """Row s of S stands before multiplication ⌊s·J/S⌋ of J."""
    done = 0
    for position, mma in enumerate(mmas):
        while done < len(beside) and done * len(mmas) // len(beside) <= position:
            yield beside[done]
            done += 1
        yield mma


def _slice(tile: Tile) -> Iterable[Row]:
    """One slice of K; its buffers are counted from the one that holds the slice's first block.

    The next slice's stage is waited for before the last block, whose multiplications hide the loads
    of that slice's first fragments. Copies stand before that wait. A stage is overwritten only
    after a barrier that follows its last loads in every warp: with operands in shared memory, its
    last multiplications, so that the next stage is waited for after them.
    """
    direct = tile.instruction.sharers > 0
    copies = _copies(tile, tile.stages - 1)
    # CUDA cores' kernels ask for the next slice at once (CUTLASS's ``MmaPipelined``): in the first
    # quarter here, as the writes to shared memory, queued with the copies, come later there.
    early = max(tile.blocks - 1 if tile.instruction.tensor else tile.blocks // 4, 1)
    meet = [_row(Kind.WAIT, 1), _row(Kind.BARRIER, 1)]
    for block in range(tile.blocks):
        last = block == tile.blocks - 1
        own = [row for i, row in enumerate(copies) if i * early // len(copies) == block]
        if last and not direct:
            yield from own + meet
            own = []
        beside = _block_loads(tile, (block + 1) % 2, int(last)) + own
        beside += [_row(Kind.OTHER)] * tile.others
        yield from _spread(beside, _mmas(tile, block % 2))
    if direct:
        yield from meet


def kept_bytes(tile: Tile) -> int:
    """Bytes of a fragment at the end in shared memory: sums, or results that a bulk copy takes.

    A bulk copy (TMA) cannot convert, so that sums are converted before.
    """
    shape = tile.instruction
    return math.ceil(shape.m * shape.n * tile.output_bits / 8) if shape.sharers else shape.c_bytes


def _epilogue(tile: Tile) -> Iterable[Row]:
    """A row of accumulators after another through shared memory, so that stores are coalesced."""
    held, shape = fragments(tile), tile.instruction
    out = math.ceil(shape.m * shape.n * tile.output_bits / 8)
    kept = kept_bytes(tile)
    for i in range(held.a):
        first = 2 * held.total + i * held.b
        if i > 0:
            yield _row(Kind.BARRIER)
        for j in range(held.b):
            yield _row(Kind.KEEP, acc=first + j, size=kept)
        yield _row(Kind.BARRIER)
        for j in range(held.b):
            yield _row(Kind.LOAD, dst=j, dsts=1, size=kept)
        for j in range(held.b):
            yield _row(Kind.STORE, reads=(j, NONE, NONE), size=out)


def _with_turns(rows: list[Row]) -> NDArray[np.int64]:
    """Rows with ``YIELDS`` and ``LAST``.

    A threadblock gives way where it would stand still: before it waits for a stage, or meets its
    warps otherwise. No slice begins with either, so that it makes no difference whether one more
    slice or the end of the program follows.
    """
    kinds = [row[KIND] for row in rows]
    stands = [
        after == Kind.WAIT or (after == Kind.BARRIER and kind != Kind.WAIT)
        for kind, after in itertools.pairwise(kinds)
    ]
    stands.append(True)
    last, turns = True, []
    for kind, yields in zip(reversed(kinds), reversed(stands), strict=True):
        last = last or yields
        turns.append((int(yields), int(last and kind in SERVED)))
        last = last and kind not in SERVED
    return np.array([(*row, *turn) for row, turn in zip(rows, reversed(turns), strict=True)])


def stream(tile: Tile) -> Program:
    """The rows that every warp of a threadblock runs."""
    prologue = [row for stage in range(tile.stages - 1) for row in _copies(tile, stage)]
    prologue += [_row(Kind.WAIT), _row(Kind.BARRIER), *_block_loads(tile, 0, 0)]
    body = list(_slice(tile))
    rows = [*prologue, *body, *_epilogue(tile)]
    return Program(_with_turns(rows), len(prologue), len(prologue) + len(body))
