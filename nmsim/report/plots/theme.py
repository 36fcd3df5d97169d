"""What all figures share: colours, type, titles, the words of a hover."""

import html
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from nmsim.report.notation import duration, grouped, percent, printable, ratio, shorten, si
from nmsim.report.reasons import passed_over
from nmsim.report.summary import quotient

__all__ = [
    "ALL_COLOUR",
    "DENSE_COLOUR",
    "HATCH",
    "INK",
    "MACHINE_COLOURS",
    "MACHINE_SYMBOLS",
    "MASK_COLOUR",
    "MUTED",
    "PHASE_COLOURS",
    "PHASE_INKS",
    "REST_COLOUR",
    "apply_theme",
    "coloured",
    "context",
    "escaped",
    "for_phones",
    "hover",
]

# Okabe and Ito, "Color Universal Design" (2008): told apart under every common colour blindness.
PHASE_COLOURS = {"forward": "#0072B2", "backward": "#D55E00", "update": "#009E73"}
PHASE_INKS = {"forward": "#0072B2", "backward": "#B34700", "update": "#007A59"}
"""The same hues for letters, which need more contrast with the ground than bars do."""

ALL_COLOUR = "#4B5563"
DENSE_COLOUR = "#D7DBE0"
MASK_COLOUR = "#E69F00"

REST_COLOUR = "#CC79A7"
INK = "#1F2933"
MUTED = "#6B7280"
HATCH = {
    "shape": "/",
    "size": 5,
    "solidity": 0.4,
    "fillmode": "overlay",
    "fgcolor": "#FFFFFF",
    "fgopacity": 1,
}
_GRID = "#E8EBEF"
_LINE = 170
_TITLE = 54
_WIDE = 860
"""Pixels below which panels side by side would overprint each other: a page scrolls them."""

_PHONE = 340
_MACS = ("dense", "issued", "useful")

# From Paul Tol's "muted" scheme (SRON/EPS/TN/09-002), none of them near a colour of a phase.
MACHINE_COLOURS = (
    "#332288", "#CC6677", "#88CCEE", "#882255", "#DDCC77", "#AA4499", "#44AA99", "#999933",
)  # fmt: skip
MACHINE_SYMBOLS = (
    "circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "star", "hexagon",
)  # fmt: skip

_FONT = "Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"


def apply_theme(figure: go.Figure, title: str, subtitle: str, height: int, top: int) -> go.Figure:
    """Give a figure its title, its look and its size.

    Parameters
    ----------
    figure
        Changed in place.
    title, subtitle
        What is compared; on what and under which settings.
    height, top
        Pixels of the figure and of the margin above its panels, where title and legend stand; a
        subtitle of several lines adds to both.
    """
    lines = textwrap.wrap(subtitle, _LINE) or [""]
    more = 16 * (len(lines) - 1)
    height += more
    figure.update_layout(
        template="none",
        title={
            "text": f"<b>{escaped(title)}</b>",
            "subtitle": {
                "text": "<br>".join(escaped(line) for line in lines),
                "font": {"size": 12.5, "color": MUTED, "family": _FONT},
            },
            "font": {"size": 17, "color": INK, "family": _FONT},
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"l": 8, "t": 14},
        },
        font={"family": _FONT, "size": 12, "color": INK},
        height=height,
        meta={"above": _TITLE + more, "least": _WIDE},
        margin={"l": 16, "r": 24, "t": top + more, "b": 56},
        paper_bgcolor="#FFFFFF",
        plot_bgcolor="#FFFFFF",
        hoverlabel={"align": "left", "font": {"family": _FONT, "size": 12}},
        hovermode="closest",
        legend={
            "orientation": "h",
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 1 - (62 + more) / height,
            "yref": "container",
            "yanchor": "top",
            "font": {"size": 12},
        },
    )
    axis = {"gridcolor": _GRID, "linecolor": "#C3C9D1", "zeroline": False, "automargin": True}
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure


def for_phones(figure: go.Figure, least: int = _PHONE) -> go.Figure:
    """Let a figure, one panel that loses nothing by it, be drawn as narrow as a phone.

    Parameters
    ----------
    least
        Pixels below which its texts would overprint each other, so that a page scrolls it.
    """
    figure.update_layout(meta={**figure.layout.meta, "least": least})
    return figure


def context(manifest: Mapping[str, Any]) -> str:
    """The settings of a run or a sweep in one line, for the subtitle of a figure."""
    if manifest["kind"] == "sweep":
        parts = [
            ("recipe", manifest["recipes"]),
            ("batch", manifest["batches"]),
            ("fidelity", manifest["fidelities"]),
            ("seed", [manifest.get("seed", 0)]),
        ]
        head = f"{_listed(manifest['models'])} on {_listed(manifest['hardware'])}"
    else:
        parts = [(name, [manifest[name]]) for name in ("recipe", "pattern", "batch", "fidelity")]
        parts.append(("seed", [manifest["seed"]]))
        parts += (
            [("layers", [manifest["layers"]])]
            if manifest.get("layers") not in {None, "", "*"}
            else []
        )
        head = f"{manifest['model']} on {manifest['hardware']}"
    return " · ".join((head, *(f"{name} {_listed(values)}" for name, values in parts)))


def _listed(values: Sequence[Any]) -> str:
    texts = [shorten(str(value), 40) for value in values]
    return (
        ", ".join(texts) if len(texts) <= 4 else f"{', '.join(texts[:3])} and {len(texts) - 3} more"
    )


def escaped(text: str) -> str:
    """Text that plotly shows as it stands: it would read tags in it as markup."""
    return html.escape(printable(text), quote=False)


def coloured(text: str, phase: str) -> str:
    """The heading of a panel, in the colour of its phase."""
    return f'<b><span style="color:{PHASE_INKS.get(phase, ALL_COLOUR)}">{escaped(text)}</span></b>'


def hover(row: Mapping[str, Any]) -> str:
    """Everything that a row says, for the box beside the pointer."""
    row = {name: _shown(name, value) for name, value in row.items()}
    stalls = percent(quotient(row["stall_cycles"], row["cycles"]))
    macs = ", ".join(f"{name} {si(row[f'macs_{name}'], '')}" for name in _MACS)
    read, written = (si(row[f"dram_{name}_bytes"], "B") for name in ("read", "write"))
    lines = [
        f"<b>{row['layer']}</b> · {row['phase']}"
        + (f" (gradient of {row['gradient_of']})" if row["gradient_of"] else "")
        + (f" (part {row['part']})" if row.get("part") else ""),
        f"M×N×K {row['m']}×{row['n']}×{row['k']}, count {row['count']}, repeat {row['repeat']}",
        f"A {row['a_pattern']}, B {row['b_pattern']}, kernel {row['kernel']}"
        + (" (transposed)" if row["transposed"] else ""),
        f"{grouped(row['cycles'])} cycles, {stalls} % stalled; {duration(row['time_us'])}",
        f"speed-up of the GEMM {ratio(row['speedup'])}×, ideal {ratio(row['speedup_ideal'])}×"
        + (f"; its mask alone {ratio(row['mask_speedup'])}×" if passed_over(row) else ""),
        f"bound by {row['bound']}; {percent(row['utilization'])} % of peak",
        f"MACs: {macs}",
        f"DRAM {grouped(row['dram_gbps'], 1)} GB/s: {read} read, {written} written",
        *(f"<i>{line}</i>" for name in ("chosen", "note") for line in _wrapped(row[name])),
    ]
    return "<br>".join(lines)


_LONG = ("chosen", "note")


def _shown(name: str, value: Any) -> Any:
    return escaped(shorten(value, 90)) if isinstance(value, str) and name not in _LONG else value


def _wrapped(text: str) -> list[str]:
    """A sentence in lines that a box has room for."""
    return [escaped(line) for line in textwrap.wrap(printable(text or ""), 90, max_lines=4)]
