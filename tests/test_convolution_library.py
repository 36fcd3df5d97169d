"""Sums at their own rate, and libraries that run convolutions alone: closed forms and laws."""

from dataclasses import replace

import numpy as np
import pytest

from nmsim.errors import SpecError
from nmsim.gemm import PHASES, Gemm
from nmsim.machines import FIDELITIES, Call, load_hardware, simulate
from nmsim.machines.gpu.call import resolve
from nmsim.machines.gpu.chip import resolved
from nmsim.machines.gpu.launch import launch_of
from nmsim.machines.gpu.routines import call_times
from nmsim.mask import SparseGemm
from nmsim.measured.predict import predict
from nmsim.measured.tables import COLUMNS, read_measured
from nmsim.network.layers.convolution import Conv
from nmsim.pattern import Pattern

GPU = load_hardware("rtx3070")
LARGE = np.array([[8192.0, 8192.0, 8192.0, 1.0]])
"""Bound by tensor cores: its bytes take a tenth of its products' time."""


def conv(*, channels=(256, 256), kernel=3, stride=1, size=14):
    return Conv(
        type="conv",
        name="layer",
        in_channels=channels[0],
        out_channels=channels[1],
        kernel=kernel,
        stride=stride,
        padding=kernel // 2,
        input_size=size,
        input="norm",
    )


def works(layer, phase, batch=64):
    gemms = [lowered.gemm for lowered in layer.lower(batch)]
    return [SparseGemm.dense(gemm) for gemm in gemms if gemm.phase == phase]


# ---- sums


def test_sums_in_fp32_run_at_half_the_rate_of_fp16():
    wide, narrow = (resolve(GPU, Call("fp16", accumulator=sums)) for sums in ("fp32", "fp16"))
    assert (wide.chip.macs, wide.cycle_chip.macs) == (
        narrow.chip.macs / 2,
        narrow.cycle_chip.macs / 2,
    )
    assert load_hardware("rtx3070", accumulator="fp16").peak_macs == 2 * GPU.peak_macs
    # NVIDIA's data sheet: 40.6 and 81.3 TFLOP/s.
    assert 2 * GPU.peak_macs * GPU.clock_mhz / 1e6 == pytest.approx(40.6, abs=0.05)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_product_that_tensor_cores_bind_takes_twice_as_long_with_wide_sums(fidelity):
    kernel = "256x128x32_3"
    wide, narrow = (
        call_times(GPU, Call("fp16", kernel=kernel, accumulator=sums), LARGE, fidelity)[0]
        for sums in ("fp32", "fp16")
    )
    assert 1.7 < wide / narrow <= 2


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_two_of_four_gains_with_narrow_sums_what_it_gains_with_wide_ones(fidelity):
    sparse = Call("fp16", Pattern(2, 4), "b", accumulator="fp16")
    wide = call_times(GPU, replace(sparse, accumulator="fp32"), LARGE, fidelity)[0]
    assert 1.5 < wide / call_times(GPU, sparse, LARGE, fidelity)[0] <= 2.001


def test_sums_without_a_rate_run_as_the_first_and_that_is_said():
    assert resolve(GPU, Call("fp16", accumulator="tf32")).note == "sums run in fp32"
    assert resolve(GPU, Call("fp16", accumulator="tf32")).chip == resolve(GPU, Call("fp16")).chip
    for sums in ("", "fp32", "fp16"):
        assert resolve(GPU, Call("fp16", accumulator=sums)).note == ""
    a100 = load_hardware("a100-sxm4-80gb")
    narrow = resolve(a100, Call("bf16", accumulator="fp16"))
    assert (narrow.chip, narrow.note) == (resolve(a100, Call("bf16")).chip, "")


def test_a_measured_row_says_which_sums_it_has(tmp_path):
    row = "me,RTX3070,,cublas,dense,,fp16,{},8192,8192,8192,1,1000"
    lines = (",".join(COLUMNS), row.format("fp32"), row.format("FP16"))
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines) + "\n")
    table = predict([read_measured(path)]).table
    assert table["dtype_acc"].tolist() == ["fp32", "FP16"]
    assert table["predicted_us"].tolist() == [
        call_times(GPU, Call("fp16", library="cublas", in_turn=5, accumulator=sums), LARGE)[0]
        for sums in ("fp32", "fp16")
    ]


# ---- who runs what


@pytest.mark.parametrize("phase", PHASES)
def test_convolutions_have_a_library_and_matrices_another(phase):
    launch = launch_of(GPU, works(conv(), phase)[0])
    assert phase in launch.resolved.library.convolutions
    assert launch.kernel.startswith("cudnn ")
    gemm = replace(launch.work.gemm, kind="linear", a_windows=None, b_windows=None)
    assert launch_of(GPU, SparseGemm.dense(gemm)).kernel.startswith("cublas ")


def test_a_machine_without_such_a_library_runs_them_as_matrices():
    a100 = load_hardware("a100-sxm4-80gb")
    assert launch_of(a100, works(conv(), "update")[0]).kernel.startswith("cublas ")


def test_a_library_of_convolutions_serves_no_other_call():
    found = resolve(GPU, Call("fp16", library="cudnn"))
    assert found.library.library == "cublas"
    assert found.note == "library 'cudnn' has no such kernel: cublas stands in"
    bare = tuple(one for one in GPU.libraries if one.convolutions or one.sparse)
    with pytest.raises(SpecError, match="no library for dense fp16"):
        resolve(GPU.model_copy(update={"libraries": bare}), Call("fp16"))


# ---- parts of K, parts of a launch


def test_an_update_of_few_tiles_splits_k_and_no_other_phase_does():
    layer = conv(channels=(64, 64), size=56)
    (work,) = works(layer, "update")
    assert -(-work.gemm.m // 64) * -(-work.gemm.n // 64) < GPU.sms
    assert 4 <= launch_of(GPU, work).split <= 64
    for phase in ("forward", "backward"):
        assert launch_of(GPU, works(layer, phase)[0]).split == 1


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_an_update_of_one_tile_needs_parts_of_k_to_keep_the_gpu_busy(fidelity):
    gemm = Gemm(64, 64, 64 * 56 * 56, phase="update", kind="conv")
    split = simulate(GPU, SparseGemm.dense(gemm), fidelity).time_us
    alone = gemm.k * gemm.m * gemm.n / GPU.format("fp16").macs_per_clk / GPU.clock_mhz
    assert split < alone / 4  # one tile on one SM


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_strided_backward_in_four_parts_is_one_launch(fidelity):
    name = {"analytical": "timing.launch_us", "cycle": "cycle.launch_us"}[fidelity]
    parts = works(conv(stride=2), "backward")
    assert [work.gemm.part for work in parts] == ["1/4", "2/4", "3/4", "4/4"]

    def total(launch_us):
        machine = load_hardware("rtx3070", **{name: launch_us})
        return sum(simulate(machine, work, fidelity).time_us for work in parts)

    assert total(50.0) - total(10.0) == pytest.approx(40.0, abs=4 / GPU.clock_mhz)


# ---- results that nobody waits for


def waiting(share):
    libraries = tuple(
        one.model_copy(update={"cycle": one.cycle.model_copy(update={"results_wait": share})})
        for one in GPU.libraries
    )
    return GPU.model_copy(update={"libraries": libraries})


def test_a_launch_takes_no_less_than_its_bytes_though_no_tile_waits_for_them():
    (work,) = works(conv(channels=(64, 256), kernel=1, size=56), "forward", batch=256)
    found = simulate(GPU, work, "cycle")
    assert resolved(GPU, launch_of(GPU, work).resolved.library, "cycle")["results_wait"] == 0
    moved = found.dram_read_bytes / GPU.dram.gbps + found.dram_write_bytes / GPU.timing.write_gbps
    assert moved / 1e3 < found.time_us < 1.1 * moved / 1e3


def test_the_less_tiles_wait_for_results_the_sooner_a_launch_has_ended():
    (work,) = works(conv(channels=(256, 512), kernel=1, stride=2, size=56), "forward", batch=64)
    times = [simulate(waiting(share), work, "cycle").time_us for share in (0.0, 0.25, 0.5, 1.0)]
    assert times == sorted(set(times))
