"""Fitting the constants of a GPU that its file marks as fitted, to measured times.

Least squares on the logarithm of time; residuals beyond ``CLIP`` pull no harder than those of that
size (Huber's loss), so that a few odd rows do not rule. Which kernel a library picks depends on the
constants too, hence the sum jumps, and the search takes no derivative
(``nmsim.measured.minimiser``, which needs the extra ``calibrate``). Weight shapes (n, k) are dealt
into parts; each part is held out of one fit, and errors are told of rows that a fit has not seen.
What a machine's file does not list as fitted stands.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os.path import relpath
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import SpecError
from nmsim.extras import extra
from nmsim.files import write_file
from nmsim.machines import HARDWARE, Call, Machine, load_hardware
from nmsim.machines.fit import Calibration, FitError, FittedConstant
from nmsim.measured.routines import routines_of
from nmsim.measured.weight_shapes import dealt
from nmsim.spec import edit_yaml, field_keys, yaml_value

__all__ = ["CLIP", "SIZES", "MeasuredRoutine", "calibrate", "write_machine"]

Vector = NDArray[np.float64]

CLIP = 0.1
"""Residual of log time beyond which the loss grows linearly: thrice the noise of two runs."""

SIZES = (
    (5.0, "under 5 us"),
    (10.0, "5-10 us"),
    (20.0, "10-20 us"),
    (100.0, "20-100 us"),
    (1000.0, "100-1000 us"),
    (np.inf, "over 1000 us"),
)
"""Classes of measured time that errors are told by: upper end, not included, and name."""

STEP = 0.3
"""Spread of the first generation, in logarithms of the constants."""

LEAST_SHARE = 1e-3
"""Where a share of 0 starts."""

TOLERANCE = 1e-4
PULL = 1e-6
"""Weight of the squared distance from the start: it decides where the rows do not."""

ROWS_PER_CONSTANT = 5
DIGITS = 4


@dataclass(frozen=True, eq=False)
class MeasuredRoutine:
    """Measured times of one routine of a library, by size.

    Parameters
    ----------
    call
        The routine: library, number format, pattern.
    sizes
        GEMMs x 4: M, N, K and copies in one launch.
    times_us
        Measured times without what a host adds to them, microseconds.
    conditions
        What the clock did, as `nmsim.measured.conditions` has it.
    """

    call: Call
    sizes: Vector
    times_us: Vector
    conditions: str = "free"


@dataclass(frozen=True)
class _Constant:
    """A fitted field; the search moves its logarithm, and a share is cut at 1.

    (A logit would be flat near 1, where efficiencies start.)
    """

    path: str
    start: float
    share: bool

    def at(self, distance: float) -> float:
        """The value of the field at a distance of the search from its start."""
        value = max(self.start, LEAST_SHARE) if self.share else self.start
        value *= float(np.exp(np.clip(distance, -7, 7)))
        return min(1.0, value) if self.share else value


class _Fit(NamedTuple):
    """Where one search ended, in distances from the starts, and how often it tried."""

    point: Vector
    evaluations: int


def calibrate(
    machine: Machine,
    measured: Sequence[MeasuredRoutine],
    *,
    source: str,
    holdouts: int = 5,
    generations: int = 150,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Machine:
    """The machine with its fitted fields set by least squares, and the report of the fit.

    Parameters
    ----------
    source
        Where the measured times come from; goes into the report.
    holdouts
        Parts that weight shapes are dealt into; each is held out of one fit more.
    generations
        At most so many in the search of each fit.
    progress
        Called with the number of fits done, out of ``holdouts`` and one.

    Raises
    ------
    SpecError
        if the machine marks no field as fitted or one that cannot be, or if there are too few rows
        or weight shapes.
    MissingExtra
        without the extra ``calibrate``.
    """
    if not measured or any(np.any(~(rows.times_us > 0)) for rows in measured):
        raise SpecError(f"{machine.name}: expected measured rows with times above 0")
    machine, constants, idle = _moving(machine, measured)
    parts = _held_out_by(measured, holdouts, seed)
    _require_rows(machine, constants, parts, holdouts)
    fits: list[_Fit] = []
    for part in range(holdouts + 1):  # the last holds out nothing
        seen = _subset(measured, parts != part)
        fits.append(_fit(machine, constants, seen, generations, seed))
        if progress:
            progress(len(fits))
    values = [[_rounded(one.at(x)) for one, x in _pairs(constants, fit.point)] for fit in fits]
    times = np.concatenate([rows.times_us for rows in measured])
    held_out = np.empty(len(times))
    for part in range(holdouts):
        predicted = _predicted(_with(machine, constants, values[part]), measured)
        held_out[parts == part] = predicted[parts == part]
    fitted = _with(machine, constants, values[-1])
    report = Calibration(
        measured=source,
        method=f"CMA-ES, {generations} generations at most, on log time, linear beyond {CLIP}",
        rows=len(times),
        weight_shapes=len({shape for rows in measured for shape in map(tuple, rows.sizes[:, 1:3])}),
        holdouts=holdouts,
        seed=seed,
        evaluations=sum(fit.evaluations for fit in fits),
        constants=tuple(
            FittedConstant(path=one.path, start=one.start, value=own[-1], low=low, high=high)
            for one, *own in zip(constants, *values, strict=True)
            for low, high in [(min(own[:-1]), max(own[:-1]))]
        ),
        idle=idle,
        errors=_errors(_predicted(fitted, measured), held_out, times),
    )
    return fitted.model_copy(update={"calibration": report})


def write_machine(original: Path, fitted: Machine, out: Path, *, overwrite: bool = False) -> None:
    """Write a machine's file again with the fitted values and the report; comments are kept.

    A file that is based on another stays so, and gains the values that were its base's.

    Parameters
    ----------
    original
        The file that the machine was read from.
    overwrite
        Whether ``out`` may be that very file.

    Raises
    ------
    SpecError
        if it may not, if the machine was not fitted, or if a file cannot be read or written.
    """
    report = fitted.calibration
    if report is None:
        raise SpecError(f"{fitted.name}: not fitted, so there is nothing to write")
    if not overwrite and out.exists() and out.samefile(original):
        raise SpecError(f"{out}: is the machine that was fitted, expected another file")

    def edit(document: dict[str, Any]) -> None:
        for constant in report.constants:
            names = constant.path.split(".")
            keys = field_keys(fitted.model_dump(), constant.path)
            _place(document, keys, names, constant.value)
        base = HARDWARE.base(original, document.get("based_on"))
        if base is not None and document["based_on"] not in set(HARDWARE):
            document["based_on"] = relpath(base, out.parent)
        document["calibration"] = yaml_value(report.model_dump())

    text = edit_yaml(original, edit)

    def write(aside: Path) -> None:
        aside.write_text(text, encoding="utf-8")

    write_file(out, write)


def _place(
    document: Any, keys: Sequence[str | int], names: Sequence[str | int], value: float
) -> None:
    """Set a field in a file; an entry of a list that the file has not itself is called by name."""
    own = (names if isinstance(document, dict) else keys)[0]
    if len(keys) == 1:
        document[own] = value
        return
    if isinstance(document, dict):
        document.setdefault(own, {})
    _place(document[own], keys[1:], names[1:], value)


def _moving(
    machine: Machine, measured: Sequence[MeasuredRoutine]
) -> tuple[Machine, list[_Constant], tuple[str, ...]]:
    """The machine at its start, constants that some row depends on, paths of the others."""
    if not machine.fitted:
        raise SpecError(f"{machine.name}: marks no field as fitted, so there is nothing to fit")
    machine = machine.model_copy(update={"calibration": None})
    if len(set(machine.fitted)) < len(machine.fitted):
        raise SpecError(f"{machine.name}: fitted lists a field twice")
    constants = [_constant(machine, path) for path in machine.fitted]
    usual = _predicted(machine, measured)

    def moves(one: _Constant) -> bool:
        shifted = [_with(machine, [one], [one.at(shift)]) for shift in (-1.0, 1.0)]
        return any(np.any(_predicted(other, measured) != usual) for other in shifted)

    moving = [one for one in constants if moves(one)]
    if not moving:
        raise SpecError(f"{machine.name}: no measured row depends on a fitted field")
    return machine, moving, tuple(one.path for one in constants if one not in moving)


def _constant(machine: Machine, path: str) -> _Constant:
    """A fitted field: its start (a library's null timing starts at the machine's), its range."""
    where = f"{machine.name}: fitted"
    document = machine.model_dump()
    try:
        keys = field_keys(document, path)
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from error
    start: Any = document
    for key in keys:
        start = start[key]
    if start is None and keys[-2] == "timing":
        start = document["timing"][keys[-1]]
    schema = _schema(type(machine), keys)
    if schema.get("type") != "number" or start is None:
        raise SpecError(f"{where}: field {path!r} is {start!r}, expected a number that may vary")
    share = schema.get("maximum") == 1
    if start <= 0 and not share:
        raise SpecError(f"{where}: field {path!r} is {start}, expected a start above 0")
    return _Constant(path, float(start), share)


def _schema(machine: type[Machine], keys: tuple[str | int, ...]) -> dict[str, Any]:
    """What the schema of a kind of machine says of a field."""
    root = machine.model_json_schema()

    def settled(schema: dict[str, Any]) -> dict[str, Any]:
        """The schema itself: references followed, the alternative of null dropped."""
        if "anyOf" in schema:
            schema = next(one for one in schema["anyOf"] if one.get("type") != "null")
        if "$ref" in schema:
            return root["$defs"][schema["$ref"].rpartition("/")[2]]  # type: ignore[no-any-return]
        return schema

    schema = root
    for key in keys:
        inner = schema["items"] if isinstance(key, int) else schema["properties"][key]
        schema = settled(inner)
    return schema


def _with(machine: Machine, constants: Sequence[_Constant], values: Sequence[float]) -> Machine:
    fields = {one.path: value for one, value in zip(constants, values, strict=True)}
    changed: Machine = load_hardware(machine, **fields)
    return changed


def _pairs(constants: Sequence[_Constant], point: Vector) -> list[tuple[_Constant, float]]:
    return [(one, float(x)) for one, x in zip(constants, point, strict=True)]


def _predicted(machine: Machine, measured: Sequence[MeasuredRoutine]) -> Vector:
    own = routines_of(machine)
    return np.concatenate(
        [
            own.times(own.under(machine, rows.conditions), rows.call, rows.sizes, "analytical")
            for rows in measured
        ]
    )


def _fit(
    machine: Machine,
    constants: Sequence[_Constant],
    measured: Sequence[MeasuredRoutine],
    generations: int,
    seed: int,
) -> _Fit:
    search = extra("calibrate", "nmsim.measured.minimiser").least
    log_times = np.log(np.concatenate([rows.times_us for rows in measured]))

    def loss(point: Vector) -> float:
        tried = _with(machine, constants, [one.at(x) for one, x in _pairs(constants, point)])
        residual = np.abs(np.log(_predicted(tried, measured)) - log_times)
        squares = np.where(residual < CLIP, residual**2, CLIP * (2 * residual - CLIP))
        return float(squares.mean() + PULL * (point**2).sum())

    start = np.zeros(len(constants))
    found = search(loss, start, step=STEP, generations=generations, tolerance=TOLERANCE, seed=seed)
    return _Fit(found.point, found.evaluations)


def _held_out_by(measured: Sequence[MeasuredRoutine], holdouts: int, seed: int) -> NDArray[np.intp]:
    """Which hold-out leaves out each row: weight shapes are dealt by their hash."""
    both = np.concatenate([rows.sizes[:, 1:3] for rows in measured])
    return dealt(both[:, 0], both[:, 1], holdouts, seed)


def _require_rows(
    machine: Machine, constants: Sequence[_Constant], parts: NDArray[np.intp], holdouts: int
) -> None:
    if holdouts < 2:
        raise SpecError(f"holdouts is {holdouts}, expected 2 or more")
    if len(np.unique(parts)) < holdouts:
        raise SpecError(
            f"{machine.name}: expected {holdouts} weight shapes (n, k) or more to hold out"
        )
    rows = len(parts) - int(np.bincount(parts).max())
    needed = ROWS_PER_CONSTANT * len(constants)
    if rows < needed:
        raise SpecError(
            f"{machine.name}: {rows} measured rows beside a held-out part, expected {needed} or "
            f"more for {len(constants)} fitted fields"
        )


def _subset(measured: Sequence[MeasuredRoutine], kept: NDArray[np.bool_]) -> list[MeasuredRoutine]:
    ends = np.cumsum([len(rows.times_us) for rows in measured])[:-1]
    parts = zip(measured, np.split(kept, ends), strict=True)
    return [
        replace(rows, sizes=rows.sizes[own], times_us=rows.times_us[own])
        for rows, own in parts
        if own.any()
    ]


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _errors(fitted: Vector, held_out: Vector, times: Vector) -> tuple[FitError, ...]:
    which = np.searchsorted([end for end, _ in SIZES], times, side="right")
    classes = [("all", np.ones(len(times), bool))]
    classes += [(name, which == i) for i, (_, name) in enumerate(SIZES) if np.any(which == i)]
    return tuple(
        FitError(
            time=name,
            rows=int(rows.sum()),
            **_error(fitted[rows] / times[rows]),
            **{f"held_out_{k}": v for k, v in _error(held_out[rows] / times[rows]).items()},
        )
        for name, rows in classes
    )


def _error(ratio: Vector) -> dict[str, float]:
    return {
        "mape": _rounded(float(np.abs(ratio - 1).mean())),
        "bias": _rounded(float(np.exp(np.log(ratio).mean()) - 1)),
    }
