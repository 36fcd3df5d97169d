"""Everything found by name goes through one list of checks: a new file is tested at once."""

from dataclasses import replace

import numpy as np
import pytest
from tiers import fast_every

from nmsim.cli.commands.describe import catalog, describe, schema
from nmsim.cli.listings import LISTINGS, plural
from nmsim.cli.listings.schemas import SCHEMAS
from nmsim.formats import FORMATS
from nmsim.gemm import PHASES, Gemm
from nmsim.machines import (
    COLUMNS,
    FIDELITIES,
    HARDWARE,
    KINDS,
    Machine,
    Pass,
    kind_of,
    load_hardware,
    simulate,
)
from nmsim.mask import Mask, SparseGemm
from nmsim.network.catalog import MODELS, load_model
from nmsim.pattern import Pattern
from nmsim.pruning import prune
from nmsim.recipes.recipe import RECIPES, load_recipe
from nmsim.run.point import Point, rows


@pytest.mark.parametrize(
    "name", fast_every([one for one in RECIPES if not load_recipe(one).brought], 3)
)
def test_a_recipe_runs_a_layer_of_each_kind(name):
    named = any(offer.layers != "*" for offer in load_recipe(name).operands)
    kinds = [("bert-base", "encoder.layer.*.attention.*"), ("resnet18", "layer2.0.conv1")]
    hardware = next(iter(HARDWARE))
    for model, layers in kinds[: 1 if named else 2]:
        table = list(rows(Point(model=model, recipe=name, layers=layers, hardware=hardware)))
        machine = load_hardware(hardware)
        assert {row["phase"] for row in table} == set(PHASES)
        for row in table:
            named = "" if row["number_format"].endswith("-bit") else row["number_format"]
            peak = kind_of(machine).in_format(machine, named).machine.peak_macs
            assert row["macs_useful"] <= row["macs_issued"] <= row["cycles"] * peak
            assert set(row) == {column.name for column in COLUMNS}
            assert load_recipe(name).source


def masked(gemm, seed):
    """A GEMM with a mask at 2:4 of each operand, drawn at random."""
    rng = np.random.default_rng(seed)
    return SparseGemm(
        gemm,
        *(
            Mask.of(prune(rng.standard_normal((rows, gemm.k)), "2:4").mask, Pattern(2, 4))
            for rows in (gemm.m, gemm.n)
        ),
    )


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("name", list(HARDWARE))
def test_a_machine_says_its_sources_and_runs_gemms(name, fidelity):
    machine = load_hardware(name)
    assert len(machine.source) > 30
    assert machine.name == name
    gemm = Gemm(70, 30, 56)
    both = masked(gemm, 1)
    dense = Mask.dense(30, 56)
    for work in (SparseGemm.dense(gemm), both, replace(both, b=dense)):
        result = simulate(machine, work, fidelity)
        assert work.macs_useful <= result.macs_issued
        assert (
            result.macs_issued <= (result.compute_cycles + result.stall_cycles) * machine.peak_macs
        )
        assert result.utilization <= 1
        assert result.dram_read_bytes >= result.metadata_bytes >= 0
        assert result.dram_write_bytes > 0
        sides = kind_of(machine).stored(machine, work)
        packed = [name for name, side in zip("ab", sides, strict=True) if side.compressed]
        assert result.compressed == "".join(packed)
        for side, mask in zip(sides, (work.a, work.b), strict=True):
            assert bool(side.why) == (not mask.is_dense and not side.compressed)


@pytest.mark.parametrize("name", list(KINDS))
def test_a_kind_of_machine_fulfils_its_contract(name):
    kind = KINDS[name]
    assert issubclass(kind.schema, Machine)
    assert set(kind.engines) == set(FIDELITIES)
    for path in kind.catalog.glob("*.yaml"):
        machine = load_hardware(path)
        assert kind_of(machine) is kind
        assert machine == load_hardware(path.stem)
        assert hash(machine) == hash(load_hardware(path.stem))
        assert machine.peak_macs > 0
        for wanted in ("", *FORMATS):
            ran = kind.in_format(machine, wanted)
            assert ran.name
            assert kind.operand_bits(ran.machine) > 0
            assert kind.output_bits(ran.machine) > 0
        assert kind.pass_us(machine, Pass("copy", 1e6, 1e6)) >= 0
        assert kind.passes_rest_on(machine)
    for listing in kind.listings.values():
        assert all(listing.summary(one) and listing.facts(one) for one in listing.names())


@pytest.mark.parametrize("name", list(MODELS))
def test_a_layer_has_the_gemms_of_its_phases(name):
    network = load_model(name)
    gemms = network.gemms(batch=2, lowering="columns")
    for layer in network.layers:
        macs = dict.fromkeys(PHASES, 0)
        for gemm in gemms:
            if gemm.layer == layer.name:
                macs[gemm.phase] += gemm.macs
        whole = macs["forward"]
        if layer.type == "embedding":
            assert whole == sum(macs.values()) == 0
        elif layer.type == "attention":
            assert (macs["backward"], macs["update"]) == (2 * whole, 0)
        else:
            assert macs["backward"] == (0 if layer.input == "data" else whole)
            assert macs["update"] == whole > 0
    assert len({(g.layer, g.phase, g.gradient_of, g.part) for g in gemms}) == len(gemms)
    assert network.source


@pytest.mark.parametrize("name", list(MODELS))
def test_a_model_has_one_launch_a_layer_and_phase_in_either_lowering(name):
    def launches(lowering):
        gemms = load_model(name).gemms(batch=2, lowering=lowering)
        rows = [(gemm.layer, gemm.phase, gemm.gradient_of, gemm.part) for gemm in gemms]
        assert len(set(rows)) == len(rows)
        return [row[:3] for row, gemm in zip(rows, gemms, strict=True) if gemm.launches]

    assert launches("implicit") == launches("columns")


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("name", fast_every(list(MODELS), 8))
def test_a_model_runs_on_every_kind_of_machine(name, kind):
    hardware = min(KINDS[kind].catalog.glob("*.yaml"))
    point = Point(model=name, hardware=hardware, fidelity="analytical", recipe="asp", compare=False)
    table = list(rows(point))
    fused = {(row["layer"], row["phase"]) for row in table if row["kind"] == "attention"}
    fused -= {(row["layer"], row["phase"]) for row in table if row["part"]}
    others = [g for g in load_model(name).gemms(1) if (g.layer, g.phase) not in fused]
    assert len(table) == len(others) + len(fused)
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
    assert schema(plural(kind)) == schema(kind)
