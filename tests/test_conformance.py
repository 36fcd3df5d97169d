"""Everything found by name goes through one list of checks: a new file is tested at once."""

import numpy as np
import pytest

from nmsim import engine
from nmsim.dataflow import DATAFLOWS
from nmsim.describe import KINDS, SCHEMAS, catalog, describe, schema
from nmsim.experiment import Point, rows
from nmsim.gemm import PHASES, Gemm
from nmsim.hardware import HARDWARE, load_hardware
from nmsim.mask import SparseGemm
from nmsim.network import MODELS, load_model
from nmsim.pattern import Pattern
from nmsim.pruning import PRUNERS, prune
from nmsim.recipe import RECIPES, load_recipe
from nmsim.result import COLUMNS

PATTERNS = ["1:2", "2:4", "1:4", "4:8", "3:7", "8:16", "1:1", "5:5"]
SHAPES = [(6, 32), (3, 5, 11), (2, 3), (1, 1), (4, 0), (0, 4)]


def values(shape, dtype=np.float32, seed=0):
    return (np.random.default_rng(seed).normal(size=shape) * 10).astype(dtype)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", list(PRUNERS))
def test_a_pruner_obeys_the_pattern(name, shape, pattern):
    x, chosen = values(shape), Pattern.parse(pattern)
    kept = prune(x, pattern, name, seed=1)
    assert kept.values.shape == kept.mask.shape == x.shape
    assert kept.values.dtype == x.dtype
    assert kept.mask.dtype == np.bool_
    assert not kept.values[~kept.mask].any()
    k = shape[-1]
    groups = np.pad(kept.mask, [(0, 0)] * (len(shape) - 1) + [(0, -k % chosen.group)])
    counts = groups.reshape(*shape[:-1], groups.shape[-1] // chosen.group, chosen.group).sum(-1)
    assert (counts <= chosen.keep).all()
    if PRUNERS[name].regular:
        lengths = np.minimum(chosen.group, k - np.arange(0, k, chosen.group))
        assert (counts == np.minimum(chosen.keep, lengths)).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int32])
@pytest.mark.parametrize("name", list(PRUNERS))
def test_a_pruner_takes_every_real_dtype_and_does_not_change_its_input(name, dtype):
    x = values((5, 24), dtype)
    before = x.copy()
    kept = prune(x, "2:4", name, seed=2)
    assert kept.values.dtype == dtype
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("name", list(PRUNERS))
def test_zeros_are_values_like_others(name):
    kept = prune(np.zeros((3, 8)), "2:4", name)
    assert np.isfinite(kept.values).all()
    sparse = prune(np.array([[0.0, 5.0, 0.0, 0.0]]), "2:4", name, seed=3)
    assert np.isfinite(sparse.values).all()


@pytest.mark.parametrize("name", list(PRUNERS))
def test_a_seed_decides_all(name, monkeypatch):
    x = values((3000, 700))
    one = prune(x, "2:4", name, seed=7)
    monkeypatch.setattr("nmsim.jit._CONFIG.NUMBA_NUM_THREADS", 1)
    monkeypatch.setattr("nmsim.pruning._BLOCK_ELEMENTS", 1 << 16)
    again = prune(x, "2:4", name, seed=7)
    np.testing.assert_array_equal(one.mask, again.mask)
    differs = (prune(x, "2:4", name, seed=8).mask != one.mask).any()
    assert differs == PRUNERS[name].stochastic


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", list(PRUNERS))
def test_what_is_not_finite_is_refused_with_its_place(name, bad):
    x = values((4, 12))
    x[2, 7] = bad
    with pytest.raises(ValueError, match="row 2, column 7"):
        prune(x, "2:4", name)


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_recipe_runs_a_layer_of_each_kind(name):
    for model, layers in (("resnet18", "layer2.0.conv1"), ("bert-base", "encoder.attention.*")):
        table = list(rows(Point(model=model, recipe=name, layers=layers)))
        assert {row["phase"] for row in table} == set(PHASES)
        for row in table:
            assert row["macs_useful"] <= row["macs_issued"] <= row["cycles"] * 128 * 128
            assert set(row) == {column.name for column in COLUMNS}
            assert load_recipe(name).source


@pytest.mark.parametrize("name", list(HARDWARE))
def test_a_machine_says_its_sources_and_runs_every_dataflow(name):
    machine = load_hardware(name)
    assert len(machine.source) > 30
    assert machine.name == name
    for dataflow in DATAFLOWS:
        for fidelity in engine.FIDELITIES:
            run = engine.run(
                load_hardware(name, dataflow=dataflow), SparseGemm.dense(Gemm(70, 30, 50)), fidelity
            )
            assert run.macs_issued == 70 * 30 * 50
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


@pytest.mark.parametrize("kind", KINDS)
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
