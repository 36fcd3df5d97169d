"""What a paper says, what nmsim finds, and whether the two agree."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Section", "Verdict", "judged", "power", "within_last_digit"]

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Verdict:
    """One statement of a paper; ``because`` says why it is not met, and is empty where it is."""

    statement: str
    where: str
    printed: str
    computed: str
    because: str = ""

    @property
    def reproduced(self) -> bool:
        """Whether nmsim finds what the paper says."""
        return not self.because


@dataclass(frozen=True)
class Section:
    """One claim: which paper, which N it means in its table and prose, every figure and verdict."""

    name: str
    title: str
    paper: str
    n_is: str
    meaning_of_n: str
    figures: dict[str, Any]
    verdicts: list[Verdict]

    def record(self) -> dict[str, Any]:
        """Everything of it as JSON."""
        stated = [{**asdict(v), "reproduced": v.reproduced} for v in self.verdicts]
        return {**asdict(self), "verdicts": stated}


def judged(
    statement: str, where: str, printed: str, computed: str, failures: Iterable[str]
) -> Verdict:
    """Judge a statement by what contradicts it: nothing, if it is reproduced."""
    return Verdict(statement, where, printed, computed, "; ".join(failures))


def power(value: float, digits: int = 4) -> str:
    """A large number as people write it.

    Examples
    --------
    >>> power(1.8326e18), power(4e9, 1)
    ('1.833·10¹⁸', '4·10⁹')
    """
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa}·10{str(int(exponent)).translate(_RAISED)}"


def within_last_digit(value: float, mantissa: str, exponent: int) -> bool:
    """Whether a value is the printed one, rounded or cut: less than a unit of its last digit off.

    Examples
    --------
    >>> within_last_digit(5.765e14, "5.7", 14), within_last_digit(5.9e14, "5.7", 14)
    (True, False)
    """
    unit = 10.0 ** (exponent - len(mantissa.partition(".")[2]))
    return abs(value - float(mantissa) * 10.0**exponent) < unit
