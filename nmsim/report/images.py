"""Figures of stored results as images for a paper: of a column's width, in its type, untitled."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go

from nmsim.errors import SpecError
from nmsim.extras import extra
from nmsim.files import write_folder
from nmsim.report.plots.run import figures
from nmsim.report.plots.validation import validation_figures

__all__ = ["COLUMN_MM", "PAGE_MM", "Look", "fitted", "write_images"]

Format = Literal["svg", "pdf", "png"]

COLUMN_MM = 88.9
"""A column of a paper of two: 3.5 inches (IEEE)."""

PAGE_MM = 181.9
"""Both columns, 7.16 inches: what a figure of several panels gets, which one has no room for."""

_PX_PER_MM = 96 / 25.4
_PX_PER_POINT = 96 / 72
_TYPE_PX = 12
"""Of a figure on a page."""


@dataclass(frozen=True)
class Look:
    """How images look.

    Parameters
    ----------
    form
        "svg", "pdf" or "png" (300 dots an inch).
    width_mm
        Of every figure; None: a column, and both of them for what has panels side by side.
    font, points
        Name and size of the type; a name that the machine does not have is replaced by its browser.
    """

    form: Format
    width_mm: float | None = None
    font: str = "Helvetica, Arial, 'Liberation Sans', sans-serif"
    points: float = 8.0


def write_images(
    folder: Path, df: pd.DataFrame, manifest: Mapping[str, Any], look: Look
) -> list[str]:
    """Write every figure of a stored result into its folder; the names of the files.

    Raises
    ------
    MissingExtra
        if kaleido is not installed.
    SpecError
        if there is no Chrome, nothing to draw, or the file system refuses.
    """
    of_measured = manifest["kind"] == "validate"
    found = (validation_figures if of_measured else figures)(df, manifest)
    if not found:
        raise SpecError(f"{folder}: no rows, expected some to draw")
    shaped = {f"{name}.{look.form}": fitted(figure, look) for name, figure in found.items()}
    write_folder(folder, extra("images", "nmsim.report.plots.chrome").images(shaped, look.form))
    return list(shaped)


def fitted(figure: go.Figure, look: Look) -> go.Figure:
    """A copy of a figure for paper: its width and type, its title left to the caption."""
    made = go.Figure(figure)
    made.data = [trace for trace in made.data if trace.visible != "legendonly"]
    about = figure.layout.meta or {}
    wide = about.get("least", 0) > _PANELS
    width = (look.width_mm or (PAGE_MM if wide else COLUMN_MM)) * _PX_PER_MM
    size = look.points * _PX_PER_POINT
    above = about.get("above", 0)
    height = (figure.layout.height - above) * max(0.55, min(1.0, size / _TYPE_PX))
    top = max(20, figure.layout.margin.t - above)
    made.update_layout(
        title=None,
        width=round(width),
        height=round(max(height, 0.45 * width)),
        font={"family": look.font, "size": size},
        legend={"font": {"size": size}, "y": 1.0},
        margin={"l": 8, "r": figure.layout.margin.r * size / _TYPE_PX, "t": top, "b": 40},
    )
    made.update_xaxes(title_font_size=size, tickfont_size=size)
    made.update_yaxes(title_font_size=size, tickfont_size=min(size, 0.9 * size))
    made.update_annotations(font_size=size)
    made.update_traces(textfont_size=0.85 * size, selector={"type": "bar"})
    made.update_traces(textfont_size=size, selector={"mode": "text"})
    return made


_PANELS = 500
"""Pixels that only figures ask for at least whose panels or bars stand side by side."""
