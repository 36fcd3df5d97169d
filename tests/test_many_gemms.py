"""Many GEMMs at once cost what each costs alone, and all cost what they did before kernels."""

import csv
import json
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
from drawn_arrays import drawn_array, drawn_work
from hypothesis import given, settings
from hypothesis import strategies as st

from nmsim import load_model, machines
from nmsim.errors import CapacityError
from nmsim.gemm import Gemm
from nmsim.machines import load_hardware
from nmsim.machines.kind import kind_of
from nmsim.machines.systolic import mapper
from nmsim.machines.systolic.closed_form import fastest
from nmsim.machines.systolic.closed_form.given import countable, given_of, resources_of
from nmsim.machines.systolic.pipeline.capacity import least_pieces, room
from nmsim.machines.systolic.pipeline.folds import Cut
from nmsim.machines.systolic.placement import with_masks, without_masks
from nmsim.mask import SparseGemm
from nmsim.result import Result

GOLDEN = Path(__file__).parent / "golden" / "arrays-analytical.csv"
WORKS = 5


def many(machine, works):
    return kind_of(machine).engines["analytical"].many(machine, works)


def drawn(seed):
    """An array, and GEMMs for it."""
    rng = np.random.default_rng([17, seed])
    machine = drawn_array(rng)
    return machine, [drawn_work(rng) for _ in range(WORKS)]


def alone(machine, work):
    """The result of one GEMM, or None where a buffer is too small for it."""
    try:
        return machines.simulate(machine, work, "analytical")
    except CapacityError:
        return None


def forget():
    mapper._CHOICES.clear()
    mapper._UNMASKED.clear()


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_many_cost_what_each_costs_alone(seed):
    machine, works = drawn(seed)
    each = []
    for work in works:
        forget()
        each.append(alone(machine, work))
    fit = [work for work, one in zip(works, each, strict=True) if one]
    forget()
    assert many(machine, [*fit, *fit[:1]]) == [*filter(None, each), *list(filter(None, each))[:1]]
    if len(fit) < len(works):
        with pytest.raises(CapacityError):
            many(machine, works)


def told():
    with GOLDEN.open() as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return [(int(row["seed"]), int(row["work"]), json.loads(row["result"])) for row in rows]


def as_told(result):
    """A result as JSON has it: tuples are lists."""
    return json.loads(json.dumps({one.name: _value(result, one.name) for one in fields(Result)}))


def _value(result, name):
    value = getattr(result, name)
    return asdict(value) if name == "survivors" and value else value


COUNTED_SINCE = {"passed_bits", "sram_a_metadata_read_bytes", "sram_b_metadata_read_bytes"}


def near(found, golden):
    """Equal; numbers that are no integers within 1e-12."""
    if isinstance(golden, float):
        return found == pytest.approx(golden, rel=1e-12, abs=0)
    if isinstance(golden, dict):  # what is counted since is held to an oracle elsewhere
        return found.keys() - golden.keys() <= COUNTED_SINCE and all(
            near(found[k], v) for k, v in golden.items()
        )
    if isinstance(golden, list):
        return len(found) == len(golden) and all(map(near, found, golden))
    return found == golden and type(found) is type(golden)


def test_drawn_arrays_cost_what_they_did():
    """As the closed forms gave it that took placements one by one, in Python (version 0.2)."""
    rows = told()
    assert len(rows) > 150
    for seed, place, golden in rows:
        machine, works = drawn(seed)
        found = as_told(machines.simulate(machine, works[place], "analytical"))
        different = [name for name in golden if not near(found[name], golden[name])]
        assert not different, (seed, place, different)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_pythons_integers_give_what_the_kernel_gives(seed):
    """Times and counts of the formulas as they are written, and as they are compiled."""
    machine, works = drawn(seed)
    if machine.arrays > 1:
        return
    placements = [
        one for w in works for one in (*with_masks(machine, w), *without_masks(machine, w))
    ]
    compiled = fastest.runs(machine, placements)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fastest, "countable", lambda _resources, _demand: False)
        written = fastest.runs(machine, placements)
    for one, other in zip(compiled, written, strict=True):
        assert str(one) == str(other) if isinstance(one, CapacityError) else one == other


def test_counts_beyond_64_bits_are_exact():
    """2^93 MAC slots: what a kernel would count modulo 2^64."""
    machine = load_hardware("systolic-128x128", rows=64, cols=64)
    gemm = Gemm(2**31, 2**31, 2**31, 3)
    placement = without_masks(machine, gemm)[0]
    assert not countable(resources_of(machine), given_of(machine, placement).demand)
    found = machines.simulate(machine, SparseGemm.dense(gemm), "analytical")
    assert found.macs_issued == 3 * 2**93
    folds = 3 * 2 ** (31 - 6) * 2 ** (31 - 6)
    assert found.compute_cycles >= folds * 2**31
    assert found.own["passed_sums"] % 63 == 0  # every sum passes R - 1 times
    small = machines.simulate(machine, SparseGemm.dense(Gemm(64, 64, 64)), "analytical")
    assert many(machine, [SparseGemm.dense(one) for one in (Gemm(64, 64, 64), gemm)]) == [
        small,
        found,
    ]


def test_a_network_is_timed_by_one_call_of_the_kernel(monkeypatch):
    calls, run_all = [], fastest._run_all
    monkeypatch.setattr(fastest, "_run_all", lambda *args: calls.append(args) or run_all(*args))
    forget()
    gemms = [Gemm(64 * i, 48 * i, 100 + i) for i in range(1, 30)]
    many(load_hardware("systolic-16x16"), [SparseGemm.dense(gemm) for gemm in gemms])
    assert len(calls) == 1


def test_more_chunks_are_tried_as_long_as_they_may_be_faster():
    """Of convolutions on a slow channel: smaller chunks hold more of what windows share."""
    machine = load_hardware("systolic-128x128", **{"dram.gbps": 60.0, "sram.a_kib": 500.0})
    later = 0
    for gemm in load_model("resnet50").gemms(batch=8)[:40]:
        if gemm.a_windows is None or gemm.a_windows.taps == 1:
            continue
        placement = without_masks(machine, gemm)[0]
        lanes, best = placement.rows_of(placement.y), fastest.fastest(machine, placement)
        space = room(machine, placement, (placement.k, placement.k))
        for count in range(1, 9):
            rows = -(-lanes // count)
            if rows <= space.sum_rows:
                cut = Cut(rows, least_pieces(False, space, rows))
                assert best.times.cycles <= fastest.fastest(machine, placement, cut).times.cycles
        later += best.counts.rows < min(lanes, space.sum_rows) // 2
    assert later
