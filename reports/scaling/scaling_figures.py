"""What 1 to 16 arrays on one memory channel gain on a layer that computes and on one that loads."""

import math
from collections.abc import Mapping
from typing import Any

import nmsim
from nmsim.machines import simulate
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.mask import SparseGemm
from nmsim.result import Result
from nmsim.run.point import Point

__all__ = ["ARRAYS", "BUFFERS", "LAYERS", "RECIPES", "measure"]

Figures = dict[str, Any]

ARRAYS = (1, 2, 3, 4, 6, 8, 12, 16)
BUFFERS = ("private", "shared")
RECIPES = {"dense": "dense", "2:4": "asp"}
LAYERS = {
    "compute-bound": {"model": "resnet50", "layers": "layer3.1.conv2", "batch": 32},
    "memory-bound": {"model": "bert-base", "layers": "encoder.layer.[*].output.dense", "batch": 1},
}
"""A convolution of 32 images, and the weights of a layer for the 128 tokens of one sequence.

``[*]`` is the block's own ``*``: attention's output has a name that a bare one would match.
"""

MACHINE = "systolic-128x128-2to4"


def measure(arrays: tuple[int, ...] = ARRAYS) -> Figures:
    """Cycles, bytes and waits of every layer, recipe, sort of buffers and number of arrays."""
    found: Figures = {}
    for name, layer in LAYERS.items():
        found[name] = {"layer": layer, "runs": {}}
        for pattern, recipe in RECIPES.items():
            work = _gemm(layer, recipe)
            g = work.gemm
            found[name]["size"] = [g.m, g.n, g.k]
            runs = {b: [_run(work, n, b) for n in arrays] for b in BUFFERS}
            found[name]["runs"][pattern] = {
                "channel_cycles": _channel(work),
                **runs,
            }
    return {"machine": MACHINE, "arrays": list(arrays), "layers": found}


def _gemm(layer: Mapping[str, Any], recipe: str) -> SparseGemm:
    point = Point(recipe=recipe, pattern="2:4", phases=["forward"], **layer)
    return next(iter(point.sparse_gemms()))


def _machine(**fields: Any) -> SystolicArray:
    found: SystolicArray = nmsim.load_hardware(MACHINE, **fields)
    return found


def _channel(work: SparseGemm) -> float:
    """Cycles that the channel takes for every operand and result once, whatever the arrays."""
    vast = {f"sram.{one}_kib": 2**30 for one in "abc"}
    once = simulate(_machine(**vast), work)
    return _busy(_machine(), once)


def _busy(machine: SystolicArray, run: Result) -> float:
    """Cycles that a channel takes for the bytes of a run."""
    moved = run.dram_read_bytes + run.dram_write_bytes
    return float(moved * machine.clock_mhz / ((machine.dram.gbps or math.inf) * 1e3))


def _run(work: SparseGemm, arrays: int, buffers: str) -> Figures:
    machine = _machine(arrays=arrays, buffers=buffers)
    run, closed = simulate(machine, work), simulate(machine, work, "analytical")
    if run.parts is None:
        raise ValueError(f"{machine.name}: expected parts of cycles")
    return {
        "arrays": arrays,
        "cycles": run.cycles,
        "analytical_cycles": closed.cycles,
        "partition": run.partition,
        "own_channel_cycles": _busy(machine, run),
        "bytes": run.dram_read_bytes + run.dram_write_bytes,
        "bandwidth": run.parts.dram_wait,
        "latency": run.parts.latency_wait,
        "write_back": run.parts.writeback_wait,
        "idle": run.idle_cycles,
        "at_work": run.compute_cycles - run.idle_cycles,
    }
