"""Whether standings are earned: errors of what is near, within and beyond the measured rest.

Of every set of constants, one table is left out at a time, or, where only one has it, a fourth of
the weight shapes; where its rows stand among the others is held against how far their times are
missed. The constants stand as they are: few were fitted to many rows. A run that was slow as a
whole, by GEMMs that it has in common with others, is held to its own pace, which says nothing of
where a GEMM stands. An order holds where means grow from near to beyond; two whose difference is
under twice its standard error cannot be told apart, and neither can those of fewer than ``FEWEST``
rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nmsim.evidence.standing import STANDINGS, Places
from nmsim.machines import Machine
from nmsim.machines.attention import AttentionCalls
from nmsim.measured.conditions import runs
from nmsim.measured.evidence.gather import Gathered, evidence_of, gathered
from nmsim.measured.routines import routines_of
from nmsim.measured.tables import MeasuredTable
from nmsim.measured.weight_shapes import dealt

__all__ = ["FEWEST", "FOLDS", "LEFT_OUT", "earned", "earned_attention", "order"]

FOLDS = 4
"""Parts that weight shapes of a single table are dealt to, each left out once."""

LEFT_OUT = 20
"""Rows that a table must have to be left out, and the others must have to be measured by."""

FEWEST = 20
"""Rows of which a mean can be told from another."""

TOLD_APART = 2.0
"""Standard errors of a difference that can be told from none."""

Values = NDArray[np.float64]


class _Rows(NamedTuple):
    """Rows that rest on one set of constants: places, absolute errors, shapes and tables."""

    key: str
    places: Places
    missed: Values
    sizes: Values
    table: NDArray[np.intp]


def earned(machine: Machine, tables: Sequence[MeasuredTable]) -> list[dict[str, Any]]:
    """Mean errors by standing of what is left out, for every set of constants that was measured.

    Returns
    -------
    list of dict
        ``machine``, ``constants`` (library, kernels, pattern, width), ``left_out`` (a file, or
        "folds of weight shapes"), for each of ``STANDINGS`` ``{"rows", "mape", "error"}`` (the last
        is the mean's standard error over weight shapes; None without rows), and ``order``: "holds",
        "cannot be told" or "broken".
    """
    parts: dict[str, list[Gathered]] = {}
    for one in gathered(machine, tables):
        parts.setdefault(one.constants.key, []).append(one)
    found = []
    for own in parts.values():
        rows = _rows(machine, tables, own)
        for left_out, standing, at in _left_out(rows, tables):
            found.append(
                {
                    "machine": machine.name,
                    "constants": rows.key,
                    "left_out": left_out,
                    **(means := _means(standing, rows.missed[at], _kin(rows.sizes[at]))),
                    "order": order(means),
                }
            )
    return found


def _rows(machine: Machine, tables: Sequence[MeasuredTable], parts: Sequence[Gathered]) -> _Rows:
    routines, offered = routines_of(machine), evidence_of(machine)
    sizes = np.concatenate([one.sizes for one in parts])
    table = np.concatenate([np.full(len(one.rows), one.table) for one in parts])
    measured = np.concatenate([tables[one.table].time_us[one.rows] for one in parts])
    predicted = []
    for one in parts:
        held = routines.under(machine, one.conditions)
        times = routines.times(held, one.call, one.sizes, "analytical")
        predicted.append(times + tables[one.table].host_us[one.rows])
    _, slower = runs(sizes, measured, table)
    return _Rows(
        parts[0].constants.key,
        Places.joined([offered.places(machine, one.call, one.sizes) for one in parts]),
        np.abs(np.concatenate(predicted) * np.exp(slower[table]) / measured - 1),
        sizes,
        table,
    )


def _left_out(
    rows: _Rows, tables: Sequence[MeasuredTable]
) -> Iterator[tuple[str, NDArray[np.int8], NDArray[np.intp]]]:
    """What is left out, where its rows stand among the others, and which rows these are."""
    counts = np.bincount(rows.table, minlength=len(tables))
    many: list[int] = np.flatnonzero(counts >= LEFT_OUT).tolist()
    if len(many) > 1:
        for number in many:
            out = rows.table == number
            standing = rows.places.of(~out).standing(rows.places.of(out))
            yield tables[number].file, standing, np.flatnonzero(out)
    elif many:
        fold = dealt(rows.sizes[:, 1], rows.sizes[:, 2], FOLDS)
        standing = _in_folds(rows.places, fold)
        yield f"{tables[many[0]].file}, folds of weight shapes", standing, np.arange(len(fold))


def _kin(sizes: Values) -> NDArray[np.intp]:
    """Which weight shape each row is of."""
    _, which = np.unique(sizes[:, 1:3], axis=0, return_inverse=True)
    return which.reshape(-1)


def _means(
    standing: NDArray[np.int8], missed: Values, kin: NDArray[np.intp]
) -> dict[str, dict[str, Any]]:
    """Mean errors by standing, with standard errors of clusters: rows of one shape are kin."""
    found = {}
    for number, word in enumerate(STANDINGS):
        own, of_kin = missed[standing == number], kin[standing == number]
        mean = float(own.mean()) if len(own) else None
        error = None
        if mean is not None:
            together = np.bincount(of_kin, own - mean)
            error = float(np.sqrt((together**2).sum()) / len(own))
        found[word] = {"rows": len(own), "mape": mean, "error": error}
    return found


def order(means: dict[str, dict[str, Any]]) -> str:
    """Whether means of errors grow from near to beyond, as far as they can be told apart.

    Examples
    --------
    >>> a, b, c = ({"rows": 100, "mape": m, "error": 0.001} for m in (0.04, 0.05, 0.06))
    >>> order({"near": a, "within": b, "beyond": c}), order({"near": c, "within": b, "beyond": a})
    ('holds', 'broken')
    >>> order({"near": a, "within": {**b, "mape": 0.0399}, "beyond": {**c, "rows": 3}})
    'cannot be told'
    """
    known = [one for word in STANDINGS if (one := means[word])["rows"] >= FEWEST]
    steps = [
        (farther["mape"] - nearer["mape"], float(np.hypot(nearer["error"], farther["error"])))
        for nearer, farther in pairwise(known)
    ]
    if any(step < -TOLD_APART * error for step, error in steps):
        return "broken"
    return "holds" if steps and all(step > 0 for step, _ in steps) else "cannot be told"


def earned_attention(found: pd.DataFrame, machines: Mapping[str, Machine]) -> list[dict[str, Any]]:
    """The same of fused attention: a fourth of the heads and head_dims is left out at a time.

    Parameters
    ----------
    found
        Rows of `nmsim.measured.attention.predict.PredictedAttention`.
    machines
        By name, those of which there are rows.
    """
    told = []
    judged = found[found["judged"] & (found["kind"] != "both")]
    for key, rows in judged.groupby(["machine", "library", "kind"], sort=True):
        machine, library, kind = map(str, key) if isinstance(key, tuple) else ("", "", "")
        if machine not in machines or len(rows) < LEFT_OUT:
            continue
        phase = "backward" if kind == "backward" else "forward"
        shapes = np.column_stack([rows[list(_SHAPE)].to_numpy(), np.zeros(len(rows), np.int64)])
        calls = AttentionCalls(shapes.astype(np.int64), phase, library)
        places = evidence_of(machines[machine]).attention(machines[machine], calls)
        _, which = np.unique(rows["key"].to_numpy(str), return_inverse=True)
        standing = _in_folds(places, which % FOLDS)
        means = _means(standing, np.abs(rows["ratio"].to_numpy() - 1), which)
        told.append(
            {
                "machine": machine,
                "constants": f"{library}, attention, {kind}",
                "left_out": "folds of heads and head_dim",
                **means,
                "order": order(means),
            }
        )
    return told


_SHAPE = ("batch", "heads", "kv_heads", "queries", "keys", "head_dim", "v_head_dim", "causal")


def _in_folds(places: Places, fold: NDArray[np.intp]) -> NDArray[np.int8]:
    """Where rows stand among those of the other folds."""
    standing = np.zeros(len(fold), np.int8)
    for number in range(FOLDS):
        out = fold == number
        standing[out] = places.of(~out).standing(places.of(out))
    return standing
