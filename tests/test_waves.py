"""Tiles over slots: the recurrence against events, and what contention adds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wave_events import TileWork, ends

from nmsim.errors import ShapeError
from nmsim.machines.gpu.sm.slots import schedule

runs = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 30)), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(runs, st.integers(1, 9), st.integers(1, 4))
def test_waves_are_the_events(pieces, slots, repeats):
    durations, counts = (np.array(column) for column in zip(*pieces, strict=True))
    tiles = [TileWork(1, d) for d, c in pieces for _ in range(c)] * repeats
    result = schedule(durations, counts, slots, repeats=repeats)
    assert result.cycles == max(ends(tiles, slots), default=0)
    assert result.busy == sum(tile.compute for tile in tiles)


@settings(max_examples=100, deadline=None)
@given(runs, st.integers(1, 9), st.integers(1, 12))
def test_skipped_repeats_and_waves_change_nothing(pieces, slots, repeats):
    durations, counts = (np.array(column) for column in zip(*pieces, strict=True))
    slow = schedule(
        np.repeat(np.tile(durations, repeats), np.tile(counts, repeats)),
        np.ones(counts.sum() * repeats, np.int64),
        slots,
    )
    np.testing.assert_array_equal(
        schedule(durations, counts, slots, repeats=repeats).ends, slow.ends
    )


def test_one_tile_too_many_costs_a_wave():
    whole = schedule(np.array([100]), np.array([216]), 216)
    more = schedule(np.array([100]), np.array([217]), 216)
    assert (whole.cycles, more.cycles) == (100, 200)
    assert whole.occupancy == 1.0
    assert more.occupancy == pytest.approx(217 / 432)


def test_a_wave_is_whole_only_where_no_slot_can_take_two():
    """One long tile leaves its slot behind by more than a wave of short ones."""
    result = schedule(np.array([10, 3]), np.array([1, 9]), 2)
    assert result.ends.tolist() == [18, 19]


def test_a_million_waves_are_added_up():
    result = schedule(np.array([700, 50]), np.array([31, 1]), 216, repeats=10**7)
    assert result.busy == 10**7 * (31 * 700 + 50)
    assert result.cycles == pytest.approx(result.busy / 216, rel=1e-3)


@pytest.mark.parametrize(
    ("durations", "counts", "slots"),
    [([1, 2], [1], 1), ([0], [1], 1), ([1], [-1], 1), ([1], [1], 0), ([2**40], [2**40], 1)],
)
def test_what_cannot_be_launched_is_refused(durations, counts, slots):
    with pytest.raises(ShapeError):
        schedule(np.array(durations), np.array(counts), slots)


def test_a_channel_of_its_own_bounds_a_tile():
    tile = TileWork(slices=10, compute=7, transfer=5, stages=10, rest=11)
    assert ends([tile], 1, latency=20) == [11 + 5 + 20 + 10 * 7]
    slow = tile._replace(transfer=9)
    assert ends([slow], 1, latency=20) == [11 + 10 * 9 + 20 + 7]


def test_tiles_that_share_a_channel_take_longer_together():
    tile = TileWork(slices=20, compute=10, transfer=6, stages=3)
    alone = max(ends([tile], 4))
    together = max(ends([tile] * 4, 4))
    assert alone == 6 + 20 * 10
    assert 4 * 20 * 6 + 10 <= together < 4 * 20 * 6 + 2 * 10
    assert max(ends([tile] * 8, 4)) == pytest.approx(2 * together, rel=0.02)


def test_more_stages_hide_more_latency():
    times = [ends([TileWork(20, 10, 1, stages)], 1, latency=60)[0] for stages in (2, 3, 4, 8)]
    assert times == sorted(times, reverse=True)
    assert times[0] > 2 * times[-1]
