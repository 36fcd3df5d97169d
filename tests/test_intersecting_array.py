"""Arrays that skip products with a zero, as a user meets them: machine, rows, sampling, bounds."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import fast_every
from typer.testing import CliRunner

import nmsim
from nmsim import machines
from nmsim.cli import app
from nmsim.errors import SpecError
from nmsim.gemm import Gemm
from nmsim.machines import Sample, load_hardware
from nmsim.machines.systolic import cycle
from nmsim.machines.systolic.intersect.analytical import expected_fold_cycles
from nmsim.machines.systolic.intersect.folds import Fabric
from nmsim.machines.systolic.placement import without_masks
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import Pattern
from nmsim.pruning import prune

ARRAY = "systolic-128x128-intersecting"

SKIP_BOTH = """
summary: weights and activations pruned at random, forward
source: a test
operands:
  - {role: weight, phases: [forward], pruner: random}
  - {role: activation, phases: [forward], pruner: random}
"""


def random_pair(m, n, k, pattern, seed=0, other=None):
    rng = np.random.default_rng(seed)
    masks = []
    for role, (rows, one) in enumerate(((m, pattern), (n, other or pattern))):
        bits = prune(rng.normal(size=(rows, k)), one, "random", seed=2 * seed + role).mask
        masks.append(Mask.of(bits, one))
    return SparseGemm(Gemm(m, n, k), *masks)


def unlimited(**fields):
    """The array with memory that never stalls, and operands in the order that they are given."""
    memory = {"dram.gbps": None, "dram.latency_ns": 0.0}
    return load_hardware(ARRAY, order="fixed", **memory, **fields)


def with_lookahead(lookahead, **fields):
    return unlimited(**{"intersecting.lookahead": lookahead}, **fields)


KEPT = np.array([True, True, False, False])


@pytest.mark.parametrize(("other", "products"), [([1, 1, 0, 0], 16), ([0, 0, 1, 1], 0)])
def test_two_regular_masks_take_the_products_that_their_bits_leave(other, products):
    """Eight groups of 2:4 in both operands: masks that agree leave two products each, or none."""

    def run(kept):
        a, b = (
            Mask.of(np.tile(one, (3, 8)), Pattern(2, 4)).but(regular=True) for one in (KEPT, kept)
        )
        work = SparseGemm(Gemm(3, 3, 32), a, b)
        return machines.simulate(with_lookahead(0, rows=4, cols=4), work).compute_cycles

    assert run(np.array(other) > 0) - run(~KEPT) == products


def test_cycles_of_576_groups_of_two_random_masks():
    """A 128 x 128 fold; what is drawn moves the figures by a percent."""
    work = random_pair(128, 128, 4 * 576, Pattern(2, 4))
    cycles = [
        machines.simulate(with_lookahead(d, drain="uncounted"), work).cycles
        for d in (0, 1, 2, 4, 8, None)
    ]
    assert cycles == pytest.approx([1152, 974, 866, 765, 689, 632], rel=0.012)


@settings(max_examples=40)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 90)),
    st.sampled_from(["1:2", "2:4", "4:8", "1:8"]),
    st.sampled_from(["1:4", "2:4", "8:16"]),
    st.sampled_from([1, 4, 8, 16]),
    st.integers(0, 100),
)
def test_every_lookahead_lies_between_lock_step_and_the_largest_sum(sizes, one, other, group, seed):
    m, n, k = sizes
    work = random_pair(m, n, k, Pattern.parse(one), seed, Pattern.parse(other))
    fields = {"rows": 8, "cols": 6, "drain": "uncounted", "intersecting.group": group}
    by_lookahead = [
        machines.simulate(with_lookahead(d, **fields), work).compute_cycles
        for d in (0, 1, 2, 5, 30, None)
    ]
    assert by_lookahead == sorted(by_lookahead, reverse=True)
    a, b = work.a.bits().astype(int), work.b.bits().astype(int)
    tiles = [(a[i : i + 8], b[j : j + 6]) for i in range(0, m, 8) for j in range(0, n, 6)]
    assert by_lookahead[-1] == sum(int((x @ y.T).max()) for x, y in tiles)
    assert by_lookahead[0] == sum(
        int((x[:, g : g + group] @ y[:, g : g + group].T).max())
        for x, y in tiles
        for g in range(0, k, group)
    )


@settings(max_examples=60)
@given(
    st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 60)),
    st.sampled_from([0, 1, 3, None]),
    st.sampled_from(["exposed", "overlapped", "uncounted"]),
    st.integers(0, 1000),
)
def test_a_subset_of_two_masks_is_never_slower(sizes, lookahead, drain, seed):
    m, n, k = sizes
    rng = np.random.default_rng(seed)
    machine = with_lookahead(lookahead, rows=5, cols=7, drain=drain)
    wide, narrow = [], []
    for rows in (m, n):
        bits = rng.random((rows, k)) < 0.7
        wide.append(Mask.of(bits, Pattern(8, 9)))
        narrow.append(Mask.of(bits & (rng.random((rows, k)) < 0.7), Pattern(8, 9)))
    more = machines.simulate(machine, SparseGemm(Gemm(m, n, k), *wide)).compute_cycles
    assert machines.simulate(machine, SparseGemm(Gemm(m, n, k), *narrow)).compute_cycles <= more
    assert more <= machines.simulate(machine, SparseGemm.dense(Gemm(m, n, k))).compute_cycles


@pytest.mark.parametrize("lookahead", [0, 1, 4, None])
def test_longer_groups_of_one_density_differ(lookahead):
    """2:4, 4:8 and 8:16: other metadata, and with two masks other cycles."""
    found = {}
    for text in ("2:4", "4:8", "8:16"):
        work = random_pair(256, 256, 1536, Pattern.parse(text))
        run = machines.simulate(with_lookahead(lookahead, drain="uncounted"), work)
        found[text] = (run.metadata_bytes, run.compute_cycles)
        assert run.macs_issued / (256 * 256 * 1536) == pytest.approx(0.25, rel=0.01)
    assert [found[text][0] * 8 / (512 * 768) for text in found] == [2, 3, 4]
    assert len({cycles for _, cycles in found.values()}) == 3


def test_survivors_are_counted_and_expected():
    work = random_pair(300, 200, 1024, Pattern(2, 4), other=Pattern(1, 4))
    run = machines.simulate(unlimited(), work)
    pairs = 300 * 200 * 256
    shares = run.survivors.measured
    assert sum(shares) == pytest.approx(1)
    mean = run.survivors.mean(shares)
    # N1 . N2 / M = 1/2. Rows are shared by pairs, so their number, not that of pairs, is what
    # the mean spreads by; it is exact in each group for rows drawn from all masks alike.
    error = np.sqrt(0.25 / (300 * 256)) + np.sqrt(0.25 / (200 * 256))
    assert abs(mean - 0.5) < 4 * error
    assert run.survivors.expected[:2] == pytest.approx((0.5, 0.5))
    assert mean * pairs == pytest.approx(run.macs_issued)


LONG = ["8:16", "4:16", "8:32", "16:32"]
SHORT = [("1:2", 8), ("1:4", 32), ("1:4", 64), ("1:2", 64), ("2:4", 16)]


UNLIKE = [*((p, 4) for p in LONG), *SHORT]


@pytest.mark.parametrize(
    ("pattern", "group", "lookahead"),
    fast_every([(*one, ahead) for one in UNLIKE for ahead in (0, 1, 2, 4, 8, 16, None)], 5),
)
def test_the_analytical_twin_of_patterns_unlike_the_machines_group(pattern, group, lookahead):
    work = random_pair(256, 256, 1152, Pattern.parse(pattern))
    machine = with_lookahead(lookahead, drain="uncounted", **{"intersecting.group": group})
    cycle = machines.simulate(machine, work).compute_cycles
    expected = machines.simulate(machine, work, "analytical").compute_cycles
    assert expected == pytest.approx(cycle, rel=0.08)


@pytest.mark.parametrize("lookahead", [0, 1, 4, 16, None])
@pytest.mark.parametrize(("one", "other"), [("2:4", "2:4"), ("1:4", "4:8"), ("2:8", "dense")])
def test_the_analytical_twin_is_close(one, other, lookahead):
    work = random_pair(384, 300, 1152, Pattern.parse(one))
    if other == "dense":
        work = SparseGemm(work.gemm, work.a, Mask.dense(300, 1152))
    else:
        work = random_pair(384, 300, 1152, Pattern.parse(one), other=Pattern.parse(other))
    machine = with_lookahead(lookahead, drain="uncounted")
    cycle = machines.simulate(machine, work).compute_cycles
    assert machines.simulate(machine, work, "analytical").compute_cycles == pytest.approx(
        cycle, rel=0.05
    )


def test_windows_of_both_patterns_bound_the_twin():
    """Single elements of two 1:2 masks: no PE spends more than a cycle on a pair of them."""
    work = random_pair(128, 128, 1024, Pattern(1, 2))
    assert expected_fold_cycles(work.a, work.b, 1, Fabric(128, 128, 1, 2)).high.max() <= 512.5


def test_the_analytical_twin_adds_up_the_folds_that_it_expects():
    """Ragged folds have fewer PEs, whose largest sum is smaller: each class counts by its own."""
    work = random_pair(300, 270, 512, Pattern(2, 4))
    expected = expected_fold_cycles(work.a, work.b, 1, Fabric(128, 128, 4, 4)).cycles
    assert expected.shape == (1, 3, 3)
    assert expected[0, 2, 2] < 0.99 * expected[0, 0, 0]
    run = machines.simulate(with_lookahead(4, drain="uncounted"), work, "analytical")
    assert run.compute_cycles == np.ceil(expected.sum())


def test_dense_operands_need_no_bits():
    def bits():
        raise AssertionError("no bits are needed")

    one = Mask.promising(Pattern(2, 4), 64, 256, regular=True, source=bits)
    work = SparseGemm(
        Gemm(64, 64, 256), one, Mask.promising(Pattern.parse("dense"), 64, 256, True, bits)
    )
    assert machines.simulate(unlimited(drain="uncounted"), work).compute_cycles == 128
    assert (
        machines.simulate(unlimited(drain="uncounted"), SparseGemm.dense(work.gemm)).cycles == 256
    )


@pytest.mark.parametrize("group", [2, 4, 6, 8])
def test_bits_are_asked_for_where_groups_of_mask_and_array_differ(group):
    one = random_pair(32, 32, 240, Pattern(2, 4))
    words = one.a.words
    regular = Mask.promising(Pattern(2, 4), 32, 240, regular=True, source=lambda: words)
    machine = with_lookahead(0, drain="uncounted", **{"intersecting.group": group})
    known, counted = (
        machines.simulate(machine, SparseGemm(one.gemm, mask, Mask.dense(32, 240))).cycles
        for mask in (regular, one.a)
    )
    assert known == counted
    assert (known == 120) == (group % 4 == 0)


def test_an_overlapped_drain_shows_where_folds_are_short():
    """Outputs of 128 rows take 128 cycles to leave, longer than a fold of 16 groups."""
    machine = unlimited()
    dense = machines.simulate(machine, SparseGemm.dense(Gemm(256, 256, 64)))
    assert dense.compute_cycles == 64 + 3 * 128 + 128
    assert machines.simulate(
        machine, SparseGemm.dense(Gemm(256, 256, 64)), "analytical"
    ).compute_cycles == (dense.compute_cycles)


def empty(m, n, k, count=1):
    masks = [Mask.of(np.zeros((rows * count, k), bool), Pattern(2, 4)) for rows in (m, n)]
    return SparseGemm(Gemm(m, n, k, count=count), *masks)


@pytest.mark.parametrize("fidelity", ["cycle", "analytical"])
def test_copies_without_a_product_wait_for_each_others_outputs(fidelity):
    run = machines.simulate(unlimited(), empty(64, 64, 64, count=4), fidelity)
    assert (run.cycles, run.macs_issued) == (4 * 128, 0)


def test_copies_alike_in_shape_may_differ_in_bits():
    kept = [0.9, 0.9, 0.9, 0.2, 0.9]
    a = np.concatenate([np.arange(200)[None, :].repeat(8, 0) < 200 * share for share in kept])
    masks = [Mask.of(bits, Pattern(8, 9)) for bits in (a, np.ones((40, 200), bool))]
    run = machines.simulate(
        unlimited(drain="uncounted"), SparseGemm(Gemm(8, 8, 200, count=5), *masks)
    )
    assert run.cycles == sum(200 * share for share in kept)


def test_rows_of_tiles_are_alike_only_as_far_as_their_folds_are():
    """A row of tiles that keeps less, two rows after others alike, is not added up with them."""
    kept = [40, 40, 40, 10, 40, 40]
    a = np.repeat([np.arange(40) < one for one in kept], 2, axis=0)
    machine = unlimited(rows=2, cols=3, drain="uncounted")
    work = SparseGemm(Gemm(12, 9, 40), Mask.of(a, Pattern(8, 9)), Mask.dense(9, 40))
    assert machines.simulate(machine, work).cycles == 3 * sum(kept)


@pytest.mark.parametrize(("m", "last"), [(8, 4), (9, 1)])
def test_a_fold_takes_at_least_what_its_words_take_on_the_path(m, last):
    """64 bits a cycle carry 40 x 16 bits of each lane in 10 cycles."""
    machine = unlimited(
        rows=4, cols=3, drain="uncounted", delivery={"words_per_cycle": 4, "word_bits": 16}
    )
    work = SparseGemm.dense(Gemm(m, 7, 40))
    heights, widths = [*[4] * ((m - last) // 4), last], [3, 3, 1]
    (placement,) = without_masks(machine, work.gemm)
    least = cycle._least(machine, placement)
    assert least.tolist() == [[[10.0 * (row + col) for col in widths] for row in heights]]


def test_a_sample_without_a_product_is_exact():
    run = machines.simulate(unlimited(), empty(600, 600, 64), sample=Sample(8))
    assert "within 0.00%" in run.note
    assert run.half_width == 0


def test_repeats_are_launches_of_their_own():
    one = random_pair(640, 640, 256, Pattern(2, 4))
    thrice = SparseGemm(Gemm(640, 640, 256, repeat=3), one.a, one.b)
    narrow = unlimited(delivery={"words_per_cycle": 64, "word_bits": 16})
    for machine, sample in ((unlimited(drain="uncounted"), Sample(6)), (narrow, None)):
        runs = [machines.simulate(machine, work, sample=sample) for work in (one, thrice)]
        for name in ("cycles", "half_width", "delivery_cycles", "macs_issued"):
            assert getattr(runs[1], name) == 3 * getattr(runs[0], name)
        assert runs[0].half_width > 0 or runs[0].delivery_cycles > 0
        assert runs[1].utilization == pytest.approx(runs[0].utilization)


@pytest.mark.parametrize("group", [32, 64])
def test_the_twin_of_long_groups_never_underflows(group):
    """Sums beyond what two masks can share have no chance; warnings are errors."""
    work = random_pair(256, 128, 1024, Pattern(1, 4))
    machine = with_lookahead(2, **{"intersecting.group": group})
    assert machines.simulate(machine, work, "analytical").compute_cycles > 0


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "both.yaml"
    path.write_text(SKIP_BOTH)
    return str(path)


def test_rows_say_what_survived_and_what_was_run(recipe):
    table = nmsim.simulate([Gemm(512, 256, 512)], hardware=ARRAY, recipe=recipe, compare=True)
    (row,) = table.to_dict("records")
    assert row["folds_run"] == 8
    assert row["half_width"] == 0
    assert row["survivors_mean"] == pytest.approx(1, abs=0.02)
    assert row["survivors_expected"] == pytest.approx(1)
    assert [float(share) for share in row["survivors"].split()][:3] == pytest.approx(
        [1 / 6, 4 / 6, 1 / 6], abs=0.02
    )
    assert row["speedup"] > 1.4


def test_a_sample_says_its_interval_and_holds_the_truth(recipe):
    gemms = [Gemm(4096, 2048, 512)]
    truth = nmsim.simulate(gemms, hardware=ARRAY, recipe=recipe, compare=False)
    held = 0
    for seed in range(12):
        machine = load_hardware(ARRAY)
        work = random_pair(1024, 1024, 512, Pattern(2, 4), seed)
        exact = machines.simulate(machine, work)
        sampled = machines.simulate(machine, work, sample=Sample(16, seed))
        held += abs(sampled.compute_cycles - exact.compute_cycles) <= sampled.half_width
        assert sampled.folds_run == 16
        assert "sampled: 16 of 64 folds" in sampled.note
        assert "95% confidence" in sampled.note
    assert held >= 9  # 95% of 12, two standard deviations below
    some = nmsim.simulate(gemms, hardware=ARRAY, recipe=recipe, compare=False, sample=40)
    assert 0 < some.half_width[0] < 0.02 * some.compute_cycles[0]
    assert some.compute_cycles[0] == pytest.approx(truth.compute_cycles[0], rel=0.02)


def test_a_sample_holds_the_truth_where_folds_wait_for_their_path():
    """Half of the folds compute, half are sparse and wait: no mean stands for both."""
    rng = np.random.default_rng(0)
    dense_rows = (np.arange(3072) // 128 % 2 == 0)[:, None]
    a = rng.random((3072, 256)) < np.where(dense_rows, 0.9, 0.1)
    masks = [Mask.of(bits, Pattern(8, 9)) for bits in (a, rng.random((3072, 256)) < 0.9)]
    work = SparseGemm(Gemm(3072, 3072, 256), *masks)
    machine = unlimited(delivery={"words_per_cycle": 437, "word_bits": 16})
    exact = machines.simulate(machine, work)
    assert 0.2 * exact.compute_cycles < exact.delivery_cycles < 0.8 * exact.compute_cycles
    held = 0
    for seed in range(20):
        some = machines.simulate(machine, work, sample=Sample(60, seed))
        held += abs(some.compute_cycles - exact.compute_cycles) <= some.half_width
    assert held >= 16  # 95% of 20, less three standard deviations


def test_sampling_nothing_is_refused(recipe):
    gemms = [Gemm(64, 64, 64)]
    with pytest.raises(SpecError, match="expected two folds or more"):
        nmsim.simulate(gemms, hardware=ARRAY, sample=1)
    with pytest.raises(SpecError, match="does not run folds from the bits of two masks"):
        nmsim.simulate(gemms, sample=100)
    with pytest.raises(SpecError, match="analytical"):
        nmsim.simulate(gemms, hardware=ARRAY, fidelity="analytical", sample=100)


def test_the_command_line_samples(recipe):
    command = ["simulate", "gemm:1024x1024x1024", "--hardware", ARRAY, "--recipe", recipe]
    result = CliRunner().invoke(app, [*command, "--sample", "12", "--format", "json"])
    document = json.loads(result.stdout)
    assert document["manifest"]["sample"] == 12
    assert document["rows"][0]["folds_run"] == 12
    assert document["rows"][0]["half_width"] > 0
    assert "sampled" in document["rows"][0]["note"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"dataflow": "ws"}, "expected dataflow os"),
        ({"feed": "skewed"}, "feed broadcast"),
        ({"native": ("2:4",)}, "expected no native patterns"),
        ({"intersecting.group": 65}, "64 at most"),
        ({"intersecting.lookahead": -1}, "0 or more"),
        ({"dot_width": 2}, "dot_width 1"),
        ({"pad_slots": 16}, "expected pad_slots 1"),
    ],
)
def test_what_is_not_modelled_is_refused(fields, said):
    with pytest.raises(SpecError, match=said):
        load_hardware(ARRAY, **fields)
