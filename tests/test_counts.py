"""What folds count in closed form, by hand: an array of 4 x 3, K of 10 on the rows."""

import numpy as np
import pytest

from nmsim.gemm import Gemm
from nmsim.machines import load_hardware
from nmsim.machines.systolic import analytical, cycle
from nmsim.machines.systolic.closed_form.counts import on_rows, plus
from nmsim.machines.systolic.closed_form.given import given_of, resources_of
from nmsim.machines.systolic.pipeline import cutting
from nmsim.machines.systolic.pipeline.capacity import half_of
from nmsim.machines.systolic.pipeline.folds import STATE_SIZE
from nmsim.machines.systolic.pipeline.memory import (
    BACK_TO_BACK,
    EXPOSED,
    HIDDEN,
    STREAMED,
    TICKS,
    UNCOUNTED,
)
from nmsim.machines.systolic.placement import without_masks


def parts(stream, held, rows=8):
    """Parts of C of 20 x 5 in chunks of so many rows; halves of buffers hold so many elements."""
    kib = {"sram.a_kib": stream / 512, "sram.b_kib": held / 512, "sram.c_kib": 64.0}
    machine = load_hardware("gemmini", rows=4, cols=3, dataflow="ws", **kib)
    placement = without_masks(machine, Gemm(20, 5, 10))[0]
    resources, given = resources_of(machine), given_of(machine, placement)
    return on_rows(resources, *given, half_of(resources, given.demand), rows)[:2]


@pytest.mark.parametrize(("stream", "streams_again"), [(200, 0), (199, 200)])
def test_what_streams_is_loaded_for_each_tile_of_columns_unless_it_stays(stream, streams_again):
    first, other = parts(stream, 100)
    assert (first.y_loaded, first.y_again) == (200, 0)
    assert (other.y_loaded, other.y_again) == (streams_again, streams_again)


@pytest.mark.parametrize(
    ("held", "first_loads", "other_loads"),
    [(30, (30, 0), (20, 0)), (25, (3 * 30, 2 * 30), (20, 0)), (19, (90, 60), (3 * 20, 2 * 20))],
)
def test_what_is_held_is_loaded_for_each_chunk_unless_it_stays(held, first_loads, other_loads):
    """Tiles of three and of two columns, 30 and 20 elements of B; three chunks of rows of A."""
    first, other = parts(200, held)
    assert (first.x_loaded, first.x_again) == first_loads
    assert (other.x_loaded, other.x_again) == other_loads


def test_folds_stream_every_row_and_issue_every_slot():
    """Three folds along K for each of three chunks, of both tiles; each reads its own elements."""
    both = plus(*parts(200, 100))
    assert both.folds == 2 * 3 * 3
    assert both.streamed == 2 * 20 * 3
    assert both.issued == 20 * 5 * 10
    assert (both.x_read, both.y_read) == (3 * 50, 2 * 200)
    assert (both.outputs, both.sums) == (20 * 5, 0)


@pytest.mark.parametrize(
    ("period", "least"),
    [
        (EXPOSED, 1000 + 12 * (2 + 4)),
        (HIDDEN, 1000 + 12 * 2 + 4),
        (UNCOUNTED, 1000 + 12 * 2),
        # Of twelve folds in line, eight begin no sooner than the four cycles that a chunk shifts.
        (BACK_TO_BACK, 1000 + 8 * (4 - 3) + 4 + 1 + 2),
    ],
)
def test_the_least_that_deep_folds_take_by_hand(period, least):
    """Four chunks of three rows at most and three folds along K: 1000 cycles in which rows stream.

    An array of four rows shifts four cycles, and is filled in two.
    """
    machine = load_hardware("gemmini", rows=4, cols=3, dataflow="ws")
    placement = without_masks(machine, Gemm(10, 3, 10))[0]
    array, work = cycle.array_of(machine, placement), cycle.work_of(machine, placement)
    timing = array.timing._replace(period=period, shift=4 * TICKS, fill=2 * TICKS)
    state = np.zeros(STATE_SIZE, np.int64)
    state[STREAMED] = 1000 * TICKS
    found = cutting._deep_compute(state, array._replace(timing=timing), work, 3, 3)
    assert found == least * TICKS


@pytest.mark.parametrize("m", [1, 3, 4])
def test_results_of_a_single_tile_leave_behind_it(m):
    """Eight cycles for a row of four results, of which four pass while they shift off the array."""
    slow = {"dram.gbps": 0.5, "dram.latency_ns": 0.0}
    machine = load_hardware("gemmini", rows=4, cols=4, dataflow="os", drain="exposed", **slow)
    placement = without_masks(machine, Gemm(m, 4, 200))[0]
    cut = cycle.count(machine, placement).sums.cut
    for run in (cycle.run(machine, placement), analytical.estimate(machine, placement, cut)):
        assert run.parts.writeback_wait == 8 * m - 4
