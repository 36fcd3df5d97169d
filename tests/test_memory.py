"""The memory pipeline: recurrence == simpy, skipped folds == folds one by one, bytes conserved."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmsim.gemm import Gemm
from nmsim.machines import load_hardware
from nmsim.machines.systolic import cycle, events, memory
from nmsim.machines.systolic.analytical import estimate
from nmsim.machines.systolic.folds import _sum_folds
from nmsim.machines.systolic.placement import without_masks

ticks = st.one_of(st.just(0), st.integers(1, 40_000))
folds = st.lists(st.builds(events.Fold, ticks, ticks, ticks, ticks), min_size=1, max_size=12)


def recurrence(sequence, latency):
    state = np.zeros(memory.TIMES, np.int64)
    for fold in sequence:
        memory.fold(state, *fold, latency)
    return int(memory.last_store(state))


@settings(max_examples=400)
@given(folds, st.integers(0, 30_000))
def test_recurrence_is_what_events_give(sequence, latency):
    assert recurrence(sequence, latency) == events.finish_times([sequence], latency)[0]


def test_a_shared_channel_is_contended_for():
    busy = [events.Fold(1024, 5000, 0, 3000)] * 6
    alone = events.finish_times([busy], 0)[0]
    together = events.finish_times([busy, busy], 0)
    assert max(together) > 1.5 * alone
    assert min(together) > alone


def test_double_buffering_by_hand():
    # Loads of 3 cycles hide behind folds of 5; results of 2 leave behind the next fold.
    t = memory.TICKS
    sequence = [events.Fold(5 * t, 3 * t, 0, 2 * t)] * 4
    assert recurrence(sequence, 0) == (3 + 4 * 5 + 2) * t
    # Loads of 8 do not: each fold waits for load and store on the one channel.
    slow = [events.Fold(5 * t, 8 * t, 0, 0)] * 4
    assert recurrence(slow, 0) == (4 * 8 + 5) * t
    assert recurrence([events.Fold(5 * t, 0, 9 * t, 0)] * 3, t) == (9 + 1) * 3 * t


EXPOSURES = ["exposed", "overlapped", "uncounted"]


@st.composite
def launches(draw):
    sram = {f"sram.{x}_kib": draw(st.sampled_from([0.125, 1, 8])) for x in "abc"}
    dataflow = draw(st.sampled_from(["os", "ws", "is"]))
    fields = {
        "preload": draw(st.sampled_from(EXPOSURES)),
        "drain": draw(st.sampled_from(EXPOSURES)),
        "partial_sums": draw(st.sampled_from(["split", "spill"])),
        "delivery": draw(st.sampled_from([None, None, {"words_per_cycle": 1.5, "word_bits": 32}])),
        "dram.gbps": draw(st.sampled_from([1, 17, 300, None])),
    }
    if dataflow == "os":
        fields["feed"] = draw(st.sampled_from(["skewed", "broadcast"]))
        fields["dot_width"] = draw(st.sampled_from([1, 3, 8]))
    machine = load_hardware(
        draw(st.sampled_from(["systolic-128x128", "systolic-16x16"])),
        rows=draw(st.integers(1, 9)),
        cols=draw(st.integers(1, 9)),
        dataflow=dataflow,
        **sram,
        **fields,
    )
    sizes = draw(st.tuples(st.integers(1, 90), st.integers(1, 90), st.integers(1, 90)))
    return machine, Gemm(*sizes, count=draw(st.sampled_from([1, 1, 4])))


def never_shifted(before, after):
    return False


@settings(max_examples=60)
@given(launches())
def test_skipping_repeats_changes_nothing(launch):
    """The pure-Python nest that simulates every fold gives the sums of the one that skips."""
    machine, gemm = launch
    seen = []

    def spy(array, buffers, work, slots, cycles, *, k_on_rows):
        spent = np.zeros((1, 1, 1), np.int64) if cycles is None else cycles
        skipping = _sum_folds(array, buffers, work, slots, spent, k_on_rows)
        plain = plain_sums(array, buffers, work, slots, cycles, k_on_rows)
        seen.append((skipping, plain))
        return original(array, buffers, work, slots, cycles, k_on_rows=k_on_rows)

    original = cycle.sum_folds
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cycle, "sum_folds", spy)
        for placement in without_masks(machine, gemm):
            cycle.run(machine, placement)
    assert len(seen) == 2
    for skipping, plain in seen:
        np.testing.assert_array_equal(skipping, plain)


def plain_sums(array, buffers, work, slots, cycles, k_on_rows):
    """The nest of loops, fold by fold, with the classes of loads spelt out."""
    state = np.zeros(memory.TIMES + 12, np.int64)
    for copy in range(work.copies):
        spent = None if cycles is None else cycles[copy]
        for f in plain_folds(array, buffers, work, slots[copy], spent, k_on_rows):
            run_fold(state, array, buffers, **f)
    state[0] = memory.last_store(state)
    return state


def plain_folds(array, buffers, work, slots, cycles, k_on_rows):
    r, c = array.rows, array.cols
    k = int(slots[0])
    x_tiles = [min(c, work.x_lanes - i) for i in range(0, work.x_lanes, c)]
    if not k_on_rows:
        for i in range(0, work.y_lanes, r):
            rows = min(r, work.y_lanes - i)
            for j, cols in enumerate(x_tiles):
                streamed = -(-k // array.dot_width) if cycles is None else int(cycles[i // r, j])
                yield {
                    "streamed": streamed,
                    "x": cols * k if i == 0 or work.x_lanes * k > buffers.x_half else 0,
                    "y": rows * k if j == 0 or rows * k > buffers.y_half else 0,
                    "outputs": rows * cols,
                    "x_read": cols * k,
                    "y_read": rows * k,
                    "issued": rows * cols * k,
                }
        return
    for j, cols in enumerate(x_tiles):
        deep = -(-k // r)
        longest = work.y_lanes
        if not buffers.spill:
            longest = max(1, buffers.sums_half // cols)
        chunk = -(-work.y_lanes // -(-work.y_lanes // longest))
        for first in range(0, work.y_lanes, chunk):
            rows = min(chunk, work.y_lanes - first)
            over = max(0, rows * cols - buffers.sums_half) if buffers.spill and deep > 1 else 0
            for f in range(deep):
                part = r if f < deep - 1 else k - (deep - 1) * r
                x_loads = first == 0 or cols * k > buffers.x_half
                y_loads = j == 0 or work.y_lanes * k > buffers.y_half
                yield {
                    "streamed": rows,
                    "x": cols * part if x_loads else 0,
                    "y": rows * part if y_loads else 0,
                    "sums_in": over if f > 0 else 0,
                    "sums_out": over if f < deep - 1 else 0,
                    "outputs": rows * cols if f == deep - 1 else 0,
                    "x_read": cols * part,
                    "y_read": rows * part,
                    "issued": rows * cols * part,
                }


def run_fold(
    state, array, buffers, streamed, x, y, outputs, x_read, y_read, issued, sums_in=0, sums_out=0
):
    x_ahead, y_ahead = min(x, buffers.x_half), min(y, buffers.y_half)
    load = int(np.ceil(x_ahead * buffers.x_ticks + y_ahead * buffers.y_ticks))
    if buffers.latency > 0:
        load = max(load, int(x + y > 0))
    preload, streaming = x_read * array.x_delivery, y_read * array.y_delivery
    if array.preload == 0:
        preload, streaming = 0, preload + streaming
    shifting = max(array.preload, 0)
    late = int(max(0, np.ceil(streaming) - streamed * memory.TICKS))
    late += int(max(0, np.ceil(preload) - shifting * memory.TICKS)) if array.preload > 0 else 0
    ticks = (streamed + array.overhead) * memory.TICKS + late
    if state[memory.TIMES]:  # there was a fold before
        ticks = max(ticks, array.drain * memory.TICKS)
    memory.fold(
        state,
        ticks,
        load,
        int(
            np.ceil(
                (x - x_ahead) * buffers.x_ticks
                + (y - y_ahead) * buffers.y_ticks
                + sums_in * buffers.sum_ticks
            )
        ),
        int(np.ceil(sums_out * buffers.sum_ticks + outputs * buffers.output_ticks)),
        buffers.latency,
    )
    sums = (1, ticks, late, streamed, issued, x, y, x_read, y_read)
    state[memory.TIMES :] += np.array([*sums, sums_in, sums_out, outputs])


@settings(max_examples=150)
@given(launches())
def test_bytes_and_slots_are_conserved(launch):
    machine, gemm = launch
    for placement in without_masks(machine, gemm):
        run, read = cycle.run(machine, placement), (gemm.m + gemm.n) * gemm.k * gemm.count
        assert run.macs_issued == gemm.macs
        assert run.dram_read_bytes * 8 >= read * machine.operand_bits
        assert run.dram_write_bytes * 8 >= gemm.m * gemm.n * gemm.count * machine.output_bits
        assert run.utilization <= 1
        assert run.dram_gbps <= (machine.dram.gbps or np.inf) * (1 + 1e-9)


@settings(max_examples=200)
@given(launches())
def test_closed_forms_count_what_the_folds_count(launch):
    """Two independent derivations of every count; cycles are equal where nothing stalls."""
    machine, gemm = launch
    for placement in without_masks(machine, gemm):
        counted, closed = cycle.run(machine, placement), estimate(machine, placement)
        # Waits for the buffers are rounded up to a tick, 1/1024 cycle, once per fold.
        slack = 1 + counted.compute_cycles / 1024 if machine.delivery else 0
        assert closed.compute_cycles == pytest.approx(counted.compute_cycles, abs=slack)
        for name in (
            "macs_issued",
            "dram_read_bytes",
            "dram_write_bytes",
            "sram_read_bytes",
        ):
            assert getattr(closed, name) == getattr(counted, name), name
        if machine.dram.gbps is None:
            stall_free = load_hardware(machine, **{"dram.latency_ns": 0.0})
            cycles = cycle.run(stall_free, placement).cycles
            assert estimate(stall_free, placement).cycles == pytest.approx(cycles, abs=slack)
