"""Fused attention: sizes by hand, how kernels are cut against a loop, what more hardware does."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmsim.attention import Attention
from nmsim.errors import NmsimError, ShapeError, SpecError
from nmsim.machines import attention_time, load_hardware
from nmsim.machines.attention import AttentionCalls, shapes_of
from nmsim.machines.gpu.attention import ATTENTION, serves
from nmsim.machines.gpu.attention.clock import bytes_of, times
from nmsim.machines.gpu.attention.grid import (
    BLOCKS,
    COUNT,
    LONGEST,
    RANKS,
    RESIDENT,
    SHORTEST,
    SPLITS,
    TILE,
    grids,
    policy_of,
    tile_table,
)
from nmsim.machines.gpu.attention.kernels import (
    ATTENTION_KERNELS,
    AttentionTile,
    load_attention_kernels,
)

GPUS = ("a100-sxm4-80gb", "h100-sxm", "h200")
CALLS = [
    (load_hardware(gpu), library)
    for gpu in GPUS
    for library in ATTENTION.libraries(load_hardware(gpu))
]
IDS = [f"{machine.name}-{library}" for machine, library in CALLS]
served = pytest.mark.parametrize(("machine", "library"), CALLS, ids=IDS)


def seen(attention, query):
    """Keys that a query sees, one by one."""
    if not attention.causal:
        return range(attention.keys)
    last = query + attention.keys - attention.queries
    first = max(0, last + 1 - attention.window) if attention.window else 0
    return range(first, last + 1)


@st.composite
def attentions(draw, most=40):
    kv = draw(st.integers(1, 3))
    causal = draw(st.booleans())
    queries = draw(st.integers(1, most))
    return Attention(
        batch=draw(st.integers(1, 3)),
        heads=kv * draw(st.integers(1, 4)),
        queries=queries,
        keys=draw(st.integers(queries, 2 * most)),
        head_dim=draw(st.sampled_from([16, 40, 64, 128])),
        kv_heads=kv,
        causal=causal,
        window=draw(st.integers(0, most)) if causal else 0,
    )


@settings(deadline=None)
@given(attentions())
def test_pairs_are_those_that_a_loop_counts(attention):
    counted = sum(len(seen(attention, query)) for query in range(attention.queries))
    assert attention.pairs == counted


def test_macs_and_bytes_by_hand():
    one = Attention(2, 6, 5, 7, 8, kv_heads=3, v_head_dim=4)
    assert one.pairs == 3 + 4 + 5 + 6 + 7
    assert one.macs("forward") == 2 * 6 * 25 * (8 + 4)
    assert one.macs("backward") == 2 * 6 * 25 * (8 + 4 + 4 + 8 + 8)
    q, k, v, o, statistics = 2 * 6 * 5 * 8, 2 * 3 * 7 * 8, 2 * 3 * 7 * 4, 2 * 6 * 5 * 4, 2 * 6 * 5
    forward, backward = one.traffic("forward"), one.traffic("backward")
    assert (forward.read, forward.written) == (2 * (q + k + v), 2 * o + 4 * statistics)
    assert backward.read == 2 * (q + k + v + 2 * o) + 4 * statistics
    assert backward.written == 2 * (q + k + v)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"kv_heads": 3}, "kv_heads is 3, expected a divisor of heads 8"),
        ({"heads": 0}, "heads is 0, expected an integer from 1"),
        ({"keys": 15}, "keys is 15, expected 16 or more"),
        ({"window": 4, "causal": False}, "window is 4, expected 0 where not causal"),
        ({"window": -1}, "window is -1, expected an integer from 0"),
        ({"batch": 1.5}, "batch is 1.5, expected an integer"),
        ({"head_dim": True}, "head_dim is True, expected an integer"),
    ],
)
def test_bad_sizes_are_refused_in_one_line(change, problem):
    sizes = {"batch": 2, "heads": 8, "queries": 16, "keys": 16, "head_dim": 64, **change}
    with pytest.raises(ShapeError) as error:
        Attention(**sizes)
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


def test_a_phase_that_attention_has_not_is_refused():
    attention = Attention(1, 1, 1, 1, 64)
    with pytest.raises(ShapeError, match="phase is 'update', expected forward or backward"):
        attention_time(load_hardware("h200"), attention, "update")


# How a library cuts a call, against loops over every row.


def blocks_by_hand(attention, tile, packed, phase):
    """Blocks that each threadblock of one head visits, by the pairs that each pair of tiles has."""
    found = []
    if phase == "backward":
        for start in range(0, attention.keys, tile.keys):
            stay = range(start, min(start + tile.keys, attention.keys))
            visited = {
                query // tile.queries
                for query in range(attention.queries)
                if set(seen(attention, query)) & set(stay)
            }
            found.append(len(visited))
        return found
    rows = attention.queries * packed
    for start in range(0, rows, tile.queries):
        visited = {
            key // tile.keys
            for row in range(start, min(start + tile.queries, rows))
            for key in seen(attention, row // packed)
        }
        found.append(len(visited))
    return found


@pytest.mark.parametrize("phase", ["forward", "backward"])
@pytest.mark.parametrize("name", ["flash-attention-2-sm80", "sglang-sm90", "vllm-sm80"])
@settings(deadline=None, max_examples=30)
@given(attention=attentions(most=300))
def test_a_grid_is_what_loops_over_rows_count(name, phase, attention):
    kernels = load_attention_kernels(name)
    tiles, policy = tile_table(kernels), policy_of(kernels, phase)
    grid = grids(shapes_of([attention]), tiles, policy, 132)[0]
    if grid[TILE] < 0:
        assert phase == "backward"  # serving libraries have none
        assert not any(tile.phase == phase for tile in kernels.tiles)
        return
    pack = kernels.packs_groups
    one = pack == "one_query" and attention.queries == 1
    packed = attention.group if phase == "forward" and (pack == "always" or one) else 1
    tile = kernels.tiles[int(grid[TILE])]
    parts = int(grid[SPLITS])
    levels = [-(-n // parts) for n in blocks_by_hand(attention, tile, packed, phase)]
    copies = attention.batch * attention.heads // packed * parts
    every = sorted(np.repeat(levels, copies), reverse=True)
    assert grid[COUNT] == len(every)
    assert grid[BLOCKS] == sum(every)
    assert (grid[LONGEST], grid[SHORTEST]) == (every[0], every[-1])
    for k in range(1, RANKS + 1):
        at = int(k * 132 * grid[RESIDENT])
        assert grid[7 + k] == (every[at] if at < len(every) else 0)


@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_small_blocks_are_those_that_loops_count(phase):
    """All small squares, where a block's edge often stands where a window or the diagonal does."""
    every = [
        Attention(1, 1, q, s, 8, causal=True, window=window)
        for q in range(1, 8)
        for s in range(q, 9)
        for window in range(6)
    ]
    policy = policy_of(load_attention_kernels("flash-attention-2-sm80"), phase)
    for stay, passing in ((2, 3), (3, 2)):
        q, k = (passing, stay) if phase == "backward" else (stay, passing)
        tile = AttentionTile(queries=q, keys=k, ctas_per_sm=1, head_dim=8)
        tiles = np.array([[stay, passing, 1, 8, 0, 0, int(phase == "backward")]])
        found = grids(shapes_of(every), tiles, policy, 4)[:, BLOCKS]
        assert list(found) == [sum(blocks_by_hand(one, tile, 1, phase)) for one in every]


def test_keys_are_split_where_one_token_is_decoded_and_never_where_waves_are_full():
    few, many = (Attention(batch, 32, 1, 8192, 128, kv_heads=8) for batch in (1, 64))
    for machine, library in CALLS:
        kernels = serves(machine, library)
        if kernels.split is None:
            continue
        said = ATTENTION.account(machine, AttentionCalls(shapes_of([few, many]), library=library))
        assert said["split"][0] > 1
        assert said["split"][1] == 1


def test_a_plan_for_eight_heads_gives_one_head_an_eighth_of_the_threadblocks():
    machine, one = load_hardware("h200"), Attention(1, 4, 1, 131072, 128, kv_heads=1)
    parts = [
        ATTENTION.account(machine, AttentionCalls(shapes_of([one]), library=library))["split"][0]
        for library in ("vllm", "vllm-8-heads")
    ]
    assert parts == [28, 15]  # 28: 85% of the 32 that vLLM asks for at most


# Times.


def time_of(machine, attention, library, phase="forward"):
    return attention_time(machine, attention, phase, library).time_us


def test_bytes_of_the_way_back_are_those_of_its_tensors():
    """2 sequences, 4 heads of 16 that share 2 of K and V, 8 queries, 8 keys, 2 bytes each."""
    kernels = load_attention_kernels("flash-attention-2-sm80")
    shapes = shapes_of([Attention(2, 4, 8, 8, 16, kv_heads=2)])
    moved = bytes_of(shapes, np.zeros((1, 17)), kernels, "backward", 2.0)
    q, k, row = 2 * 4 * 8 * 16 * 2, 2 * 2 * 8 * 16 * 2, 2 * 4 * 8 * 4
    assert moved.read == q + 2 * k + 2 * q + 2 * row  # Q, K, V, dO, O; statistics, and dO.O
    assert moved.written == q + 2 * k
    assert moved.copied == 0
    before, sums = 2 * q + row, 2 * q + 2 * q + q  # dO, O to dO.O; dQ zeroed, read in fp32, written
    shared = 2 * 2 * 2 * k + 2 * k  # dK and dV of every head written and read, their sums written
    assert moved.beside == before + sums + shared


def test_results_of_parts_of_the_keys_are_written_and_read():
    one = Attention(1, 8, 1, 8192, 128, kv_heads=1)
    kernels = load_attention_kernels("vllm-sm80")
    shapes = shapes_of([one])
    grid = grids(shapes, tile_table(kernels), policy_of(kernels, "forward"), 108)
    parts = grid[0, SPLITS]
    assert parts > 1
    moved = bytes_of(shapes, grid, kernels, "forward", 2.0)
    assert moved.beside == 2 * parts * 8 * (128 + 1) * 4  # O and a statistic a head, in fp32


def parts_of_time(kernels, one, phase="forward"):
    """Of a call on an A100, and the number of its threadblocks."""
    machine, shapes, tiles = load_hardware(GPUS[0]), shapes_of([one]), tile_table(kernels)
    grid = grids(shapes, tiles, policy_of(kernels, phase), machine.sms)
    found = times(machine, kernels, phase, shapes, grid, tiles, replayed=False)
    return machine, {name: float(value[0]) for name, value in found._asdict().items()}, grid[0]


@pytest.mark.parametrize(("phase", "moved"), [("forward", 2), ("backward", 4)])
def test_one_threadblock_of_one_block_takes_both_and_its_own_rows(phase, moved):
    """Q comes and O goes, or K and V come and dK and dV go, 2 bytes each, by the SM's port."""
    kernels = load_attention_kernels("flash-attention-2-sm80")
    tile = next(
        tile for tile in kernels.tiles if (tile.phase == "backward") == (phase == "backward")
    )
    machine, found, grid = parts_of_time(
        kernels, Attention(1, 1, tile.queries, tile.keys, 64), phase
    )
    assert (grid[COUNT], grid[BLOCKS]) == (1, 1)
    constants, clock = kernels.constants, machine.clock_mhz
    products = 5 if phase == "backward" else 2
    rate = machine.format(machine.dtype).macs_per_clk * constants.efficiency
    rate *= constants.backward if phase == "backward" else 1
    pairs = tile.queries * tile.keys
    block = pairs * (products * 64 / rate + constants.softmax / 16) / clock
    rows = tile.keys if phase == "backward" else tile.queries
    port = machine.sm.port_bytes_per_clk * clock
    own = rows * 2 * 64 * moved / min(port, machine.l2.gbps * 1e3 / machine.sms)
    assert found["chip"] == pytest.approx(block + constants.cta_us + own)


def test_the_way_back_has_a_kernel_before_it_and_one_behind():
    kernels = load_attention_kernels("flash-attention-2-sm80")
    one = Attention(1, 4, 128, 128, 64)
    machine, found, _ = parts_of_time(kernels, one, "backward")
    q, row = 4 * 128 * 64 * 2, 4 * 128 * 4
    beside = 2 * q + row + 2 * (2 * q) + q
    at_l2 = beside / (machine.l2.gbps * 1e3)
    assert found["after"] == pytest.approx(at_l2 + 2 * machine.timing.reduce_us)


@pytest.mark.parametrize(("head_dim", "held"), [(16, 32), (128, 16)])
def test_tokens_are_copied_as_many_at_once_as_blocks_or_threads_of_an_sm(head_dim, held):
    kernels = load_attention_kernels("vllm-sm80")
    machine, found, _ = parts_of_time(kernels, Attention(64, 1, 4096, 4096, head_dim))
    tokens = 64 * 4096 / (machine.sms * held) * kernels.constants.token_us
    assert found["before"] == pytest.approx(tokens)


@served
def test_bytes_of_a_call_are_those_of_its_tensors(machine, library):
    attention = Attention(32, 8, 512, 512, 64, kv_heads=2)
    found = attention_time(machine, attention, library=library)
    assert (found.read_bytes, found.written_bytes) == (
        attention.traffic("forward").read,
        attention.traffic("forward").written,
    )
    assert found.flops == 2 * found.macs == 2 * attention.macs("forward")
    copied = {"nothing": 0, "keys": 2, "all": 2}[serves(machine, library).before]
    new = 2 * attention.kv_heads + (8 if serves(machine, library).before == "all" else 0)
    assert found.beside_bytes == copied * 32 * 512 * new * 64 * 2


@served
@settings(deadline=None, max_examples=25)
@given(
    batch=st.integers(1, 64),
    group=st.sampled_from([1, 4, 8]),
    queries=st.sampled_from([1, 17, 128, 1000, 4096]),
    more=st.sampled_from([0, 1, 4096]),
)
def test_less_work_and_faster_memory_never_cost_time(machine, library, batch, group, queries, more):
    full = Attention(batch, 16, queries, queries + more, 128, causal=False, kv_heads=16 // group)
    causal = Attention(batch, 16, queries, queries + more, 128, kv_heads=16 // group)
    window = Attention(
        batch, 16, queries, queries + more, 128, kv_heads=16 // group, window=max(1, queries // 3)
    )
    times = [time_of(machine, one, library) for one in (window, causal, full)]
    assert times[0] <= times[1] * (1 + 1e-9)
    assert times[1] <= times[2] * (1 + 1e-9)
    dram = machine.dram.model_copy(update={"gbps": 2 * machine.dram.gbps})
    l2 = machine.l2.model_copy(update={"gbps": 2 * machine.l2.gbps})
    for faster in ({"dram": dram}, {"l2": l2}, {"clock_mhz": 2 * machine.clock_mhz}):
        quick = time_of(machine.model_copy(update=faster), causal, library)
        assert quick <= times[1] * (1 + 1e-9)


@pytest.mark.parametrize("queries", [512, 2048, 8192])
@served
def test_more_multiprocessors_never_cost_time_where_keys_are_whole(machine, library, queries):
    attention = Attention(8, 64, queries, queries, 128)  # of one sequence: enough for every SM
    times = [
        time_of(machine.model_copy(update={"sms": sms}), attention, library)
        for sms in range(20, 200, 9)
    ]
    assert all(more <= less * (1 + 1e-9) for less, more in itertools.pairwise(times))


@served
def test_shared_keys_cost_no_more_than_keys_of_ones_own(machine, library):
    for queries, keys in ((1, 8192), (2048, 2048)):
        times = [
            time_of(machine, Attention(16, 32, queries, keys, 128, kv_heads=kv), library)
            for kv in (1, 4, 8, 32)
        ]
        assert times == sorted(times)


@served
def test_a_head_is_padded_to_the_next_step(machine, library):
    if library == "tensorrt-llm":
        pytest.skip("tiles do not depend on head_dim in the same way")
    times = [time_of(machine, Attention(8, 16, 2048, 2048, d), library) for d in (65, 80, 96, 128)]
    assert times == sorted(times)
    odd, even = (Attention(8, 16, 4096, 4096, d) for d in (72, 96))
    # Computed alike; the odd one moves fewer bytes.
    assert 0.9 < time_of(machine, odd, library) / time_of(machine, even, library) <= 1


@pytest.mark.parametrize("gpu", GPUS)
def test_backward_takes_two_and_a_half_times_the_products_and_somewhat_more_time(gpu):
    machine, attention = load_hardware(gpu), Attention(4, 16, 4096, 4096, 128)
    forward, backward = (
        attention_time(machine, attention, phase, "flash-attention-2")
        for phase in ("forward", "backward")
    )
    assert backward.macs == 2.5 * forward.macs
    assert 1.8 < backward.time_us / forward.time_us < 4


def test_equal_threadblocks_take_whole_rounds():
    """Without masks threadblocks are alike: 2S of them take twice as long as S, and so 2S - 1."""
    machine = load_hardware("h100-sxm")
    dram = machine.dram.model_copy(update={"gbps": 1e9})
    quick = machine.model_copy(update={"dram": dram})
    launch = serves(machine, "vllm").constants.launch_us
    once, less, twice, thrice = (
        time_of(quick, Attention(n, 1, 128, 65536, 128, causal=False), "vllm") - launch
        for n in (132, 263, 264, 265)
    )
    assert twice == pytest.approx(2 * once, rel=1e-4)
    assert less == pytest.approx(twice, rel=1e-4)
    assert thrice == pytest.approx(3 * once, rel=1e-4)


def test_a_cache_below_half_of_l2_is_hot_when_it_is_replayed():
    machine, small = load_hardware("h100-sxm"), Attention(8, 8, 1, 2048, 128)
    cold, hot = (
        attention_time(machine, small, library="vllm", replayed=replayed).time_us
        for replayed in (False, True)
    )
    large = Attention(512, 8, 1, 2048, 128)
    beyond = [
        attention_time(machine, large, library="vllm", replayed=replayed).time_us
        for replayed in (False, True)
    ]
    assert hot < cold
    assert beyond[0] == beyond[1]


def test_what_a_machine_has_not_is_said():
    attention = Attention(1, 8, 128, 128, 128)
    with pytest.raises(SpecError, match="has no fused attention"):
        attention_time(load_hardware("systolic-128x128"), attention)
    with pytest.raises(SpecError, match="has no kernels of fused attention"):
        attention_time(load_hardware("v100"), attention)
    with pytest.raises(NmsimError, match="attention library 'vlm'"):
        attention_time(load_hardware("h200"), attention, library="vlm")
    with pytest.raises(SpecError, match="no attention kernel of backward"):
        attention_time(load_hardware("h200"), attention, "backward", "vllm")
    wide = Attention(1, 8, 128, 128, 512)
    with pytest.raises(SpecError, match="no attention kernel of forward for head_dim 512"):
        attention_time(load_hardware("h200"), wide, library="vllm")


@pytest.mark.parametrize("name", list(ATTENTION_KERNELS))
def test_a_set_of_kernels_says_its_source_and_fits_at_most_eight_constants(name):
    kernels = load_attention_kernels(name)
    assert len(kernels.source) > 100
    assert len(kernels.fitted) <= 8
    assert set(kernels.fitted) <= set(type(kernels.constants).model_fields)
    for tile in kernels.tiles:
        assert tile.phase == "forward" or tile.split is None
