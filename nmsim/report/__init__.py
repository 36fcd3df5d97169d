"""Results for people: tables, figures and one self-contained page, made from tables alone.

Everything here reads a ``DataFrame`` with the columns of `nmsim.machines.COLUMNS` and a manifest,
never an object of the simulator, so that a stored result can be drawn again years later.

A manifest is a JSON object. ``kind`` is "simulate" (one model, machine, recipe, pattern, batch and
fidelity), "sweep" (a list of each, and the columns of `SWEPT` in the table) or "validate" (measured
GEMMs: its table is what `nmsim.measured.predict` predicts, its manifest what
`nmsim.measured.accuracy` says of that); `nmsim.run.manifest` has a type for each.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nmsim.report.capacity import headline, on
    from nmsim.report.evidence import evidence_said
    from nmsim.report.images import Look, write_images
    from nmsim.report.pages.document import document
    from nmsim.report.pages.measured_steps import steps_page
    from nmsim.report.pages.page import write_report
    from nmsim.report.pages.training import segments_csv, write_training
    from nmsim.report.plots.run import figures
    from nmsim.report.reasons import policy_said
    from nmsim.report.results import load_results, write_csv
    from nmsim.report.rows import records, to_csv, to_json
    from nmsim.report.step import step_name, step_table
    from nmsim.report.summary import SWEPT, phase_summary, point_summaries
    from nmsim.report.table import read_results, read_shown, read_sweep
    from nmsim.report.terminal.cost import cost_said, render_cost
    from nmsim.report.terminal.measured_steps import render_steps
    from nmsim.report.terminal.memory import render_memory
    from nmsim.report.terminal.run import render, render_sweep
    from nmsim.report.terminal.selection import Room, Selection
    from nmsim.report.terminal.serving import render_serving
    from nmsim.report.terminal.training import render_training
    from nmsim.report.terminal.validation import render_attention, render_validation
    from nmsim.report.training_file import RUN, read_training
    from nmsim.run.rows.frame import frame

__all__ = [
    "RUN",
    "SWEPT",
    "Look",
    "Room",
    "Selection",
    "cost_said",
    "document",
    "evidence_said",
    "figures",
    "frame",
    "headline",
    "load_results",
    "on",
    "phase_summary",
    "point_summaries",
    "policy_said",
    "read_results",
    "read_shown",
    "read_sweep",
    "read_training",
    "records",
    "render",
    "render_attention",
    "render_cost",
    "render_memory",
    "render_serving",
    "render_steps",
    "render_sweep",
    "render_training",
    "render_validation",
    "segments_csv",
    "step_name",
    "step_table",
    "steps_page",
    "to_csv",
    "to_json",
    "write_csv",
    "write_images",
    "write_report",
    "write_training",
]

_HOMES = {
    "Look": "nmsim.report.images",
    "RUN": "nmsim.report.training_file",
    "Room": "nmsim.report.terminal.selection",
    "Selection": "nmsim.report.terminal.selection",
    "SWEPT": "nmsim.report.summary",
    "cost_said": "nmsim.report.terminal.cost",
    "document": "nmsim.report.pages.document",
    "evidence_said": "nmsim.report.evidence",
    "figures": "nmsim.report.plots.run",
    "frame": "nmsim.run.rows.frame",
    "headline": "nmsim.report.capacity",
    "load_results": "nmsim.report.results",
    "on": "nmsim.report.capacity",
    "phase_summary": "nmsim.report.summary",
    "point_summaries": "nmsim.report.summary",
    "policy_said": "nmsim.report.reasons",
    "read_results": "nmsim.report.table",
    "read_shown": "nmsim.report.table",
    "read_sweep": "nmsim.report.table",
    "read_training": "nmsim.report.training_file",
    "records": "nmsim.report.rows",
    "render": "nmsim.report.terminal.run",
    "render_attention": "nmsim.report.terminal.validation",
    "render_cost": "nmsim.report.terminal.cost",
    "render_memory": "nmsim.report.terminal.memory",
    "render_serving": "nmsim.report.terminal.serving",
    "render_steps": "nmsim.report.terminal.measured_steps",
    "render_sweep": "nmsim.report.terminal.run",
    "render_training": "nmsim.report.terminal.training",
    "render_validation": "nmsim.report.terminal.validation",
    "segments_csv": "nmsim.report.pages.training",
    "step_name": "nmsim.report.step",
    "step_table": "nmsim.report.step",
    "steps_page": "nmsim.report.pages.measured_steps",
    "to_csv": "nmsim.report.rows",
    "to_json": "nmsim.report.rows",
    "write_csv": "nmsim.report.results",
    "write_images": "nmsim.report.images",
    "write_report": "nmsim.report.pages.page",
    "write_training": "nmsim.report.pages.training",
}


def _found(name: str) -> Any:
    # As in the package's own face: what draws pages takes a third of a second to load, and a
    # command that prints a table needs none of it.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if not TYPE_CHECKING:
    __getattr__ = _found
