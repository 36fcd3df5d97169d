"""How numbers and names are written: separators, prefixes, significant digits, ellipses."""

import math
from collections.abc import Sequence
from typing import Any

__all__ = [
    "LOSS",
    "MISSING",
    "duration",
    "gain",
    "grouped",
    "levels_said",
    "percent",
    "prefix",
    "printable",
    "ratio",
    "shorten",
    "si",
    "significant",
    "told_apart",
    "trimmed",
    "worded",
]

MISSING = "–"
"""What stands where a figure is not known."""

LOSS = "↓"
"""What stands before a speed-up that is none."""

_PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def grouped(value: float | None, digits: int = 0) -> str:
    """Thousands separators and a fixed number of decimals.

    Examples
    --------
    >>> grouped(1234567), grouped(1234.56, 1), grouped(None)
    ('1,234,567', '1,234.6', '–')
    """
    return MISSING if _unknown(value) else f"{value:,.{digits}f}" if digits else f"{value:,}"


def trimmed(value: float) -> str:
    """Thousands separators and no decimals that say nothing.

    Examples
    --------
    >>> trimmed(1555.0), trimmed(0.5)
    ('1,555', '0.5')
    """
    return f"{value:,g}" if abs(value) < 1e6 else f"{value:,.0f}"


def significant(value: float | None, digits: int = 4) -> str:
    """So many significant digits, thousands separators, never an exponent for what fits on a page.

    Examples
    --------
    >>> significant(1234.5678), significant(0.0123456), significant(0.0), significant(3e-9)
    ('1,235', '0.01235', '0', '3.000e-09')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if not -6 <= magnitude <= 15:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{max(digits - 1 - magnitude, 0)}f}"


def ratio(value: float | None) -> str:
    """A speed-up: two decimals, or two digits where that would round to nothing.

    Examples
    --------
    >>> ratio(1.6789), ratio(0.0042), ratio(None)
    ('1.68', '0.0042', '–')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    return significant(value, 2) if abs(value) < 0.1 else f"{value:,.2f}"


def gain(value: float | None) -> str:
    """A speed-up, marked where it is a loss in the decimals that are shown.

    Examples
    --------
    >>> gain(1.6789), gain(0.934), gain(0.999), gain(None)
    ('1.68', '↓0.93', '1.00', '–')
    """
    lost = value is not None and round(value, 2) < 1
    return f"{LOSS}{ratio(value)}" if lost else ratio(value)


def percent(value: float | None) -> str:
    """A fraction in percent, one decimal, without the sign."""
    return MISSING if value is None or not math.isfinite(value) else f"{100 * value:.1f}"


def prefix(largest: float, *, below: float = 1e4) -> tuple[float, str]:
    """Divisor and SI prefix that bring the largest of some numbers below ``below``.

    Examples
    --------
    >>> prefix(2.5e9), prefix(900)
    ((1000000.0, 'M'), (1.0, ''))
    """
    step = 0
    while largest / 1000.0**step >= below and step < len(_PREFIXES) - 1:
        step += 1
    return 1000.0**step, _PREFIXES[step]


def si(value: float | None, unit: str) -> str:
    """Three or four significant digits and an SI prefix.

    Examples
    --------
    >>> si(4_089_184_256, "MACs"), si(512, "B"), si(None, "B")
    ('4.089 GMACs', '512 B', '–')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    divisor, letter = prefix(abs(value), below=1000)
    text = significant(value / divisor) if letter else f"{value:g}"
    return f"{text} {letter}{unit}"


def duration(microseconds: float | None) -> str:
    """A time in the unit that suits it.

    Examples
    --------
    >>> duration(12.5), duration(45678.0), duration(3.2e7)
    ('12.50 µs', '45.68 ms', '32.00 s')
    """
    if microseconds is None or not math.isfinite(microseconds):
        return MISSING
    for divisor, unit in ((1e6, "s"), (1e3, "ms"), (1.0, "µs")):
        if microseconds >= divisor:
            return f"{significant(microseconds / divisor)} {unit}"
    return f"{significant(microseconds * 1e3)} ns"


def shorten(text: str, width: int) -> str:
    """Cut the middle out of a name that is too long: its end tells it from its neighbours.

    Examples
    --------
    >>> shorten("encoder.layer.11.attention.self.query", 20)
    'encoder.l…self.query'
    """
    if len(text) <= width:
        return text
    tail = width // 2
    return f"{text[: width - tail - 1]}…{text[len(text) - tail :]}"


def told_apart(texts: Sequence[str], width: int) -> list[str]:
    """Names cut to a width, no two of them alike: what would be is numbered.

    Examples
    --------
    >>> told_apart(["encoder.layer.1.query", "encoder.layer.11.query", "head"], 13)
    ['encode….query', 'encode….query (2)', 'head']
    """
    found: dict[str, None] = {}
    for text in texts:
        short = name = shorten(text, width)
        number = 1
        while name in found:
            number += 1
            name = f"{short} ({number})"
        found[name] = None
    return list(found)


def worded(value: Any) -> str:
    """The value of a field as it was said: all digits of a number, "none" for what there is not.

    Examples
    --------
    >>> worded(64.0), worded(1048577), worded(0.1), worded(None), worded("2:4")
    ('64', '1048577', '0.1', 'none', '2:4')
    """
    if value is None or value == "":
        return "none"
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return str(int(value) if whole else value)


def levels_said(values: Sequence[Any]) -> list[str]:
    """Values of a field in words that tell them apart, long numbers cut where that still does.

    Examples
    --------
    >>> levels_said([1 / 3, 2 / 3, None]), levels_said([0.123456789, 0.123456788])
    (['0.33333', '0.66667', 'none'], ['0.123456789', '0.123456788'])
    """
    exact = [worded(value) for value in values]
    brief = [
        f"{value:.5g}" if isinstance(value, float) and len(text) > _LONG else text
        for value, text in zip(values, exact, strict=True)
    ]
    return brief if len(set(brief)) == len(set(exact)) else exact


_LONG = 8
"""Characters of a number from which on it is cut."""


def printable(text: str) -> str:
    """The text on one line, without anything that a terminal would obey."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _unknown(value: float | None) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))
