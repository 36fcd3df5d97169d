"""Sizes of what is multiplied: the largest that a GEMM or an attention may have."""

__all__ = ["MAX_SIZE"]

MAX_SIZE = 1 << 31
"""The largest size or count of a GEMM."""
