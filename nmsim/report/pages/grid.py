"""Tables of many rows: stored by column, deflated, drawn by the browser as they scroll by.

Numbers stand with seven significant digits; the stored results beside the page have all.
"""

import base64
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nmsim.report.pages.markup import Safe, el, literal

__all__ = ["GridColumn", "grid", "unpacked"]

_DEFLATED = 1 << 15
"""Characters from which on a table is deflated."""

_DIGITS = 7


@dataclass(frozen=True)
class GridColumn:
    """A column: its name among the data, its heading, and whether it is shown unasked."""

    name: str
    title: str
    unit: str = ""
    meaning: str = ""
    number: bool = False
    shown: bool = False


def grid(
    name: str,
    label: str,
    columns: Sequence[GridColumn],
    values: Mapping[str, Sequence[Any]],
    *,
    filters: Sequence[str] = (),
    linked: bool = False,
    numbers: Sequence[int] = (),
) -> Safe:
    """A table that can be searched, filtered, sorted, copied, and whose columns can be chosen.

    Parameters
    ----------
    name
        Of the table, and of its file when it is saved.
    label
        What it is called aloud.
    values
        Plain values by the names of columns, None for what is missing.
    filters
        Columns of few values by which rows can be chosen.
    linked
        Marks of the page's figures stand for its rows (their ``customdata``).
    numbers
        By which those marks know the rows; none: counted from 0.
    """
    count = len(next(iter(values.values()), ()))
    about = {
        "label": label,
        "count": count,
        "filters": list(filters),
        "linked": linked,
        "numbers": None if list(numbers) == list(range(count)) else list(numbers),
        "columns": [
            {
                "name": column.name,
                "title": column.title,
                "unit": column.unit,
                "meaning": column.meaning,
                "number": column.number,
                "shown": column.shown,
                "values": _packed(values[column.name]),
            }
            for column in columns
        ],
    }
    toolbar, rows = el("div", class_="toolbar"), el("div", class_="rows")
    return el("section", toolbar, rows, _data(name, literal(about)), data_grid=name)


def _data(name: str, text: str) -> Safe:
    opened = f'<script type="text/plain" id="data-{name}"'
    if len(text) < _DEFLATED:
        return Safe(f"{opened}>{text}</script>")
    deflated = base64.b64encode(zlib.compress(text.encode(), 9)).decode("ascii")
    return Safe(f'{opened} data-encoding="deflate">{deflated}</script>')


def _packed(values: Sequence[Any]) -> Any:
    """A column as it travels: one value for all rows, words and where they stand, or the values.

    Examples
    --------
    >>> _packed([2, 2, 2]), _packed(["a", "b", "a", None]), _packed([1.23456789, None])
    ({'one': 2}, {'of': ['a', 'b'], 'at': [0, 1, 0, -1]}, [1.234568, None])
    """
    plain = [_short(value) for value in values]
    kinds = {(type(value), value) for value in plain}
    if len(kinds) == 1:
        return {"one": plain[0]}
    if not all(isinstance(value, str | None) for value in plain):
        return plain
    words = {word: at for at, word in enumerate(dict.fromkeys(v for v in plain if v is not None))}
    return {"of": list(words), "at": [-1 if v is None else words[v] for v in plain]}


def _short(value: Any) -> Any:
    if not isinstance(value, float) or isinstance(value, bool):
        return value
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.{_DIGITS}g}")
    whole = rounded.is_integer() and abs(rounded) < 1e15
    return int(rounded) if whole else rounded


def unpacked(text: str, encoding: str = "") -> Any:
    """What stands in a page, read back: for whoever looks at a page without a browser."""
    if encoding == "deflate":
        text = zlib.decompress(base64.b64decode(text)).decode()
    return json.loads(text)
