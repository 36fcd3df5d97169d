"""What the drawings of the docs share: colours, type, a white ground, the same bytes every time.

A drawing is 640 points wide and its text 13.5 at least, so that it can be read on a telephone,
where it is shown at 390. It stands on a ground of its own, so that it reads alike on light and dark
pages. Text stays text: it is laid out in matplotlib's own font, which is wider than most.
"""

import io
from collections.abc import Iterable

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "GRID",
    "INK",
    "MARGIN",
    "MUTED",
    "SMALL",
    "WIDTH",
    "Bar",
    "axes",
    "bars",
    "canvas",
    "svg",
]

WIDTH = 640
SMALL = 13.5
INK, MUTED, GRID, GROUND = "#1F2933", "#52606D", "#D5DAE1", "#FFFFFF"
COLOURS = {
    "indigo": "#332288",
    "teal": "#2E8B7D",
    "rose": "#CC6677",
    "sand": "#DDAA33",
    "sky": "#88CCEE",
    "grey": "#C3CAD3",
}
MARGIN = 18

STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Inter", "Segoe UI", "Roboto", "Arial", "Liberation Sans"],
    "font.size": SMALL,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "nmsim",
}

Bar = tuple[float, float]
"""Where a bar begins, and how long it is."""


def canvas(height: float, title: str, lines: Iterable[str] = ()) -> Figure:
    """An empty drawing with its title, and lines below the title."""
    figure = Figure(figsize=(WIDTH / 72, height / 72))
    figure.patch.set(facecolor=GROUND, edgecolor=GRID, linewidth=2)
    figure.text(MARGIN / WIDTH, 1 - 32 / height, title, fontsize=17, fontweight="bold")
    for number, line in enumerate(lines):
        figure.text(MARGIN / WIDTH, 1 - (54 + 18 * number) / height, line, color=MUTED)
    return figure


def axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in points from the upper left corner, with a time axis alone."""
    whole = 72 * figure.get_figheight()
    place = (left / WIDTH, 1 - (top + height) / whole, width / WIDTH, height / whole)
    drawn = figure.add_axes(place)
    drawn.spines[["top", "right", "left"]].set_visible(False)
    drawn.tick_params(axis="y", length=0)
    drawn.set(facecolor="none")
    return drawn


def bars(
    drawn: Axes, spans: Iterable[Bar], at: float, height: float, colour: str, **how: object
) -> None:
    """Bars of one row, centred on a height."""
    drawn.broken_barh(
        list(spans),
        (at - height / 2, height),
        facecolors=colour,
        **{"linewidth": 0.8, "edgecolor": GROUND, **how},
    )


def svg(figure: Figure, title: str) -> str:
    """The drawing as text."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    return out.getvalue()


def styled() -> mpl.rc_context:
    """The context that a drawing is made in."""
    return mpl.rc_context(STYLE)
