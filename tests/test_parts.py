"""Where the cycles of an array go: parts that add up, and each where it arises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_monotone import cases

from nmsim import machines
from nmsim.errors import CapacityError
from nmsim.gemm import Gemm
from nmsim.machines import load_hardware
from nmsim.machines.systolic.parts import whole
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import Pattern
from nmsim.result import Parts

COMPUTE = Parts._fields[:8]
WAITS = Parts._fields[8:]


def summed(parts, names):
    return sum(getattr(parts, name) for name in names)


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
def test_parts_add_up(fidelity):
    found = set()
    for _, work, machine, *_ in cases(range(120)):
        try:
            run = machines.simulate(machine, work, fidelity)
        except CapacityError:
            continue
        parts = run.parts
        assert summed(parts, COMPUTE) == run.compute_cycles
        assert summed(parts, WAITS) == run.stall_cycles
        assert min(parts) >= 0
        assert abs(parts.useful - work.macs_useful / machine.peak_macs) < 1 + 1e-9
        found |= {name for name in Parts._fields if getattr(parts, name)}
    assert found >= {*Parts._fields} - {"empty_slot"}


def weights(m, n, k, pattern):
    mask = Mask(pattern, n, k, regular=True, source=lambda: pytest.fail("no bits"))
    return SparseGemm(Gemm(m, n, k), Mask.dense(m, k), mask)


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
def test_parts_of_a_case_by_hand(fidelity):
    """Two tiles of 8 and 4 columns, of 3 folds along 10 slots of K = 20, on an array of 4 x 8."""
    machine = load_hardware(
        "systolic-128x128-2to4",
        rows=4,
        cols=8,
        order="fixed",
        clock_mhz=1000,
        dram={"gbps": None, "latency_ns": 7},
    )
    run = machines.simulate(machine, weights(30, 12, 20, Pattern(2, 4)), fidelity)
    folds, useful = 2 * 3, 30 * 12 * 10 / 32
    assert useful == 112.5
    assert run.parts == Parts(
        useful=113,  # half a cycle of each, and the first takes it
        empty_slot=0,
        misfit=0,
        ragged=folds * 30 - 113,
        fill=folds * (4 + 8 - 2),
        preload=folds * 4,
        drain=0,
        path_wait=0,
        dram_wait=0,
        latency_wait=7,
        writeback_wait=0,
    )


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
def test_slots_beyond_the_promise_of_a_mask(fidelity):
    """1:4 runs as 2:4: half of its slots are beyond what it promises."""
    machine = load_hardware("systolic-128x128-2to4", dram={"gbps": None})
    parts = machines.simulate(machine, weights(1024, 128, 512, Pattern(1, 4)), fidelity).parts
    assert parts.useful == parts.misfit == 1024
    assert parts.empty_slot == parts.ragged == 0
    dense = load_hardware("systolic-128x128", dram={"gbps": None})
    parts = machines.simulate(dense, weights(1024, 128, 512, Pattern(1, 4)), fidelity).parts
    assert (parts.useful, parts.misfit) == (1024, 3 * 1024)


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({"dram.gbps": 0.5}, "dram_wait"),
        ({"dram.latency_ns": 1e6}, "latency_wait"),
        ({"delivery": {"words_per_cycle": 1, "word_bits": 16}}, "path_wait"),
        ({"fold_period": "uncounted", "rows": 64, "cols": 512}, "fill"),
        (
            {
                "dataflow": "os",
                "feed": "broadcast",
                "drain": "uncounted",
                "rows": 512,
                "dram.latency_ns": 0,
            },
            "ragged",
        ),
    ],
)
def test_what_costs_most_is_what_was_taken_away(fields, most, fidelity):
    machine = load_hardware("systolic-128x128", **{"order": "fixed", **fields})
    parts = machines.simulate_dense(machine, Gemm(64, 64, 64), fidelity).parts
    assert getattr(parts, most) == max(parts)


@settings(max_examples=200)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=8), st.integers(0, 1))
def test_whole_numbers_by_largest_remainder(shares, more):
    total = int(np.ceil(sum(shares))) + more
    found = whole(shares, total)
    assert sum(found) == total
    assert all(abs(one - share) < 2 for one, share in zip(found, shares, strict=True))
    assert whole([0.5, 1.5, 0.0, 2.0], 4) == [0, 2, 0, 2]


def test_waits_are_what_memory_adds():
    for _, work, machine, *_ in cases(range(60)):
        try:
            run = machines.simulate(machine, work)
        except CapacityError:
            continue
        free = load_hardware(machine, **{"dram.gbps": None, "dram.latency_ns": 0.0})
        without = machines.simulate(free, work)
        assert without.stall_cycles == 0
        assert run.cycles - without.cycles <= run.stall_cycles + run.compute_cycles
        assert run.cycles >= without.cycles
