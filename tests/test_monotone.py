"""More of a resource never costs an array time: buffers, bandwidth, paths and less latency.

The choice of the array is included: the order of operands, the mask, and how folds are cut.
"""

import os

import numpy as np
import pytest

from nmsim import load_model, machines
from nmsim.errors import CapacityError
from nmsim.gemm import Gemm
from nmsim.machines import load_hardware
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import Pattern

# Cases of the fast tests and of the slow ones; by hand NMSIM_DRAWN_ARRAYS=10000 takes longer.
FEW, MANY = 60, int(os.environ.get("NMSIM_DRAWN_ARRAYS", "1500"))
FEW_TOGETHER, MANY_TOGETHER = 25, MANY // 15
AMOUNTS = ("sram.a_kib", "sram.b_kib", "sram.c_kib", "dram.gbps", "delivery.words_per_cycle")


def some(rng, *values):
    return values[rng.integers(len(values))]


def size(rng, most):
    """Small sizes as often as large ones."""
    return int(2 ** rng.uniform(0, np.log2(most)))


def drawn(rng):
    """An array, and a GEMM with dense operands or a mask that the selectors know."""
    dataflow = some(rng, "os", "ws", "is")
    fields = {
        "rows": size(rng, 40),
        "cols": size(rng, 40),
        "dataflow": dataflow,
        "fold_period": some(rng, "exposed", "preload_hidden", "back_to_back", "uncounted"),
        "drain": some(rng, "exposed", "overlapped", "back_to_back", "uncounted"),
        "partial_sums": some(rng, "split", "split", "spill"),
        "order": some(rng, "best", "fixed"),
        "dram.gbps": float(2 ** rng.uniform(-3, 8)),
        "dram.latency_ns": some(rng, 0.0, 30.0, 300.0, 3000.0),
    }
    if rng.random() < 0.3:
        fields["delivery"] = {"words_per_cycle": float(2 ** rng.uniform(-1, 6)), "word_bits": 16}
    for buffer in "abc":
        fields[f"sram.{buffer}_kib"] = float(2 ** rng.uniform(-5, 8))
    if dataflow == "os" and rng.random() < 0.3:
        fields |= {"feed": "broadcast", "dot_width": some(rng, 1, 4)}
    machine = load_hardware("systolic-128x128-2to4", **fields)
    gemm = Gemm(size(rng, 400), size(rng, 400), size(rng, 400), count=some(rng, 1, 1, 1, 3))
    work = SparseGemm.dense(gemm)
    if rng.random() < 0.4:
        pattern, rows = Pattern.parse(some(rng, "2:4", "1:4")), gemm.count * gemm.n
        mask = Mask.promising(
            pattern, rows, gemm.k, regular=True, source=lambda: pytest.fail("no bits")
        )
        work = SparseGemm(gemm, work.a, mask)
    return machine, work


def better(rng, machine, work):
    """The machine with more of one resource, by a little or by much, and which one that is."""
    field = some(rng, *AMOUNTS, "dram.latency_ns")
    times = float(some(rng, 1.01, 1.3, 2, 4, 50))
    if field == "dram.latency_ns":
        return field, load_hardware(machine, **{field: machine.dram.latency_ns / times})
    if field.startswith("delivery") and machine.delivery is None:
        field = "dram.gbps"
    group, name = field.split(".")
    return field, load_hardware(machine, **{field: getattr(getattr(machine, group), name) * times})


def cases(seeds, buffers=""):
    """Cases of one array, or of several with private or shared buffers."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        machine, work = drawn(rng)
        if buffers:
            fields = {
                "arrays": some(rng, 2, 2, 3, 4, 8),
                "partition": some(rng, "best", "best", "m", "n", "k", "copies"),
            }
            machine = load_hardware(machine, buffers=buffers, **fields)
        yield seed, work, machine, *better(rng, machine, work)


def slower(seeds, fidelity, buffers=""):
    """Cases that took longer with more, and how many there were in which anything could run."""
    found, ran = [], 0
    for seed, work, machine, field, more in cases(seeds, buffers):
        try:
            before = machines.simulate(machine, work, fidelity).cycles
        except CapacityError:
            continue
        ran += 1
        after = machines.simulate(more, work, fidelity).cycles
        if after > before:
            found.append((seed, field, before, after))
    return found, ran


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
def test_more_of_a_resource_never_costs_time(fidelity):
    found, ran = slower(range(FEW), fidelity)
    assert not found
    assert ran > FEW / 3


@pytest.mark.slow
@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
def test_more_of_a_resource_never_costs_time_in_many_cases(fidelity):
    found, _ = slower(range(FEW, FEW + MANY), fidelity)
    assert not found


@pytest.mark.parametrize("buffers", ["private", "shared"])
@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
def test_more_of_a_resource_never_costs_several_arrays_time(fidelity, buffers):
    found, ran = slower(range(FEW_TOGETHER), fidelity, buffers)
    assert not found
    assert ran > FEW_TOGETHER / 3


@pytest.mark.slow
@pytest.mark.parametrize("buffers", ["private", "shared"])
@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
def test_more_of_a_resource_never_costs_several_arrays_time_in_many_cases(fidelity, buffers):
    found, _ = slower(range(FEW_TOGETHER, FEW_TOGETHER + MANY_TOGETHER), fidelity, buffers)
    assert not found


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
def test_a_layer_that_was_faster_without_a_buffer_is_not(fidelity):
    """ResNet-50's layer1.1.conv1 took 8,379 cycles with one byte for A and 10,056 with 8 MiB."""
    (gemm,) = (
        one
        for one in load_model("resnet50").gemms(batch=1)
        if (one.layer, one.phase) == ("layer1.1.conv1", "forward")
    )
    cycles = []
    for kib in (1, 4, 16, 64, 256, 1024, 8192):
        machine = load_hardware("systolic-128x128", **{"sram.a_kib": kib, "sram.b_kib": 64})
        cycles.append(machines.simulate_dense(machine, gemm, fidelity).cycles)
    assert cycles == sorted(cycles, reverse=True)
    byte = load_hardware("systolic-128x128", **{"sram.a_kib": 2**-10})
    with pytest.raises(CapacityError, match=r"sram\.a_kib is 0\.0009765625, expected at least"):
        machines.simulate_dense(byte, gemm, fidelity)
