"""What an array tells of where its cycles go, and which of its fields may take a part of them away.

A mend is a candidate: whoever advises it runs it first (``nmsim.run.explanation``).
"""

from collections.abc import Callable, Iterator
from typing import Any

from nmsim.machines.explanation import Effort, Explain, Mend, Part, grown
from nmsim.machines.systolic.parts import split_slots
from nmsim.machines.systolic.placement import why_dense
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.traffic.operands import transfer_cycles
from nmsim.mask import Mask, SparseGemm
from nmsim.result import Parts, Result

__all__ = ["EXPLAIN", "PARTS"]

PARTS = {
    "useful": ("useful products", "pairs whose mask bits are both set, all PEs at work"),
    "empty_slot": ("empty slots", "MAC slots that masks leave empty, and padding of K"),
    "misfit": ("misfit", "MAC slots beyond what the masks promise: not followed, or not in full"),
    "ragged": ("ragged lanes", "PEs that no slot reaches: sizes are no multiple of the array's"),
    "fill": ("fill", "operands and results move from PE to PE, one cycle each"),
    "preload": ("preload", "the stationary operand shifts in"),
    "drain": ("drain", "results shift out"),
    "path_wait": ("path wait", "the path from the buffers carries less than is asked of it"),
    "dram_wait": ("DRAM wait", "DRAM's bandwidth"),
    "latency_wait": ("latency wait", "requests that DRAM has not answered yet"),
    "writeback_wait": ("write-back wait", "results must leave before others can be made"),
}
"""Columns of a row by their stem, in order: what the part is called, and what it is."""

UP, WIDE, LESS = (1.25, 1.5, 2.0, 3.0, 4.0, 8.0, 16.0), (2.0, 4.0, 8.0, 32.0), (0.5, 0.25, 0.1)
"""How many times more, or less, of a resource is tried."""

Mends = Iterator[Mend]


def _parts(
    machine: SystolicArray, work: SparseGemm, result: Result, _fidelity: str
) -> tuple[Part, ...]:
    columns = split_slots(machine, work, result) | Parts.columns(result.parts)
    named = ((told, columns[f"{stem}_cycles"]) for stem, told in PARTS.items())
    return tuple(Part(name, cycles or 0, meaning) for (name, meaning), cycles in named)


def _facts(
    machine: SystolicArray, work: SparseGemm, result: Result, _fidelity: str
) -> list[tuple[str, str]]:
    peak = work.macs_useful / machine.peak_macs
    moved = result.dram_read_bytes + result.dram_write_bytes
    told = [("runs", result.chosen)] if result.chosen else []
    told += [("note", result.note)] if result.note else []
    told.append(
        ("least by peak", f"{peak:,.0f} cycles: useful MACs over {machine.peak_macs:,} a cycle")
    )
    if machine.dram.gbps is not None:
        busy = transfer_cycles(machine, 8.0 * moved)
        told.append(
            (
                "least by DRAM",
                f"{busy:,.0f} cycles: {moved:,} bytes over {machine.dram.gbps:g} GB/s",
            )
        )
    return told


# ---- mends by part: what a field allows, nothing that the schema refuses


def _mapping(machine: SystolicArray) -> Mends:
    """Another way to put the GEMM on the same array."""
    if machine.order == "fixed":
        yield Mend("either order of the operands", Effort.SETTING, {"order": "best"})
    if machine.masks == "always":
        yield Mend("masks where they pay", Effort.SETTING, {"masks": "where_they_pay"})


def _dataflows(machine: SystolicArray) -> Mends:
    if machine.intersecting is None:
        for name in ("ws", "is", "os"):
            fields: dict[str, Any] = {"dataflow": name}
            if name != "os":
                fields |= {"feed": "skewed", "dot_width": 1}
            if name != machine.dataflow and (name == "os" or machine.dot_width == 1):
                yield Mend(f"dataflow {name}", Effort.UNITS, fields)


def _shapes(machine: SystolicArray) -> Mends:
    """As many PEs in another shape."""
    r, c = machine.rows, machine.cols
    for times in (2, 4):
        for rows, cols, divides in (
            (r // times, c * times, r % times == 0),
            (r * times, c // times, c % times == 0),
        ):
            if divides and max(rows, cols) <= 65536:
                fields = {"rows": rows, "cols": cols}
                yield Mend(f"as many PEs as {rows} x {cols}", Effort.UNITS, fields)


def _periods(machine: SystolicArray) -> Mends:
    """Folds that follow each other faster."""
    field = "drain" if machine.dataflow == "os" else "fold_period"
    hidden = "overlapped" if machine.dataflow == "os" else "preload_hidden"
    now, faster = getattr(machine, field), [hidden, "back_to_back"]
    if now in ("uncounted", "back_to_back"):
        return
    for period in faster[now == hidden :]:
        yield Mend(f"folds {period.replace('_', ' ')}", Effort.CONTROL, {field: period})


def _feeds(machine: SystolicArray) -> Mends:
    if machine.dataflow == "os" and machine.feed == "skewed":
        yield Mend("operands along buses", Effort.UNITS, {"feed": "broadcast"})


def _arrays(machine: SystolicArray) -> Mends:
    """Twice as many arrays, that share out the GEMM."""
    n = 2 * machine.arrays
    if machine.intersecting is None and n <= 1024:
        yield Mend(f"{n} arrays on the channel", Effort.UNITS, {"arrays": n})


def _buffers(machine: SystolicArray, names: str = "abc") -> Mends:
    for times in WIDE:
        for one in names:
            field = f"sram.{one}_kib"
            size = getattr(machine.sram, f"{one}_kib")
            yield from grown(
                field, size, [times], f"a buffer of {one.upper()} of {{}} KiB", Effort.BUFFER
            )
        if len(names) > 1:
            fields = {
                f"sram.{one}_kib": times * getattr(machine.sram, f"{one}_kib") for one in names
            }
            yield Mend(f"buffers {times:g} times as large", Effort.BUFFER, fields)


def _bandwidth(machine: SystolicArray) -> Mends:
    if machine.dram.gbps is not None:
        yield from grown("dram.gbps", machine.dram.gbps, UP, "DRAM of {} GB/s", Effort.BANDWIDTH)


def _latency(machine: SystolicArray) -> Mends:
    if machine.dram.latency_ns:
        yield from grown(
            "dram.latency_ns", machine.dram.latency_ns, LESS, "DRAM that answers in {} ns",
            Effort.BANDWIDTH,
        )  # fmt: skip


def _path(machine: SystolicArray) -> Mends:
    if machine.delivery is not None:
        yield from grown(
            "delivery.words_per_cycle", machine.delivery.words_per_cycle, UP,
            "a path of {} words a cycle", Effort.BANDWIDTH,
        )  # fmt: skip


def _selectors(machine: SystolicArray, masks: list[Mask]) -> Mends:
    """Selectors for a mask, where the operand is that they follow."""
    if machine.sparse_operand != "either":
        yield Mend("selectors for either operand", Effort.UNITS, {"sparse_operand": "either"})
    for pattern in dict.fromkeys(mask.pattern for mask in masks):
        if pattern not in machine.native and pattern.group > machine.flexible_group:
            natives = [*map(str, machine.native), str(pattern)]
            fields = {"native": natives, "sparse_operand": "either"}
            yield Mend(f"selectors for {pattern} as well", Effort.UNITS, fields)


def _patterns(machine: SystolicArray, masks: list[Mask]) -> Mends:
    """Patterns that the selectors support and that prune no more than the mask does."""
    kept = max((mask.pattern.density for mask in masks), default=1.0)
    for native in machine.native:
        if native.density >= kept and any(mask.pattern != native for mask in masks):
            yield Mend(
                f"masks of {native} (their accuracy is another)",
                Effort.SETTING,
                pattern=str(native),
            )


def _padding(machine: SystolicArray) -> Mends:
    if machine.pad_groups:
        yield Mend("K as it is, no whole groups", Effort.CONTROL, {"pad_groups": False})
    if machine.pad_slots > 1:
        yield Mend("K as it is, no whole tiles", Effort.CONTROL, {"pad_slots": 1})


def _lookahead(machine: SystolicArray) -> Mends:
    """PEs that wait less for the slowest of a fold."""
    pe = machine.intersecting
    if pe is not None and pe.lookahead is not None:
        for ahead in (max(1, 2 * pe.lookahead), max(4, 8 * pe.lookahead), None):
            says = f"{ahead} groups" if ahead else "without limit"
            yield Mend(
                f"PEs that run ahead {says}", Effort.UNITS, {"intersecting.lookahead": ahead}
            )


def _masks_of(work: SparseGemm) -> list[Mask]:
    return [mask for mask in (work.a, work.b) if not mask.is_dense]


def _of_slots(machine: SystolicArray, work: SparseGemm) -> Mends:
    """More of what the masks promise: where they are not followed, what makes following pay."""
    masks = _masks_of(work)
    yield from _patterns(machine, masks)
    yield from _padding(machine)
    if machine.intersecting is None:
        yield from _selectors(machine, masks)
    if masks and not why_dense(machine, work):
        for some in (_periods, _buffers, _path, _bandwidth, _latency, _shapes):
            yield from some(machine)


def _of_lanes(machine: SystolicArray) -> Mends:
    for some in (_lookahead, _shapes, _dataflows):
        yield from some(machine)


def _of_folds(machine: SystolicArray) -> Mends:
    """Fewer folds, or folds that follow each other faster."""
    for some in (_periods, _feeds, _shapes, _dataflows, _arrays):
        yield from some(machine)
    if machine.dataflow != "os":  # sums of longer folds need room
        yield from _buffers(machine, "c")


def _of_memory(machine: SystolicArray) -> Mends:
    for some in (_buffers, _bandwidth, _latency, _dataflows):
        yield from some(machine)


_BY_PART: dict[str, Callable[[SystolicArray], Mends]] = {
    "ragged": _of_lanes,
    **dict.fromkeys(("fill", "preload", "drain"), _of_folds),
    "path_wait": _path,
    **dict.fromkeys(("dram_wait", "latency_wait", "writeback_wait"), _of_memory),
}


def _mends(machine: SystolicArray, work: SparseGemm, part: str) -> Mends:
    """What may take away a part of the cycles, in no order of effort."""
    yield from _mapping(machine)
    by_name = {name: stem for stem, (name, _) in PARTS.items()}
    stem = by_name[part]
    yield from (
        _of_slots(machine, work) if stem in ("empty_slot", "misfit") else _BY_PART[stem](machine)
    )


EXPLAIN = Explain(_parts, _mends, _facts)
"""Arrays tell the columns of a row that add up to its cycles."""
