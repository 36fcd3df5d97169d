"""Bit-operations: multiply-adds weighed by the widths of their operands."""

__all__ = ["bit_operations"]


def bit_operations(macs: int, a_bits: int, b_bits: int) -> int:
    """BOPs of so many MACs: MACs x bits of A x bits of B.

    The count of Wang, Lu and Blankevoort (ECCV 2020, section 3), by which Chmiel et al. (ICLR 2023,
    section 6) call 4-bit operands at 2:4 and 4:8 equivalent to 2-bit ones. Widths of sums, which
    other definitions add (Baskin et al., UNIQ, 2018), are not in it.

    Examples
    --------
    Two masks of half density leave a quarter of the MACs:

    >>> bit_operations(1000 // 4, 4, 4) == bit_operations(1000, 2, 2)
    True
    """
    return macs * a_bits * b_bits
