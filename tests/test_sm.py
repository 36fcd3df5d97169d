"""The core's rates, what its warps wait for, and that skipping slices of K changes nothing."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sm_oracle import feeds, machines, tiles

from nmsim.errors import ShapeError
from nmsim.machines.gpu.sm.multiprocessor import Feed, Sm, mma_ticks, rate, time_tile
from nmsim.machines.gpu.sm.program import Instruction, Kind, Tile, stream
from nmsim.machines.gpu.sm.timeline import chrome_trace, timeline

A100 = Sm(
    sub_cores=4,  # NVIDIA A100 whitepaper; one warp instruction a cycle each
    shared_bytes=128,  # 125 per cycle and SM measured: te42kyfo/gpu-benches, gpu-cache
    shared_interval=2,  # an assumption
    shared_latency=22,  # 23 cycles for a 32-bit load: Abdelkhalik et al. 2022
    shared_queue=32,  # an assumption
    register_reads=2,  # two banks: an assumption
    selection_cycles=2.0,  # see mma_ticks
    barrier_latency=20,  # an assumption
    in_flight=64 * 1024,  # an assumption
    store_queue=16 * 1024,  # an assumption
)

# 8 and 4 cycles: CUTLASS's machine model and AMALI (ISCA 2025), fig. 3; latencies: 33 of serial
# chains; 25 is what Sun et al.'s figure for m16n8k16 leaves at the most.
HMMA_16816 = Instruction(16, 8, 16, 16, 8, 33)
HMMA_1688 = Instruction(16, 8, 8, 16, 4, 25)
SPARSE_16832 = Instruction(16, 8, 32, 16, 8, 33, 2, 4, 64)
SPARSE_16816 = Instruction(16, 8, 16, 16, 4, 25, 2, 4, 32)

L2 = Feed(latency=210, bytes_per_cycle=35.0, store_bytes_per_cycle=35.0)
DRAM = Feed(latency=571, bytes_per_cycle=11.0, store_bytes_per_cycle=11.0)
PLENTY = Feed(latency=1, bytes_per_cycle=1e6, store_bytes_per_cycle=1e6)

TILE = Tile(128, 128, 32, 2, 2, 4, HMMA_16816)
SPARSE = Tile(128, 128, 64, 2, 2, 4, SPARSE_16832)


@pytest.mark.parametrize(
    ("instruction", "measured", "tolerance"),
    [
        (HMMA_16816, 1024, 0.001),  # AMALI; CUTLASS machine model
        (HMMA_1688, 1024, 0.001),
        (SPARSE_16832, 1979.1, 0.03),  # Sun et al., TPDS 2023, Table 6
        (SPARSE_16816, 1290.5, 0.03),
    ],
)
def test_matrix_instructions_alone_reach_the_measured_rate(instruction, measured, tolerance):
    assert rate(A100, instruction, warps=8, ilp=4) == pytest.approx(measured, rel=tolerance)


def test_a_chain_of_dependent_instructions_takes_its_latency():
    assert rate(A100, HMMA_16816, warps=1, ilp=1) == pytest.approx(2048 / 33, rel=0.001)
    assert rate(A100, HMMA_16816, warps=4, ilp=1) == pytest.approx(4 * 2048 / 33, rel=0.001)
    assert rate(A100, HMMA_16816, warps=8, ilp=2) == pytest.approx(16 * 2048 / 33, rel=0.001)


def test_warps_share_four_tensor_cores():
    one = rate(A100, HMMA_16816, warps=1, ilp=8)
    assert one == pytest.approx(256, rel=0.001)
    assert rate(A100, HMMA_16816, warps=3, ilp=8) == pytest.approx(3 * one, rel=0.001)
    assert rate(A100, HMMA_16816, warps=5, ilp=8) == pytest.approx(1024 * 5 / 8, rel=0.001)


def test_what_holds_up_mma_sp_is_fetching_its_operands():
    """Without selection and with wide ports the small shape is as fast as its multipliers."""
    assert mma_ticks(A100, SPARSE_16816) > 1.5 * mma_ticks(A100, HMMA_1688)
    ideal = A100._replace(selection_cycles=0.0, register_reads=8)
    assert rate(ideal, SPARSE_16816, warps=8, ilp=4) == pytest.approx(2048, rel=0.001)
    assert rate(ideal, SPARSE_16832, warps=8, ilp=4) == pytest.approx(2048, rel=0.001)


@settings(max_examples=60, deadline=None)
@given(machines(), tiles(), feeds(), st.integers(20, 60), st.integers(1, 3))
def test_skipping_slices_changes_nothing(sm, tile, feed, slices, ctas):
    fast = time_tile(sm, tile, feed, slices, ctas=ctas)
    slow = time_tile(sm, tile, feed, slices, ctas=ctas, skip=False)
    unlike = {"skipped": 0, "cycles_per_slice": 0.0}
    assert fast._replace(**unlike) == slow._replace(**unlike)
    assert slow.skipped == 0


@pytest.mark.parametrize("tile", [TILE, SPARSE, TILE._replace(k=16), TILE._replace(k=48)])
@pytest.mark.parametrize("feed", [L2, DRAM, PLENTY])
def test_recurring_slices_are_found(tile, feed):
    """K of a million slices costs what K of a few dozen does."""
    short, long = (time_tile(A100, tile, feed, slices, ctas=2) for slices in (200, 10**6))
    assert short.skipped > 0
    per_slice = (long.cycles - short.cycles) / (10**6 - 200)
    assert long.cycles_per_slice == pytest.approx(per_slice, rel=1e-4)


def test_a_big_tile_from_l2_is_bound_by_tensor_cores():
    result = time_tile(A100, TILE, PLENTY, 256, ctas=2)
    assert result.bound == "tensor"
    assert result.utilization > 0.85
    assert result.cycles_per_slice >= 2 * 128 * 128 * 32 / 1024


def test_fewer_stages_wait_longer_for_memory():
    feed = L2._replace(latency=400)
    results = [time_tile(A100, TILE._replace(stages=stages), feed, 64) for stages in (2, 3, 5)]
    waits = [result.main_waits.memory for result in results]
    assert waits[0] > 2 * waits[1] > 2 * waits[2]
    assert results[0].cycles > 1.1 * results[2].cycles
    assert results[0].bound == "memory"
    assert results[2].bound != "memory"


def test_narrow_loads_are_bound_by_shared_memory():
    wide, narrow = (
        time_tile(A100, TILE._replace(load_bytes=size), PLENTY, 64, ctas=2) for size in (512, 128)
    )
    assert (wide.bound, narrow.bound) == ("tensor", "shared")
    assert narrow.main_waits.shared > 2 * wide.main_waits.shared
    # Two threadblocks of 4 warps: 64 loads of 128 bytes at 2 cycles each, and 16 KiB of copies.
    by_hand = 2 * (4 * 64 * 2 + 16 * 1024 / 128)
    assert narrow.cycles_per_slice == pytest.approx(by_hand, rel=0.01)
    assert narrow.cycles > 0.95 * by_hand / (2 * 128 * 128 * 32 / 1024) * wide.cycles


def test_metadata_cost_loads_and_copies():
    free = SPARSE._replace(instruction=SPARSE_16832._replace(metadata_bytes=0))
    with_metadata, without = (time_tile(A100, tile, PLENTY, 64) for tile in (SPARSE, free))
    assert with_metadata.main_waits.shared > without.main_waits.shared
    assert with_metadata.shared_cycles > without.shared_cycles
    assert with_metadata.cycles > without.cycles
    fat = SPARSE._replace(instruction=SPARSE_16832._replace(metadata_bytes=512))
    assert time_tile(A100, fat, PLENTY, 64).bound == "shared"


def test_a_starved_core_is_bound_by_memory():
    result = time_tile(A100, TILE, DRAM, 64)
    assert result.bound == "memory"
    assert result.cycles_per_slice == pytest.approx(2 * 128 * 32 * 2 / 11.0, rel=0.01)


def test_sparse_slices_need_the_dense_operand_as_much():
    """Half the multiplications, half of A: from memory 25 of 32 bytes, so hardly faster."""
    dense = Tile(128, 128, 64, 2, 2, 3, HMMA_16816)
    starved, fed = (
        time_tile(A100, dense, feed, 64).cycles
        / time_tile(A100, dense._replace(instruction=SPARSE_16832), feed, 64).cycles
        for feed in (DRAM, PLENTY)
    )
    assert starved == pytest.approx(32 / 25, rel=0.03)
    assert 1.2 < fed < 1.9


def test_a_second_threadblock_hides_what_one_waits_for():
    one, two = (time_tile(A100, TILE._replace(stages=2), L2, 64, ctas=ctas) for ctas in (1, 2))
    assert one.cycles < two.cycles < 2 * one.cycles
    assert two.utilization > one.utilization


def test_slices_of_a_single_warp_recur_as_fast_as_memory_brings_them():
    """16 rows of A and 8 of B, 16 elements of 16 bits each, at 4 bytes a cycle."""
    alone = time_tile(
        A100, Tile(16, 8, 16, 1, 1, 6, HMMA_16816), L2._replace(bytes_per_cycle=4.0), 100
    )
    assert alone.cycles_per_slice == (16 + 8) * 16 * 2 / 4
    assert alone.skipped > 0


@pytest.mark.parametrize("ctas", [1, 2])
@pytest.mark.parametrize("tile", [TILE, SPARSE, TILE._replace(stages=2)])
def test_more_bandwidth_and_less_latency_are_hardly_ever_slower(tile, ctas):
    """Not a theorem: what arrives earlier may take shared memory before a load that matters.

    64 bytes a cycle is what the network brings to a multiprocessor at most.
    """
    rates = (5.0, 11.0, 20.0, 35.0, 64.0)
    by_rate = [
        time_tile(A100, tile, L2._replace(bytes_per_cycle=r), 32, ctas=ctas).cycles for r in rates
    ]
    late = (1000, 571, 210, 30)
    by_latency = [time_tile(A100, tile, L2._replace(latency=t), 32, ctas=ctas).cycles for t in late]
    for times in (by_rate, by_latency):
        assert all(after < 1.05 * before for before, after in pairwise(times))
        assert times[-1] < times[0]


def test_parts_add_up_and_the_epilogue_takes_its_bytes():
    result = time_tile(A100, TILE, L2, 8)
    assert result.prologue + result.main + result.epilogue == result.cycles
    assert result.prologue > L2.latency
    slow = time_tile(A100, TILE, L2._replace(store_bytes_per_cycle=4.0), 8)
    assert slow.epilogue == pytest.approx(128 * 128 * 2 / 4, rel=0.05)
    assert slow.main == result.main
    assert slow.epilogue_waits.store > result.epilogue_waits.store


def test_copies_are_all_the_bytes_of_all_stages():
    result = time_tile(A100, SPARSE, Feed(100, 16.0, 16.0), 10, ctas=2)
    assert result.memory_cycles == 2 * 10 * (128 * 32 * 2 + 128 * 64 * 2 + 128 * 64 // 8) / 16


def test_a_timeline_is_the_run():
    events = timeline(A100, TILE, L2, 3)
    result = time_tile(A100, TILE, L2, 3)
    assert len(events) == result.instructions
    assert max(event.done for event in events) <= result.cycles
    kinds = [event.kind for event in events]
    assert kinds.count(Kind.MMA) == 4 * 4 * 8 * 2 * 3
    assert [event.cycle for event in events] == sorted(event.cycle for event in events)
    assert len(timeline(A100, TILE, L2, 3, limit=7)) == 7


@pytest.mark.parametrize("ctas", [1, 2, 3])
def test_what_is_not_written_down_is_not_run_and_changes_nothing(ctas):
    whole = timeline(A100, TILE, L2, 60, ctas=ctas)
    for limit in (1, 999, 5000, 12_345):
        assert len(whole) > limit
        assert timeline(A100, TILE, L2, 60, ctas=ctas, limit=limit) == whole[:limit]
        assert timeline(A100, TILE, L2, 2**31, ctas=ctas, limit=limit) == whole[:limit]


def test_a_trace_is_what_chrome_reads():
    events = timeline(A100, TILE, L2, 2)
    trace = chrome_trace(time_tile(A100, TILE, L2, 2), events, sub_cores=4, clock_mhz=1410.0)
    assert json.loads(json.dumps(trace)) == trace
    named = [row for row in trace if row["ph"] == "M"]
    tile, prologue, main, epilogue, *spans = (row for row in trace if row["ph"] == "X")
    assert [row["name"] for row in (tile, prologue, main, epilogue)] == [
        "tile", "prologue", "main loop", "epilogue"
    ]  # fmt: skip
    assert len(named) + len(spans) + 4 == len(trace)
    assert {row["pid"] for row in spans} == {1, 2, 3, 4}
    assert {(row["pid"], row["tid"]) for row in spans} == {
        (row["pid"], row["tid"]) for row in named if row["name"] == "thread_name"
    }
    assert spans[0]["name"] == "copy"
    assert spans[0]["dur"] > L2.latency / 1410
    assert all(row["dur"] > 0 for row in spans)


def test_within_a_thread_spans_of_a_trace_are_apart():
    events = timeline(A100, TILE, L2, 5, ctas=2)
    trace = chrome_trace(
        time_tile(A100, TILE, L2, 5, ctas=2), events, sub_cores=4, clock_mhz=1410.0
    )
    threads = {}
    for row in trace:
        if row["ph"] == "X" and row["pid"]:
            ends = row["args"]["cycle"] + row["args"]["cycles"]
            threads.setdefault(row["tid"], []).append((row["args"]["cycle"], ends, row["pid"]))
    for spans in threads.values():
        assert len({process for _, _, process in spans}) == 1
        assert all(end <= start for (_, end, _), (start, _, _) in pairwise(sorted(spans)))
    lanes = [row["args"]["name"] for row in trace if row["name"] == "thread_name"]
    assert "warp 0 copy (2)" in lanes
    assert len(set(lanes)) == len(lanes) == len(threads)


def test_rows_of_a_program_are_those_of_cutlass():
    """128 x 128 x 32 in four warps: 4 x 8 fragments of C, two blocks of K, 8 copies a stage."""
    program = stream(TILE)
    kinds = [Kind(kind) for kind in program.rows[:, 0]]
    body = kinds[program.body : program.epilogue]
    assert body.count(Kind.MMA) == 2 * 4 * 8
    assert body.count(Kind.LOAD) == 2 * (4 + 4)
    assert body.count(Kind.COPY) == 8
    assert kinds[: program.body].count(Kind.COPY) == 3 * 8
    assert body.index(Kind.WAIT) < body.index(Kind.BARRIER)
    assert body[body.index(Kind.BARRIER) :].count(Kind.MMA) == 32


@pytest.mark.parametrize(
    "tile",
    [
        TILE._replace(m=120),
        TILE._replace(k=24),
        TILE._replace(stages=1),
        TILE._replace(warps_n=3),
        Tile(16, 8, 6, 1, 1, 2, Instruction(16, 8, 6, 16, 8, 33, 2, 4, 16), 512)._replace(k=7),
    ],
)
def test_a_tile_that_does_not_divide_is_refused(tile):
    with pytest.raises(ShapeError, match="expected multiples"):
        time_tile(A100, tile, L2, 4)


@pytest.mark.parametrize(
    "broken",
    [
        {"slices": 0},
        {"ctas": 0},
        {"feed": L2._replace(bytes_per_cycle=0.0)},
        {"sm": A100._replace(barrier_latency=0)},
    ],
)
def test_nothing_to_run_is_refused(broken):
    given = {"sm": A100, "tile": TILE, "feed": L2, "slices": 4, "ctas": 1} | broken
    ctas = given.pop("ctas")
    with pytest.raises(ShapeError, match="expected 1 slice"):
        time_tile(*given.values(), ctas=ctas)


def test_speed(benchmark):
    """K = 8192 on two threadblocks a multiprocessor, warm."""
    time_tile(A100, TILE, L2, 2, ctas=2)
    benchmark(time_tile, A100, TILE, L2, 256, ctas=2)
