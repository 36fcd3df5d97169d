"""Results for people: tables, figures and one self-contained page, made from tables alone.

Everything here reads a ``DataFrame`` with the columns of `nmsim.machines.COLUMNS` and a manifest,
never an object of the simulator, so that a stored result can be drawn again years later.

A manifest is a JSON object. ``kind`` is "simulate" (one model, machine, recipe, pattern, batch and
fidelity), "sweep" (a list of each, and the columns of `SWEPT` in the table) or "validate" (measured
GEMMs: its table is what `nmsim.measured.predict` predicts, its manifest what
`nmsim.measured.accuracy` says of that); `nmsim.run.manifest` has a type for each.
"""

from nmsim.report.capacity import headline
from nmsim.report.memory_table import render_memory
from nmsim.report.page import document, page, write_report
from nmsim.report.plots import figures
from nmsim.report.step import step_name, step_table
from nmsim.report.summary import SWEPT, phase_summary, point_summaries
from nmsim.report.table import read_results, records, to_csv, to_json
from nmsim.report.terminal import render, render_sweep
from nmsim.report.training import render_training, segments_csv, write_training
from nmsim.report.training_file import RUN, read_training
from nmsim.report.validation_terminal import render_attention, render_validation

__all__ = [
    "RUN",
    "SWEPT",
    "document",
    "figures",
    "frame",
    "headline",
    "page",
    "phase_summary",
    "point_summaries",
    "read_results",
    "read_training",
    "records",
    "render",
    "render_attention",
    "render_memory",
    "render_sweep",
    "render_training",
    "render_validation",
    "segments_csv",
    "step_name",
    "step_table",
    "to_csv",
    "to_json",
    "write_report",
    "write_training",
]
