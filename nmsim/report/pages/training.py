"""A training run as a page, and the files that it is stored in.

All read the document that `nmsim.run.training.training_document` makes, so that a stored run can be
drawn again.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from nmsim.files import write_folder
from nmsim.report.capacity import memory_said, rests_on
from nmsim.report.evidence import beyond_tile
from nmsim.report.notation import grouped, percent, ratio
from nmsim.report.pages.document import document
from nmsim.report.pages.machine import machine_section
from nmsim.report.pages.markup import Cell, Safe, command_box, drawings, el, facts, sheet
from nmsim.report.pages.page import PAGE
from nmsim.report.plots.training import training_figure
from nmsim.report.training import SEGMENT_HEADS, run_sums, segment_cells, span
from nmsim.report.training_file import RUN

__all__ = ["segments_csv", "write_training"]

SEGMENTS = "segments.csv"

Document = Mapping[str, Any]

_STAGES = {
    "dense": "before the schedule prunes",
    "decay": "pruned weights fade out: dense for hardware",
    "structure": "binary masks, not yet at their patterns",
    "sparse": "masks at their patterns",
}


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
    figure = drawings({"run": training_figure(run)})["run"]
    return document(
        title,
        _header(title, about),
        _tiles(run),
        el("h2", "The run"),
        figure,
        el("p", _caption(run), class_="caption"),
        el("h2", "Segments"),
        el("p", "Steps that hardware sees alike; each is simulated once.", class_="lead"),
        _segments(run),
        el("h2", "Sums"),
        facts(run_sums(run)),
        el("h2", "How to get it again"),
        command_box(about["command"]),
        facts(
            (name.replace("_", " "), about[name])
            for name in ("model_source", "recipe_source", "tensors")
        ),
        el("details", el("summary", "Machine"), _machine(about)),
        el("footer", f"Written by nmsim {about['nmsim']}. No part of this page is from a network."),
    )


def _segments(run: Document) -> Safe:
    rows = ([Cell(text) for text in segment_cells(one)] for one in run["segments"])
    return sheet(SEGMENT_HEADS, rows, "sortable")


def _header(title: str, about: Document) -> Safe:
    names = ("recipe", "pattern", "batch", "steps", "fidelity", "seed")
    tags = (el("li", el("span", name), " ", el("b", _setting(about.get(name)))) for name in names)
    return el(
        "header",
        el("div", f"nmsim {about['nmsim']} · training run", class_="eyebrow"),
        el("h1", title),
        *(el("p", said, class_="lead") for said in (memory_said(about), *rests_on(about)) if said),
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
        ("Time", span(total["time_s"]), f"{grouped(total['steps'])} steps"),
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


def _machine(about: Document) -> Safe:
    return machine_section(str(about["hardware"]), about.get("machine") or {})
