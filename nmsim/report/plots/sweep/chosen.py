"""The figures of a design space, which choose themselves by what varies."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nmsim.report.plots.roofline import roofline_figure
from nmsim.report.plots.sweep.front import front_figure
from nmsim.report.plots.sweep.grids import heat_figure, layers_figure, lines_figure
from nmsim.report.plots.sweep.groups import groups_figure
from nmsim.report.plots.sweep.parallel import importance_figure, parallel_figure
from nmsim.report.plots.theme import context
from nmsim.report.space import Kind, Space
from nmsim.report.summary import of_sums

__all__ = ["space_figures"]

_DRAWN: Mapping[Kind, Callable[[Space, str], go.Figure]] = {
    "point": groups_figure,
    "groups": groups_figure,
    "lines": lines_figure,
    "heat map": heat_figure,
    "parallel": parallel_figure,
}


def space_figures(
    space: Space, df: pd.DataFrame, manifest: Mapping[str, Any]
) -> dict[str, go.Figure]:
    """The figures that a sweep has data for, by name, in the order of a page.

    ``speedup`` is that of what varies (`nmsim.report.space.Space.kind`); without dense runs there
    is none. ``front`` and ``importance`` are of several points, ``layers`` of several patterns.
    """
    said = context(manifest)
    compared = "speedup" in space.measures
    drawn = {"speedup": _DRAWN[space.kind](space, said)} if compared else {}
    if len(space.points) > 2:
        drawn["front"] = front_figure(space, said)
    if len(space.fields) > 1 and len(space.points) > 3:
        drawn["importance"] = importance_figure(space, said)
    if of_sums(df):  # what follows is of rows
        return drawn
    others = {"layers": layers_figure(df, said), "roofline": _roofline(space, df, manifest)}
    return {**drawn, **{name: figure for name, figure in others.items() if figure}}


def _roofline(space: Space, df: pd.DataFrame, manifest: Mapping[str, Any]) -> go.Figure | None:
    """Of one run by one machine, which has one roof, at one fidelity or several."""
    machines = list(manifest["machines"].values())
    if len(machines) != 1 or any(field.name != "fidelity" for field in space.fields):
        return None
    return roofline_figure(df, {**manifest, "machine": machines[0]})
