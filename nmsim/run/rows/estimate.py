"""Columns of a row for what of a network's step is no GEMM, and for the dense step beside it."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from nmsim.machines import Machine
from nmsim.mask import SparseGemm
from nmsim.network.layer import Bare
from nmsim.run.workload import Workload
from nmsim.step.elementwise import ELEMENTWISE_COLUMNS, Beside, beside, elementwise_columns

__all__ = ["ESTIMATED", "Estimate", "estimate", "no_estimate"]

Row = dict[str, Any]

ESTIMATED = (*ELEMENTWISE_COLUMNS, "dense_elementwise_us", "dense_host_us")
"""The columns, none of which has a value where nothing is estimated."""

Estimate = Callable[[Machine, Machine, SparseGemm], Row]
"""From the machine that runs a GEMM, the machine in its own number format, and the GEMM to its
columns."""


def no_estimate(_machine: Machine, _own: Machine, _work: SparseGemm) -> Row:
    """Columns without a value: nothing was asked for, or GEMMs are given without a network."""
    return dict.fromkeys(ESTIMATED)


def estimate(workload: Workload, samples: int) -> Estimate:
    """What gives the columns of each GEMM of a workload; none to GEMMs that are given by size."""
    layers = [layer for layer in workload.layers if not isinstance(layer, Bare)]
    if not layers:
        return no_estimate

    @lru_cache(maxsize=8)
    def found(machine: Machine) -> Beside:
        return beside(machine, layers, samples, workload.scenario, workload.idle)

    def columns(machine: Machine, own: Machine, work: SparseGemm) -> Row:
        run = elementwise_columns(machine, found(machine), work.gemm)
        same = machine is own or machine == own
        dense = run if same else elementwise_columns(own, found(own), work.gemm)
        return {
            **run,
            "dense_elementwise_us": dense["elementwise_us"],
            "dense_host_us": dense["host_us"],
        }

    return columns
