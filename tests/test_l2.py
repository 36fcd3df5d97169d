"""What a launch reads from device memory, held against a cache fed with its tiles."""

import math

import numpy as np
import oracle_l2
import pytest

from nmsim import Gemm, simulate
from nmsim.machines import load_hardware
from nmsim.machines.gpu import writeup
from nmsim.machines.gpu.call import resolve
from nmsim.machines.gpu.chip import CTAS, TM, TN
from nmsim.machines.gpu.l2.bound import most_read, streams_rows
from nmsim.machines.gpu.l2.lru import Cut, read_bytes
from nmsim.machines.gpu.launch import launch_of
from nmsim.machines.kind import Call
from nmsim.mask import SparseGemm

MIB = 2.0**20
GPUS = ("a100-sxm4-80gb", "h100-sxm", "rtx3090", "v100")


def drawn(seed):
    """A GEMM cut into tiles of a GPU's kernel, few enough to simulate, and L2's bytes."""
    rng = np.random.default_rng(seed)
    machine = load_hardware(GPUS[seed % len(GPUS)])
    found = resolve(machine, Call(machine.dtype))
    row = found.table[rng.integers(len(found.table))]
    down, across = (int(2 ** rng.uniform(1, 5.5)) for _ in range(2))
    k, slots = 2 ** rng.uniform(12, 17), int(found.chip.sms * row[CTAS])
    a, b = down * row[TM] * k * found.form.a, across * row[TN] * k * found.form.b
    # As often of fewer multiprocessors: the more waves, the fewer tiles.
    at_once = max(8, int(slots * 2 ** rng.uniform(-4, 0)))
    return Cut(a, b, down, across, at_once), found.chip.l2_bytes


def cached(cut, capacity):
    columns = streams_rows(*cut, capacity)
    tiles = oracle_l2.launched(cut.down, cut.across, columns=columns)
    return oracle_l2.read(tiles, cut.at_once, cut.a / cut.down, cut.b / cut.across, capacity)


def test_reads_are_those_of_a_cache_that_sees_every_tile():
    cuts = [drawn(seed) for seed in range(200)]
    read = np.array([read_bytes(*one) for one in cuts])
    off = np.abs(read / [cached(*one) for one in cuts] - 1)
    assert off.max() < 0.15
    assert off.mean() < 0.01
    again = read / [cut.a + cut.b for cut, _ in cuts]
    assert np.mean(again > 1.5) > 0.2  # so that there is something to be off by
    most = np.array([most_read(*cut, capacity) for cut, capacity in cuts]) / read
    assert most.min() >= 1
    assert np.median(most) < 1.1


@pytest.mark.parametrize("seed", range(40))
def test_more_tiles_in_flight_or_more_l2_never_read_more_at_most(seed):
    cut, capacity = drawn(seed)
    flying = [most_read(*cut._replace(at_once=n), capacity) for n in range(8, 400)]
    assert flying == sorted(flying, reverse=True)
    sizes = [most_read(*cut, capacity * 2**x) for x in np.linspace(-6, 3, 200)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] >= cut.a + cut.b


def test_reads_by_hand():
    """16 x 16 tiles, a wave of four rows and their strip of eight columns; one byte a line."""
    cut = Cut(16.0, 16.0, 16, 16, 32)
    assert read_bytes(cut, 32.0) == 32  # everything stays
    assert read_bytes(cut, 12.0) == 2 * 16 + 16  # a strip stays, the other operand comes twice
    assert read_bytes(cut, 0.0) == 8 * (4 + 8)  # a wave keeps nothing for the next
    assert read_bytes(cut._replace(at_once=256), 0.0) == 32  # one wave


@pytest.mark.parametrize(
    ("cut", "capacity", "read"),
    [
        # A streams twice and sets 7 apart; its strip comes seven more times, half of B each.
        ((16.0, 16.0, 16, 16, 32), 12.0, 2 * 16 + 7 + 16 * (1 + 7 / 2)),
        # All of A passes while a strip stays: half of B comes again to waves that begin within.
        ((16.0, 16.0, 16, 16, 128), 12.0, 2 * 16 + 16 * (1 + 1 / 2 * 15 / 16)),
        # A stays, and comes twice, beside B and most of a strip of it.
        ((16.0, 16.0, 16, 32, 32), 28.0, 16 + 2 * 16 + 4 * 15 / 16),
    ],
)
def test_most_that_is_read_by_hand(cut, capacity, read):
    """Tiles in strips of eight; a row of A and a column of B are a byte, or half of one."""
    assert most_read(*cut, capacity) == pytest.approx(read)


def test_a_launch_reads_what_its_tiles_do_of_each_copy():
    """Two products of 4200 x 6200 x 1024, of which 4 MiB hold little: ragged tiles count whole."""
    machine = load_hardware("a100-sxm4-80gb", **{"l2.mib": 4.0})
    one = launch_of(machine, SparseGemm.dense(Gemm(4200, 6200, 1024, 2)))
    row, chip = one.table_row, one.resolved.chip
    a, b = 4200 * 1024 * 2.0, 6200 * 1024 * 2.0
    down, across = math.ceil(4200 / row[TM]), math.ceil(6200 / row[TN])
    each = read_bytes(Cut(a, b, down, across, int(chip.sms * row[CTAS])), chip.l2_bytes)
    assert one.split == 1
    assert writeup._read(one, math.inf) == 2 * each > 2 * (a + b)


def test_a_large_gemm_reads_what_does_not_stay():
    """B, 134 MB, does not fit L2: it stays a strip at a time, and A comes by for each of these."""
    once = 2 * (262144 + 16384) * 4096
    rows = [
        simulate([Gemm(262144, 16384, 4096)], hardware="a100-sxm4-80gb", fidelity=fidelity).iloc[0]
        for fidelity in ("cycle", "analytical")
    ]
    read = {int(row.dram_read_bytes) for row in rows}
    assert len(read) == 1
    assert 7 * once < read.pop() < 10 * once


@pytest.mark.parametrize("hardware", GPUS)
def test_no_launch_reads_less_than_on_chip_storage_allows(hardware):
    """2 m n k / sqrt(S) - 2 S elements are moved at least (Kwasniewski et al., SC 2019)."""
    machine = load_hardware(hardware)
    form = machine.format(machine.dtype)
    on_chip = machine.l2.mib * MIB + machine.sms * (
        machine.sm.shared_kib * 1024 + machine.sm.registers * 4
    )
    held = on_chip / (form.bits / 8)
    rng = np.random.default_rng(3)
    gemms = [Gemm(*(int(2 ** rng.uniform(8, 17)) for _ in range(3))) for _ in range(25)]
    gemms.append(Gemm(65536, 65536, 65536))
    for fidelity in ("cycle", "analytical"):
        table = simulate(gemms, hardware=machine, fidelity=fidelity)
        for gemm, moved in zip(gemms, table.dram_read_bytes + table.dram_write_bytes, strict=True):
            least = 2 * gemm.m * gemm.n * gemm.k / math.sqrt(held) - 2 * held
            assert moved / (form.bits / 8) >= least
