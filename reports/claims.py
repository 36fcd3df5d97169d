"""Statements and what becomes of them: claims as data, verdicts with a class, sections of a page.

A claim is data: what is stated, where, the printed figure, the formula that computes ours by name,
how far it may be off, and what is not said. A verdict follows from a claim and a computed figure,
so that a change of either changes it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from nmsim.spec import Spec

__all__ = [
    "KINDS",
    "Claim",
    "Found",
    "Kind",
    "Section",
    "Verdict",
    "Within",
    "classed",
    "count",
    "judge",
    "judged",
    "outcomes",
    "reproduced",
    "together",
]

Kind = Literal["definition", "algorithm", "model", "measurement"]

KINDS: Mapping[Kind, str] = {
    "model": "a printed time, speed-up or overhead against what our models of hardware compute",
    "algorithm": "the paper's mathematics against what our pruners and statistics compute",
    "measurement": "a printed time or accuracy against times and trainings on a CPU of ours, or "
    "times that others measured",
    "definition": "what follows from how a pattern, a recipe or the paper's own sum is defined",
}
"""What a verdict rests on, what is worth most first."""


@dataclass(frozen=True)
class Verdict:
    """One statement; ``because`` says why it is not met, and is empty where it is.

    Parameters
    ----------
    kind
        What it rests on; "": of no paper.
    within
        How far a computed figure may be off, to either side.
    unsaid
        What the paper does not say and is taken as the cases say.
    cases, met
        What is taken in turn for what is not said, and for which of it the statement is met; none:
        there is nothing to choose.
    one_sided
        No change of the models by a factor of two at most turns it: it is not counted.
    name
        Of the claim that it is on, if it is on one.
    """

    statement: str
    where: str
    printed: str
    computed: str
    because: str = ""
    kind: Kind | Literal[""] = ""
    within: str = ""
    unsaid: str = ""
    cases: tuple[str, ...] = ()
    met: tuple[str, ...] = ()
    one_sided: bool = False
    name: str = ""

    @property
    def reproduced(self) -> bool:
        """Whether nmsim finds what the paper says, in every case."""
        return not self.because

    @property
    def partly(self) -> bool:
        """Whether it does in some cases and not in others."""
        return bool(self.because and self.met)

    @property
    def counted(self) -> bool:
        """Whether it could have come out otherwise."""
        return not self.one_sided

    def record(self) -> dict[str, Any]:
        """The verdict as it stands in JSON; of what sets it apart only what there is."""
        every: dict[str, Any] = asdict(self)
        said = {name: value for name, value in every.items() if value or name == "because"}
        said |= {name: list(said[name]) for name in ("cases", "met") if name in said}
        return {**said, "reproduced": self.reproduced}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """The verdict that a record is of."""
        lists = {name: tuple(record.get(name, ())) for name in ("cases", "met")}
        said = {name: value for name, value in record.items() if name != "reproduced"}
        return cls(**{**said, **lists})


@dataclass(frozen=True)
class Section:
    """One claim: which paper, which N it means in its table and prose, every figure and verdict."""

    name: str
    title: str
    paper: str
    n_is: str
    meaning_of_n: str
    figures: dict[str, Any]
    verdicts: list[Verdict]

    def record(self) -> dict[str, Any]:
        """The section as it stands in JSON, each verdict with whether it is reproduced."""
        return {**asdict(self), "verdicts": [v.record() for v in self.verdicts]}


def judged(
    statement: str,
    where: str,
    printed: str,
    computed: str,
    failures: Iterable[str],
    kind: Kind | Literal[""] = "",
) -> Verdict:
    """Judge a statement by what contradicts it: nothing, if it is reproduced."""
    return Verdict(statement, where, printed, computed, "; ".join(failures), kind)


def classed(kind: Kind, verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Verdicts with a class, but for those that have one already."""
    return [verdict if verdict.kind else replace(verdict, kind=kind) for verdict in verdicts]


class Within(Spec):
    """How far a computed figure may lie from a printed one, to either side."""

    factor: float | None = Field(None, gt=1, description="times or divided by")
    by: float | None = Field(None, ge=0, description="more or less, in the unit of the figure")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.factor is None) == (self.by is None):
            raise ValueError("expected one of factor and by")
        return self

    def met(self, printed: float, found: float) -> bool:
        """Whether a computed figure is near enough.

        Examples
        --------
        >>> Within(factor=2).met(1.0, 0.5), Within(factor=2).met(1.0, 2.1), Within(by=1).met(3, 1)
        (True, False, False)
        """
        if self.by is not None:
            return abs(found - printed) <= self.by
        assert self.factor is not None  # noqa: S101
        return printed / self.factor <= found <= printed * self.factor

    def told(self, unit: str) -> str:
        """In words.

        Examples
        --------
        >>> Within(factor=1.15).told("×"), Within(by=5).told(" %"), Within(by=0.05).told("×")
        ('within a factor of 1.15', '± 5 points', '± 0.05×')
        """
        if self.factor is not None:
            return f"within a factor of {self.factor:g}"
        return f"± {self.by:g}{' points' if unit == ' %' else unit}"


@dataclass(frozen=True)
class Claim:
    """A printed figure and how ours is held against it; all of it stands before ours is computed.

    Parameters
    ----------
    name
        Tells it from every other claim of all papers.
    formula
        Name of the function that computes ours.
    keys
        Of the row of the paper's table.
    """

    name: str
    statement: str
    where: str
    printed: float
    unit: str
    formula: str
    keys: tuple[str, ...]
    within: Within
    kind: Kind
    unsaid: str = ""


@dataclass(frozen=True)
class Found:
    """What a formula computes: the figure in each case, why it is no other, and what to add.

    The name of a case is "" where there is nothing to choose.
    """

    cases: Mapping[str, float]
    reason: str
    more: str = ""


def judge(claim: Claim, found: Found) -> Verdict:
    """Hold a printed figure against the computed one of every case.

    Examples
    --------
    >>> claim = Claim("c", "a step", "Table 1", 2, "×", "gain", (), Within(by=0.1), "model")
    >>> judge(claim, Found({"one GPU": 1.95, "another": 1.2}, "it is slower")).because
    'holds for 1 of 2: one GPU; it is slower'
    """
    met = tuple(c for c, value in found.cases.items() if claim.within.met(claim.printed, value))
    because = _because(met, len(found.cases), found.reason)
    shown = [
        f"{case and f'{case}: '}{_short(value)}{claim.unit}" for case, value in found.cases.items()
    ]
    return Verdict(
        claim.statement,
        claim.where,
        f"{claim.printed:g}{claim.unit}",
        "; ".join([*shown, *([found.more] if found.more else [])]),
        because,
        claim.kind,
        claim.within.told(claim.unit),
        claim.unsaid,
        tuple(found.cases),
        met,
        name=claim.name,
    )


def _because(met: tuple[str, ...], cases: int, reason: str) -> str:
    if len(met) == cases:
        return ""
    return f"holds for {len(met)} of {cases}: {', '.join(met)}; {reason}" if met else reason


def together(statement: str, unsaid: str, verdicts: Mapping[str, Verdict]) -> Verdict:
    """One verdict of those on one statement, by the cases that they are of."""
    first = next(iter(verdicts.values()))
    met = tuple(case for case, verdict in verdicts.items() if verdict.reproduced)
    reason = "; ".join(v.because for v in verdicts.values() if v.because)
    return replace(
        first,
        statement=statement,
        computed="; ".join(f"{case}: {v.computed}" for case, v in verdicts.items()),
        because=_because(met, len(verdicts), reason),
        unsaid=unsaid,
        cases=tuple(verdicts),
        met=met,
    )


def _short(value: float) -> str:
    """Three digits or more, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def outcomes(verdicts: Iterable[Verdict]) -> tuple[int, int, int]:
    """How many hold in every case, in some, in none."""
    found = list(verdicts)
    whole, partly = sum(v.reproduced for v in found), sum(v.partly for v in found)
    return whole, partly, len(found) - whole - partly


def count(verdicts: Iterable[Verdict]) -> dict[Kind, tuple[int, int, int]]:
    """Outcomes of each class; of models those that are counted alone."""
    found = [v for v in verdicts if v.counted]
    return {kind: outcomes(v for v in found if v.kind == kind) for kind in KINDS}


def reproduced(verdicts: Sequence[Verdict]) -> str:
    """How many of the statements nmsim reproduces.

    Examples
    --------
    >>> reproduced([judged("a", "b", "c", "d", []), judged("a", "b", "c", "d", ["why"])])
    '1 of 2'
    """
    return f"{sum(v.reproduced for v in verdicts)} of {len(verdicts)}"
