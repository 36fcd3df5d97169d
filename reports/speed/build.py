"""How long does a simulation take? ``python -m reports.speed.build`` draws the page.

It reads ``measurements.json``, which ``measure.py`` writes, and draws ``index.html`` beside it and
``docs/cost-against-work.svg``.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from nmsim.files import write_folder
from nmsim.report.pages.document import document
from nmsim.report.pages.markup import Cell, Head, Safe, drawings, el, facts, joined, sheet
from nmsim.report.plots.theme import apply_theme
from reports.speed.speed_figures import Curve, curves, scientific
from reports.speed.speed_svg import COLOURS, LABELS, cost_svg

HERE = Path(__file__).resolve().parent
DOCS = HERE.parents[1] / "docs"
SVG = "cost-against-work.svg"
QUESTION = "How long does a simulation take?"
TITLE = "CPU time of a simulation against its work"

_HEADS = [
    Head("series"),
    Head("fidelity"),
    Head("masks", "N:M"),
    Head("largest GEMM", "MACs", number=True),
    Head("its time", "s, CPU", number=True),
    Head("slope", "log time / log MACs", "three largest sizes, all if flat", number=True),
    Head("time of a unit", "ns, largest GEMM", number=True),
    Head("unit"),
    Head("slowest over fastest run", "median over sizes", number=True),
]

_SWEPT = {
    "experiment": Head("sweep"),
    "points": Head("points", number=True),
    "rows": Head("rows stored", number=True),
    "wall_s": Head("time", "s, wall", number=True),
    "cpu_s": Head("processors", "s, CPU", number=True),
    "ms_per_point": Head("a point", "ms, CPU", number=True),
    "most_mib": Head("memory", "MiB, of the largest process", number=True),
    "store_mib": Head("store", "MiB on disk", number=True),
}

CAPTION = (
    "Machines: systolic-128x128-2to4 (lock-step) and systolic-128x128-intersecting (groups of 4, "
    "look-ahead 4). No recipe: "
    "masks are random and made beforehand, so that pruning is not in the times. Points are medians "
    "of warm runs, bars reach from the fastest to the slowest of one "
    "measurement. Two measurements half an hour apart on this shared machine differed by up to a "
    "quarter where runs take longest. Source: measurements.json."
)


def measured(folder: Path = HERE) -> dict[str, Any]:
    """What the measuring script wrote."""
    return dict(json.loads((folder / "measurements.json").read_text(encoding="utf-8")))


def swept(folder: Path = HERE) -> dict[str, Any]:
    """What sweeps took, as the script wrote it that ran them."""
    return dict(json.loads((folder / "sweeps.json").read_text(encoding="utf-8")))


def statements(found: Sequence[Curve]) -> list[str]:
    """What the curves say, in words and their own figures."""
    by = {(curve.series, curve.fidelity): curve for curve in found}
    flat = [by["lock-step, no bits", fidelity] for fidelity in ("cycle", "analytical")]
    medians = [point.median for curve in flat for point in curve.points]
    bits = by["lock-step, bits", "cycle"]
    both, closed = (by["intersecting", fidelity] for fidelity in ("cycle", "analytical"))
    first, last = flat[0].points[0].macs, flat[0].points[-1].macs
    whole = both.points[-1]
    work = f"{scientific(first)} to {scientific(last)} MACs"
    flat_time = f"{1e3 * min(medians):.2f} to {1e3 * max(medians):.2f} ms"
    read, step, closed_read = (1e12 * (curve.per_unit or 0.0) for curve in (bits, both, closed))
    spreads = [curve.spread for curve in found]
    return [
        (
            f"A lock-step array whose masks need no bits takes {flat_time} from {work}: folds that "
            "repeat are counted once."
        ),
        (
            f"A mask that the selectors do not cover is read bit by bit, {read / 1e3:.1f} ns each: "
            f"time grows as MACs to the power {bits.slope:.2f}, for a cube has N·K bits. The "
            "analytical twin looks at none of them."
        ),
        (
            f"An intersecting array takes {step:.0f} ps of one thread for every PE and group of K "
            f"that it steps through: {whole.median:.2g} s for {scientific(whole.macs)} MACs, "
            f"growing as MACs to the power {both.slope:.2f}. Its analytical twin reads both masks, "
            f"{closed_read / 1e3:.0f} ns a bit, and grows by {closed.slope:.2f}."
        ),
        (
            f"The slowest run of a size took {min(spreads):.1f} to {max(spreads):.1f} times as "
            "long as the fastest (median over sizes, by curve); runs of a fraction of a "
            "millisecond vary most."
        ),
    ]


def _table(found: Sequence[Curve]) -> Safe:
    rows = []
    for curve in found:
        last = curve.points[-1]
        unit = curve.per_unit
        rows.append(
            [
                Cell(curve.series),
                Cell(curve.fidelity),
                Cell(curve.masks),
                Cell(scientific(last.macs), key=last.macs),
                Cell(f"{last.median:.3g}", key=last.median),
                Cell(f"{curve.slope:.2f}", key=curve.slope),
                Cell("–" if unit is None else f"{1e9 * unit:.3g}", key=unit),
                Cell(curve.unit or "none: flat"),
                Cell(f"{curve.spread:.2f}", key=curve.spread),
            ]
        )
    return sheet(_HEADS, rows, "")


def _swept(data: Mapping[str, Any]) -> Safe:
    """What whole sweeps took, a line each."""
    told = [[run[name] for name in _SWEPT] for run in data["ran"]]
    rows = [
        [Cell(one) if isinstance(one, str) else Cell(f"{one:,}", key=one) for one in line]
        for line in told
    ]
    held = data["conditions"]
    text = (
        f"{held['cpu']}, {held['cores']} cores, load before {held['load_average_before'][0]}, "
        f"numba {held['numba']}, nmsim {held['nmsim']}; a process per core, from the start of "
        "the command to its end; every point has another machine. ResNet-50's are a training step "
        "of 8 to 17 samples, half of them on an array with selectors, its mapper and dense twin, "
        "half on an A100. Source: sweeps.json, of python -m reports.speed.sweeps."
    )
    return joined([sheet(list(_SWEPT.values()), rows, ""), el("p", text, class_="caption")])


def figure(found: Sequence[Curve], conditions: Mapping[str, Any]) -> go.Figure:
    """Time against MACs, both axes logarithmic."""
    drawn = go.Figure()
    for curve in found:
        points, cycle = curve.points, curve.fidelity == "cycle"
        drawn.add_scatter(
            name=f"{LABELS[curve.series]}, {curve.fidelity}",
            x=[point.macs for point in points],
            y=[point.median for point in points],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [point.most - point.median for point in points],
                "arrayminus": [point.median - point.least for point in points],
                "thickness": 1,
                "width": 3,
            },
            mode="lines+markers",
            line={"color": COLOURS[curve.series], "dash": "solid" if cycle else "dash", "width": 2},
            marker={"size": 8, "symbol": "circle" if cycle else "circle-open"},
            hovertext=[
                f"{curve.series}, {curve.fidelity}, {p.size}³: {p.median:.3g} s "
                f"({p.least:.3g} to {p.most:.3g}, {p.runs} runs)"
                for p in points
            ],
            hoverinfo="text",
        )
    axis = {"type": "log", "exponentformat": "power", "dtick": 1}
    drawn.update_xaxes(title="MACs of the dense GEMM, M·N·K", **axis)
    drawn.update_yaxes(title="CPU time of a simulation [s]", **axis)
    subtitle = (
        f"cubes M = N = K · 128×128 arrays · {conditions['cpu']}, {conditions['threads']} thread · "
        f"nmsim {conditions['nmsim']}"
    )
    return apply_theme(drawn, TITLE, subtitle, 560, 132)


def page(data: Mapping[str, Any]) -> str:
    """The whole page."""
    found, conditions = curves(data), data["conditions"]
    drawn = drawings({"cost": figure(found, conditions)})["cost"]
    pairs = [(name.replace("_", " "), str(value)) for name, value in conditions.items()]
    parts = [
        el(
            "header",
            el("div", f"nmsim {conditions['nmsim']} · benchmark", class_="eyebrow"),
            el("h1", QUESTION),
            *(el("p", text, class_="lead") for text in statements(found)),
        ),
        drawn,
        el("p", CAPTION, class_="caption"),
        el("h2", "Growth and spread"),
        _table(found),
        el("h2", "Whole sweeps"),
        _swept(swept()),
        el("h2", "Conditions"),
        facts(pairs),
        el("h2", "How to get it again"),
        el("pre", el("code", "python -m reports.speed.measure && python -m reports.speed.build")),
        el(
            "p",
            "Every run is in ",
            el("a", "measurements.json", href="measurements.json"),
            "; other machines, and other programs on this one, give other times.",
        ),
    ]
    return document(QUESTION, joined(parts))


def svg(data: Mapping[str, Any]) -> str:
    """The figure of the docs."""
    conditions = data["conditions"]
    found = curves(data)
    runs = [point.runs for curve in found for point in curve.points]
    notes = [
        (
            "Cubes M = N = K on 128×128 arrays; masks made beforehand, kernels compiled. Medians "
            f"of {min(runs)} to {max(runs)} warm runs,"
        ),
        (
            f"bars from the fastest to the slowest; CPU time of {conditions['threads']} thread, "
            f"{conditions['cpu']}, nmsim {conditions['nmsim']}, numba {conditions['numba']}."
        ),
    ]
    return cost_svg(found, TITLE, notes)


def main(arguments: list[str]) -> None:
    """Write the page beside this script and the figure into the docs, unless told otherwise."""
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the page")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the figure")
    told = parser.parse_args(arguments)
    data = measured()
    write_folder(told.out, {"index.html": page(data)})
    write_folder(told.docs, {SVG: svg(data)})
    print(f"{told.out / 'index.html'}, {told.docs / SVG}")


if __name__ == "__main__":
    main(sys.argv[1:])
