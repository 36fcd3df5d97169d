"""What pruning costs beside a training step: times of kernels, and of the step that they join."""

import json
import statistics
from functools import cache
from pathlib import Path
from typing import Any

import nmsim
from nmsim.machines.gpu.preparation import select
from nmsim.machines.gpu.schema import Gpu
from nmsim.run.point import Point, rows
from reports.papers.bench import AS_IS, Bench

__all__ = [
    "MACHINE",
    "conditions",
    "forward_outputs",
    "nanoseconds",
    "one_pass",
    "passing",
    "step",
]

HERE = Path(__file__).resolve().parent
MACHINE = HERE / "rtx-2080-ti.yaml"
"""The GPU of Hubara et al. and Chmiel et al."""


@cache
def _measured() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((HERE / "measurements.json").read_text("utf-8"))
    return content


def nanoseconds(kernel: str) -> float:
    """Median CPU time of a kernel, an element; of a MAC for ``matmul``."""
    return float(statistics.median(_measured()["nanoseconds"][kernel]))


def conditions() -> dict[str, Any]:
    """Of the measured times."""
    found: dict[str, Any] = _measured()["conditions"]
    return {name: found[name] for name in ("cpu", "threads", "timed", "remark")}


@cache
def step(model: str, batch: int, bench: Bench = AS_IS) -> dict[str, float]:
    """The GEMMs of a dense fp32 training step: MACs, ms on that GPU and on a measured CPU core."""
    point = Point(
        model=model,
        hardware=bench.gpu(MACHINE),
        batch=batch,
        fidelity="analytical",
        compare=False,
    )
    found = list(rows(point))
    macs = sum(row["macs_dense"] for row in found)
    return {
        "macs": macs,
        "gpu_ms": sum(row["time_us"] for row in found) / 1e3,
        "core_ms": macs * nanoseconds("matmul") / 1e6,
    }


def forward_outputs(model: str, batch: int, *, inner: bool) -> list[tuple[int, int]]:
    """Rows and columns of what every layer puts out, which its gradient has too.

    ``inner`` leaves out the first and the last layer, which the papers do not prune.
    """
    gemms = [gemm for gemm in nmsim.load_model(model).gemms(batch) if gemm.phase == "forward"]
    chosen = gemms[1:-1] if inner else gemms
    return [(g.m * g.count, g.n) for g in chosen for _ in range(g.repeat)]


def one_pass(
    cells: list[tuple[int, int]], pattern: str, *, gpu: Gpu, fused: bool = True
) -> dict[str, float]:
    """Time in ms, and bytes an element, of pruning fp32 matrices; a lower bound."""
    wanted = nmsim.Pattern.parse(pattern)
    found = [select(gpu, m, n, wanted, "fp32", fused=fused) for m, n in cells]
    elements = sum(m * n for m, n in cells)
    return {
        "elements": elements,
        "ms": sum(one.time_us for one in found) / 1e3,
        "bytes_per_element": sum(one.read_bytes + one.written_bytes for one in found) / elements,
    }


def passing(cells: list[tuple[int, int]], gpu: Gpu) -> float:
    """Time in ms of a kernel that reads and writes every element, as a ReLU does."""
    # Nothing is compared in groups of one.
    return one_pass(cells, "1:1", gpu=gpu)["ms"]
