"""Several arrays on one channel: one is the recurrence, bytes are kept, bounds are bounds."""

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_memory import plain, programs

import nmsim
from nmsim.errors import CapacityError, NmsimError
from nmsim.gemm import Gemm
from nmsim.machines import FIDELITIES, load_hardware, simulate
from nmsim.machines.systolic import cycle
from nmsim.machines.systolic.pipeline import events, memory, periods
from nmsim.machines.systolic.pipeline.contention import Program, contend
from nmsim.machines.systolic.pipeline.memory import Timing
from nmsim.machines.systolic.placement import with_masks, without_masks
from nmsim.machines.systolic.several import cycle as several
from nmsim.machines.systolic.several.shares import Split, _behind, shares, splits
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import Pattern
from nmsim.windows import Axis, Windows

T = memory.TICKS
PLAIN = Timing(memory.EXPOSED, False, 0, 0, 0)
"""Folds that only stream: no skew, no shifts, no latency."""


def recurrence(timing, folds):
    """Ticks until the last result has left, and the waits by cause, by the recurrence."""
    state, room = np.zeros(memory.COUNTED, np.int64), np.empty(memory.KEPT, np.int64)
    for one in folds:
        memory.fold(state, room, timing, one)
    total = memory.finish(state, timing)
    return total, *state[[memory.BANDWIDTH, memory.LATENCY, memory.WRITE_BACK]].tolist()


def channel_ticks(program):
    """Channel time of all that a program moves."""
    total = 0
    for kind, count in zip(program.folds, program.counts, strict=True):
        one = program.kinds[kind]
        y = one.pieces * one.y if one.y_loads else 0
        moves = one.pieces * one.spilled + one.shares * one.share + y
        total += int(count) * moves
    return total


@settings(max_examples=400)
@given(programs())
def test_one_array_is_the_recurrence(program):
    timing, folds = program
    (found,) = contend([Program.of(folds)], timing).arrays
    assert found[:4] == recurrence(timing, folds)


@settings(max_examples=200)
@given(programs(), st.integers(2, 4), st.integers(1, 40), st.integers(0, 9), st.integers(1, 5))
def test_skipping_what_repeats_changes_nothing(program, n, repeats, head, again):
    timing, folds = program
    given_out = [
        Program.of((folds[:1] * head + folds * (repeats + i // 2)) * again) for i in range(n)
    ]
    every = contend(given_out, timing, remembered=0)
    for remembered in (periods.NUMBERS, 400):  # a table of hardly any places forgets most
        skipping = contend(given_out, timing, remembered=remembered)
        assert skipping.arrays == every.arrays
        assert skipping.exact


@settings(max_examples=100)
@given(st.integers(1, 3), st.integers(5, 90), st.integers(1, 40), st.integers(1, 9 * T))
def test_shares_that_leave_one_by_one_are_skipped_but_for_the_last(n, shares, folds, share):
    """Results of one fold leave behind many alike; the next chunk but one waits for the last."""
    opening = plain(1, 5 * T, y=T, y_loads=True, y_row=9, share=share)._replace(shares=shares)
    inner = plain(1, 5 * T, y=T, y_loads=True, y_row=9, opens=False)
    program = Program.of([opening, *[inner] * folds, opening, opening, opening])
    skipping, every = (contend([program] * n, PLAIN, remembered=r) for r in (periods.NUMBERS, 0))
    assert skipping.arrays == every.arrays


def test_unlike_arrays_that_repeat_themselves_are_hardly_run():
    """Their folds take 5 and 7 cycles; two of three pieces of the third array are of its first."""
    short, long = plain(1, 5 * T, y=2 * T, y_loads=True), plain(1, 7 * T, y=T, y_loads=True)
    both = [short, short, long]
    arrays = [Program.of(each) for each in ([short] * 3000, [long] * 3000, both * 1000)]
    skipping, every = (contend(arrays, PLAIN, remembered=r) for r in (periods.NUMBERS, 0))
    assert skipping.arrays == every.arrays
    assert every.steps == 9000
    assert skipping.steps < 200


@settings(max_examples=200)
@given(programs(), st.integers(2, 4), st.data())
def test_several_arrays_are_what_the_processes_of_events_give(program, n, data):
    """Two programs of one hardware: an engine and an array that tell each other, or one process.

    Folds of the arrays are as many or not, and differ in what they load and store.
    """
    timing, folds = program
    given_out = []
    for i in range(n):
        odd, again = data.draw(st.integers(-1, 900)), data.draw(st.integers(1, 3))
        turned = folds[i % len(folds) :] + folds[: i % len(folds)]
        given_out.append(
            [
                one._replace(y=one.y + odd, y_loads=True, share=one.share and one.share + 3 * odd)
                for one in turned * again
            ]
            if odd > 0
            else folds * again
        )
    told = events.run(given_out, timing)
    found = contend([Program.of(one) for one in given_out], timing, remembered=0)
    assert [one.at for one in found.arrays] == [one.finished for one in told]
    for one, of in zip(found.arrays, told, strict=True):
        spans = sum(s.end - s.start for s in of.spans if s.what != "stream")
        assert one.carried == spans


def test_a_burst_of_one_array_delays_the_other_by_hand():
    """A burst of 10 cycles, and two folds of 3 that load 2 each, on one channel."""
    burst = [plain(1, 5 * T, y=10 * T, y_loads=True, y_row=10 * T)]
    folds = [plain(1, 3 * T, y=2 * T, y_loads=True, y_row=2 * T)] * 2

    def run(*arrays):
        return [
            tuple(ticks / T for ticks in one)
            for one in contend([Program.of(one) for one in arrays], PLAIN).arrays
        ]

    # Alone: loads at 0-2 and 2-4, streams at 2-5 and 5-8.
    assert run(folds) == [(8, 2, 0, 0, 4)]
    # The burst has asked first: it loads at 0-10, the others at 10-12 and 12-14; streams of the
    # other array at 12-15 and 15-18.
    assert run(burst, folds) == [(15, 10, 0, 0, 10), (18, 12, 0, 0, 4)]
    # The burst comes second, at 2-12: the other's second load has asked at 2, and moves at 12-14.
    assert run(folds, burst) == [(17, 2 + 9, 0, 0, 4), (17, 12, 0, 0, 10)]


def test_latency_that_passes_in_line_is_no_latency():
    """Answers take 6 cycles; the second array's request stands in line for 4 of them."""
    timing = PLAIN._replace(latency=6 * T)
    fold = [plain(1, 5 * T, y=4 * T, y_loads=True, y_row=T)]
    first, second = contend([Program.of(fold)] * 2, timing).arrays
    # Words of the first array come from 7 on, the last one at 10: streaming from 7 to 12.
    assert first == (12 * T, T, 6 * T, 0, 4 * T)
    # Those of the second from 11 on, the last one at 14: streaming from 11 to 16.
    assert second == (16 * T, 9 * T, 2 * T, 0, 4 * T)


def tiny(**fields):
    """Arrays of 2 x 2 that stream only, on a channel that moves an element a cycle."""
    return load_hardware(
        "systolic-16x16",
        rows=2,
        cols=2,
        clock_mhz=1000,
        dataflow="os",
        feed="broadcast",
        drain="uncounted",
        operand_bits=16,
        output_bits=16,
        **{"dram.gbps": 2, "dram.latency_ns": 0, **fields},
    )


def test_of_equals_the_way_that_moves_fewer_bytes_is_taken():
    machine = load_hardware("systolic-16x16", arrays=2)
    run, _ = several.chosen(machine, without_masks(machine, Gemm(32, 16, 16))[0])
    assert run.dram_write_bytes > 8
    fewer = replace(run, dram_read_bytes=run.dram_read_bytes + 8, dram_write_bytes=0)
    slower = replace(fewer, stall_cycles=run.stall_cycles + 1)
    assert several._rank(fewer) < several._rank(run) < several._rank(slower)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_two_arrays_by_hand(fidelity):
    """Two copies of 2 x 2 x 4: each loads 16 elements, streams 4 cycles and stores 4 elements.

    The channel carries 2 . 20 elements, one a cycle, and is never idle. One array would load its
    second copy behind the first one, and need as long.
    """
    work = SparseGemm.dense(Gemm(2, 2, 4, count=2))
    run = simulate(tiny(arrays=2, partition="copies"), work, fidelity)
    assert run.cycles == 40
    assert (run.dram_read_bytes, run.dram_write_bytes) == (64, 16)
    wide = simulate(tiny(arrays=2, partition="copies", **{"dram.gbps": None}), work, fidelity)
    assert (wide.cycles, wide.stall_cycles, wide.partition) == (4, 0, "copies")


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("buffers", ["shared", "private"])
@pytest.mark.parametrize("partition", ["m", "n", "copies"])
def test_a_slow_channel_takes_as_long_as_what_all_arrays_move(partition, buffers, fidelity):
    """Twenty cycles a byte, read or written, and at most a fold of each array beside it.

    Nearly all that moves is read: hardly anything waits for results to leave.
    """
    fields = {"buffers": buffers, "partition": partition, "dram.gbps": 0.05, "dram.latency_ns": 0.0}
    machine = load_hardware("gemmini", rows=8, cols=8, arrays=2, **fields)
    run = simulate(machine, SparseGemm.dense(Gemm(16, 16, 200, 2)), fidelity)
    taken = 20 * (run.dram_read_bytes + run.dram_write_bytes)
    assert taken <= run.cycles + 1
    assert run.cycles < 1.02 * taken
    assert run.parts.dram_wait > 0.8 * run.stall_cycles > 4 * run.parts.writeback_wait


@pytest.mark.parametrize(("along", "side"), [("rows", "pixels"), ("k", "reads")])
def test_shares_to_the_end_of_windows_have_theirs(along, side):
    axis = Axis(size=9, windows=7, taps=3)
    windows = Windows(1, (axis, axis), 8, "rows")
    gemm = Gemm(49, 20, 72, a_windows=windows)
    end = windows.shape[along == "k"]
    start = end - 3 * (7 if along == "rows" else 8)
    found = _behind(gemm, "a", along, (start, end), end)
    part = windows.part(side, start, end)
    assert part is not None
    assert found == {"a_windows": part, "a_elements": part.elements}


NAMES = ["systolic-128x128", "systolic-16x16", "gemmini", "systolic-128x128-2to4"]
SIZES = st.integers(0, 9).flatmap(lambda e: st.integers(2**e, 2 ** (e + 1)))


@st.composite
def cases(draw):
    """Fields of a machine, a GEMM and how many arrays."""
    fields = {
        "dataflow": draw(st.sampled_from(["ws", "os"])),
        "dram.gbps": draw(st.sampled_from([4, 30, 200, 900])),
        "dram.latency_ns": draw(st.sampled_from([0, 100, 500])),
        "buffers": draw(st.sampled_from(["private", "private", "shared"])),
        "partition": draw(st.sampled_from(["best", "best", "m", "n", "k", "copies"])),
    }
    name = draw(st.sampled_from(NAMES))
    if draw(st.booleans()):
        fields |= {"rows": draw(st.integers(2, 40)), "cols": draw(st.integers(2, 40))}
    gemm = Gemm(draw(SIZES), draw(SIZES), draw(SIZES), count=draw(st.sampled_from([1, 1, 3, 8])))
    return name, fields, work_of(draw, name, gemm), draw(st.sampled_from([2, 3, 4, 8, 16]))


def work_of(draw, name, gemm):
    """Dense, or with a mask of B that the selectors know, or do not cover."""
    if "2to4" not in name or draw(st.booleans()):
        return SparseGemm.dense(gemm)
    pattern = Pattern.parse(draw(st.sampled_from(["2:4", "1:4", "4:8"])))
    bits = np.zeros((gemm.n * gemm.count, gemm.k), bool)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    for start in range(0, gemm.k, pattern.group):
        width = min(pattern.group, gemm.k - start)
        ranks = rng.random((len(bits), width)).argsort(axis=1)
        bits[:, start : start + width] = ranks < pattern.keep
    return SparseGemm(gemm, Mask.dense(gemm.m * gemm.count, gemm.k), Mask.of(bits, pattern))


def ran(name, fields, work, n, fidelity="cycle", **more):
    try:
        return simulate(load_hardware(name, arrays=n, **{**fields, **more}), work, fidelity)
    except CapacityError:
        assume(False)


@settings(max_examples=100)
@given(cases(), st.sampled_from(["cycle", "analytical"]))
def test_nothing_beats_the_channel_or_the_arrays(case, fidelity):
    name, fields, work, n = case
    run = ran(name, fields, work, n, fidelity)
    machine = load_hardware(name, arrays=n, **fields)
    moved = run.dram_read_bytes + run.dram_write_bytes
    assert run.cycles >= moved * machine.clock_mhz / (machine.dram.gbps * 1e3) - 1
    assert run.macs_issued <= run.compute_cycles * run.peak_macs
    assert work.macs_useful <= run.macs_issued
    assert run.peak_macs == n * load_hardware(name, **fields).peak_macs
    assert sum(run.parts) == run.cycles
    assert sum(run.parts[:5]) == run.compute_cycles
    assert min(run.parts) >= 0
    assert 0 <= run.idle_cycles <= run.parts.streamed


@settings(max_examples=60)
@given(cases())
def test_bytes_are_those_of_the_arrays(case):
    """What goes over the channel is what the programs of all arrays say, and what the row says."""
    name, fields, work, n = case
    fields = {**fields, "buffers": "private"}
    seen = []

    def spy(ways, timing):
        result = contend(ways, timing)
        seen.append((ways, result))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(several, "contend", spy)
        run = ran(name, fields, work, n)
    for ways, result in seen:
        assert result.exact
        for one, found in zip(ways, result.arrays, strict=True):
            held = load_hardware(name, **fields).dataflow == "ws"
            x = sum(
                int(count) * one.kinds[kind].x * (1 if held else one.kinds[kind].pieces)
                for kind, count in zip(one.folds, one.counts, strict=True)
                if one.kinds[kind].x_loads
            )
            # Of a chunk's folds only the last one has results, in shares of all of them.
            assert found.carried == x + channel_ticks(one)
    assert run.dram_write_bytes >= work.gemm.m * work.gemm.n * work.gemm.count


@settings(max_examples=60)
@given(cases())
def test_a_program_is_what_the_kernels_run(case):
    """The folds that are written down take, alone, what the recurrence's loops say."""
    name, fields, work, n = case
    machine = load_hardware(name, arrays=n, **fields)
    ways = with_masks(machine, work) or without_masks(machine, work.gemm)
    for placement in ways:
        try:
            found = [
                way
                for split in splits(machine, placement)[:4]
                for way in several._parts(machine, placement, split).likely()
            ]
        except CapacityError:
            continue
        for way in found:
            one, sums = way.loops[0], way.sums[0]
            (alone,) = contend([one.program(sums.cut)], one.array.timing).arrays
            assert alone[:4] == (sums.total, sums.bandwidth, sums.latency, sums.write_back)


@settings(max_examples=60)
@given(cases())
def test_shares_are_all_of_a_gemm_and_nothing_twice(case):
    name, fields, work, n = case
    machine = load_hardware(name, arrays=n, **fields)
    for placement in [*without_masks(machine, work.gemm), *with_masks(machine, work)]:
        g = placement.work.gemm
        for split in splits(machine, placement):
            parts = shares(machine, placement, split)
            assert sum(one.arrays for one in parts) == split.arrays <= n
            macs = sum(one.arrays * one.placement.work.gemm.macs for one in parts)
            assert macs == g.macs
            if split.by == "k":
                assert sum(one.arrays * one.placement.work.k for one in parts) == g.k
            kept = sum(one.arrays * one.placement.work.macs_useful for one in parts)
            assert kept == placement.work.macs_useful


@settings(max_examples=60)
@given(cases(), st.sampled_from(["cycle", "analytical"]))
def test_one_of_them_may_do_all_and_twice_as_many_do_no_worse(case, fidelity):
    name, fields, work, n = case
    one = ran(name, fields, work, 1, fidelity)
    run, double = (ran(name, fields, work, arrays, fidelity) for arrays in (n, 2 * n))
    slack = 1 if fidelity == "cycle" else 1.0 + 0.3
    assert run.cycles <= one.cycles * slack
    if n & (n - 1) == 0:
        assert double.cycles <= run.cycles
    assert one.cycles <= run.cycles * n * 2 + 1e9 * (fields["partition"] == "k")


@settings(max_examples=60)
@given(cases(), st.sampled_from([1.1, 1.5, 4]))
def test_bandwidth_pays(case, times):
    name, fields, work, n = case
    slow = ran(name, fields, work, n)
    fast = ran(name, fields, work, n, **{"dram.gbps": fields["dram.gbps"] * times})
    assert fast.cycles <= slow.cycles


@lru_cache
def unlimited(n, partition, buffers):
    fields = {"dram.gbps": None, "dram.latency_ns": 0, "partition": partition}
    fields |= {f"sram.{one}_kib": 2**20 for one in "abc"}
    gemm = Gemm(1024, 1024, 1024, count=16)
    machine = load_hardware("systolic-128x128", arrays=n, buffers=buffers, **fields)
    return simulate(machine, SparseGemm.dense(gemm))


@pytest.mark.parametrize("buffers", ["private", "shared"])
@pytest.mark.parametrize("n", [2, 4, 8])
def test_without_memory_whole_tiles_scale(n, buffers):
    one, run = unlimited(1, "best", buffers), unlimited(n, "copies", buffers)
    assert (one.cycles, one.stall_cycles) == (n * run.cycles, 0)
    assert run.partition == "copies"
    tiles = unlimited(n, "n", buffers)
    assert (tiles.cycles, tiles.idle_cycles) == (run.cycles, 0)


def test_ragged_shares_leave_arrays_idle():
    """Five tiles of columns on four arrays: two rounds, in the second of which three are idle."""
    fields = {"dram.gbps": None, "dram.latency_ns": 0, "partition": "n", "order": "fixed"}
    machine = load_hardware("systolic-128x128", arrays=4, **fields)
    run = simulate(machine, SparseGemm.dense(Gemm(1000, 5 * 128, 128)))
    fold = 128 + 1000 + 128 + 128 - 2
    assert run.cycles == 2 * fold
    assert run.idle_cycles == 3 * fold // 4
    assert abs(run.parts.streamed - run.idle_cycles - 1000 * 5 / 4) <= 1


def test_sums_of_parts_of_k_go_through_memory():
    """Each of two arrays writes 32-bit sums of all of C; they are read, added up and written."""
    fields = {"partition": "k", "order": "fixed", "dram.latency_ns": 0}
    g = Gemm(64, 64, 4096)
    for buffers in ("private", "shared"):
        machine = load_hardware("systolic-128x128", arrays=2, buffers=buffers, **fields)
        run = simulate(machine, SparseGemm.dense(g))
        assert run.partition == "k"
        sums = 2 * g.m * g.n * 4
        assert run.dram_write_bytes == sums + g.m * g.n * 2
        assert run.dram_read_bytes == (g.m + g.n) * g.k * 2 + sums
        moving = (sums + g.m * g.n * 2) * machine.clock_mhz / (machine.dram.gbps * 1e3)
        # Half of K on each array, and what adding up takes: nothing of it is free.
        half = simulate(
            load_hardware("systolic-128x128", order="fixed", **{"dram.gbps": None}),
            SparseGemm.dense(Gemm(64, 64, 2048)),
        )
        assert run.cycles >= half.compute_cycles + math.floor(moving)


@pytest.mark.parametrize("partition", ["m", "n"])
def test_what_arrays_have_in_common_is_loaded_once_or_by_each(partition):
    g = Gemm(512, 512, 128)
    fields = {"partition": partition, "order": "fixed", "dram.gbps": 5000}
    private, shared = (
        simulate(
            load_hardware("systolic-128x128", arrays=4, buffers=b, **fields), SparseGemm.dense(g)
        )
        for b in ("private", "shared")
    )
    operand = 512 * 128 * 2
    assert shared.dram_read_bytes == 2 * operand
    assert private.dram_read_bytes == (1 + 4) * operand
    assert shared.cycles <= private.cycles


def test_pieces_beyond_the_most_go_on_at_their_arrays_pace_and_it_is_said():
    """Two arrays whose folds are not in step: what is not run takes as long as what is.

    The second one has the channel to itself at the end, which is not seen: by then it
    waits no more.
    """
    one = plain(1, 5 * T, y=4 * T + 1, y_loads=True, y_row=T, share=T // 8)
    other = plain(3, 7 * T + 13, y=2 * T + 17, y_loads=True, y_row=T)
    arrays = [Program.of([one] * 400), Program.of([other] * 300)]
    every = contend(arrays, PLAIN, remembered=0)
    short = contend(arrays, PLAIN, most=200, remembered=0)
    assert every.exact
    assert not short.exact
    assert (every.steps, short.steps) == (400 + 3 * 300, 200)
    for a, b in zip(short.arrays, every.arrays, strict=True):
        assert a.carried == b.carried
        assert a.at == pytest.approx(b.at, rel=0.08)
        stalled = [one.at - sum(one[1:4]) for one in (a, b)]
        assert stalled[0] == pytest.approx(stalled[1], rel=0.08)


def test_shares_that_no_buffer_holds_are_passed_over():
    """A quarter of B's shared buffer is less than a tile of weights takes: fewer arrays run."""
    fields = {"buffers": "shared", "order": "fixed", "sram.b_kib": 80, "partition": "n"}
    work = SparseGemm.dense(Gemm(300, 512, 512))
    for fidelity in ("cycle", "analytical"):
        run, one = (
            simulate(load_hardware("systolic-128x128", arrays=n, **fields), work, fidelity)
            for n in (4, 1)
        )
        assert (run.cycles, run.partition) == (one.cycles, "")
    with pytest.raises(CapacityError, match=r"sram\.b_kib is 40\.0, expected at least 64"):
        simulate(load_hardware("systolic-128x128", arrays=4, **fields | {"sram.b_kib": 40}), work)


def drawn_pair(rng):
    """Analytical over cycle of a drawn GEMM on drawn arrays."""
    sizes = [int(2 ** rng.uniform(3, 12)) for _ in range(3)]
    gemm = Gemm(*sizes, count=int(rng.choice([1, 1, 1, 5, 12])))
    name = str(rng.choice(["systolic-128x128", "tpu-v3-core", "systolic-16x16", "gemmini"]))
    machine = load_hardware(
        name,
        arrays=int(rng.choice([2, 3, 4, 8, 16])),
        dataflow=str(rng.choice(["ws", "os"])),
        buffers=str(rng.choice(["private", "private", "shared"])),
        **{"dram.gbps": int(rng.choice([8, 30, 100, 450]))},
    )
    try:
        cycle_, closed = (simulate(machine, SparseGemm.dense(gemm), f).cycles for f in FIDELITIES)
    except CapacityError:
        return None
    return closed / cycle_


@pytest.mark.slow
def test_closed_forms_stand_near_the_events():
    rng = np.random.default_rng(5)
    ratios = [ratio for ratio in (drawn_pair(rng) for _ in range(80)) if ratio]
    assert len(ratios) > 60
    assert min(ratios) > 0.65
    assert max(ratios) < 1.3
    assert 0.97 < np.median(ratios) < 1.01


def test_a_line_at_the_channel_is_in_the_closed_form():
    """Sixteen copies of one fold: each array waits for those before it at the first transfer."""
    work = SparseGemm.dense(Gemm(128, 128, 128, count=16))
    fields = {"partition": "copies", "dram.latency_ns": 0, "dram.gbps": 900}
    machine = load_hardware("systolic-128x128", arrays=16, **fields)
    run, closed = (simulate(machine, work, f) for f in FIDELITIES)
    assert run.partition == closed.partition == "copies"
    assert closed.cycles == pytest.approx(run.cycles, rel=0.1)


def test_one_array_runs_as_ever():
    machine = load_hardware("systolic-128x128")
    assert machine.arrays == 1
    work = SparseGemm.dense(Gemm(700, 300, 500))
    assert simulate(machine, work) == cycle.simulate(machine, work)
    assert Split("", 1) in splits(machine, without_masks(machine, work.gemm)[0])


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"arrays": 0}, "arrays is 0, expected"),
        ({"arrays": 2.5}, "arrays is 2.5, expected"),
        (
            {"partition": "rows"},
            "partition is 'rows', expected 'best', 'm', 'n', 'k' or 'copies'",
        ),
        ({"buffers": "common"}, "buffers is 'common', expected 'private' or 'shared'"),
    ],
)
def test_bad_fields_get_a_line(fields, told):
    with pytest.raises(NmsimError) as error:
        load_hardware("systolic-128x128", **fields)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_arrays_that_intersect_are_single():
    with pytest.raises(NmsimError, match="intersecting: expected arrays 1"):
        load_hardware("systolic-128x128-intersecting", arrays=2)


def test_rows_tell_of_partitions():
    table = nmsim.simulate(
        "gemm:512x512x512", hardware=load_hardware("systolic-128x128", arrays=4), compare=False
    )
    row = table.rows.iloc[0] if hasattr(table, "rows") else table.iloc[0]
    assert row["partition"] in {"m", "n", "k", "copies"}
    assert f"by {row['partition']}" in row["chosen"]
    assert row["idle_array_cycles"] <= row["ragged_cycles"] + 1
