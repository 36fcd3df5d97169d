"""Queries, keys and values in one matrix, head by head, as GPT-NeoX, BLOOM and Falcon have them.

The rows of a head of keys follow one another: the queries that read it, the keys, the values. So
are ``query_key_value`` of transformers viewed: groups x (queries + 2) x rows of a head.
"""

import re
from collections.abc import Iterable, Mapping

__all__ = ["packed_by_head", "rows_by_head"]

_NAME = re.compile(r"(?:(.*)\.)?qkv\[([1-9]\d{0,5})\]\.(.*)")
"""The name that a rule gives such a matrix, with the rows of a head: a file does not say them."""


def packed_by_head(names: Iterable[str]) -> Mapping[tuple[str, str], tuple[str, int]]:
    """Of names those of such matrices, by what stands before and behind, with the rows of a head.

    Examples
    --------
    >>> packed_by_head(["h.0.attn.qkv[64].weight", "h.0.attn.qkv.weight"])
    {('h.0.attn', 'weight'): ('h.0.attn.qkv[64].weight', 64)}
    """
    found = ((_NAME.fullmatch(name), name) for name in names)
    return {(at[1] or "", at[3]): (name, int(at[2])) for at, name in found if at}


def rows_by_head(whole: int, wanted: int, head: int, which: int) -> tuple[range, ...]:
    """Rows of the queries, the keys or the values, for each head of keys; none: sizes do not fit.

    Parameters
    ----------
    whole, wanted
        Rows of the matrix, and of what is wanted of it.
    head
        Rows of a head.
    which
        0, 1 or 2: queries, keys or values.

    Examples
    --------
    >>> rows_by_head(16, 8, 2, 0)
    (range(0, 4), range(8, 12))
    >>> rows_by_head(16, 4, 2, 2)
    (range(6, 8), range(14, 16))
    >>> rows_by_head(36, 20, 8, 0)  # 20 rows are no heads of 8
    ()
    """
    groups = wanted // head if which else (whole - wanted) // (2 * head)
    if groups < 1 or whole % groups:
        return ()
    each = whole // groups
    queries = each - 2 * head
    first, long = ((0, queries), (queries, head), (queries + head, head))[which]
    if queries < head or queries % head or wanted != groups * long:
        return ()
    return tuple(range(start + first, start + first + long) for start in range(0, whole, each))
