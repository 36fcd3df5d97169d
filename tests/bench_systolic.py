"""What the cycle model of systolic arrays costs: warm, one process, with the floors it keeps.

SCALE-Sim 3 takes about 78 CPU-seconds and 3.4 GB for the forward pass of ResNet-18 on a 128 x 128
weight-stationary array, on a machine of two cores.
"""

import subprocess
import sys

import pytest

from nmsim import machines
from nmsim.machines import load_hardware
from nmsim.run.point import Point

MEMORY = """
import resource, nmsim
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
nmsim.simulate("resnet18", hardware="systolic-128x128", phases=["forward"], fidelity="cycle")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def works(model, **fields):
    return list(Point(model=model, hardware="systolic-128x128-2to4", **fields).sparse_gemms())


def run_all(machine, sparse_gemms):
    return sum(machines.simulate(machine, work).cycles for work in sparse_gemms)


def test_resnet18_forward(benchmark):
    gemms = works("resnet18", phases=["forward"])
    benchmark(run_all, load_hardware("systolic-128x128"), gemms)
    assert benchmark.stats.stats.min < 0.05


def test_resnet50_three_phases_dense_and_2to4(benchmark):
    gemms = works("resnet50", batch=32) + works("resnet50", batch=32, recipe="asp")
    benchmark(run_all, load_hardware("systolic-128x128-2to4"), gemms)
    assert benchmark.stats.stats.min < 2


@pytest.mark.parametrize("fidelity", ["analytical", "cycle"])
def test_bert_base_step(benchmark, fidelity):
    gemms = works("bert-base", batch=32, recipe="asp")
    machine = load_hardware("systolic-128x128-2to4")
    benchmark(lambda: [machines.simulate(machine, work, fidelity) for work in gemms])


def test_memory_of_resnet18_forward(benchmark):
    """Megabytes above the import; compiled kernels come from the cache."""

    def megabytes():
        run = [sys.executable, "-c", MEMORY]
        return int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)

    assert benchmark.pedantic(megabytes, rounds=1, warmup_rounds=1) < 300
