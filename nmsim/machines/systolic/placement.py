"""How a systolic array may run a sparse GEMM: which operand meets the selectors, and as what.

The ways follow from the machine's fields and the masks' patterns; which of them runs is the choice
of ``nmsim.machines.systolic.mapper``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple

from nmsim.gemm import Gemm
from nmsim.machines.kind import Stored
from nmsim.machines.systolic.dataflow import Dataflow
from nmsim.machines.systolic.pe.beats import expected_beats, pe_groups
from nmsim.machines.systolic.pe.slots import expected_slots
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.mask import Mask, Promise, SparseGemm
from nmsim.pattern import DENSE, Pattern
from nmsim.windows import Windows

__all__ = [
    "Placement",
    "Position",
    "Side",
    "follows_promises",
    "shifts_apart",
    "why_dense",
    "with_masks",
    "without_masks",
]

Position = Literal["a", "b", ""]
"""An operand of C = A . B^T, or neither."""


Side = Literal["a", "b"]
SIDES: tuple[Side, Side] = ("a", "b")
Lanes = Literal["rows", "cols", "time"]


class _Kept(NamedTuple):
    """How an operand is stored.

    Parameters
    ----------
    native
        What it is packed under if that saves bits; None: it is not packed.
    index_bits
        Of metadata of a stored element then.
    why
        Why it is not packed.
    """

    native: Pattern | None
    index_bits: int
    why: str


class Way(NamedTuple):
    """How an array may run all sparse GEMMs whose masks promise the same of each group.

    Parameters
    ----------
    transposed
        It runs as ``C^T = B . A^T``.
    selected
        The operand, as it runs, whose mask shortens K; "" if none does.
    native
        The pattern that the selectors use; DENSE if none.
    dataflow
        Placement of the GEMM's dimensions.
    kernel
        The dataflow's name as the GEMM's own m and n see it.
    x, y
        The operand whose lanes lie along the columns, and the one whose lie along the rows, or
        stream.
    lanes
        Where the rows of the selected operand lie on the array.
    sides
        How a and b are stored, as they run.
    obeys
        Every mask of the kind obeys ``native``, so that no bit decides how many slots there are.
    note
        Why a mask gains nothing here, if so.
    """

    transposed: bool
    selected: Position
    native: Pattern
    dataflow: Dataflow
    kernel: str
    x: Side
    y: Side
    lanes: Lanes
    sides: tuple[_Kept, _Kept]
    obeys: bool
    note: str


@dataclass(frozen=True)
class Placement:
    """A sparse GEMM as an array runs it.

    Parameters
    ----------
    given
        The GEMM as it is offered.
    way
        How the array runs it.
    k
        K, padded to whole groups where the machine does so.
    a_stored, b_stored
        How the operands of ``work`` stand in memory.
    """

    given: SparseGemm
    way: Way
    k: int
    a_stored: Stored
    b_stored: Stored

    @cached_property
    def work(self) -> SparseGemm:
        """The GEMM as it runs, with operands exchanged if it is transposed."""
        return self.given.swapped() if self.way.transposed else self.given

    @property
    def gemm(self) -> Gemm:
        """The sizes as they are offered."""
        return self.given.gemm

    @property
    def transposed(self) -> bool:
        """It runs as ``C^T = B . A^T``."""
        return self.way.transposed

    @property
    def selected(self) -> Position:
        """The operand of ``work`` whose mask shortens K; "" if none does."""
        return self.way.selected

    @property
    def native(self) -> Pattern:
        """The pattern that the selectors use; DENSE if none."""
        return self.way.native

    @property
    def dataflow(self) -> Dataflow:
        """Placement of the GEMM's dimensions."""
        return self.way.dataflow

    @property
    def x(self) -> Side:
        """The operand whose lanes lie along the columns; the other one is y."""
        return self.way.x

    @property
    def y(self) -> Side:
        """The operand whose lanes lie along the rows, or stream."""
        return self.way.y

    @property
    def lanes(self) -> Lanes:
        """Where the rows of the selected operand lie on the array."""
        return self.way.lanes

    @property
    def uses_masks(self) -> bool:
        """Whether a mask shortens K or saves bytes."""
        return bool(self.way.selected) or self.a_stored.compressed or self.b_stored.compressed

    def needs_bits(self, machine: SystolicArray) -> bool:
        """Whether a mask's bits decide how long it takes."""
        if machine.intersecting is not None:
            return not (self.given.a.is_dense and self.given.b.is_dense)
        return not self.way.obeys

    @property
    def selected_mask(self) -> Mask:
        """The mask of the operand that the selectors follow."""
        return self.mask_of(self.way.selected or "b")

    def mask_of(self, position: Side) -> Mask:
        """The mask of an operand, as it runs."""
        return self.given.a if (position == "a") != self.way.transposed else self.given.b

    def rows_of(self, position: str) -> int:
        """Rows of one copy of an operand."""
        gemm = self.given.gemm
        return gemm.m if (position == "a") != self.way.transposed else gemm.n

    def behind(self, position: str) -> tuple[int | None, Windows | None]:
        """Elements in memory behind one copy of an operand, and the windows over them, if known."""
        gemm = self.given.gemm
        if (position == "a") != self.way.transposed:
            return gemm.a_elements, gemm.a_windows
        return gemm.b_elements, gemm.b_windows

    def along_k(self, position: str) -> int:
        """Stored elements along K of an operand; 0: as many as it has slots."""
        stored = self.stored_as(position)
        return 0 if self.way.selected == position and stored.compressed else int(stored.elements)

    def stored_as(self, position: str) -> Stored:
        """How one operand of the placement stands in memory."""
        return self.a_stored if position == "a" else self.b_stored

    def of_part(self, work: SparseGemm, **changes: Any) -> "Placement":
        """The same way for a part of the GEMM, as it runs."""
        return replace(self, given=work.swapped() if self.way.transposed else work, **changes)


def shifts_apart(machine: SystolicArray, placement: Placement) -> bool:
    """Whether x comes in cycles of its own, before those that stream y."""
    return placement.way.dataflow.preloads and machine.fold_period in ("exposed", "uncounted")


class _Kind(NamedTuple):
    """What masks promise of each group, whatever their sizes."""

    pattern: Pattern
    fits: bool
    indexed: bool
    tighter: Pattern | None

    @classmethod
    def of(cls, mask: Mask) -> "_Kind":
        """Of a mask."""
        return cls(mask.pattern, mask.fits, mask.indexed, mask.tighter)

    @property
    def mask(self) -> Mask:
        """A mask of the kind, to be asked for what all of them say."""
        kind = self.fits, self.indexed, self.tighter
        return Promise(self.pattern, 1, 1, True, *kind, known_kept=None).mask


def with_masks(machine: SystolicArray, work: SparseGemm) -> list[Placement]:
    """All ways in which an array may run a sparse GEMM and use a mask of it.

    In every order of the operands that it can run: each mask that this brings to the selectors;
    and, unless the machine follows masks always, masks that only save bytes. An array that
    intersects follows both masks.
    """
    if work.a.is_dense and work.b.is_dense:
        return []
    ways = _masked_ways(machine, _Kind.of(work.a), _Kind.of(work.b))
    placements = (_placement(machine, work, way) for way in ways)
    intersects = machine.intersecting is not None
    return [one for one in placements if intersects or one.uses_masks]


def without_masks(machine: SystolicArray, work: SparseGemm | Gemm) -> list[Placement]:
    """All ways in which an array may run a GEMM with nothing pruned."""
    if isinstance(work, Gemm):
        work = SparseGemm.dense(work)
    elif not (work.a.is_dense and work.b.is_dense):
        work = SparseGemm.dense(work.gemm)
    return [_placement(machine, work, way) for way in _plain_ways(machine)]


def follows_promises(machine: SystolicArray, work: SparseGemm) -> bool:
    """Whether what a sparse GEMM costs follows from what its masks promise, whatever their bits."""
    if work.a.is_dense and work.b.is_dense:
        return True
    return _follows(machine, _Kind.of(work.a), _Kind.of(work.b))


@lru_cache(maxsize=4096)
def _follows(machine: SystolicArray, a: _Kind, b: _Kind) -> bool:
    if machine.intersecting is not None or machine.arrays > 1:
        return False
    masked = [kind.mask for kind in (a, b) if not kind.pattern.is_dense]
    natives = [_native(machine, mask) for mask in masked]
    return all(
        native is None or mask.obeys(native) for mask, native in zip(masked, natives, strict=True)
    )


@lru_cache(maxsize=4096)
def _masked_ways(machine: SystolicArray, a: _Kind, b: _Kind) -> tuple[Way, ...]:
    """Ways that may use a mask: those that select, and where others are open these."""
    masks, orders = (a.mask, b.mask), _orders(machine)
    selected = [one for turned in orders for one in _selecting(machine, masks, turned)]
    if selected and machine.masks == "always":
        return tuple(selected)
    unselected = (_way(machine, masks, turned, "", DENSE) for turned in orders)
    return (*selected, *unselected)


@lru_cache(maxsize=256)
def _plain_ways(machine: SystolicArray) -> tuple[Way, ...]:
    masks = Mask.dense(1, 1), Mask.dense(1, 1)
    return tuple(_way(machine, masks, turned, "", DENSE) for turned in _orders(machine))


def _orders(machine: SystolicArray) -> tuple[bool, ...]:
    """Whether a GEMM runs as B.A^T, for each order of the operands that is open."""
    return (False, True) if machine.order == "best" else (False,)


Masks = tuple[Mask, Mask]


def _selecting(machine: SystolicArray, masks: Masks, turned: bool) -> Iterator[Way]:
    """Ways in one order of the operands whose selectors follow a mask."""
    run = masks[::-1] if turned else masks
    for position, mask in zip(SIDES, run, strict=True):
        native = _native(machine, mask)
        if native is not None and machine.sparse_operand in (position, "either"):
            yield _way(machine, masks, turned, position, native)


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


def _way(
    machine: SystolicArray, masks: Masks, transposed: bool, selected: Position, native: Pattern
) -> Way:
    run, flow = masks[::-1] if transposed else masks, machine.flow
    x: Side = "b" if flow.cols == "n" else "a"
    a, b = (
        _packed(machine, mask, native) if selected == position else _beside(machine, mask)
        for position, mask in zip(SIDES, run, strict=True)
    )
    return Way(
        transposed=transposed,
        selected=selected,
        native=native,
        dataflow=flow,
        kernel=flow.transposed if transposed else flow.name,
        x=x,
        y="a" if x == "b" else "b",
        lanes=_lanes(flow, selected),
        sides=(a, b),
        obeys=not selected or run[selected == "b"].obeys(native),
        note=_note(masks, native, selected),
    )


def _lanes(dataflow: Dataflow, selected: str) -> Lanes:
    dimension = "m" if selected == "a" else "n"
    if dataflow.rows == dimension:
        return "rows"
    return "cols" if dataflow.cols == dimension else "time"


def _packed(machine: SystolicArray, mask: Mask, native: Pattern) -> _Kept:
    """How an operand is stored under a pattern that the array can expand.

    Of one that is stored dense, the array finds the slots by itself; cycles stay as they are.
    """
    index = machine.metadata_bits(native) if mask.indexed else 0
    return _Kept(native, index, f"{native} and its metadata would take more bits")


def _beside(machine: SystolicArray, mask: Mask) -> _Kept:
    """How an operand that is not selected is stored: packed if the array can expand it."""
    if mask.is_dense:
        return _Kept(None, 0, "")
    native = _native(machine, mask) if machine.intersecting is None else mask.pattern
    if native is None:
        return _Kept(None, 0, "the array has no selectors for the pattern")
    if not mask.obeys(native):
        return _Kept(None, 0, f"the mask breaks {native}")
    return _packed(machine, mask, native)


def _placement(machine: SystolicArray, work: SparseGemm, way: Way) -> Placement:
    k = machine.padded(work.k, way.native)
    a, b = way.sides
    return Placement(
        work,
        way,
        k,
        _stored(machine, a, k, _slots(machine, way, work, k, "a")),
        _stored(machine, b, k, _slots(machine, way, work, k, "b")),
    )


def _slots(machine: SystolicArray, way: Way, work: SparseGemm, k: int, position: Side) -> int:
    """Slots along K that an operand would be stored as.

    A selected mask is expected to take those of a full tile of lanes in lock-step.
    """
    first = (position == "a") != way.transposed
    mask, gemm = work.a if first else work.b, work.gemm
    native = way.sides[position == "b"].native
    if native is None:
        return 0
    if way.selected != position or (way.obeys and not machine.holds_groups):
        return native.stored(k)
    rows = gemm.m if first else gemm.n
    tile = min(rows, {"rows": machine.rows, "cols": machine.cols, "time": rows}[way.lanes])
    if machine.holds_groups:
        return round(expected_beats(mask, native, tile, k, pe_groups(machine)).slots)
    return round(expected_slots(mask, native, tile, k))


def _stored(machine: SystolicArray, kept: _Kept, k: int, slots: int) -> Stored:
    """An operand as so many slots a row, or dense if slots and metadata save no bits."""
    bits = machine.operand_bits
    if kept.native is not None and slots * (bits + kept.index_bits) < k * bits:
        return Stored(kept.native, bits, kept.index_bits, slots)
    return Stored(DENSE, bits, 0, k, kept.why)


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


def _note(masks: Masks, native: Pattern, selected: Position) -> str:
    """What is worth knowing of the masks that an array follows."""
    masked = [mask for mask in masks if not mask.is_dense]
    if not selected:
        return ""
    if len(masked) == 2:
        return "two masks: lock-step, one shortens K, the other saves bytes"
    if not masked[0].obeys(native):
        return f"{masked[0].pattern} mask on {native} selectors: slots as its bits need"
    return "" if native == masked[0].pattern else f"{masked[0].pattern} runs as {native}"
