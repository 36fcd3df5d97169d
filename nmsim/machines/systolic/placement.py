"""How a systolic array may run a sparse GEMM: which operand meets the selectors, and as what.

The ways follow from the machine's fields and the masks' patterns; which of them runs is the choice
of ``nmsim.machines.systolic.mapper``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from nmsim.gemm import Gemm
from nmsim.machines.kind import Stored
from nmsim.machines.systolic.dataflow import DATAFLOWS, Dataflow
from nmsim.machines.systolic.pe.beats import expected_beats, pe_groups
from nmsim.machines.systolic.pe.slots import expected_slots
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import DENSE, Pattern

__all__ = [
    "Placement",
    "Position",
    "along_folds",
    "follows_promises",
    "period_of",
    "shifts_apart",
    "why_dense",
    "with_masks",
    "without_masks",
]

Position = Literal["a", "b", ""]
"""An operand of C = A . B^T, or neither."""


@dataclass(frozen=True)
class Placement:
    """A sparse GEMM as an array runs it.

    Parameters
    ----------
    work
        The GEMM, with operands exchanged if ``transposed``.
    transposed
        It runs as ``C^T = B . A^T``.
    selected
        The operand of ``work`` whose mask shortens K; "" if none does.
    native
        The pattern that the selectors use; DENSE if none.
    a_stored, b_stored
        How the operands of ``work`` stand in memory.
    dataflow
        Placement of the GEMM's dimensions.
    kernel
        The dataflow's name as the GEMM's own m and n see it.
    k
        K, padded to whole groups where the machine does so.
    note
        Why a mask gains nothing here, if so.
    """

    work: SparseGemm
    transposed: bool
    selected: Position
    native: Pattern
    a_stored: Stored
    b_stored: Stored
    dataflow: Dataflow
    kernel: str
    k: int
    note: str

    @property
    def uses_masks(self) -> bool:
        """Whether a mask shortens K or saves bytes."""
        return bool(self.selected) or self.a_stored.compressed or self.b_stored.compressed

    def needs_bits(self, machine: SystolicArray) -> bool:
        """Whether a mask's bits decide how long it takes."""
        if machine.intersecting is not None:
            return not (self.work.a.is_dense and self.work.b.is_dense)
        return bool(self.selected) and not self.selected_mask.obeys(self.native)

    @property
    def selected_mask(self) -> Mask:
        """The mask of the operand that the selectors follow."""
        return self.work.a if self.selected == "a" else self.work.b

    @cached_property
    def x(self) -> Literal["a", "b"]:
        """The operand whose lanes lie along the columns; the other one is y."""
        return "b" if self.dataflow.cols == "n" else "a"

    @cached_property
    def y(self) -> Literal["a", "b"]:
        """The operand whose lanes lie along the rows, or stream."""
        return "a" if self.x == "b" else "b"

    def rows_of(self, position: str) -> int:
        """Rows of one copy of an operand."""
        return self.work.gemm.m if position == "a" else self.work.gemm.n

    def along_k(self, position: str) -> int:
        """Stored elements along K of an operand; 0: as many as it has slots."""
        stored = self.stored_as(position)
        return 0 if self.selected == position and stored.compressed else int(stored.elements)

    def stored_as(self, position: str) -> Stored:
        """How one operand of the placement stands in memory."""
        return self.a_stored if position == "a" else self.b_stored

    @property
    def lanes(self) -> Literal["rows", "cols", "time"]:
        """Where the rows of the selected operand lie on the array."""
        return _lanes(self.dataflow, self.selected)


def period_of(machine: SystolicArray, placement: Placement) -> str:
    """How folds follow each other: exposed, hidden, back_to_back or uncounted."""
    named = machine.fold_period if placement.dataflow.preloads else machine.drain
    return "hidden" if named in ("preload_hidden", "overlapped") else named


def shifts_apart(machine: SystolicArray, placement: Placement) -> bool:
    """Whether x comes in cycles of its own, before those that stream y."""
    return placement.dataflow.preloads and machine.fold_period in ("exposed", "uncounted")


def along_folds(machine: SystolicArray, placement: Placement, slots: int) -> int:
    """What folds are cut from along K (ws, is): slots, or K where PEs hold whole groups."""
    return placement.k if machine.holds_groups else slots


def _lanes(dataflow: Dataflow, selected: str) -> Literal["rows", "cols", "time"]:
    dimension = "m" if selected == "a" else "n"
    if dataflow.rows == dimension:
        return "rows"
    return "cols" if dataflow.cols == dimension else "time"


def with_masks(machine: SystolicArray, work: SparseGemm) -> list[Placement]:
    """All ways in which an array may run a sparse GEMM and use a mask of it.

    In every order of the operands that it can run: each mask that this brings to the selectors;
    and, unless the machine follows masks always, masks that only save bytes. An array that
    intersects follows both masks.
    """
    if work.a.is_dense and work.b.is_dense:
        return []
    orders = _orders(machine)
    selected = [one for turned in orders for one in _selecting(machine, work, turned)]
    if selected and machine.masks == "always":
        return selected
    unselected = (_placement(machine, work, turned, "", DENSE) for turned in orders)
    intersects = machine.intersecting is not None
    return [*selected, *(one for one in unselected if intersects or one.uses_masks)]


def without_masks(machine: SystolicArray, gemm: Gemm) -> list[Placement]:
    """All ways in which an array may run a GEMM with nothing pruned."""
    dense = SparseGemm.dense(gemm)
    return [_placement(machine, dense, turned, "", DENSE) for turned in _orders(machine)]


def follows_promises(machine: SystolicArray, work: SparseGemm) -> bool:
    """Whether what a sparse GEMM costs follows from what its masks promise, whatever their bits."""
    masked = [mask for mask in (work.a, work.b) if not mask.is_dense]
    if masked and (machine.intersecting is not None or machine.arrays > 1):
        return False
    natives = [_native(machine, mask) for mask in masked]
    return all(
        native is None or mask.obeys(native) for mask, native in zip(masked, natives, strict=True)
    )


def _orders(machine: SystolicArray) -> tuple[bool, ...]:
    """Whether a GEMM runs as B.A^T, for each order of the operands that is open."""
    return (False, True) if machine.order == "best" else (False,)


def _selecting(machine: SystolicArray, work: SparseGemm, turned: bool) -> Iterator[Placement]:
    """Placements in one order of the operands whose selectors follow a mask."""
    masks: dict[Position, Mask] = (
        {"a": work.b, "b": work.a} if turned else {"a": work.a, "b": work.b}
    )
    for position, mask in masks.items():
        native = _native(machine, mask)
        if native is not None and machine.sparse_operand in (position, "either"):
            yield _placement(machine, work, turned, position, native)


def _native(machine: SystolicArray, mask: Mask) -> Pattern | None:
    """The native pattern that a mask runs under; None without selectors for it.

    PEs that hand on what they selected, or select nothing, need the same elements in all lanes.
    """
    if mask.indexed and (machine.selection == "fixed" or machine.passes == "selected"):
        return None
    own = machine.native_for(mask.pattern)
    if mask.tighter is None or own is None or mask.obeys(own):
        return own
    return machine.native_for(mask.tighter)


def _placement(
    machine: SystolicArray,
    work: SparseGemm,
    transposed: bool,
    selected: Position,
    native: Pattern,
) -> Placement:
    run = work.swapped() if transposed else work
    dataflow = DATAFLOWS[machine.dataflow]
    k = machine.padded(work.k, native)
    lanes = _lanes(dataflow, selected)
    sides = [
        _selected(machine, mask, native, _slots(machine, mask, native, rows, lanes, k), k)
        if selected == position
        else _beside(machine, mask, k)
        for position, mask, rows in (("a", run.a, run.gemm.m), ("b", run.b, run.gemm.n))
    ]
    return Placement(
        work=run,
        transposed=transposed,
        selected=selected,
        native=native,
        a_stored=sides[0],
        b_stored=sides[1],
        dataflow=dataflow,
        kernel=dataflow.transposed if transposed else dataflow.name,
        k=k,
        note=_note(work, native, selected),
    )


def _slots(
    machine: SystolicArray, mask: Mask, native: Pattern, rows: int, lanes: str, k: int
) -> float:
    """Slots along K that a selected mask is expected to take, a full tile of lanes in lock-step."""
    tile = min(rows, {"rows": machine.rows, "cols": machine.cols, "time": rows}[lanes])
    if machine.holds_groups:
        return expected_beats(mask, native, tile, k, pe_groups(machine)).slots
    return expected_slots(mask, native, tile, k)


def _beside(machine: SystolicArray, mask: Mask, k: int) -> Stored:
    """How an operand that is not selected is stored: packed if the array can expand it."""
    if mask.is_dense:
        return Stored.dense(k, machine.operand_bits)
    native = _native(machine, mask) if machine.intersecting is None else mask.pattern
    if native is None:
        return Stored.dense(k, machine.operand_bits, "the array has no selectors for the pattern")
    if not mask.obeys(native):
        return Stored.dense(k, machine.operand_bits, f"the mask breaks {native}")
    return _selected(machine, mask, native, native.stored(k), k)


def _selected(machine: SystolicArray, mask: Mask, native: Pattern, slots: float, k: int) -> Stored:
    """An operand as so many slots a row, or dense if slots and metadata save no bits.

    Of one that is stored dense, the array finds the slots by itself; cycles stay as they are.
    """
    bits = machine.operand_bits
    index = machine.metadata_bits(native) if mask.indexed else 0
    slots = round(slots)
    if slots * (bits + index) < k * bits:
        return Stored(native, bits, index, slots)
    return Stored.dense(k, bits, f"{native} and its metadata would take more bits")


def why_dense(machine: SystolicArray, work: SparseGemm) -> str:
    """Why no order of the operands brings a mask to the selectors; "" if one does or none is."""
    if work.a.is_dense and work.b.is_dense:
        return ""
    if not machine.native and not machine.flexible_group:
        return "the array has no selectors: masks gain nothing"
    natives = [_native(machine, mask) for mask in (work.a, work.b)]
    reached = machine.order == "best" or machine.sparse_operand == "either"
    met = [
        native is not None and (reached or machine.sparse_operand == position)
        for position, native in zip("ab", natives, strict=True)
    ]
    return "" if any(met) else "runs dense: the selectors meet no mask that they support"


def _note(work: SparseGemm, native: Pattern, selected: Position) -> str:
    """What is worth knowing of the masks that an array follows."""
    masked = [mask for mask in (work.a, work.b) if not mask.is_dense]
    if not selected:
        return ""
    if len(masked) == 2:
        return "two masks: lock-step, one shortens K, the other saves bytes"
    if not masked[0].obeys(native):
        return f"{masked[0].pattern} mask on {native} selectors: slots as its bits need"
    return "" if native == masked[0].pattern else f"{masked[0].pattern} runs as {native}"
