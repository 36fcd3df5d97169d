"""Libraries with a policy, stacks that call them, and the faster of mask and dense run."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from swept import points_of

import nmsim
from nmsim.errors import NmsimError, SpecError
from nmsim.gemm import Gemm
from nmsim.machines import Call, Pass, kind_of, load_hardware, simulate, simulate_dense, stored
from nmsim.machines.gpu.call import resolve
from nmsim.machines.gpu.chip import CTAS, TM, TN, Size, read_by_lines
from nmsim.machines.gpu.kernels import KERNELS, KernelSet, Multiples, load_kernels
from nmsim.machines.gpu.launch import launch_of
from nmsim.machines.gpu.routines import call_times
from nmsim.machines.gpu.stacks import STACKS, load_stack
from nmsim.machines.gpu.stacks.followed import as_run
from nmsim.mask import Mask, SparseGemm
from nmsim.measured.predict import shipped
from nmsim.pattern import Pattern
from nmsim.report.reasons import policy_said
from nmsim.result import totals
from nmsim.run.experiment import planned, read_experiment
from nmsim.run.manifest import sweep_manifest
from nmsim.run.point import Point, rows

TWO_FOUR = Pattern(2, 4)
NAME = "a100-sxm4-80gb"
A100 = load_hardware(NAME)
FIDELITIES = ("analytical", "cycle")


def on(**fields):
    return load_hardware(NAME, **fields)


def masked(rows, k, pattern=TWO_FOUR):
    return Mask.promising(pattern, rows, k, regular=True, source=lambda: pytest.fail("no bits"))


def weights(m, n, k, **gemm):
    """A GEMM whose B is 2:4."""
    return SparseGemm(Gemm(m, n, k, **gemm), Mask.dense(m, k), masked(n, k))


def activations(m, n, k, **gemm):
    return SparseGemm(Gemm(m, n, k, **gemm), masked(m, k), Mask.dense(n, k))


# ---- libraries: kernels and a policy


@pytest.mark.parametrize("name", [n for n in KERNELS if load_kernels(n).choice == "single"])
def test_a_single_kernel_runs_whatever_the_size_and_does_not_split_k(name):
    kernels = load_kernels(name)
    assert len(kernels.kernels) == 1
    assert kernels.splits == (1,)
    for machine in (A100, load_hardware("h100-sxm"), load_hardware("rtx3090")):
        for one in machine.libraries:
            if one.kernels == name:
                dtype = one.dtypes[0]
                call = Call(dtype, TWO_FOUR, "a", one.library)
                assert len(resolve(machine, call).table) == 1


def test_a_set_that_has_one_kernel_says_one():
    kernel = {"tile": [64, 64, 32], "warp": [32, 32], "stages": 3, "ctas_per_sm": 2}
    said = {"summary": "s", "source": "s", "choice": "single", "kernels": [kernel, kernel]}
    with pytest.raises(ValueError, match="expected one kernel, found 2"):
        KernelSet.model_validate(said)


def test_a_default_is_the_first_kernel_and_a_search_has_all():
    kernels = load_kernels("cusparselt-sm80")
    assert len(kernels.launched) == len(kernels.kernels) > 1
    default = kernels.model_copy(update={"choice": "default"})
    assert default.launched == kernels.kernels[:1]


def test_rows_of_a_single_tile_belong_to_the_compressed_operand():
    a, b = (
        resolve(A100, Call("fp16", TWO_FOUR, side, "xformers-cutlass")).table[0] for side in "ab"
    )
    assert (a[TM], a[TN]) == (256, 128)
    assert (b[TM], b[TN]) == (128, 256)


def test_without_a_split_a_deep_gemm_of_few_tiles_is_slow():
    size = np.array([[256.0, 256.0, 65536.0, 1.0]])
    searched, single = (
        call_times(A100, Call("bf16", TWO_FOUR, "b", library), size)[0]
        for library in ("cutlass-profiler", "pytorch-cutlass")
    )
    assert single > 5 * searched


def test_names_of_tables_are_other_names_of_a_library():
    found = resolve(A100, Call("fp16", TWO_FOUR, "b", "cutlass"))
    assert (found.library.library, found.note) == ("pytorch-cutlass", "")


@pytest.mark.parametrize(
    ("library", "asked"),
    [
        ("pytorch-cutlass", (32, 64, 8)),
        ("xformers-cutlass", (32, 64, 8)),
        ("cusparselt", (16, 16, 8)),
        ("pytorch-cusparselt", (16, 16, 8)),
    ],
)
def test_multiples_are_those_of_torch(library, asked):
    kernels = resolve(A100, Call("fp16", TWO_FOUR, "b", library)).kernels
    assert kernels.multiples == Multiples(rows=asked[0], k=asked[1], dense=asked[2])


def test_a_line_of_tiles_reads_what_lies_along_it_once_for_each_wave():
    found = resolve(A100, Call("fp16", TWO_FOUR, "b", "pytorch-cusparselt"))
    row = found.table[0]
    m, n, k = 2048, 36864, 9216
    a, b = m * k * 2, n * k * 1.125
    # 144 tiles lie along the weights, more than there are slots: every 64 rows read all of them.
    assert n / row[TN] > A100.sms * row[CTAS]
    read = read_by_lines(found.chip, found.form, row, Size(m, n, k, 1))
    assert read == pytest.approx(a + 2048 / 64 * b)
    # Weights that L2 holds are read once, and other kernels have another order.
    small = read_by_lines(found.chip, found.form, row, Size(m, 4096, 1024, 1))
    assert small == pytest.approx(2 * 1024 * m + 4096 * 1024 * 1.125)
    other = resolve(A100, Call("fp16", TWO_FOUR, "b", "xformers-cutlass"))
    assert read_by_lines(other.chip, other.form, other.table[0], Size(m, n, k, 1)) == 0


def gain_of(library, n, k, fidelity):
    """Dense over 2:4 of 2048 rows on an A100 of 40 GB."""
    machine = load_hardware("a100-sxm4-40gb")
    size = np.array([[2048.0, n, k, 1.0]])
    calls = Call("fp16"), Call("fp16", TWO_FOUR, "b", library)
    dense, sparse = (call_times(machine, call, size, fidelity)[0] for call in calls)
    return dense / sparse


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize(
    ("n", "k", "measured"),
    [
        (4 * 7168, 7168, 1.03),  # the cliff: L2 does not hold the weights, and they are wide
        (4 * 9216, 9216, 1.03),
        (7168, 7168, 1.62),
        (9216, 9216, 1.66),
        (4096, 4 * 4096, 1.54),
        (5120, 4 * 5120, 1.91),
        (7168, 4 * 7168, 1.77),
        (9216, 4 * 9216, 1.79),
    ],
)
def test_a_searched_library_gains_as_slopes_curve_says(n, k, measured, fidelity):
    """SLoPe (Mozaffari et al.), layers of 2048 rows and K of 4096 and more; read off a chart."""
    assert gain_of("cusparselt", n, k, fidelity) == pytest.approx(measured, rel=0.13)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_the_default_algorithm_falls_off_where_weights_are_wide(fidelity):
    def gain(n, k):
        return gain_of("pytorch-cusparselt", n, k, fidelity)

    assert gain(36864, 9216) < 1 < gain(9216, 9216)
    assert gain(9216, 36864) > 1


@pytest.mark.parametrize(
    ("tokens", "wide", "deep", "each_us"),
    [
        (16384, 6144, 2048, 1386),
        (2048, 15360, 5120, 1630),
        (2048, 24576, 8192, 5240),
        (1024, 24576, 8192, 2400),
        (4096, 24576, 8192, 10740),
    ],
)
def test_xformers_before_it_searched_takes_as_long_as_five_steps_say(tokens, wide, deep, each_us):
    """xformers#975: what its four 2:4 GEMMs leave of a step, each on average.

    The step without its dense GEMMs, as the dense step has them, packing and masks of gradients,
    as timed beside it, and the bytes of GELU.
    """
    machine = load_hardware("a100-sxm4-40gb")
    call = Call("fp16", TWO_FOUR, "b", "xformers-cusparselt")
    sizes = np.array([[tokens, wide, deep, 1.0], [tokens, deep, wide, 1.0]])
    mean = call_times(machine, call, sizes, "analytical").mean()
    assert mean == pytest.approx(each_us, rel=0.21)


# ---- stacks: who calls which library


@pytest.mark.parametrize("name", [*STACKS])
def test_a_stack_names_libraries_that_some_machine_has(name):
    machines = [load_hardware(one) for one in (NAME, "h100-sxm", "rtx3090")]
    known = {one.library for machine in machines for one in machine.libraries if one.sparse}
    stack = load_stack(name)
    assert {library for one in stack.sparse for library in one.libraries} <= known
    assert len(stack.source) > 100


@pytest.mark.parametrize(
    ("stack", "side", "kernel"),
    [
        ("pytorch", "weight", "pytorch-cutlass 128x128x64_3"),
        ("pytorch", "activation", "pytorch-cutlass 128x128x64_3"),
        ("xformers", "weight", "pytorch-cusparselt 64x256x64_4"),
        ("xformers", "activation", "xformers-cutlass 256x128x64_4"),
        ("xformers-unsearched", "weight", "xformers-cusparselt 64x128x64_4"),
        ("tensorrt", "weight", "cusparselt 128x256x64_3"),
        ("tensorrt", "activation", "cublas 256x128x32_3"),
        ("vllm", "weight", "cublas 256x128x32_3"),
    ],
)
def test_a_stack_says_which_library_serves_which_operand(stack, side, kernel):
    work = (weights if side == "weight" else activations)(4096, 4096, 4096, kind="linear")
    assert simulate(on(stack=stack), work, "analytical").kernel == kernel


def test_a_stack_without_a_library_for_the_gpu_runs_dense_and_says_so():
    found = simulate(on(stack="vllm"), weights(512, 512, 512, kind="linear"), "analytical")
    assert found.compressed == ""
    assert found.note == f"runs dense: stack vllm has no sparse kernel for bf16 on {NAME}"
    h100 = load_hardware("h100-sxm", stack="vllm")
    runs = simulate(h100, weights(512, 512, 512, kind="linear"), "analytical")
    assert runs.kernel.startswith("vllm-cutlass 128x128x128")


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ((4096, 4097, 4097), "pytorch-cutlass takes multiples of 32 x 64, not 4097 x 4097"),
        ((4096, 50257, 768), "pytorch-cutlass takes multiples of 32 x 64, not 50257 x 768"),
        ((512, 4096, 4098), "pytorch-cutlass takes multiples of 32 x 64, not 4096 x 4098"),
    ],
)
def test_sizes_that_do_not_fit_run_dense_or_are_padded_as_the_stack_has_it(size, told):
    work = weights(*size, kind="linear")
    dense = simulate(on(stack="pytorch"), work, "analytical")
    assert (dense.compressed, dense.note) == ("", f"runs dense: {told}")
    padded = simulate(on(masks="always"), work, "analytical")
    assert padded.compressed == "b"
    assert "padded to" in padded.note
    launch = launch_of(on(library="cusparselt"), work)
    assert (launch.size.n % 16, launch.size.k % 16, launch.size.m % 8) == (0, 0, 0)
    assert stored(on(stack="pytorch"), work)[1].why == told


def test_the_second_library_of_a_stack_takes_what_the_first_does_not():
    work = weights(4096, 4112, 4112, kind="linear")  # of 16, not of 32 x 64
    assert launch_of(on(stack="pytorch"), work).resolved.library.library == "pytorch-cusparselt"


def test_a_dense_operand_that_is_padded_is_copied():
    odd, even = (
        launch_of(on(library="pytorch-cutlass"), weights(m, 512, 512, kind="linear"))
        for m in (1001, 1000)
    )
    assert (odd.size.m, odd.copied_bytes) == (1008, 2 * 1008 * 512 * 2)
    assert (even.size.m, even.copied_bytes) == (1000, 0)


def test_short_kernels_wait_for_the_host():
    """A linear layer of one row takes 22 us dense and 196 sparse (pytorch/pytorch#111339)."""
    machine, work = on(stack="pytorch"), weights(1, 1024, 1024, kind="linear")
    sparse, dense = simulate(machine, work), simulate_dense(machine, work.gemm)
    assert (sparse.bound, dense.bound) == ("host", "host")
    assert sparse.note.endswith("; waits for the host, 196 us a call")
    assert sparse.time_us == pytest.approx(196, abs=0.01)
    assert dense.time_us == pytest.approx(22, abs=0.01)
    long = replace(work.gemm, m=65536)
    assert simulate_dense(machine, long).bound != "host"
    assert simulate_dense(A100, work.gemm).time_us < 22


def test_packing_takes_what_was_measured_of_its_bytes():
    work = Pass("compress", 2e9, 1e9)
    packed, moved = (kind_of(A100).pass_us(A100, one) for one in (work._replace(packs=True), work))
    launch = A100.timing.launch_us
    assert (packed - launch) / (moved - launch) == pytest.approx(load_stack("best").packing)


def test_the_best_of_a_gpu_is_no_default_that_a_search_would_beat():
    libraries = {one.library for one in A100.libraries if one.sparse}
    assert "pytorch-cusparselt" in libraries
    for size in ((1024, 4096, 1024), (4096, 1024, 4096), (128, 1024, 1024)):
        work = weights(*size, kind="linear")
        found = launch_of(A100, work).resolved
        assert found.kernels.choice != "default"
    assert launch_of(on(library="pytorch-cusparselt"), work).resolved.kernels.choice == "default"


# ---- the faster of both


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("size", [(128, 128, 64), (96, 1000, 512), (512, 512, 512), (4096,) * 3])
def test_where_masks_pay_nothing_is_slower_than_what_was_passed_over(size, fidelity):
    work = weights(*size)
    best = simulate(A100, work, fidelity)
    followed = simulate(on(masks="always"), work, fidelity)
    dense = simulate_dense(A100, work.gemm, fidelity)
    assert best.cycles == min(followed.cycles, dense.cycles)
    assert best.mask_cycles == followed.mask_cycles == followed.cycles
    assert followed.compressed == "b"
    assert best.chosen.startswith("dense") == (dense.cycles <= followed.cycles)
    assert bool(best.compressed) == (dense.cycles > followed.cycles)


def test_a_mask_that_loses_is_stored_dense_and_its_own_time_is_told():
    work = weights(128, 128, 64)
    found = simulate(A100, work, "analytical")
    assert found.mask_cycles > found.cycles
    assert found.chosen.startswith("dense by cublas ")
    assert found.chosen.endswith(f"{found.mask_cycles / found.cycles:.2f} times the cycles")
    assert not stored(A100, work)[1].compressed
    assert stored(on(masks="always"), work)[1].compressed
    assert as_run(work, found).b.is_dense
    large = weights(4096, 4096, 4096)
    assert as_run(large, simulate(A100, large, "analytical")) is large


def summed(**fields):
    point = Point("resnet18", recipe="asp", hardware=on(**fields), batch=2, fidelity="analytical")
    return totals(rows(replace(point, phases=("forward",))))["all"]


def test_totals_have_both_policies_and_count_the_gemms_that_lose():
    pays, always = summed(), summed(masks="always")
    assert pays["losing"] == always["losing"] > 0
    assert pays["masked"] == always["masked"] > pays["losing"]
    assert pays["dense_cycles"] == always["dense_cycles"]
    assert always["cycles"] == always["mask_cycles"] == pays["mask_cycles"]
    assert pays["cycles"] == pays["paying_cycles"] == always["paying_cycles"]
    assert pays["speedup"] == pays["paying_speedup"] > always["speedup"]
    count = f"{pays['losing']} of {pays['masked']} masked GEMMs lose"
    assert policy_said(pays).startswith(count)
    assert "run dense: GEMMs gain" in policy_said(pays)
    assert "followed all the same: GEMMs gain" in policy_said(always)
    assert policy_said({**pays, "losing": 0}) == ""


def test_predictions_of_measured_rows_name_a_library_and_fall_back_on_nothing():
    size = np.array([[128.0, 128.0, 64.0, 1.0]])
    call = Call("bf16", TWO_FOUR, "b", "cusparselt")
    times = {
        (stack, masks): float(call_times(on(stack=stack, masks=masks), call, size)[0])
        for stack in STACKS
        for masks in ("always", "where_they_pay")
    }
    assert len(set(times.values())) == 1
    assert min(times.values()) > call_times(A100, Call("bf16"), size)[0]


def test_rows_that_ship_name_what_their_posts_ran():
    files, _ = shipped(NAME)
    libraries = {r.library for file in files for r in file.routines if not r.pattern.is_dense}
    assert libraries == {"cusparselt", "cusparselt-default", "pytorch-cutlass"}


# ---- what a run says


@pytest.fixture
def simulated(command):
    """A function from options to status, stdout and stderr of a simulated GEMM."""
    arguments = ("simulate", "gemm:512x512x512", "--recipe", "asp", "--hardware", NAME)
    return lambda *more: command(*arguments, "--fidelity", "analytical", *more)


def test_the_stack_is_named_in_the_first_line(simulated):
    _, out, _ = simulated()
    assert "stack best, masks where they pay" in out.splitlines()[0]
    _, out, _ = simulated("--stack", "xformers", "--library", "cusparselt")
    assert "stack xformers, masks always, library cusparselt" in out.splitlines()[0]


def test_python_takes_the_same_keywords_and_the_manifest_has_them():
    found = nmsim.simulate(
        "gemm:4096x4096x4096",
        hardware=NAME,
        recipe="asp",
        fidelity="analytical",
        library="pytorch-cutlass",
        kernel="128x128x64_3",
    )
    assert list(found["kernel"]) == ["pytorch-cutlass 128x128x64_3"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--stack", "tensort"), "unknown stack 'tensort'; did you mean 'tensorrt'?"),
        (("--library", "cudnn"), "unknown library 'cudnn' (known: cublas, cusparselt, cutlass"),
        (("--library", "vllm-cutlass"), "unknown library 'vllm-cutlass'"),
        (("--kernel", "tall"), "unknown kernel 'tall'"),
        (
            ("--library", "cusparselt", "--kernel", "256x128x64_4"),
            f"kernel '256x128x64_4': library cusparselt on {NAME} does not have it",
        ),
        (
            ("--stack", "pytorch", "--kernel", "256x128x64_3"),
            f"kernel '256x128x64_3': stack pytorch on {NAME} does not have it, expected one of",
        ),
        (("--set", "masks=often"), "masks is 'often'"),
        (
            ("--stack", "best", "--hardware", "systolic-128x128-2to4"),
            "stack is 'best': systolic-128x128-2to4 calls no libraries",
        ),
    ],
)
def test_what_is_not_there_is_told_in_one_line(simulated, options, told):
    status, out, err = simulated(*options)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert told in err


def test_a_stack_of_ones_own_is_a_file(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        "summary: s\nsource: s\nmasks: always\nmisfit: dense\nconvolutions: true\n"
        "sparse: [{libraries: [pytorch-cutlass]}]\n"
    )
    machine = on(stack=str(path))
    assert simulate(machine, weights(512, 512, 512), "analytical").compressed == "b"
    path.write_text("summary: s\nmasks: sometimes\n")
    with pytest.raises(NmsimError, match=r"own\.yaml"):
        load_stack.__wrapped__(str(path))


def test_a_convolution_that_a_stack_has_not_is_timed_as_its_gemm():
    def note(stack):
        point = Point("resnet18", recipe="asp", hardware=on(stack=stack), batch=2)
        wanted = replace(point, phases=("forward",), layers="layer2.1.conv1", fidelity="analytical")
        return next(rows(wanted))["note"]

    assert "stack pytorch has no such convolution: timed as its GEMM" in note("pytorch")
    assert "no such convolution" not in note("tensorrt")


def test_a_kernel_of_another_library_is_refused_from_python_too():
    with pytest.raises(SpecError, match=r"library pytorch-cutlass .* does not have it"):
        nmsim.simulate(
            "gemm:64x64x64",
            hardware=NAME,
            library="pytorch-cutlass",
            kernel="256x128x64_4",
        )


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize(
    ("tokens", "sizes", "measured", "within"),
    [
        (44160, (1024, 4096, 1024), 11534.3 / 9204.7, 0.15),  # torchao, sparse training
        (13008, (1024, 4096), 1660.793 / 1341.983, 0.15),  # the same, one layer
        (2048, (8192, 24576, 8192), 19723.3 / 31712.7, 0.50),  # xformers#975: a loss, as it was
    ],
)
def test_steps_of_an_mlp_go_as_measured(tmp_path, tokens, sizes, measured, within, fidelity):
    """An A100, forward and backward, weights pruned in every step and packed for both."""
    layers = "".join(
        f"  - {{name: fc{i}, type: linear, in_features: {k}, out_features: {n}, "
        f"tokens: {tokens}}}\n"
        for i, (k, n) in enumerate(pairwise(sizes))
    )
    (tmp_path / "mlp.yaml").write_text(f"layers:\n{layers}")
    (tmp_path / "w24.yaml").write_text(
        "summary: s\nsource: s\noperands:\n"
        "  - {role: weight, phases: [forward], pruner: magnitude}\n"
        "  - {role: weight, phases: [backward], pruner: magnitude}\n"
    )
    point = Point(
        str(tmp_path / "mlp.yaml"),
        recipe=str(tmp_path / "w24.yaml"),
        hardware=on(dtype="fp16"),
        stack="xformers",
        batch=1,
        fidelity=fidelity,
    )
    gain = totals(rows(point))["all"]["step_speedup"]
    assert (gain > 1) == (measured > 1)
    assert gain == pytest.approx(measured, rel=within)


def test_an_experiment_names_a_stack_for_all_of_its_points(tmp_path):
    path = tmp_path / "own.yaml"
    head = "title: t\nmodels: ['gemm:64x64x64']\nrecipes: [asp]\npatterns: ['2:4']\n"
    path.write_text(f"{head}hardware: [{NAME}]\nstack: xformers\nkernel: null\n")
    points = points_of(read_experiment(path))
    assert {(point.stack, point.kernel) for point in points} == {("xformers", None)}
    said = sweep_manifest(planned(read_experiment(path)), "nmsim sweep").document()
    assert said["choices"] == "stack xformers, masks always"
    assert said["machines"][NAME]["stack"] == "xformers"


def test_a_row_says_where_the_two_fidelities_choose_differently():
    layer = {"model": "resnet18", "layers": "layer1.0.conv1", "phases": ("forward",), "batch": 1}
    point = Point(**layer, recipe="asp", hardware=NAME)
    cycle, closed = (
        next(iter(rows(replace(point, fidelity=one)))) for one in ("cycle", "analytical")
    )
    assert bool(cycle["compressed"]) != bool(closed["compressed"])
    own, _, other = cycle["chosen"].partition("; closed forms choose ")
    assert other == closed["chosen"].partition(";")[0] != own.partition(";")[0]
    assert "closed forms" not in closed["chosen"]
