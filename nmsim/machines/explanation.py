"""Why a GEMM takes what it takes: parts of its cycles that add up, and what may mend one of them.

A kind of machine offers both for its machines (``Kind.explain``); ``nmsim.run.explanation`` sets
the parts against those of the dense run, and tries the mends before it advises one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from nmsim.mask import SparseGemm
from nmsim.result import Result

__all__ = ["Effort", "Explain", "Mend", "Part", "busy_and_idle", "grown", "whole"]


class Part(NamedTuple):
    """Cycles of a GEMM that go to one thing, all copies and repeats."""

    name: str
    cycles: int
    meaning: str


class Effort(IntEnum):
    """What a mend takes, the cheapest first; within one effort, a kind's order decides."""

    SETTING = 0
    """Something else that the run or the library is told."""
    CONTROL = 1
    """Registers and control, and no wider memory."""
    BUFFER = 2
    """Larger memory on chip."""
    BANDWIDTH = 3
    """Wider paths, faster memory."""
    UNITS = 4
    """Other processing elements, or others of them."""


@dataclass(frozen=True)
class Mend:
    """A change that may take away a part of the cycles, to be tried before it is advised.

    Parameters
    ----------
    says
        What is changed, in words.
    effort
        What that takes.
    fields
        Fields of the machine to replace, by dotted path.
    pattern
        The run's pattern instead of its own; "" leaves it.
    batch
        Samples instead of the run's own; 0 leaves them.
    """

    says: str
    effort: Effort
    fields: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    pattern: str = ""
    batch: int = 0


@dataclass(frozen=True)
class Explain:
    """What a kind of machine tells of where the cycles of a GEMM go.

    Parameters
    ----------
    parts
        From a machine, a sparse GEMM, its result and the fidelity to parts, in the order in which a
        reader meets them: they add up to the result's cycles. The first one is the work that the
        masks leave at the machine's peak, all others are lost on the way.
    mends
        From a machine, a sparse GEMM and the name of a part to what may take it away.
    facts
        Labels and texts that a reader should have beside the parts.
    """

    parts: Callable[[Any, SparseGemm, Result, str], tuple[Part, ...]]
    mends: Callable[[Any, SparseGemm, str], Iterable[Mend]]
    facts: Callable[[Any, SparseGemm, Result, str], list[tuple[str, str]]] = (
        lambda _machine, _work, _result, _fidelity: []
    )


def busy_and_idle(
    machine: Any, work: SparseGemm, result: Result, _fidelity: str
) -> tuple[Part, ...]:
    """Parts that any result has: useful products, other cycles at work, and waiting."""
    useful, stall = work.macs_useful / machine.peak_macs, result.stall_cycles
    shares = whole((useful, result.cycles - stall - useful, stall), result.cycles)
    told = (
        ("useful products", "the MACs that the masks leave, at the machine's peak"),
        ("other work", "cycles at work beyond those"),
        ("waiting", "cycles in which the machine waits for memory"),
    )
    return tuple(Part(name, n, says) for (name, says), n in zip(told, shares, strict=True))


def grown(path: str, value: float, times: Iterable[float], says: str, effort: Effort) -> list[Mend]:
    """Mends that make a number of a machine larger (or smaller), the nearest first.

    Parameters
    ----------
    says
        Words with ``{}`` for the new value.
    """
    values = [float(f"{value * factor:.4g}") for factor in times]
    return [Mend(says.format(f"{new:g}"), effort, {path: new}) for new in values]


def whole(shares: Iterable[float], total: int) -> list[int]:
    """Shares as whole numbers that add up to a total, by largest remainder.

    Examples
    --------
    >>> whole([0.5, 1.5, 0.0, 2.0], 4)
    [0, 2, 0, 2]
    """
    given = list(shares)
    found = [int(share) for share in given]
    left = total - sum(found)
    if left > 0:
        by_remainder = sorted(range(len(given)), key=lambda i: (found[i] - given[i], -given[i]))
        for i in by_remainder[:left]:
            found[i] += 1
        left -= min(left, len(given))
    if left:  # what roundings elsewhere add or take is the largest share's
        found[found.index(max(found))] += left
    return found
