"""Kernels of an export beside predicted GEMMs: by size, by tile, in the order of launches.

A prediction is a series of launches: rows in their order, identical blocks one after the other. A
kernel goes with the next launch that it fits: of its size, if shapes are told; else one whose C
its threadblocks and tile cover. After the last launch comes the first again, as in a trace of
several steps. What fits nothing is listed, with why.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, NamedTuple

from nmsim.measured.profiles.exports import Export
from nmsim.measured.profiles.kernels import KernelRun, Size

__all__ = ["Compared", "Pair", "compare"]

Row = Mapping[str, Any]


class Pair(NamedTuple):
    """A kernel, a predicted launch, or both together.

    Parameters
    ----------
    kernel
        None: no kernel of the export fits the launch.
    row
        Of the predicted table; None: the kernel goes with none.
    how
        By what they go together, or why there is no other side.
    """

    kernel: KernelRun | None
    row: Row | None
    how: str

    @property
    def measured_us(self) -> float | None:
        """Microseconds of all calls of the kernel."""
        return None if self.kernel is None else self.kernel.us * self.kernel.calls

    @property
    def predicted_us(self) -> float | None:
        """Microseconds predicted of as many launches."""
        if self.row is None:
            return None
        calls = 1 if self.kernel is None else self.kernel.calls
        return float(self.row["time_us"]) / int(self.row["repeat"]) * calls

    @property
    def ratio(self) -> float | None:
        """Predicted over measured; None where a side is not there, or took no time."""
        measured, predicted = self.measured_us, self.predicted_us
        return predicted / measured if measured and predicted is not None else None


class Compared(NamedTuple):
    """All kernels of an export and all predicted launches, each told once at least."""

    kind: str
    pairs: tuple[Pair, ...]

    @property
    def sums(self) -> dict[str, float | int | None]:
        """What is covered: microseconds and counts of both sides, all and matched."""
        matched = [pair for pair in self.pairs if pair.kernel and pair.row]
        kernels = [pair for pair in self.pairs if pair.kernel]
        measured, together = (_sum(some, "measured_us") for some in (kernels, matched))
        predicted = _sum(matched, "predicted_us")
        alone = [pair for pair in self.pairs if pair.kernel is None]
        return {
            "kernels": sum(pair.kernel.calls for pair in kernels if pair.kernel),
            "matched_kernels": sum(pair.kernel.calls for pair in matched if pair.kernel),
            "unmatched_launches": len(alone),
            "measured_us": measured,
            "measured_matched_us": together,
            "covered": together / measured if measured else None,
            "predicted_matched_us": predicted,
            "predicted_unmatched_us": _sum(alone, "predicted_us"),
            "ratio": predicted / together if together else None,
        }


def _sum(pairs: Iterable[Pair], name: str) -> float:
    return math.fsum(getattr(pair, name) or 0.0 for pair in pairs)


def compare(export: Export, rows: Sequence[Row]) -> Compared:
    """Lay the kernels of an export beside the predicted rows of a run, in their order."""
    launches = _launches(rows)
    kernels = tuple(_with_reductions(export.kernels))
    go = _in_order if export.ordered else _by_name
    pairs = list(go(kernels, launches))
    met = {id(pair.row) for pair in pairs if pair.kernel and pair.row}
    for row in rows:
        if id(row) not in met and row["cycles"]:
            pairs.extend([Pair(None, row, "no kernel of the export fits it")] * int(row["repeat"]))
    return Compared(export.kind, tuple(pairs))


def _launches(rows: Sequence[Row]) -> list[Row]:
    """Rows as they are launched: blocks that repeat, one block after the other."""
    found: list[Row] = []
    for repeat, block in groupby(rows, key=lambda row: int(row["repeat"])):
        found += [row for row in block if row["cycles"]] * repeat
    return found


def _with_reductions(kernels: Iterable[KernelRun]) -> Iterator[KernelRun]:
    """Kernels in turn, each with the time of the kernel that adds up its parts of K."""
    waiting: KernelRun | None = None
    for kernel in kernels:
        if waiting and kernel.reduces and kernel.calls == waiting.calls == 1 and waiting.multiplies:
            where = f"{waiting.where} and its reduction, {kernel.where}"
            yield replace(waiting, us=waiting.us + kernel.us, where=where)
            waiting = None
            continue
        if waiting:
            yield waiting
        waiting = kernel
    if waiting:
        yield waiting


def _size_of(row: Row) -> Size:
    return int(row["m"]), int(row["n"]), int(row["k"]), int(row["count"])


def _in_order(kernels: Iterable[KernelRun], launches: Sequence[Row]) -> Iterator[Pair]:
    """Each kernel with the next launch that it fits, round and round."""
    fitting = _Fitting(launches)
    at = 0
    for kernel in kernels:
        if not kernel.multiplies:
            yield Pair(kernel, None, _why_none(kernel))
            continue
        how, places, why = fitting.of(kernel)
        if not places:
            yield Pair(kernel, None, why)
            continue
        place = places[bisect_left(places, at) % len(places)]
        at = place + 1
        yield Pair(kernel, launches[place], how)


def _why_none(kernel: KernelRun) -> str:
    return "a reduction of no GEMM before it" if kernel.reduces else "no GEMM, by its name"


class _Fitting:
    """The launches that a kernel fits, found once for kernels alike."""

    def __init__(self, launches: Sequence[Row]) -> None:
        self._launches = launches
        self._known: dict[Any, list[int]] = {}

    def of(self, kernel: KernelRun) -> tuple[str, list[int], str]:
        """By what it goes with launches, their places, and why there are none."""
        if kernel.size is not None:
            m, n, k, copies = kernel.size
            alike = {(m, n, k, copies), (n, m, k, copies)}
            places = self._where(kernel.size, lambda row: _size_of(row) in alike)
            told = f"{m} x {n} x {k}" + (f" x {copies}" if copies > 1 else "")
            return "size", places, f"no predicted GEMM is {told}"
        if kernel.tile is not None and kernel.blocks is not None:
            key, tile = (kernel.tile, kernel.blocks), "x".join(map(str, kernel.tile))
            places = self._where(
                key, lambda row: kernel.covers(int(row["m"]), int(row["n"]), int(row["count"]))
            )
            why = f"no predicted C is what {kernel.blocks} threadblocks of {tile} cover"
            return "tile and grid", places, why
        return "", [], "neither shapes nor tile and grid are told: which GEMM it is, is not known"

    def _where(self, key: Any, fits: Callable[[Row], bool]) -> list[int]:
        if key not in self._known:
            self._known[key] = [i for i, row in enumerate(self._launches) if fits(row)]
        return self._known[key]


def _by_name(kernels: Iterable[KernelRun], launches: Sequence[Row]) -> Iterator[Pair]:
    """Sums by name, which have no order: a name goes with the one row that it can be."""
    known = list(kernels)
    tiles = [kernel.tile for kernel in known if kernel.multiplies]
    for kernel in known:
        if not kernel.multiplies:
            yield Pair(kernel, None, _why_none(kernel))
            continue
        rows = _alike(kernel, launches)
        if len(rows) == 1 and tiles.count(kernel.tile) == 1:
            yield Pair(kernel, rows[0], "tile and calls, no size told")
            continue
        tile = "x".join(map(str, kernel.tile)) if kernel.tile else "no tile in its name"
        of = f"{len(rows)} rows" if rows else "no row"
        yield Pair(kernel, None, f"a sum of {kernel.calls} calls: {of} could be it ({tile})")


def _alike(kernel: KernelRun, launches: Sequence[Row]) -> list[Row]:
    """Rows whose predicted kernel has the tile, and that are launched a part of its calls."""
    if kernel.tile is None:
        return []
    tiles = {"x".join(map(str, sides)) for sides in (kernel.tile, kernel.tile[::-1])}
    rows = {id(row): row for row in launches}.values()
    return [
        row
        for row in rows
        if any(
            f" {tile}x" in f" {row['kernel']} " or f"_{tile}x" in row["kernel"] for tile in tiles
        )
        and kernel.calls % int(row["repeat"]) == 0
    ]
