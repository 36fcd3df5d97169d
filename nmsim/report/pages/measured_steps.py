"""Measured steps beside predicted ones as a page: errors by network, every step in its parts."""

from collections.abc import Iterable, Mapping, Sequence
from math import exp, fsum, log
from statistics import median
from typing import Any

from nmsim import __version__
from nmsim.report.notation import grouped, percent, ratio
from nmsim.report.pages.document import document
from nmsim.report.pages.markup import Cell, Head, Safe, el, facts, sheet

__all__ = ["steps_page"]

Row = Mapping[str, Any]

PARTS = (("GEMMs", "gemms_ms"), ("beside GEMMs", "beside_ms"), ("waiting", "wait_ms"))
"""What a predicted step is made of, in the order in which it is drawn."""

_BY_NETWORK = (
    Head("network"),
    Head("machine"),
    Head("steps", number=True),
    Head("median", "%", "of |predicted / measured - 1|", number=True),
    Head("bias", "%", "geometric mean of predicted / measured, minus 1", number=True),
    *(Head(name, "% of predicted", number=True) for name, _ in PARTS),
)
_EVERY = (
    Head("network"),
    Head("machine"),
    Head("conditions"),
    Head("batch", "× tokens", number=True),
    Head("measured", "ms", number=True),
    Head("predicted", "ms", number=True),
    Head("ratio", "", "predicted over measured", number=True),
    *(Head(name, "ms", number=True) for name, _ in PARTS),
    Head("note"),
)


def steps_page(summary: Row, sources: Mapping[str, Row]) -> str:
    """The whole page of measured steps: errors first, then bars, every row, what is not covered.

    Parameters
    ----------
    summary
        What `nmsim.measured.steps.predict.summarize_steps` says.
    sources
        Of the tables by name: summary, source, licence, conditions.
    """
    rows: Sequence[Row] = summary["steps"]
    title = "Steps of networks, predicted against measured"
    parts = [
        el(
            "header",
            el("div", f"nmsim {__version__} · measured steps", class_="eyebrow"),
            el("h1", title),
            el("p", _answer(summary), class_="lead"),
        ),
        el("h2", "By network"),
        sheet(_BY_NETWORK, map(_network_cells, _by_network(rows)), "sortable"),
        el("h2", "In parts"),
        el("p", _legend(), class_="lead"),
        el("div", *map(_bar, rows), class_="steps"),
        el("h2", "Every step"),
        sheet(_EVERY, map(_cells, rows), "sortable"),
        el("h2", "What is not covered"),
        sheet((Head("why"), Head("rows", number=True)), _left(summary), "sortable"),
        el("h2", "Where the measured times come from"),
        *(part for name, about in sources.items() for part in _source(name, about)),
    ]
    return document(title, *parts, drawn=False)


def _answer(summary: Row) -> str:
    if not summary["rows"]:
        return "No step is fit to judge by."
    return (
        f"{summary['rows']:,} steps are fit to judge by: median error "
        f"{percent(summary['median_ape'])} %, mean {percent(summary['mape'])} %, bias "
        f"{percent(summary['bias'])} %. No constant was fitted to any of them."
    )


def _legend() -> Safe:
    marks = (el("span", name, class_=f"part part-{place}") for place, (name, _) in enumerate(PARTS))
    return el("span", *marks, " The line is what was measured; bars are as long as predicted.")


def _by_network(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows that are fit to judge by, those of one network on one machine together."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["fit"]:
            groups.setdefault((row["network"], row["hardware"]), []).append(row)
    return list(groups.values())


def _network_cells(rows: Sequence[Row]) -> list[Cell]:
    off = median(abs(row["ratio"] - 1) for row in rows)
    bias = exp(fsum(log(row["ratio"]) for row in rows) / len(rows)) - 1
    whole = fsum(row["predicted_ms"] for row in rows)
    shares = (fsum(row[name] for row in rows) / whole for _, name in PARTS)
    return [
        Cell(rows[0]["network"]),
        Cell(rows[0]["hardware"]),
        Cell(grouped(len(rows)), key=len(rows)),
        *(Cell(percent(share), key=share) for share in (off, bias, *shares)),
    ]


def _said(row: Row) -> str:
    mark = "" if row["fit"] else ", indicative"
    return f"{row['scenario']} {row['dtype']} {row['stack']}{mark}"


def _size(row: Row) -> str:
    return f"{row['batch']:,}" + (f" × {row['tokens']}" if row["tokens"] else "")


def _bar(row: Row) -> Safe:
    """A step: its parts one after the other, and a line where the measured one ends."""
    longest = max(row["predicted_ms"], row["measured_ms"])
    spans = (
        el("i", class_=f"part-{place}", style=f"width:{100 * row[name] / longest:.2f}%")
        for place, (_, name) in enumerate(PARTS)
    )
    line = el("b", style=f"left:{100 * row['measured_ms'] / longest:.2f}%")
    label = f"{row['network']}, {_said(row)}, {_size(row)}: {ratio(row['ratio'])}"
    return el("div", el("small", label), el("div", *spans, line, class_="bar"))


def _cells(row: Row) -> list[Cell]:
    times = (row["measured_ms"], row["predicted_ms"])
    return [
        *(Cell(row["network"]), Cell(row["hardware"]), Cell(_said(row))),
        Cell(_size(row), key=row["batch"]),
        *(Cell(grouped(time, 1), key=time) for time in times),
        Cell(ratio(row["ratio"]), key=row["ratio"]),
        *(Cell(grouped(row[name], 1), key=row[name]) for _, name in PARTS),
        Cell(row["note"], style="why"),
    ]


def _left(summary: Row) -> Iterable[list[Cell]]:
    for row in summary["not_covered"]:
        yield [Cell(row["why"]), Cell(grouped(row["rows"]), key=row["rows"])]
    if summary["indicative"]:
        left = summary["indicative"]
        yield [Cell("indicative: in no error"), Cell(grouped(left), key=left)]


def _source(name: str, about: Row) -> Iterable[Safe]:
    yield el("h3", name)
    yield facts((key, about[key]) for key in ("source", "licence", "conditions"))
