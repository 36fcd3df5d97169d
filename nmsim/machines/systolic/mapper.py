"""Which placement of a sparse GEMM an array runs: the fastest, by the clock of who asks.

Both orders of the operands, and using a mask or not, are open to dense and sparse GEMMs alike. Each
fidelity hands the search its own model of a placement's time, so that in neither a choice is slower
than what was passed over.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from nmsim.errors import CapacityError
from nmsim.machines.systolic.placement import (
    Placement,
    follows_promises,
    why_dense,
    with_masks,
    without_masks,
)
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.mask import Promised, SparseGemm
from nmsim.result import Result

__all__ = ["BEYOND", "Choice", "Clock", "Timed", "choose"]

BEYOND = 1.3
"""How many times the least a placement's closed form may be for a cycle model to try it."""

MANY = 1 << 20
"""Bits of a mask that take a cycle model some milliseconds to read, and of which few are lucky."""

DEEP = 8
"""Folds along K of which one more or less is no surprise."""


@dataclass(frozen=True, eq=False)
class Timed:
    """A placement and its cycles, all copies and repeats; what else it costs is found out if asked.

    Most placements are timed to be passed over, by their cycles alone. ``shared_out`` says what
    each of several arrays has a part of.
    """

    placement: Placement
    cycles: int
    write: Callable[[], Result]
    shared_out: str = ""

    @classmethod
    def told(cls, placement: Placement, result: Result) -> "Timed":
        """A placement of which all is known."""
        return cls(placement, result.cycles, lambda: result, result.partition)

    @cached_property
    def result(self) -> Result:
        """What it costs."""
        return self.write()

    @property
    def rank(self) -> tuple[int, int, bool, bool]:
        """What placements of equal cycles are compared by: bytes, MAC slots, what is simplest."""
        one, run = self.placement, self.result
        moved = run.dram_read_bytes + run.dram_write_bytes
        return moved, run.macs_issued, one.uses_masks, one.transposed


Clock = Callable[[SystolicArray, Placement], Timed]
"""How long a placement takes on an array."""


@dataclass(frozen=True, eq=False)
class Choice:
    """The placement that an array runs, and the best of those it was chosen from.

    Parameters
    ----------
    best
        What runs.
    masked, unmasked
        The fastest that uses a mask, and that uses none; None where none such was open.
    turned
        The fastest with the operands in the order that does not run; None where none was open.
    expected
        The fastest by the closed forms; the best itself where these are the clock.
    note
        Why no mask could be used, where one was offered.
    """

    best: Timed
    masked: Timed | None
    unmasked: Timed | None
    turned: Timed | None
    expected: Timed
    note: str

    @cached_property
    def result(self) -> Result:
        """What the best costs, with what was chosen and what was passed over."""
        return self.best.result.but(
            chosen=self._told(),
            mask_cycles=self.masked.cycles if self.masked else None,
            misfit_share=self.masked.result.misfit_share if self.masked else None,
            note="; ".join(filter(None, (self.note, self.best.result.note))),
        )

    def _told(self) -> str:
        runs = _way(self.best)
        passed = [one for one in (self._other_sort, self.turned) if one is not None]
        told = [runs]
        if passed:
            told.append(f"{_way(passed[0])} would take {self._times(passed[0])}")
        if _way(self.expected) != runs:
            told.append(f"closed forms choose {_way(self.expected)}")
        return "; ".join(told)

    @property
    def _other_sort(self) -> Timed | None:
        """The fastest that uses masks where the best uses none, and the other way round."""
        return self.unmasked if self.best is self.masked else self.masked

    def _times(self, other: Timed) -> str:
        return f"{other.cycles / max(1, self.best.cycles):.2f} times the cycles"


def choose(
    machine: SystolicArray, work: SparseGemm, clock: Clock, closed_form: Clock | None = None
) -> Choice:
    """The fastest placement of a sparse GEMM on an array.

    At equal cycles that which moves fewer bytes, spends fewer MAC slots, uses no mask, or keeps
    the order of the operands.

    Parameters
    ----------
    clock
        By which placements are compared.
    closed_form
        Another clock, whose choice is told where it differs. Placements whose time is that of many
        bits of a regular mask are not timed if by it they take more than ``BEYOND`` times the
        least, but for the best of those that use masks.

    Notes
    -----
    A network has many GEMMs of the same sizes: where no bit decides, the choice is remembered.
    """
    if follows_promises(machine, work):
        return _remembered(machine, Promised.of(work), clock, closed_form)
    return _chosen(machine, work, clock, closed_form)


@lru_cache(maxsize=8192)
def _remembered(
    machine: SystolicArray, promised: Promised, clock: Clock, closed_form: Clock | None
) -> Choice:
    return _chosen(machine, promised.work, clock, closed_form)


def _chosen(
    machine: SystolicArray, work: SparseGemm, clock: Clock, closed_form: Clock | None
) -> Choice:
    masked = with_masks(machine, work)
    pays = machine.masks == "where_they_pay" or not masked
    dense = Promised.of(SparseGemm.dense(work.gemm))
    unmasked = _without_masks(machine, dense, clock) if pays else ()
    expected = None
    if closed_form is not None:
        estimates, _ = _timed(machine, masked, closed_form)
        without = _without_masks(machine, dense, closed_form) if pays else ()
        hints = [*estimates, *without]
        expected = _fastest(hints) if hints else None
        if expected and estimates:
            masked = _worth_a_try(machine, estimates, expected)
    followed, refused = _timed(machine, masked, clock)
    timed = [*followed, *unmasked]
    if not timed:
        raise refused[0]
    best = _fastest(timed)
    turned = [one for one in timed if one.placement.transposed != best.placement.transposed]
    return Choice(
        best,
        masked=_fastest(followed) if followed else None,
        unmasked=_fastest(unmasked) if unmasked else None,
        turned=_fastest(turned) if turned else None,
        expected=expected or best,
        note="" if masked else why_dense(machine, work),
    )


@lru_cache(maxsize=8192)
def _without_masks(machine: SystolicArray, dense: Promised, clock: Clock) -> tuple[Timed, ...]:
    timed, refused = _timed(machine, _unmasked(machine, dense), clock)
    if not timed:
        raise refused[0]
    return tuple(timed)


@lru_cache(maxsize=8192)
def _unmasked(machine: SystolicArray, dense: Promised) -> tuple[Placement, ...]:
    """Placements of a GEMM with nothing pruned, the same ones for every clock."""
    return tuple(without_masks(machine, dense.gemm))


def _timed(
    machine: SystolicArray, placements: Sequence[Placement], clock: Clock
) -> tuple[list[Timed], list[CapacityError]]:
    """What placements cost, and why those cannot run that a buffer is too small for."""
    timed, refused = [], []
    for one in placements:
        try:
            timed.append(clock(machine, one))
        except CapacityError as error:
            refused.append(error)
    return timed, refused


def _worth_a_try(
    machine: SystolicArray, estimates: Sequence[Timed], expected: Timed
) -> list[Placement]:
    """Placements but for those that are foreseen to lose and would take long to run."""
    if not any(_is_long(machine, one.placement) for one in estimates):
        return [one.placement for one in estimates]
    most = max(BEYOND * expected.cycles, _fastest(estimates).cycles)
    return [
        one.placement
        for one in estimates
        if one.cycles <= most or not _is_long(machine, one.placement)
    ]


def _is_long(machine: SystolicArray, placement: Placement) -> bool:
    """Whether a placement reads so many bits that its closed form must be near what they give.

    It is not where a mask may keep less than its pattern allows, or where one fold more along K
    makes much of a difference.
    """
    mask = placement.selected_mask
    return (
        placement.needs_bits(machine)
        and mask.regular
        and mask.rows * mask.k >= MANY
        and mask.k >= DEEP * machine.depth
    )


def _fastest(timed: Sequence[Timed]) -> Timed:
    least = min(one.cycles for one in timed)
    equal = [one for one in timed if one.cycles == least]
    return equal[0] if len(equal) == 1 else min(equal, key=lambda one: one.rank)


def _way(timed: Timed) -> str:
    """What a placement is: the mask that it follows, as the row names operands, and the order.

    And what each of several arrays has a part of.
    """
    placement = timed.placement
    order = "B.A^T" if placement.transposed else "A.B^T"
    order += f" by {timed.shared_out}" if timed.shared_out else ""
    if not placement.selected:
        return f"{'packed' if placement.uses_masks else 'dense'} as {order}"
    turned = {"a": "B", "b": "A"}
    of = turned[placement.selected] if placement.transposed else placement.selected.upper()
    return f"{placement.native} of {of} as {order}"
