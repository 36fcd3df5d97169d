"""Where the cycles of a GPU go: columns of a row that add up, each where it arises."""

import numpy as np
import pytest

import nmsim
from nmsim import machines
from nmsim.gemm import Gemm
from nmsim.machines import FIDELITIES, HARDWARE, kind_of, load_hardware
from nmsim.machines.gpu.explained import parts as module
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import Pattern
from nmsim.result import LAUNCH_COLUMNS, SLOT_COLUMNS, Parts

GPUS = tuple(name for name in HARDWARE if load_hardware(name).kind == "gpu")
COLUMNS = (*SLOT_COLUMNS, *Parts.columns(None), *LAUNCH_COLUMNS)


def weights(m, n, k, pattern="2:4", **fields):
    pattern = Pattern.parse(pattern)

    order = np.tile(np.arange(pattern.group), (n * k // pattern.group, 1))
    within = np.random.default_rng(n).permuted(order, axis=1)
    mask = Mask.of((within < pattern.keep).reshape(n, k), pattern)
    return SparseGemm(Gemm(m, n, k, **fields), Mask.dense(m, k), mask)


def ran(machine, work, fidelity):
    """What a GEMM costs, and its columns."""
    result = machines.simulate(machine, work, fidelity)
    columns = kind_of(machine).columns(machine, [work], [result])
    return result, {name: values[0] for name, values in columns.items()}


def drawn(rng):
    """A GEMM of any size and pattern, on any GPU, some fields of which are other than its own."""
    m, n, k = (int(2 ** rng.uniform(0, top)) for top in (11, 9, 11))
    k = max(16, k // 16 * 16)
    pattern = rng.choice(["dense", "2:4", "1:4", "4:8", "1:16"])
    fields = {
        "dram.gbps": float(rng.choice([50, 500, 2000])),
        "l2.gbps": float(rng.choice([300, 5000])),
        "sms": int(rng.choice([1, 7, 108])),
        "stack": str(rng.choice(["best", "pytorch"])),
        "masks": str(rng.choice(["where_they_pay", "always"])),
    }
    machine = load_hardware(str(rng.choice(GPUS)), **fields)
    repeat = int(rng.integers(1, 4))
    if pattern == "dense":
        return machine, SparseGemm.dense(Gemm(m, n, k, count=repeat, repeat=repeat))
    return machine, weights(m, n, k, pattern, repeat=repeat)


def adds_up(result, columns):
    parts = [columns[name] for name in COLUMNS]
    assert sum(parts) == result.cycles
    assert min(parts) >= 0
    assert all(type(part) is int for part in parts)


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("seeds", [range(12), pytest.param(range(400), marks=pytest.mark.slow)])
def test_parts_add_up_whatever_runs_wherever(seeds, fidelity, monkeypatch):
    shared = []

    def spy(shares, total):
        shared.append((tuple(shares), total))
        return whole(shared[-1][0], total)

    whole = module.whole
    monkeypatch.setattr(module, "whole", spy)
    found = set()
    for seed in seeds:
        machine, work = drawn(np.random.default_rng(seed))
        result, columns = ran(machine, work, fidelity)
        adds_up(result, columns)
        useful = work.macs_useful / result.peak_macs
        if result.tiles is not None:
            assert abs(columns["useful_cycles"] - useful) <= 1
        found |= {name for name in COLUMNS if columns.get(name)}
    assert found >= {"useful_cycles", "ragged_cycles", "launch_cycles", "fill_cycles"}
    assert found >= {"drain_cycles", "tail_cycles"}
    for shares, total in shared:  # nothing is told as what nobody counted
        assert min(shares) >= -1e-6 * total
        assert sum(shares) == pytest.approx(total, rel=1e-6, abs=1e-3)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_parts_and_their_columns_are_the_same_cycles(fidelity):
    """Every part stands in one column, and ``explain`` reads the same."""
    named = [name for names in module._COLUMN.values() for name in names]
    assert sorted(named) == sorted({*named})
    assert {*module.PARTS} <= {*named}
    machine, work = load_hardware("a100-sxm4-80gb"), weights(4000, 1000, 3000)
    result, columns = ran(machine, work, fidelity)
    parts = {p.name: p.cycles for p in module.parts_of(machine, work, result, fidelity)}
    for column, names in module._COLUMN.items():
        assert columns[f"{column}_cycles"] == sum(parts.get(name, 0) for name in names)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_launches_and_calls_of_the_host_are_launch_cycles(fidelity):
    work = SparseGemm.dense(Gemm(256, 256, 256, repeat=3))
    block = "cycle" if fidelity == "cycle" else "timing"
    machine = load_hardware("a100-sxm4-80gb")
    now, columns = ran(machine, work, fidelity)
    launch = machine.cycle.launch_us if fidelity == "cycle" else machine.timing.launch_us
    assert columns["launch_cycles"] == pytest.approx(3 * launch * 1410, abs=3)
    longer = load_hardware(machine, **{f"{block}.launch_us": launch + 2})
    later, slower = ran(longer, work, fidelity)
    assert slower["launch_cycles"] - columns["launch_cycles"] == pytest.approx(3 * 2820, abs=3)
    assert later.cycles - now.cycles == pytest.approx(3 * 2820, abs=3)
    waits, called = ran(load_hardware(machine, stack="pytorch"), work, fidelity)
    assert waits.bound == "host"
    assert called["launch_cycles"] - columns["launch_cycles"] == pytest.approx(
        waits.cycles - now.cycles, abs=3
    )


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize(("tiles", "share"), [(15, 0), (16, 2 / 18), (17, 1 / 18), (18, 0)])
def test_the_tail_is_what_slots_are_idle_in_the_last_wave(tiles, share, fidelity):
    """One threadblock an SM, 3 SMs: of the sixth round two SMs, or one, have nothing."""
    fields = {"sms": 3, "kernel": "256x128x32_3", "timing.throttle": 0.0}
    machine = load_hardware("a100-sxm4-80gb", **fields)
    work = SparseGemm.dense(Gemm(256 * tiles, 128, 8192))
    result, columns = ran(machine, work, fidelity)
    assert result.tiles == tiles
    waves = result.cycles - columns["launch_cycles"]
    assert columns["tail_cycles"] == pytest.approx(share * waves, rel=0.02)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_slow_stores_are_drain_and_slow_loads_are_fill(fidelity):
    """Of two waves whose main loop is one slice of K, so that a tile is prologue and epilogue."""
    machine = load_hardware("a100-sxm4-80gb", kernel="128x128x32_5")
    work = SparseGemm.dense(Gemm(128 * 54, 128 * 4, 32))
    block = "cycle" if fidelity == "cycle" else "timing"
    _, now = ran(machine, work, fidelity)
    stores = {f"{block}.store_bytes_per_clk": getattr(machine, block).store_bytes_per_clk / 4}
    _, slow = ran(load_hardware(machine, **stores), work, fidelity)
    assert slow["drain_cycles"] > 2 * now["drain_cycles"]
    assert slow["fill_cycles"] == pytest.approx(now["fill_cycles"], rel=0.1)  # memory is less busy
    loads = {"timing.load_us": 3.0, "dram.latency_clk": 4000.0, "l2.latency_clk": 4000.0}
    _, late = ran(load_hardware(machine, **loads), work, fidelity)
    assert late["fill_cycles"] > now["fill_cycles"] + 1000
    assert late["drain_cycles"] == pytest.approx(now["drain_cycles"], rel=0.05)


def test_fused_attention_and_what_a_residual_corrects_add_up_too():
    fields = {"hardware": "a100-sxm4-80gb", "fidelity": "analytical", "batch": 2}
    both = [
        nmsim.simulate("bert-base", layers="*.attention*", recipe="dense", **fields),
        nmsim.simulate("gemm:4096x4096x4096", recipe="asp", residual=True, **fields),
    ]
    assert "attention" in set(both[0]["kind"])
    assert (both[1]["residual_factor"] != 1).all()
    for rows in both:
        parts = [*COLUMNS]
        assert (rows[parts].sum(axis=1) == rows["cycles"]).all()
        assert (rows[parts] >= 0).all(axis=None)
        assert (rows["launch_cycles"] > 0).all()


def test_arrays_have_neither_launches_nor_tails():
    row = nmsim.simulate("gemm:64x64x64", hardware="systolic-16x16", recipe="dense").iloc[0]
    assert list(row[["launch_cycles", "tail_cycles"]]) == [0, 0]
    row = nmsim.simulate("gemm:64x64x64", hardware="ideal", recipe="dense").iloc[0]
    assert row[["launch_cycles", "tail_cycles"]].isna().all()
