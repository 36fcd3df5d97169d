"""The Python interface, and sizes at the edge of what can be counted."""

from itertools import product
from pathlib import Path

import pytest

import nmsim
from nmsim.errors import NmsimError, ShapeError, SpecError
from nmsim.files import write_file, write_folder
from nmsim.network.layer import Conv

FAST = {"fidelity": "analytical", "compare": False, "elementwise": False}


def test_models_and_machines_come_by_name_path_or_value(tmp_path):
    table = nmsim.simulate("resnet18", hardware="scale-sim", layers="fc", batch=1, **FAST)
    package = Path(nmsim.__file__).parent
    machine = nmsim.load_hardware("scale-sim")
    gemms = [gemm for gemm in nmsim.load_model("resnet18").gemms() if gemm.layer == "fc"]
    for model, hardware in (
        ("resnet18", package / "machines" / "systolic" / "catalog" / "scale-sim.yaml"),
        (package.parent / "models" / "resnet18.yaml", machine),
        (gemms, "scale-sim"),
    ):
        again = nmsim.simulate(model, hardware=hardware, layers="fc", batch=1, **FAST)
        assert again.to_csv() == table.to_csv()
    assert table["phase"].tolist() == ["forward", "backward", "update"]


def test_a_machine_takes_any_field_by_keyword():
    machine = nmsim.load_hardware("scale-sim", rows=32, cols=16, dataflow="ws")
    assert (machine.rows, machine.cols, machine.dataflow) == (32, 16, "ws")
    assert nmsim.load_hardware(machine, name="mine").name == "mine"
    with pytest.raises(SpecError, match="did you mean 'rows'"):
        nmsim.load_hardware("scale-sim", row=32)


def test_gemms_have_sizes_phase_and_copies():
    gemm = nmsim.Gemm(3, 5, 7, count=2, layer="mine", phase="update")
    row = nmsim.simulate([gemm], **FAST).iloc[0]
    assert (row["layer"], row["phase"], row["macs_dense"]) == ("mine", "update", 210)


def test_three_gemms_per_layer_scale_with_the_batch():
    network = nmsim.load_model("resnet50")
    one, many = (network.gemms(batch=b, lowering="columns") for b in (1, 32))
    assert len(many) == 3 * len({gemm.layer for gemm in many}) - 1  # data need no gradient
    assert sum(g.macs for g in many) == 32 * sum(g.macs for g in one)
    parts = [g for g in network.gemms() if g.part]
    # Three 3 x 3 windows of stride 2, behind a layer that needs a gradient: four parts each.
    assert [g.part for g in parts] == [f"{n}/4" for n in range(1, 5)] * 3
    assert len(network.gemms()) == len(one) + 3 * 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": []},
        {"model": [3]},
        {"model": "resnet81"},
        {"batch": 0},
        {"batch": 1.5},
        {"pattern": "5:4"},
        {"pattern": None},
        {"fidelity": "cycles"},
        {"phases": ["fwd"]},
        {"lowering": "collumns"},
        {"lowering": "backwards=columns"},
        {"layers": "nope"},
        {"seed": -1},
        {"tensors": "nowhere.npz"},
    ],
)
def test_mistakes_are_of_one_kind_and_one_line(wrong):
    with pytest.raises(NmsimError) as error:
        nmsim.simulate(**{"model": "resnet18", "layers": "fc", **wrong})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, None, "3", 2**31 + 1])
def test_a_size_that_cannot_be_is_refused(value):
    with pytest.raises(ShapeError, match="n is"):
        nmsim.Gemm(1, value, 1)


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_large_gemms_are_counted_exactly_or_refused(dataflow):
    machine = nmsim.load_hardware("scale-sim", rows=128, cols=64, dataflow=dataflow)
    size = 2**18
    row = nmsim.simulate([nmsim.Gemm(size, size, size)], hardware=machine).iloc[0]
    assert row["macs_issued"] == row["macs_dense"] == size**3
    assert row["cycles"] > size**3 // machine.peak_macs
    with pytest.raises(ShapeError, match="too large to count"):
        nmsim.simulate([nmsim.Gemm(2**31, 2**31, 2**20)], hardware=machine)


def test_pixels_that_windows_cover_are_counted_once():
    for size, kernel, stride, padding, dilation in product(
        (1, 5, 8), (1, 2, 3), (1, 2, 3, 5), (0, 1, 4), (1, 2, 3)
    ):
        if size + 2 * padding < dilation * (kernel - 1) + 1:
            continue
        layer = Conv(
            name="c",
            type="conv",
            in_channels=1,
            out_channels=1,
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            input_size=(size, 1 + 2 * size),
        )
        seen = 1
        for extent, out in zip(layer.image, layer.output_size, strict=True):
            places = {
                o * stride + t * dilation - padding for o in range(out) for t in range(kernel)
            }
            seen *= len(places & set(range(extent)))
        if seen and not layer.pointwise:
            assert layer.lower(1)[0].gemm.a_elements == seen


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")

    def fail(aside):
        aside.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(SpecError, match="f: cannot be written"):
        write_file(path, fail)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    write_folder(tmp_path / "a" / "b", {"x": "1", "y": "2"})
    (tmp_path / "a" / "b" / "z").mkdir()
    with pytest.raises(SpecError, match="z is a directory"):
        write_folder(tmp_path / "a" / "b", {"x": "3", "z": "4"})
    assert (tmp_path / "a" / "b" / "x").read_text() == "1"
    with pytest.raises(SpecError):
        write_folder(tmp_path / "new" / "er", {"no/such/folder": "5"})
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
