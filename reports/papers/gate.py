"""Whether verdicts on models could have come out otherwise: each must turn if a model changes.

A mutation changes one mechanism of the machines by a factor of two at most, or removes it. A
verdict turns if it holds in other cases than before. One that nothing turns is one-sided.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from functools import cache

from pydantic import Field, model_validator

from nmsim.spec import Spec, read_yaml, validate
from reports.claims import Claim, Verdict
from reports.papers.bench import Bench, Change
from reports.papers.paper import MUTATIONS, Paper, Part
from reports.published.build import judged_on as published

__all__ = ["Mutation", "judged_on", "mutations", "turned_by"]

PUBLISHED = "published"
"""Beside parts of papers: the report on speed-ups that others printed."""

_MOST = 2.0


class Mutation(Spec):
    """A change of one mechanism, and the verdicts that it must turn."""

    name: str = Field(description="what is changed, and by how much")
    mechanism: str = Field(description="of the models")
    changes: tuple[Change, ...] = Field(min_length=1, description="fields, and what they become")
    turns: tuple[str, ...] = Field((), description="names of claims whose verdicts turn")

    @model_validator(mode="after")
    def _by_two_at_most(self) -> "Mutation":
        factors = [one.times for one in self.changes if one.times]
        if any(not 1 / _MOST <= factor <= _MOST for factor in factors):
            raise ValueError(f"{self.name}: expected factors of 1/2 to 2, or 0")
        return self

    @property
    def bench(self) -> Bench:
        """The machines with the change."""
        return Bench(self.changes)


@cache
def mutations() -> tuple[Mutation, ...]:
    """All that are declared, in the order of their file."""
    entries = read_yaml(MUTATIONS)["mutations"]
    return tuple(validate(Mutation, entry, MUTATIONS.name) for entry in entries)


def _parts(papers: Iterable[Paper]) -> Iterator[tuple[Paper, Part, list[Claim]]]:
    for paper in papers:
        for part in paper.parts:
            if isinstance(part, Part):
                claims = [claim for claim in part.claims(paper) if claim.kind == "model"]
                if claims:
                    yield paper, part, claims


def judged_on(
    bench: Bench, papers: Iterable[Paper], parts: Container[str] = ()
) -> dict[str, Verdict]:
    """Verdicts on models on some machines, by names of claims.

    Parameters
    ----------
    parts
        Names of those to judge; empty: all that the changes of the bench can concern.
    """
    kinds = {change.kind for change in bench.changes}
    found: dict[str, Verdict] = {}
    for paper, part, claims in _parts(papers):
        concerned = not kinds or kinds & {*part.runs_on}
        if concerned and (not parts or part.name in parts):
            stated = part.stated(paper, part.figures(bench))
            found |= {claim.name: stated[claim.name] for claim in claims}
    if (not kinds or "gpu" in kinds) and (not parts or PUBLISHED in parts):
        found |= published(bench)
    return found


def turned_by(
    mutation: Mutation,
    papers: Iterable[Paper],
    before: Mapping[str, Verdict],
    parts: Container[str] = (),
) -> list[str]:
    """Names of the claims whose verdicts a mutation turns."""
    after = judged_on(mutation.bench, papers, parts)
    return [name for name, verdict in after.items() if verdict.met != before[name].met]
