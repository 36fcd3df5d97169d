"""What preparing an operand costs a GPU: bytes by hand, bounds, and a paper's figures."""

import pytest

from nmsim.errors import ShapeError, SpecError
from nmsim.machines import load_hardware
from nmsim.machines.gpu.preparation import compress, prune_and_compress, select, transpose
from nmsim.network.catalog import load_model
from nmsim.pattern import Pattern

A100 = load_hardware("a100-sxm4-80gb-documented")
LAUNCH = A100.timing.launch_us
TWO_FOUR = Pattern(2, 4)
ROWS, COLS = 4096, 8192
BYTES = ROWS * COLS * 2


def moved(step):
    """Bytes read and written."""
    return step.read_bytes, step.written_bytes


def test_bytes_of_one_pass_kernels():
    assert moved(select(A100, ROWS, COLS, TWO_FOUR)) == (BYTES, BYTES)
    assert moved(transpose(A100, ROWS, COLS)) == (BYTES, BYTES)
    # Half of the elements, 2 bits each beside 16.
    packed = BYTES / 2 * 18 / 16
    assert moved(compress(A100, ROWS, COLS, TWO_FOUR)) == (BYTES, packed)
    assert moved(prune_and_compress(A100, ROWS, COLS, TWO_FOUR)) == (BYTES, packed)
    both = prune_and_compress(A100, ROWS, COLS, TWO_FOUR, both_ways=True)
    assert moved(both) == (BYTES, 2 * packed)


def test_a_ragged_last_group_is_stored_whole():
    # Two whole groups keep 4 of 9 columns, the ninth is kept; the other way 3 of 5 rows; 18 bits.
    assert compress(A100, 5, 9, TWO_FOUR).written_bytes == 5 * 5 * 18 / 8
    both = prune_and_compress(A100, 5, 9, TWO_FOUR, both_ways=True)
    assert both.written_bytes == (5 * 5 + 9 * 3) * 18 / 8


def test_operators_of_a_framework_move_46_bytes_an_element():
    steps = select(A100, ROWS, COLS, TWO_FOUR, "fp32", fused=False)
    assert len(steps.passes) == 5
    assert sum(moved(steps)) == 46 * ROWS * COLS
    fused = select(A100, ROWS, COLS, TWO_FOUR, "fp32")
    assert sum(moved(fused)) == 8 * ROWS * COLS
    assert 46 / 8 * 0.9 < steps.time_us / fused.time_us < 46 / 8 * 1.1


def test_a_large_matrix_takes_its_bytes_over_dram_bandwidth():
    step = transpose(A100, 32768, 32768)
    assert step.time_us == pytest.approx(LAUNCH + 4 * 32768**2 / 1769e3)


def test_a_small_matrix_takes_a_launch_a_pass():
    assert transpose(A100, 16, 16).time_us == pytest.approx(LAUNCH, rel=0.01)
    assert select(A100, 16, 16, TWO_FOUR, fused=False).time_us == pytest.approx(
        5 * LAUNCH, rel=0.01
    )


def test_passes_over_what_stays_in_l2_do_not_go_to_dram():
    inside = select(A100, 512, 1024, TWO_FOUR, fused=False)
    slow = load_hardware(A100, **{"l2.mib": 0.001})
    outside = select(slow, 512, 1024, TWO_FOUR, fused=False)
    assert inside.time_us < outside.time_us
    assert moved(inside) == moved(outside)


def test_the_first_pass_reads_dram_and_the_last_one_writes_it():
    steps = select(A100, 1024, 1024, TWO_FOUR, "fp32", fused=False)
    size, l2, dram = 4 * 1024**2, 5400e3, 1769e3
    moving = [
        max(2 * size / l2, size / dram),
        4 * size / l2,
        size / l2,
        1.5 * size / l2,
        max(3 * size / l2, size / dram),
    ]
    assert steps.time_us == pytest.approx(5 * LAUNCH + sum(moving))
    # Alone, a kernel reads and writes DRAM.
    alone = select(A100, 1024, 1024, TWO_FOUR, "fp32")
    assert alone.time_us == pytest.approx(LAUNCH + 2 * size / dram)


def test_ranking_binds_large_groups():
    # (M - 1) operations an element: 4 bytes over 1769 GB/s hide 22 of them.
    small, large = (select(A100, 8192, 8192, Pattern(1, group)) for group in (16, 64))
    assert small.time_us == transpose(A100, 8192, 8192).time_us
    rate = 108 * 64 * 1410
    assert large.time_us == pytest.approx(LAUNCH + 8192**2 * 63 / rate)
    both = prune_and_compress(A100, 8192, 8192, Pattern(1, 64), both_ways=True)
    assert both.time_us == pytest.approx(LAUNCH + 2 * 8192**2 * 63 / rate)


def test_fused_is_cheaper_than_one_after_the_other():
    apart = (
        select(A100, ROWS, COLS, TWO_FOUR).time_us + compress(A100, ROWS, COLS, TWO_FOUR).time_us
    )
    assert prune_and_compress(A100, ROWS, COLS, TWO_FOUR).time_us < 0.6 * apart


def test_metadata_follows_the_pattern():
    written = [
        compress(A100, 8, 64, Pattern(n, m)).written_bytes for n, m in ((2, 4), (4, 8), (1, 16))
    ]
    assert written == [8 * 32 * 18 / 8, 8 * 32 * 19 / 8, 8 * 4 * 20 / 8]


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ShapeError, match="matrix of 0 x 4: expected 1 or more of each"):
        transpose(A100, 0, 4)
    with pytest.raises(SpecError, match="fp4"):
        compress(A100, 4, 4, TWO_FOUR, "fp4")


@pytest.mark.parametrize(
    ("operand", "seconds", "share"), [("W", 0.0017, 0.20), ("dY", 0.29, 0.06), ("X", 0.48, 0.20)]
)
def test_bytes_are_a_small_part_of_what_sorting_took_in_fst(operand, seconds, share):
    # ResNet-18, batch 256, one A100, PyTorch 1.7: Xu et al., "Towards fully sparse training",
    # tables 2 and 6, which sort every group of four. fp32 is taken here; bytes bound it from below.
    gemms = [g for g in load_model("resnet18").gemms(batch=256) if g.phase == "forward"]
    sizes = {"W": ("n", "k"), "dY": ("m", "n"), "X": ("m", "k")}[operand]
    total = sum(
        select(A100, *(getattr(g, s) for s in sizes), TWO_FOUR, "fp32", fused=False).time_us
        for g in gemms
        if g.kind == "conv"
    )
    assert total / 1e6 / seconds == pytest.approx(share, rel=0.15)
