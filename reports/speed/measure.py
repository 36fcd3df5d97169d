"""How long a simulation takes: ``python -m reports.speed.measure`` times the engines, by hand.

It writes ``measurements.json``: every run of every series, and the conditions. Masks are drawn
beforehand, so that pruning is not in the times; kernels are called once before the timing, so that
compiling is not either. Times are CPU seconds of one thread: what a run takes on a core of its own,
however long other programs keep it waiting. Three minutes, about 1 GB.
"""

import itertools
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

from nmsim import Gemm, Pattern, __version__, load_hardware
from nmsim.files import write_folder
from nmsim.machines import FIDELITIES, simulate
from nmsim.mask import Mask, SparseGemm
from nmsim.mask.words import Words, pack

HERE = Path(__file__).resolve().parent
RESULT = "measurements.json"

_LOCK_STEP, _INTERSECTING = "systolic-128x128-2to4", "systolic-128x128-intersecting"
SERIES: dict[str, dict[str, Any]] = {
    "lock-step, no bits": {"machine": _LOCK_STEP, "a": "dense", "b": "2:4", "largest": 32768},
    "lock-step, bits": {"machine": _LOCK_STEP, "a": "dense", "b": "4:8", "largest": 8192},
    "intersecting": {"machine": _INTERSECTING, "a": "2:4", "b": "2:4", "largest": 8192},
}
"""By name: machine, the operands' patterns, and the largest cube that is timed."""

SMALLEST = 128
_BUDGET_S, _MOST, _LEAST = 2.0, 31, 7


def _words(rng: np.random.Generator, rows: int, k: int, pattern: Pattern) -> Words:
    """Packed bits of a mask that keeps ``keep`` of every group at random; K in whole groups."""
    parts = []
    for start in range(0, rows, 256):
        shape = (min(256, rows - start), k // pattern.group, pattern.group)
        order = rng.random(shape, np.float32).argsort(-1).argsort(-1)
        parts.append(pack((order < pattern.keep).reshape(shape[0], k)))
    return np.concatenate(parts)


def _no_bits() -> Words:
    raise AssertionError("a covered mask was asked for its bits")


def _operand(
    rng: np.random.Generator, rows: int, k: int, pattern: Pattern, *, bits: bool
) -> Callable[[], Mask]:
    """Makes a mask anew for every run, so that nothing which it counted once is counted as free."""
    if pattern.is_dense:
        return lambda: Mask.dense(rows, k)
    if not bits:
        return lambda: Mask.promising(pattern, rows, k, regular=True, source=_no_bits)
    words = _words(rng, rows, k, pattern)
    return lambda: Mask.promising(pattern, rows, k, regular=True, source=lambda: words)


def _times(call: Callable[[], object]) -> list[float]:
    """CPU seconds of warm runs: 7 to 31 of them, as many as fit two seconds."""
    call()
    times: list[float] = []
    while len(times) < _LEAST or (len(times) < _MOST and sum(times) < _BUDGET_S):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return times


def measure_series(name: str, sizes: list[int]) -> list[dict[str, Any]]:
    """Times of cubes of these sizes, both fidelities."""
    series = SERIES[name]
    machine = load_hardware(series["machine"])
    group = machine.intersecting.group if machine.intersecting else 0
    found = []
    names = itertools.count()
    for size in sizes:
        rng = np.random.default_rng([0, size])
        gemm = Gemm(size, size, size)
        make_a, make_b = (
            _operand(rng, size, size, Pattern.parse(series[side]), bits="no bits" not in name)
            for side in ("a", "b")
        )
        for fidelity in FIDELITIES:

            def run(fidelity: str = fidelity) -> object:
                # What a GEMM takes dense is remembered by machine: another name is another one.
                fresh = machine.model_copy(update={"name": str(next(names))})
                return simulate(fresh, SparseGemm(gemm, make_a(), make_b()), fidelity)  # noqa: B023

            times = _times(run)
            found.append(
                {
                    "series": name,
                    "fidelity": fidelity,
                    "size": size,
                    "macs": gemm.macs,
                    "group_steps": gemm.macs // group if group else None,
                    "seconds": [float(f"{t:.4g}") for t in sorted(times)],
                }
            )
            print(f"{name}, {fidelity}, {size}: {sorted(times)[len(times) // 2]:.3g} s")
    return found


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def conditions() -> dict[str, Any]:
    """What the times depend on."""
    return {
        "cpu": _cpu(),
        "threads": numba.config.NUMBA_NUM_THREADS,  # type: ignore[attr-defined]
        "cores": os.cpu_count(),
        "load_average_before": [round(x, 2) for x in os.getloadavg()],
        "python": platform.python_version(),
        "numba": numba.__version__,
        "numpy": np.__version__,
        "nmsim": __version__,
        "system": platform.system(),
        "timed": "nmsim.machines.simulate alone, CPU seconds of one thread: masks are drawn "
        f"beforehand, kernels compiled, {_LEAST} to {_MOST} warm runs",
        "gemms": "cubes M = N = K",
        "masks": "random N:M, seeded",
        "remark": "a virtual machine that other programs shared",
    }


def main() -> None:
    """Time every series and write the file beside this script."""
    numba.config.NUMBA_NUM_THREADS = 1  # type: ignore[attr-defined]  # what map_blocks asks
    held = conditions()
    points = []
    for name, series in SERIES.items():
        last = series["largest"].bit_length() - SMALLEST.bit_length()
        points += measure_series(name, [SMALLEST << i for i in range(last + 1)])
    content = {"conditions": held, "series": SERIES, "points": points}
    write_folder(HERE, {RESULT: json.dumps(content, indent=1) + "\n"})
    print(f"{HERE / RESULT}: {len(points)} points")


if __name__ == "__main__":
    main()
