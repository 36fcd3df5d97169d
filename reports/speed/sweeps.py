"""How long whole sweeps take: ``python -m reports.speed.sweeps`` runs some, by hand.

It writes ``sweeps.json``: of every experiment its points, rows, seconds on the wall and of all
processors, the most memory that a process of it had, and the bytes of its store. Each is run by
``nmsim sweep`` with a process per core, into an empty folder; the command starts, plans, runs,
stores and writes its manifest within the time. Two minutes on two cores.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nmsim.files import write_folder
from nmsim.report.files import MANIFEST
from nmsim.run.store import STORE
from reports.speed.measure import conditions

__all__ = ["EXPERIMENTS", "RESULT", "Ran", "run"]

HERE = Path(__file__).resolve().parent
RESULT = "sweeps.json"

Ran = dict[str, Any]

_NETWORK = """
model: resnet50
recipe: asp
fidelity: analytical
vary:
  hardware: [systolic-128x128-2to4, a100-sxm4-80gb]
  batch: 8..{batches} step 1
  dram.gbps: 800..{bandwidths} step 4
"""

_ONE_GEMM = """
model: gemm:1024x1024x1024
recipe: asp
fidelity: analytical
hardware: systolic-128x128-2to4
vary:
  dram.gbps: 1..{bandwidths} step 1
  sram.a_kib: 64..{buffers} step 1
"""

EXPERIMENTS: Mapping[str, str] = {
    "1,000 points of ResNet-50, every row kept": _NETWORK.format(batches=17, bandwidths=996),
    "1,000 points of ResNet-50, sums kept": (
        "keep: totals" + _NETWORK.format(batches=17, bandwidths=996)
    ),
    "10,000 points of one GEMM, every row kept": _ONE_GEMM.format(bandwidths=100, buffers=163),
    "10,000 points of one GEMM, sums kept": (
        "keep: totals" + _ONE_GEMM.format(bandwidths=100, buffers=163)
    ),
}
"""By name: what is varied. ResNet-50's points are all three phases of a training step, half of them
on an array with its mapper and dense twin, half on an A100."""


def run(name: str, text: str) -> Ran:
    """Run an experiment in an empty folder, and tell what it took."""
    with tempfile.TemporaryDirectory() as folder:
        experiment = Path(folder, "experiment.yaml")
        experiment.write_text(f"title: {name}\n{text.lstrip()}", encoding="utf-8")
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-m", "nmsim", "sweep", str(experiment), "--out", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        told = json.loads(Path(folder, MANIFEST).read_text(encoding="utf-8"))
        store = Path(folder, STORE).stat().st_size
    points = told["points"]["total"]
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "experiment": name,
        "points": points,
        "rows": told["results_rows"],
        "wall_s": round(wall, 1),
        "cpu_s": round(used, 1),
        "ms_per_point": round(1e3 * used / points, 2),
        "most_mib": after.ru_maxrss // 1024,
        "store_mib": round(store / 2**20, 1),
    }


def main() -> None:
    """Run every experiment and write the file beside this script."""
    held = {**conditions(), "threads": os.cpu_count()}
    del held["timed"], held["gemms"], held["masks"]
    ran = []
    for name, text in EXPERIMENTS.items():
        ran.append(run(name, text))
        print(ran[-1], flush=True)
    write_folder(HERE, {RESULT: json.dumps({"conditions": held, "ran": ran}, indent=1) + "\n"})


if __name__ == "__main__":
    main()
