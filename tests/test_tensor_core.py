"""The cycle model of a GPU: bounds, waves, stages, and what it shares with the closed form."""

import inspect
import re
import types

import numpy as np
import pytest

import nmsim
from nmsim import jit
from nmsim.errors import UnknownName
from nmsim.gemm import Gemm
from nmsim.machines import load_hardware, simulate
from nmsim.machines.gpu import analytical, cycle, waves
from nmsim.machines.gpu.call import Call, resolve
from nmsim.machines.gpu.chip import CTAS, STAGES, TM, TN
from nmsim.machines.gpu.l2.bound import most_read
from nmsim.machines.gpu.launch import copy_clocks, launch_of
from nmsim.machines.gpu.routines import call_times, least_times
from nmsim.machines.gpu.sm.multiprocessor import mma_ticks, rate
from nmsim.machines.gpu.sm.state import TICKS
from nmsim.machines.gpu.tile import core_of, instruction_of, tile_of
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import Pattern

A100 = load_hardware("a100-sxm4-80gb")
FOLLOWS = load_hardware("a100-sxm4-80gb", masks="always", library="cusparselt")
H100 = load_hardware("h100-sxm")
# Where loads take as long however busy device memory is, as waves are compared that load it unlike.
QUIET = load_hardware(A100, **{"cycle.queue_clk": 0.0, "dram.latency_clk": A100.l2.latency_clk})
BF16 = Call("bf16")
SPARSE = Call("bf16", Pattern(2, 4), "b")

SIZES = np.array(
    [
        (m, n, k, 1)
        for m in (2, 16, 96, 256, 1000, 4096)
        for n, k in ((128, 8192), (4096, 4096), (16384, 512), (1000, 96), (8192, 64))
    ],
    np.float64,
)


COLUMNS = {"stages": STAGES, "ctas": CTAS}


def times(machine, call, *sizes):
    rows = np.array([(*size, 1)[:4] for size in sizes], np.float64)
    return cycle.times(machine, call, rows)


def on(kernel, call=BF16):
    """The call with one kernel of its library."""
    return Call(call.dtype, call.pattern, call.sparse_operand, call.library, kernel)


def outcome(call, *sizes, split=1, machine=A100, **row):
    """A GEMM on the first kernel that the call may use, some columns of its row replaced."""
    found = resolve(machine, call)
    chosen = found.table[0].copy()
    for column, value in row.items():
        chosen[COLUMNS[column]] = value
    return cycle.run_kernel(machine, call, found, chosen, split, (*sizes, 1)[:4])


def scaled(machine, **update):
    return machine.model_copy(update=update)


def test_no_gemm_beats_tensor_cores_memory_or_launch():
    us = cycle.times(A100, BF16, SIZES)
    m, n, k, _ = SIZES.T
    assert (us >= m * n * k / (A100.peak_macs * A100.clock_mhz)).all()
    once = 2 * (m * k + n * k) / (A100.dram.gbps * 1e3)
    assert (us >= once).all()
    assert (us >= A100.timing.launch_us).all()


def test_what_no_gemm_beats_by_hand():
    """Half of the products at the peak, or A, and half of B without its metadata, from memory."""
    sizes = np.array([[4096, 4096, 4096, 1], [16, 4096, 4096, 2]], np.float64)
    a, b = 2 * 16 * 4096, 2 * 4096 * 4096 // 2
    assert least_times(A100, SPARSE, sizes) == pytest.approx(
        [4096**3 / 2 / (108 * 1024 * 1410), 2 * (a + b) / (A100.dram.gbps * 1e3)]
    )


def test_a_large_gemm_comes_near_the_peak():
    us = times(A100, BF16, (8192, 8192, 8192))[0]
    share = 8192**3 / (A100.peak_macs * A100.clock_mhz) / us
    assert 0.8 < share < 0.95


@pytest.mark.parametrize("waves", [1, 2, 4])
def test_one_tile_more_than_whole_waves_is_another_wave(waves):
    """256 x 128 tiles, 108 SMs: 54 rows of tiles by 2 columns are a wave."""
    call, m = on("256x128x32_3"), 256 * 54 * waves
    before, full, one = (
        outcome(call, rows, 256, 4096, machine=QUIET).clocks for rows in (m - 255, m, m + 1)
    )
    assert full - before < 0.03 * full  # the wave is there already
    # Less than a wave: L2 and memory, which have little more to serve, come near to the SMs' time.
    assert one - full > 0.8 * (full - A100.timing.launch_us * A100.clock_mhz) / waves


def test_a_wave_of_one_tile_finds_memory_idle():
    """Loads take their mean latency, so what a last tile adds is less than what a full wave is."""
    full, one = (outcome(on("256x128x32_3"), 256 * 54 + i, 256, 4096) for i in (0, 1))
    latency, after = (found.waves[0].ran.feed.latency for found in (full, one))
    assert after < latency
    assert full.own < one.own < 2 * full.own


def test_a_last_wave_reads_again_by_its_share():
    """256 tiles in a row: B is read once, whatever is left for the last wave."""
    once = 2 * (128 + 65536) * 8192
    found = outcome(on("128x256x32_3"), 128, 65536, 8192)
    assert once < found.read_bytes < 1.02 * once


def test_results_leave_beside_the_next_threadblock():
    one, two = (outcome(on("256x128x32_3"), 256 * 54 * w, 256, 2048, machine=QUIET) for w in (1, 2))
    time = two.waves[0].tile
    assert 0 < time.drain < time.epilogue
    assert two.own == pytest.approx(2 * one.own - time.drain, abs=1)
    launch = A100.cycle.launch_us * A100.clock_mhz
    assert two.clocks - launch < 2 * (one.clocks - launch) - 0.9 * time.drain


def test_a_long_k_is_split_and_the_parts_are_added_up():
    whole, parts = (outcome(on("64x64x64_3"), 128, 128, 16384, split=s) for s in (1, 8))
    assert parts.clocks < whole.clocks / 2
    assert parts.tiles == 8 * whole.tiles
    assert "split-k reduction" in parts.shares
    assert "split-k reduction" not in whole.shares
    many = outcome(on("64x64x64_3"), 2048, 2048, 512, split=8)
    assert many.clocks > outcome(on("64x64x64_3"), 2048, 2048, 512).clocks


def test_fewer_stages_wait_longer_for_memory():
    waits, clocks = [], []
    for stages in (2, 3, 5):
        found = outcome(on("64x64x64_5"), 512, 512, 8192, stages=stages)
        waits.append(found.waves[0].tile.main_waits.memory)
        clocks.append(found.clocks)
    assert waits[0] > waits[1] > waits[2]
    assert clocks[0] > clocks[1] > clocks[2]


def test_more_threadblocks_on_an_sm_hide_latency():
    alone, four = (outcome(on("32x32x128_2"), 512, 3456, 2048, ctas=c) for c in (1, 4))
    assert four.clocks < 0.8 * alone.clocks
    assert sum(wave.rounds for wave in alone.waves) == 4 * sum(w.rounds for w in four.waves)


@pytest.mark.parametrize("size", [(4096, 4096, 4096), (96, 4096, 512), (1, 512, 512)])
def test_more_sms_are_never_slower(size):
    found = [outcome(BF16, *size, machine=scaled(A100, sms=sms)).clocks for sms in (27, 54, 108)]
    assert found[0] >= 0.99 * found[1] >= 0.98 * found[2]


def test_copies_in_one_launch_share_waves():
    one = outcome(on("128x128x32_5"), 128, 128, 1024)
    many = outcome(on("128x128x32_5"), 128, 128, 1024, 108)
    assert sum(wave.rounds for wave in many.waves) == sum(wave.rounds for wave in one.waves) == 1
    assert many.clocks < 3 * one.clocks
    assert many.tiles == 108 * one.tiles


def test_both_fidelities_agree_within_half():
    slow = cycle.times(A100, BF16, SIZES)
    fast = analytical.times(A100, BF16, SIZES)
    apart = np.abs(np.log(slow / fast))
    assert apart.max() < np.log(1.5)
    assert apart.mean() < 0.1


TURNED = [1, 0, 2, 3, 4, 6, 5, 7, 9, 8, 11, 10, 12, 14, 13, 16, 15, 17]
"""Columns of a kernel table with the operands exchanged."""


def test_a_compressed_operand_may_be_either():
    """Turning a GEMM with its kernel and its compressed operand changes nothing."""
    turned = Call("bf16", Pattern(2, 4), "a")
    found, other = resolve(A100, SPARSE), resolve(A100, turned)
    tall, wide = found.table[0], found.table[0][TURNED]
    one = cycle.run_kernel(A100, SPARSE, found, tall, 1, (512, 384, 2048, 1))
    two = cycle.run_kernel(A100, turned, other, wide, 1, (384, 512, 2048, 1))
    assert one == two


@pytest.mark.parametrize(
    ("call", "k", "measured"),
    [
        (BF16, 16, 1024),  # 312 TFLOP/s (NVIDIA, A100 whitepaper)
        (SPARSE, 32, 1979.1),  # Sun et al., TPDS 2023, Table 6
        (SPARSE, 16, 1290.5),
    ],
)
def test_the_machines_instructions_reach_measured_rates(call, k, measured):
    found = resolve(A100, call)
    own = instruction_of(A100, call.dtype, found)
    share = k / own.k
    shape = own._replace(
        k=k, cycles=own.cycles * share, metadata_bytes=int(own.metadata_bytes * share)
    )
    assert rate(core_of(A100, "bf16"), shape, warps=8, ilp=6) == pytest.approx(measured, rel=0.03)


def test_instructions_are_as_deep_as_their_format_allows():
    int8 = Call("int8")
    assert instruction_of(A100, "int8", resolve(A100, int8)).k == 32
    assert instruction_of(A100, "bf16", resolve(A100, BF16)).k == 16
    sparse = instruction_of(A100, "bf16", resolve(A100, SPARSE))
    assert (sparse.k, sparse.keep, sparse.group, sparse.metadata_bytes) == (32, 2, 4, 64)
    ticks = mma_ticks(core_of(A100, "bf16"), sparse)
    assert ticks / TICKS == pytest.approx(4 * 16 * 8 * 32 / 1979, rel=0.01)


def test_cuda_cores_run_the_same_way():
    us = times(A100, Call("fp32"), (2048, 2048, 2048))[0]
    peak = 2048**3 / (A100.sms * 64 * A100.clock_mhz)
    assert peak < us < 1.4 * peak


def hopper_tile(*sides):
    found = resolve(H100, BF16)
    row = next(row for row in found.table if (row[TM], row[TN]) == sides)
    return tile_of(row, instruction_of(H100, "bf16", found), 16, swapped=False)


def test_four_warps_share_an_instruction_that_reads_shared_memory():
    tile = hopper_tile(256, 128)
    one = tile.instruction
    assert (tile.warps, tile.warps_n, one.m, one.n, one.k) == (8, 1, 16, 256, 16)
    assert one.sharers * one.shared_bytes == 2 * 16 * (64 + 256)
    assert rate(core_of(H100, "bf16"), one, warps=8, ilp=2) == pytest.approx(2048, rel=0.01)


def test_narrow_instructions_wait_for_their_rows_of_a():
    one = hopper_tile(8, 64).instruction
    reached = rate(core_of(H100, "bf16"), one, warps=4, ilp=1)
    least = 2 * 16 * (64 + 8) / H100.sm.shared_bytes_per_clk
    assert reached < 64 * 8 * 16 / least
    assert reached == pytest.approx(64 * 8 * 16 / least, rel=0.15)


@pytest.mark.parametrize("machine", [A100, H100], ids=["A100", "H100"])
def test_every_kernel_is_a_tile(machine):
    for library in machine.libraries:
        for dtype in library.dtypes:
            pattern = Pattern(2, 4) if library.sparse else Pattern(1, 1)
            call = Call(dtype, pattern, "b" if library.sparse else "", library.library)
            found = resolve(machine, call)
            instruction = instruction_of(machine, dtype, found)
            for row in found.table:
                tile = tile_of(row, instruction, 16, swapped=library.sparse)
                assert {tile.m, tile.n} == {int(row[TM]), int(row[TN])}


@pytest.mark.parametrize("pattern", [Pattern(1, 4), Pattern(3, 4), Pattern(4, 8), Pattern(1, 16)])
def test_a_hypothetical_pattern_reaches_its_own_rate(pattern):
    form = A100.format("bf16")
    faster = form.model_copy(update={"sparse_macs_per_clk": 1024 / pattern.density})
    machine = scaled(A100, native=(pattern,), formats=(faster,))
    found = resolve(machine, Call("bf16", pattern, "b"))
    instruction = instruction_of(machine, "bf16", found)
    reached = rate(core_of(machine, "bf16"), instruction, warps=8, ilp=8)
    assert reached == pytest.approx(1024 / pattern.density, rel=0.03)


def test_a_run_says_what_bound_it():
    large = simulate(A100, SparseGemm.dense(Gemm(4096, 4096, 4096)))
    thin = simulate(A100, SparseGemm.dense(Gemm(16, 16384, 8192)))
    tiny = simulate(A100, SparseGemm.dense(Gemm(16, 16, 64)))
    assert large.bound in ("compute", "shared memory")
    assert thin.bound == "dram bandwidth"
    assert tiny.bound == "launch"
    assert large.compute_cycles > 0.8 * large.cycles
    assert {large.bound, thin.bound, tiny.bound} <= set(cycle.BOUNDS)


@pytest.mark.parametrize(
    ("waited", "memory_cycles", "told"),
    [
        ("tensor", 0, "compute"),
        ("store", 0, "wave overhead"),
        ("memory", 880, "load latency"),
        ("memory", 881, "sm port"),
    ],
)
def test_what_a_main_loop_waits_for(waited, memory_cycles, told):
    """The port is what memory waits for if it is busy in more than 80 % of 100 and 1000 clocks."""
    time = types.SimpleNamespace(bound=waited, memory_cycles=memory_cycles, prologue=100, main=1000)
    assert cycle.loop_bound(types.SimpleNamespace(tile=time)) == told


def mutant(module, formula, other, monkeypatch):
    """A copy of a module, run as plain Python, with one formula changed."""
    source = inspect.getsource(module)
    assert source.count(formula) == 1
    monkeypatch.setattr(jit, "compiled", lambda function: function)
    copy = types.ModuleType(module.__name__)
    exec(compile(source.replace(formula, other), module.__name__, "exec"), vars(copy))
    return copy


FEW = SIZES[::4]


@pytest.mark.parametrize(
    ("formula", "other"),
    [
        ("grid.tiles * grid.fed / chip.l2", "grid.tiles * grid.fed / chip.l2 * 4"),
        ('bandwidth": grid.read / chip.dram', 'bandwidth": 2 * grid.read / chip.dram'),
        ("(a + b) * held_of(chip, form, sizes)", "(a + b) / 2"),
        ("_Kind(1, rest", "_Kind(2, rest"),
    ],
)
def test_the_cycle_model_has_formulas_of_its_own(formula, other, monkeypatch):
    slow, fast = (model.times(A100, BF16, SIZES) for model in (cycle, analytical))
    changed = mutant(waves, formula, other, monkeypatch)
    monkeypatch.setattr(cycle, "waves_of", changed.waves_of)
    monkeypatch.setattr(cycle, "grid_of", changed.grid_of)
    monkeypatch.setattr(cycle, "served", changed.served)
    assert (cycle.times(A100, BF16, SIZES) != slow).any()
    assert (analytical.times(A100, BF16, SIZES) == fast).all()


@pytest.mark.parametrize(
    ("formula", "other"),
    [
        ("running * fed / chip.l2", "running * fed / chip.l2 * 4"),
        ("chip.overlap * dram, dram +", "dram, dram +"),
        ("full = np.floor(tiles / slots)", "full = np.floor(tiles / slots) + 1"),
    ],
)
def test_the_closed_form_has_formulas_of_its_own(formula, other, monkeypatch):
    slow, fast = (model.times(A100, BF16, FEW) for model in (cycle, analytical))
    changed = mutant(analytical, formula, other, monkeypatch)
    monkeypatch.setattr(analytical, "_many", changed._many)
    assert (analytical.times(A100, BF16, FEW) != fast).any()
    assert (cycle.times(A100, BF16, FEW) == slow).all()


def imports(module):
    """Names of the modules of a GPU's folder that a module imports from."""
    found = re.findall(
        r"^from nmsim\.machines\.gpu(?:\.(\w+)\S*)? import (.*)$",
        inspect.getsource(module),
        re.MULTILINE,
    )
    return {name for first, rest in found for name in (first, *re.findall(r"\w+", rest)) if name}


def test_neither_fidelity_knows_the_other():
    assert not imports(cycle) & {"analytical"}
    assert not imports(waves) & {"analytical"}
    assert not imports(analytical) & {"cycle", "waves", "slots", "tile", "sm"}


def test_the_closed_forms_constants_do_not_touch_a_kernels_cycles():
    found = resolve(A100, BF16)
    timing = A100.timing.model_copy(update={"load_us": 5.0, "wave_us": 5.0, "overlap": 1.0})
    changed = scaled(A100, timing=timing)
    other = resolve(changed, BF16)
    for size in ((256, 256, 256, 1), (4096, 4096, 1024, 1)):
        one = cycle.run_kernel(A100, BF16, found, found.table[2], 1, size)
        two = cycle.run_kernel(changed, BF16, other, found.table[2], 1, size)
        assert one == two


def test_a_kernel_can_be_forced_and_must_exist():
    gemms = [Gemm(4096, 4096, 4096)]
    for fidelity in ("cycle", "analytical"):
        free, forced = (
            nmsim.simulate(
                gemms, hardware=load_hardware("a100-sxm4-80gb", **fields), fidelity=fidelity
            )
            for fields in ({}, {"kernel": "64x64x64_3"})
        )
        assert forced.kernel[0].startswith("cublas 64x64x64")
        assert not free.kernel[0].startswith("cublas 64x64x64")
        assert forced.time_us[0] > free.time_us[0]
    with pytest.raises(UnknownName, match="unknown kernel 'tall'"):
        nmsim.simulate(gemms, hardware=load_hardware("a100-sxm4-80gb", kernel="tall"))
    # A name that only the sparse library has leaves the dense call to its own choice.
    other = load_hardware("a100-sxm4-80gb", kernel="256x128x64_3")
    assert nmsim.simulate(gemms, hardware=other).time_us[0] == pytest.approx(
        nmsim.simulate(gemms, hardware="a100-sxm4-80gb").time_us[0]
    )


def simulated(machine, fidelity, sizes):
    table = nmsim.simulate([Gemm(*size) for size in sizes], hardware=machine, fidelity=fidelity)
    return table.cycles.to_numpy(), table


@pytest.mark.parametrize("fidelity", ["cycle", "analytical"])
@pytest.mark.parametrize(
    ("name", "dtype"),
    [("a100-sxm4-80gb", "bf16"), ("a100-sxm4-80gb", "int8"), ("rtx3090", "fp16")],
)
def test_a_simulated_gemm_takes_the_time_of_its_call(name, dtype, fidelity):
    machine = load_hardware(name, dtype=dtype)
    sizes = [
        (m, n, k)
        for m in (1, 2, 3, 4, 5, 6, 7, 8, 100, 2048)
        for n, k in ((64, 576), (1000, 2048), (4096, 1024), (8192, 28672))
    ]
    rows = np.array([(*size, 1) for size in sizes], np.float64)
    clocks = call_times(machine, Call(dtype), rows, fidelity) * machine.clock_mhz
    cycles, table = simulated(machine, fidelity, sizes)
    assert (np.ceil(clocks - 1e-6) == cycles).all()
    vector = table.kernel.str.endswith("matrix-vector")
    rows_of = resolve(machine, Call(dtype)).kernels.gemv_rows
    assert vector.any() == (rows_of > 0)
    assert not vector[table.m > rows_of].any()
    assert table.tiles[vector].isna().all()
    assert (table.tiles[~vector] > 0).all()
    assert (table.dram_read_bytes >= table.n * table.k).all()


@pytest.mark.parametrize("fidelity", ["cycle", "analytical"])
def test_a_named_kernel_is_not_passed_over_for_a_matrix_vector_kernel(fidelity):
    size = (1, 1024, 1024)
    chosen = load_hardware("rtx3090")
    forced = load_hardware("rtx3090", kernel="64x64x64_3")
    free, named = (simulated(m, fidelity, [size])[1].iloc[0] for m in (chosen, forced))
    assert free.kernel == "cublas matrix-vector"
    assert free.time_us < named.time_us
    assert named.kernel.startswith("cublas 64x64x64_3")
    row = np.array([(*size, 1)], np.float64)
    call = on("64x64x64_3", Call("fp16"))
    clocks = call_times(chosen, call, row, fidelity)[0] * chosen.clock_mhz
    assert named.cycles == np.ceil(clocks)


def test_slots_that_no_tile_takes_cost_nothing():
    one, many = (
        times(load_hardware("a100-sxm4-80gb", sms=sms), on("64x64x64_3"), (256, 256, 256))
        for sms in (16, 65536)
    )
    assert one == pytest.approx(many, rel=0.05)


def test_waves_are_tiles_over_slots():
    run_of = cycle.simulate(A100, SparseGemm.dense(Gemm(4096, 4096, 1024)))
    assert run_of.kernel == "cublas 256x128x32_3"
    assert run_of.waves == run_of.tiles / 108 == 512 / 108


def test_a_step_says_per_gemm_why_it_takes_what_it_takes():
    table = nmsim.simulate("bert-large", hardware="a100-sxm4-80gb", recipe="asp", batch=8)
    assert set(table.engine) == {"tensor-core"}
    assert (table.bound != "").all()
    assert (table.kernel.str.contains("cublas|cutlass-profiler|flash-attention-2 ")).all()
    assert (table.tiles > 0).all()
    assert (table.waves > 0).all()
    weights = table[(table.phase == "forward") & (table.b_pattern == "2:4")]
    assert weights.kernel.str.startswith("cutlass-profiler").all()
    assert (table[table.phase != "forward"].speedup == 1).all()
    assert (table.macs_useful <= table.macs_issued).all()
    assert (table.utilization <= 1).all()


def test_the_note_on_two_masks_names_the_operand_that_gains_nothing():
    def masked(rows):
        return Mask.promising(
            Pattern(2, 4), rows, 512, regular=True, source=lambda: pytest.fail("no bits")
        )

    work = SparseGemm(Gemm(512, 512, 512, phase="update"), masked(512), masked(512))
    result = simulate(load_hardware("a100-sxm4-80gb"), work, "analytical")
    assert "two masks: that of B gains nothing" in result.note
    assert "weight" not in result.note


@pytest.mark.parametrize("fidelity", ["cycle", "analytical"])
def test_a_copy_that_brings_k_last_comes_before_the_gemm(fidelity):
    """In update the gradient's K is not last: the copy takes a launch, and is read and written."""
    m, n, k = 512, 384, 2048
    mask = Mask.of(np.tile([True, False], (n, k // 2)), Pattern(2, 4))
    plain, copied = (
        simulate(
            FOLLOWS,
            SparseGemm(Gemm(m, n, k, 1, "fc", "update", 1, kind), Mask.dense(m, k), mask),
            fidelity,
        )
        for kind in ("gemm", "linear")
    )
    assert "copied" in copied.note
    assert "copied" not in plain.note
    moved = m * k * 2
    assert copied.dram_read_bytes - plain.dram_read_bytes == moved
    assert copied.dram_write_bytes - plain.dram_write_bytes == moved
    served = resolve(A100, Call(A100.dtype, Pattern(2, 4), "b"))
    per_us = A100.clock_mhz
    by_hand = served.chip.launch + moved / served.chip.dram + moved / served.chip.write
    assert served.chip.dram * per_us == pytest.approx(A100.dram.gbps * 1e3)
    assert copied.cycles - plain.cycles == pytest.approx(by_hand, abs=1)


def packed(rows, k):
    return Mask.promising(
        Pattern(2, 4), rows, k, regular=True, source=lambda: pytest.fail("no bits")
    )


@pytest.mark.parametrize("fidelity", ["analytical", "cycle"])
def test_counts_of_a_launch_by_hand(fidelity):
    """Compressed weights of three products, five times over, on tiles of 128 x 128."""
    m, n, k, copies, repeat = 512, 768, 1024, 3, 5
    gemm = Gemm(m, n, k, count=copies, repeat=repeat)
    work = SparseGemm(gemm, Mask.dense(m * copies, k), packed(n * copies, k))
    run = simulate(FOLLOWS, work, fidelity)
    assert run.kernel == "cusparselt 128x128x64_3"
    a, metadata = m * k * 2, n * k // 2 * 2 // 8
    b = n * k // 2 * 2 + metadata
    times = copies * repeat
    assert run.tiles == 4 * 6 * times
    assert run.macs_issued == m * n * k // 2 * times
    assert run.metadata_bytes == metadata * times
    assert run.dram_read_bytes == (a + b) * times
    assert run.dram_write_bytes == m * n * 2 * times
    # Four warps of 64 x 64 read each row of A, and each column of B, twice.
    assert run.sram_read_bytes == (a * (6 * 2) + b * (4 * 2)) * times
    # No SM has two of 72 tiles: its tensor cores work hardly longer than at their peak.
    assert run.compute_cycles == pytest.approx(128 * 128 * k // 2 / 1024 * repeat, rel=0.05)


@pytest.mark.parametrize("fidelity", ["analytical", "cycle"])
@pytest.mark.parametrize(("side", "dense"), [("a", 768 * 1024), ("a", 100_000), ("b", 512 * 1024)])
def test_a_dense_operand_that_is_copied_is_read_and_written_once_more(fidelity, side, dense):
    """Both operands of an update are transposed; pixels behind columns are copied, not columns."""
    m, n, k = 512, 768, 1024
    gemm = Gemm(
        m, n, k, kind="linear", phase="update", b_elements=100_000 if dense == 1e5 else None
    )
    masks = (packed(m, k), Mask.dense(n, k)) if side == "a" else (Mask.dense(m, k), packed(n, k))
    run = simulate(FOLLOWS, SparseGemm(gemm, *masks), fidelity)
    masked = (m if side == "a" else n) * k // 2
    assert run.metadata_bytes == masked * 2 // 8
    assert run.dram_read_bytes == 2 * dense + 2 * masked + run.metadata_bytes + 2 * dense
    assert run.dram_write_bytes == 2 * m * n + 2 * dense
    launch = launch_of(FOLLOWS, SparseGemm(gemm, *masks))
    chip = launch.resolved.chip
    assert copy_clocks(launch) == pytest.approx(
        chip.launch + 2 * dense / chip.dram + 2 * dense / chip.write
    )


def test_the_dense_operand_of_every_group_is_copied():
    """Three groups of 768 x 1024 elements of two bytes, read and written."""
    gemm = Gemm(512, 768, 1024, 3, kind="linear", phase="update")
    masks = packed(3 * 512, 1024), Mask.dense(3 * 768, 1024)
    launch = launch_of(FOLLOWS, SparseGemm(gemm, *masks))
    chip, moved = launch.resolved.chip, 3 * 768 * 1024 * 2
    assert launch.call.sparse_operand == "a"
    assert copy_clocks(launch) == pytest.approx(
        chip.launch + moved / chip.dram + moved / chip.write
    )


def grid(**update):
    """128 tiles on 108 multiprocessors of two slots; half of what they load is in L2."""
    sizes = {"down": 8, "across": 16, "copies": 1, "split": 1, "slices": 4, "slots": 216}
    made = waves.Grid(**sizes, sms=108, read=6.4e6, written=4e6, fed=1e5, padded=1.2e5, stored=0.5)
    return made._replace(**update)


def test_l2_and_device_memory_serve_the_launch_as_a_whole():
    """128 tiles of 100 kB; a quarter of the results stays in L2."""
    chip = resolve(A100, BF16).cycle_chip._replace(
        l2=5000.0, dram=1300.0, write=800.0, absorbed=1e6
    )
    taken = {"l2 bandwidth": 128 * 1e5 / 5000, "dram bandwidth": 6.4e6 / 1300}
    assert waves.served(chip, grid()) == pytest.approx(taken)
    assert waves.drained(chip, grid()) == pytest.approx(3e6 / 800)
    assert cycle._moving(chip, grid()) == pytest.approx(6.4e6 / 1300 + 3e6 / 800)
    # What fits in L2, and sums of parts of K, it does not take.
    for held in (grid(written=1e6), grid(split=2)):
        assert waves.drained(chip, held) == 0
    assert grid(read=1e9).missed == 1


def test_a_load_waits_for_device_memory_as_often_as_l2_has_it_not():
    """Half of what tiles load comes from 600 clocks away, and never sooner than from L2."""
    chip = resolve(A100, BF16).cycle_chip._replace(near=200.0, latency=600.0)
    assert waves.idle_latency(chip, grid()) == 400
    assert waves.idle_latency(chip._replace(latency=100.0), grid()) == 200


@pytest.mark.parametrize("busy", [0.25, 0.5, 1.0])
def test_latency_settles_where_memory_is_as_busy_as_it_says(busy):
    """Tiles that take 50,000 clocks and 20 more for each clock of latency."""
    chip = resolve(A100, BF16).cycle_chip._replace(near=160.0, latency=160.0, queue=640.0)
    latency = 160 + 640 * busy
    clocks = 50_000 + 20 * latency
    loaded = chip._replace(dram=6.4e6 / clocks / busy)
    found, taken = waves.settled(loaded, grid(), lambda one: 50_000 + 20 * one)
    assert found == pytest.approx(latency, abs=waves.LATENCY_STEP)
    assert taken == pytest.approx(clocks, rel=0.01)
    idle = waves.settled(chip._replace(queue=0.0), grid(), lambda one: 50_000 + 20 * one)
    assert idle == (160, 53_200)


@pytest.mark.parametrize(("own", "shared"), [(1000.0, 10.0), (700.0, 700.0), (3.0, 900.0)])
def test_side_by_side_is_the_longer_and_a_little_more(own, shared):
    found = cycle._together(own, shared)
    longer = max(own, shared)
    assert found == pytest.approx(longer * 2 ** (1 / 8) if own == shared else longer, rel=1e-6)
    assert found >= longer


@pytest.mark.parametrize("split", [1, 4])
def test_parts_of_k_are_read_one_after_another(split):
    """Three copies, K in parts: each part reads as a GEMM of its own, and may fit L2."""
    found = resolve(A100, BF16)
    row = found.table[0].copy()
    row[TM], row[TN] = 256, 64
    chip = found.cycle_chip._replace(l2_bytes=2.0 * (8192 + 8192) * 1024 * 2 / 4)
    tile = tile_of(row, instruction_of(A100, "bf16", found), 16, swapped=False)
    cut = waves.grid_of(chip, found.form, row, tile, split, (8192, 8192, 1024, 3))
    operand = 2 * 8192 * 1024 / split
    part = most_read(operand, operand, 32.0, 128.0, float(cut.slots), chip.l2_bytes)
    assert cut.read == 3 * split * part
    assert (part > 2 * operand) == (split == 1)


def test_a_launch_is_cut_into_tiles_by_hand():
    """A result of 300 x 500 in tiles of 256 x 64, K of 1000 in four parts of slices of 32."""
    found = resolve(A100, BF16)
    row = found.table[0].copy()
    row[TM], row[TN] = 256, 64
    tile = tile_of(row, instruction_of(A100, "bf16", found), 16, swapped=False)._replace(k=32)
    cut = waves.grid_of(found.cycle_chip, found.form, row, tile, 4, (300, 500, 1000, 3))
    assert (cut.down, cut.across, cut.copies, cut.split, cut.slices) == (2, 8, 3, 4, 8)
    assert cut.tiles == 2 * 8 * 3 * 4
    assert cut.written == 300 * 500 * 2 * 3
    assert cut.fed == 1000 * (300 * 2 * 8 + 500 * 2 * 2) / (2 * 8 * 4)
