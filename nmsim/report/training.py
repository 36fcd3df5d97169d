"""What a training run says of its segments and of its whole, in words and figures."""

from collections.abc import Mapping
from typing import Any

from nmsim.report.notation import duration, grouped, percent, ratio, si, significant
from nmsim.report.pages.markup import Head

__all__ = ["SEGMENT_HEADS", "run_sums", "segment_cells", "span"]

Document = Mapping[str, Any]

SEGMENT_HEADS = (
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


def segment_cells(segment: Document) -> list[str]:
    """What a line of the table of segments says, in the order of ``SEGMENT_HEADS``."""
    return [
        segment["stage"],
        segment["masks"],
        grouped(segment["first_step"]),
        grouped(segment["steps"]),
        duration(segment["step_us"]),
        ratio(segment["speedup"]),
        span(segment["time_s"]),
        percent(segment["time_share"]),
        si(segment["flops"], "FLOP"),
        si(segment["dram_bytes"], "B"),
    ]


def span(seconds: float) -> str:
    """Seconds as text, in a unit up to days.

    Examples
    --------
    >>> span(20.9), span(7200.0), span(2.7e6)
    ('20.90 s', '2.000 h', '31.25 d')
    """
    for divisor, unit in ((86400.0, "d"), (3600.0, "h")):
        if seconds >= 2 * divisor or (unit == "h" and seconds >= divisor):
            return f"{significant(seconds / divisor)} {unit}"
    return duration(seconds * 1e6)


def run_sums(run: Document) -> list[tuple[str, str]]:
    """Sums over the whole run, each with its name, as they are told."""
    total, result = run["total"], run["inference"]
    kept, index = result["value_bits"] / 8, result["metadata_bits"] / 8
    basis = run["manifest"].get("mask_basis", "")
    time, dense = span(total["time_s"]), span(total["dense_time_s"])
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
