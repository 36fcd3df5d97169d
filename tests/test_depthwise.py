"""Depthwise convolutions on GPUs: bytes of tensors at copy speed, never GEMMs of one column."""

import pytest

from nmsim.machines import FIDELITIES, HARDWARE, load_hardware, simulate
from nmsim.machines.gpu.direct import is_depthwise
from nmsim.machines.gpu.explained.parts import parts_of
from nmsim.mask import Mask, SparseGemm
from nmsim.network.layer import Conv
from nmsim.pattern import Pattern

GPUS = [name for name in HARDWARE if load_hardware(name).kind == "gpu"]


def layer(**fields):
    return Conv(
        name="dw",
        type="conv",
        **{
            "in_channels": 96,
            "out_channels": 96,
            "kernel": 3,
            "stride": 2,
            "padding": 1,
            "groups": 96,
            "input_size": 112,
            **fields,
        },
    )


def depthwise(**fields):
    return {one.gemm.phase: one.gemm for one in layer(**fields).lower(32)}


def dense(gemm):
    return SparseGemm(
        gemm,
        Mask.dense(gemm.m * gemm.count, gemm.k),
        Mask.dense(gemm.n * gemm.count, gemm.k),
    )


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_mobile_network_layer_is_its_bytes_at_copy_speed(fidelity):
    """MobileNetV2's second depthwise layer, 96 channels, 112 to 56: 96 MB."""
    gemm = depthwise()["forward"]
    machine = load_hardware("a100-sxm4-80gb")
    found = simulate(machine, dense(gemm), fidelity)
    x, y, w = 32 * 96 * 112**2, 32 * 96 * 56**2, 96 * 9
    assert found.dram_read_bytes == 2 * (x + w)
    assert found.dram_write_bytes == 2 * y
    moved = 2 * (x + w + y) / machine.dram.gbps / 1e3
    assert found.time_us == pytest.approx(machine.timing.launch_us + moved, abs=1e-3)
    assert (found.kernel, found.bound) == ("direct", "dram bandwidth")


@pytest.mark.parametrize("name", GPUS)
@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_multiplying_bounds_large_windows(name, fidelity):
    """A window of 31 x 31 has 961 multiply-adds for each element: more than bytes take."""
    gemm = depthwise(kernel=31, stride=1, padding=15, input_size=56)["forward"]
    machine = load_hardware(name)
    found = simulate(machine, dense(gemm), fidelity)
    rate = machine.sms * machine.format("fp32").macs_per_clk
    assert found.compute_cycles == pytest.approx(gemm.macs / rate, abs=1)
    assert found.bound == "compute"
    assert found.macs_issued == gemm.macs


def test_what_is_depthwise():
    assert all(map(is_depthwise, (depthwise()["forward"], depthwise()["update"])))
    twice = depthwise(out_channels=192)
    assert is_depthwise(twice["forward"])
    gathering = depthwise(out_channels=32, groups=32)  # three channels in, one out
    assert all(map(is_depthwise, gathering.values()))
    grouped = depthwise(groups=32)
    assert not any(map(is_depthwise, grouped.values()))
    one = depthwise(in_channels=1, out_channels=64, groups=1)
    assert not any(map(is_depthwise, one.values()))


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_no_direct_kernel_follows_a_mask(fidelity):
    gemm = depthwise(kernel=4)["forward"]
    pattern = Pattern(2, 4)
    masked = Mask.promising(pattern, gemm.n * gemm.count, gemm.k, regular=True, source=lambda: None)
    work = SparseGemm(gemm, Mask.dense(gemm.m * gemm.count, gemm.k), masked)
    machine = load_hardware("a100-sxm4-80gb")
    found, whole = simulate(machine, work, fidelity), simulate(machine, dense(gemm), fidelity)
    assert found.cycles == whole.cycles
    assert found.compressed == ""
    assert "depthwise" in found.note


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_parts_of_a_strided_gradient_read_once_and_launch_once(fidelity):
    machine = load_hardware("a100-sxm4-80gb")
    parts = [one.gemm for one in layer().lower(32) if one.gemm.phase == "backward"]
    assert [gemm.part for gemm in parts] == ["1/4", "2/4", "3/4", "4/4"]
    assert all(map(is_depthwise, parts))
    found = [simulate(machine, dense(gemm), fidelity) for gemm in parts]
    x, y, w = 32 * 96 * 112**2, 32 * 96 * 56**2, 96 * 9
    assert sum(one.dram_write_bytes for one in found) == 2 * x
    assert sum(one.dram_read_bytes for one in found) <= 2 * (y + w)
    bytes_us = 2 * (x + y) / machine.dram.gbps / 1e3
    assert sum(one.time_us for one in found) == pytest.approx(
        machine.timing.launch_us + bytes_us, rel=0.01
    )


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_parts_of_the_cycles_add_up(fidelity):
    machine = load_hardware("a100-sxm4-80gb")
    for kernel in (3, 31):
        work = dense(depthwise(kernel=kernel, padding=kernel // 2, stride=1)["forward"])
        result = simulate(machine, work, fidelity)
        parts = {one.name: one.cycles for one in parts_of(machine, work, result, fidelity)}
        assert sum(parts.values()) == result.cycles
        assert parts["launch"] == pytest.approx(machine.timing.launch_us * machine.clock_mhz, abs=2)
        assert (parts["dram bandwidth"] > 0) == (kernel == 3)
