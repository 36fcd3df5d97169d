"""How near measured data a result stands, as tables, pages and headlines say it."""

from collections.abc import Iterable, Mapping
from typing import Any

from nmsim.report.notation import MISSING, percent

__all__ = ["beyond_tile", "evidence_cell", "evidence_said", "measured_on", "tells"]

Row = Mapping[str, Any]

_MOST_WHYS = 4


def tells(rows: Iterable[Row]) -> bool:
    """Whether any row says where it stands: those of a GPU do."""
    return any(row.get("evidence") for row in rows)


def evidence_cell(row: Row) -> str:
    """The word of a GEMM, or the share of a sum's time that lies beyond what was measured."""
    if "m" in row:
        return str(row.get("evidence") or MISSING)
    share = row.get("beyond_share")
    return MISSING if share is None else f"{percent(share)} %"


def evidence_said(rows: Iterable[Row]) -> str:
    """How much of the time lies beyond what was measured, and why; "" where no row tells.

    Examples
    --------
    >>> rows = [{"time_us": t, "evidence": e, "evidence_why": w} for t, e, w in
    ...         ((3.0, "near", ""), (1.0, "beyond", "no convolution was measured on it"))]
    >>> evidence_said(rows)
    '25.0 % of the time of GEMMs lies beyond what was measured: no convolution was measured on it'
    """
    table = list(rows)
    if not tells(table):
        return ""
    whole = sum(row["time_us"] for row in table)
    beyond: dict[str, float] = {}
    for row in table:
        if row.get("evidence") == "beyond":
            why = str(row.get("evidence_why") or "")
            beyond[why] = beyond.get(why, 0.0) + row["time_us"]
    share = sum(beyond.values()) / whole if whole else 0.0
    said = f"{percent(share)} % of the time of GEMMs lies beyond what was measured"
    whys = [why for why in sorted(beyond, key=lambda why: -beyond[why]) if why]
    more = [f"and {len(whys) - _MOST_WHYS} reasons more"] if len(whys) > _MOST_WHYS else []
    told = "; ".join((*whys[:_MOST_WHYS], *more))
    return f"{said}: {told}" if told else said


def beyond_tile(total: Row) -> tuple[str, str, str]:
    """The share of the time beyond what was measured, as a tile beside the speed-up."""
    more = "of the time of GEMMs: nothing like them was measured, or not on this machine"
    return "Beyond what was measured", f"{percent(total['beyond_share'])} %", more


def measured_on(about: Row) -> str:
    """What a manifest says was measured on its machines; empty if nothing."""
    said = about.get("evidence") or ""
    if isinstance(said, str):
        return said
    return "; ".join(f"{name}: {text}" for name, text in said.items() if text)
