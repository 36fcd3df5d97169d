"""Whether standings are earned: errors of what is near, within and beyond the measured rest.

Of every set of constants, one table is left out at a time, or, where only one has it, a fourth of
the weight shapes; where its rows stand among the others is held against how far their times are
missed. The constants stand as they are: few were fitted to many rows. An order holds where means
grow from near to beyond; two whose difference is under twice its standard error cannot be told
apart, and neither can those of fewer than ``FEWEST`` rows.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.evidence.standing import STANDINGS, Places
from nmsim.machines import Machine
from nmsim.measured.evidence.gather import Gathered, evidence_of, gathered
from nmsim.measured.routines import routines_of
from nmsim.measured.tables import MeasuredTable
from nmsim.measured.weight_shapes import dealt

__all__ = ["FEWEST", "FOLDS", "LEFT_OUT", "earned", "order"]

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
        is the mean's standard error; None without rows), and ``order``: "holds", "cannot be told"
        or "broken".
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
                    **(means := _means(standing, rows.missed[at])),
                    "order": order(means),
                }
            )
    return found


def _rows(machine: Machine, tables: Sequence[MeasuredTable], parts: Sequence[Gathered]) -> _Rows:
    routines, offered = routines_of(machine), evidence_of(machine)
    missed = []
    for one in parts:
        held = routines.under(machine, one.conditions)
        times = routines.times(held, one.call, one.sizes, "analytical")
        table = tables[one.table]
        predicted = times + table.host_us[one.rows]
        missed.append(np.abs(predicted / table.time_us[one.rows] - 1))
    return _Rows(
        parts[0].constants.key,
        Places.joined([offered.places(machine, one.call, one.sizes) for one in parts]),
        np.concatenate(missed),
        np.concatenate([one.sizes for one in parts]),
        np.concatenate([np.full(len(one.rows), one.table) for one in parts]),
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
        standing = np.zeros(len(fold), np.int8)
        for number in range(FOLDS):
            out = fold == number
            standing[out] = rows.places.of(~out).standing(rows.places.of(out))
        yield f"{tables[many[0]].file}, folds of weight shapes", standing, np.arange(len(fold))


def _means(standing: NDArray[np.int8], missed: Values) -> dict[str, dict[str, Any]]:
    found = {}
    for number, word in enumerate(STANDINGS):
        own = missed[standing == number]
        error = float(own.std() / np.sqrt(len(own))) if len(own) else None
        mean = float(own.mean()) if len(own) else None
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
