"""Numbers as papers print them."""

__all__ = ["power", "within_last_digit"]

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


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
