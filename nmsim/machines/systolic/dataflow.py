"""Systolic dataflows: which GEMM dimension lies along rows, columns and time.

A dataflow is a placement and the cost of a fold. The three dimensions of a GEMM are m, n and k;
those along rows and columns are cut into folds of R and C, the third one streams.
"""

from dataclasses import dataclass
from typing import Literal

from nmsim.machines.kind import Listing
from nmsim.registry import unknown_name

__all__ = ["DATAFLOWS", "LISTING", "Dataflow", "Dimension", "dataflow_of"]

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


_SOURCE = "Samajdar et al., ISPASS 2020, section III"

OUTPUT_STATIONARY = Dataflow(
    name="os",
    rows="m",
    cols="n",
    time="k",
    preloads=False,
    drains=True,
    summary="outputs stay: every PE accumulates one element of C while A and B stream past",
    source=_SOURCE,
)

WEIGHT_STATIONARY = Dataflow(
    name="ws",
    rows="k",
    cols="n",
    time="m",
    preloads=True,
    drains=False,
    summary="weights stay: B is shifted in, A streams along rows, sums run down columns",
    source=_SOURCE,
)

INPUT_STATIONARY = Dataflow(
    name="is",
    rows="k",
    cols="m",
    time="n",
    preloads=True,
    drains=False,
    summary="inputs stay: A is shifted in, B streams along rows, sums run down columns",
    source=_SOURCE,
)

DATAFLOWS = {
    dataflow.name: dataflow for dataflow in (INPUT_STATIONARY, OUTPUT_STATIONARY, WEIGHT_STATIONARY)
}
"""All that there are: K lies on the rows or in time, and the fourth placement is os turned."""

LISTING = Listing(
    names=lambda: DATAFLOWS,
    summary=lambda name: dataflow_of(name).summary,
    facts=lambda name: [(key, str(value)) for key, value in vars(dataflow_of(name)).items()],
)
"""What `nmsim list dataflows` and `nmsim show dataflow` print."""


def dataflow_of(name: str) -> Dataflow:
    """The dataflow of a name: ws, is or os.

    Raises
    ------
    UnknownName
        if there is none of the name.
    """
    if name not in DATAFLOWS:
        raise unknown_name("dataflow", name, DATAFLOWS)
    return DATAFLOWS[name]
