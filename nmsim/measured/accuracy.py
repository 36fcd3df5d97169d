"""How far predicted times are from measured ones: errors, their groups, speed-ups, the worst.

The error of a row is predicted over measured, minus 1.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nmsim.measured.calibrate import SIZES
from nmsim.measured.predict import ROWS, Predicted
from nmsim.measured.routines import routines_of
from nmsim.registry import unknown_name

__all__ = [
    "GROUPED",
    "NOISE",
    "by_table",
    "corrected_errors",
    "errors",
    "groups",
    "refused",
    "residual_errors",
    "speedup_rows",
    "speedups",
    "summarize",
    "unmeasured",
]

NOISE = {"two runs, same machine type": 0.031, "two unrelated sources": 0.086}
"""Mean differences of measured times of the same GEMMs: 2,741 and 334 shapes on A100s."""

GROUPED = (
    *("machine", "dtype_in", "sparsity", "size", "m_class", "bound", "library", "phase", "layout"),
    *("conditions", "shapes", "evidence", "source", "file"),
)
"""Columns that rows are grouped by where none is asked for."""


def errors(ratios: NDArray[np.float64]) -> dict[str, Any]:
    """Errors of rows from predicted over measured, as fractions.

    Returns
    -------
    dict
        ``rows``; ``mape``, mean of abs(ratio - 1); ``median_ape`` and ``p90_ape`` of the same;
        ``bias``, geometric mean of the ratio, minus 1.

    Examples
    --------
    >>> {k: round(v, 4) for k, v in errors(np.array([0.9, 1.1])).items()}
    {'rows': 2, 'mape': 0.1, 'median_ape': 0.1, 'p90_ape': 0.1, 'bias': -0.005}
    """
    ape = np.abs(ratios - 1)
    return {
        "rows": len(ratios),
        "mape": float(ape.mean()),
        "median_ape": float(np.median(ape)),
        "p90_ape": float(np.quantile(ape, 0.9)),
        "bias": float(np.exp(np.log(ratios).mean()) - 1),
    }


def groups(table: pd.DataFrame, by: Sequence[str]) -> list[dict[str, Any]]:
    """Errors of the rows that share a column's value, for every column in turn.

    Raises
    ------
    UnknownName
        for a column that the table does not have.
    """
    found = []
    for name in by:
        if name not in table:
            raise unknown_name("column", name, map(str, table.columns))
        texts = table[name].fillna("").astype(str).to_numpy()
        codes, values = pd.factorize(texts)
        order, ends = np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1]
        both = (np.split(column[order], ends) for column in _ratios(table))
        one = [
            {"by": name, "group": value, **errors(part), **residual_errors(corrected)}
            for value, part, corrected in zip(map(str, values), *both, strict=True)
        ]
        found += sorted(one, key=_in_order)
    return found


def _ratios(table: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Predicted over measured times, and those that a residual corrects (NaN where none does)."""
    ratio = table["ratio"].to_numpy()
    if "residual_us" not in table:
        return ratio, np.full(len(table), np.nan)
    return ratio, table["residual_us"].to_numpy() / table["measured_us"].to_numpy()


def residual_errors(corrected: NDArray[np.float64]) -> dict[str, float | None]:
    """Errors with the residual, of a group of which it corrects every row; else None."""
    whole = bool(len(corrected)) and not np.isnan(corrected).any()
    found = errors(corrected) if whole else {}
    return {f"residual_{name}": found.get(name) for name in ("mape", "bias")}


def _physics_errors(rows: pd.DataFrame) -> dict[str, float]:
    """Errors without any residual, whichever times are judged."""
    found = errors((rows["physics_us"] / rows["measured_us"]).to_numpy())
    return {f"physics_{name}": found[name] for name in ("mape", "bias")}


_TABLE = ("file", "source", "machine", "dtype_in", "conditions", "shapes")


def by_table(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Errors of each source under each condition, of calibration and held-out shapes apart."""
    ratio, corrected = _ratios(table)
    parts = table.assign(ratio=ratio, corrected=corrected).groupby(list(_TABLE), sort=False)
    found = [
        {
            **dict(zip(_TABLE, map(str, key), strict=True)),
            **errors(part["ratio"].to_numpy()),
            **_physics_errors(part),
            **residual_errors(part["corrected"].to_numpy()),
        }
        for key, part in parts
        if isinstance(key, tuple)
    ]
    files = list(dict.fromkeys(table["file"]))
    return sorted(found, key=lambda one: (files.index(one["file"]), *(one[c] for c in _TABLE[1:])))


def _in_order(group: Mapping[str, Any]) -> tuple[int, float, str]:
    names = [name for _, name in (*SIZES, *ROWS)]
    value = group["group"]
    if group["by"] in ("size", "m_class"):
        return names.index(value), 0.0, value
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value


_TWIN = ["source", "gpu", "variant", "dtype_in", "m", "n", "k", "batch"]


def speedups(table: pd.DataFrame) -> pd.DataFrame:
    """Sparse rows that have a dense twin: same source, GPU, number format and sizes.

    Of several dense twins the median counts. Both sides are the physics': of sparse times no
    residual is learned, and one that corrects the dense side alone would tilt every ratio.

    Returns
    -------
    DataFrame
        the sparse rows with ``measured_speedup``, ``predicted_speedup``, their ``ratio``, and
        ``right``: whether both are on the same side of 1.
    """
    table = table.assign(predicted_us=table["physics_us"])
    dense = table["sparsity"] == "dense"
    twins = table[dense].groupby(_TWIN, as_index=False)[["measured_us", "predicted_us"]].median()
    pairs = table[~dense].merge(twins, on=_TWIN, suffixes=("", "_dense"))
    pairs["measured_speedup"] = pairs["measured_us_dense"] / pairs["measured_us"]
    pairs["predicted_speedup"] = pairs["predicted_us_dense"] / pairs["predicted_us"]
    pairs["ratio"] = pairs["predicted_speedup"] / pairs["measured_speedup"]
    pairs["right"] = (pairs["measured_speedup"] > 1) == (pairs["predicted_speedup"] > 1)
    return pairs


def _speedup_errors(pairs: pd.DataFrame) -> dict[str, Any]:
    clear = ~pairs["measured_speedup"].between(0.95, 1.05)
    return {
        **errors(pairs["ratio"].to_numpy()),
        "direction_checked": int(clear.sum()),
        "direction_right": int((clear & pairs["right"]).sum()),
    }


def summarize(found: Predicted, by: str | None = None) -> dict[str, Any]:
    """Everything that is said of predicted rows, as a JSON document."""
    table = found.table
    pairs = speedups(table)
    speedup = None
    if len(pairs):
        speedup = {
            **_speedup_errors(pairs),
            "groups": [
                {"by": "library", "group": name, **_speedup_errors(part)}
                for name, part in pairs.groupby("library")
            ],
        }
    columns = [by] if by is not None else [name for name in GROUPED if name in table]
    return {
        **errors(table["ratio"].to_numpy()),
        "residual": corrected_errors(table),
        "fidelity": found.fidelity,
        "machines": list(dict.fromkeys(table["machine"])),
        "files": list(dict.fromkeys(table["file"])),
        "groups": groups(table, columns),
        "speedup": speedup,
        "timing_floor": _floor_errors(table),
        "worst": _worst(table),
        "unmeasured": unmeasured(found),
        "tables": by_table(table),
        "refused": refused(found),
        "impossible": _impossible_errors(table),
        "noise": NOISE,
        "notes": found.notes,
    }


def corrected_errors(table: pd.DataFrame) -> dict[str, Any] | None:
    """Errors of the rows that a learned residual corrects, with it and without; None: of none."""
    own = table[table["residual_us"].notna()]
    if not len(own):
        return None
    measured = own["measured_us"]
    return {
        **errors((own["residual_us"] / measured).to_numpy()),
        "physics": errors((own["physics_us"] / measured).to_numpy()),
    }


def speedup_rows(found: Predicted) -> list[dict[str, Any]]:
    """Measured and predicted speed-up of every sparse row that has a dense twin."""
    pairs = speedups(found.table)
    names = ["library", "sparsity", "m", "n", "k", "measured_us_dense", "predicted_us_dense"]
    return _records(pairs[[*names, "measured_speedup", "predicted_speedup"]])


def refused(found: Predicted) -> list[dict[str, Any]]:
    """Rows that are not to be trusted, by file and line, why, and whether they are judged.

    A row that cannot be predicted is not; one whose measured time cannot be is.
    """
    return [
        {"file": rows.file, "line": rows.lines[row], "why": why, "judged": judged}
        for judged, files in ((False, found.refused), (True, found.impossible))
        for rows, wrong in files
        for row, why in wrong
    ]


def _impossible_errors(table: pd.DataFrame) -> dict[str, Any] | None:
    """What rows whose measured time cannot be do to the figures: they count like all others."""
    possible = table["possible"].to_numpy()
    if possible.all():
        return None
    rest = table.loc[possible, "ratio"].to_numpy()
    return {
        "rows": int((~possible).sum()),
        "treatment": "counted like all rows",
        "without_them": errors(rest) if len(rest) else None,
    }


def _floor_errors(table: pd.DataFrame) -> dict[str, Any] | None:
    """What rows with a noted floor of their timer do to the figures: they count like all others."""
    noted = table["floor_us"] > 0
    if not noted.any():
        return None
    inside = noted & (table["measured_us"] <= table["floor_us"])
    rest = table.loc[~inside, "ratio"].to_numpy()
    return {
        "rows": int(noted.sum()),
        "rows_within_floor": int(inside.sum()),
        "treatment": "counted like all rows; nothing is added to the prediction",
        "without_rows_within_floor": errors(rest) if len(rest) else None,
    }


def _worst(table: pd.DataFrame, count: int = 10) -> list[dict[str, Any]]:
    """The rows whose ratio is farthest from 1, up or down alike."""
    order = np.argsort(-np.abs(np.log(table["ratio"].to_numpy())), kind="stable")[:count]
    names = ["file", "line", "machine", "library", "sparsity", "dtype_in", "m", "n", "k", "batch"]
    names += [
        "measured_us",
        "predicted_us",
        "ratio",
        "model_kernel",
        "split",
        "tiles",
        "waves",
        "bound",
    ]
    return _records(table.iloc[order][names])


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): _python(value) for name, value in row.items()}
        for row in table.to_dict("records")
    ]


def _python(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def unmeasured(found: Predicted) -> list[str]:
    """What no row says anything about: layouts, batches, formats, patterns, sizes."""
    table = found.table
    missing = []
    phases = set(table["phase"]) if "phase" in table else set()
    for phase, layout in (("backward", "the weight transposed"), ("update", "both transposed")):
        if phase not in phases:
            missing.append(f"the layout of the {phase} phase ({layout}): rows name no such phase")
    if (table["batch"] == 1).all():
        missing.append("several GEMMs in one launch (attention products): batch is 1 in all rows")
    distinct = table[["machine", "dtype_in", "sparsity"]].drop_duplicates()
    kinds = {(machine, dtype.lower(), s) for machine, dtype, s in distinct.itertuples(index=False)}
    for name, machine in found.machines.items():
        for dtype, wanted in routines_of(machine).offered(machine).items():
            seen = {s for m, d, s in kinds if (m, d) == (machine.name, dtype)}
            gaps = [pattern for pattern in wanted if pattern not in seen]
            if gaps:
                missing.append(f"{dtype} on {name}: {' and '.join(gaps)}")
    odd = sum((table[size] % 8 != 0).sum() for size in ("n", "k"))
    if not odd:
        missing.append("N or K that is no multiple of 8")
    return missing
