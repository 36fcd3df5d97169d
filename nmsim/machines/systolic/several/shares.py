"""What each of several arrays gets of a GEMM: parts of M, of N, of K, or of its copies.

Parts are whole tiles of the array where the dimension lies along its rows or columns, so that no
array runs a ragged fold that another one could have run along; of what streams, equal parts. Parts
of K end with a group of both masks and of the selectors.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Literal, NamedTuple, TypeVar

from nmsim.errors import CapacityError
from nmsim.gemm import Gemm
from nmsim.machines.kind import Stored
from nmsim.machines.systolic.pipeline.capacity import next_count
from nmsim.machines.systolic.placement import Placement
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.mask import Mask, SparseGemm
from nmsim.mask.words import Words, pack, unpack
from nmsim.windows import Windows

__all__ = [
    "Partition",
    "Share",
    "Split",
    "as_row_says",
    "common",
    "own_part",
    "possible",
    "shares",
    "splits",
]

T = TypeVar("T")

Partition = Literal["m", "n", "k", "copies", ""]
"""What arrays have parts of, of C = A . B^T as it runs; "": one of them has all."""


class Split(NamedTuple):
    """What arrays have parts of, and how many of them have any."""

    by: Partition
    arrays: int


class Share(NamedTuple):
    """What so many arrays have each: a placement of a part of the GEMM."""

    placement: Placement
    arrays: int


def as_row_says(partition: Partition, placement: Placement) -> Partition:
    """A partition in the dimensions of the GEMM as it is given, or, again, as it runs."""
    turned: dict[Partition, Partition] = {"m": "n", "n": "m"}
    return turned.get(partition, partition) if placement.transposed else partition


def splits(machine: SystolicArray, placement: Placement) -> list[Split]:
    """The ways in which a GEMM may be shared out among the arrays of a machine.

    By each dimension that the machine leaves open, among all arrays or among fewer of them: any
    number up to 8, then four numbers in an octave, whatever the machine, so that one with more
    arrays may do what another can.
    """
    named: tuple[Partition, ...] = ("m", "n", "k", "copies")
    if machine.partition != "best":
        named = (as_row_says(machine.partition, placement),)
    found = [Split("", 1)]
    for by in named:
        for arrays in _numbers(machine.arrays):
            parts = len(_spans(machine, placement, Split(by, arrays)))
            if parts > 1 and Split(by, parts) not in found:
                found.append(Split(by, parts))
    return found


def possible(tries: Iterable[Callable[[], list[T]]]) -> list[T]:
    """What all tries find whose buffers are not too small.

    Raises
    ------
    CapacityError
        of the first one, if all are.
    """
    found: list[T] = []
    refused: list[CapacityError] = []
    for one in tries:
        try:
            found += one()
        except CapacityError as error:
            refused.append(error)
    if not found:
        raise refused[0]
    return found


def _numbers(most: int) -> Iterator[int]:
    """How many arrays are tried."""
    count = 2
    while count < most:
        yield count
        count = next_count(count)
    yield most


def common(split: Split) -> Literal["a", "b", ""]:
    """The operand of the GEMM, as it runs, that all arrays read whole."""
    of: dict[Partition, Literal["a", "b", ""]] = {"m": "b", "n": "a"}
    return of.get(split.by, "")


def own_part(machine: SystolicArray, split: Split) -> SystolicArray:
    """One array with what is its own of the buffers: all, of what it shares with the others."""
    if machine.buffers == "private" or split.arrays == 1:
        return machine
    shared = common(split)
    sizes = {
        f"{one}_kib": getattr(machine.sram, f"{one}_kib") / (1 if one == shared else split.arrays)
        for one in "abc"
    }
    return machine.model_copy(update={"sram": machine.sram.model_copy(update=sizes)})


def shares(machine: SystolicArray, placement: Placement, split: Split) -> list[Share]:
    """What arrays get, the most first; arrays without any work have none."""
    if not split.by:
        return [Share(placement, 1)]
    found: list[Share] = []
    sizes: list[int] = []
    # Parts of one size are alike, but where time depends on bits that the partition cuts.
    differ = placement.needs_bits(machine) and common(split) != placement.selected
    for start, stop in _spans(machine, placement, split):
        if sizes and sizes[-1] == stop - start and not differ:
            found[-1] = found[-1]._replace(arrays=found[-1].arrays + 1)
            continue
        found.append(Share(_part(machine, placement, split.by, start, stop), 1))
        sizes.append(stop - start)
    return found


def _spans(machine: SystolicArray, placement: Placement, split: Split) -> list[tuple[int, int]]:
    """From where to where each array's part of a dimension goes, none of them empty."""
    work = placement.work
    sizes = {"m": work.gemm.m, "n": work.gemm.n, "k": work.k, "copies": work.gemm.count}
    size, grain = sizes[split.by], _grain(machine, placement, split.by)
    units = -(-size // grain)
    least, more = divmod(units, split.arrays)
    spans, start = [], 0
    for array in range(min(units, split.arrays)):
        stop = min(size, start + grain * (least + (array < more)))
        spans.append((start, stop))
        start = stop
    return spans


def _grain(machine: SystolicArray, placement: Placement, partition: Partition) -> int:
    """What parts of a dimension are multiples of."""
    flow = placement.dataflow
    if partition == "k":
        group = math.lcm(
            placement.native.group, placement.work.a.pattern.group, placement.work.b.pattern.group
        )
        if machine.pad_slots > 1:
            group = math.lcm(group, machine.padded(1, placement.native))
        fold = machine.depth
        if machine.holds_groups:
            group = math.lcm(group, machine.group)
        else:
            fold = fold * placement.native.group // placement.native.keep
        return fold if flow.rows == "k" and fold % group == 0 else group
    if partition == flow.cols:
        return machine.cols
    return machine.rows if partition == flow.rows else 1


def _part(
    machine: SystolicArray, placement: Placement, partition: Partition, start: int, stop: int
) -> Placement:
    work = placement.work
    g = work.gemm
    if partition == "copies":
        gemm = replace(g, count=stop - start)
        a, b = (_copies(mask, g.count, start, stop) for mask in (work.a, work.b))
        return placement.of_part(replace(work, gemm=gemm, a=a, b=b))
    if partition == "k":
        return _part_of_k(machine, placement, start, stop)
    if partition == "m":
        gemm = replace(g, m=stop - start, **_behind(g, "a", "rows", (start, stop), g.m))
        part = replace(work, gemm=gemm, a=_rows(work.a, g.count, start, stop))
    else:
        gemm = replace(g, n=stop - start, **_behind(g, "b", "rows", (start, stop), g.n))
        part = replace(work, gemm=gemm, b=_rows(work.b, g.count, start, stop))
    return placement.of_part(part)


def _part_of_k(machine: SystolicArray, placement: Placement, start: int, stop: int) -> Placement:
    work, g = placement.work, placement.work.gemm
    size = stop - start
    own = start, min(g.k, stop) if start < g.k else stop
    behind = _behind(g, "a", "k", own, work.k) | _behind(g, "b", "k", own, work.k)
    gemm: Gemm = replace(g, k=max(1, min(g.k, stop) - start), **behind)
    part = SparseGemm(gemm, _along_k(work.a, start, stop), _along_k(work.b, start, stop), work.note)
    k = machine.padded(size, placement.native)
    a_stored, b_stored = (
        _stored(stored, size if stored.compressed else k)
        for stored in (placement.a_stored, placement.b_stored)
    )
    return placement.of_part(part, k=k, a_stored=a_stored, b_stored=b_stored)


def _stored(whole: Stored, k: int) -> Stored:
    return whole._replace(elements=whole.pattern.stored(k))


def _behind(
    gemm: Gemm, side: Literal["a", "b"], along: str, span: tuple[int, int], whole: int
) -> dict[str, Any]:
    """What stands in memory behind a part of an operand, cut along its rows or along K.

    The windows that make it up; or, where it ends amid a line of them, its share of the elements
    and no windows.
    """
    windows: Windows | None = getattr(gemm, f"{side}_windows")
    part = None
    if windows is not None and span[1] <= windows.shape[along == "k"]:
        part = windows.part("pixels" if windows.along == along else "reads", *span)
    elements = getattr(gemm, f"{side}_elements")
    if part is None:
        elements = _scaled(elements, span[1] - span[0], whole)
    return {
        f"{side}_windows": part,
        f"{side}_elements": elements if part is None else part.elements,
    }


def _scaled(elements: int | None, part: int, whole: int) -> int | None:
    return None if elements is None else max(1, -(-elements * part // whole))


def _sliced(mask: Mask, rows: int, k: int, source: Callable[[], Words]) -> Mask:
    if mask.is_dense:
        return Mask.dense(rows, k)
    return mask.but(rows=rows, k=k, source=source, known_kept=None)


def _rows(mask: Mask, copies: int, start: int, stop: int) -> Mask:
    """The same rows of every copy of an operand."""

    def words() -> Words:
        each = mask.words.reshape(copies, mask.rows // copies, -1)
        return each[:, start:stop].reshape(copies * (stop - start), -1)

    return _sliced(mask, copies * (stop - start), mask.k, words)


def _copies(mask: Mask, copies: int, start: int, stop: int) -> Mask:
    rows = mask.rows // copies
    return _sliced(
        mask, (stop - start) * rows, mask.k, lambda: mask.words[start * rows : stop * rows]
    )


def _along_k(mask: Mask, start: int, stop: int) -> Mask:
    def words() -> Words:
        return pack(unpack(mask.words, mask.k)[:, start:stop])

    return _sliced(mask, mask.rows, stop - start, words)
