"""HTML as values: elements that escape whatever is not HTML already, tables, figures."""

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nmsim.report.notation import printable

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "Cell",
    "Head",
    "Safe",
    "command_box",
    "drawings",
    "el",
    "facts",
    "fields",
    "joined",
    "literal",
    "script",
    "sheet",
]


class Safe(str):
    """Text that is HTML already, and is not escaped again."""

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


def command_box(command: str) -> Safe:
    """A command as it is typed, with a button that copies it."""
    return el(
        "div",
        el("pre", el("code", command)),
        el("button", "Copy", type="button", aria_label="Copy the command"),
        class_="again",
    )


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
    """Names and values as an HTML list of definitions."""
    return el("dl", *(joined((el("dt", name), el("dd", value))) for name, value in pairs))


def fields(value: Any, name: str = "") -> list[tuple[str, str]]:
    """The fields of a document by dotted path, as text.

    Examples
    --------
    >>> fields({"dram": {"gbps": None}, "native": ["2:4"]})
    [('dram.gbps', 'none'), ('native', '2:4')]
    >>> fields([{"dtype": "bf16", "bits": 16, "rates": []}], "formats")
    [('formats.0', 'dtype bf16; bits 16')]
    """
    if isinstance(value, dict) and value:
        return [
            pair
            for key, item in value.items()
            for pair in fields(item, f"{name}.{key}" if name else str(key))
        ]
    if isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
        return [(f"{name}.{place}", _entry(item)) for place, item in enumerate(value)]
    if isinstance(value, list | tuple):
        return [(name, ", ".join(str(item) for item in value) or "none")]
    return [(name, "none" if value in (None, {}, "") else str(value))]


def _entry(value: Any) -> str:
    """What an entry of a list says, in a line."""
    said = [(path, text) for path, text in fields(value) if text != "none"]
    return "; ".join(f"{path} {text}".strip() for path, text in said)


def drawings(figures: "Mapping[str, go.Figure]") -> dict[str, Safe]:
    """Every figure as HTML: its title, room of its height, and the script that draws it.

    What the pointer is told of a GEMM is the same in every figure, so the first of them brings all
    of these texts along and each has their numbers.
    """
    numbers: dict[str, int] = {}
    described = {name: _numbered(figure, numbers) for name, figure in figures.items()}
    told = script(f"const TEXTS = {literal(list(numbers))};")
    result: dict[str, Safe] = {}
    for name, document in described.items():
        drawn = script(f"draw({literal(name)}, {literal(document)});")
        first = [] if result else [told]
        result[name] = joined((*first, _room(name, figures[name].layout), drawn))
    return result


def _room(name: str, layout: Any) -> Safe:
    """Where a figure is drawn, between its title and what saves it or tells it as a table."""
    title, more = _plain(layout.title.text), _plain(layout.title.subtitle.text)
    above = (layout.meta or {}).get("above", 0)
    height = f"height:{int(layout.height) - above}px"
    said = f"{title}. The same numbers stand below it as a table."
    lines = [el("span", line) for line in (title, more) if line]
    room = el(
        "div", id=f"figure-{name}", class_="figure", style=height, role="img", aria_label=said
    )
    return el(
        "figure",
        el("figcaption", *lines, class_="figure-title"),
        el("div", room, class_="wide"),
        el("div", class_="tools", id=f"tools-{name}"),
    )


def _plain(markup: str | None) -> str:
    """The text of a title without plotly's tags."""
    return html.unescape(_TAG.sub("", (markup or "").replace("<br>", " ")))


_TAG = re.compile(r"<[^>]*>")


def _numbered(figure: "go.Figure", numbers: dict[str, int]) -> Any:
    document = json.loads(figure.to_json())
    for trace in document["data"]:
        if "hovertext" in trace:
            trace["hovertext"] = [
                numbers.setdefault(text, len(numbers)) for text in trace["hovertext"]
            ]
    return document


def literal(value: object) -> str:
    """JSON that may stand in a script: no "</script" ends it, no "<!--" confuses it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c")
