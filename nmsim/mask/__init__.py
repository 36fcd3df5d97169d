"""Masks of operands, and the one unit of work: a GEMM with a mask for each operand.

A mask is a matrix of rows x K bits, set where an element is kept. It is a promise first
(`nmsim.mask.mask`) and bits second, packed 64 to a word (`nmsim.mask.words`).
"""

from nmsim.mask.bits import broken_promise
from nmsim.mask.mask import Mask, Promise
from nmsim.mask.sparse_gemm import Promised, Share, SparseGemm

__all__ = ["Mask", "Promise", "Promised", "Share", "SparseGemm", "broken_promise"]
