"""JSON that was stored by nmsim, read back: what was cut short, edited or damaged is refused."""

import json
import math
from typing import Any

from nmsim.errors import SpecError

__all__ = ["parse_json"]

_DEEPEST = 64
"""Values within values, at most: what nmsim writes has a tenth, and drawing a page recurses."""

_DIGITS = 300
"""Of an integer, at most: what is divided or drawn must fit a float."""


def parse_json(text: str, where: str) -> Any:
    """What a JSON text says, if all its numbers are finite and it is not nested without end.

    Parameters
    ----------
    where
        The file, as the message calls it.

    Raises
    ------
    SpecError
        in one line that begins with ``where``.
    """
    try:
        found = json.loads(text, parse_constant=_constant, parse_float=_finite, parse_int=_bounded)
        _check_depth(found)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{where}: not JSON, or cut short ({error})") from error
    return found


def _constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is beyond what a number can be")
    return value


def _bounded(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits, expected {_DIGITS} at most")
    return int(digits)


def _check_depth(found: Any) -> None:
    """Level by level, as a recursion would end where it must not."""
    level = [found]
    for _ in range(_DEEPEST):
        inner = (
            one.values() if isinstance(one, dict) else one
            for one in level
            if isinstance(one, dict | list)
        )
        level = [value for values in inner for value in values]
        if not level:
            return
    raise ValueError(f"nested more than {_DEEPEST} deep")
