"""Everything found by name goes through one list of checks: a new file is tested at once."""

import pytest

from nmsim import machines
from nmsim.cli.describe import LISTINGS, SCHEMAS, catalog, describe, schema
from nmsim.gemm import PHASES, Gemm
from nmsim.machines import HARDWARE, load_hardware
from nmsim.machines.systolic.dataflow import DATAFLOWS
from nmsim.mask import SparseGemm
from nmsim.network.catalog import MODELS, load_model
from nmsim.pattern import DENSE
from nmsim.recipes.recipe import RECIPES, load_recipe
from nmsim.result import COLUMNS
from nmsim.run.point import Point, rows


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_recipe_runs_a_layer_of_each_kind(name):
    named = any(offer.layers != "*" for offer in load_recipe(name).operands)
    kinds = [("bert-base", "encoder.attention.*"), ("resnet18", "layer2.0.conv1")]
    for model, layers in kinds[: 1 if named else 2]:
        table = list(rows(Point(model=model, recipe=name, layers=layers)))
        assert {row["phase"] for row in table} == set(PHASES)
        for row in table:
            assert row["macs_useful"] <= row["macs_issued"] <= row["cycles"] * 128 * 128
            assert set(row) == {column.name for column in COLUMNS}
            assert load_recipe(name).source


SYSTOLIC = [name for name in HARDWARE if load_hardware(name).kind == "systolic"]


@pytest.mark.parametrize("name", SYSTOLIC)
def test_a_machine_says_its_sources_and_runs_every_dataflow(name):
    machine = load_hardware(name)
    assert len(machine.source) > 30
    assert machine.name == name
    for dataflow in DATAFLOWS if machine.feed == "skewed" else ["os"]:
        for fidelity in machines.FIDELITIES:
            run = machines.simulate(
                load_hardware(name, dataflow=dataflow), SparseGemm.dense(Gemm(70, 30, 50)), fidelity
            )
            assert run.macs_issued == 70 * 30 * machine.padded(50, DENSE)
            assert run.utilization <= 1


@pytest.mark.parametrize("name", list(MODELS))
def test_a_model_lowers_to_three_gemms_a_layer(name):
    network = load_model(name)
    gemms = network.gemms(batch=2)
    for layer in network.layers:
        own = [gemm for gemm in gemms if gemm.layer == layer.name]
        fed_by_data = layer.input == "data"
        assert len(own) == 3 - fed_by_data
        assert len({gemm.macs for gemm in own}) == 1
    assert network.source


@pytest.mark.parametrize(
    ("hardware", "fidelity"),
    [("systolic-128x128-2to4", "cycle"), ("a100-sxm4-80gb", "analytical")],
)
@pytest.mark.parametrize("name", list(MODELS))
def test_a_model_runs_on_an_array_and_a_gpu(name, hardware, fidelity):
    point = Point(model=name, hardware=hardware, fidelity=fidelity, recipe="asp", compare=False)
    table = list(rows(point))
    assert len(table) == len(load_model(name).gemms(1))
    for row in table:
        assert 0 < row["macs_useful"] <= row["macs_issued"]
        assert 0 < row["utilization"] <= 1


@pytest.mark.parametrize("kind", list(LISTINGS))
def test_everything_that_is_listed_can_be_shown(kind):
    listed = catalog(kind)
    assert listed
    for name, summary in listed:
        assert summary
        facts = dict(describe(kind, name))
        assert facts["name"] == name


@pytest.mark.parametrize("kind", list(SCHEMAS))
def test_every_field_of_a_schema_can_be_printed(kind):
    assert '"properties"' in schema(kind)
