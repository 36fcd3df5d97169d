"""The memory pipeline: recurrence == simpy, skipped folds == folds one by one, bytes conserved."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmsim.errors import CapacityError
from nmsim.gemm import Gemm
from nmsim.machines import load_hardware
from nmsim.machines.systolic import cycle
from nmsim.machines.systolic.analytical import estimate
from nmsim.machines.systolic.pipeline import events, folds, memory
from nmsim.machines.systolic.pipeline.capacity import least_pieces, next_count
from nmsim.machines.systolic.pipeline.cutting import gathered
from nmsim.machines.systolic.placement import without_masks
from nmsim.windows import Axis, Windows

T = memory.TICKS
ticks = st.one_of(st.just(0), st.integers(1, 20_000))


@st.composite
def timings(draw):
    r, c = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    held = draw(st.booleans())
    return memory.Timing(
        period=draw(st.integers(0, 3)),
        held=held,
        shift=r * T,
        fill=(r + c - 2) * T if held or draw(st.booleans()) else 0,
        latency=draw(st.sampled_from([0, 0, 3000, 30_000])),
    )


@st.composite
def programs(draw):
    """An array's timing, and folds in chunks of up to three, each with its own transfers."""
    timing = draw(timings())
    sequence = []
    for _ in range(draw(st.integers(1, 4))):
        deep = draw(st.integers(1, 3)) if timing.held else 1
        count = draw(st.sampled_from([1, 1, 2, 4, 8]))
        share = -(-draw(ticks) // (deep * count))
        stream = draw(st.integers(1, 12)) * T + draw(st.sampled_from([0, 0, 7]))
        x_loads, y_loads = draw(st.booleans()), draw(st.booleans())
        spilled = draw(st.sampled_from([0, 0, 500])) if timing.held else 0
        late = draw(st.sampled_from([0, 0, 700])) if timing.held and not timing.period else 0
        for fold in range(deep):
            x, y, last = draw(ticks), draw(ticks), fold == deep - 1
            sequence.append(
                memory.Pieces(
                    pieces=count,
                    ticks=stream,
                    shift=timing.shift + late,
                    x=x,
                    y=y,
                    x_loads=x_loads,
                    y_loads=y_loads,
                    x_row=min(x, 90),
                    y_row=min(y, 70),
                    spilled=0 if last else spilled,
                    share=share if last else 0,
                    shares=deep * count,
                    opens=fold == 0,
                )
            )
    return timing, sequence


def recurrence(timing, sequence):
    """When the last result has left, by the recurrence; its counts add up to that."""
    state, room = np.zeros(memory.COUNTED, np.int64), np.empty(memory.KEPT, np.int64)
    for fold in sequence:
        memory.fold(state, room, timing, fold)
    total = memory.finish(state, timing)
    state[memory.STREAMED] = sum(fold.ticks for fold in sequence)
    if timing.held and timing.period == memory.EXPOSED:
        state[memory.PATH] = sum(fold.shift - timing.shift for fold in sequence)
    waits = state[[memory.BANDWIDTH, memory.LATENCY, memory.WRITE_BACK]]
    assert total == memory.stall_free(state, timing) + waits.sum()
    assert (waits >= 0).all()
    return total


@settings(max_examples=400)
@given(programs())
def test_recurrence_is_what_events_give(program):
    timing, sequence = program
    assert recurrence(timing, sequence) == events.run([sequence], timing)[0].finished


def plain(count, stream, **fields):
    """A fold that is loaded and stored as the fields say, and nothing else."""
    given = {
        "shift": 0,
        "x": 0,
        "y": 0,
        "x_loads": False,
        "y_loads": False,
        "x_row": 0,
        "y_row": 0,
        "spilled": 0,
        "share": 0,
        "shares": count,
        "opens": True,
    }
    return memory.Pieces(pieces=count, ticks=stream, **{**given, **fields})


def test_a_shared_channel_is_contended_for():
    timing = memory.Timing(memory.EXPOSED, True, 0, 0, 0)
    busy = [plain(1, 1024, y=5000, y_loads=True, share=3000)] * 6
    alone = events.run([busy], timing)[0].finished
    together = [one.finished for one in events.run([busy, busy], timing)]
    assert max(together) > 1.5 * alone
    assert min(together) > alone
    assert max(together) >= 2 * 6 * (5000 + 3000)


def test_pieces_by_hand():
    timing = memory.Timing(memory.EXPOSED, False, 0, 0, 0)
    # Loads of 3 cycles, a row of 1, hide behind folds of 5; results of 2 leave behind the next.
    fold = plain(1, 5 * T, y=3 * T, y_loads=True, y_row=T, share=2 * T)
    assert recurrence(timing, [fold] * 4) == (1 + 4 * 5 + 2) * T
    # Loads of 8 do not: the channel is busy throughout.
    slow = plain(1, 5 * T, y=8 * T, y_loads=True, y_row=T)
    assert recurrence(timing, [slow] * 4) == 4 * 8 * T
    # A latency of 20 is asked for two folds ahead: two arrive at 21, then two more 20 later.
    far = timing._replace(latency=20 * T)
    ahead = plain(1, 5 * T, y=T, y_loads=True, y_row=T)
    assert recurrence(far, [ahead] * 4) == (21 + 21 + 5 + 5) * T
    # Results of 9 in three shares behind the next two folds' loads; the third fold waits for them.
    out = plain(1, 5 * T, y=T, y_loads=True, y_row=T, share=9 * T)
    assert recurrence(timing, [out] * 3) == recurrence(timing, [out] * 2) + 9 * T


@pytest.mark.parametrize(
    ("period", "cycles"),
    [
        (memory.EXPOSED, 3 * (4 + 2 + 4 + 3 - 2)),
        (memory.HIDDEN, 4 + 3 * (2 + 4 + 3 - 2)),
        (memory.BACK_TO_BACK, 2 * 4 + 4 + 2 + 4 + 3 - 1),
        (memory.UNCOUNTED, 3 * (2 + 4 + 3 - 2)),
    ],
)
def test_fold_periods_by_hand(period, cycles):
    """Three folds of two rows on an array of 4 x 3."""
    timing = memory.Timing(period, True, 4 * T, 5 * T, 0)
    assert recurrence(timing, [plain(1, 2 * T, shift=4 * T)] * 3) == cycles * T


PERIODS = ["exposed", "preload_hidden", "back_to_back", "uncounted"]
DRAINS = ["exposed", "overlapped", "back_to_back", "uncounted"]


@st.composite
def launches(draw):
    sram = {f"sram.{x}_kib": draw(st.sampled_from([0.375, 1, 8])) for x in "abc"}
    dataflow = draw(st.sampled_from(["os", "ws", "is"]))
    fields = {
        "fold_period": draw(st.sampled_from(PERIODS)),
        "drain": draw(st.sampled_from(DRAINS)),
        "partial_sums": draw(st.sampled_from(["split", "spill"])),
        "delivery": draw(st.sampled_from([None, None, {"words_per_cycle": 1.5, "word_bits": 32}])),
        "dram.gbps": draw(st.sampled_from([1, 17, 300, None])),
    }
    if dataflow == "os":
        fields["feed"] = draw(st.sampled_from(["skewed", "broadcast"]))
        fields["dot_width"] = draw(st.sampled_from([1, 3, 8]))
    else:
        share = draw(st.sampled_from([1, 1, 2]))
        fields["dot_width"] = share * draw(st.integers(1, 2))
        if draw(st.booleans()):
            fields["pe"] = {"macs_per_group": share, "holds": "group"}
            fields["native"] = ("2:4",)
        words = fields["dot_width"] // share * 4 if "pe" in fields else fields["dot_width"]
        sram = {buffer: kib * words for buffer, kib in sram.items()}
    machine = load_hardware(
        draw(st.sampled_from(["systolic-128x128", "systolic-16x16"])),
        rows=draw(st.integers(1, 9)),
        cols=draw(st.integers(1, 9)),
        dataflow=dataflow,
        **sram,
        **fields,
    )
    sizes = draw(st.tuples(st.integers(1, 90), st.integers(1, 90), st.integers(1, 90)))
    count = draw(st.sampled_from([1, 1, 4]))
    if draw(st.booleans()):
        return machine, Gemm(*sizes, count=count)
    side = Axis(draw(st.integers(2, 12)), draw(st.integers(2, 12)), 3, first=-1)
    windows = Windows(draw(st.integers(1, 3)), (side, side), draw(st.integers(1, 9)))
    return machine, Gemm(windows.pixels, sizes[1], windows.reads, count=count, a_windows=windows)


@settings(max_examples=60)
@given(launches())
def test_skipping_repeats_changes_nothing(launch):
    """The pure-Python nest that takes all folds one by one gives the sums of the one that skips."""
    machine, gemm = launch
    seen = []

    def spy(array, buffers, work, room, slots, cycles, sight):
        sums = original(array, buffers, work, room, slots, cycles, sight)
        own = gathered(buffers, sight, sums.cut.rows)
        seen.append((sums, plain_sums(array, own, work, sums.cut, slots, cycles)))
        return sums

    original = cycle.sum_folds
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cycle, "sum_folds", spy)
        for placement in without_masks(machine, gemm):
            cycle.run(machine, placement)
    assert len(seen) == 2
    for skipping, one_by_one in seen:
        assert skipping == one_by_one


def plain_sums(array, buffers, work, cut, slots, cycles):
    """The nest of loops, fold by fold, with the classes of loads spelt out."""
    state = np.zeros(folds.STATE_SIZE, np.int64)
    for copy in range(work.copies):
        spent = None if cycles is None else cycles[copy]
        for f in plain_folds(array, buffers, work, cut, slots[copy], spent):
            run_fold(state, array, buffers, cut.pieces, **f)
    total = memory.finish(state, array.timing)
    compute = memory.stall_free(state, array.timing)
    assert total == compute + state[memory.BANDWIDTH : memory.WRITE_BACK + 1].sum()
    counts = state[memory.KEPT : memory.HEAD], state[memory.COUNTED :]
    return folds.Sums(total, compute, cut, *counts[0], *counts[1][1:])


def plain_folds(array, buffers, work, cut, slots, cycles):
    r, c = array.rows, array.cols
    k = int(slots[0])
    x_tiles = [min(c, work.x_lanes - i) for i in range(0, work.x_lanes, c)]
    if not array.timing.held:
        for i in range(0, work.y_lanes, r):
            rows = min(r, work.y_lanes - i)
            for j, cols in enumerate(x_tiles):
                streamed = -(-k // array.dot_width) if cycles is None else int(cycles[i // r, j])
                yield {
                    "streamed": streamed,
                    "x": cols * k if i == 0 or work.x_lanes * k > buffers.x_half else 0,
                    "y": rows * k if j == 0 or rows * k > buffers.y_half else 0,
                    "again": (i > 0, j > 0),
                    "outputs": rows * cols,
                    "shares": cut.pieces,
                    "opens": True,
                    "x_read": cols * k,
                    "y_read": rows * k,
                    "issued": rows * cols * k,
                }
        return
    for j, cols in enumerate(x_tiles):
        depth = array.depth
        deep = -(-k // depth)
        for first in range(0, work.y_lanes, cut.rows):
            rows = min(cut.rows, work.y_lanes - first)
            over = max(0, rows * cols - buffers.sums_half) if buffers.spill and deep > 1 else 0
            for f in range(deep):
                part = depth if f < deep - 1 else k - (deep - 1) * depth
                beats = 1 if cycles is None else int(cycles[0, f])
                x_loads = first == 0 or cols * k > buffers.x_half
                y_loads = j == 0 or work.y_lanes * k > buffers.y_half
                yield {
                    "streamed": rows * beats,
                    "words": rows,
                    "x": cols * part if x_loads else 0,
                    "y": rows * part if y_loads else 0,
                    "again": (first > 0, j > 0),
                    "sums_in": over if f > 0 else 0,
                    "sums_out": over if f < deep - 1 else 0,
                    "outputs": rows * cols if f == deep - 1 else 0,
                    "shares": deep * cut.pieces,
                    "opens": f == 0,
                    "x_read": cols * part,
                    "y_read": rows * part,
                    "issued": rows * cols * part,
                }


def run_fold(
    state,
    array,
    buffers,
    pieces,
    streamed,
    x,
    y,
    again,
    outputs,
    shares,
    opens,
    x_read,
    y_read,
    issued,
    sums_in=0,
    sums_out=0,
    words=None,
):
    timing = array.timing
    shifting, streaming = x_read * array.x_delivery, y_read * array.y_delivery
    if not timing.held or timing.period in (memory.HIDDEN, memory.BACK_TO_BACK):
        shifting, streaming = 0, shifting + streaming
    if timing.period == memory.UNCOUNTED:
        shifting = 0
    wait = int(max(0, np.ceil(streaming) - streamed * T))
    late = int(max(0, np.ceil(shifting) - timing.shift))
    x_ticks = x * (buffers.x_again if again[0] else buffers.x_ticks)
    y_ticks = y * (buffers.y_again if again[1] else buffers.y_ticks)
    y_ticks += sums_in * buffers.sum_ticks
    one = memory.Pieces(
        pieces=pieces,
        ticks=streamed * T + wait,
        shift=timing.shift + late,
        x=int(np.ceil(x_ticks if timing.held else x_ticks / pieces)),
        y=int(np.ceil(y_ticks / pieces)),
        x_loads=x > 0,
        y_loads=y + sums_in > 0,
        x_row=int(np.ceil(x_ticks / (array.rows if timing.held else streamed))),
        y_row=int(np.ceil(y * buffers.y_row / (words or streamed))),
        spilled=int(np.ceil(sums_out * buffers.sum_ticks / pieces)),
        share=int(np.ceil(outputs * buffers.output_ticks / shares)),
        shares=shares,
        opens=opens,
    )
    part = one.ticks // pieces
    for piece in range(pieces):
        left = one.ticks - (pieces - 1) * part if piece == pieces - 1 else part
        memory._piece(state, timing, one, left, piece == 0)
    memory.close(state, timing, one)
    state[memory.STREAMED] += streamed * T
    state[memory.PATH] += wait + late
    sums = (0, issued, x, y, x_read, y_read, sums_in, sums_out, outputs)
    state[memory.COUNTED :] += np.array(sums)


@settings(max_examples=150)
@given(launches())
def test_bytes_and_slots_are_conserved(launch):
    machine, gemm = launch
    for placement in without_masks(machine, gemm):
        run = cycle.run(machine, placement)
        read = ((gemm.a_elements or gemm.m * gemm.k) + gemm.n * gemm.k) * gemm.count
        assert run.macs_issued == gemm.macs
        assert run.dram_read_bytes * 8 >= read * machine.operand_bits
        assert run.dram_write_bytes * 8 >= gemm.m * gemm.n * gemm.count * machine.output_bits
        assert run.utilization <= 1
        assert run.dram_gbps <= (machine.dram.gbps or np.inf) * (1 + 1e-9)


@pytest.mark.parametrize("gbps", [5.0, 100.0])
@pytest.mark.parametrize("dataflow", ["ws", "is", "os"])
def test_operands_that_stay_are_loaded_once_for_each_copy(dataflow, gbps):
    """Where a copy begins as the one before did, its first tile is no tile like the others."""
    fields = {"dataflow": dataflow, "dram.gbps": gbps, "dram.latency_ns": 0.0}
    machine = load_hardware("gemmini", rows=4, cols=4, **fields)
    for placement in without_masks(machine, Gemm(20, 64, 8, 4)):
        sums = cycle.count(machine, placement).sums
        assert sums.x_loaded + sums.y_loaded == 4 * (20 + 64) * 8


@settings(max_examples=200)
@given(launches())
def test_closed_forms_count_what_the_folds_count(launch):
    """Two independent derivations of every count; cycles are equal where nothing stalls."""
    machine, gemm = launch
    for placement in without_masks(machine, gemm):
        counted = cycle.run(machine, placement)
        cut = cycle.count(machine, placement)[0].cut
        closed = estimate(machine, placement, cut)
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
            free = cycle.run(stall_free, placement)
            cycles = free.cycles
            assert (free.stall_cycles, free.compute_cycles) == (0, cycles)
            assert estimate(stall_free, placement).cycles == pytest.approx(cycles, abs=slack)


@pytest.mark.parametrize("fidelity", [cycle.run, estimate])
@pytest.mark.parametrize(
    ("field", "least", "fields"),
    [
        ("sram.b_kib", 4 * 3 * 16 / 4096, {}),  # a tile of 4 x 3 weights of 16 bits, twice
        ("sram.a_kib", 4 * 16 / 4096, {}),  # a row of 4 activations, twice
        ("sram.c_kib", 3 * 32 / 4096, {}),  # sums of a row of 3, twice
        ("sram.a_kib", 4 * 16 / 4096, {"dataflow": "os"}),  # an element of each row, twice
    ],
)
def test_a_buffer_that_is_too_small_is_refused_with_the_least_that_would_do(
    fidelity, field, least, fields
):
    machine = load_hardware("systolic-128x128", rows=4, cols=3, **fields)
    (given, _) = without_masks(machine, Gemm(50, 60, 70))
    small = load_hardware(machine, **{field: least - 2**-10})
    with pytest.raises(CapacityError, match=f"{field} is .*, expected at least") as refused:
        fidelity(small, given)
    said = float(str(refused.value).split("at least ")[1].split()[0])
    assert least <= said < least + 2**-10
    fidelity(load_hardware(machine, **{field: said}), given)


def small(**fields):
    """An array of 8 x 8 whose buffers hold 64 elements of K of two pieces each."""
    buffers = {f"sram.{name}_kib": 1.0 for name in "abc"}
    return load_hardware("gemmini", rows=8, cols=8, **buffers, **fields)


def test_the_closed_form_asks_for_two_pieces_at_a_time():
    """Of each of 64 folds four pieces of K, whose requests of 3000 cycles nothing hides."""
    machine = small(dataflow="os", **{"dram.latency_ns": 3000.0})
    for placement in without_masks(machine, Gemm(64, 64, 256)):
        run = estimate(machine, placement)
        assert run.cycles == pytest.approx(64 * 4 / 2 * 3000, rel=1e-3)


@pytest.mark.parametrize("dataflow", ["ws", "is", "os"])
def test_the_closed_form_takes_as_long_as_what_a_slow_channel_moves(dataflow):
    """Twenty cycles a byte."""
    machine = small(dataflow=dataflow, **{"dram.gbps": 0.05, "dram.latency_ns": 0.0})
    for placement in without_masks(machine, Gemm(64, 64, 256)):
        run = estimate(machine, placement)
        moved = run.dram_read_bytes + run.dram_write_bytes
        assert run.cycles == pytest.approx(20 * moved, rel=1e-3)


def test_chunks_are_tried_one_by_one_and_then_four_in_an_octave():
    counts = [1]
    while counts[-1] < 32:
        counts.append(next_count(counts[-1]))
    assert counts == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32]


def test_a_fold_is_cut_until_its_buffers_hold_two_pieces():
    """K of 100 and 60 elements in time; or sixty rows that stream, of which 70 or 30 sums fit."""
    room = folds.Room(sum_rows=99, spill_rows=70, x_size=100, y_size=60, x_room=30, y_room=20)
    assert least_pieces(True, room, 0) == 4
    assert least_pieces(True, room._replace(y_room=7), 0) == 16
    assert least_pieces(True, room, 60) == 4
    wide = room._replace(y_room=60)
    assert least_pieces(True, wide, 60) == 1
    few = wide._replace(spill_rows=30)
    assert [least_pieces(spills, few, 60) for spills in (False, True)] == [1, 4]
