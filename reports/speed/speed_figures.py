"""What the measured times say: medians, spreads, slopes, and the time of a unit of work."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

__all__ = ["Curve", "Point", "curves", "raised", "scientific", "slope"]

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_TAIL = 3
_UNITS = {
    ("lock-step, bits", "cycle"): ("mask bit", 2),
    ("intersecting", "cycle"): ("group-step", 3),
    ("intersecting", "analytical"): ("mask bit", 2),
}
"""What time is proportional to in the end, and its power of the cube's side."""


@dataclass(frozen=True)
class Point:
    """One GEMM: its side, its MACs, and CPU seconds: median, least and most."""

    size: int
    macs: int
    median: float
    least: float
    most: float
    runs: int


@dataclass(frozen=True)
class Curve:
    """All sizes of one series and fidelity.

    Parameters
    ----------
    unit
        What the time is proportional to in the end; "" if it is flat.
    units
        How many of them each point has.
    """

    series: str
    fidelity: str
    machine: str
    masks: str
    points: tuple[Point, ...]
    unit: str
    units: tuple[int, ...]

    @property
    def slope(self) -> float:
        """Growth of log time with log MACs: 1 is proportional.

        Over the three largest sizes; over all of them where time follows no unit of work.
        """
        return slope(self.points[-_TAIL:] if self.unit else self.points)

    @property
    def per_unit(self) -> float | None:
        """Seconds of one unit at the largest size."""
        return self.points[-1].median / self.units[-1] if self.unit else None

    @property
    def spread(self) -> float:
        """Slowest over fastest run, the median over all sizes."""
        return statistics.median(point.most / point.least for point in self.points)


def slope(points: Sequence[Point]) -> float:
    """Least squares of log time over log MACs.

    Examples
    --------
    >>> round(slope([Point(1, m, 3.0 * m, 0, 0, 1) for m in (10, 100, 1000)]), 9)
    1.0
    """
    fit = statistics.linear_regression(
        [math.log(point.macs) for point in points], [math.log(point.median) for point in points]
    )
    return fit.slope


def scientific(value: float) -> str:
    """A large number as people write it.

    Examples
    --------
    >>> scientific(2**21)
    '2.1·10⁶'
    """
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}·10{raised(int(exponent))}"


def raised(exponent: int) -> str:
    """An exponent in raised digits."""
    return str(exponent).translate(_RAISED)


def curves(measured: Mapping[str, Any]) -> list[Curve]:
    """Curves from what the measuring script wrote, in its order."""
    result = []
    keyed = sorted(
        measured["points"],
        key=lambda p: (list(measured["series"]).index(p["series"]), p["fidelity"] != "cycle"),
    )
    for (name, fidelity), found in groupby(keyed, itemgetter("series", "fidelity")):
        of = list(found)
        series = measured["series"][name]
        unit, power = _UNITS.get((name, fidelity), ("", 0))
        sides = 2 if fidelity == "analytical" else 1
        units = [p["group_steps"] if power == 3 else sides * p["size"] ** power for p in of]
        masks = f"A {series['a']}, B {series['b']}"
        points = tuple(_point(p) for p in of)
        machine = series["machine"]
        result.append(Curve(name, fidelity, machine, masks, points, unit, tuple(units)))
    return result


def _point(found: Mapping[str, Any]) -> Point:
    seconds = found["seconds"]
    return Point(
        found["size"],
        found["macs"],
        statistics.median(seconds),
        min(seconds),
        max(seconds),
        len(seconds),
    )
