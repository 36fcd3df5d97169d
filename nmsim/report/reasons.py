"""Why GEMMs gain what they gain, as their rows say: told once for all rows that say the like."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

__all__ = ["PASSED_OVER", "counted", "passed_over", "policy_said", "reasons", "told_once", "why"]

Row = Mapping[str, Any]

PASSED_OVER = "runs dense: with its mask alone it would be no faster"
"""What is said of a GEMM whose mask could be used and is not."""

# Of "2:4", "conv1" and "int8" no figure is taken: these are names.
_NUMBER = re.compile(r"(?<![\w:.,])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?\b(?!:)")


def passed_over(row: Row) -> bool:
    """Whether a mask could be used and the machine chose to run without."""
    chosen = str(row.get("chosen") or "")
    return row.get("mask_cycles") is not None and chosen.startswith("dense")


def policy_said(total: Row) -> str:
    """How many GEMMs lose by their masks, and what both policies come to; "": none does.

    Parameters
    ----------
    total
        Of `nmsim.result.totals`.
    """
    losing, masked = total.get("losing"), total["masked"]
    if not losing:
        return ""
    lose = "loses by its mask" if losing == 1 else "lose by their masks"
    told = f"{losing} of {masked} masked GEMMs {lose}"
    always, paying, runs = (total[f"{one}speedup"] for one in ("mask_", "paying_", ""))
    if abs(runs - paying) <= abs(runs - always):
        return (
            f"{told} and run dense: GEMMs gain {runs:.2f}×, with every mask followed {always:.2f}×"
        )
    return f"{told}, followed all the same: GEMMs gain {runs:.2f}×, where masks pay {paying:.2f}×"


def reasons(row: Row) -> list[str]:
    """What a reader should know of a row's speed-up, each reason for itself."""
    used = PASSED_OVER if passed_over(row) else _without_gain(row)
    return list(filter(None, (*str(row.get("note") or "").split("; "), used)))


def why(row: Row) -> str:
    """What a reader should know of a row's speed-up, in a line; every 1.00 has a reason."""
    told = reasons(row)
    gain = row.get("speedup")
    plain = gain is not None and abs(gain - 1) < _LEAST_GAIN - 1
    if not told and plain and {row["a_pattern"], row["b_pattern"]} == {"dense"}:
        return "no mask is offered to it"
    return "; ".join(told)


def _without_gain(row: Row) -> str:
    """What is said of a mask that is used and saves no time, as far as two decimals show."""
    gain = row.get("speedup")
    if row.get("mask_cycles") is None or gain is None or gain >= _LEAST_GAIN:
        return ""
    return f"its mask is used and {'costs' if gain < 2 - _LEAST_GAIN else 'saves no'} time"


_LEAST_GAIN = 1.005
"""Below it, a speed-up is printed as 1.00 or less."""


def told_once(rows: Iterable[Row]) -> dict[str, str]:
    """The reasons of rows, and how each is told: those that differ in figures alone, by ranges.

    Examples
    --------
    >>> rows = [{"note": f"runs dense: {share}% of the groups break 2:4"} for share in (48.2, 45)]
    >>> set(told_once(rows).values())
    {'runs dense: 45 to 48.2% of the groups break 2:4'}
    """
    alike: dict[str, dict[str, None]] = {}
    for said in chain.from_iterable(map(reasons, rows)):
        alike.setdefault(_NUMBER.sub("#", said), {})[said] = None
    return {said: _merged(list(of)) for of in alike.values() for said in of}


def counted(rows: Iterable[Row]) -> list[str]:
    """The reasons of some rows, that of most GEMMs first: "12 GEMMs: ..."."""
    table = list(rows)
    told = told_once(table)
    found = Counter(told[said] for row in table for said in reasons(row))
    return [f"{n} GEMM{'s' * (n > 1)}: {text}" for text, n in found.most_common()]


def _merged(texts: list[str]) -> str:
    """Texts that differ in figures alone as one, with the range of each figure."""
    columns = zip(*(_NUMBER.findall(text) for text in texts), strict=True)
    ranges = iter([_range(list(dict.fromkeys(column))) for column in columns])
    return _NUMBER.sub(lambda _: next(ranges), texts[0])


def _range(figures: list[str]) -> str:
    least, most = min(figures, key=_value), max(figures, key=_value)
    return least if _value(least) == _value(most) else f"{least} to {most}"


def _value(figure: str) -> float:
    return float(figure.replace(",", ""))
