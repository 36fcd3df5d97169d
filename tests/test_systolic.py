"""What an array must do with masks: gains, misfits, and the distance of its two models."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import fast_first

from nmsim import machines
from nmsim.errors import ShapeError
from nmsim.gemm import Gemm
from nmsim.machines import HARDWARE, load_hardware
from nmsim.machines.systolic import cycle
from nmsim.machines.systolic.analytical import estimate
from nmsim.machines.systolic.dataflow import DATAFLOWS
from nmsim.machines.systolic.pe.slots import expected_slots, group_slots, tile_slots
from nmsim.machines.systolic.placement import with_masks, without_masks
from nmsim.mask import Mask, SparseGemm
from nmsim.mask.words import pack
from nmsim.network.catalog import MODELS, load_model
from nmsim.network.tensors import Synthetic
from nmsim.pattern import DENSE, Pattern
from nmsim.pruning import prune
from nmsim.recipes.masking import Setting, sparse_gemms
from nmsim.recipes.recipe import load_recipe
from nmsim.run.point import Point, rows

TWO_FOUR = load_hardware("systolic-128x128-2to4")
FLEXIBLE = load_hardware("systolic-128x128-flexible")
AS_GIVEN = {"order": "fixed", "masks": "always", "sparse_operand": "b"}
"""Fields of an array that follows masks of B, and no others, and turns no GEMM."""
FIXED = load_hardware(TWO_FOUR, **AS_GIVEN)
STALL_FREE = {"dram": {"gbps": None, "latency_ns": 0}}


def weights(gemm, pattern, pruner="magnitude", seed=0):
    """A GEMM whose B is pruned."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(gemm.n * gemm.count, gemm.k)).astype(np.float32)
    mask = Mask.of(prune(values, pattern, pruner, seed=seed).mask, Pattern.parse(pattern))
    return SparseGemm(gemm, Mask.dense(gemm.m * gemm.count, gemm.k), mask)


def speedup(machine, work, fidelity="cycle"):
    return (
        machines.simulate_dense(machine, work.gemm, fidelity).cycles
        / machines.simulate(machine, work, fidelity).cycles
    )


GEMM = Gemm(512, 640, 1152)


def test_a_two_four_array_runs_sparser_patterns_no_faster():
    native = machines.simulate(TWO_FOUR, weights(GEMM, "2:4"))
    for pattern in ("1:4", "2:8", "1:8"):
        other = machines.simulate(TWO_FOUR, weights(GEMM, pattern))
        assert (other.compute_cycles, other.macs_issued) == (
            native.compute_cycles,
            native.macs_issued,
        )
    assert machines.simulate(FLEXIBLE, weights(GEMM, "1:4")).macs_issued == native.macs_issued / 2


def test_four_of_eight_gains_nothing_on_two_four_selectors_in_lock_step():
    random = weights(GEMM, "4:8", "random")
    followed = machines.simulate(FIXED, random)
    assert followed.macs_issued > 0.99 * GEMM.macs
    assert "4:8" in followed.note
    assert speedup(FLEXIBLE, random) > 1.5
    run, dense = machines.simulate(TWO_FOUR, random), machines.simulate_dense(TWO_FOUR, GEMM)
    assert (run.cycles, run.macs_issued, run.selects) == (dense.cycles, GEMM.macs, False)
    assert run.chosen.startswith("dense as ")
    assert run.mask_cycles >= run.cycles
    assert run.misfit_share == pytest.approx(34 / 70, abs=0.01)


def test_four_of_eight_whose_halves_hold_two_each_gains_all():
    halves = weights(GEMM, "2:4").b.bits()
    work = SparseGemm(GEMM, Mask.dense(GEMM.m, GEMM.k), Mask.of(halves, Pattern(4, 8)))
    native = machines.simulate(TWO_FOUR, weights(GEMM, "2:4"))
    assert machines.simulate(TWO_FOUR, work).compute_cycles == native.compute_cycles


def test_the_dense_twin_has_no_use_for_masks():
    dense = load_hardware("systolic-128x128")
    assert speedup(dense, weights(GEMM, "2:4")) == 1
    assert machines.simulate(dense, weights(GEMM, "2:4")).metadata_bytes == 0


def test_metadata_is_two_bits_for_each_kept_element():
    run = machines.simulate(TWO_FOUR, weights(GEMM, "2:4"))
    assert run.metadata_bytes == GEMM.n * GEMM.k // 2 * 2 // 8
    dense = machines.simulate_dense(TWO_FOUR, GEMM)
    saved = dense.dram_read_bytes - run.dram_read_bytes
    assert saved == GEMM.n * GEMM.k // 2 * 2 - run.metadata_bytes


def test_two_masks_shorten_k_once_and_save_bytes_twice():
    a = prune(np.random.default_rng(1).normal(size=(GEMM.m, GEMM.k)), "2:4").mask
    one = weights(GEMM, "2:4")
    both = SparseGemm(GEMM, Mask.of(a, Pattern(2, 4)), one.b)
    alone, together = machines.simulate(FIXED, one), machines.simulate(FIXED, both)
    assert together.compute_cycles == alone.compute_cycles
    assert together.dram_read_bytes < alone.dram_read_bytes
    assert both.macs_useful < one.macs_useful < GEMM.macs
    assert machines.simulate(TWO_FOUR, both).cycles <= machines.simulate(TWO_FOUR, one).cycles
    assert machines.simulate(TWO_FOUR, both).cycles <= together.cycles


@settings(max_examples=60)
@given(
    st.tuples(st.integers(1, 200), st.integers(1, 200), st.integers(1, 300)),
    st.sampled_from(["os", "ws", "is"]),
    st.sampled_from(["2:4", "4:8", "3:5", "8:16"]),
    st.integers(0, 99),
)
def test_a_subset_of_a_mask_is_never_slower(sizes, dataflow, pattern, seed):
    gemm = Gemm(*sizes)
    fields = {"rows": 24, "cols": 16, "dataflow": dataflow, **STALL_FREE}
    followed, chosen = (load_hardware(one, **fields) for one in (FIXED, TWO_FOUR))
    work = weights(gemm, pattern, "random", seed)
    keep = np.random.default_rng(seed).random((gemm.n, gemm.k)) < 0.7
    subset = Mask.of(work.b.bits() & keep, work.b.pattern)
    sparser = SparseGemm(gemm, work.a, subset)
    for machine in (followed, chosen):
        less, more = machines.simulate(machine, sparser), machines.simulate(machine, work)
        assert less.cycles <= more.cycles <= machines.simulate_dense(machine, gemm).cycles


@settings(max_examples=60)
@given(
    st.tuples(st.integers(1, 600), st.integers(1, 600), st.integers(1, 300)),
    st.sampled_from(["os", "ws", "is"]),
)
def test_a_mask_that_is_met_by_transposing_is_never_slower(sizes, dataflow):
    gemm = Gemm(*sizes)
    machine = load_hardware(TWO_FOUR, rows=24, cols=16, dataflow=dataflow, sparse_operand="b")
    masked = weights(Gemm(gemm.n, gemm.m, gemm.k), "2:4").swapped()
    run = machines.simulate(machine, masked)
    assert run.cycles <= machines.simulate_dense(machine, gemm).cycles


def test_an_array_turns_to_bring_a_mask_to_its_selectors():
    masked = weights(GEMM, "2:4").swapped()
    run = machines.simulate(load_hardware(FIXED, order="best"), masked)
    fields = {"dataflow": "is", "sparse_operand": "a"}
    direct = machines.simulate(load_hardware(FIXED, **fields), masked)
    assert (run.transposed, run.kernel) == (True, "is")
    assert run.compute_cycles == direct.compute_cycles
    fixed, dense = machines.simulate(FIXED, masked), machines.simulate_dense(FIXED, masked.gemm)
    assert (fixed.transposed, fixed.compute_cycles) == (False, dense.compute_cycles)
    assert fixed.dram_read_bytes < dense.dram_read_bytes


def test_a_dense_gemm_is_turned_where_that_is_faster():
    flat = Gemm(64, 4096, 512)
    given = machines.simulate_dense(FIXED, flat)
    turned = machines.simulate_dense(FIXED, Gemm(4096, 64, 512))
    best = machines.simulate_dense(TWO_FOUR, flat)
    assert (best.transposed, best.cycles) == (True, turned.cycles)
    assert turned.cycles < 0.5 * given.cycles
    times = f"{given.cycles / turned.cycles:.2f}"
    assert best.chosen == f"dense as B.A^T; dense as A.B^T would take {times} times the cycles"


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
    run = machines.simulate(machine, work)
    assert work.macs_useful <= run.macs_issued <= run.cycles * run.peak_macs


def test_selectors_of_one_element_take_as_many_slots_as_the_fullest_lane_and_one_at_least():
    bits = np.array(
        [[1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0]], bool
    )
    mask = Mask.of(bits, Pattern(4, 4))
    assert group_slots(mask, Pattern(1, 4), 0, 1, 12).tolist() == [1, 2, 1]
    assert group_slots(mask, Pattern(1, 4), 0, 2, 12).tolist() == [1, 3, 1]


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
                k,
            )
            for s in range(20)
        ]
        expected = expected_slots(Mask.dense(lanes, k), native, lanes, k)
        assert expected == k
        mask = Mask.promising(pattern, lanes, k, regular=True, source=lambda: None)
        expected = expected_slots(mask, native, lanes, k)
        slots = np.concatenate(drawn)
        error = slots.std() / math.sqrt(len(slots)) * k / native.group
        # Four standard errors (halves of a group are dependent, which the factor 2 covers).
        assert abs(slots.mean() * k / native.group - expected) < 4 * 2 * error
    assert pytest.approx(Pattern(4, 8).window_counts(4)[0][2]) == 36 / 70


@pytest.mark.parametrize(
    ("hardware", "least"), [("systolic-128x128-2to4", 0.84), ("systolic-16x16", 0.7)]
)
@pytest.mark.parametrize("drawn", fast_first([40, 150], 1))
@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_analytical_stays_near_cycle(hardware, least, dataflow, drawn):
    """With memory in play the closed form is a bound from below, as docs/systolic.md states."""
    machine = load_hardware(hardware, dataflow=dataflow)
    rng = np.random.default_rng(3)
    ratios = []
    for _ in range(drawn):
        gemm = Gemm(*(int(2**e) for e in rng.uniform(3, 12, 3)))
        cycle = machines.simulate(machine, SparseGemm.dense(gemm)).cycles
        ratios.append(
            machines.simulate(machine, SparseGemm.dense(gemm), "analytical").cycles / cycle
        )
    assert min(ratios) > least
    assert max(ratios) < 1.001
    assert np.median(ratios) > 0.95


def test_bound_names_what_limits():
    big = Gemm(4096, 4096, 4096)
    assert machines.simulate_dense(TWO_FOUR, big).bound == "compute"
    starved = load_hardware(TWO_FOUR, **{"dram.gbps": 1})
    assert machines.simulate_dense(starved, big).bound == "dram bandwidth"
    far = load_hardware(TWO_FOUR, **{"dram.latency_ns": 1e6})
    assert machines.simulate_dense(far, Gemm(8, 8, 8)).bound == "dram latency"
    assert machines.simulate_dense(FIXED, Gemm(16, 1024, 1024)).bound == "array fill"
    for machine, gemm in ((starved, big), (far, Gemm(8, 8, 8))):
        assert machines.simulate_dense(machine, gemm).stall_cycles > 0


def test_spilled_partial_sums_go_out_and_come_back():
    fields = {"sram.c_kib": 64, "dram.gbps": None}
    split = load_hardware(TWO_FOUR, **fields)
    spill = load_hardware(TWO_FOUR, partial_sums="spill", **fields)
    gemm = Gemm(1000, 128, 300)
    fits = 64 * 1024 // 2 // 4
    overflow = 2 * (1000 * 128 - fits) * 4
    with_spill, without = machines.simulate_dense(spill, gemm), machines.simulate_dense(split, gemm)
    assert with_spill.dram_write_bytes == 1000 * 128 * 2 + overflow
    assert without.dram_write_bytes == 1000 * 128 * 2
    assert without.compute_cycles > with_spill.compute_cycles


def test_a_huge_gemm_costs_no_more_than_its_distinct_folds():
    run = machines.simulate_dense(load_hardware("systolic-16x16"), Gemm(10**5, 10**5, 10**5))
    assert run.macs_issued == 10**15


def test_bytes_of_a_convolution_by_hand():
    """ResNet-18's first layer: pixels behind columns, compressed weights, metadata, results."""
    (work,) = sparse_gemms(
        load_model("resnet18").layers[:1],
        Setting(load_recipe("sr-ste"), Pattern(2, 4), Synthetic()),
        phases=["forward"],
    )
    run = machines.simulate(TWO_FOUR, work)
    pixels, slots = 224 * 224 * 3, 64 * 74
    assert run.metadata_bytes == slots * 2 // 8
    assert run.dram_read_bytes == pixels * 2 + slots * 2 + slots * 2 // 8
    assert run.dram_write_bytes == 112 * 112 * 64 * 2
    chunks = -(-112 * 112 // (2 * 2**20 // 4 // 64))
    assert run.sram_read_bytes == 112 * 112 * 147 * 2 + chunks * slots * 18 // 8
    explicit = machines.simulate(load_hardware(TWO_FOUR, im2col="explicit"), work)
    assert explicit.dram_read_bytes - run.dram_read_bytes == (112 * 112 * 147 - pixels) * 2


def test_copies_too_many_to_count_are_refused():
    """2^20 products of 2^43 MACs each."""
    with pytest.raises(ShapeError, match=r"1048576 x .* too large to count in 64 bits"):
        machines.simulate_dense(load_hardware("scale-sim"), Gemm(64, 64, 2**31, 2**20))


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
def test_repeats_multiply_everything(fidelity):
    one = weights(Gemm(60, 50, 70), "2:4")
    three = weights(Gemm(60, 50, 70, repeat=3), "2:4")
    once, thrice = (
        machines.simulate(TWO_FOUR, one, fidelity),
        machines.simulate(TWO_FOUR, three, fidelity),
    )
    for name in (
        "compute_cycles",
        "stall_cycles",
        "macs_issued",
        "dram_read_bytes",
        "dram_write_bytes",
        "sram_read_bytes",
        "metadata_bytes",
    ):
        assert getattr(thrice, name) == 3 * getattr(once, name) > 0, name
    assert three.macs_useful == 3 * one.macs_useful == 3 * 60 * one.b.kept
    assert three.swapped().macs_useful == three.macs_useful


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
@pytest.mark.parametrize(
    ("k", "pattern", "a_bits"), [(1, "1:1", 16), (1, "2:4", 16), (3, "1:1", 48), (3, "2:4", 36)]
)
@pytest.mark.parametrize(("elements", "times"), [(20, 2), (40, 1)])
def test_every_row_of_tiles_reads_b_again_unless_half_of_its_buffer_holds_it(
    fidelity, k, pattern, a_bits, elements, times
):
    """16 x 40 on 8 x 8 PEs: two rows of tiles, and 40 K elements of B of 16 bits.

    Of a row of A 2:4 leaves two of three elements of 18 bits, or all of one.
    """
    kib = 2 * 16 * elements * k / 8192
    fields = {"rows": 8, "cols": 8, "dataflow": "os", "sparse_operand": "a", "sram.b_kib": kib}
    work = weights(Gemm(40, 16, k), pattern).swapped()
    run = machines.simulate(load_hardware(FIXED, **fields), work, fidelity)
    assert run.dram_read_bytes * 8 == 16 * a_bits + times * 40 * k * 16


def test_a_turned_convolution_reads_the_same_pixels():
    gemm = Gemm(512, 640, 1152, a_elements=70_000)
    masked = weights(Gemm(640, 512, 1152, b_elements=70_000), "2:4").swapped()
    run = machines.simulate(load_hardware(FIXED, order="best"), masked)
    assert run.transposed
    kept = -(-70_000 * 576 // 1152)
    # The masked operand is the convolution's: its pixels are stored compressed.
    assert run.metadata_bytes == -(-kept * 2 // 8)
    assert masked.gemm.a_elements == gemm.a_elements


def test_a_second_mask_that_breaks_its_pattern_is_stored_dense():
    one = weights(GEMM, "2:4")
    bits = prune(np.random.default_rng(2).normal(size=(GEMM.m, GEMM.k)), "2:4").mask
    fits = Mask.promising(Pattern(2, 4), *bits.shape, regular=False, source=lambda: pack(bits))
    unfit = Mask.promising(
        Pattern(2, 4), *bits.shape, regular=False, source=lambda: pack(bits), fits=False
    )
    alone = machines.simulate(FIXED, one)
    assert (
        machines.simulate(FIXED, SparseGemm(GEMM, unfit, one.b)).dram_read_bytes
        == alone.dram_read_bytes
    )
    assert (
        machines.simulate(FIXED, SparseGemm(GEMM, fits, one.b)).dram_read_bytes
        < alone.dram_read_bytes
    )


def test_of_two_native_patterns_the_sparsest_that_covers_is_used():
    vegeta = load_hardware(TWO_FOUR, native=["2:4", "1:4"])
    quarter = machines.simulate(vegeta, weights(GEMM, "1:4"))
    assert quarter.macs_issued == GEMM.macs // 4
    assert machines.simulate(vegeta, weights(GEMM, "2:8")).macs_issued == GEMM.macs // 2
    assert FLEXIBLE.native_for(Pattern(1, 64)) == Pattern(1, 32)


def test_a_pattern_of_the_flexible_group_is_taken_as_it_is():
    """Twelve elements of K are three slots; in groups of eight they would be two and two."""
    machine = load_hardware(FLEXIBLE, flexible_group=4, native=["2:8"])
    assert machine.native_for(Pattern(1, 4)) == Pattern(1, 4)
    short = Gemm(8, 8, 12)
    assert machines.simulate(machine, weights(short, "1:4")).macs_issued == 8 * 8 * 3


def test_copies_whose_masks_differ_take_what_each_needs():
    """Misfit masks, four copies of differing density: the sum of single runs."""
    gemm, machine = Gemm(9, 20, 40, count=4), load_hardware(FIXED, rows=8, cols=6)
    stall_free = load_hardware(machine, dram={"gbps": None})
    rng = np.random.default_rng(5)
    density = np.repeat([0.1, 0.9, 0.4, 0.4], 20)[:, None] * np.linspace(0, 1, 40)
    bits = rng.random((80, 40)) < density
    for dataflow in ("os", "ws", "is"):
        array = load_hardware(stall_free, dataflow=dataflow)
        whole = machines.simulate(array, masked_b(gemm, bits))
        parts = [
            machines.simulate(array, masked_b(Gemm(9, 20, 40), part)) for part in np.split(bits, 4)
        ]
        assert whole.compute_cycles == sum(part.compute_cycles for part in parts), dataflow
        assert whole.macs_issued == sum(part.macs_issued for part in parts)
        assert len({part.compute_cycles for part in parts}) > 1


def masked_b(gemm, bits):
    """A GEMM whose B keeps the given bits, which promise nothing that selectors could use."""
    return SparseGemm(gemm, Mask.dense(gemm.m * gemm.count, gemm.k), Mask.of(bits, Pattern(4, 8)))


def test_tiles_that_differ_take_what_each_needs():
    """Column tiles of widely differing density, by the slots of each."""
    bits = np.zeros((5 * 16, 32), bool)
    for tile, kept in enumerate((1, 4, 2, 4, 1)):
        bits[tile * 16 : (tile + 1) * 16].reshape(16, 8, 4)[:, :, :kept] = True
    gemm = Gemm(10, 80, 32)
    for dataflow, expected in (
        ("ws", sum(-(-slots // 8) for slots in (16, 32, 16, 32, 16)) * (10 + 2 * 8 + 16 - 2)),
        ("os", 2 * sum(slots + 2 * 8 + 16 - 2 for slots in (16, 32, 16, 32, 16))),
    ):
        machine = load_hardware(FIXED, rows=8, cols=16, dataflow=dataflow)
        assert machines.simulate(machine, masked_b(gemm, bits)).compute_cycles == expected


@settings(max_examples=80)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90), st.integers(1, 90)),
    st.sampled_from(["os", "ws", "is"]),
    st.sampled_from(["", "a", "b", "ab"]),
    st.sampled_from(["1:4", "2:4", "7:8"]),
    st.sampled_from(["exposed", "overlapped", "back_to_back", "uncounted"]),
    st.sampled_from([0.75, 1, 64]),
)
def test_closed_forms_count_what_the_folds_count_with_masks(
    sizes, dataflow, masked, pattern, exposure, kib
):
    machine = load_hardware(
        FLEXIBLE,
        rows=5,
        cols=7,
        dataflow=dataflow,
        fold_period=exposure if exposure != "overlapped" else "preload_hidden",
        drain=exposure,
        sram={"a_kib": kib, "b_kib": kib, "c_kib": kib},
    )
    gemm = Gemm(*sizes, count=2)
    chosen = Pattern.parse(pattern)
    work = SparseGemm(
        gemm,
        regular(gemm.m * 2, gemm.k, chosen if "a" in masked else Pattern(1, 1)),
        regular(gemm.n * 2, gemm.k, chosen if "b" in masked else Pattern(1, 1)),
    )
    for placement in (*with_masks(machine, work), *without_masks(machine, gemm)):
        counted = cycle.run(machine, placement)
        closed = estimate(machine, placement, cycle.count(machine, placement)[0].cut)
        for name in (
            "kernel",
            "transposed",
            "compute_cycles",
            "macs_issued",
            "dram_read_bytes",
            "dram_write_bytes",
            "sram_read_bytes",
            "metadata_bytes",
        ):
            assert getattr(closed, name) == getattr(counted, name), name


def regular(rows, k, pattern):
    """A mask that is known by its pattern alone; asking for its bits is an error."""
    return Mask.promising(pattern, rows, k, regular=True, source=lambda: 1 / 0)


@pytest.mark.parametrize("name", fast_first(["resnet18", "vit-b16", "resnet50", "bert-base"], 2))
@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
def test_two_four_weights_gain_in_forward_alone(name, fidelity):
    for batch in (1, 32):
        for row in rows(Point(model=name, recipe="asp", batch=batch, fidelity=fidelity)):
            if row["phase"] == "forward":
                assert 1 <= row["speedup"] <= 2, row
            else:
                assert row["speedup"] == 1, row
            assert row["macs_useful"] <= row["macs_issued"] <= row["cycles"] * 128 * 128


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
def test_a_mask_that_gains_nothing_costs_nothing(fidelity):
    """Misfit 4:8 on 2:4 selectors, also in bytes: nearly full slots are stored dense."""
    for name in ("resnet18", "bert-base"):
        for row in rows(
            Point(model=name, recipe="asp", pattern="4:8", fidelity=fidelity, phases=["forward"])
        ):
            assert row["speedup"] >= 1, row


def test_padding_to_whole_groups():
    padded = load_hardware(FIXED, pad_groups=True)
    work = weights(Gemm(10, 20, 13), "2:4")
    assert machines.simulate(FIXED, work).macs_issued == 10 * 20 * 7
    assert machines.simulate(padded, work).macs_issued == 10 * 20 * 8
    # Three groups of four slots, and two for the one element of the last group.
    assert machines.simulate(padded, weights(Gemm(10, 20, 13), "7:8")).macs_issued == 10 * 20 * 14


@pytest.mark.parametrize("name", [n for n in HARDWARE if load_hardware(n).kind == "systolic"])
def test_an_array_runs_every_dataflow(name):
    machine = load_hardware(name)
    for dataflow in DATAFLOWS if machine.feed == "skewed" else ["os"]:
        for fidelity in machines.FIDELITIES:
            run = machines.simulate(
                load_hardware(name, dataflow=dataflow), SparseGemm.dense(Gemm(70, 30, 50)), fidelity
            )
            assert run.macs_issued == 70 * 30 * machine.padded(50, DENSE)
            assert run.utilization <= 1


SORTS = (
    *("convnext-tiny", "encoder-decoder", "mixtral-8x7b", "r3d-18"),
    *("resnet18", "resnext50", "unet", "vit-tiny", "wav2vec2-base"),
)
"""Networks that have every type of layer between them, convolutions of every sort too."""


def sorts(names):
    """Type, axes of its kernel, and whether it is grouped, of every layer of some networks."""
    return {
        (layer.type, np.size(getattr(layer, "kernel", 0)), getattr(layer, "groups", 1) > 1)
        for name in names
        for layer in load_model(name).layers
    }


def test_a_few_networks_have_every_sort_of_layer():
    assert sorts(SORTS) == sorts(MODELS)


@pytest.mark.parametrize(
    "name",
    [name if name in SORTS else pytest.param(name, marks=pytest.mark.slow) for name in MODELS],
)
def test_every_model_runs_fold_by_fold(name):
    point = Point(model=name, hardware="systolic-128x128-2to4", recipe="asp", compare=False)
    assert all(0 < row["macs_useful"] <= row["macs_issued"] for row in rows(point))


def test_rows_of_tiles_are_alike_only_as_far_as_their_slots_are():
    """Tiles 0 to 3 and 5 on fit 2:4, 4 does not: it must not be added up with those before it."""
    n, k, tiles, misfit = 7, 16, 8, 4
    machine = load_hardware(
        FIXED,
        **{"rows": 2, "cols": 3, "dataflow": "os", "sparse_operand": "a", "dram.gbps": None},
    )
    bits = np.tile([True, True, False, False], (2 * tiles, k // 4))
    bits[2 * misfit : 2 * misfit + 2] = np.tile([True] * 4 + [False] * 4, k // 8)
    work = SparseGemm(Gemm(2 * tiles, n, k), Mask.of(bits, Pattern(4, 8)), Mask.dense(n, k))
    slots = tile_slots(work.a, Pattern(2, 4), 1, 2, k)[0]
    assert slots.tolist() == [8] * misfit + [12] + [8] * (tiles - misfit - 1)
    run = machines.simulate(machine, work)
    assert run.misfit_share == pytest.approx(1 / tiles)
    assert run.macs_issued == 2 * n * slots.sum()
