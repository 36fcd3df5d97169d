"""What an array must do with masks: gains, misfits, and the distance of its two models."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmsim import engine
from nmsim.engine.slots import expected_slots, group_slots
from nmsim.gemm import Gemm
from nmsim.hardware import load_hardware
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import Pattern
from nmsim.pruning import prune

TWO_FOUR = load_hardware("systolic-128x128-2to4")
FLEXIBLE = load_hardware("systolic-128x128-flexible")


def weights(gemm, pattern, pruner="magnitude", seed=0):
    """A GEMM whose B is pruned."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(gemm.n * gemm.count, gemm.k)).astype(np.float32)
    mask = Mask.of(prune(values, pattern, pruner, seed=seed).mask, Pattern.parse(pattern))
    return SparseGemm(gemm, Mask.dense(gemm.m * gemm.count, gemm.k), mask)


def speedup(machine, work, fidelity="cycle"):
    return (
        engine.run_dense(machine, work.gemm, fidelity).cycles
        / engine.run(machine, work, fidelity).cycles
    )


GEMM = Gemm(512, 640, 1152)


def test_a_two_four_array_runs_sparser_patterns_no_faster():
    native = engine.run(TWO_FOUR, weights(GEMM, "2:4"))
    for pattern in ("1:4", "2:8", "1:8"):
        other = engine.run(TWO_FOUR, weights(GEMM, pattern))
        assert (other.compute_cycles, other.macs_issued) == (
            native.compute_cycles,
            native.macs_issued,
        )
    assert engine.run(FLEXIBLE, weights(GEMM, "1:4")).macs_issued == native.macs_issued / 2


def test_four_of_eight_gains_nothing_on_two_four_selectors_in_lock_step():
    random = weights(GEMM, "4:8", "random")
    assert engine.run(TWO_FOUR, random).macs_issued > 0.99 * GEMM.macs
    assert "4:8" in engine.run(TWO_FOUR, random).note
    assert speedup(FLEXIBLE, random) > 1.5


def test_four_of_eight_whose_halves_hold_two_each_gains_all():
    halves = weights(GEMM, "2:4").b.bits()
    work = SparseGemm(GEMM, Mask.dense(GEMM.m, GEMM.k), Mask.of(halves, Pattern(4, 8)))
    native = engine.run(TWO_FOUR, weights(GEMM, "2:4"))
    assert engine.run(TWO_FOUR, work).compute_cycles == native.compute_cycles


def test_the_dense_twin_has_no_use_for_masks():
    dense = load_hardware("systolic-128x128")
    assert speedup(dense, weights(GEMM, "2:4")) == 1
    assert engine.run(dense, weights(GEMM, "2:4")).metadata_bytes == 0


def test_metadata_is_two_bits_for_each_kept_element():
    run = engine.run(TWO_FOUR, weights(GEMM, "2:4"))
    assert run.metadata_bytes == GEMM.n * GEMM.k // 2 * 2 // 8
    dense = engine.run_dense(TWO_FOUR, GEMM)
    saved = dense.dram_read_bytes - run.dram_read_bytes
    assert saved == GEMM.n * GEMM.k // 2 * 2 - run.metadata_bytes


def test_two_masks_shorten_k_once_and_save_bytes_twice():
    a = prune(np.random.default_rng(1).normal(size=(GEMM.m, GEMM.k)), "2:4").mask
    one = weights(GEMM, "2:4")
    both = SparseGemm(GEMM, Mask.of(a, Pattern(2, 4)), one.b)
    fixed = load_hardware(TWO_FOUR, may_transpose=False)
    alone, together = engine.run(fixed, one), engine.run(fixed, both)
    assert together.compute_cycles == alone.compute_cycles
    assert together.dram_read_bytes < alone.dram_read_bytes
    assert both.macs_useful < one.macs_useful < GEMM.macs
    assert engine.run(TWO_FOUR, both).compute_cycles <= alone.compute_cycles


@settings(max_examples=60)
@given(
    st.tuples(st.integers(1, 200), st.integers(1, 200), st.integers(1, 300)),
    st.sampled_from(["os", "ws", "is"]),
    st.sampled_from(["2:4", "4:8", "3:5", "8:16"]),
    st.integers(0, 99),
)
def test_a_subset_of_a_mask_is_never_slower(sizes, dataflow, pattern, seed):
    gemm = Gemm(*sizes)
    machine = load_hardware(TWO_FOUR, rows=24, cols=16, dataflow=dataflow)
    work = weights(gemm, pattern, "random", seed)
    keep = np.random.default_rng(seed).random((gemm.n, gemm.k)) < 0.7
    subset = Mask.of(work.b.bits() & keep, work.b.pattern)
    sparser = SparseGemm(gemm, work.a, subset)
    assert engine.run(machine, sparser).compute_cycles <= engine.run(machine, work).compute_cycles
    assert (
        engine.run(machine, work).compute_cycles <= engine.run_dense(machine, gemm).compute_cycles
    )


@settings(max_examples=60)
@given(
    st.tuples(st.integers(1, 600), st.integers(1, 600), st.integers(1, 300)),
    st.sampled_from(["os", "ws", "is"]),
)
def test_a_mask_that_is_met_by_transposing_is_never_slower(sizes, dataflow):
    gemm = Gemm(*sizes)
    machine = load_hardware(TWO_FOUR, rows=24, cols=16, dataflow=dataflow)
    masked = weights(Gemm(gemm.n, gemm.m, gemm.k), "2:4").swapped()
    run = engine.run(machine, masked)
    assert run.compute_cycles <= engine.run_dense(machine, gemm).compute_cycles


def test_an_array_turns_to_bring_a_mask_to_its_selectors():
    masked = weights(GEMM, "2:4").swapped()
    run = engine.run(TWO_FOUR, masked)
    direct = engine.run(load_hardware(TWO_FOUR, dataflow="is", sparse_operand="a"), masked)
    assert (run.transposed, run.kernel) == (True, "is")
    assert run.compute_cycles == direct.compute_cycles
    fixed = engine.run(load_hardware(TWO_FOUR, may_transpose=False), masked)
    dense = engine.run_dense(TWO_FOUR, masked.gemm)
    assert (fixed.transposed, fixed.compute_cycles) == (False, dense.compute_cycles)
    assert fixed.dram_read_bytes < dense.dram_read_bytes


@settings(max_examples=80)
@given(
    st.tuples(st.integers(1, 400), st.integers(1, 400), st.integers(1, 400)),
    st.sampled_from(["dense", "1:2", "2:4", "1:8", "3:16"]),
    st.sampled_from(["os", "ws", "is"]),
    st.booleans(),
)
def test_useful_issued_and_physical_macs(sizes, pattern, dataflow, flexible):
    machine = load_hardware(FLEXIBLE if flexible else TWO_FOUR, dataflow=dataflow)
    work = weights(Gemm(*sizes), pattern)
    run = engine.run(machine, work)
    assert work.macs_useful <= run.macs_issued <= run.cycles * run.peak_macs


def test_expected_slots_are_the_mean_over_random_masks():
    """The closed form against drawn masks: 4:8 on 2:4 selectors, lanes in lock-step."""
    pattern, native, k = Pattern(4, 8), Pattern(2, 4), 8 * 400
    for lanes in (1, 2, 5):
        drawn = [
            group_slots(
                Mask.of(prune(np.zeros((lanes, k)), pattern, "random", seed=s).mask, pattern),
                native,
                0,
                lanes,
            )
            for s in range(20)
        ]
        expected = expected_slots(Mask.dense(lanes, k), native, lanes, k)
        assert expected == k
        mask = Mask(pattern, lanes, k, regular=True, source=lambda: None)
        expected = expected_slots(mask, native, lanes, k)
        slots = np.concatenate(drawn)
        error = slots.std() / math.sqrt(len(slots)) * k / native.group
        # Four standard errors (halves of a group are dependent, which the factor 2 covers).
        assert abs(slots.mean() * k / native.group - expected) < 4 * 2 * error
    assert pytest.approx(Pattern(4, 8).window_counts(4)[0][2]) == 36 / 70


@pytest.mark.parametrize(
    ("hardware", "least"), [("systolic-128x128-2to4", 0.84), ("systolic-16x16", 0.7)]
)
@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_analytical_stays_near_cycle(hardware, least, dataflow):
    """With memory in play the closed form is a bound from below, as docs/systolic.md states."""
    machine = load_hardware(hardware, dataflow=dataflow)
    rng = np.random.default_rng(3)
    ratios = []
    for _ in range(150):
        gemm = Gemm(*(int(2**e) for e in rng.uniform(3, 12, 3)))
        cycle = engine.run(machine, SparseGemm.dense(gemm)).cycles
        ratios.append(engine.run(machine, SparseGemm.dense(gemm), "analytical").cycles / cycle)
    assert min(ratios) > least
    assert max(ratios) < 1.001
    assert np.median(ratios) > 0.95


def test_bound_names_what_limits():
    big = Gemm(4096, 4096, 4096)
    assert engine.run_dense(TWO_FOUR, big).bound == "compute"
    starved = load_hardware(TWO_FOUR, **{"dram.gbps": 1})
    assert engine.run_dense(starved, big).bound == "dram bandwidth"
    far = load_hardware(TWO_FOUR, **{"dram.latency_ns": 1e6})
    assert engine.run_dense(far, Gemm(8, 8, 8)).bound == "dram latency"
    assert engine.run_dense(TWO_FOUR, Gemm(16, 1024, 1024)).bound == "array fill"
    for machine, gemm in ((starved, big), (far, Gemm(8, 8, 8))):
        assert engine.run_dense(machine, gemm).stall_cycles > 0


def test_spilled_partial_sums_go_out_and_come_back():
    fields = {"sram.c_kib": 64, "dram.gbps": None}
    split = load_hardware(TWO_FOUR, **fields)
    spill = load_hardware(TWO_FOUR, partial_sums="spill", **fields)
    gemm = Gemm(1000, 128, 300)
    fits = 64 * 1024 // 2 // 4
    overflow = 2 * (1000 * 128 - fits) * 4
    with_spill, without = engine.run_dense(spill, gemm), engine.run_dense(split, gemm)
    assert with_spill.dram_write_bytes == 1000 * 128 * 2 + overflow
    assert without.dram_write_bytes == 1000 * 128 * 2
    assert without.compute_cycles > with_spill.compute_cycles


def test_a_huge_gemm_costs_no_more_than_its_distinct_folds():
    run = engine.run_dense(load_hardware("systolic-16x16"), Gemm(10**5, 10**5, 10**5))
    assert run.macs_issued == 10**15
