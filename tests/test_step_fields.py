"""What a step takes beside its GEMMs, as machines say it: the usual figures, and one's own."""

import re
from pathlib import Path
from typing import get_args

import pytest

import nmsim
from nmsim.cli.commands.describe import describe
from nmsim.errors import SpecError
from nmsim.machines import HARDWARE, KINDS, load_hardware
from nmsim.network.layer import Conv, Linear
from nmsim.network.operations import OPERATIONS, made_by
from nmsim.run.manifest import manifest
from nmsim.run.point import Point, rows
from nmsim.spec import validate
from nmsim.step.elementwise import Means, beside, elementwise_columns

ARRAY = "systolic-128x128-2to4"
USUAL = load_hardware(ARRAY)


@pytest.fixture
def machine(tmp_path):
    """A function from a machine's file, based on an array, to the machine."""

    def loaded(text):
        path = tmp_path / "mine.yaml"
        path.write_text(f"based_on: {ARRAY}\nsummary: mine\nsource: an example\n{text}")
        return load_hardware(path)

    return loaded


def elementwise_us(machine, layer, gemm, batch):
    found = beside(Means.of(machine), [layer], batch)
    return elementwise_columns(machine, found, [gemm])["elementwise_us"][0]


def forward_us(machine, layer):
    """Elementwise work beside the forward GEMM of one sample."""
    return elementwise_us(machine, layer, layer.lower(1)[0].gemm, 1)


@pytest.mark.parametrize("name", list(HARDWARE))
def test_a_machine_that_says_nothing_else_takes_the_usual_figures_and_their_sources(name):
    machine = load_hardware(name)
    assert machine.elementwise == USUAL.elementwise
    assert machine.host == (USUAL.host if KINDS[machine.kind].host else None)
    figures = [USUAL.host, *machine.elementwise.operations, machine.elementwise.optimizer]
    assert all(len(one.source) > 30 for one in figures)
    facts = dict(describe("hardware", name))
    assert facts["elementwise.optimizer.source"] == machine.elementwise.optimizer.source
    assert machine.elementwise.operations[0].source in facts["elementwise.operations.0"]


def test_the_usual_figures():
    assert (USUAL.host.cores, USUAL.host.link_gbps) == (16, 25)
    passes = {
        one.made_by: [(way.reads, way.writes, way.kernels) for way in (one.forward, one.backward)]
        for one in USUAL.elementwise.operations
    }
    assert passes["batch_norm"] == [(2, 1, 1), (4, 1, 1)]
    assert passes["residual"] == [(2, 1, 1), (2, 1, 1)]
    assert passes["sum"] == [(2, 1, 1), (0, 0, 1)]
    assert passes["bias"] == [(0, 0, 1), (1, 0, 1)]
    for name in ("relu", "gelu", "silu", "layer_norm", "rms_norm", "softmax"):
        assert passes[name] == [(1, 1, 1), (2, 1, 1)]
    optimizer = USUAL.elementwise.optimizer
    assert (optimizer.tensors, optimizer.bits) == (2, 32)


def test_a_document_needs_no_catalog_to_take_the_usual_figures():
    fields = load_hardware("ideal").model_dump()
    del fields["host"], fields["elementwise"]
    found = validate(KINDS["ideal"].schema, fields, "a document")
    assert (found.host, found.elementwise) == (USUAL.host, USUAL.elementwise)


def test_a_file_replaces_single_figures(machine):
    text = (Path(__file__).parents[1] / "docs" / "files.md").read_text()
    found = machine(re.findall("```yml\n(.*?)```", text, re.DOTALL)[1])
    assert found.host.model_dump() == {
        "cores": 64, "link_gbps": 50, "source": "a server of ours, PCIe 5.0",
    }  # fmt: skip
    usual, own = USUAL.elementwise.operations, found.elementwise.operations
    assert [one.made_by for one in usual if one not in own] == ["relu"]
    assert found.elementwise.operation("relu").backward == usual[3].backward
    relu, gelu = (
        Linear(name="fc", type="linear", in_features=8, out_features=8, input=made_by)
        for made_by in ("relu", "gelu")
    )
    assert forward_us(found, relu) == 0
    assert forward_us(found, gelu) == forward_us(USUAL, gelu) > 0
    conv = Conv(name="c", type="conv", in_channels=8, out_channels=8, kernel=1, input_size=8)
    batch_norm = 3 * 8 * 64 * 2 / (found.dram.gbps * 1e3)
    assert forward_us(found, conv) == pytest.approx(batch_norm)
    update = next(low.gemm for low in gelu.lower(1) if low.gemm.phase == "update")
    moved = 64 * (2 * 3 * 4 + 2 + 2) / (found.dram.gbps * 1e3)
    assert elementwise_us(found, gelu, update, 1) == pytest.approx(moved)


def test_an_operation_may_be_added_and_all_be_replaced(machine):
    ways = "forward: {reads: 2, writes: 1}, backward: {reads: 3, writes: 2}"
    found = machine(f"elementwise: {{operations: [{{made_by: swiglu, {ways}, source: x}}]}}\n")
    swiglu, gelu = (
        Linear(name="fc", type="linear", in_features=8, out_features=8, input=made_by)
        for made_by in ("swiglu", "gelu")
    )
    assert forward_us(found, swiglu) == pytest.approx(3 * 8 * 2 / (found.dram.gbps * 1e3))
    assert forward_us(found, gelu) == 0
    assert found.elementwise.optimizer == USUAL.elementwise.optimizer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("host: {cores: 0}\n", "mine.yaml: host.cores is 0"),
        ("host: {core: 4}\n", "mine.yaml: unknown field 'host.core'; did you mean 'cores'"),
        ("elementwise: null\n", "mine.yaml: elementwise is None"),
        ("elementwise: {operations: {rleu: {source: x}}}\n",
         "mine.yaml: field 'elementwise.operations.rleu': unknown entry 'rleu'; did"),
        ("elementwise: {operations: {relu: {made_by: gelu}}}\n",
         "mine.yaml: elementwise.operations is .*expected each made_by once"),
        ("elementwise: {operations: {relu: {forward: {reads: -1}}}}\n",
         r"mine.yaml: elementwise.operations\[3\].forward.reads is -1"),
    ],
)  # fmt: skip
def test_figures_that_will_not_do_are_refused_in_one_line(machine, text, message):
    with pytest.raises(SpecError, match=message) as caught:
        machine(text)
    assert "\n" not in str(caught.value)


def test_every_operation_that_networks_can_say_has_its_figures():
    assert {one.made_by for one in USUAL.elementwise.operations} == set(OPERATIONS)
    inputs = get_args(Linear.model_fields["input"].annotation)
    found = {name for source in inputs for name in made_by(source, convolution=source == "relu")}
    assert found <= set(OPERATIONS)


def masks_us(machine, recipe="transposable"):
    point = Point("gemm:64x64x64", hardware=machine, recipe=recipe, phases=("forward",))
    [row] = rows(point)
    return row["mask_us"], manifest(point, "").document()["mask_basis"]


def test_masks_are_solved_on_the_cores_of_the_machine_s_host():
    slow, told = masks_us(load_hardware(USUAL, **{"host.cores": 1, "host.link_gbps": 5.0}))
    fast, _ = masks_us(USUAL)
    solved = 64 * 64 * 13.0 * 4 * 1e-3 * (1 - 1 / 16)
    moved = 64 * 64 * (2 + 1 / 8) * (1 / 5e3 - 1 / 25e3)
    assert slow - fast == pytest.approx((solved + moved) / 40)
    assert told.endswith("optimal transposable masks on 1 host cores and a 5 GB/s link")


def test_a_machine_without_a_host_refuses_masks_that_take_one(machine):
    alone = machine("host: null\n")
    expected = "mine: host is null, expected its cores and link: transposable masks are solved on a"
    with pytest.raises(SpecError, match=expected):
        masks_us(alone)
    assert masks_us(alone, "asp")[1].endswith("no host to solve for optimal transposable masks")
    ideal = nmsim.simulate("gemm:64x64x64", hardware="ideal", recipe="transposable")
    assert set(ideal["mask_us"]) == {0}


def test_a_step_without_an_optimizer_has_all_but_its_passes():
    def update(**fields):
        (row,) = rows(
            Point(
                "resnet18",
                hardware=load_hardware("a100-sxm4-80gb", stack="compiled", **fields),
                batch=1,
                phases=("update",),
                layers="layer1.0.conv1",
                fidelity="analytical",
            )
        )
        return row["elementwise_work"]

    assert "optimizer" in update()
    without = update(**{"elementwise.optimizer": None})
    assert "optimizer" not in without
    assert "gradient cast" in without
