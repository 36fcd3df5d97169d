"""Several arrays with what one has: gathered pixels, PEs that hold groups, counts, timelines."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from test_array_timeline import irregular, told
from test_memory import plain
from test_monotone import cases

from nmsim import load_model
from nmsim.errors import CapacityError
from nmsim.gemm import Gemm
from nmsim.machines import FIDELITIES, load_hardware, simulate
from nmsim.machines.kind import kind_of
from nmsim.machines.systolic import engines
from nmsim.machines.systolic.pipeline import contention, events, memory, periods, turns
from nmsim.machines.systolic.pipeline.contention import Program, contend
from nmsim.machines.systolic.pipeline.memory import TICKS
from nmsim.machines.systolic.placement import with_masks, without_masks
from nmsim.machines.systolic.several import cycle as several
from nmsim.machines.systolic.several.outcome import reduction
from nmsim.machines.systolic.several.shares import Split, own_part, shares, splits
from nmsim.machines.systolic.traffic import moves
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import Pattern
from nmsim.windows import Axis, Windows

LINE = Axis(size=8, windows=8, taps=3, first=-1)
SHAPES = [
    {"pe": {"holds": "group"}, "dot_width": 2},
    {"pe": {"holds": "group", "macs_per_group": 2}, "dot_width": 2},
    {"pe": {"macs_per_group": 2}, "dot_width": 4},
]


def convolution(images, channels=16, filters=32):
    """A window of nine on 8 x 8 pixels."""
    windows = Windows(images, (LINE, LINE), channels)
    return Gemm(windows.pixels, filters, windows.reads, a_windows=windows)


def ways(machine, placement):
    for split in splits(machine, placement)[:5]:
        try:
            yield from several._parts(machine, placement, split).likely()
        except CapacityError:
            continue


def alone_is_the_sum(way):
    for one, sums in zip(way.loops, way.sums, strict=True):
        (ran,) = contend([one.program(sums.cut)], one.array.timing).arrays
        assert ran[:4] == (sums.total, sums.bandwidth, sums.latency, sums.write_back)
        folds = list(one.pieces(sums.cut))
        assert len(folds) == sums.folds


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_programs_of_parts_load_pixels_again(dataflow):
    """Half of A's buffer holds a part of the pixels: later taps load them again."""
    fields = {"dataflow": dataflow, "sram.a_kib": 4, "dram.gbps": 2}
    machine = load_hardware("systolic-16x16", arrays=4, **fields)
    found = 0
    for placement in without_masks(machine, convolution(3)):
        for way in ways(machine, placement):
            alone_is_the_sum(way)
            found += 1
    assert found > 4


@pytest.mark.parametrize("fields", SHAPES)
@pytest.mark.parametrize("dataflow", ["ws", "is"])
def test_programs_of_parts_hold_groups(dataflow, fields):
    """Masks of 4:8 on selectors for 2:4: beats of folds differ."""
    rng = np.random.default_rng(3)
    shape = {"rows": 4, "cols": 5, "dataflow": dataflow, **fields}
    machine = load_hardware("systolic-128x128-2to4", arrays=3, **shape)
    g = Gemm(22, 13, 96, count=2)
    work = SparseGemm(g, Mask.dense(2 * 22, 96), irregular(rng, 2 * 13, 96))
    for placement in [*with_masks(machine, work), *without_masks(machine, g)]:
        kept = placement.work.macs_useful
        for way in ways(machine, placement):
            alone_is_the_sum(way)
            each = [(one.share.arrays, one.share.placement) for one in way.loops]
            assert sum(n * part.work.macs_useful for n, part in each) == kept
            assert sum(n * of.issued for (n, _), of in zip(each, way.sums, strict=True)) >= kept


def test_images_are_shared_out_with_their_windows():
    """Four images on two or four arrays: DRAM sends what it sends for each image alone."""
    fields = {"order": "fixed", "sram.a_kib": 4, "dataflow": "ws"}
    one, *several_ = (
        load_hardware("systolic-16x16", arrays=n, partition="m", **fields) for n in (1, 2, 4)
    )
    for machine in several_:
        (placement,) = without_masks(machine, convolution(4))
        (share,) = shares(machine, placement, Split("m", machine.arrays))
        part = share.placement.work.gemm
        assert part.a_windows == Windows(4 // machine.arrays, (LINE, LINE), 16)
        for fidelity in FIDELITIES:
            run = simulate(machine, SparseGemm.dense(convolution(4)), fidelity)
            apart = simulate(one, SparseGemm.dense(part), fidelity)
            if run.partition == "m":
                assert run.dram_read_bytes == machine.arrays * apart.dram_read_bytes
                assert "for want of its windows" not in run.note


def test_parts_that_end_amid_a_line_have_their_share_of_pixels_and_say_so():
    """Three arrays of one image's 64 pixels: 22, 21 and 21 of them, on 8 lines."""
    fields = {"order": "fixed", "partition": "m", "dram.gbps": None}
    machine = load_hardware("systolic-16x16", arrays=3, **fields)
    (placement,) = without_masks(machine, convolution(1))
    parts = shares(machine, placement, Split("m", 3))
    assert all(one.placement.work.gemm.a_windows is None for one in parts)
    elements = [one.placement.work.gemm.a_elements for one in parts for _ in range(one.arrays)]
    size = 64 * 16
    assert size <= sum(elements) < size + 3
    for fidelity in FIDELITIES:
        run = simulate(machine, SparseGemm.dense(convolution(1)), fidelity)
        assert run.partition == "m"
        assert run.note == "A: each pixel is loaded once a pass, for want of its windows"
        # A's bytes stay in each array's buffer; all of B comes to each.
        assert run.dram_read_bytes == sum(elements) + 3 * 32 * 144


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
@pytest.mark.parametrize("partition", ["m", "n", "copies"])
def test_arrays_in_lock_step_move_what_the_row_says(partition, dataflow):
    """All that goes over the channel in the one program is the bytes of all arrays, pixels too."""
    fields = {"sram.a_kib": 16, "sram.b_kib": 16, "dram.gbps": 2, "dataflow": dataflow}
    shared = {"arrays": 4, "buffers": "shared", "partition": partition}
    machine = load_hardware("systolic-16x16", order="fixed", **shared, **fields)
    (placement,) = without_masks(machine, replace(convolution(4), count=4))
    result, way = several._in_lock_step(machine, placement, Split(partition, 4))
    (folds,) = way.programs()
    (spans,) = events.run([list(folds)], way.loops[0].array.timing)
    carried = sum(span.end - span.start for span in spans.spans if span.what != "stream") / TICKS
    moved = result.dram_read_bytes + result.dram_write_bytes
    assert carried == pytest.approx(moved * machine.clock_mhz / 2e3, rel=1e-3)


def test_parts_of_k_are_whole_groups_that_pes_hold():
    fields = {"rows": 4, "cols": 5, "dataflow": "ws", **SHAPES[0]}
    machine = load_hardware("systolic-128x128-2to4", arrays=3, **fields)
    for placement in without_masks(machine, Gemm(22, 13, 130)):
        parts = shares(machine, placement, Split("k", 3))
        assert sum(one.arrays * one.placement.k for one in parts) == 130
        assert all(one.placement.k % machine.group == 0 for one in parts[:-1])


def test_shared_buffers_hold_what_is_common_once_and_a_part_of_the_rest():
    sizes = {"sram.a_kib": 64, "sram.b_kib": 32, "sram.c_kib": 16}
    private, shared = (
        load_hardware("systolic-16x16", arrays=4, buffers=buffers, **sizes)
        for buffers in ("private", "shared")
    )
    parts = {"m": (16, 32, 4), "n": (64, 8, 4), "k": (16, 8, 4), "copies": (16, 8, 4)}
    for by, kib in parts.items():
        own = own_part(shared, Split(by, 4)).sram
        assert (own.a_kib, own.b_kib, own.c_kib) == kib
        assert own_part(private, Split(by, 4)) == private


def test_parts_that_read_one_mask_whole_are_alike():
    """Where bits of B decide the time, arrays with as many rows of A each are one share."""
    machine = load_hardware("systolic-128x128-2to4", arrays=4, order="fixed")
    bits = np.zeros((512, 64), bool)
    bits[:, ::8] = bits[:, 1::8] = bits[:, 2::8] = bits[:, 3::8] = True
    work = SparseGemm(Gemm(512, 512, 64), Mask.dense(512, 64), Mask.of(bits, Pattern.parse("4:8")))
    (placement,) = with_masks(machine, work)
    assert placement.needs_bits(machine)
    counts = {by: [one.arrays for one in shares(machine, placement, Split(by, 4))] for by in "mn"}
    assert counts == {"m": [4], "n": [1, 1, 1, 1]}


@pytest.mark.parametrize(
    "number", ["PIECE", "STEP", "PASSED", "QUEUED", "FIRST_COMES", "RUN", "FREE"]
)
def test_arrays_stand_otherwise_if_anything_differs_that_comes_to_bear(number):
    """Two arrays at one time; each number by itself makes another state of it."""
    one = plain(1, 9, y=1, y_loads=True)
    folds = [one, one._replace(y=2)]
    programs = contention._table([Program.of(folds)] * 2)
    world = turns.world_of(programs)
    at, numbers = getattr(turns, number), np.empty((2, 2 * periods._WIDTH), np.int64)
    periods._stand(numbers[0], world, programs)
    if number == "FREE":
        world.channel[at] = 1
    else:
        world.arrays[1, at] += 1
    periods._stand(numbers[1], world, programs)
    assert (numbers[0] != numbers[1]).any()


@pytest.mark.parametrize(
    ("left", "owed", "times"),
    [
        (6, 1, 1),  # of 4 that are left, two at a time: but for the last one
        (5, 1, 3),
        (4, 0, 2**62),
        (3, 1, 0),  # more are left than were
        (5, 0, 0),  # others have become owed
    ],
)
def test_shares_are_repeated_but_for_the_last(left, owed, times):
    world = turns.World(np.zeros((1, turns.SIZE), np.int64), np.zeros(3, np.int64))
    world.arrays[0, memory.LEFT], world.arrays[0, turns.OWED] = 4, 1
    assert periods._owed_alike(world, 0, left, owed) == times


def test_sums_of_parts_of_k_are_written_read_and_added_up_by_hand():
    """128 of 32 bits a part, read at 16 bytes a cycle, and results of 8 bits; 3 parts of K."""
    sizes = {"sram.a_kib": 4096, "sram.b_kib": 4096, "sram.c_kib": 4096}
    machine = load_hardware("systolic-16x16", arrays=3, partition="k", order="fixed", **sizes)
    work = SparseGemm.dense(Gemm(32, 4, 3 * 512))
    run = simulate(machine, work)
    assert run.partition == "k"
    operands, elements = (32 + 4) * 3 * 512, 32 * 4
    assert run.dram_read_bytes == operands + 3 * 4 * elements
    assert run.dram_write_bytes == 3 * 4 * elements + elements
    adds = reduction(machine, without_masks(machine, work.gemm)[0], 3)
    assert adds.cycles == pytest.approx((3 * 4 + 1) * elements / 16)
    assert adds.latency == pytest.approx(100)
    free = load_hardware(machine, **{"dram.gbps": None})
    assert reduction(free, without_masks(free, work.gemm)[0], 3).cycles == elements / 16


@pytest.mark.slow
@pytest.mark.parametrize("buffers", ["private", "shared"])
@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_bytes_are_conserved(fidelity, buffers):
    """What DRAM sends is written to buffers; what they send is what rows have told before."""
    ran = 0
    for seed, work, one, *_ in cases(range(60)):
        fields = {"arrays": 2 + seed % 3, "buffers": buffers}
        machine = load_hardware(one, **fields)
        try:
            run = simulate(machine, work, fidelity)
        except CapacityError:
            continue
        own = run.own
        assert set(own) == {column.name for column in moves.COLUMNS}
        sums = -(-own["spilled_sums"] * machine.accumulator_bits // 8)
        written = own["sram_a_write_bytes"] + own["sram_b_write_bytes"]
        assert abs(written + sums - run.dram_read_bytes) <= 3
        read = own["sram_a_read_bytes"] + own["sram_b_read_bytes"]
        assert 0 <= read - run.sram_read_bytes <= 1
        ran += run.partition != ""
    assert ran > 20


@pytest.mark.parametrize("partition", ["m", "n", "k", "copies"])
def test_words_and_sums_are_those_of_all_arrays(partition):
    """Whole tiles on each of two arrays: as many pass as on one that takes both parts in turn."""
    g = Gemm(64, 64, 64, count=2)
    fields = {"order": "fixed", "dataflow": "ws", "dram.gbps": None}
    for fidelity in FIDELITIES:
        two, one = (
            simulate(
                load_hardware("systolic-16x16", arrays=n, partition=partition, **fields),
                SparseGemm.dense(g),
                fidelity,
            )
            for n in (2, 1)
        )
        assert two.partition == partition
        # Rows that stream on two arrays meet weights on both: these shift in twice as often.
        again = 15 * 16 // 2 * (4 * 4 * 2 * 16 if partition == "m" else 0)
        assert two.own["passed_words"] == one.own["passed_words"] + again
        assert two.own["passed_sums"] == one.own["passed_sums"]
        parts = 2 if partition == "k" else 0
        assert two.own["spilled_sums"] == parts * g.m * g.n * g.count


@pytest.mark.parametrize("buffers", ["private", "shared"])
def test_timelines_of_several_arrays(buffers):
    fields = {"arrays": 3, "buffers": buffers, "partition": "n", "dram.gbps": 40}
    machine = load_hardware("gemmini", order="fixed", **fields)
    work = SparseGemm.dense(Gemm(100, 96, 70))
    threads, facts = told(machine, work)
    arrays = {number for number, _ in threads} - {0}
    assert arrays == ({1, 2, 3} if buffers == "private" else {1})
    channel = sorted(threads[0, "loads"] + threads[0, "stores"])
    assert all(before[1] <= after[0] + 1 / TICKS for before, after in pairwise(channel))
    run = simulate(machine, work)
    last = max(end for own in threads.values() for _, end in own)
    slack = machine.rows + machine.fill_cycles + 1
    assert last - slack <= run.cycles <= last + slack
    assert facts["shared out"] == f"n, 3 of 3 arrays, {buffers} buffers"
    few, _ = kind_of(machine).timeline(machine, work, 9)
    assert sum(row["ph"] == "X" and row["cat"] != "fold" for row in few) == 9


def test_programs_of_the_timeline_are_those_that_contended():
    machine = load_hardware("gemmini", arrays=2, **{"dram.gbps": 4})
    for g in (Gemm(100, 96, 70), Gemm(64, 32, 256, count=3), convolution(2)):
        placement = engines.choice(machine, SparseGemm.dense(g)).best.placement
        result, way = several.chosen(machine, placement)
        ran = events.run([list(one) for one in way.programs()], way.loops[0].array.timing)
        adds = way.adds.cycles + way.adds.latency if way.adds else 0
        cycles = max(one.finished for one in ran) / TICKS + adds
        assert result.cycles == pytest.approx(cycles, rel=0.01, abs=2)


def test_layers_of_a_network_on_two_arrays():
    """Every convolution of a network: parts are GEMMs that can be, and rows add up."""
    machine = load_hardware("tpu-v3-core")
    for gemm in load_model("resnet18").gemms(batch=2):
        run = simulate(machine, SparseGemm.dense(gemm), "analytical")
        assert sum(run.parts) == run.cycles
        assert (
            run.cycles
            <= simulate(
                load_hardware(machine, arrays=1), SparseGemm.dense(gemm), "analytical"
            ).cycles
            * 1.02
        )
