"""What the cycle model of systolic arrays costs: warm, one process, with the floors it keeps.

SCALE-Sim 3 takes about 78 CPU-seconds and 3.4 GB for the forward pass of ResNet-18 on a 128 x 128
weight-stationary array, on a machine of two cores.
"""

import subprocess
import sys
import time
import timeit

import pytest

from nmsim import machines
from nmsim.machines import load_hardware, simulation
from nmsim.machines.systolic import mapper
from nmsim.machines.systolic.pe import slots
from nmsim.machines.systolic.traffic import gathering
from nmsim.run.point import Point

pytestmark = pytest.mark.benchmark(timer=time.process_time)

ARRAY = "systolic-128x128-2to4"

MEMORY = """
import resource, nmsim
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
nmsim.simulate("resnet18", hardware="systolic-128x128", phases=["forward"], fidelity="cycle")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def works(model, **fields):
    return list(Point(model=model, hardware=ARRAY, **fields).sparse_gemms())


REMEMBERED = (
    simulation.simulate_dense,
    gathering._geometry,
    gathering._found,
    gathering._levels,
    slots._expected_slots,
)


def forget():
    """Clear all that is remembered of results; kernels stay compiled."""
    for table in REMEMBERED:
        table.cache_clear()
    mapper._CHOICES.clear()
    mapper._UNMASKED.clear()


def run_all(machine, sparse_gemms, fidelity="cycle"):
    """Simulate each GEMM with its masks, and dense."""
    for work in sparse_gemms:
        machines.simulate(machine, work, fidelity)
        machines.simulate_dense(machine, work.gemm, fidelity)


def seconds(benchmark, *arguments):
    """CPU time of a run with nothing remembered, the least of 20."""
    run_all(*arguments)
    benchmark.pedantic(run_all, arguments, setup=forget, rounds=20)
    return benchmark.stats.stats.min


def test_resnet18_forward(benchmark):
    gemms = works("resnet18", phases=["forward"])
    assert seconds(benchmark, load_hardware(ARRAY), gemms) < 0.05


def test_resnet50_three_phases_dense_and_2to4(benchmark):
    gemms = works("resnet50", batch=32, recipe="asp")
    assert seconds(benchmark, load_hardware(ARRAY), gemms) < 0.1


def test_what_is_remembered_of_like_gemms_pays(benchmark):
    """ResNet-50 has 170 GEMMs, of which 95 differ by sizes or promises: a second run is free."""
    gemms, machine = works("resnet50", batch=32, recipe="asp"), load_hardware(ARRAY)
    first = seconds(benchmark, machine, gemms)
    known = timeit.repeat(
        lambda: run_all(machine, gemms), timer=time.process_time, number=1, repeat=5
    )
    assert min(known) < first / 5


@pytest.mark.parametrize("fidelity", ["analytical", "cycle"])
def test_bert_base_step(benchmark, fidelity):
    gemms = works("bert-base", batch=32, recipe="asp")
    machine = load_hardware(ARRAY)
    seconds(benchmark, machine, gemms, fidelity)


def test_memory_of_resnet18_forward(benchmark):
    """Megabytes above the import; compiled kernels come from the cache."""

    def megabytes():
        run = [sys.executable, "-c", MEMORY]
        return int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)

    assert benchmark.pedantic(megabytes, rounds=1, warmup_rounds=1) < 300
