"""Hopper's kernels in cycles: threadblocks that stay on their SM, multicast, slices dealt out."""

import math

import numpy as np
import pytest

from nmsim.gemm import Gemm
from nmsim.machines import load_hardware, simulate
from nmsim.machines.gpu import analytical, cycle, waves
from nmsim.machines.gpu.call import resolve
from nmsim.machines.gpu.chip import CAST_ACROSS, CAST_DOWN, STREAM_K, TM, TN, Size
from nmsim.machines.gpu.tile import core_of, instruction_of, tile_of
from nmsim.machines.kind import Call
from nmsim.mask import SparseGemm

H100 = load_hardware("h100-sxm")
BF16 = Call("bf16")
FOUND = resolve(H100, BF16)
CHIP = FOUND.cycle_chip
LARGE = FOUND.table[0]
CORE = core_of(H100, "bf16", FOUND.library, bulk=True)
TILE = tile_of(LARGE, instruction_of(H100, "bf16", FOUND), 16, swapped=False)


def grid(m, n, k, **update):
    return waves.grid_of(CHIP, FOUND.form, LARGE, TILE, 1, (m, n, k, 1))._replace(**update)


def held(cut, latency=600):
    found = waves.waves_of(CORE, TILE, CHIP, cut, latency)
    return sum(wave.rounds * wave.held for wave in found), found


def us(sizes, row=LARGE, split=1):
    return cycle.run_kernel(H100, BF16, FOUND, row, split, (*sizes, 1)).clocks / H100.clock_mhz


def test_loads_go_on_from_tile_to_tile():
    """Three tiles an SM: the starts of the second and of the third are hidden."""
    cut = grid(256 * 12, 128 * 33, 1024)
    apart, waits = held(cut)
    stays, found = held(cut._replace(persistent=True))
    assert (len(found), found[0].turns, found[0].ran.slices) == (1, 3, 3 * 16)
    assert (len(waits), waits[0].rounds) == (1, 3)
    assert apart - stays > 2 * 600
    own, twice = found[0].tile, 2 * waves._between(CORE, TILE, CHIP, cut)
    assert stays == int(CHIP.start) + own.cycles + math.ceil(twice) - own.drain


def test_results_that_find_no_room_are_waited_for():
    """64 KiB of results: through shared memory in and out, or 48 KiB through a slow way to L2."""
    cut = grid(256, 128, 1024)
    passing = 2 * 65536 / CORE.shared_bytes + CORE.barrier_latency
    assert waves._between(CORE, TILE, CHIP, cut) == passing
    slow = CHIP._replace(store=16.0)
    assert waves._between(CORE, TILE, slow, cut) == 3 * 16384 / 16


@pytest.mark.parametrize(
    ("down", "across", "each", "blocks", "slices", "turns"),
    [
        (12, 12, 1, 132, math.ceil(144 * 16 / 132), 2),  # two waves of which one is nearly empty
        (5, 10, 1, 50, 16, 1),
        (5, 10, 2, 100, 8, 1),
        (5, 10, 4, 132, math.ceil(50 * 16 / 132), 1),
    ],
)
def test_slices_are_dealt_out_evenly(down, across, each, blocks, slices, turns):
    cut = grid(256 * down, 128 * across, 1024, persistent=True, dealt=each)
    assert cut.blocks == blocks
    assert waves._kinds(cut) == [waves._Kind(1, blocks, slices, turns)]


def test_a_stay_of_two_tiles_is_half_of_the_tiles_at_once():
    """145 tiles on 132 SMs, two turns: 72.5 of them on average."""
    cut = grid(256 * 5, 128 * 29, 1024, persistent=True, dealt=0)
    assert waves._kinds(cut) == [waves._Kind(1, 72.5, 2 * 16, 2)]


def test_sums_of_others_come_through_the_port():
    cut = grid(256, 128, 1024)
    assert waves._mending(TILE, CHIP, cut) == 0
    three = waves._mending(TILE, CHIP, cut._replace(dealt=3))
    assert three == 2 * CHIP.near + 3 * 256 * 128 * 4 / CHIP.port


def test_a_tile_over_a_full_wave_costs_less_where_slices_are_dealt():
    whole = LARGE.copy()
    whole[STREAM_K] = 0
    sizes = (256 * 12, 128 * 12, 1024)
    assert us(sizes) < 0.85 * us(sizes, whole)
    # A full wave is not cut.
    even = (256 * 12, 128 * 11, 1024)
    assert us(even) == us(even, whole)


def test_dealt_slices_are_no_parts_of_k():
    found = cycle.run_kernel(H100, BF16, FOUND, LARGE, 3, (3072, 1536, 768, 1))
    assert (found.split, found.dealt, found.tiles) == (1, 1, 144)
    assert "split-k reduction" not in found.shares
    alone = cycle.run_kernel(H100, BF16, FOUND, FOUND.table[-1], 8, (32, 512, 8192, 1))
    assert (alone.split, alone.dealt) == (8, 0)


def test_a_row_says_that_slices_are_dealt_out_and_to_how_many():
    def kernel(*sizes):
        work = SparseGemm.dense(Gemm(*sizes, layer="mine", kind="linear"))
        return simulate(H100, work, "cycle").kernel

    assert kernel(3072, 1536, 1024).endswith(" stream-k 1")
    assert "stream-k" not in kernel(256 * 12, 128 * 11, 1024)


def test_what_a_cluster_shares_is_asked_of_l2_once():
    """Tiles of 256 x 128 in pairs down: B comes once for both, A for each."""
    assert (LARGE[CAST_DOWN], LARGE[CAST_ACROSS]) == (2, 1)
    assert grid(1024, 512, 64).fed == 64 * 2 * (256 + 128 / 2)
    assert grid(256, 512, 64).fed == 64 * 2 * (256 + 128)


def test_closed_form_and_choice_count_none_of_it():
    plain = FOUND.table.copy()
    plain[:, [CAST_DOWN, CAST_ACROSS]], plain[:, STREAM_K] = 1, 0
    size = Size(3072.0, 1536.0, 768.0, 1.0)
    for one, other in zip(FOUND.table, plain, strict=True):
        with_it, without = (
            analytical.estimate(FOUND.chip, FOUND.form, row, 1.0, size) for row in (one, other)
        )
        assert with_it.clocks == without.clocks


def test_two_warpgroups_have_rows_of_their_own_and_the_widest_instruction():
    for row in FOUND.table[:2]:
        assert {row[TM], row[TN]} == {256, 128}
        tile = tile_of(row, instruction_of(H100, "bf16", FOUND), 16, swapped=False)
        assert (tile.m, tile.n, tile.warps_m, tile.warps_n) == (128, 256, 8, 1)
        assert tile.instruction.n == 256
    square = tile_of(FOUND.table[2], instruction_of(H100, "bf16", FOUND), 16, swapped=False)
    assert (square.instruction.n, square.warps) == (128, 8)


def test_stores_are_no_faster_than_a_port_and_writes_than_device_memory():
    for name in ("h100-sxm", "h200", "h100-pcie"):
        machine = load_hardware(name)
        assert machine.cycle.store_bytes_per_clk <= machine.sm.port_bytes_per_clk
        assert machine.cycle.write_gbps <= machine.dram.gbps


def test_more_turns_take_longer():
    times = [us((256 * 12 * turns, 128 * 11, 512)) for turns in (1, 2, 3, 4)]
    assert (np.diff(times) > 0).all()
