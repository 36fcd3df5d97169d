"""How a systolic array would run a sparse GEMM: which operand meets the selectors, and as what.

The choice is the machine's, made from its fields and the masks' patterns; both fidelities start
from it and share nothing else.
"""

from dataclasses import dataclass
from typing import Literal

from nmsim.dataflow import DATAFLOWS, Dataflow
from nmsim.hardware import SystolicArray
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import DENSE, Pattern

__all__ = ["Placement", "place"]


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
        Patterns under which the operands are stored in memory; DENSE if uncompressed.
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
    selected: Literal["a", "b", ""]
    native: Pattern
    a_stored: Pattern
    b_stored: Pattern
    dataflow: Dataflow
    kernel: str
    k: int
    note: str

    @property
    def selected_mask(self) -> Mask:
        """The mask that the selectors follow."""
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

    def stored_as(self, position: str) -> Pattern:
        """The pattern under which an operand is stored."""
        return self.a_stored if position == "a" else self.b_stored

    @property
    def lanes(self) -> Literal["rows", "cols", "time"]:
        """Where the selected operand's rows lie."""
        dimension = "m" if self.selected == "a" else "n"
        if self.dataflow.rows == dimension:
            return "rows"
        return "cols" if self.dataflow.cols == dimension else "time"


def place(machine: SystolicArray, work: SparseGemm) -> Placement:
    """Choose what the selectors follow.

    Of the masks that some operand order brings to the selectors, the one whose native pattern is
    the sparsest, without transposing if both do equally. The other operand's mask saves bytes only.
    """
    options = [
        (native.density, transposed, selected, native)
        for position, mask in (("a", work.a), ("b", work.b))
        for selected, transposed in _ways(machine, position)
        if (native := machine.native_for(mask.pattern)) is not None
    ]
    _, transposed, selected, native = min(
        options, default=(1.0, False, "", DENSE), key=lambda option: option[:3]
    )
    run = work.swapped() if transposed else work
    stored = {
        position: _stored(machine, mask, native if selected == position else None)
        for position, mask in (("a", run.a), ("b", run.b))
    }
    dataflow = DATAFLOWS[machine.dataflow]
    k = work.gemm.k
    if machine.pad_groups and not native.is_dense:
        k = -(-k // native.group) * native.group
    return Placement(
        work=run,
        transposed=transposed,
        selected="a" if selected == "a" else "b" if selected == "b" else "",
        native=native,
        a_stored=stored["a"],
        b_stored=stored["b"],
        dataflow=dataflow,
        kernel=dataflow.transposed if transposed else dataflow.name,
        k=k,
        note=_note(machine, work, native, selected),
    )


def _ways(machine: SystolicArray, position: str) -> list[tuple[str, bool]]:
    """Positions in which the selectors can meet an operand, and whether that needs transposing."""
    if machine.sparse_operand in (position, "either"):
        return [(position, False)]
    return [("b" if position == "a" else "a", True)] if machine.may_transpose else []


def _stored(machine: SystolicArray, mask: Mask, selected: Pattern | None) -> Pattern:
    if selected is not None:
        return selected
    native = machine.native_for(mask.pattern)
    return native if native is not None and mask.obeys(native) else DENSE


def _note(machine: SystolicArray, work: SparseGemm, native: Pattern, selected: str) -> str:
    masked = [mask for mask in (work.a, work.b) if not mask.is_dense]
    if not masked:
        return ""
    if not selected:
        if not machine.native and not machine.flexible_group:
            return "the array has no selectors: masks gain nothing"
        return "the selectors do not support or do not meet the masked operand: runs dense"
    if len(masked) == 2:
        return "two masks: lock-step, one shortens K, the other saves bytes"
    pattern = masked[0].pattern
    if not masked[0].obeys(native):
        return f"{pattern} mask on {native} selectors: slots as its bits need, in lock-step"
    return "" if native == pattern else f"{pattern} runs as {native}"
