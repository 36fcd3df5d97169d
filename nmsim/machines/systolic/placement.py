"""How a systolic array would run a sparse GEMM: which operand meets the selectors, and as what.

The choice is the machine's, made from its fields and the masks' patterns; both fidelities start
from it.
"""

import math
from dataclasses import dataclass
from typing import Literal

from nmsim.machines.kind import Stored
from nmsim.machines.systolic.dataflow import DATAFLOWS, Dataflow
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.slots import expected_slots
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import DENSE, Pattern

__all__ = ["Placement", "Position", "place", "stored"]

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
    def selected_mask(self) -> Mask:
        """The mask of the operand that the selectors follow."""
        return self.work.a if self.selected == "a" else self.work.b

    @property
    def x(self) -> Literal["a", "b"]:
        """The operand whose lanes lie along the columns; the other one is y."""
        return "b" if self.dataflow.cols == "n" else "a"

    @property
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


def _lanes(dataflow: Dataflow, selected: str) -> Literal["rows", "cols", "time"]:
    dimension = "m" if selected == "a" else "n"
    if dataflow.rows == dimension:
        return "rows"
    return "cols" if dataflow.cols == dimension else "time"


def stored(machine: SystolicArray, work: SparseGemm) -> tuple[Stored, Stored]:
    """How A and B stand in an array's memory: what its placement of the GEMM makes of their masks.

    An operand that the selectors follow is stored as its slots, any other one as its own pattern if
    the array can expand it; either only where elements and metadata together take fewer bits than
    the operand has dense. A mask that breaks the selectors' pattern takes the slots that one drawn
    uniformly would (``expected_slots``).
    """
    placement = place(machine, work)
    both = placement.a_stored, placement.b_stored
    return (both[1], both[0]) if placement.transposed else both


def place(machine: SystolicArray, work: SparseGemm) -> Placement:
    """Choose the mask that the selectors follow, and whether that needs transposing.

    Of the masks that some operand order brings to the selectors, the one that takes the fewest
    expected stall-free cycles; at equal cycles one that is met without transposing. Where a mask
    can only be met by transposing, running dense is an option too: a mask never makes an array
    slower. A dense GEMM is never transposed. The other operand's mask saves bytes only. An array
    that intersects follows both masks and is never transposed.
    """
    dense: tuple[bool, Position, Pattern] = (False, "", DENSE)
    if machine.intersecting is not None:
        return _placement(machine, work, *dense)
    positions: tuple[tuple[Position, Mask], ...] = (("a", work.a), ("b", work.b))
    ways = [
        (transposed, selected, native)
        for position, mask in positions
        if (native := _native(machine, mask)) is not None
        for selected, transposed in _ways(machine, position)
    ]
    ways.sort(key=_transposes)
    if all(map(_transposes, ways)) or _may_cost(machine):
        ways.append(dense)
    options = [_placement(machine, work, *way) for way in ways]
    return min(options, key=lambda option: _expected_cycles(machine, option))


def _native(machine: SystolicArray, mask: Mask) -> Pattern | None:
    """The native pattern that a mask runs under; None without selectors for it."""
    own = machine.native_for(mask.pattern)
    if mask.tighter is None or own is None or mask.obeys(own):
        return own
    return machine.native_for(mask.tighter)


def _may_cost(machine: SystolicArray) -> bool:
    """Whether a mask may cost cycles without any turning: padded K, or a path of finite width."""
    return machine.pad_slots > 1 or machine.pad_groups or machine.delivery is not None


def _transposes(way: tuple[bool, Position, Pattern]) -> bool:
    return way[0]


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
        note=_note(machine, work, native, selected, transposed),
    )


def _expected_cycles(machine: SystolicArray, placement: Placement) -> float:
    """Stall-free cycles of one copy, fill of every fold included, masks drawn uniformly."""
    gemm, dataflow = placement.work.gemm, placement.dataflow
    size = {"m": gemm.m, "n": gemm.n, "k": float(placement.k)}
    if placement.selected:
        rows = placement.rows_of(placement.selected)
        mask, native = placement.selected_mask, placement.native
        size["k"] = _slots(machine, mask, native, rows, placement.lanes, placement.k)
    folds = math.ceil(size[dataflow.rows] / machine.rows)
    folds *= math.ceil(size[dataflow.cols] / machine.cols)
    streamed = size[dataflow.time] / machine.dot_width
    waited = _expected_wait(machine, placement, size["k"], streamed, folds)
    shift = machine.preload if dataflow.preloads else machine.drain
    exposed = machine.rows if shift == "exposed" else 0
    return folds * (streamed + waited + exposed + machine.fill_cycles)


def _expected_wait(
    machine: SystolicArray, placement: Placement, slots: float, streamed: float, folds: int
) -> float:
    """Cycles that a mean fold waits for the path from the buffers."""
    if machine.delivery is None:
        return 0.0
    col_tiles = math.ceil(placement.rows_of(placement.x) / machine.cols)
    x_reads = 1.0 if placement.dataflow.rows == "k" else folds / col_tiles
    x, y = (
        placement.rows_of(position)
        * (placement.along_k(position) or slots)
        * placement.stored_as(position).bits
        * (reads / folds / machine.delivery.bits_per_cycle)
        for position, reads in ((placement.x, x_reads), (placement.y, float(col_tiles)))
    )
    if not placement.dataflow.preloads or machine.preload == "overlapped":
        return max(0.0, x + y - streamed)
    shifted = max(0.0, x - machine.rows) if machine.preload == "exposed" else 0.0
    return max(0.0, y - streamed) + shifted


def _ways(machine: SystolicArray, position: Position) -> list[tuple[Position, bool]]:
    """Positions in which the selectors can meet an operand, and whether that needs transposing."""
    if machine.sparse_operand in (position, "either"):
        return [(position, False)]
    return [("b" if position == "a" else "a", True)] if machine.may_transpose else []


def _slots(
    machine: SystolicArray, mask: Mask, native: Pattern, rows: int, lanes: str, k: int
) -> float:
    """Slots along K that a selected mask is expected to take, a full tile of lanes in lock-step."""
    tile = {"rows": machine.rows, "cols": machine.cols, "time": rows}[lanes]
    return expected_slots(mask, native, min(rows, tile), k)


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


def _note(
    machine: SystolicArray, work: SparseGemm, native: Pattern, selected: Position, transposed: bool
) -> str:
    masked = [mask for mask in (work.a, work.b) if not mask.is_dense]
    if not masked or machine.intersecting is not None:
        return ""
    if not machine.native and not machine.flexible_group:
        return "the array has no selectors: masks gain nothing"
    if not selected:
        return "runs dense: no order of the operands brings a mask to the selectors and gains"
    turned = (
        "runs transposed, held against the faster order of the dense GEMM" if transposed else ""
    )
    if len(masked) == 2:
        sparse = "two masks: lock-step, one shortens K, the other saves bytes"
    elif not masked[0].obeys(native):
        sparse = f"{masked[0].pattern} mask on {native} selectors: slots as its bits need"
    else:
        sparse = "" if native == masked[0].pattern else f"{masked[0].pattern} runs as {native}"
    return "; ".join(filter(None, (sparse, turned)))
