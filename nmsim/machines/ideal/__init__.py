"""Ideal machines: MACs over a peak, the bound that a recipe is held against."""

from pathlib import Path

import numpy as np

from nmsim.machines.ideal import engine
from nmsim.machines.ideal.explained import EXPLAIN
from nmsim.machines.ideal.schema import IdealMachine
from nmsim.machines.kind import KINDS, Engine, Kind
from nmsim.machines.width import in_own_width

__all__: list[str] = []

_ENGINE = Engine(engine.simulate, "MACs over the peak, one exact formula for both fidelities")

KINDS.add(
    "ideal",
    Kind(
        schema=IdealMachine,
        catalog=Path(__file__).parent / "catalog",
        engines={"cycle": _ENGINE, "analytical": _ENGINE},
        stored=engine.stored,
        passes_us=lambda _machine, passes: np.zeros(len(passes.packs)),
        in_format=in_own_width,
        operand_bits=lambda machine: machine.operand_bits,
        output_bits=lambda machine: machine.output_bits,
        passes_rest_on=lambda _machine: "0: an ideal machine counts MACs alone",
        host=False,
        any_axis=True,
        explain=EXPLAIN,
    ),
)
