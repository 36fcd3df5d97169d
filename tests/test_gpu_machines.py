"""Every GPU goes through one list of checks; closed forms that its times must keep to."""

from itertools import product

import numpy as np
import pytest

import nmsim
from nmsim.errors import SpecError
from nmsim.machines import HARDWARE, Call, load_hardware, simulate
from nmsim.machines.gpu.call import resolve
from nmsim.machines.gpu.kernels import load_kernels
from nmsim.machines.gpu.l2.bound import SWIZZLE
from nmsim.machines.gpu.preparation import cast_us
from nmsim.machines.gpu.routines import account, call_times
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import DENSE, Pattern

GPUS = [name for name in HARDWARE if load_hardware(name).kind == "gpu"]
SPARSE = [name for name in GPUS if load_hardware(name).native]
LIBRARIES = [(name, i) for name in GPUS for i in range(len(load_hardware(name).libraries))]
FORMATS = [(name, form.dtype) for name in GPUS for form in load_hardware(name).formats]

A100 = "a100-sxm4-80gb"
TWO_FOUR, FOUR_EIGHT, ONE_FOUR = Pattern(2, 4), Pattern(4, 8), Pattern(1, 4)


def time(machine, call, m, n, k, copies=1):
    """Of one GEMM, microseconds; the machine by name or value."""
    found = load_hardware(machine) if isinstance(machine, str) else machine
    return float(call_times(found, call, np.array([[m, n, k, copies]], float))[0])


def found(machine, call):
    """What a call resolves to."""
    return resolve(load_hardware(machine) if isinstance(machine, str) else machine, call)


# ---- every machine


@pytest.mark.parametrize("name", GPUS)
def test_a_gpu_says_its_sources(name):
    machine = load_hardware(name)
    assert machine.name == name
    assert len(machine.source) > 100
    assert machine.format(machine.dtype)


@pytest.mark.parametrize("name", GPUS)
def test_what_a_gpu_lists_as_fitted_is_a_number_of_its_file(name):
    machine = load_hardware(name)
    assert len(set(machine.fitted)) == len(machine.fitted)
    for path in machine.fitted:
        inner = machine.model_dump()
        for field in path.split("."):
            if isinstance(inner, tuple | list):
                (inner,) = [one for one in inner if field in one.values()]
            else:
                inner = inner[field]
        assert isinstance(inner, float), path


@pytest.mark.parametrize(("name", "index"), LIBRARIES)
def test_a_library_takes_formats_and_patterns_that_the_gpu_has(name, index):
    machine = load_hardware(name)
    library = machine.libraries[index]
    kernels = load_kernels(library.kernels)
    assert len(kernels.source) > 10
    for dtype in library.dtypes:
        form = machine.format(dtype)
        if library.sparse and not kernels.cuda_cores:
            assert form.dtype == dtype
            assert machine.natives(dtype)


@pytest.mark.parametrize(("name", "index"), LIBRARIES)
def test_resident_threadblocks_fit_shared_memory_registers_and_threads(name, index):
    machine = load_hardware(name)
    library = machine.libraries[index]
    for dtype, kernel in product(library.dtypes, load_kernels(library.kernels).kernels):
        rows, cols, depth = kernel.tile
        width = machine.format(dtype).bits / 8
        packed = width * (0.5 + 1 / 16) if library.sparse else width
        stage = (min(rows, cols) * width + max(rows, cols) * packed) * depth
        if machine.format(dtype).weights:  # the columns
            stage = (rows * width + cols * machine.format(dtype).weight_bits() / 8) * depth
        assert rows % kernel.warp[0] == cols % kernel.warp[1] == 0
        warps = rows // kernel.warp[0] * cols // kernel.warp[1]
        # On sm90 a warp group of four warps issues together.
        threads = warps * 32 * (4 if "sm90" in library.kernels else 1)
        assert threads <= 1024
        resident = kernel.ctas_per_sm
        assert resident <= machine.sm.ctas
        assert resident * (kernel.stages * stage + 1024) <= machine.sm.shared_kib * 1024, kernel
        assert resident * rows * cols < machine.sm.registers, kernel
        assert resident * threads <= machine.sm.threads


@pytest.mark.parametrize("name", GPUS)
def test_a_number_format_that_a_gpu_lacks_is_refused_by_name(name):
    with pytest.raises(SpecError, match=r"'fp3', expected one of .*fp32"):
        time(name, Call("fp3"), 64, 64, 64)


def test_a_format_without_a_library_is_refused_by_name():
    machine = load_hardware("v100")
    bare = machine.model_copy(update={"libraries": machine.libraries[:1]})
    with pytest.raises(SpecError, match="v100: no library for dense fp32 GEMMs"):
        time(bare, Call("fp32"), 64, 64, 64)


def limit(machine, dtype):
    """MACs per microsecond of a huge GEMM, by figures of the machine's file and its kernel's tile.

    Tensor cores as the library uses them, or L2 that feeds them tiles; beside these DRAM that feeds
    a strip of all tiles that are there at once, SWIZZLE wide; at the clock that long work leaves.
    """
    service = found(machine, Call(dtype))
    form, own = machine.format(dtype), service.library.timing
    throttle, overlap = (
        getattr(machine.timing if getattr(own, field) is None else own, field)
        for field in ("throttle", "overlap")
    )
    size = np.array([[32768, 32768, 32768, 1.0]])
    (name,) = account(machine, Call(dtype), size)["model_kernel"]
    (kernel,) = (one for one in service.kernels.kernels if one.name == name)
    rows, cols, _ = kernel.tile
    cores = machine.sms * form.macs_per_clk * machine.clock_mhz * service.library.efficiency
    down, across = kernel.cluster  # what its threadblocks share is asked for once
    fed = machine.l2.gbps * 1e3 / (form.bits / 8 * (1 / rows / down + 1 / cols / across))
    tall = machine.sms * kernel.ctas_per_sm / SWIZZLE
    strip = min(1 / (tall * rows) + 1 / (SWIZZLE * cols), 1 / (SWIZZLE * rows) + 1 / (tall * cols))
    read = machine.dram.gbps * 1e3 / (form.bits / 8 * strip)
    shorter, longer = sorted((1 / min(cores, fed), 1 / read))
    return 1 / (1 + throttle) / (longer + overlap * shorter)


@pytest.mark.parametrize(("name", "dtype"), FORMATS)
def test_a_huge_square_gemm_nears_its_limit_and_never_passes_the_peak(name, dtype):
    machine = load_hardware(name)
    peak = machine.sms * machine.format(dtype).macs_per_clk * machine.clock_mhz
    casts = found(machine, Call(dtype)).library.casts
    rates = []
    for size in (4096, 32768):
        before = cast_us(machine, casts, dtype, np.array([[size, size, size, 1.0]]))[0]
        rates.append(size**3 / (time(machine, Call(dtype), size, size, size) - before))
    assert max(rates) <= peak
    assert rates[-1] >= 0.95 * limit(machine, dtype)


@pytest.mark.parametrize(("name", "dtype"), FORMATS)
def test_no_gemm_beats_bytes_or_macs(name, dtype):
    machine = load_hardware(name)
    form = machine.format(dtype)
    for m, n, k in product((1, 17, 300, 5000), (64, 1000, 9000), (64, 777, 12000)):
        once = ((m + n) * k * form.bits + m * n * form.output_bits) / 8
        macs = m * n * k / (machine.sms * form.macs_per_clk * machine.clock_mhz)
        floor = max(once / (2e3 * machine.dram.gbps), macs) + machine.timing.launch_us
        assert time(machine, Call(dtype), m, n, k) >= floor


@pytest.mark.parametrize("name", GPUS)
def test_one_row_is_bound_by_memory(name):
    machine = load_hardware(name)
    call = Call(machine.dtype)
    once = time(machine, call, 1, 16384, 16384)
    faster = load_hardware(machine, sms=machine.sms, **{"dram.gbps": 2 * machine.dram.gbps})
    faster = load_hardware(faster, **{"timing.gemv_gbps": 2 * machine.timing.gemv_gbps})
    assert time(faster, call, 1, 16384, 16384) < 0.75 * once
    denser = load_hardware(
        machine, formats=tuple(f.model_copy(update={"macs_per_clk": 1e4}) for f in machine.formats)
    )
    # Less of what is on the chip is not hidden, and another kernel may run.
    assert time(denser, call, 1, 16384, 16384) > 0.95 * once


@pytest.mark.parametrize(("name", "dtype"), FORMATS)
def test_a_long_k_twice_as_long_takes_twice_the_time(name, dtype):
    # As many bytes of narrow elements: fewer would not be long where cores are so fast.
    once = 2**15 * max(1, 16 // load_hardware(name).format(dtype).bits)
    short, long = (time(name, Call(dtype), 2048, 2048, k) for k in (once, 2 * once))
    assert long / short == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("name", GPUS)
@pytest.mark.parametrize("field", ["dram.gbps", "l2.gbps", "sm.shared_bytes_per_clk", "sms"])
def test_more_of_anything_is_no_slower_on_the_same_kernel(name, field):
    machine = load_hardware(name)
    value = machine.model_dump()
    for part in field.split("."):
        value = value[part]
    kernel = found(machine, Call(machine.dtype)).kernels.kernels[0].name
    call = Call(machine.dtype, kernel=kernel)
    more = load_hardware(machine, **{field: value * 2})
    for m, n, k in product((300, 5000), (1000, 9000), (512, 12000)):
        assert time(more, call, m, n, k) <= 1.001 * time(machine, call, m, n, k)


# ---- sparse calls


@pytest.mark.parametrize("name", SPARSE)
def test_two_of_four_gains_at_most_what_the_instruction_does(name):
    machine = load_hardware(name)
    dense, sparse = (found(machine, Call(machine.dtype, p, "b")) for p in (DENSE, TWO_FOUR))
    form = machine.format(machine.dtype)
    rate = form.sparse_macs_per_clk / form.macs_per_clk
    tuned = sparse.library.efficiency / dense.library.efficiency
    # Of dense kernels the fastest: which one a library takes is not what the instruction gains.
    kernels = ("", *(kernel.name for kernel in dense.kernels.kernels))
    gains = [
        min(time(machine, Call(machine.dtype, kernel=kernel), *size) for kernel in kernels)
        / time(machine, sparse_call(machine), *size)
        for size in product((64, 2048, 16384), (512, 4096, 16384), (256, 4096, 16384))
    ]
    assert max(gains) <= min(2, rate) * max(1, tuned)
    assert max(gains) > 1.4
    assert min(gains) < 1


def sparse_call(machine, pattern=TWO_FOUR):
    """The machine's own format with B compressed."""
    return Call(machine.dtype, pattern, "b")


@pytest.mark.parametrize("name", [name for name in SPARSE if not name.startswith("hypo")])
def test_patterns_that_the_instruction_lacks(name):
    machine = load_hardware(name)
    as_2_4 = found(machine, sparse_call(machine, ONE_FOUR))
    assert (as_2_4.native, as_2_4.note) == (TWO_FOUR, "1:4 runs as 2:4")
    assert found(machine, sparse_call(machine, Pattern(2, 8))).native == TWO_FOUR
    dense = found(machine, sparse_call(machine, FOUR_EIGHT))
    assert (dense.native, dense.note) == (DENSE, "4:8 has no kernel here and runs dense")
    size = (4096, 4096, 4096)
    assert time(machine, sparse_call(machine, FOUR_EIGHT), *size) == time(
        machine, Call(machine.dtype), *size
    )
    assert found(machine, sparse_call(machine)).note == ""


def test_a_gpu_without_a_sparse_instruction_runs_masks_dense():
    for dtype in ("fp16", "fp32"):
        resolved = found("v100", Call(dtype, TWO_FOUR, "b"))
        assert resolved.native == DENSE
        assert "runs dense" in resolved.note


def test_a_library_that_is_not_known_stands_back_for_one_that_is():
    note = found(A100, Call("fp16", library="cudnn")).note
    assert note == "library 'cudnn' is not known here: cublas stands in"
    also = found(A100, Call("fp16", TWO_FOUR, "b", "cutlass"))
    assert (also.library.library, also.note) == ("pytorch-cutlass", "")


def test_a_hypothetical_core_takes_its_own_patterns_each_at_its_rate():
    machine = load_hardware("hypothetical-4to8")
    natives = {p: found(machine, sparse_call(machine, p)) for p in (TWO_FOUR, FOUR_EIGHT, ONE_FOUR)}
    assert [one.native for one in natives.values()] == list(natives)
    assert [one.chip.macs for one in natives.values()] == [1979, 1979, 3958]
    assert [one.note for one in natives.values()] == ["", "", ""]
    # Metadata: 2, 3 and 2 bits for each kept element of 16.
    assert [one.form.b for one in natives.values()] == [1.125, 1.1875, 0.5625]
    assert found(machine, sparse_call(machine, Pattern(1, 16))).native == ONE_FOUR
    size = (4096, 16384, 16384)
    dense, half, other_half, quarter = (
        time(machine, sparse_call(machine, p), *size) for p in (DENSE, *natives)
    )
    assert quarter < half <= other_half < dense
    assert half == time(A100, Call("bf16", TWO_FOUR, "b"), *size)


# ---- V:N:M


def vector(pattern, length=128, side="a", library="spatha"):
    """A call of a V:N:M kernel."""
    return Call("fp16", pattern, side, library, "", length)


def test_vectors_shrink_k_before_the_instruction_sees_it():
    for group in (4, 8, 10, 20, 100):
        resolved = found("rtx3090", vector(Pattern(2, group)))
        assert resolved.native == TWO_FOUR
        assert resolved.shrink == 4 / group
        assert resolved.note == ""
    call = vector(Pattern(2, 40))
    assert time("rtx3090", call, 1024, 4096, 40960) == time(
        "rtx3090", vector(TWO_FOUR), 1024, 4096, 4096
    )


def test_rows_of_a_tile_are_rows_of_the_compressed_operand():
    tall, wide = (found("rtx3090", vector(Pattern(2, 8), 64, side)).table[0] for side in "ab")
    assert tall[:2].tolist() == [64, 64]
    tall, wide = (found("rtx3090", vector(Pattern(2, 8), 128, side)).table[0] for side in "ab")
    assert (tall[:2].tolist(), wide[:2].tolist()) == ([128, 64], [64, 128])
    assert (tall[5:7].tolist(), wide[5:7].tolist()) == ([32, 64], [64, 32])
    assert found("rtx3090", vector(Pattern(2, 8), 256)).table[:, 0].tolist() == [128]
    sizes = (768, 4096, 9216)
    turned = (4096, 768, 9216)
    assert time("rtx3090", vector(Pattern(2, 8), side="a"), *sizes) == pytest.approx(
        time("rtx3090", vector(Pattern(2, 8), side="b"), *turned), rel=0.02
    )


def test_a_vector_length_without_kernels_is_refused():
    with pytest.raises(SpecError, match="V = 48: expected a multiple of one of 128, 64"):
        time("rtx3090", vector(Pattern(2, 8), 48), 768, 4096, 4096)


def test_vectors_without_such_kernels_run_as_plain_patterns():
    plain = found(A100, vector(Pattern(2, 8), library=""))
    assert (plain.native, plain.shrink) == (TWO_FOUR, 1)
    assert plain.note == "V:N:M has no kernel here and runs as 2:4"
    assert found("rtx3090", vector(FOUR_EIGHT)).native == DENSE
    assert found("rtx3090", Call("fp16", TWO_FOUR, "a")).library.library == "cusparselt"


@pytest.mark.parametrize(
    ("group", "length", "size", "measured"),
    [
        (10, 128, (1024, 4096, 1536), 72.0819),
        (40, 128, (1024, 4096, 9984), 110.134),
        (4, 128, (768, 4096, 4608), 340.836),
        (8, 128, (768, 8192, 768), 63.2531),
        (100, 64, (768, 8192, 768), 24.5677),
    ],
)
def test_venom_on_an_rtx_3090(group, length, size, measured):
    # UDC-GAC/venom (Apache-2.0), Castro et al., SC 2023.
    assert time("rtx3090", vector(Pattern(2, group), length), *size) == pytest.approx(
        measured, rel=0.15
    )


# ---- CUDA cores


def test_cuda_cores_take_any_pattern_and_skip_zeros():
    for keep in (1, 4, 12, 16):
        resolved = found(A100, Call("fp32", Pattern(keep, 32), "b", "nm-spmm"))
        assert resolved.native == Pattern(keep, 32)
        assert resolved.form.b == pytest.approx((4 + 5 / 8) * keep / 32)
        assert resolved.form.a == 4
        macs = 64 * 32 / keep
        assert resolved.chip.macs == pytest.approx(macs * resolved.library.efficiency)


@pytest.mark.parametrize("fidelity", ["cycle", "analytical"])
@pytest.mark.parametrize("pattern", ["1:4", "4:8", "16:32"])
def test_a_network_in_fp32_reaches_the_kernels_of_cuda_cores(pattern, fidelity):
    machine = load_hardware("a100-sxm4-80gb", dtype="fp32")
    size = (512, 1024, 2048)
    row = nmsim.simulate(
        [nmsim.Gemm(*size)], hardware=machine, recipe="asp", pattern=pattern, fidelity=fidelity
    ).iloc[0]
    assert row.kernel.startswith("nm-spmm")
    assert row.note == ""
    assert row.misfit_share == 0
    assert row.macs_issued == row.macs_useful == row.macs_dense * Pattern.parse(pattern).density
    call = Call("fp32", Pattern.parse(pattern), "b")
    clocks = call_times(machine, call, np.array([(*size, 1.0)]), fidelity)[0] * machine.clock_mhz
    assert row.cycles == np.ceil(clocks)


@pytest.mark.parametrize("phase", ["forward", "backward", "update"])
def test_cuda_cores_need_no_copy_that_brings_k_last(phase):
    machine = load_hardware("a100-sxm4-80gb", dtype="fp32", masks="always")
    work = SparseGemm(
        nmsim.Gemm(256, 256, 512, kind="linear", phase=phase),
        Mask.promising(
            Pattern(2, 4), 256, 512, regular=True, source=lambda: pytest.fail("no bits")
        ),
        Mask.dense(256, 512),
    )
    moved = {
        dtype: simulate(load_hardware(machine, dtype=dtype), work).dram_read_bytes
        for dtype in ("fp32", "bf16")
    }
    both = 256 * 512 * (1 + 0.5)
    assert moved["fp32"] == pytest.approx(4 * both + 256 * 256 / 4)
    assert (moved["bf16"] > 2 * both + 20_000) == (phase != "forward")


def test_a_format_without_sparse_kernels_says_so():
    machine = load_hardware("rtx3090", dtype="fp32")
    row = nmsim.simulate([nmsim.Gemm(256, 256, 256)], hardware=machine, recipe="asp").iloc[0]
    assert row.kernel.startswith("cublas")
    assert row.note == "runs dense: the GPU has no sparse kernel for fp32"


def test_a_library_with_some_patterns_takes_the_narrowest_that_covers():
    assert found(A100, Call("fp32", Pattern(12, 32), "b", "nmsparse")).native == Pattern(16, 32)
    assert found(A100, Call("fp32", Pattern(4, 32), "b", "nmsparse")).native == Pattern(4, 32)
    other = found(A100, Call("fp32", Pattern(24, 32), "b", "nmsparse"))
    assert other.library.library == "nm-spmm"
    assert other.note == "library 'nmsparse' has no such kernel: nm-spmm stands in"


@pytest.mark.parametrize(
    ("keep", "tflops"), [(32, 18.95), (16, 34.9), (12, 44.7), (8, 67), (4, 127)]
)
def test_nm_spmm_on_an_a100(keep, tflops):
    # Dense-equivalent fp32 TFLOP/s at 4096^3: Ma et al., NM-SpMM, IPDPS 2025; 32 of 32 is cuBLAS.
    pattern = Pattern(keep, 32) if keep < 32 else DENSE
    microseconds = time("a100-pcie-80gb", Call("fp32", pattern, "b"), 4096, 4096, 4096)
    assert 2 * 4096**3 / microseconds / 1e6 == pytest.approx(tflops, rel=0.1)


# ---- single machines


def test_the_documented_a100_has_no_fitted_constant_and_no_tuned_library():
    machine = load_hardware("a100-sxm4-80gb-documented")
    assert machine.fitted == ()
    assert not any(machine.cycle.model_dump().values())
    for library in machine.libraries:
        assert library.efficiency == 1
        assert not any(library.timing.model_dump().values())


def test_a_figure_of_the_documented_a100_names_its_source():
    text = HARDWARE.path("a100-sxm4-80gb-documented").read_text(encoding="utf-8")
    timing = text.partition("timing:\n")[2].partition("fitted:")[0].splitlines()
    assert len(timing) == len(type(load_hardware(A100).timing).model_fields)
    assert all(len(line.partition("#")[2]) > 12 for line in timing)


def test_a_smaller_memory_is_the_only_difference_of_the_40_gb_a100():
    small, large = load_hardware("a100-sxm4-40gb"), load_hardware(A100)
    assert time(small, Call("bf16"), 8192, 8192, 8192) < 1.05 * time(
        large, Call("bf16"), 8192, 8192, 8192
    )
    assert time(small, Call("bf16"), 64, 16384, 16384) > 1.1 * time(
        large, Call("bf16"), 64, 16384, 16384
    )


def test_the_best_two_of_four_rate_of_an_a100():
    # 484 dense-equivalent TFLOP/s is the best of published measurements, at 16384^3.
    microseconds = time(A100, Call("fp16", TWO_FOUR, "b"), 16384, 16384, 16384)
    assert 2 * 16384**3 / microseconds / 1e6 == pytest.approx(484, rel=0.1)
