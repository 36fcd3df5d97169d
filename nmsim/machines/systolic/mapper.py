"""Which placement of a sparse GEMM an array runs: the fastest, by the clock of who asks.

Both orders of the operands, and using a mask or not, are open to dense and sparse GEMMs alike. Each
fidelity hands the search its own model of a placement's time, so that in neither a choice is slower
than what was passed over.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import NamedTuple, TypeVar

from nmsim.errors import CapacityError
from nmsim.gemm import Gemm
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

__all__ = ["BEYOND", "Choice", "Clock", "Outcome", "Timed", "choose", "choose_all", "each"]

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


Outcome = Timed | CapacityError
"""A placement with its cycles, or why it cannot run: a buffer is too small."""

Clock = Callable[[SystolicArray, Sequence[Placement]], list[Outcome]]
"""How long placements take on an array."""


def each(one: Callable[[SystolicArray, Placement], Timed]) -> Clock:
    """The clock that takes placements one by one."""

    def clock(machine: SystolicArray, placements: Sequence[Placement]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for placement in placements:
            try:
                outcomes.append(one(machine, placement))
            except CapacityError as error:
                outcomes.append(error)
        return outcomes

    return clock


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
        found = self.best.result
        told = {
            "chosen": self._told(),
            "mask_cycles": self.masked.cycles if self.masked else None,
            "misfit_share": self.masked.result.misfit_share if self.masked else None,
            "note": "; ".join(filter(None, (self.note, found.note))),
        }
        # As dataclasses.replace does it, which sets all other fields one by one.
        made = object.__new__(Result)
        vars(made).update(vars(found), **told)
        return made

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


Key = Hashable

MOST = 8192
"""Choices, and times of a GEMM with nothing pruned, that are remembered."""

_CHOICES: dict[Key, Choice] = {}
_UNMASKED: dict[Key, list[Outcome]] = {}

Value = TypeVar("Value")


def choose(
    machine: SystolicArray, work: SparseGemm, clock: Clock, closed_form: Clock | None = None
) -> Choice:
    """The fastest placement of a sparse GEMM on an array: that of ``choose_all``.

    Raises
    ------
    CapacityError
        if a buffer is too small for any placement.
    """
    (found,) = choose_all(machine, [work], clock, closed_form)
    if isinstance(found, CapacityError):
        raise found
    return found


def choose_all(
    machine: SystolicArray,
    works: Sequence[SparseGemm],
    clock: Clock,
    closed_form: Clock | None = None,
) -> list[Choice | CapacityError]:
    """The fastest placement of each of some sparse GEMMs on an array, or why none can run.

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
    asker = machine, clock, closed_form
    keys = [_key(machine, work, asker) for work in works]
    found = {key: _CHOICES[key] for key in keys if key in _CHOICES}
    new = {key: work for key, work in zip(keys, works, strict=True) if key not in found}
    bare = [_bare(work) if follows_promises(machine, work) else work for work in new.values()]
    for key, one in zip(new, _chosen(machine, bare, clock, closed_form), strict=True):
        found[key] = one
        if isinstance(one, Choice) and not isinstance(key, int):
            _keep(_CHOICES, key, one)
    return [found[key] for key in keys]


def _keep(known: dict[Key, Value], key: Key, value: Value) -> None:
    """Remember something in the place of what was learned first."""
    while len(known) >= MOST:
        known.pop(next(iter(known)), None)
    known[key] = value


def _key(machine: SystolicArray, work: SparseGemm, asker: tuple[object, ...]) -> Key:
    """What a choice is remembered by; where bits decide, the number of the sparse GEMM."""
    if not follows_promises(machine, work):
        return id(work)
    return *asker, work.gemm.sizes, work.a.promise, work.b.promise


def _bare(work: SparseGemm) -> SparseGemm:
    """The same GEMM, whose masks have no bits to be kept in memory."""
    return work if work.a.is_dense and work.b.is_dense else Promised.of(work).work


class _Ways(NamedTuple):
    """Placements of a GEMM that use masks, and the GEMM of those that use none; None: not open."""

    masked: Sequence[Placement]
    dense: Gemm | None


class _Times(NamedTuple):
    """What placements of a GEMM take that use masks, and those that use none."""

    masked: list[Outcome]
    unmasked: list[Outcome]

    @property
    def followed(self) -> list[Timed]:
        """Those that can run and use masks."""
        return [one for one in self.masked if isinstance(one, Timed)]

    @property
    def plain(self) -> list[Timed]:
        """Those that can run and use none."""
        return [one for one in self.unmasked if isinstance(one, Timed)]

    @property
    def refused(self) -> CapacityError | None:
        """Why a GEMM cannot run: masks make no room for one that has none dense."""
        return _refused(self.unmasked or self.masked)


def _chosen(
    machine: SystolicArray,
    works: Sequence[SparseGemm],
    clock: Clock,
    closed_form: Clock | None,
) -> list[Choice | CapacityError]:
    ways = [_ways(machine, work) for work in works]
    best: list[Timed | None] = [None] * len(works)
    if closed_form is not None:
        hints = _times(machine, ways, closed_form)
        best = [_fastest([*one.followed, *one.plain]) if not one.refused else None for one in hints]
        ways = [
            way._replace(masked=_worth_a_try(machine, one.followed, expected))
            if expected and one.followed
            else way
            for way, one, expected in zip(ways, hints, best, strict=True)
        ]
    timed = _times(machine, ways, clock)
    return [
        _choice(machine, *one) for one in zip(works, ways, timed, best, strict=True)
    ]


def _ways(machine: SystolicArray, work: SparseGemm) -> _Ways:
    masked = with_masks(machine, work)
    pays = machine.masks == "where_they_pay" or not masked
    return _Ways(masked, work.gemm if pays else None)


def _choice(
    machine: SystolicArray, work: SparseGemm, way: _Ways, times: _Times, expected: Timed | None
) -> Choice | CapacityError:
    if times.refused:
        return times.refused
    followed, unmasked = times.followed, times.plain
    timed = [*followed, *unmasked]
    best = _fastest(timed)
    turned = [one for one in timed if one.placement.transposed != best.placement.transposed]
    return Choice(
        best,
        masked=_fastest(followed) if followed else None,
        unmasked=_fastest(unmasked) if unmasked else None,
        turned=_fastest(turned) if turned else None,
        expected=expected or best,
        note="" if way.masked else why_dense(machine, work),
    )


def _times(machine: SystolicArray, ways: Sequence[_Ways], clock: Clock) -> list[_Times]:
    """What all placements take, those of a GEMM with nothing pruned once."""
    dense = {(machine, clock, way.dense.sizes): way.dense for way in ways if way.dense}
    known = {key: _UNMASKED[key] for key in dense if key in _UNMASKED}
    new = {key: gemm for key, gemm in dense.items() if key not in known}
    several = [*(way.masked for way in ways), *(without_masks(machine, g) for g in new.values())]
    outcomes = iter(clock(machine, [one for placements in several for one in placements]))
    timed = [list(islice(outcomes, len(placements))) for placements in several]
    for key, unmasked in zip(new, timed[len(ways) :], strict=True):
        known[key] = unmasked
        if not _refused(unmasked):  # an error that is raised keeps what is around it
            _keep(_UNMASKED, key, unmasked)
    return [
        _Times(masked, known[machine, clock, way.dense.sizes] if way.dense else [])
        for way, masked in zip(ways, timed[: len(ways)], strict=True)
    ]


def _refused(outcomes: Sequence[Outcome]) -> CapacityError | None:
    """Why none of some placements can run; None if one can."""
    errors = [one for one in outcomes if isinstance(one, CapacityError)]
    return errors[0] if errors and len(errors) == len(outcomes) else None


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
