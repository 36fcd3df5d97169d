"""HTML as values: elements that escape whatever is not HTML already, tables, figures."""

import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from nmsim.report.notation import printable

__all__ = ["Cell", "Head", "Safe", "el", "facts", "fields", "figure", "joined", "script", "sheet"]


class Safe(str):
    """Text that is HTML already."""

    __slots__ = ()


def el(tag: str, *children: object, **attributes: object) -> Safe:
    """An element; children that are not `Safe` are escaped, and so are attributes.

    A trailing underscore of an attribute's name is dropped, other underscores become hyphens; an
    empty attribute is left out.

    Examples
    --------
    >>> str(el("td", "a < b", class_="n", title=""))
    '<td class="n">a &lt; b</td>'
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(printable(str(value)))}"'
        for name, value in attributes.items()
        if str(value)
    )
    return Safe(f"<{tag}{written}>{joined(children)}</{tag}>")


def joined(children: Iterable[object]) -> Safe:
    """Children one after the other, escaped unless they are HTML already."""
    return Safe(
        "".join(
            child if isinstance(child, Safe) else html.escape(_lines(str(child)))
            for child in children
        )
    )


def _lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))


def script(code: str) -> Safe:
    """A script that stands in the page."""
    return Safe(f"<script>{code}</script>")


@dataclass(frozen=True)
class Head:
    """A column of a table: its name, its unit, what it holds, and whether that is a number."""

    name: str
    unit: str = ""
    meaning: str = ""
    number: bool = False


@dataclass(frozen=True)
class Cell:
    """What a cell shows, the exact value behind it, the number that it sorts by, a CSS class."""

    shown: str
    exact: str = ""
    key: float | None = None
    style: str = ""


def sheet(heads: Sequence[Head], rows: Iterable[Sequence[Cell]], style: str) -> Safe:
    """A table of the CSS class ``style`` in a box of its own that scrolls."""
    head = el("thead", el("tr", *(_head(column) for column in heads)))
    body = (el("tr", *(_cell(*pair) for pair in zip(heads, row, strict=True))) for row in rows)
    table = el("table", head, el("tbody", *body), class_=style)
    return el("div", table, class_="scroll", tabindex=0)


def _head(column: Head) -> Safe:
    style = "n" if column.number else ""
    text = joined((column.name, el("small", column.unit)))
    return el("th", text, class_=style, title=column.meaning, scope="col")


def _cell(column: Head, cell: Cell) -> Safe:
    style = " ".join(part for part in ("n" if column.number else "", cell.style) if part)
    key = "" if cell.key is None else repr(cell.key)
    exact = cell.exact if cell.exact != cell.shown else ""
    return el("td", cell.shown, class_=style, data_key=key, title=exact)


def facts(pairs: Iterable[tuple[str, object]]) -> Safe:
    """A list of names and values."""
    return el("dl", *(joined((el("dt", name), el("dd", value))) for name, value in pairs))


def fields(value: Any, name: str = "") -> list[tuple[str, str]]:
    """The fields of a document by dotted path, as text.

    Examples
    --------
    >>> fields({"dram": {"gbps": None}, "native": ["2:4"]})
    [('dram.gbps', 'none'), ('native', '2:4')]
    """
    if isinstance(value, dict) and value:
        return [
            pair
            for key, item in value.items()
            for pair in fields(item, f"{name}.{key}" if name else str(key))
        ]
    if isinstance(value, list | tuple):
        return [(name, ", ".join(str(item) for item in value) or "none")]
    return [(name, "none" if value is None or value == {} else str(value))]


def figure(name: str, drawing: go.Figure) -> Safe:
    """A figure: room of its height, and the script that draws it."""
    # "</script" and "<!--" would end or confuse the script that this stands in.
    described = drawing.to_json().replace("</", "<\\/").replace("<!", "\\u003c!")
    height = int(drawing.layout.height)
    room = el("div", id=f"figure-{name}", class_="figure", style=f"height:{height}px")
    return joined((room, script(f"draw({json.dumps(name)}, {described});")))
