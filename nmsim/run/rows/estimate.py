"""Columns of rows for what of a network's step is no GEMM, and for the dense step beside it."""

from collections.abc import Callable, Sequence
from typing import Any

from nmsim.files import remembered
from nmsim.machines import Machine
from nmsim.mask import SparseGemm
from nmsim.network.layer import Bare
from nmsim.result import Columns
from nmsim.run.workload import Workload
from nmsim.step.elementwise import ELEMENTWISE_COLUMNS, Beside, Means, beside, elementwise_columns

__all__ = ["ESTIMATED", "Estimate", "estimate", "no_estimate"]

ESTIMATED = (*ELEMENTWISE_COLUMNS, "dense_elementwise_us", "dense_host_us")
"""The columns, none of which has a value where nothing is estimated."""

Estimate = Callable[[Machine, Machine, Sequence[SparseGemm]], Columns]
"""From the machine that runs GEMMs, the machine in its own number format, and the GEMMs to their
columns."""


def no_estimate(_machine: Machine, _own: Machine, works: Sequence[SparseGemm]) -> Columns:
    """Columns without a value: nothing was asked for, or GEMMs are given without a network."""
    none: list[Any] = [None] * len(works)
    return dict.fromkeys(ESTIMATED, none)


def estimate(workload: Workload, samples: int) -> Estimate:
    """What gives the columns of GEMMs of a workload; none to GEMMs that are given by size."""
    if all(isinstance(layer, Bare) for layer in workload.layers):
        return no_estimate

    def columns(machine: Machine, own: Machine, works: Sequence[SparseGemm]) -> Columns:
        gemms = [work.gemm for work in works]
        run = elementwise_columns(machine, _beside(Means.of(machine), workload, samples), gemms)
        same = machine is own or machine == own
        found = None if same else _beside(Means.of(own), workload, samples)
        dense = run if found is None else elementwise_columns(own, found, gemms)
        return {
            **run,
            "dense_elementwise_us": dense["elementwise_us"],
            "dense_host_us": dense["host_us"],
        }

    return columns


@remembered(maxsize=32)
def _beside(means: Means, workload: Workload, samples: int) -> Beside:
    layers = [layer for layer in workload.layers if not isinstance(layer, Bare)]
    return beside(means, layers, samples, workload.scenario, workload.idle)
