"""What a lowering means to a run: parts of a launch, passes over memory, defaults, traces."""

from dataclasses import replace

import pytest

import nmsim
from nmsim import machines
from nmsim.gemm import Gemm
from nmsim.machines import KINDS, Pass, kind_of, load_hardware
from nmsim.machines.gpu.chip import resolved
from nmsim.mask import SparseGemm
from nmsim.result import totals
from nmsim.run import trace
from nmsim.run.manifest import manifest, provenance
from nmsim.run.memory import memory_footprint
from nmsim.run.point import Point, rows
from nmsim.run.training import training_step

GPU = load_hardware("a100-sxm4-80gb")

LAYERS = """
layers:
- {name: strided, type: conv, in_channels: 16, out_channels: 32, kernel: 3, stride: 2, padding: 1,
   input_size: 17, input: norm}
- {name: shortcut, type: conv, in_channels: 16, out_channels: 32, kernel: 1, stride: 2,
   input_size: 17, input: norm}
- {name: up, type: conv_transposed, in_channels: 32, out_channels: 16, kernel: 3, stride: 2,
   padding: 1, output_padding: 1, input_size: 9, input: norm}
"""


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "layers.yaml"
    path.write_text(LAYERS)
    return path


def table(model, **fields):
    return list(rows(Point(model=model, batch=2, fidelity="analytical", **fields)))


def test_rows_are_told_apart_by_layer_phase_gradient_and_part(model):
    found = table(model, compare=False)
    names = [(row["layer"], row["phase"], row["gradient_of"], row["part"]) for row in found]
    assert len(set(names)) == len(names)
    for spread in (("strided", "backward"), ("up", "forward")):
        parts = [row["part"] for row in found if (row["layer"], row["phase"]) == spread]
        assert parts == ["1/4", "2/4", "3/4", "4/4"]
    assert {part for layer, _, _, part in names if layer == "shortcut"} == {""}


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
def test_parts_of_a_launch_pay_for_it_once(fidelity):
    gemm = Gemm(4096, 512, 1024, phase="backward", kind="conv")
    whole, first, later = (
        machines.simulate(GPU, SparseGemm.dense(replace(gemm, part=part)), fidelity)
        for part in ("", "1/4", "3/4")
    )
    assert first.cycles == whole.cycles
    launch = resolved(GPU, None, fidelity)["launch_us"]
    assert whole.time_us - later.time_us == pytest.approx(launch, abs=2 / GPU.clock_mhz)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "1/4 "])
def test_a_part_that_cannot_be_is_refused(text):
    with pytest.raises(nmsim.errors.ShapeError, match="part is"):
        Gemm(1, 1, 1, part=text)


@pytest.mark.parametrize("kind", list(KINDS))
def test_columns_are_added_up_in_a_pass_over_memory(model, kind):
    machine = load_hardware(min(KINDS[kind].catalog.glob("*.yaml")))
    for row in table(model, hardware=machine, lowering="columns", phases=["backward"])[:2]:
        windows, image = row["m"] * row["n"], 2 * 17 * 17 * 16
        size = kind_of(machine).output_bits(machine) / 8
        one = Pass("col2im", windows * size, image * size, windows)
        assert row["scatter_bytes"] == (windows + image) * size
        assert row["scatter_us"] == pytest.approx(kind_of(machine).pass_us(machine, one))
        assert row["dense_scatter_us"] == row["scatter_us"]


def test_pixels_that_no_window_reaches_are_set_to_zero(model):
    (row,) = table(model, layers="shortcut", phases=["backward"], hardware=GPU)
    zeros = (17 * 17 - 9 * 9) * 2 * 16 * 2
    assert (row["m"], row["scatter_bytes"]) == (2 * 81, zeros)
    assert row["scatter_us"] == kind_of(GPU).pass_us(GPU, Pass("zeros", 0, zeros))
    strided = table(model, layers="strided", phases=["backward"], hardware=GPU)
    assert sum(row["m"] for row in strided) == 2 * 17 * 17
    assert {row["scatter_bytes"] for row in strided} == {0}


@pytest.mark.parametrize("lowering", ["implicit", "columns"])
def test_a_step_has_these_passes_in_it(model, lowering):
    own = {"hardware": GPU, "recipe": "mvue", "lowering": lowering, "elementwise": False}
    found = table(model, **own)
    total, passes = totals(found)["all"], sum(row["scatter_us"] for row in found)
    assert passes > 0
    assert total["scatter_us"] == pytest.approx(passes)
    assert total["step_us"] == pytest.approx(total["time_us"] + total["mask_us"] + passes)
    assert total["dense_step_us"] == pytest.approx(total["dense_time_us"] + passes)
    step = training_step(Point(model=model, batch=2, fidelity="analytical", **own))
    assert step.time_us == pytest.approx(total["step_us"])


def test_a_machine_that_reads_columns_writes_them_unless_it_is_told(model):
    explicit = load_hardware("systolic-128x128-2to4", im2col="explicit")
    for machine, lowering, parts in (
        (explicit, None, 0),
        (explicit, "implicit", 8),
        ("systolic-128x128-2to4", None, 8),
        (GPU, "columns", 0),
        (GPU, "backward=columns", 4),
        (GPU, "forward=columns", 4),
    ):
        found = table(model, hardware=machine, lowering=lowering, compare=False)
        assert sum(bool(row["part"]) for row in found) == parts


def test_a_trace_says_which_part_and_which_lowering(model, tmp_path):
    point = Point(model=model, batch=2, recipe="transposable", fidelity="analytical")
    path = tmp_path / "t.safetensors"
    trace.record(path, point.sparse_gemms(), provenance(manifest(point, "")))
    assert trace.check(path).provenance["lowering"] == "implicit"
    again = replace(point, model=path, batch=None)
    for one, other in zip(rows(point), rows(again), strict=True):
        same = {name: one[name] for name in ("part", "cycles", "scatter_us", "dram_read_bytes")}
        assert same == {name: other[name] for name in same}
    assert manifest(again, "").lowering == "implicit"
    assert manifest(replace(point, lowering="backward=columns"), "").lowering == (
        "forward=implicit,backward=columns,update=implicit"
    )


@pytest.mark.parametrize("recipe", ["mvue", "transposable", "transposable+mvue"])
def test_masks_and_memory_are_of_tensors_whatever_the_lowering(model, recipe):
    """Channels are multiples of every group: both lowerings prune the same tensors."""
    weighed, made = [], []
    for lowering in ("implicit", "columns"):
        found = table(model, hardware=GPU, recipe=recipe, lowering=lowering, layers="strided")
        made.append(sum(row["mask_us"] for row in found))
        kept = memory_footprint(model, hardware=GPU, recipe=recipe, batch=2, lowering=lowering)
        weighed.append(kept.total())
    assert made[0] == pytest.approx(made[1])
    assert made[0] > 0
    assert weighed[0] == weighed[1]
