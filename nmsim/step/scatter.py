"""The pass over memory after a GEMM that does not leave an image as it is to be.

A convolution's input gradient as columns (``columns``) is added up where windows overlap: every
column is read, every pixel written (col2im). As an implicit GEMM it lacks the pixels that no window
reaches, such as three of four behind a 1x1 window of stride 2, which are set to zero. A transposed
convolution's output is made likewise.
"""

from collections.abc import Iterator

from nmsim.gemm import Gemm
from nmsim.machines import Machine, Pass, kind_of

__all__ = ["scatter_bytes", "scatter_us"]


def scatter_us(machine: Machine, gemm: Gemm) -> float:
    """Microseconds of the passes after a GEMM, all repeats; 0 where there are none."""
    kind = kind_of(machine)
    return sum(kind.pass_us(machine, one) for one in _passes(machine, gemm)) * gemm.repeat


def scatter_bytes(machine: Machine, gemm: Gemm) -> int:
    """Bytes that these passes read and write, all copies and repeats."""
    bits = kind_of(machine).output_bits(machine)
    elements = gemm.scatter_elements + gemm.zeroed_elements
    return -(-elements * gemm.count * bits // 8) * gemm.repeat


def _passes(machine: Machine, gemm: Gemm) -> Iterator[Pass]:
    size = kind_of(machine).output_bits(machine) / 8 * gemm.count
    if gemm.scatter_elements:
        columns = min(gemm.scatter_elements, gemm.m * gemm.n)
        pixels = gemm.scatter_elements - columns
        yield Pass("col2im", columns * size, pixels * size, columns)
    if gemm.zeroed_elements:
        yield Pass("zeros", 0.0, gemm.zeroed_elements * size)
