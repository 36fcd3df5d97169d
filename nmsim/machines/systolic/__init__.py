"""Systolic arrays: processing elements in rows and columns, dense, selecting or intersecting."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nmsim.machines.folders import columns_in
from nmsim.machines.kind import KINDS, Engine, Kind, Passes, Ran
from nmsim.machines.systolic.dataflow import LISTING
from nmsim.machines.systolic.engines import (
    simulate_all_analytical,
    simulate_analytical,
    simulate_cycle,
    stored,
)
from nmsim.machines.systolic.fusion import FUSION
from nmsim.machines.systolic.mends import EXPLAIN
from nmsim.machines.systolic.pe.selectors import columns, facts
from nmsim.machines.systolic.pe.silicon import chip_of
from nmsim.machines.systolic.placement import follows_promises
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.timeline import timeline
from nmsim.machines.systolic.traffic.energy import pricing
from nmsim.machines.width import in_own_width

__all__: list[str] = []


def _passes_us(machine: SystolicArray, passes: Passes) -> NDArray[np.float64]:
    """Microseconds of passes: their bytes through DRAM, a lower bound without a vector unit."""
    if machine.dram.gbps is None:
        return np.zeros(len(passes.packs))
    return passes.bytes / (machine.dram.gbps * 1e3)


def _passes_rest_on(machine: SystolicArray) -> str:
    if machine.dram.gbps is None:
        return "0 on the array: DRAM is unlimited, and no vector unit is modelled"
    return "bytes through DRAM, a lower bound: no vector unit is modelled"


@lru_cache(maxsize=256)
def _in_format(machine: SystolicArray, wanted: str = "") -> Ran:
    """A machine as it runs a number format, at the clock that it reaches where its file says so."""
    if machine.clock == "as_synthesised":
        slower = 1 + chip_of(machine).delay.clock_share
        update = {"clock_mhz": machine.clock_mhz / slower, "clock": "as_given"}
        machine = machine.model_copy(update=update)
    return in_own_width(machine, wanted)


def _samples(machine: SystolicArray, fidelity: str) -> bool:
    return machine.intersecting is not None and fidelity == "cycle"


KINDS.add(
    "systolic",
    Kind(
        schema=SystolicArray,
        catalog=Path(__file__).parent / "catalog",
        engines={
            "cycle": Engine(simulate_cycle, "systolic array, fold by fold"),
            "analytical": Engine(
                simulate_analytical, "systolic array, closed forms", simulate_all_analytical
            ),
        },
        stored=stored,
        passes_us=_passes_us,
        in_format=_in_format,
        operand_bits=lambda machine: machine.operand_bits,
        output_bits=lambda machine: machine.output_bits,
        passes_rest_on=_passes_rest_on,
        own_columns=columns_in(Path(__file__).parent),
        columns=columns,
        by_promise=follows_promises,
        facts=facts,
        samples=_samples,
        listings={"dataflows": LISTING},
        silicon=chip_of,
        energy=pricing,
        fusion=FUSION,
        timeline=timeline,
        explain=EXPLAIN,
    ),
)
