"""Which of many cases the fast tests take; the others are left to the slow ones."""

import pytest


def fast_first(cases, few):
    """All cases, those behind the first few marked slow."""
    return [
        case if at < few else pytest.param(*values(case), marks=pytest.mark.slow)
        for at, case in enumerate(cases)
    ]


def fast_every(cases, step):
    """All cases, those between every step-th marked slow."""
    return [
        case if at % step == 0 else pytest.param(*values(case), marks=pytest.mark.slow)
        for at, case in enumerate(cases)
    ]


def values(case):
    """The values of a case: of several arguments, or of one."""
    return case if isinstance(case, tuple) else (case,)
