"""A training run for people: tables for a terminal, one page, the files that it is stored in.

All read the document that `nmsim.run.training.training_document` makes, so that a stored run can be
drawn again.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from rich.table import Table
from rich.text import Text

from nmsim.files import write_folder
from nmsim.report.capacity import corrected, memory_said, unfitted
from nmsim.report.evidence import beyond_tile, measured_on
from nmsim.report.markup import Cell, Head, Safe, drawings, el, facts, fields, sheet
from nmsim.report.notation import duration, grouped, percent, printable, ratio, si, significant
from nmsim.report.page import PAGE, document
from nmsim.report.theme import ALL_COLOUR, DENSE_COLOUR, apply_theme, context, escaped
from nmsim.report.training_file import RUN

__all__ = ["render_training", "segments_csv", "write_training"]

SEGMENTS = "segments.csv"

Document = Mapping[str, Any]

# Okabe and Ito, as phases have them, but other meanings: none of these figures shows phases.
_COLOURS = {
    "dense": DENSE_COLOUR,
    "decay": "#E69F00",
    "structure": "#56B4E9",
    "sparse": "#0072B2",
}
_STAGES = {
    "dense": "before the schedule prunes",
    "decay": "pruned weights fade out: dense for hardware",
    "structure": "binary masks, not yet at their patterns",
    "sparse": "masks at their patterns",
}
_HEADS = (
    Head("stage", "", "what the schedule does"),
    Head("masks", "role N:M", "offered to the hardware"),
    Head("from step", "", "counted from 0", number=True),
    Head("steps", "", "", number=True),
    Head("step", "", "time of one step", number=True),
    Head(
        "speed-up",
        "of the step ×",
        "time of a dense step over this, masks and all else included",
        number=True,
    ),
    Head("time", "", "of the segment", number=True),
    Head("share", "%", "of the run's time", number=True),
    Head("FLOPs", "", "two for every MAC whose mask bits are both set", number=True),
    Head("DRAM", "", "read and written", number=True),
)


def _cells(segment: Document) -> list[str]:
    return [
        segment["stage"],
        segment["masks"],
        grouped(segment["first_step"]),
        grouped(segment["steps"]),
        duration(segment["step_us"]),
        ratio(segment["speedup"]),
        _long(segment["time_s"]),
        percent(segment["time_share"]),
        si(segment["flops"], "FLOP"),
        si(segment["dram_bytes"], "B"),
    ]


def _long(seconds: float) -> str:
    """Microseconds as text, in a unit up to days.

    Examples
    --------
    >>> _long(20.9), _long(7200.0), _long(2.7e6)
    ('20.90 s', '2.000 h', '31.25 d')
    """
    for divisor, unit in ((86400.0, "d"), (3600.0, "h")):
        if seconds >= 2 * divisor or (unit == "h" and seconds >= divisor):
            return f"{significant(seconds / divisor)} {unit}"
    return duration(seconds * 1e6)


def _sums(run: Document) -> list[tuple[str, str]]:
    total, result = run["total"], run["inference"]
    kept, index = result["value_bits"] / 8, result["metadata_bits"] / 8
    basis = run["manifest"].get("mask_basis", "")
    time, dense = _long(total["time_s"]), _long(total["dense_time_s"])
    macs = [f"{name} {si(total[f'macs_{name}'], '')}" for name in ("dense", "issued", "useful")]
    counts = [si(result[name], "") for name in ("parameters_kept", "parameters")]
    stored = [si(size, "B") for size in (kept + index, index, result["dense_bits"] / 8)]
    formats = dict.fromkeys(segment["formats"] for segment in run["segments"])
    return [
        ("operands ran in", "; then ".join(formats)),
        (
            "time",
            _gained(total, time, dense),
        ),
        *_beyond(total),
        *_estimate(total),
        ("making masks", f"{percent(total['mask_share'])} % of the time: {basis}"),
        ("training FLOPs", _flops(total["flops"], total["dense_flops"])),
        ("MACs", ", ".join(macs)),
        ("DRAM traffic", " of the dense run's ".join(_bytes(total))),
        ("inference FLOPs", _flops(result["flops"], result["flops_dense"])),
        (
            "weights of GEMMs",
            "{} kept of {}; {} stored, {} of it metadata; dense {}".format(*counts, *stored),
        ),
    ]


def _beyond(total: Document) -> list[tuple[str, str]]:
    """The share of the time beyond what was measured, where the rows of a step told it."""
    share = total.get("beyond_share")
    said = "of the GEMMs' time: nothing like them was measured, or not on this machine"
    return [] if share is None else [("beyond what was measured", f"{percent(share)} % {said}")]


def _said(total: Document) -> str:
    """What a step of the run has beside its GEMMs."""
    return "with masks" if total.get("elementwise_share") is None else "of all steps, an estimate,"


def _gained(total: Document, time: str, dense: str) -> str:
    gain = f"{ratio(total['speedup'])}×{_of_gemms(total)}"
    return f"{time}; dense {dense}, speed-up {_said(total)} {gain}"


def _of_gemms(total: Document) -> str:
    if total.get("elementwise_share") is None:
        return ""
    return f"; of GEMMs alone {ratio(total['gemms_speedup'])}×"


def _estimate(total: Document) -> list[tuple[str, str]]:
    """How much of the time is no GEMM, where that was estimated."""
    share = total.get("elementwise_share")
    if share is None:
        return []
    return [("beside GEMMs", f"{percent(share)} % of the time, an estimate by bytes and launches")]


def _bytes(total: Document) -> list[str]:
    return [si(total[name], "B") for name in ("dram_bytes", "dense_dram_bytes")]


def _flops(flops: int, dense: int) -> str:
    return f"{si(flops, 'FLOP')}; dense {si(dense, 'FLOP')}, {percent(flops / dense)} % of them"


def render_training(run: Document) -> list[Table]:
    """A training run for a terminal: one line per segment, then the sums."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for head in _HEADS:
        heading = Text(f"{head.name}\n{head.unit}")
        table.add_column(heading, justify="right" if head.number else "left", no_wrap=True)
    for segment in run["segments"]:
        table.add_row(*(Text(printable(cell)) for cell in _cells(segment)))
    sums = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for name, text in _sums(run):
        sums.add_row(Text(name, style="bold"), Text(text))
    return [table, Table(box=None, show_header=False), sums]


def segments_csv(run: Document) -> str:
    """The segments of a training run as CSV, one line each."""
    return pd.DataFrame(run["segments"]).to_csv(index=False, lineterminator="\n")


def write_training(folder: Path, run: Document) -> None:
    """Write ``training.json``, ``segments.csv`` and ``index.html`` into a folder, all or none.

    Raises
    ------
    SpecError
        if the file system refuses.
    """
    text = json.dumps(run, indent=2, allow_nan=False) + "\n"
    write_folder(folder, {RUN: text, SEGMENTS: segments_csv(run), PAGE: _page(run)})


def _page(run: Document) -> str:
    about = run["manifest"]
    title = f"Training {about['model']} on {about['hardware']}"
    figure = drawings({"run": _figure(run)})["run"]
    return document(
        title,
        _header(title, about),
        _tiles(run),
        el("h2", "The run"),
        figure,
        el("p", _caption(run), class_="caption"),
        el("h2", "Segments"),
        el("p", "Steps that hardware sees alike; each is simulated once.", class_="lead"),
        sheet(_HEADS, ([Cell(text) for text in _cells(s)] for s in run["segments"]), "sortable"),
        el("h2", "Sums"),
        facts(_sums(run)),
        el("h2", "How to get it again"),
        el("pre", el("code", about["command"])),
        facts(
            (name.replace("_", " "), about[name])
            for name in ("model_source", "recipe_source", "tensors")
        ),
        el("details", el("summary", "Machine"), facts(fields(about.get("machine")))),
        el("footer", f"Written by nmsim {about['nmsim']}. No part of this page is from a network."),
    )


def _header(title: str, about: Document) -> Safe:
    names = ("recipe", "pattern", "batch", "steps", "fidelity", "seed")
    tags = (el("li", el("span", name), " ", el("b", _setting(about.get(name)))) for name in names)
    return el(
        "header",
        el("div", f"nmsim {about['nmsim']} · training run", class_="eyebrow"),
        el("h1", title),
        *(
            el("p", said, class_="lead")
            for said in (memory_said(about), unfitted(about), measured_on(about), corrected(about))
            if said
        ),
        el("ul", *tags, class_="tags"),
    )


def _setting(value: object) -> str:
    return grouped(value) if isinstance(value, int) else str(value)


def _tiles(run: Document) -> Safe:
    total, result = run["total"], run["inference"]
    stored = (result["value_bits"] + result["metadata_bits"]) / result["dense_bits"]
    shown = [
        (
            "Speed-up of the run",
            f"{ratio(total['speedup'])}×",
            f"{_tile_words(total)}, over the dense run",
        ),
        *([] if total.get("beyond_share") is None else [beyond_tile(total)]),
        ("Time", _long(total["time_s"]), f"{grouped(total['steps'])} steps"),
        ("Training FLOPs", f"{percent(total['flops_share'])} %", "of the dense run's"),
        (
            "Inference FLOPs",
            f"{percent(result['flops'] / result['flops_dense'])} %",
            "of the dense network's",
        ),
        ("Weights", f"{percent(stored)} %", "of the dense bits, metadata included"),
    ]
    kinds = ("what", "much", "more")
    parts = (
        el("div", *(el("div", text, class_=k) for k, text in zip(kinds, tile, strict=True)),
           class_="tile")
        for tile in shown
    )  # fmt: skip
    return el("div", *parts, class_="tiles")


def _tile_words(total: Document) -> str:
    if total.get("elementwise_share") is None:
        return "masks included"
    return f"an estimate of all of it, GEMMs alone {ratio(total['gemms_speedup'])}×"


def _caption(run: Document) -> str:
    stages = dict.fromkeys(segment["stage"] for segment in run["segments"])
    said = "; ".join(f"{stage}: {_STAGES[stage]}" for stage in stages)
    return (
        "Left: areas are time; the dashed line is a dense step, in the machine's own number "
        f"format. Right: time until a step, and that of the dense run. Stages: {said}."
    )


def _figure(run: Document) -> go.Figure:
    about, total = run["manifest"], run["total"]
    step_unit, step_scale = _unit(run["segments"][0]["dense_step_us"])
    run_unit, run_scale = _unit(total["dense_time_s"] * 1e6)
    figure = make_subplots(
        cols=2,
        horizontal_spacing=0.1,
        subplot_titles=(f"time of a step, {step_unit}", f"time of the run so far, {run_unit}"),
    )
    shown: set[str] = set()
    spent, corners = 0.0, [(0.0, 0.0)]
    for segment in run["segments"]:
        _add_segment(figure, segment, step_scale, legend=segment["stage"] not in shown)
        shown.add(segment["stage"])
        spent += segment["time_s"] * 1e6
        corners.append((segment["first_step"] + segment["steps"], spent / run_scale))
    steps = total["steps"]
    dense = run["segments"][0]["dense_step_us"] / step_scale
    figure.add_trace(_line([(0, dense), (steps, dense)], "dense run", dash="dash"), 1, 1)
    line = _line(corners, about["recipe"], colour=_COLOURS["sparse"])
    figure.add_trace(line, 1, 2)
    end = total["dense_time_s"] * 1e6 / run_scale
    figure.add_trace(_line([(0, 0.0), (steps, end)], "", dash="dash"), 1, 2)
    apply_theme(figure, "Time over the training run", context(about), 420, 120)
    figure.update_xaxes(title_text="training step", range=[0, steps])
    figure.update_yaxes(rangemode="tozero")
    return figure


def _add_segment(figure: go.Figure, segment: Document, scale: float, *, legend: bool) -> None:
    first, height = segment["first_step"], segment["step_us"] / scale
    text = (
        f"{segment['stage']}: {segment['masks']}, speed-up of the step {ratio(segment['speedup'])}×"
    )
    bar = go.Bar(
        x=[first],
        y=[height],
        width=[segment["steps"]],
        offset=0,
        name=segment["stage"],
        showlegend=legend,
        legendgroup=segment["stage"],
        marker={"color": _COLOURS[segment["stage"]], "line": {"color": "#FFFFFF", "width": 1}},
        hovertext=[escaped(text)],
        hoverinfo="text",
    )
    figure.add_trace(bar, 1, 1)


def _line(
    points: Iterable[tuple[float, float]], name: str, *, dash: str = "solid", colour: str = ""
) -> go.Scatter:
    x, y = zip(*points, strict=True)
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        name=escaped(name),
        showlegend=bool(name),
        line={"color": colour or ALL_COLOUR, "dash": dash, "width": 2},
    )


def _unit(microseconds: float) -> tuple[str, float]:
    units = (("d", 86400e6), ("h", 3600e6), ("s", 1e6), ("ms", 1e3))
    return next(((name, us) for name, us in units if microseconds >= 2 * us), ("µs", 1.0))
