"""Which placement of a sparse GEMM an array runs: the fastest, by the clock of who asks.

Both orders of the operands, and using a mask or not, are open to dense and sparse GEMMs alike. Each
fidelity hands the search its own model of a placement's time, so that in neither a choice is slower
than what was passed over.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import NamedTuple, TypeVar

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


class _Key:
    """What something is remembered by, whose hash is asked for several times."""

    __slots__ = ("_hash", "parts", "remembered")

    def __init__(self, parts: tuple[object, ...], *, remembered: bool = True) -> None:
        self.parts = parts
        self.remembered = remembered
        self._hash = hash(parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.parts == other.parts


MOST = 8192
"""Choices, and times of a GEMM with nothing pruned, that are remembered."""

_CHOICES: OrderedDict[_Key, Choice] = OrderedDict()
_UNMASKED: OrderedDict[_Key, list[Outcome]] = OrderedDict()

Value = TypeVar("Value")


def _keep(known: OrderedDict[_Key, Value], key: _Key, value: Value) -> None:
    """Remember something in the place of what was learned first."""
    if len(known) >= MOST:
        with suppress(KeyError):  # other threads may have made room
            known.popitem(last=False)
    known[key] = value


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
    places: dict[_Key, int] = {}
    of_each = [places.setdefault(_key(machine, work, asker), len(places)) for work in works]
    found: list[Choice | CapacityError | None] = [_CHOICES.get(key) for key in places]
    first = dict(zip(reversed(of_each), reversed(works), strict=True))
    new = [at for at, known in enumerate(found) if known is None]
    bare = [_bare(machine, first[at]) for at in new]
    keys = list(places)
    for at, chosen in zip(new, _chosen(machine, bare, clock, closed_form), strict=True):
        found[at] = chosen
        if isinstance(chosen, Choice) and keys[at].remembered:
            _keep(_CHOICES, keys[at], chosen)
    return [one for at in of_each if (one := found[at])]


def _key(machine: SystolicArray, work: SparseGemm, asker: tuple[object, ...]) -> "_Key":
    """What a choice is remembered by; where bits decide, it is not."""
    if not follows_promises(machine, work):
        return _Key((id(work),), remembered=False)
    return _Key((*asker, work.gemm.sizes, work.a.promise, work.b.promise))


def _bare(machine: SystolicArray, work: SparseGemm) -> SparseGemm:
    """A GEMM whose masks have no bits that would be kept in memory, unless these decide."""
    dense = work.a.is_dense and work.b.is_dense
    if dense or not follows_promises(machine, work):
        return work
    return Promised.of(work).work


class _Ways(NamedTuple):
    """Placements of a GEMM that use masks, and whether those are open that use none."""

    masked: Sequence[Placement]
    pays: bool


class _Times(NamedTuple):
    """What placements of a GEMM take that can run, with masks and without, or why none can."""

    followed: list[Timed]
    unmasked: list[Timed]
    refused: CapacityError | None

    @classmethod
    def of(cls, masked: Sequence[Outcome], unmasked: Sequence[Outcome]) -> "_Times":
        """Of what placements take, or why they cannot run: masks make no room for a dense GEMM."""
        runs = [[one for one in some if isinstance(one, Timed)] for some in (masked, unmasked)]
        return cls(runs[0], runs[1], _refused(unmasked or masked))


def _chosen(
    machine: SystolicArray,
    works: Sequence[SparseGemm],
    clock: Clock,
    closed_form: Clock | None,
) -> list[Choice | CapacityError]:
    ways = [_ways(machine, work) for work in works]
    best: list[Timed | None] = [None] * len(works)
    if closed_form is not None:
        hints = _times(machine, works, ways, closed_form)
        best = [
            _fastest([*one.followed, *one.unmasked]) if not one.refused else None for one in hints
        ]
        ways = [
            way._replace(masked=_worth_a_try(machine, one.followed, expected))
            if expected and one.followed
            else way
            for way, one, expected in zip(ways, hints, best, strict=True)
        ]
    timed = _times(machine, works, ways, clock)
    return [_choice(machine, *one) for one in zip(works, ways, timed, best, strict=True)]


def _ways(machine: SystolicArray, work: SparseGemm) -> _Ways:
    masked = with_masks(machine, work)
    pays = machine.masks == "where_they_pay" or not masked
    return _Ways(masked, pays)


def _choice(
    machine: SystolicArray, work: SparseGemm, way: _Ways, times: _Times, expected: Timed | None
) -> Choice | CapacityError:
    if times.refused:
        return times.refused
    followed, unmasked, _ = times
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


def _times(
    machine: SystolicArray, works: Sequence[SparseGemm], ways: Sequence[_Ways], clock: Clock
) -> list[_Times]:
    """What all placements take, those of a GEMM with nothing pruned once."""
    keys = [_Key((machine, clock, work.gemm.sizes)) for work in works]
    known: dict[_Key, list[Outcome]] = {}
    new: dict[_Key, list[Placement]] = {}
    for work, way, key in zip(works, ways, keys, strict=True):
        if not way.pays or key in new or key in known:
            continue
        if (found := _UNMASKED.get(key)) is not None:
            known[key] = found
        else:
            new[key] = without_masks(machine, work)
    several = [*(way.masked for way in ways), *new.values()]
    outcomes = iter(clock(machine, [one for placements in several for one in placements]))
    timed = [list(islice(outcomes, len(placements))) for placements in several]
    for key, unmasked in zip(new, timed[len(ways) :], strict=True):
        known[key] = unmasked
        if not _refused(unmasked):  # an error that is raised keeps what is around it
            _keep(_UNMASKED, key, unmasked)
    return [
        _Times.of(masked, known[key] if way.pays else [])
        for way, key, masked in zip(ways, keys, timed[: len(ways)], strict=True)
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
