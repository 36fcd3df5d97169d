"""What making masks costs a step: bytes by hand, refresh, phases, and what is not charged."""

import pytest
from rich.console import Console

import nmsim
from nmsim.gemm import Gemm
from nmsim.machines import load_hardware
from nmsim.machines.gpu.preparation import Pass, timed
from nmsim.machines.gpu.stacks import load_stack
from nmsim.network.layer import Conv, Linear, Matmul
from nmsim.pattern import Pattern
from nmsim.pruning import PRUNERS
from nmsim.report import records, step_table
from nmsim.result import totals
from nmsim.run.point import Point, rows
from nmsim.run.rows.frame import frame
from nmsim.step.elementwise import Means, beside, elementwise_columns

A100 = load_hardware("a100-sxm4-80gb-documented", masks="always")
PACKING = load_stack("best").packing
ARRAY = load_hardware("systolic-128x128-2to4")
T, INPUTS, OUTPUTS = 4096, 1024, 512
W, X, DY = INPUTS * OUTPUTS, T * INPUTS, T * OUTPUTS


def elementwise_us(machine, layer, gemm, batch):
    """What a machine does beside one GEMM of a network of one layer, microseconds."""
    found = beside(Means.of(machine), [layer], batch)
    return elementwise_columns(machine, found, [gemm])["elementwise_us"][0]


PACKED = 18 / 16 / 2
"""Of a 16-bit matrix at 2:4, metadata included."""


@pytest.fixture
def step(tmp_path):
    """A function from recipe and machine to the rows of a linear layer, by phase."""
    path = tmp_path / "linear.yaml"
    path.write_text(
        f"layers: [{{name: fc, type: linear, in_features: {INPUTS}, out_features: {OUTPUTS}, "
        f"tokens: {T}, input: gelu}}]"
    )

    def simulated(recipe, hardware=A100, **more):
        own = {"fidelity": "analytical", "batch": 1, **more}
        point = Point(model=path, recipe=recipe, hardware=hardware, **own)
        return {row["phase"]: row for row in rows(point)}

    return simulated


def recipe(tmp_path, *operands):
    path = tmp_path / "own.yaml"
    path.write_text("summary: s\nsource: s\noperands:\n" + "".join(f"  - {o}\n" for o in operands))
    return path


def gpu(read, written, operations=0.0, packing=1.0):
    return timed(A100, [Pass("", read, written, operations)], packing).time_us


def test_a_mask_made_in_every_step_is_packed_by_its_own_kernel(step):
    found = step("mvue")
    assert found["forward"]["mask_us"] == found["backward"]["mask_us"] == 0
    # Ranks 3, sums and draws 6, and for every group three per kept element and a random number.
    operations = DY * (3 + 6 + (3 * 2 + 25) / 4)
    expected = gpu(2 * DY, 2 * DY * PACKED, operations, PACKING)
    assert found["update"]["mask_us"] == found["update"]["mask_gradient_us"] == expected
    assert found["update"]["mask_weight_us"] == 0
    assert found["update"]["mask_work"].startswith("gradient: mvue and compress ")
    assert "steps" not in found["update"]["mask_work"]


def test_a_mask_in_two_phases_is_searched_for_once_and_packed_for_both_by_one_kernel(
    step, tmp_path
):
    operand = "{role: weight, phases: [forward, backward], pruner: transposable-2approx"
    found = step(recipe(tmp_path, operand + ", refresh: 40}"))
    # 16 elements in a bitonic network: depth 4, 5 comparisons of two operations; 4 to visit.
    search = gpu(2 * W, W / 8, W * 14)
    one, both = (gpu(2 * W + W / 8, n * 2 * W * PACKED, packing=PACKING) for n in (1, 2))
    assert found["forward"]["mask_us"] == pytest.approx(search / 40 + one)
    assert found["backward"]["mask_us"] == pytest.approx(both - one)
    assert found["update"]["mask_us"] == 0
    # Anew in every step: searching packs for both, and leaves the mask for who else wants it.
    fresh = step(recipe(tmp_path, operand + "}"))
    one, both = (gpu(2 * W, n * 2 * W * PACKED + W / 8, W * 14, PACKING) for n in (1, 2))
    assert fresh["forward"]["mask_us"] == one
    assert fresh["backward"]["mask_us"] == pytest.approx(both - one)
    assert "compress in the forward kernel" in fresh["backward"]["mask_work"]


def test_a_later_phase_that_runs_dense_has_no_copy(step, tmp_path):
    operand = "{role: weight, phases: [forward, backward], pruner: magnitude, allow_unfit: true}"
    found = step(recipe(tmp_path, operand), seed=1)
    assert found["forward"]["compressed"]
    assert not found["backward"]["compressed"]
    assert found["backward"]["mask_us"] == 0


def test_the_optimal_transposable_mask_is_solved_on_the_host(step):
    found = step("transposable")
    solved = W * 13.0 * 4 * 1e-3 / 16 + (2 * W + W / 8) / 25e3
    pack = gpu(2 * W + W / 8, 2 * W * PACKED, packing=PACKING)
    assert found["forward"]["mask_us"] == pytest.approx(solved / 40 + pack)
    # On an array the host is the same, and the packing takes its bytes through DRAM.
    array = step("transposable", ARRAY)
    moved = (2 * W + W / 8 + 2 * W * PACKED) / (ARRAY.dram.gbps * 1e3)
    assert array["forward"]["mask_us"] == pytest.approx(solved / 40 + moved)


def test_what_hardware_cannot_use_is_pruned_all_the_same_but_not_packed(step, tmp_path):
    path = recipe(
        tmp_path,
        "{role: weight, phases: [forward, backward], pruner: magnitude, allow_unfit: true}",
    )
    found = step(path, ARRAY, pattern="4:8")
    assert found["forward"]["compressed"] == ""
    gbps = ARRAY.dram.gbps * 1e3
    assert found["forward"]["mask_us"] == pytest.approx((2 * W + 2 * W + W / 8) / gbps)
    assert found["backward"]["mask_us"] == 0


def test_fst_gathers_kept_columns_and_shifts_the_gradient(step):
    found = step("fst", ARRAY)
    gbps = ARRAY.dram.gbps * 1e3
    assert found["update"]["mask_activation_us"] == pytest.approx(2 * X / gbps)
    assert found["update"]["mask_gradient_us"] == pytest.approx(4 * DY / gbps)
    for phase in ("forward", "backward"):
        packed = 2 * W + 2 * W * PACKED
        assert found[phase]["mask_weight_us"] == found[phase]["mask_us"]
        assert found[phase]["mask_us"] == pytest.approx(packed / gbps)


def test_a_sparser_pattern_is_packed_as_the_machine_s_own(step):
    found = step("sr-ste", ARRAY, pattern="1:4")["forward"]
    packed = 2 * W + 2 * W * PACKED
    assert found["mask_us"] == pytest.approx(packed / (ARRAY.dram.gbps * 1e3))


def test_a_short_last_group_keeps_its_quota(tmp_path):
    path = tmp_path / "short.yaml"
    path.write_text(
        "layers: [{name: fc, type: linear, in_features: 6, out_features: 512, tokens: 256}]"
    )
    point = Point(model=path, recipe="sr-ste", hardware=ARRAY, phases=("forward",))
    [found] = rows(point)
    # Two of the first four and both of the last two, 16 bits and an index of two each.
    packed = 512 * (6 * 16 + 4 * 18) / 8
    assert found["mask_us"] == pytest.approx(packed / (ARRAY.dram.gbps * 1e3))


@pytest.mark.parametrize(("phase", "elements"), [("forward", 100 * 8), ("update", 100 * 9 * 8)])
def test_windows_are_masked_as_pixels_in_forward_and_as_columns_in_update(
    tmp_path, phase, elements
):
    network = tmp_path / "conv.yaml"
    network.write_text(
        "layers: [{name: c, type: conv, in_channels: 8, out_channels: 16, kernel: 3, padding: 1, "
        "input_size: 10}]"
    )
    masks = recipe(tmp_path, f"{{role: activation, phases: [{phase}], pruner: magnitude}}")
    point = Point(network, recipe=masks, hardware=A100, phases=(phase,), batch=4)
    [found] = rows(point)
    size = 4 * elements * 2
    assert found["compressed"]
    assert found["mask_us"] == gpu(size, size * PACKED, 4 * elements * 3, PACKING)


def test_what_stands_once_behind_columns_is_masked_once_in_forward(tmp_path):
    """A GEMM of 100 x 72 columns of 800 pixels, which says so and not how it gathers them."""
    gemm = Gemm(100, 16, 72, layer="c", kind="conv", a_elements=800)
    masks = recipe(tmp_path, "{role: activation, phases: [forward], pruner: magnitude}")
    [found] = nmsim.simulate([gemm], recipe=masks, hardware=A100)["mask_us"]
    assert found == gpu(1600, 1600 * PACKED, 800 * 3, PACKING)


def test_a_machine_without_limits_is_charged_nothing(step):
    for hardware in ("ideal", load_hardware(ARRAY, **{"dram.gbps": None})):
        found = step("transposable+mvue" if hardware == "ideal" else "mvue", hardware)
        assert {row["mask_us"] for row in found.values()} == {0}


def test_repeated_blocks_are_charged_each(tmp_path):
    for repeat in (1, 3):
        path = tmp_path / f"{repeat}.yaml"
        path.write_text(
            "layers: [{name: fc, type: linear, in_features: 64, out_features: 64, tokens: 64, "
            f"repeat: {repeat}}}]"
        )
        point = Point(
            model=path, recipe="fst", hardware=A100, fidelity="analytical", elementwise=True
        )
        found = totals(rows(point))["all"]
        if repeat == 1:
            once = found
    assert found["mask_us"] == pytest.approx(3 * once["mask_us"])
    assert found["elementwise_us"] == pytest.approx(3 * once["elementwise_us"])


def test_totals_hold_masks_against_the_dense_step(step):
    found = list(step("transposable+mvue", elementwise=True).values())
    total = totals(found)["all"]
    masks, beside = (sum(row[n] for row in found) for n in ("mask_us", "elementwise_us"))
    dense = sum(row["dense_cycles"] for row in found) / A100.clock_mhz
    assert total["step_us"] == pytest.approx(total["time_us"] + masks + beside)
    assert total["mask_share"] == pytest.approx(masks / total["step_us"])
    assert total["step_speedup"] == pytest.approx((dense + beside) / total["step_us"])
    assert total["mask_us"] == pytest.approx(
        total["mask_weight_us"] + total["mask_activation_us"] + total["mask_gradient_us"]
    )
    unmasked = totals(list(step("dense", elementwise=False).values()))["all"]
    assert unmasked["mask_us"] == 0
    assert unmasked["step_speedup"] == unmasked["speedup"] == 1
    assert unmasked["elementwise_us"] is None


def test_rows_that_do_not_tell_of_masks_leave_the_step_open(step):
    told = list(step("asp").values())
    old = [{k: v for k, v in row.items() if not k.startswith("mask_")} for row in told]
    total = totals(records(frame(old)))["all"]
    assert total["mask_us"] is total["step_us"] is total["step_speedup"] is None
    assert total["speedup"] is not None


def test_every_pruner_has_an_effort_that_grows_with_the_group():
    for name in PRUNERS:
        pruner = PRUNERS[name]
        small, large = (pruner.effort(Pattern(2, m), {}) for m in (4, 16))
        assert small.operations >= 0
        assert (small.reads == 0) == (name in ("fixed", "given"))
        assert large.operations + large.host_ns >= min(small.operations + small.host_ns, 5)
    assert PRUNERS["sdgp"].effort(Pattern(2, 4), {"per": "block"}).reads == 1
    assert PRUNERS["sdgp"].effort(Pattern(2, 4), {}).reads == 2
    assert PRUNERS["transposable-greedy"].effort(Pattern(4, 8), {}).operations == 2 * 10.5 + 4


def test_elementwise_bytes_by_hand():
    linear = Linear(
        name="fc", type="linear", in_features=INPUTS, out_features=OUTPUTS, tokens=T, input="gelu"
    )
    phases = {low.gemm.phase: low.gemm for low in linear.lower(1)}
    gbps = ARRAY.dram.gbps * 1e3
    found = {p: elementwise_us(ARRAY, linear, g, 1) * gbps for p, g in phases.items()}
    assert found["forward"] == pytest.approx(2 * 2 * X)
    assert found["backward"] == pytest.approx(3 * 2 * X)
    bits = ARRAY.output_bits + ARRAY.operand_bits
    assert found["update"] == pytest.approx(W * (16 + bits / 8))
    conv = Conv(
        name="c", type="conv", in_channels=8, out_channels=4, kernel=3, padding=1, input_size=10
    )
    # A batch norm, which reads twice, and a ReLU.
    assert elementwise_us(ARRAY, conv, conv.lower(2)[0].gemm, 2) * gbps == pytest.approx(
        (3 + 2) * 2 * 2 * 100 * 8
    )


@pytest.mark.parametrize(
    ("made_by", "forward", "backward"),
    [("relu", 2, 3), ("gelu", 2, 3), ("norm", 2, 3), ("swiglu", 3, 5), ("embedding", 2, 2)],
)
def test_elementwise_tensors_are_those_that_the_docs_state(made_by, forward, backward):
    layer = Linear(
        name="fc", type="linear", in_features=64, out_features=8, tokens=16, input=made_by, repeat=3
    )
    phases = {low.gemm.phase: low.gemm for low in layer.lower(2)}
    tensor = 2 * (2 * 16 * 64) * 3 / (ARRAY.dram.gbps * 1e3)
    assert elementwise_us(ARRAY, layer, phases["forward"], 2) == pytest.approx(forward * tensor)
    assert elementwise_us(ARRAY, layer, phases["backward"], 2) == pytest.approx(backward * tensor)


def test_the_optimizer_reads_gradients_as_update_writes_them():
    wide = load_hardware(ARRAY, output_bits=32)
    layer = Linear(name="fc", type="linear", in_features=64, out_features=8, tokens=16)
    update = next(low.gemm for low in layer.lower(1) if low.gemm.phase == "update")
    # Master and momentum there and back, a gradient of 32 bits and a copy of 16.
    moved = 64 * 8 * (4 * 4 + 4 + 2) / (ARRAY.dram.gbps * 1e3)
    assert elementwise_us(wide, layer, update, 1) == pytest.approx(moved)


def test_elementwise_work_of_products_and_convolutions():
    unit = 2 / (ARRAY.dram.gbps * 1e3)
    product = Matmul(name="p", type="matmul", m=8, n=4, k=16, input="softmax")
    found = [elementwise_us(ARRAY, product, low.gemm, 1) for low in product.lower(1)]
    assert found == pytest.approx([2 * 8 * 16 * unit, 3 * 8 * 16 * unit, 0])
    conv = Conv(name="c", type="conv", in_channels=8, out_channels=4, kernel=1, input_size=10)
    backward = next(low.gemm for low in conv.lower(1) if low.gemm.phase == "backward")
    assert elementwise_us(ARRAY, conv, backward, 1) == pytest.approx((5 + 3) * 100 * 8 * unit)


def test_the_step_is_printed_side_by_side(step):
    found = totals(list(step("fst", elementwise=True).values()))
    console = Console(width=100)
    with console.capture() as shown:
        console.print(step_table(found))
    lines = shown.get().splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[1].split() == ["training", "step", "forward", "backward", "update", "step"]
    printed = {line[:32].strip(): line[38:].split() for line in lines[2:]}
    assert printed["speed-up of the step"][-1] == f"{found['all']['step_speedup']:.2f}"
    assert printed["masks, of the step"][0] == f"{100 * found['forward']['mask_share']:.1f}"
    assert "beside GEMMs, estimated" in printed


def test_the_gradient_of_pruned_weights_is_masked_in_a_pass_of_its_own(step, tmp_path):
    operand = (
        "{role: weight, phases: [forward, backward], pruner: transposable-greedy, pattern: '2:4'"
    )
    kept = step(recipe(tmp_path, operand + "}"))
    masked = step(recipe(tmp_path, operand + ", masks_gradient: true}"))
    assert kept["update"]["mask_us"] == 0
    assert masked["update"]["mask_us"] == pytest.approx(gpu(2 * W + W / 8, 2 * W))
    assert masked["forward"] == kept["forward"]
