"""Claims of a paper's file: one entry states what every row of a table claims."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from nmsim.spec import Spec, validate
from reports.claims import Claim, Kind, Within

__all__ = ["Stated", "claims_of"]


class Stated(Spec):
    """An entry of ``claims``: a statement, or one for every row of a table."""

    statement: str = Field(description="{0}, {1} ...: keys of the row")
    where: str = Field("", description="in the paper; none: the first key of the row")
    of: str = Field(description="dotted path of the table, or of the one figure")
    figure: str = Field("", description="field of the row that is printed; none: the row itself")
    without: tuple[str, ...] = Field((), description="keys of rows that are judged elsewhere")
    unit: str = Field("", description="as it is written behind the figure")
    formula: str = Field(description="name of the function that computes ours")
    within: Within = Field(description="how far ours may be off")
    kind: Kind = Field("model", description="what a verdict rests on")
    unsaid: str = Field("", description="what the paper does not say, which the cases stand for")


def claims_of(slug: str, document: Mapping[str, Any], part: str) -> list[Claim]:
    """The claims of one part of a paper, from the figures that its tables print."""
    entries = document.get("claims", {}).get(part, ())
    return [
        Claim(
            name="/".join((slug, part, stated.formula, *keys)),
            statement=stated.statement.format(*keys),
            where=stated.where or keys[0].partition(", ")[0],
            printed=float(figure),
            unit=stated.unit,
            formula=stated.formula,
            keys=keys,
            within=stated.within,
            kind=stated.kind,
            unsaid=stated.unsaid,
        )
        for entry in entries
        for stated in [validate(Stated, entry, f"{slug}.yaml, claims of {part}")]
        for keys, figure in _figures(_at(document["tables"], stated.of), stated.figure)
        if not {*stated.without} & {*keys}
    ]


def _at(tree: Any, path: str) -> Any:
    for name in path.split("."):
        tree = tree[name]
    return tree


def _figures(
    tree: Any, field: str, keys: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every printed figure below a table, with the keys that lead to it."""
    if not isinstance(tree, Mapping):
        yield keys, tree
    elif field and field in tree:
        yield keys, tree[field]
    else:
        for key, inner in tree.items():
            yield from _figures(inner, field, (*keys, str(key)))
