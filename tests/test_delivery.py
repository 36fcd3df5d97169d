"""A path of finite width from buffers to array, against Sparseloop's sparse tensor core study."""

from fractions import Fraction

import numpy as np
import pytest
from tiers import fast_first

from nmsim import machines
from nmsim.errors import ShapeError
from nmsim.gemm import Gemm
from nmsim.machines import FIDELITIES, load_hardware
from nmsim.machines.systolic.traffic.operands import transfer_cycles
from nmsim.mask import Mask, SparseGemm
from nmsim.mask.words import pack
from nmsim.pattern import DENSE, Pattern

SHAPES = [(128, 1024, 1152), (512, 1024, 128), (512, 1024, 256), (512, 256, 1024), (64, 48, 100)]

# Metadata words of 8 bytes a cycle, 64 kept weights: 2 bits each at 2:4, 4 at 2:6 and 2:8, 2 at 2:6
# as run lengths.
METADATA = {
    "sparseloop-tc": {},
    "sparseloop-stc": {"2:4": 2},
    "sparseloop-stc-flexible": {"2:4": 2, "2:6": 4, "2:8": 4},
    "sparseloop-stc-flexible-rle": {"2:4": 2, "2:6": 2, "2:8": 4},
}


def study(m, n, k, group, metadata):
    """Cycles by Wu et al., MICRO 2022, as all dense and STC rows of its artefact follow them.

    1024 MACs; 42 words a cycle against 16 / d of the dense operand, 8 of the kept one and its
    metadata; K padded to whole steps of 8 groups.
    """
    density = Fraction(2, group)
    padded = -(-k // (8 * group)) * 8 * group
    need = 16 / density + 8 + metadata
    return Fraction(m * n * padded, 1024) * density * max(1, need / 42)


def weights(m, n, k, pattern):
    mask = Mask.promising(pattern, n, k, regular=True, source=lambda: pytest.fail("needs no bits"))
    return SparseGemm(Gemm(m, n, k), Mask.dense(m, k), mask)


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", METADATA)
def test_sparseloops_cycles(name, shape, fidelity):
    machine = load_hardware(name)
    for text, words in {"dense": 0, **METADATA[name]}.items():
        pattern = Pattern.parse(text)
        group = 2 if pattern.is_dense else pattern.group
        run = machines.simulate(machine, weights(*shape, pattern), fidelity)
        assert run.cycles == pytest.approx(float(study(*shape, group, words)), rel=1e-4, abs=1)
        assert run.a_bits_per_cycle == pytest.approx(64 * 16 * group / 2)
        assert run.b_bits_per_cycle == pytest.approx(64 * (8 + words))


@pytest.mark.parametrize(
    ("name", "pattern", "cycles"),
    # its printed rows: 128 x 1152 x 1024, weights at 1, 1/2, 1/3 and 1/4
    [
        ("sparseloop-tc", "dense", 147456),
        ("sparseloop-stc", "2:4", 73728),
        ("sparseloop-stc", "2:8", 73728),  # run as 2:4
        ("sparseloop-stc-flexible", "2:6", 70218),
        ("sparseloop-stc-flexible-rle", "2:6", 67877),
        ("sparseloop-stc-flexible", "2:8", 66707),
        ("sparseloop-stc-flexible-rle", "2:8", 66707),
    ],
)
def test_sparseloops_printed_rows(name, pattern, cycles):
    work = weights(128, 1024, 1152, Pattern.parse(pattern))
    assert machines.simulate(load_hardware(name), work).cycles == pytest.approx(cycles, rel=1e-4)


def test_a_path_made_for_2to4_holds_2to8_to_little_more():
    machine = load_hardware("sparseloop-stc-flexible")
    work = weights(128, 1024, 1152, Pattern(2, 8))
    run, dense = machines.simulate(machine, work), machines.simulate_dense(machine, work.gemm)
    assert dense.cycles / run.cycles == pytest.approx(2.21, abs=0.005)
    assert run.delivery_cycles == pytest.approx(run.cycles - dense.cycles / 4, abs=1)
    assert run.bound == "compute"  # it waits for 45% of its cycles
    half = load_hardware(machine, **{"delivery.words_per_cycle": 21})
    assert machines.simulate(half, work).bound == "buffer bandwidth"
    wide = load_hardware(machine, delivery=None)
    assert dense.cycles == 4 * machines.simulate(wide, work).cycles


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_a_wider_path_is_never_slower_and_a_sparser_mask_neither(dataflow, fidelity):
    def cycles(words, pattern):
        machine = load_hardware(
            "systolic-128x128-flexible",
            rows=16,
            cols=8,
            dataflow=dataflow,
            delivery={"words_per_cycle": words, "word_bits": 16},
            dram={"gbps": None, "latency_ns": 0},
        )
        return machines.simulate(machine, weights(200, 96, 512, pattern), fidelity).cycles

    patterns = [DENSE, Pattern(3, 4), Pattern(2, 4), Pattern(1, 4), Pattern(1, 8), Pattern(1, 16)]
    for words in (4, 16, 64, 1000):
        by_pattern = [cycles(words, pattern) for pattern in patterns]
        assert by_pattern == sorted(by_pattern, reverse=True)
    for pattern in patterns:
        by_width = [cycles(words, pattern) for words in (1, 4, 16, 64, 1000)]
        assert by_width == sorted(by_width, reverse=True)
        assert by_width[0] > 2 * by_width[-1]


@pytest.mark.parametrize("seed", fast_first(range(300), 60))
def test_a_mask_never_costs_cycles_whatever_the_path_and_the_padding(seed):
    rng = np.random.default_rng(seed)
    dataflow = str(rng.choice(["os", "ws", "is"]))
    machine = load_hardware(
        "systolic-128x128-flexible",
        rows=int(rng.integers(1, 24)),
        cols=int(rng.integers(1, 24)),
        dataflow=dataflow,
        sparse_operand=str(rng.choice(["a", "b", "either"])),
        fold_period=str(
            rng.choice(["exposed", "preload_hidden", "back_to_back", "uncounted"]),
        ),
        drain=str(rng.choice(["exposed", "overlapped", "back_to_back", "uncounted"])),
        pad_groups=bool(rng.random() < 0.3),
        pad_slots=int(rng.choice([1, 1, 16])),
        delivery={"words_per_cycle": float(np.exp(rng.uniform(-1, 6))), "word_bits": 16},
    )
    m, n, k = (int(size) for size in rng.integers(1, 130, 3))
    pattern = Pattern.parse(str(rng.choice(["1:2", "1:4", "2:4", "1:8", "1:16", "4:8"])))
    work = weights(m, n, k, pattern)
    work = work.swapped() if rng.random() < 0.5 else work
    run, dense = machines.simulate(machine, work), machines.simulate_dense(machine, work.gemm)
    assert run.cycles <= dense.cycles


def test_a_path_is_the_bound_where_most_cycles_wait_for_it():
    fields = {"delivery": {"words_per_cycle": 128, "word_bits": 16}, "dram": {"gbps": None}}
    run = machines.simulate(
        load_hardware("systolic-128x128", **fields), SparseGemm.dense(Gemm(4096, 128, 128))
    )
    assert run.delivery_cycles == 0
    assert run.bound == "compute"
    assert run.a_bits_per_cycle == run.b_bits_per_cycle == 128 * 16
    for words, bound in ((127, "compute"), (60, "buffer bandwidth")):
        fields["delivery"]["words_per_cycle"] = words
        slowed = machines.simulate(
            load_hardware("systolic-128x128", **fields), SparseGemm.dense(Gemm(4096, 128, 128))
        )
        assert slowed.bound == bound
        assert slowed.delivery_cycles > 0


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_preload_that_hides_behind_no_wait_is_not_the_bound(fidelity):
    """Held operand and stream each fit; together they are more than the streamed cycles."""
    work = weights(2560, 256, 512, DENSE)
    machine = load_hardware(
        "systolic-128x128",
        dram={"gbps": None, "latency_ns": 0},
        delivery={"words_per_cycle": 128, "word_bits": 16},
    )
    wide = machines.simulate(machine, work, fidelity)
    assert (wide.delivery_cycles, wide.bound) == (0, "compute")
    narrow = machines.simulate(
        load_hardware(machine, **{"delivery.words_per_cycle": 120}), work, fidelity
    )
    assert narrow.delivery_cycles > 0
    assert narrow.bound == "compute"


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_fold_that_waits_for_its_path_hides_the_drain_before_it(fidelity):
    """4 cycles of 2048 bits at 128 a cycle take 16, as many as 16 rows of outputs to leave."""
    machine = load_hardware(
        "systolic-128x128-intersecting",
        rows=16,
        cols=16,
        dram={"gbps": None},
        delivery={"words_per_cycle": 8, "word_bits": 16},
    )
    run = machines.simulate(machine, SparseGemm.dense(Gemm(64, 64, 4)), fidelity)
    assert (run.compute_cycles, run.delivery_cycles) == (16 * 16 + 16, 16 * 12)


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize(
    ("period", "waited"),
    [
        ("exposed", 64 + 16),
        ("preload_hidden", 128 + 32 - 64),
        ("back_to_back", 128 + 32 - 64),
        ("uncounted", 64),
    ],
)
def test_what_a_fold_waits_for_its_path_by_hand(period, waited, fidelity):
    """Streaming takes 64 cycles and 128 on the path; weights shift in for 16, and take 32 there."""
    machine = load_hardware(
        "systolic-128x128",
        rows=16,
        cols=16,
        dataflow="ws",
        fold_period=period,
        dram={"gbps": None},
        delivery={"words_per_cycle": 8, "word_bits": 16},
    )
    run = machines.simulate(machine, SparseGemm.dense(Gemm(64, 16, 16)), fidelity)
    assert run.delivery_cycles == waited


def test_outputs_that_take_too_long_to_leave_are_refused():
    """2^39 folds of one cycle each; outputs of 2^15 rows take as many cycles, of 2^10 ticks."""
    machine = load_hardware(
        "systolic-128x128",
        rows=2**15,
        cols=1,
        dataflow="os",
        feed="broadcast",
        drain="overlapped",
        order="fixed",
        dram={"gbps": None, "latency_ns": 0},
    )
    work = SparseGemm.dense(Gemm(2**30, 2**12, 1, count=2**12))
    with pytest.raises(ShapeError, match="64 bits"):
        machines.simulate(machine, work)
    left = load_hardware(machine, drain="uncounted")
    assert machines.simulate(left, work).compute_cycles == 2**39


def test_a_path_too_narrow_to_count_in_64_bits_is_refused():
    machine = load_hardware(
        "systolic-128x128", dataflow="os", delivery={"words_per_cycle": 1e-6, "word_bits": 1}
    )
    with pytest.raises(ShapeError, match="64 bits"):
        machines.simulate(machine, SparseGemm.dense(Gemm(8192, 8192, 8192)))


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_waiting_for_the_path_is_feeding_and_not_filling(fidelity):
    """A fold streams 16 cycles; its bits take 512 on the path, which is what feeds it."""
    machine = load_hardware(
        "systolic-128x128",
        rows=16,
        cols=16,
        dataflow="os",
        dram={"gbps": None},
        delivery={"words_per_cycle": 1, "word_bits": 16},
    )
    run = machines.simulate(machine, SparseGemm.dense(Gemm(64, 64, 16)), fidelity)
    assert run.delivery_cycles > run.compute_cycles / 2
    assert run.bound == "buffer bandwidth"


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_what_is_asked_of_a_buffer_follows_its_operand_where_a_gemm_is_transposed(fidelity):
    machine = load_hardware("systolic-128x128-flexible", dataflow="os", sparse_operand="b")
    work = weights(200, 300, 512, Pattern(1, 4))
    met, turned = (machines.simulate(machine, w, fidelity) for w in (work, work.swapped()))
    assert turned.transposed
    assert not met.transposed
    assert met.a_bits_per_cycle > 2 * met.b_bits_per_cycle
    assert turned.b_bits_per_cycle == pytest.approx(met.a_bits_per_cycle)
    assert turned.a_bits_per_cycle == pytest.approx(met.b_bits_per_cycle)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_misfits_are_groups_that_selectors_do_not_cover(fidelity):
    """36 of the 70 ways to keep 4 of 8 hold two in each half, as 2:4 selectors need."""
    rng = np.random.default_rng(0)
    bits = rng.permuted(np.tile(np.arange(8) < 4, (256 * 64, 1)), axis=1).reshape(256, 512)
    mask = Mask.promising(Pattern(4, 8), 256, 512, regular=True, source=lambda: pack(bits))
    work = SparseGemm(Gemm(64, 256, 512), Mask.dense(64, 512), mask)
    run = machines.simulate(load_hardware("systolic-128x128-2to4"), work, fidelity)
    spread = 0.0 if fidelity == "analytical" else 0.01
    assert run.misfit_share == pytest.approx(34 / 70, abs=spread + 1e-9)


def test_one_pruned_operand_needs_the_other_faster_and_two_do_not():
    """Chmiel et al., section 5: at 1:4 four activations come with every weight."""
    machine = load_hardware("systolic-128x128-flexible", dataflow="os")
    pattern = Pattern(1, 4)
    both = SparseGemm(
        Gemm(256, 256, 1024),
        Mask.promising(
            pattern, 256, 1024, regular=True, source=lambda: pytest.fail("needs no bits")
        ),
        weights(256, 256, 1024, pattern).b,
    )
    one = machines.simulate(machine, weights(256, 256, 1024, pattern))
    two = machines.simulate(machine, both)
    assert one.a_bits_per_cycle / (one.b_bits_per_cycle * 16 / 18) == 4
    assert two.a_bits_per_cycle == two.b_bits_per_cycle == one.b_bits_per_cycle
    assert one.compute_cycles == two.compute_cycles


@pytest.mark.parametrize(
    ("shape", "densities", "cycles"),
    # rows of the study's dual-side core (DSTC): inputs and weights both pruned, no pattern
    fast_first(
        [
            ((512, 256, 1024), (0.27, 0.25), 28699),
            ((128, 1024, 1152), (0.44, 1.0), 78059),
            ((128, 1024, 1152), (0.44, 0.25), 37083),
            ((512, 1024, 256), (0.82, 1.0), 131072),
        ],
        1,
    ),
)
def test_sparseloops_dual_side_core_is_another_machine(shape, densities, cycles):
    """docs/systolic.md: an inner-product array of as many MACs takes 0.66 to 0.95 of its cycles."""
    m, n, k = shape
    rng = np.random.default_rng(0)
    masks = [
        Mask.of(rng.random((rows, k)) < density, Pattern(8, 9))
        for rows, density in zip((m, n), densities, strict=True)
    ]
    machine = load_hardware(
        "systolic-128x128-intersecting",
        rows=32,
        cols=32,
        drain="uncounted",
        intersecting={"group": 8, "lookahead": 4},
        dram={"gbps": None},
    )
    run = machines.simulate(machine, SparseGemm(Gemm(m, n, k), *masks))
    assert 0.65 < run.cycles / cycles < 0.96


def test_a_channel_is_busy_for_its_bits():
    machine = load_hardware("systolic-16x16", **{"dram.gbps": 2}, clock_mhz=500)
    assert transfer_cycles(machine, 8 * 2e9) == pytest.approx(500e6)  # a second's worth
