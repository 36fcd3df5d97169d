"""Reports of SCALE-Sim: COMPUTE, BANDWIDTH and, with compressed weights, SPARSE.

Columns and counting are those of SCALE-Sim 3.0.0 (scalesim-project/SCALE-Sim, MIT): cycles are the
index of the last one, a layer is a line, its number the place of the row, A is its ifmap, B its
filter, C its ofmap, counts are of words. What nmsim counts otherwise is told in docs/exporting.md.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from nmsim.errors import SpecError
from nmsim.exporters import EXPORTERS, Exporter
from nmsim.pattern import Pattern
from nmsim.report import records

__all__ = ["reports"]

Row = Mapping[str, Any]

_COMPUTE = (
    *("LayerID", "Total Cycles", "Stall Cycles"),
    *("Overall Util %", "Mapping Efficiency %", "Compute Util %"),
)
_BANDWIDTH = (
    *("LayerID", "Avg IFMAP SRAM BW", "Avg FILTER SRAM BW", "Avg OFMAP SRAM BW"),
    *("Avg IFMAP DRAM BW", "Avg FILTER DRAM BW", "Avg OFMAP DRAM BW"),
)
_SPARSE = (
    *("LayerID", "Sparsity Representation", "Original Filter Storage"),
    *("New Storage (Filter+Metadata)", "Filter Metadata Storage", "Avg FILTER Metadata SRAM BW"),
)

_METADATA_WORD = 32
"""Bits of a word of metadata, whatever the width of operands."""


class _Array(NamedTuple):
    """What the figures of an array follow from."""

    rows: int
    cols: int
    dataflow: str
    operand_bits: int
    accumulator_bits: int
    output_bits: int


class _Extents(NamedTuple):
    """What lies along rows, columns and time (Samajdar et al., ISPASS 2020, table I)."""

    rows: float
    cols: float
    time: float


def reports(table: pd.DataFrame, manifest: Mapping[str, Any]) -> dict[str, str]:
    """The reports of a run on a systolic array, by the names of their files.

    Raises
    ------
    SpecError
        if the machine is not one array of PEs with one multiplier each, or results are no step.
    """
    array = _array(manifest)
    rows = records(table)
    found = {
        "COMPUTE_REPORT.csv": _text(_COMPUTE, [_compute(array, row) for row in rows]),
        "BANDWIDTH_REPORT.csv": _text(_BANDWIDTH, [_bandwidth(array, row) for row in rows]),
    }
    sparse = [_sparse(row) if _compressed(row) else None for row in rows]
    if any(sparse):
        found["SPARSE_REPORT.csv"] = _text(_SPARSE, sparse)
    return found


EXPORTERS.add(
    "scale-sim",
    Exporter("COMPUTE, BANDWIDTH and SPARSE reports of SCALE-Sim, a layer a row", reports),
)


def _array(manifest: Mapping[str, Any]) -> _Array:
    machine = manifest.get("machine") or {}
    if manifest["kind"] != "simulate":
        raise SpecError(f"scale-sim: results of {manifest['kind']}, expected those of simulate")
    single = {"dot_width": 1, "arrays": 1, "intersecting": None}
    if not set(_Array._fields) <= set(machine) or any(
        machine.get(name, least) not in (least, None) for name, least in single.items()
    ):
        raise SpecError(
            f"scale-sim: {machine.get('name')} is not one systolic array of PEs with one "
            "multiplier each, expected one: its reports tell of no other"
        )
    return _Array(*(machine[name] for name in _Array._fields))


def _text(header: tuple[str, ...], lines: Iterable[tuple[Any, ...] | None]) -> str:
    """A report: fields and their commas, one behind the last too, as SCALE-Sim writes them."""
    numbered = ((number, line) for number, line in enumerate(lines) if line is not None)
    cells = [(number, *line) for number, line in numbered]
    return "".join(f"{', '.join(map(str, line))},\n" for line in (header, *cells))


def _compute(array: _Array, row: Row) -> tuple[Any, ...]:
    total = row["cycles"] - 1
    overall = 100 * row["macs_dense"] / max(total, 1) / (array.rows * array.cols)
    mapping, compute = _utilization(array, row)
    return total, row["stall_cycles"], overall, mapping, compute


def _utilization(array: _Array, row: Row) -> tuple[float, float]:
    """Shares of PEs that folds map, and of these that compute, percent."""
    along = _extents(array, row)
    mapped = 100.0
    for size, lanes in ((along.rows, array.rows), (along.cols, array.cols)):
        mapped *= size / (-(-size // lanes) * lanes)
    preload = 0 if array.dataflow == "os" else array.rows
    skew = 0 if array.dataflow == "os" else array.cols - 1  # counted twice, as SCALE-Sim does
    fold = along.time + array.rows + array.cols - 2 + preload
    return mapped, mapped * along.time / (fold + skew)


def _extents(array: _Array, row: Row) -> _Extents:
    """Of the GEMM as it was placed; K is the slots that it takes."""
    m, n = (row["n"], row["m"]) if row["transposed"] else (row["m"], row["n"])
    k = row["macs_issued"] / (m * n * row["count"] * row["repeat"])
    return {"os": _Extents(m, n, k), "ws": _Extents(k, n, m), "is": _Extents(k, m, n)}[
        array.dataflow
    ]


def _bandwidth(array: _Array, row: Row) -> tuple[float, ...]:
    """Words a cycle, over all cycles of the layer; what comes from DRAM is written into SRAM."""
    metadata = row["sram_metadata_read_bytes"] or 0
    words = (
        (row["sram_a_read_bytes"], array.operand_bits),
        (row["sram_b_read_bytes"] - metadata, array.operand_bits),
        (row["sram_c_write_bytes"], array.accumulator_bits),
        (row["sram_a_write_bytes"], array.operand_bits),
        (row["sram_b_write_bytes"] - row["metadata_bytes"], array.operand_bits),
        (row["dram_write_bytes"], array.output_bits),
    )
    return tuple(8 * count / bits / row["cycles"] for count, bits in words)


def _compressed(row: Row) -> bool:
    return "b" in str(row["compressed"] or "")


def _sparse(row: Row) -> tuple[Any, ...]:
    """Words of the filters before and after, and of their metadata."""
    pattern = Pattern.parse(row["b_pattern"])
    copies = row["n"] * row["count"] * row["repeat"]
    stored = copies * pattern.stored(row["k"])
    metadata = stored * (pattern.group - 1).bit_length() / _METADATA_WORD
    read = 8 * (row["sram_metadata_read_bytes"] or 0) / _METADATA_WORD / row["cycles"]
    return "ellpack_block", copies * row["k"], stored + metadata, metadata, read
