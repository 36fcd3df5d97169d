"""The figure that the docs embed: a log-log plot as an SVG of its own, on a white ground.

Drawn by matplotlib (extra ``reports``). The same bytes every time: no date, ids from a fixed salt,
and text that stays text.
"""

import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from reports.speed.speed_figures import Curve, raised

__all__ = ["COLOURS", "LABELS", "cost_svg", "curve_id"]

COLOURS = {"lock-step, no bits": "#332288", "lock-step, bits": "#2E8B7D", "intersecting": "#CC6677"}
LABELS = {
    "lock-step, no bits": "lock-step, 2:4 on 2:4: no bits",
    "lock-step, bits": "lock-step, 4:8 on 2:4: bits of one mask",
    "intersecting": "intersecting, 2:4 × 2:4: bits of both",
}
_INK, _MUTED, _GRID = "#1F2933", "#5F6B7A", "#E1E5EA"
_POINT = 1 / 72
"""Inch. Sizes below are in points, which are the units of the drawing."""

_WIDTH, _HEIGHT, _MARGIN = 820, 560, 20
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 24, 104, 116
_STYLE = {
    "font.family": "sans-serif",
    # The first is matplotlib's own, so that what is laid out does not depend on the machine.
    "font.sans-serif": ["DejaVu Sans", "Inter", "Segoe UI", "Roboto", "Arial", "Liberation Sans"],
    "font.size": 12,
    "text.color": _INK,
    "text.parse_math": False,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _GRID,
    "grid.linewidth": 1,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "nmsim",
}


def curve_id(curve: Curve) -> str:
    """The id of a curve's group in the drawing."""
    return f"{curve.series} {curve.fidelity}".replace(",", "").replace(" ", "-")


def _line(colour: str, fidelity: str) -> dict[str, Any]:
    """How a curve is drawn: full for the cycle model, dashed with open dots for the other."""
    cycle = fidelity == "cycle"
    return {
        "color": colour,
        "linestyle": "-" if cycle else (0, (3, 2)),
        "linewidth": 2,
        "marker": "o",
        "markersize": 7,
        "markeredgewidth": 1.6,
        "markerfacecolor": colour if cycle else "#FFFFFF",
    }


def _draw(axes: Axes, curve: Curve) -> None:
    points = curve.points
    macs, medians = [p.macs for p in points], [p.median for p in points]
    colour = COLOURS[curve.series]
    bars = axes.vlines(
        macs, [p.least for p in points], [p.most for p in points], colors=colour, linewidth=1.2
    )
    bars.set(alpha=0.6, zorder=2)
    (line,) = axes.plot(macs, medians, **_line(colour, curve.fidelity))
    line.set_gid(curve_id(curve))


def _scales(axes: Axes) -> None:
    axes.set(xscale="log", yscale="log", xlim=(1e6, 1e14), ylim=(10**-4.4, 10**1.4))
    axes.set_xlabel("MACs of the dense GEMM, M·N·K", labelpad=8)
    axes.set_ylabel("CPU time of a simulation [s]", labelpad=8)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=20))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(lambda value, _: f"10{raised(round(math.log10(value)))}")


def _legends(figure: Figure) -> None:
    series = [Line2D([], [], color=COLOURS[name], linewidth=3) for name in LABELS]
    fidelities = [Line2D([], [], **_line(_INK, name)) for name in ("cycle", "analytical")]
    names = [f"fidelity {name}" for name in ("cycle", "analytical")]
    for handles, labels, top in ((series, LABELS.values(), 54), (fidelities, names, 77)):
        figure.legend(
            handles,
            list(labels),
            loc="upper left",
            bbox_to_anchor=(_MARGIN / _WIDTH, 1 - top / _HEIGHT),
            ncols=len(handles),
            borderpad=0,
            borderaxespad=0,
            columnspacing=1.3,
            handletextpad=0.5,
            handlelength=2.8,
        )


def cost_svg(curves: Sequence[Curve], title: str, notes: Sequence[str]) -> str:
    """The whole drawing.

    Parameters
    ----------
    notes
        Lines of the caption.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH * _POINT, _HEIGHT * _POINT))
        figure.patch.set(facecolor="#FFFFFF", edgecolor=_GRID, linewidth=2)
        figure.text(_MARGIN / _WIDTH, 1 - 34 / _HEIGHT, title, fontsize=17, fontweight="bold")
        _legends(figure)
        size = (_WIDTH - _LEFT - _RIGHT) / _WIDTH, (_HEIGHT - _TOP - _BOTTOM) / _HEIGHT
        axes = figure.add_axes((_LEFT / _WIDTH, _BOTTOM / _HEIGHT, *size))
        _scales(axes)
        for curve in curves:
            _draw(axes, curve)
        for line, note in enumerate(reversed(notes)):
            at = (16 + 17 * line) / _HEIGHT
            figure.text(_MARGIN / _WIDTH, at, note, fontsize=11.5, color=_MUTED)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    return out.getvalue()
