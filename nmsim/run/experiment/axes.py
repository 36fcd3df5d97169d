"""What an experiment varies: fields and their values, one by one or several in step.

A field has a list of values, or a range: ``{from: 64, to: 256, step: 64}``, which the text
``64..256 step 64`` says too, or ``{from: 64, to: 4096, points: 7, scale: log}``.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from nmsim.errors import SpecError
from nmsim.registry import unknown_name

__all__ = ["ZIP", "Axis", "axes", "range_of", "values_by_field"]

ZIP = "zip"
"""In place of a field: a list of fields and values that change together."""

_MOST = 1_000_000
"""Values of one axis."""

_TEXT = re.compile(
    r"\s*(?P<from>[-+.\deE]+?)\s*\.\.\s*(?P<to>[-+.\deE]+)"
    r"(?:\s+step\s+(?P<step>[-+.\deE]+)|\s+points\s+(?P<points>\d+)(?:\s+(?P<scale>log|linear))?)?\s*"
)
_KEYS = ("from", "to", "step", "points", "scale")
_SCALES = ("linear", "log")

Number = int | float


@dataclass(frozen=True)
class Axis:
    """Fields that change together, and the values that they take: one of each, for each step.

    Parameters
    ----------
    names
        Of the fields.
    values
        For each step a value of each field.
    """

    names: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]


def axes(vary: Mapping[str, Any]) -> list[Axis]:
    """The axes that ``vary`` of an experiment lists, in its order.

    Raises
    ------
    SpecError
        naming the field and what was expected.

    Examples
    --------
    >>> [axis.values for axis in axes({"rows": "64..256 step 64", "pattern": ["2:4"]})]
    [((64,), (128,), (192,), (256,)), (('2:4',),)]
    """
    return [
        _zipped(said) if name == ZIP else _axis((name,), [(one,) for one in _values(name, said)])
        for name, said in vary.items()
    ]


def values_by_field(vary: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The values that ``vary`` of an experiment lists of each of its fields.

    Examples
    --------
    >>> values_by_field({"zip": [{"rows": 64, "cols": 32}, {"rows": 128, "cols": 64}]})
    {'rows': (64, 128), 'cols': (32, 64)}
    """
    return {
        name: values
        for axis in axes(vary)
        for name, values in zip(axis.names, zip(*axis.values, strict=True), strict=True)
    }


def _axis(names: tuple[str, ...], values: Iterable[tuple[Any, ...]]) -> Axis:
    found = tuple(values)
    if len({repr(one) for one in found}) < len(found):
        raise SpecError(f"vary.{names[0]}: expected each entry once")
    return Axis(names, found)


def _values(name: str, said: Any) -> tuple[Any, ...]:
    where = f"vary.{name}"
    if isinstance(said, Mapping):
        return range_of(said, where)
    if isinstance(said, str) and ".." in said and (match := _TEXT.fullmatch(said)):
        return range_of(_numbers(match.groupdict(), where), where)
    if not isinstance(said, list | tuple):
        return (_value(said, where),)
    if not said:
        raise SpecError(f"{where} is [], expected one value or more")
    return tuple(_value(one, where) for one in said)


def _value(said: Any, where: str) -> Any:
    """A value as fields have it: lists are tuples."""
    if isinstance(said, list | tuple):
        return tuple(_value(one, where) for one in said)
    if said is None or isinstance(said, bool | int | float | str):
        return said
    raise SpecError(f"{where}: {repr(said)[:40]}, expected numbers, texts, true, false or null")


def _zipped(said: Any) -> Axis:
    """Fields in step: a list of mappings with the same fields, or lists of one length by field."""
    if isinstance(said, Mapping):
        columns = {str(name): _values(f"zip.{name}", one) for name, one in said.items()}
        if not columns or len({len(one) for one in columns.values()}) > 1:
            told = ", ".join(f"{len(one)} of {name}" for name, one in columns.items())
            raise SpecError(f"vary.zip: {told or 'nothing'}, expected as many values of each field")
        return _axis(tuple(columns), zip(*columns.values(), strict=True))
    if not isinstance(said, list | tuple) or not said:
        raise SpecError("vary.zip: expected a list of fields and their values")
    for at, entry in enumerate(said):
        if not isinstance(entry, Mapping) or not entry or set(entry) != set(said[0]):
            raise SpecError(f"vary.zip[{at}]: expected values of the same fields as in vary.zip[0]")
    names = tuple(said[0])
    rows = [tuple(_value(one[name], f"vary.zip.{name}") for name in names) for one in said]
    return _axis(tuple(map(str, names)), rows)


def _numbers(texts: Mapping[str, str | None], where: str) -> dict[str, Any]:
    """A range from its text: the numbers that stand in it, step 1 where it says none."""
    said = {name: text for name, text in texts.items() if text is not None}
    found: dict[str, Any] = {
        name: text if name == "scale" else _number(text, where) for name, text in said.items()
    }
    return found if {"step", "points"} & found.keys() else {**found, "step": 1}


def _number(text: str, where: str) -> Number:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise SpecError(f"{where}: {text!r}, expected a number")


def range_of(said: Mapping[str, Any], where: str) -> tuple[Number, ...]:
    """The values of a range, whole numbers as integers.

    By ``step`` from the first to the last, as the numbers are written (0.1 three times is 0.3); by
    ``points`` at equal distances, or with ``scale: log`` at equal ratios.

    Raises
    ------
    SpecError
        naming the field and what was expected.

    Examples
    --------
    >>> range_of({"from": 64, "to": 1024, "points": 5, "scale": "log"}, "vary.rows")
    (64, 128, 256, 512, 1024)
    >>> range_of({"from": 0.1, "to": 0.3, "step": 0.1}, "vary.x")
    (0.1, 0.2, 0.3)
    """
    for name in said:
        if name not in _KEYS:
            raise SpecError(f"{where}: {unknown_name('key of a range', str(name), _KEYS)}")
    for name in ("from", "to"):
        _check_number(said.get(name), f"{where}.{name}")
    first, last, scale = said["from"], said["to"], said.get("scale", "linear")
    if ("step" in said) == ("points" in said):
        raise SpecError(f"{where}: expected step or points beside from and to")
    if scale not in _SCALES:
        raise SpecError(f"{where}.scale is {scale!r}, expected linear or log")
    if "step" in said:
        if "scale" in said:
            raise SpecError(f"{where}: scale with step, expected points")
        return _stepped(first, last, said["step"], where)
    points = said["points"]
    if not isinstance(points, int) or isinstance(points, bool) or not 2 <= points <= _MOST:
        raise SpecError(f"{where}.points is {points!r}, expected an integer of 2 to {_MOST}")
    if scale == "log" and not (first > 0 and last > 0):
        raise SpecError(f"{where}: log from {first} to {last}, expected both above 0")
    return _spaced(first, last, points, scale)


def _check_number(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SpecError(f"{where} is {value!r}, expected a number")


def _stepped(first: Number, last: Number, step: Any, where: str) -> tuple[Number, ...]:
    _check_number(step, f"{where}.step")
    low, high, by = (Fraction(str(one)) for one in (first, last, step))
    if by == 0 or (high - low) / by < 0:
        raise SpecError(f"{where}.step is {step}, expected one that leads from {first} to {last}")
    count = (high - low) // by + 1
    if count > _MOST:
        raise SpecError(f"{where}: {count} values, expected {_MOST} at most")
    exact = (low + at * by for at in range(count))
    return tuple(int(one) if one.denominator == 1 else float(one) for one in exact)


def _spaced(first: Number, last: Number, points: int, scale: str) -> tuple[Number, ...]:
    """Both ends as they are written, and between them equal distances, or equal ratios."""
    shares = [at / (points - 1) for at in range(1, points - 1)]
    if scale == "log":
        between = [first * (last / first) ** share for share in shares]
    else:
        between = [first + (last - first) * share for share in shares]
    return (first, *map(_whole, between), last)


def _whole(value: float) -> Number:
    """A number as an integer where it is one but for rounding: integer fields take no 128.0."""
    near = round(value)
    return near if abs(value - near) <= 1e-9 * max(1.0, abs(near)) else value
