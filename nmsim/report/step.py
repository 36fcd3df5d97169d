"""A step side by side: every phase and the whole, with what masks cost and promise."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from nmsim.gemm import PHASES
from nmsim.report.notation import LOSS, MISSING, gain, grouped, percent, prefix, ratio, significant
from nmsim.report.pages.markup import Cell, Head, Safe, sheet
from nmsim.report.terminal.layout import LOSS_MEANS, loss_marked

__all__ = ["step_name", "step_sheet", "step_table"]

Total = Mapping[str, Any]
Totals = Mapping[str, Total]


@dataclass(frozen=True)
class _Line:
    """A figure of a step: what it is, its unit, and how it is written."""

    name: str
    unit: str
    key: str
    written: Callable[[Any], str]


_STEPS = {
    "train": "training step",
    "infer": "step of inference",
    "prefill": "step of prefill",
    "decode": "step of decoding",
}


def step_name(manifest: Mapping[str, Any]) -> str:
    """What the step of a run is called; a manifest that names no scenario is of training."""
    return _STEPS[manifest.get("scenario") or "train"]


_GAINS = ("speedup", "step_speedup")
"""Figures of the run itself that may be losses."""


def step_table(totals: Totals, name: str = _STEPS["train"]) -> Table:
    """The step as a table for a terminal; in 80 columns long names of figures are in two lines.

    Parameters
    ----------
    totals
        What `nmsim.result.totals` says of a run's rows.
    name
        What the step is called (``step_name``).
    """
    phases = _phases(totals)
    table = Table(
        title=Text(" "), box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold",
        caption_justify="left",
    )  # fmt: skip
    table.add_column(Text(name))
    table.add_column("", no_wrap=True)
    for phase in phases:
        table.add_column(Text(_headed(phase, phases)), justify="right", no_wrap=True, min_width=10)
    for line in _lines(totals):
        written = gain if line.key in _GAINS else line.written
        cells = [written(_of(totals, phase, phases).get(line.key)) for phase in phases]
        table.add_row(Text(line.name), Text(line.unit), *map(loss_marked, cells))
        if any(cell.startswith(LOSS) for cell in cells):
            table.caption = Text(LOSS_MEANS)
    return table


def step_sheet(totals: Totals) -> Safe:
    """The step as an HTML table for a page."""
    phases = _phases(totals)
    heads = [Head("figure"), Head("unit"), *(_head(phase, phases) for phase in phases)]
    rows = []
    for line in _lines(totals):
        values = [_of(totals, phase, phases).get(line.key) for phase in phases]
        cells = (
            Cell(line.written(value), MISSING if value is None else f"{value:,}", value)
            for value in values
        )
        rows.append([Cell(line.name), Cell(line.unit), *cells])
    return sheet(heads, rows, "step")


def _head(phase: str, phases: Sequence[str]) -> Head:
    return Head(_headed(phase, phases), number=True)


def _headed(phase: str, phases: Sequence[str]) -> str:
    return "step" if phase == "all" and len(phases) == len(PHASES) + 1 else phase


def _phases(totals: Totals) -> list[str]:
    """The phases there are, and all of them if there is more than one."""
    found = [str(phase) for phase in PHASES if phase in totals]
    return [*found, "all"] if len(found) > 1 else found


def _of(totals: Totals, phase: str, phases: Sequence[str]) -> Total:
    """The figures of a phase; where there is one, those of the whole step, such as its tokens."""
    return totals["all" if len(phases) == 1 else phase]


def _lines(totals: Totals) -> list[_Line]:
    """The figures that the rows tell; those that no phase has are left out."""
    whole = totals["all"]
    time, us = _scaled(totals, ("dense_time_us", "time_us", "mask_us", "step_us", "dense_step_us"))
    macs, mac_letter = _scaled(totals, ("macs_dense",))
    bits, bit_letter = _scaled(totals, ("bit_operations_issued",))
    size, byte_letter = _scaled(totals, ("dram_read_bytes", "dram_write_bytes"))
    masks = _Line("speed-up of GEMMs, masks alone", "×", "mask_speedup", ratio)
    paying = _Line("speed-up of GEMMs, where masks pay", "×", "paying_speedup", ratio)
    unit = {"": "µs", "k": "ms", "M": "s"}.get(us, f"{us}µs")
    images = _Line("images put together", unit, "scatter_us", time)
    exchange = _Line("communication, estimated", unit, "communication_us", time)
    once = _Line("once: weights pruned and packed", unit, "once_us", time)
    waits = _Line("waiting for the host, estimated", unit, "host_wait_us", time)
    lines = [
        _Line("GEMMs, dense", unit, "dense_time_us", time),
        _Line("GEMMs", unit, "time_us", time),
        *(
            _Line(f"masks{of}", unit, key, time)
            for of, key in (
                ("", "mask_us"),
                (", of weights", "mask_weight_us"),
                (", of activations", "mask_activation_us"),
                (", of gradients", "mask_gradient_us"),
            )
            if whole.get(key)
        ),
        _Line("beside GEMMs, estimated", unit, "elementwise_us", time),
        *([waits] if whole.get("host_wait_us") else []),
        *([images] if whole.get("scatter_us") else []),
        *([exchange] if whole.get("communication_us") else []),
        _Line("step, dense", unit, "dense_step_us", time),
        _Line("step", unit, "step_us", time),
        _Line("masks, of the step", "%", "mask_share", percent),
        *([once] if whole.get("once_us") else []),
        _Line("speed-up of GEMMs", "×", "speedup", ratio),
        _Line("GEMMs beyond what was measured", "% of time", "beyond_share", percent),
        *([masks] if _differs(totals, "mask_speedup") else []),
        *([paying] if _differs(totals, "paying_speedup") else []),
        _Line("speed-up of GEMMs, by formats", "×", "format_speedup", ratio),
        _Line("speed-up of the step", "×", "step_speedup", ratio),
        *(
            _Line(name, unit, key, significant)
            for name, unit, key in _SERVED
            if whole.get(key) is not None
        ),
        _Line("ideal speed-up (MAC ratio)", "×", "speedup_ideal", ratio),
        _Line("MACs in GEMMs that masks shorten", "%", "sparse_share", percent),
        _Line("MACs, dense", f"{mac_letter}MAC", "macs_dense", macs),
        _Line("MACs issued", f"{mac_letter}MAC", "macs_issued", macs),
        _Line("MACs useful", f"{mac_letter}MAC", "macs_useful", macs),
        _Line("bit-operations, issued", f"{bit_letter}BOP", "bit_operations_issued", bits),
        _Line("bit-operations, useful", f"{bit_letter}BOP", "bit_operations_useful", bits),
        _Line("DRAM read", f"{byte_letter}B", "dram_read_bytes", size),
        _Line("DRAM written", f"{byte_letter}B", "dram_write_bytes", size),
    ]
    return [line for line in lines if whole.get(line.key) is not None]


_SERVED = (
    ("tokens, dense", "1/s", "dense_tokens_per_s"),
    ("tokens", "1/s", "tokens_per_s"),
    ("time per token", "ms", "ms_per_token"),
)
"""What a step of inference serves: of all samples a second, and of one sample."""


def _differs(totals: Totals, key: str) -> bool:
    """Whether a speed-up is another than that of the GEMMs as they run."""
    return any(total.get(key) not in {None, total["speedup"]} for total in totals.values())


def _scaled(totals: Totals, keys: Sequence[str]) -> tuple[Callable[[Any], str], str]:
    """How numbers of several lines are written under one SI prefix, and its letter."""
    largest = max((total.get(key) or 0 for total in totals.values() for key in keys), default=0)
    divisor, letter = prefix(largest, below=1e4)

    def written(value: float | None) -> str:
        if value is None or letter:
            return grouped(None if value is None else value / divisor, 2)
        return grouped(value, 2) if isinstance(value, float) else grouped(value)

    return written, letter
