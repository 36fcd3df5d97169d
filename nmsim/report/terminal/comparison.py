"""Kernels of a profiler's export beside predicted GEMMs, as plain values and as text."""

from collections.abc import Iterator
from typing import Any

from nmsim.measured.profiles.matching import Compared, Pair

__all__ = ["COLUMNS", "comparison_document", "comparison_text"]

COLUMNS = (
    *("kernel", "calls", "operation", "where", "layer", "phase", "gradient_of", "m", "n", "k"),
    *("count", "predicted_kernel", "measured_us", "predicted_us", "ratio", "how"),
)
"""Of a pair as a row of a table: ratio is predicted over measured; how, or why unmatched."""

_OF_ROW = ("layer", "phase", "gradient_of", "m", "n", "k", "count")

NAME = 46
"""Characters of a kernel's name in a line of text; the end is what tells most."""


def comparison_document(found: Compared) -> dict[str, Any]:
    """All pairs as rows of ``COLUMNS``, and the sums that are covered."""
    return {"export": found.kind, "rows": list(map(_row, found.pairs)), "covered": found.sums}


def _row(pair: Pair) -> dict[str, Any]:
    kernel, row = pair.kernel, pair.row
    values = {
        "kernel": kernel.name if kernel else None,
        "calls": kernel.calls if kernel else None,
        "operation": kernel.operation if kernel else None,
        "where": kernel.where if kernel else None,
        **{name: None if row is None else row[name] for name in _OF_ROW},
        "predicted_kernel": None if row is None else row["kernel"],
        "measured_us": pair.measured_us,
        "predicted_us": pair.predicted_us,
        "ratio": pair.ratio,
        "how": pair.how,
    }
    return {name: values[name] for name in COLUMNS}


def comparison_text(document: dict[str, Any]) -> str:
    """A line a pair, then what is covered of both sides."""
    return "\n".join(_lines(document))


def _lines(document: dict[str, Any]) -> Iterator[str]:
    heads = f"{'measured us':>12} {'predicted us':>12} {'ratio':>6}  GEMM, or why not"
    yield f"{'kernel':<{NAME}} {heads}"
    for row in document["rows"]:
        yield (
            f"{_short(row['kernel'] or '-'):<{NAME}} {_us(row['measured_us']):>12} "
            f"{_us(row['predicted_us']):>12} {_ratio(row['ratio']):>6}  {_told(row)}"
        )
    of = document["covered"]
    share = "none" if of["covered"] is None else f"{of['covered']:.1%}"
    yield ""
    yield (
        f"{document['export']}: {of['matched_kernels']} of {of['kernels']} kernels matched, "
        f"{_us(of['measured_matched_us'])} of {_us(of['measured_us'])} us measured ({share})"
    )
    yield (
        f"predicted for them {_us(of['predicted_matched_us'])} us, predicted over measured "
        f"{_ratio(of['ratio'])}; {of['unmatched_launches']} predicted launches of "
        f"{_us(of['predicted_unmatched_us'])} us have no kernel"
    )


def _told(row: dict[str, Any]) -> str:
    if row["layer"] is None:
        return str(row["how"])
    size = f"{row['m']} x {row['n']} x {row['k']}"
    copies = f" x {row['count']}" if row["count"] > 1 else ""
    return f"{row['layer']} {row['phase']} {size}{copies}; {row['how']}"


def _short(name: str) -> str:
    return name if len(name) <= NAME else f"...{name[3 - NAME :]}"


def _us(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
