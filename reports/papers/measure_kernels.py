"""What nmsim's own kernels take on a CPU core: run by hand, writes ``measurements.json``.

``OPENBLAS_NUM_THREADS=1 python -m reports.papers.measure_kernels``, about two minutes. Kernels take
turns, so that what else the machine does falls on all of them alike; compiling is not in the times.
Times are CPU seconds. Ratios between kernels of one run mean more than the times themselves.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from nmsim import __version__, prune
from nmsim.files import write_folder

HERE = Path(__file__).resolve().parent
RESULT = "measurements.json"

Floats = NDArray[np.float32]

SEARCHES = {
    "min-cost flow": "transposable",
    "2-approximation": "transposable-2approx",
    "greedy": "transposable-greedy",
}
"""Searches of a transposable mask by the names of the paper; the greedy is its released code."""

INTEGER_PROGRAM = "integer program"
ESTIMATORS = {
    "MVUE 1:2": ("mvue", "1:2"),
    "MVUE 2:4": ("mvue", "2:4"),
    "approx-MVUE 2:4": ("mvue-approx", "2:4"),
}
ACTIVATIONS = ("2:4", "4:8")
GROUPS = (4, 8, 16, 32)
"""Sides of tiles, half of whose elements are kept, on which the growth of times is seen."""

_SIDE, _FEW, _ROUNDS = 1024, 128, 15


def integer_program(values: Floats, group: int) -> NDArray[np.bool_]:
    """Solve Eq. 3 of Hubara et al. tile by tile: binary variables, at most half of each line.

    Sides are multiples of ``group``; the mask has the shape of the values.
    """
    lines = np.zeros((2 * group, group, group))
    for at in range(group):
        lines[at, at, :] = 1
        lines[group + at, :, at] = 1
    fits = LinearConstraint(lines.reshape(2 * group, -1), -np.inf, group // 2)
    rows, cols = (size // group for size in values.shape)
    tiles = np.abs(values).reshape(rows, group, cols, group).swapaxes(1, 2)
    kept = np.empty((rows * cols, group * group), np.bool_)
    for tile, mask in zip(tiles.reshape(kept.shape), kept, strict=True):
        found = milp(
            -tile.astype(float),
            integrality=np.ones(tile.size),
            bounds=Bounds(0, 1),
            constraints=fits,
        )
        if not found.success:
            raise RuntimeError(found.message)
        mask[:] = found.x > 0.5
    return kept.reshape(rows, cols, group, group).swapaxes(1, 2).reshape(values.shape)


def _seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def timed(calls: dict[str, tuple[Callable[[], object], int]]) -> dict[str, list[float]]:
    """Nanoseconds an element of every kernel, sorted; each is (call, elements)."""
    for call, _ in calls.values():
        call()
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(_ROUNDS):
        for name, (call, elements) in calls.items():
            found[name].append(1e9 * _seconds(call) / elements)
    return {name: [float(f"{t:.4g}") for t in sorted(times)] for name, times in found.items()}


def _pruning(values: Floats, pattern: str, pruner: str) -> tuple[Callable[[], object], int]:
    return (lambda: prune(values, pattern, pruner)), values.size


def kernels(rng: np.random.Generator) -> dict[str, tuple[Callable[[], object], int]]:
    """Everything that is timed."""
    weights = rng.standard_normal((_SIDE, _SIDE), np.float32)
    few = weights[:_FEW, :_FEW].copy()
    gradients = (np.exp(2 * weights) * rng.choice([-1.0, 1.0], weights.shape)).astype(np.float32)
    made = np.maximum(weights, 0)
    calls: dict[str, tuple[Callable[[], object], int]] = {
        "matmul": ((lambda: weights @ weights.T), _SIDE**3),
        "relu": ((lambda: np.maximum(weights, 0)), weights.size),
    }
    for group in GROUPS:
        for name, pruner in SEARCHES.items():
            calls[f"{name}, {group}"] = _pruning(weights, f"{group // 2}:{group}", pruner)
    for group in (4, 8):
        calls[f"{INTEGER_PROGRAM}, {group}"] = (
            partial(integer_program, few, group),
            few.size,
        )
    for name, (pruner, pattern) in ESTIMATORS.items():
        calls[name] = _pruning(gradients, pattern, pruner)
    for pattern in ACTIVATIONS:
        calls[f"activations {pattern}"] = _pruning(made, pattern, "magnitude")
    return calls


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def conditions() -> dict[str, Any]:
    """What the times depend on."""
    return {
        "cpu": _cpu(),
        "threads": 1,
        "cores": os.cpu_count(),
        "load_average_before": [round(x, 2) for x in os.getloadavg()],
        "python": platform.python_version(),
        "numba": numba.__version__,
        "numpy": np.__version__,
        "nmsim": __version__,
        "system": platform.system(),
        "unit": "CPU nanoseconds an element, a MAC for matmul",
        "timed": f"{_ROUNDS} warm runs of every kernel in turn, sorted",
        "data": f"float32 {_SIDE}x{_SIDE}: Gaussian weights, log-normal gradients (sigma 2), ReLU "
        f"of a Gaussian; integer programs on {_FEW}x{_FEW} (HiGHS, scipy.optimize.milp, a tile at "
        "a time)",
        "remark": "a virtual machine that other programs shared",
    }


def main() -> None:
    """Time every kernel and write the file beside this script."""
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        sys.exit("expected OPENBLAS_NUM_THREADS=1 in the environment: one thread for all kernels")
    numba.config.NUMBA_NUM_THREADS = 1  # type: ignore[attr-defined]  # what map_blocks asks
    held = conditions()
    found = timed(kernels(np.random.default_rng(0)))
    content = {"conditions": held, "nanoseconds": found}
    write_folder(HERE, {RESULT: json.dumps(content, indent=1) + "\n"})
    for name, times in found.items():
        print(f"{name}: {times[len(times) // 2]:.4g} ns")


if __name__ == "__main__":
    main()
