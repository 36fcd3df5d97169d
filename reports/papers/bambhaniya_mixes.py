"""Tables 2 to 4 and 12 of Bambhaniya et al.: two patterns by layer, of which no time is printed."""

from typing import Any

import plotly.graph_objects as go

from nmsim.report.plots.theme import MACHINE_COLOURS, apply_theme
from nmsim.result import totals
from nmsim.run.point import Point, rows
from reports.papers.bench import AS_IS
from reports.papers.paper import Figures

__all__ = ["MIXES", "draw_mixes", "measure_mixes"]

MODEL = "t5-base"
MACHINES = ("ideal", "systolic-128x128-flexible", "a100-sxm4-80gb")
MIXES = (
    "mdgf-exponential-ff-1to4+qk-1to4",
    "mdgf-exponential-ff-1to8+qk-1to4",
    "mdgf-exponential-ff-1to8+qk-1to8",
    "mdgf-exponential-ff+qkv",
    "mdgf-exponential-ff-1to8+qkv-1to8",
)
"""From the least pruned to the most."""


def measure_mixes() -> dict[str, Any]:
    """Speed-up of the forward pass of T5-Base, whose queries and keys are layers of their own."""
    return {
        "model": MODEL,
        "gains": {
            machine: {recipe: _gain(recipe, machine) for recipe in MIXES} for machine in MACHINES
        },
    }


def _gain(recipe: str, machine: str) -> float:
    point = Point(
        model=MODEL,
        hardware=AS_IS.machine(machine),
        recipe=recipe,
        batch=1,
        phases=("forward",),
        fidelity="analytical",
        elementwise=False,
    )
    return float(totals(rows(point))["all"]["speedup"])


def draw_mixes(figures: Figures) -> go.Figure:
    """Speed-up of every mix on every machine."""
    drawn = go.Figure()
    for (machine, of), colour in zip(figures["gains"].items(), MACHINE_COLOURS, strict=False):
        drawn.add_bar(
            name=machine,
            x=[recipe.removeprefix("mdgf-exponential-") for recipe in of],
            y=list(of.values()),
            marker={"color": colour},
            hovertemplate=f"%{{x}}, {machine}: %{{y:.3f}}×<extra></extra>",
        )
    drawn.add_hline(y=1, line={"color": "#1F2933", "width": 1})
    drawn.update_yaxes(title="over dense", rangemode="tozero")
    return apply_theme(
        drawn,
        "What two patterns by layer gain",
        f"{figures['model']}, forward, one sample · analytical",
        430,
        112,
    )
