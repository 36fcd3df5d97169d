"""Where the cycles of an array go: parts that add up, and each where it arises."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_monotone import cases

from nmsim import machines
from nmsim.errors import CapacityError
from nmsim.gemm import Gemm
from nmsim.machines import load_hardware
from nmsim.machines.explanation import whole
from nmsim.machines.systolic import mapper
from nmsim.machines.systolic import parts as parts_module
from nmsim.machines.systolic.parts import bound_of, split_slots
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import Pattern
from nmsim.result import Parts
from nmsim.run.point import Point, rows

SLOTS = ("useful", "empty_slot", "misfit", "ragged")
COMPUTE = (*SLOTS, *Parts._fields[1:5])
WAITS = Parts._fields[5:]


def parts_of(machine, work, fidelity="cycle"):
    """What a GEMM costs, and its parts by name, slots split as a row does."""
    run = machines.simulate(machine, work, fidelity)
    columns = split_slots(machine, work, run) | Parts.columns(run.parts)
    return run, {name.removesuffix("_cycles"): cycles for name, cycles in columns.items()}


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
def test_parts_add_up(fidelity):
    found = set()
    for _, work, machine, *_ in cases(range(120)):
        try:
            run, parts = parts_of(machine, work, fidelity)
        except CapacityError:
            continue
        assert sum(parts[name] for name in COMPUTE) == run.compute_cycles
        assert sum(parts[name] for name in WAITS) == run.stall_cycles
        assert min(parts.values()) >= 0
        assert abs(parts["useful"] - work.macs_useful / machine.peak_macs) < 1 + 1e-9
        found |= {name for name in parts if parts[name]}
    assert found >= {*COMPUTE, *WAITS} - {"empty_slot"}


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
def test_shares_are_whole_but_for_roundings(fidelity, monkeypatch):
    """What ``whole`` gives the largest share is a rounding a part, not what nobody counted."""
    shared = []

    def spy(shares, total):
        shared.append((tuple(shares), total))
        return whole(shares, total)

    monkeypatch.setattr(parts_module, "whole", spy)
    mapper._UNMASKED.clear()
    mapper._CHOICES.clear()
    for _, work, machine, *_ in cases(range(120)):
        with contextlib.suppress(CapacityError):
            machines.simulate(machine, work, fidelity)
    assert len(shared) > 200
    for shares, total in shared:
        assert abs(sum(shares) - total) <= len(shares), (shares, total)


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
def test_the_bound_is_what_most_cycles_go_to(fidelity):
    """No cause takes more cycles than the one that a row names."""
    words = {
        "compute": SLOTS,
        "array fill": ("fill", "preload", "drain"),
        "buffer bandwidth": ("path_wait",),
        "dram bandwidth": ("dram_wait", "writeback_wait"),
        "dram latency": ("latency_wait",),
    }
    found = set()
    for _, work, machine, *_ in cases(range(120)):
        try:
            run, parts = parts_of(machine, work, fidelity)
        except CapacityError:
            continue
        spent = {cause: sum(parts[name] for name in names) for cause, names in words.items()}
        assert spent[run.bound] == max(spent.values())
        found.add(run.bound)
    assert found == set(words)


def test_the_bound_by_hand():
    assert bound_of(Parts(10, 3, 4, 3, 0, 0, 0, 0)) == "compute"  # of equals the first
    assert bound_of(Parts(10, 3, 4, 4, 0, 0, 0, 0)) == "array fill"
    assert bound_of(Parts(10, 3, 4, 4, 12, 0, 0, 0)) == "buffer bandwidth"
    assert bound_of(Parts(10, 3, 4, 4, 12, 6, 0, 7)) == "dram bandwidth"
    assert bound_of(Parts(10, 3, 4, 4, 12, 6, 14, 7)) == "dram latency"


def test_columns_of_a_table_add_up():
    names = {column.name for column in machines.COLUMNS}
    columns = [f"{name}_cycles" for name in (*COMPUTE, *WAITS)]
    assert names >= {*columns}
    for hardware in ("systolic-128x128-2to4", "gemmini"):
        for row in rows(Point(model="resnet18", hardware=hardware, recipe="asp", batch=1)):
            assert sum(row[name] for name in columns) == row["cycles"]


def weights(m, n, k, pattern):
    mask = Mask.promising(pattern, n, k, regular=True, source=lambda: pytest.fail("no bits"))
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
    _, parts = parts_of(machine, weights(30, 12, 20, Pattern(2, 4)), fidelity)
    folds, useful = 2 * 3, 30 * 12 * 10 / 32
    assert useful == 112.5
    assert parts == {
        "useful": 113,  # half a cycle of each, and the first takes it
        "empty_slot": 0,
        "misfit": 0,
        "ragged": folds * 30 - 113,
        "fill": folds * (4 + 8 - 2),
        "preload": folds * 4,
        "drain": 0,
        "path_wait": 0,
        "dram_wait": 0,
        "latency_wait": 7,
        "writeback_wait": 0,
    }


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
def test_slots_beyond_the_promise_of_a_mask(fidelity):
    """1:4 runs as 2:4: half of its slots are beyond what it promises."""
    machine = load_hardware("systolic-128x128-2to4", dram={"gbps": None})
    _, parts = parts_of(machine, weights(1024, 128, 512, Pattern(1, 4)), fidelity)
    assert parts["useful"] == parts["misfit"] == 1024
    assert parts["empty_slot"] == parts["ragged"] == 0
    dense = load_hardware("systolic-128x128", dram={"gbps": None})
    _, parts = parts_of(dense, weights(1024, 128, 512, Pattern(1, 4)), fidelity)
    assert (parts["useful"], parts["misfit"]) == (1024, 3 * 1024)


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
    _, parts = parts_of(machine, SparseGemm.dense(Gemm(64, 64, 64)), fidelity)
    assert parts[most] == max(parts.values())


@settings(max_examples=200)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=8), st.integers(0, 1))
def test_whole_numbers_by_largest_remainder(shares, more):
    total = int(np.ceil(sum(shares))) + more
    found = whole(shares, total)
    assert sum(found) == total
    assert all(abs(one - share) <= 2 for one, share in zip(found, shares, strict=True))
    assert whole([0.5, 1.5, 0.0, 2.0], 4) == [0, 2, 0, 2]
    assert whole([0.6, 2.5], 2) == [0, 2]  # roundings took what remainders would


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
