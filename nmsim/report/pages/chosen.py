"""A point of a sweep alone: the command that runs it, and its page where one stands beside."""

from collections.abc import Mapping, Sequence

from nmsim.report.again import without_out
from nmsim.report.pages.markup import Safe, command_box, el, literal
from nmsim.report.space import Space

__all__ = ["chosen_point"]

_MOST_LINKS = 40
"""Pages of points that are listed; those of others are told when they are chosen."""


def chosen_point(
    space: Space,
    commands: Mapping[int, str],
    column: str,
    pages: Mapping[Sequence[str], str],
) -> Safe:
    """The command of the point that gains most; in a browser, of the one that is chosen.

    Parameters
    ----------
    commands
        By the numbers of points.
    column
        Of the table of points, that has them.
    pages
        Addresses of pages of points, by the words of the commands that wrote them.
    """
    there = _there(commands, pages)
    best = _best(space, list(commands))
    address = there.get(best, "")
    hidden = {} if address else {"hidden": "hidden"}
    several = len(commands) > 1
    lead = (
        el("b", "The point that gains most" if several else "The point", class_="whose"),
        " alone, row by row, on a page of its own",
        "; a click on a point or on a row tells of that one. " if several else ". ",
        el("a", "It is there.", href=address or "#points", **hidden),
    )
    return el(
        "div",
        el("p", *lead, class_="lead"),
        command_box(commands[best]),
        _listed(space, there),
        Safe(f'<script type="application/json">{literal({"column": column, "pages": there})}'),
        Safe("</script>"),
        id="chosen",
    )


def _there(commands: Mapping[int, str], pages: Mapping[Sequence[str], str]) -> dict[int, str]:
    """Addresses of the pages that these very commands wrote, by the numbers of points."""
    if not pages:
        return {}
    found = ((number, pages.get(tuple(without_out(one)))) for number, one in commands.items())
    return {number: address for number, address in found if address}


def _listed(space: Space, there: Mapping[int, str]) -> Safe:
    if not there:
        return Safe("")
    links = [
        el("a", ", ".join(space.told(number)) or "the point", href=address)
        for number, address in there.items()
    ]
    more = len(links) - _MOST_LINKS
    rest = [el("li", f"{more:,} more, each told when it is chosen")] if more > 0 else []
    lead = el("p", "Points that have pages of their own:", class_="lead")
    return el("div", lead, el("ul", *(el("li", one) for one in links[:_MOST_LINKS]), *rest))


def _best(space: Space, numbers: Sequence[int]) -> int:
    """The point that gains most; without dense runs, the first."""
    gains = space.measures.get("speedup")
    return numbers[0] if gains is None else max(numbers, key=lambda at: gains[at] or 0.0)
