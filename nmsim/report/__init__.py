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
    from nmsim.report.cost_table import cost_said, render_cost
    from nmsim.report.evidence import evidence_said
    from nmsim.report.measured_steps import render_steps
    from nmsim.report.measured_steps_page import steps_page
    from nmsim.report.memory_table import render_memory
    from nmsim.report.page import document, write_report
    from nmsim.report.plots import figures
    from nmsim.report.reasons import policy_said
    from nmsim.report.rows import records, to_csv, to_json
    from nmsim.report.serving import render_serving
    from nmsim.report.step import step_name, step_table
    from nmsim.report.summary import SWEPT, phase_summary, point_summaries
    from nmsim.report.table import read_results
    from nmsim.report.terminal import render, render_sweep
    from nmsim.report.training import render_training, segments_csv, write_training
    from nmsim.report.training_file import RUN, read_training
    from nmsim.report.validation_terminal import render_attention, render_validation
    from nmsim.run.rows.frame import frame

__all__ = [
    "RUN",
    "SWEPT",
    "cost_said",
    "document",
    "evidence_said",
    "figures",
    "frame",
    "headline",
    "on",
    "phase_summary",
    "point_summaries",
    "policy_said",
    "read_results",
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
    "write_report",
    "write_training",
]

_HOMES = {
    "RUN": "nmsim.report.training_file",
    "SWEPT": "nmsim.report.summary",
    "cost_said": "nmsim.report.cost_table",
    "document": "nmsim.report.page",
    "evidence_said": "nmsim.report.evidence",
    "figures": "nmsim.report.plots",
    "frame": "nmsim.run.rows.frame",
    "headline": "nmsim.report.capacity",
    "on": "nmsim.report.capacity",
    "phase_summary": "nmsim.report.summary",
    "point_summaries": "nmsim.report.summary",
    "policy_said": "nmsim.report.reasons",
    "read_results": "nmsim.report.table",
    "read_training": "nmsim.report.training_file",
    "records": "nmsim.report.rows",
    "render": "nmsim.report.terminal",
    "render_attention": "nmsim.report.validation_terminal",
    "render_cost": "nmsim.report.cost_table",
    "render_memory": "nmsim.report.memory_table",
    "render_serving": "nmsim.report.serving",
    "render_steps": "nmsim.report.measured_steps",
    "render_sweep": "nmsim.report.terminal",
    "render_training": "nmsim.report.training",
    "render_validation": "nmsim.report.validation_terminal",
    "segments_csv": "nmsim.report.training",
    "step_name": "nmsim.report.step",
    "step_table": "nmsim.report.step",
    "steps_page": "nmsim.report.measured_steps_page",
    "to_csv": "nmsim.report.rows",
    "to_json": "nmsim.report.rows",
    "write_report": "nmsim.report.page",
    "write_training": "nmsim.report.training",
}


def _found(name: str) -> Any:
    # As in the package's own face: what draws pages takes a third of a second to load, and a
    # command that prints a table needs none of it.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if not TYPE_CHECKING:
    __getattr__ = _found
