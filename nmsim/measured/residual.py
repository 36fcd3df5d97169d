"""Fitting a machine's residual: what times of dense GEMMs have beyond the closed form.

Trees (``nmsim.measured.boosting``) learn the logarithm of measured over predicted time from the
closed form's own account. Weight shapes that `validate` holds out are not learned from, and neither
are rows that cannot be. Tables that time the same GEMMs and differ were measured under other
conditions: trees may ask which run a row is of, and what is written answers for the first. So a
second run says how times go with sizes, and not how slow it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import SpecError
from nmsim.extras import extra
from nmsim.machines import Call, Machine, kind_of
from nmsim.machines.kind import Learned
from nmsim.measured.conditions import runs
from nmsim.measured.predict import call_of, impossible
from nmsim.measured.tables import MeasuredTable
from nmsim.measured.weight_shapes import dealt, held_out
from nmsim.residual.file import Correction, Residual
from nmsim.residual.region import Region
from nmsim.residual.trees import Grown, Growth, Histograms, Trees, perfect, predicted

__all__ = ["fit_residual", "learned_of"]

ALONE = Growth(trees=400, depth=7, rate=0.06, share=0.6, least=5, bound=0.1)
HALF = Growth(trees=200, depth=7, rate=0.12, share=0.6, least=5, bound=0.1)
BEST = Histograms(trees=200, depth=7, leaves=63, rate=0.1, share=0.2, least=10, penalty=1.0)
"""How trees are grown: randomised ones alone, or as one half of a mean whose other half are those
of the best thresholds. Chosen on weight shapes of calibration."""

WAYS = ("account", "all")
"""What trees are grown of: ``ALONE`` of the closed form's account, or ``HALF`` and ``BEST`` of all
features. Which it is for a number format is decided on its weight shapes of calibration."""

EARNED = 0.02
"""Share of the error that the second must take off the first's there to be taken."""

PARTS = 2
"""Parts that these are dealt to for that, each told by trees of the others."""

FEWEST = 100
"""Rows that a residual can be learned from; half as many must be held out."""

PROBES = 16

Values = NDArray[np.float64]

_Part = tuple[Call, int, NDArray[np.intp]]
"""Rows of a table, by its number, that ran one call."""


@dataclass(frozen=True, eq=False)
class _Rows:
    """Dense rows of one number format: sizes, times, their table and run, and who is held out."""

    call: Call
    sizes: Values
    times: Values
    table: NDArray[np.intp]
    files: tuple[str, ...]
    run: NDArray[np.intp]

    @property
    def seen(self) -> int:
        """Rows that may be learned from."""
        return int((~self.held).sum())

    @property
    def enough(self) -> bool:
        """Whether there are enough rows to learn from, and to see what was learned."""
        return min(self.seen, 2 * int(self.held.sum())) >= FEWEST

    @property
    def held(self) -> NDArray[np.bool_]:
        """Rows of weight shapes that are held out."""
        return held_out(self.sizes[:, 1], self.sizes[:, 2])


def learned_of(machine: Machine) -> Learned:
    """What a machine's kind offers to residuals.

    Raises
    ------
    SpecError
        of a kind that has none.
    """
    learned = kind_of(machine).learned
    if learned is None:
        raise SpecError(f"hardware {machine.name}: expected a GPU, as residuals are of one")
    return learned


def fit_residual(
    machine: Machine,
    tables: Sequence[MeasuredTable],
    *,
    all_shapes: bool = False,
    seed: int = 0,
) -> Residual:
    """Learn what the closed form of a machine lacks, in every number format that tables have dense.

    Parameters
    ----------
    tables
        The first says under which conditions the corrected times are.
    all_shapes
        Learn from the weight shapes that are held out, too; the errors that the report gives of
        them are still those of a fit that has not seen them.

    Raises
    ------
    SpecError
        if there are too few rows, or if on held-out weight shapes nothing was gained.
    MissingExtra
        without the extra ``calibrate``.
    """
    learned = learned_of(machine)
    machine = machine.model_copy(update={"residual": ""})
    corrections, report, ways = {}, {}, {}
    parts = _dense(machine, tables)
    for rows in (one for one in parts if one.enough):
        dtype = rows.call.dtype
        corrections[dtype], report[dtype], ways[dtype] = _fit(
            machine, learned, rows, all_shapes=all_shapes, seed=seed
        )
    if not corrections:
        counts = ", ".join(f"{one.call.dtype} {one.seen} and {one.held.sum()}" for one in parts)
        raise SpecError(
            f"{machine.name}: expected {FEWEST} dense rows or more under a free clock to learn "
            f"from, and {FEWEST // 2} of held-out weight shapes, found {counts or 'none'}"
        )
    return Residual(
        machine.name,
        learned.features,
        corrections,
        {
            "shapes": "all" if all_shapes else "calibration",
            "seed": seed,
            "of": ways,
            "errors": report,
        },
    )


def _dense(machine: Machine, tables: Sequence[MeasuredTable]) -> list[_Rows]:
    """The dense rows of each number format, under a free clock and possible."""
    parts: dict[str, list[_Part]] = {}
    for number, rows in enumerate(tables):
        wrong = [one.row for one in (*rows.refused, *impossible(rows, machine))]
        for index, routine in enumerate(rows.routines):
            if routine.conditions == "free" and routine.pattern.is_dense:
                call, _ = call_of(machine, routine)
                at = np.setdiff1d(np.flatnonzero(rows.routine_of == index), wrong)
                parts.setdefault(call.dtype, []).append((call, number, at))
    return [_joined(tables, of_dtype) for of_dtype in parts.values()]


def _joined(tables: Sequence[MeasuredTable], parts: Sequence[_Part]) -> _Rows:
    """The rows of the call that most rows are of, as a format has one residual."""
    counts: dict[Call, int] = {}
    for own, _, at in parts:
        counts[own] = counts.get(own, 0) + len(at)
    call = max(counts, key=lambda one: counts[one])
    same = [(number, at) for own, number, at in parts if own == call]
    used = list(dict.fromkeys(number for number, _ in same))
    sizes = np.concatenate([tables[number].sizes[at] for number, at in same])
    times = [tables[number].time_us[at] - tables[number].host_us[at] for number, at in same]
    table = np.concatenate([np.full(len(at), used.index(number)) for number, at in same])
    whole = np.concatenate(times)
    return _Rows(
        call,
        sizes,
        whole,
        table,
        tuple(tables[number].file for number in used),
        runs(sizes, whole, table)[0][table],
    )


def _fit(
    machine: Machine, learned: Learned, rows: _Rows, *, all_shapes: bool, seed: int
) -> tuple[Correction, list[dict[str, Any]], str]:
    """The correction of a number format, its errors, and which of ``WAYS`` it was grown in."""
    seen = ~rows.held
    features, where, physics = learned.describe(machine, rows.call, rows.sizes)
    known = {"account": features[:, : learned.account], "all": features}
    target = np.log(rows.times / physics)
    missed = {one: _missed(known[one], target, rows, one, seed) for one in WAYS}
    way = "all" if missed["all"] < (1 - EARNED) * missed["account"] else "account"

    def corrected(fit: NDArray[np.bool_]) -> Correction:
        probe = np.flatnonzero(fit)[:: max(1, int(fit.sum()) // PROBES)]
        return Correction(
            rows.call.library,
            _grown(known[way], target, rows, fit, way, seed),
            Region.of(where[fit]),
            rows.call.in_turn,
            np.column_stack([rows.sizes[probe], physics[probe]]),
        )

    found = corrected(seen)
    ratio = physics / rows.times
    factors = learned.applied(machine, found, rows.call, rows.sizes)
    errors = _errors(rows, ratio, ratio * factors)
    _require_gain(machine, rows, errors)
    return corrected(np.ones(len(seen), bool)) if all_shapes else found, errors, way


def _missed(
    features: NDArray[np.float32], target: Values, rows: _Rows, way: str, seed: int
) -> float:
    """Mean absolute error of the first run's calibration rows, by trees of other weight shapes."""
    seen = ~rows.held
    part = np.full(len(seen), -1)
    part[seen] = dealt(rows.sizes[seen, 1], rows.sizes[seen, 2], PARTS)
    missed = []
    for number in range(PARTS):
        told = (part == number) & (rows.run == 0)
        trees = _grown(features, target, rows, seen & (part != number), way, seed)
        missed.append(np.abs(np.exp(predicted(trees, features[told]) - target[told]) - 1))
    return float(np.concatenate(missed).mean())


def _grown(
    features: NDArray[np.float32],
    target: Values,
    rows: _Rows,
    fit: NDArray[np.bool_],
    way: str,
    seed: int,
) -> Trees:
    """The trees, in which questions after the run are answered: it is the first."""
    known = features.shape[1]
    others = [rows.run == run for run in range(1, int(rows.run.max(initial=0)) + 1)]
    asked = np.column_stack([features, *others]).astype(np.float32)
    boosting = extra("calibrate", "nmsim.measured.boosting")
    seen = asked[fit], target[fit], _weights(rows)[fit]
    if way == "account":
        return perfect(_told(boosting.grow_randomised(*seen, ALONE, seed), known), ALONE.depth, 1.0)
    grown = [
        *boosting.grow_randomised(*seen, HALF, seed),
        *boosting.grow_by_histograms(*seen, BEST, seed),
    ]
    return perfect(_told(grown, known), max(HALF.depth, BEST.depth), 0.5)


def _told(grown: Sequence[Grown], known: int) -> list[Grown]:
    """Trees whose questions after a run, those of features from ``known`` on, are answered no."""
    return [
        tree._replace(
            feature=np.where(tree.feature < known, tree.feature, 0),
            threshold=np.where(tree.feature < known, tree.threshold, np.inf),
        )
        for tree in grown
    ]


def _weights(rows: _Rows) -> Values:
    """A table's rows weigh with the root of how few they are, those of another run half of it."""
    counts = np.bincount(rows.table)
    weight = np.sqrt(counts.max() / counts)[rows.table]
    found: Values = np.where(rows.run > 0, weight / 2, weight)
    return found


def _errors(rows: _Rows, physics: Values, corrected: Values) -> list[dict[str, Any]]:
    """Mean absolute errors of each table, learned from and held out, without and with."""
    found = []
    for number, file in enumerate(rows.files):
        for shapes, own in (("calibration", ~rows.held), ("held out", rows.held)):
            at = own & (rows.table == number)
            if at.any():
                found.append(
                    {
                        "file": file,
                        "shapes": shapes,
                        "run": int(rows.run[at][0]),
                        "rows": int(at.sum()),
                        "physics_mape": _mape(physics[at]),
                        "residual_mape": _mape(corrected[at]),
                    }
                )
    return found


def _mape(ratio: Values) -> float:
    return round(float(np.abs(ratio - 1).mean()), 5)


def _require_gain(machine: Machine, rows: _Rows, errors: Sequence[dict[str, Any]]) -> None:
    """A residual that is no better than none on the first run's held-out shapes is none."""
    own = [one for one in errors if one["shapes"] == "held out" and one["run"] == 0]
    sums = (
        sum(one["rows"] * one[name] for one in own) for name in ("physics_mape", "residual_mape")
    )
    count = max(1, sum(one["rows"] for one in own))
    physics, corrected = (total / count for total in sums)
    if not own or corrected > (1 - LEAST_GAIN) * physics:
        raise SpecError(
            f"{machine.name}, {rows.call.dtype}: on held-out weight shapes the error is "
            f"{corrected:.1%} with a residual and {physics:.1%} without: nothing was learned"
        )


LEAST_GAIN = 0.05
"""Share of the error that a residual must take off held-out weight shapes."""
