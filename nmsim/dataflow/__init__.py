"""Systolic dataflows, one per file: which GEMM dimension lies along rows, columns and time.

A dataflow is a placement and the cost of a fold. The three dimensions of a GEMM are m, n and k;
those along rows and columns are cut into folds of R and C, the third one streams.
"""

import sys
from dataclasses import dataclass
from typing import Literal

from nmsim.registry import Registry

__all__ = ["DATAFLOWS", "Dataflow", "Dimension"]

Dimension = Literal["m", "n", "k"]


@dataclass(frozen=True)
class Dataflow:
    """Where a GEMM's dimensions lie on an array of R x C processing elements.

    Parameters
    ----------
    name
        "os", "ws", "is".
    rows, cols, time
        The dimension along the array's rows, along its columns, and streamed.
    preloads
        The stationary operand is shifted in before a fold, R cycles.
    drains
        Outputs stay in the array and are shifted out after a fold, R cycles.
    summary, source
        One line each.
    """

    name: str
    rows: Dimension
    cols: Dimension
    time: Dimension
    preloads: bool
    drains: bool
    summary: str
    source: str

    def __post_init__(self) -> None:
        if {self.rows, self.cols, self.time} != {"m", "n", "k"} or self.cols == "k":
            raise ValueError(f"dataflow {self.name!r}: expected K on the rows or in time")

    @property
    def transposed(self) -> str:
        """The dataflow that makes ``C^T = B . A^T`` of this one: m and n change places."""
        swap: dict[Dimension, Dimension] = {"m": "n", "n": "m", "k": "k"}
        rows, cols = swap[self.rows], swap[self.cols]
        if self.rows != "k":  # the array has no preferred side: turn it, too
            rows, cols = cols, rows
        turned = (
            name
            for name in DATAFLOWS
            if (DATAFLOWS[name].rows, DATAFLOWS[name].cols) == (rows, cols)
        )
        return next(turned, f"{self.name} transposed")


DATAFLOWS: Registry[Dataflow] = Registry("dataflow")
DATAFLOWS.scan(sys.modules[__name__])
