"""Each term of a GPU's closed forms alone: all others are made to cost nothing."""

import numpy as np
import pytest

from nmsim.machines.gpu.analytical import SPENT, estimate, fastest, launched
from nmsim.machines.gpu.chip import AS_SQUARE, MATRIX_VECTOR, Chip, Form, Size
from nmsim.machines.gpu.choice import Rules, choose, considered

FREE = 1e30
CHIP = Chip(
    **dict.fromkeys(("macs", "shared", "port", "l2", "l2_bytes", "dram"), FREE),
    **dict.fromkeys(("store", "write", "gemv"), FREE),
    **dict.fromkeys(("launch", "near", "load", "wave", "reduce", "overlap", "throttle"), 0.0),
    sms=1.0,
    throttle_half=1.0,
)
FORM = Form(2.0, 3.0, 5.0)
RULES = Rules(tiles_per_sm=64.0, slices=4.0, large_first=False)
WAVE, DRAM, LAUNCH, SUMS = 5, 6, 7, 8
"""Places of shares."""


def kernel(m, n, k, stages=3, ctas=1, warp=(32, 32)):
    """A row of a table: waves as square as can be, no cluster, for every size, K not dealt out."""
    every = (AS_SQUARE, 1, 1, *(0, 0, 0), *(np.inf, np.inf), *(1, 1, 0))
    return np.array([m, n, k, stages, ctas, *warp, *every], np.float64)


TILE = kernel(128, 64, 32)


def size(m, n, k, copies=1):
    return Size(float(m), float(n), float(k), float(copies))


def shares(chip, row, split, *sizes, form=FORM):
    return estimate(chip, form, row, float(split), size(*sizes)).shares


@pytest.mark.parametrize(
    ("sizes", "split"), [((640, 64, 4096), 1), ((640, 64, 4096), 3), ((1, 64, 4096), 0)]
)
def test_what_clocks_go_to_adds_up(sizes, split):
    """Of tiles, of parts of K, and of a matrix-vector kernel, with all that costs time at once."""
    slow = {"macs": 9.0, "l2": 70.0, "port": 90.0, "dram": 40.0, "write": 20.0, "store": 30.0}
    waits = {"launch": 500.0, "load": 60.0, "wave": 20.0, "overlap": 0.3, "reduce": 70.0}
    chip = CHIP._replace(**slow, **waits, gemv=30.0, sms=4.0, throttle=0.2)
    if split:
        run = estimate(chip, FORM, TILE, float(split), size(*sizes))
    else:
        run = fastest(chip, FORM, TILE[None], 0, 1.0, 4, size(*sizes))
        assert run.kernel == MATRIX_VECTOR
    assert len(run.spent) == len(SPENT)
    assert run.spent.sum() == pytest.approx(run.clocks - run.shares[LAUNCH] - run.shares[SUMS])
    assert (run.shares[SUMS] > 0) == (split > 1)


def test_an_edge_of_a_wave_fills_a_slice_waits_and_stores():
    filled = shares(CHIP._replace(port=7.0), TILE, 1, 100, 64, 4096)
    assert filled[WAVE] == pytest.approx(32 * (100 * 2 + 64 * 3) / 7)
    stored = shares(CHIP._replace(store=7.0), TILE, 1, 100, 64, 4096)
    assert stored[WAVE] == pytest.approx(100 * 64 * 5 / 7)
    waits = shares(CHIP._replace(load=11.0, wave=13.0, sms=2.0), TILE, 1, 640, 64, 64)
    assert waits[WAVE] == pytest.approx(3 * (11 + 13))


def test_parts_of_k_are_read_and_their_sum_written():
    chip = CHIP._replace(reduce=17.0, store=7.0, sms=3.0)
    assert shares(chip, TILE, 4, 256, 64, 4096)[SUMS] == pytest.approx(
        17 + 256 * 64 * (4 * 4 + 5) / (3 * 7)
    )


def test_what_l2_holds_of_earlier_launches_is_not_read():
    """By hand: A 51,200, B 49,152 and C 32,000 bytes pass through 400,000; three B in turn."""
    chip = CHIP._replace(l2_bytes=4e5, load=11.0, near=3.0, sms=2.0)
    a, b, c = 100 * 256 * 2, 64 * 256 * 3, 100 * 64 * 5
    held = 1 - (a + b + c) / 4e5, 1 - (a + 3 * b + c) / 4e5
    form = FORM._replace(in_turn=3.0)
    found = estimate(chip, form, TILE, 1.0, size(100, 64, 256))
    assert found.read_bytes == pytest.approx(a * (1 - held[0]) + b * (1 - held[1]))
    assert found.shares[WAVE] == pytest.approx(11 + (3 - 11) * held[1])


def test_what_l2_does_not_hold_is_read_by_every_wave():
    """Five tiles on four slots: the column that they share is read in both waves."""
    row, chip = kernel(128, 128, 32), CHIP._replace(sms=4.0)
    once, cold = (
        estimate(chip._replace(l2_bytes=held), FORM, row, 1.0, size(640, 128, 1024)).read_bytes
        for held in (FREE, 1e-9)
    )
    assert once == (640 * 2 + 128 * 3) * 1024
    assert cold == (640 * 2 + 2 * 128 * 3) * 1024


def test_work_that_memory_does_not_hide_shrinks_with_the_root_of_waves():
    slow = CHIP._replace(macs=1.0, dram=1e-6, sms=1.0)
    found = [
        estimate(slow._replace(overlap=share), FORM, TILE, 1.0, size(4 * 128, 64, 32)).clocks
        for share in (0.0, 0.5)
    ]
    busy = 4 * 128 * 64 * 32
    memory = (4 * 128 * 2 + 64 * 3) * 32 / 1e-6
    assert found[0] == pytest.approx(memory)
    assert found[1] - found[0] == pytest.approx(0.5 * busy / 2, rel=1e-4)


@pytest.mark.parametrize(("rows", "m", "copies", "vector"), [
    (1, 1, 1, True), (1, 2, 1, False), (4, 4, 1, True), (1, 1, 2, False), (0, 1, 1, False),
])  # fmt: skip
def test_a_matrix_vector_kernel_takes_few_rows_of_one_gemm(rows, m, copies, vector):
    chip = CHIP._replace(launch=1.0, wave=1e6)
    table = np.stack([TILE, TILE])
    found = fastest(chip, FORM, table, 1, 1.0, rows, size(m, 64, 4096, copies))
    assert found.kernel == (MATRIX_VECTOR if vector else 1)
    assert (found.clocks < 1e6) == vector


def test_the_slower_kernel_is_not_taken():
    chip = CHIP._replace(load=100.0, launch=7.0)
    found = fastest(chip, FORM, TILE[None], 0, 1.0, 1, size(1, 64, 8192))
    alone = estimate(chip, FORM, TILE, 1.0, size(1, 64, 8192))
    rounds = 8192 * 3 / 2048  # bytes of a row of B, 2 KiB a round
    by_hand = 7 + 100 * (1 + rounds / 8)
    assert found.clocks == pytest.approx(min(by_hand, alone.clocks))


def chosen(chip, kernels, *sizes, splits=(1,), rules=RULES, form=FORM):
    table = np.stack(kernels)
    row, split, _ = choose(chip, form, table, np.array(splits, np.float64), rules, size(*sizes))
    return row, split


@pytest.mark.parametrize(("side", "first"), [(256, 1), (320, 0)])
def test_small_tiles_are_passed_over_beyond_one_wave(side, first):
    chip = CHIP._replace(macs=1.0, sms=16.0)
    kernels = (kernel(128, 128, 32), kernel(64, 64, 32))
    assert chosen(chip, kernels, side, side, 512)[0] == 1
    large = RULES._replace(large_first=True)
    assert chosen(chip, kernels, side, side, 512, rules=large)[0] == first


@pytest.mark.parametrize(("m", "split"), [(64, 4), (128, 2), (256, 1)])
def test_small_tiles_split_k_only_while_all_run_at_once(m, split):
    """On eight multiprocessors, C two tiles wide: as many parts as leave one wave."""
    chip = CHIP._replace(macs=1.0, sms=8.0)
    kernels = np.stack([kernel(128, 128, 32), kernel(64, 64, 32)])
    large = RULES._replace(large_first=True)
    splits = np.array([1, 2, 4, 8], np.float64)
    found = considered(chip, kernels, splits, large, size(m, 128, 4096))
    assert max(parts for row, parts in found if row == 1) == split
    free = considered(chip, kernels, splits, RULES, size(m, 128, 4096))
    assert max(parts for row, parts in free if row == 1) == 8


@pytest.mark.parametrize(("gain", "takes"), [(1.01, False), (1.03, True)])
def test_a_rival_takes_the_rules_place_only_by_more_than_the_margin(gain, takes):
    """The rule sees no harm in the first one's many fragments, which shared memory is late with."""
    rows = np.stack([kernel(64, 64, 32, warp=(16, 16)), kernel(64, 64, 32, warp=(64, 64))])
    moved, products = 64 * 64 * 5 / 16 + 64 * 5, 64 * 64
    chip = CHIP._replace(macs=1.0, shared=moved / products / gain)
    rules = RULES._replace(shared=FREE)
    one = size(64, 64, 4096)
    assert choose(chip, FORM, rows, np.ones(1), rules, one)[0] == 0
    assert launched(chip, FORM, rows, np.ones(1), rules, 0, one).kernel == int(takes)


def test_a_choice_reads_operands_once_and_writes_results_by_hand():
    """Of A half is behind columns and of B a quarter, three times over."""
    form = FORM._replace(a_once=0.5, b_once=0.25)
    chip, table = CHIP._replace(dram=7.0, write=11.0), TILE[None]
    clocks = choose(chip, form, table, np.ones(1), RULES, size(100, 64, 256, 3))[2]
    read = (100 * 2 * 0.5 + 64 * 3 * 0.25) * 256
    assert clocks == pytest.approx(3 * (read / 7 + 100 * 64 * 5 / 11))


def test_tiles_as_many_as_multiprocessors_are_stored_one_deep():
    """Eight tiles on eight, room for two each: none stores its results behind another."""
    chip, two = CHIP._replace(store=1e-3, sms=8.0), kernel(128, 64, 32, ctas=2)
    one, eight = (
        choose(chip, FORM, two[None], np.ones(1), RULES, size(128 * tiles, 64, 256, 1))[2]
        for tiles in (1, 8)
    )
    assert one > 1e6
    assert eight == pytest.approx(one, rel=0.01)


@pytest.mark.parametrize(("k", "parts"), [(256, 2), (255, 1), (1024, 2)])
def test_a_part_of_k_has_at_least_so_many_slices(k, parts):
    chip = CHIP._replace(macs=1.0, sms=8.0)
    assert chosen(chip, (TILE,), 128, 64, k, splits=(1, 2)) == (0, parts)


def test_a_split_writes_the_sum_too():
    chip = CHIP._replace(store=1.0, sms=1.0)
    form = FORM._replace(out=1e6)
    assert chosen(chip, (TILE,), 128, 64, 4096, splits=(1, 2), form=form) == (0, 1)


def test_only_what_is_in_c_is_stored():
    chip = CHIP._replace(store=1.0)
    kernels = (kernel(256, 64, 32), kernel(64, 64, 32))
    assert chosen(chip, kernels, 64, 64, 512)[0] == 0
    assert chosen(chip, kernels[::-1], 64, 64, 512)[0] == 0


def test_a_choice_waits_once_for_the_first_stage():
    """Refilled: 8 slices at half a load, less the first; beside it 3.5 loads of arithmetic."""
    load, k = 1000.0, 256
    chip = CHIP._replace(load=load, macs=k * 128 * 64 / (3.5 * load))
    refilled, computed = kernel(64, 64, 32, stages=3), kernel(128, 64, 32, stages=64)
    assert chosen(chip, (refilled, computed), 64, 64, k)[0] == 0
    slower = chip._replace(macs=k * 128 * 64 / (2.5 * load))
    assert chosen(slower, (refilled, computed), 64, 64, k)[0] == 1


@pytest.mark.parametrize(
    ("place", "slow", "clocks"),
    [
        (0, {"macs": 7.0}, 128 * 64 * 4096 / 7),
        (1, {"shared": 7.0}, (128 * 64 * 5 / 32 + 128 * 2 + 64 * 3) * 4096 / 7),
        (2, {"l2": 7.0}, (256 * 2 + 2 * 64 * 3) * 4096 / 2 / 7),
        (3, {"load": 7.0}, (4096 / 64 - 1) * 7),
        (4, {"port": 7.0}, (128 * 2 + 64 * 3) * 4096 / 7),
    ],
)
def test_what_paces_a_wave_by_hand(place, slow, clocks):
    """Two tiles one after the other, of one warp per 32 x 32 and three stages."""
    run = estimate(CHIP._replace(**slow), FORM, TILE, 1.0, size(256, 64, 4096))
    found = run.shares
    assert found[place] == pytest.approx(2 * clocks)
    others = [found[other] for other in range(5) if other != place]
    assert others == pytest.approx([0.0] * 4, abs=1e-12)
    assert run.clocks == pytest.approx(2 * clocks + found[WAVE])


@pytest.mark.parametrize(("wave", "clocks"), [(1.5, 2.0), (2.0, 2.5)])
def test_l2_feeds_the_waves_of_a_launch_as_a_whole(wave, clocks):
    """Four tiles at once, then one: L2 takes longer for the four, and a quarter for the last."""
    tile = 128 * 64 * 4096
    asked = 4 * (128 * 2 + 64 * 3) * 4096
    chip = CHIP._replace(macs=1.0, sms=4.0, l2=asked / (wave * tile))
    run = estimate(chip, FORM, TILE, 1.0, size(640, 64, 4096))
    assert run.clocks == pytest.approx(clocks * tile)


def test_a_gpu_that_multiplies_half_of_the_time_is_throttled_half_as_much():
    """Two multiprocessors of 7 MACs a clock, one tile each: at work in all clocks, or in half."""
    busy = 128 * 64 * 4096 / 7
    chip = CHIP._replace(macs=7.0, sms=2.0, throttle=0.5, throttle_half=3 * busy)
    alone = estimate(chip, FORM, TILE, 1.0, size(256, 64, 4096)).clocks
    assert alone == pytest.approx(busy * (1 + 0.5 / 4))
    slow = chip._replace(l2=(2 * 256 + 2 * 64 * 3) * 4096 / (2 * busy))
    halved = estimate(slow, FORM, TILE, 1.0, size(256, 64, 4096)).clocks
    assert halved == pytest.approx(2 * busy * (1 + 0.5 / 2 * 2 / 5))
    assert len(shares(chip, TILE, 1, 256, 64, 4096)) == SUMS + 1
