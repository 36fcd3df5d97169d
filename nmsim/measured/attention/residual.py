"""Fitting a machine's residual of fused attention: what its closed form lacks, by library.

As of GEMMs (`nmsim.measured.residual`): randomised trees, one after another, of the logarithm of
measured over predicted time, which see the closed form's account alone. Heads that are held out of
every fit of constants are held out here, too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import SpecError
from nmsim.extras import extra
from nmsim.machines import Machine
from nmsim.machines.attention import AttentionCalls, AttentionLearned
from nmsim.measured.attention.predict import (
    LEAST_US,
    attention_routines,
    calls_of,
    held_out,
    kinds,
)
from nmsim.measured.attention.tables import AttentionTable
from nmsim.residual.file import Correction, Residual
from nmsim.residual.region import Region
from nmsim.residual.trees import Growth, perfect

__all__ = ["fit_attention_residual"]

GROWTH = Growth(trees=200, depth=6, rate=0.1, share=0.6, least=5, bound=0.1)
"""How trees are grown: the first that was tried, as errors of held-out heads fall to a third."""

FEWEST = 300
"""Calls that a residual of a library can be learned from."""

LEAST_GAIN = 0.05
"""Share of the error that a residual must take off held-out heads."""

PROBES = 16

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Measured calls of one library, forward: sizes, times, kinds, and who is held out."""

    library: str
    shapes: NDArray[np.int64]
    times: Values

    @property
    def calls(self) -> AttentionCalls:
        """The calls, of tensors that have just been used."""
        return AttentionCalls(self.shapes, library=self.library, replayed=True)

    @property
    def kinds(self) -> NDArray[Any]:
        """Prefill, decode or forward, of each."""
        found: NDArray[Any] = np.asarray(kinds(self.shapes, ("forward",)))
        return found

    @property
    def held(self) -> NDArray[np.bool_]:
        """Calls of heads that are held out."""
        return np.array([held_out(*row) for row in self.shapes[:, (1, 2, 5)].tolist()], bool)


def fit_attention_residual(
    machine: Machine,
    tables: Sequence[AttentionTable],
    *,
    all_shapes: bool = False,
    seed: int = 0,
) -> Residual | None:
    """Learn what the closed form of a machine's attention lacks; None if too little was measured.

    Parameters
    ----------
    tables
        Rows of other machines are passed over.
    all_shapes
        Learn from held-out heads, too; the errors that the report gives of them are still those of
        a fit that has not seen them.

    Raises
    ------
    SpecError
        if of some library nothing was gained on held-out heads.
    MissingExtra
        without the extra ``calibrate``.
    """
    learned = attention_routines(machine).learned
    if learned is None:
        return None
    machine = machine.model_copy(update={"residual": ""})
    corrections, report = {}, {}
    for rows in _libraries(machine, tables):
        found, errors = _fit(machine, learned, rows, all_shapes=all_shapes, seed=seed)
        corrections[rows.library], report[rows.library] = found, errors
    if not corrections:
        return None
    shapes = "all" if all_shapes else "calibration"
    told = {"shapes": shapes, "seed": seed, "errors": report}
    return Residual(machine.name, learned.features, corrections, told)


def _libraries(machine: Machine, tables: Sequence[AttentionTable]) -> Iterator[_Rows]:
    """The measured calls of each library that has enough of them."""
    found: dict[str, list[tuple[NDArray[np.int64], Values]]] = {}
    for table in tables:
        for own, library, runs, rows in calls_of(table):
            if own == machine.name and runs == ("forward",):
                good = rows[table.fit[rows] & (table.time_us[rows] >= LEAST_US)]
                found.setdefault(library, []).append((table.shapes[good], table.time_us[good]))
    for library, parts in sorted(found.items()):
        shapes, times = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        if len(times) >= FEWEST:
            yield _Rows(library, shapes, times)


def _fit(
    machine: Machine, learned: AttentionLearned, rows: _Rows, *, all_shapes: bool, seed: int
) -> tuple[Correction, list[dict[str, Any]]]:
    described = learned.describe(machine, rows.calls)
    target = np.log(rows.times / described.us)
    weight = _weights(rows.kinds)
    boosting = extra("calibrate", "nmsim.measured.boosting")

    def corrected(fit: NDArray[np.bool_]) -> Correction:
        seen = described.features[fit], target[fit], weight[fit]
        trees = perfect(boosting.grow_randomised(*seen, GROWTH, seed), GROWTH.depth, 1.0)
        probe = np.flatnonzero(fit)[:: max(1, int(fit.sum()) // PROBES)]
        told = np.column_stack([rows.shapes[probe], described.us[probe]]).astype(np.float64)
        return Correction(rows.library, trees, Region.of(described.where[fit]), 0, told)

    found = corrected(~rows.held)
    ratio = described.us / rows.times
    errors = list(_errors(rows, ratio, ratio * learned.applied(machine, found, rows.calls)))
    _require_gain(machine, rows, errors)
    return corrected(np.ones(len(target), bool)) if all_shapes else found, errors


def _weights(of_kind: NDArray[Any]) -> Values:
    """Calls of a kind weigh with the root of how few they are."""
    _, which, counts = np.unique(of_kind, return_inverse=True, return_counts=True)
    found: Values = np.sqrt(counts.max() / counts)[which.reshape(-1)]
    return found


def _errors(rows: _Rows, physics: Values, corrected: Values) -> Iterator[dict[str, Any]]:
    """Mean absolute errors of each kind, learned from and held out, without and with."""
    for kind in sorted(set(rows.kinds.tolist())):
        for shapes, own in (("calibration", ~rows.held), ("held out", rows.held)):
            at = own & (rows.kinds == kind)
            if at.any():
                yield {
                    "file": kind,
                    "shapes": shapes,
                    "run": 0,
                    "rows": int(at.sum()),
                    "physics_mape": _mape(physics[at]),
                    "residual_mape": _mape(corrected[at]),
                }


def _mape(ratio: Values) -> float:
    return round(float(np.abs(ratio - 1).mean()), 5)


def _require_gain(machine: Machine, rows: _Rows, errors: Sequence[dict[str, Any]]) -> None:
    """A residual that is no better than none on held-out heads is none."""
    own = [one for one in errors if one["shapes"] == "held out"]
    physics, corrected = (
        sum(one["rows"] * one[name] for one in own) for name in ("physics_mape", "residual_mape")
    )
    if not own or corrected > (1 - LEAST_GAIN) * physics:
        count = max(1, sum(one["rows"] for one in own))
        raise SpecError(
            f"{machine.name}, attention of {rows.library}: on held-out heads the error is "
            f"{corrected / count:.1%} with a residual and {physics / count:.1%} without: nothing "
            "was learned"
        )
