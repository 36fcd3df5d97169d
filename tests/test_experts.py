"""Experts: rows that are even, drawn or given; their GEMMs, masks and mistakes."""

import numpy as np
import pytest

from nmsim import machines
from nmsim.errors import ShapeError, SpecError
from nmsim.gemm import PHASES
from nmsim.machines import load_hardware
from nmsim.network.catalog import Network, load_model
from nmsim.network.layer import Experts, Linear
from nmsim.network.tensors import Synthetic
from nmsim.pattern import Pattern
from nmsim.recipes.masking import Setting, sparse_gemms
from nmsim.recipes.recipe import load_recipe
from nmsim.run.memory import memory_footprint
from nmsim.run.point import Point, rows
from nmsim.spec import validate


def experts(**fields):
    given = {"experts": 4, "per_token": 2, "in_features": 16, "out_features": 8, "tokens": 6}
    return Experts(name="up", type="experts", **{**given, **fields})


def sizes(layer, batch, phase="forward"):
    found = (one.gemm for one in layer.lower(batch) if one.gemm.phase == phase)
    return [(g.m, g.n, g.k, g.count, g.part) for g in found]


def test_even_rows_are_one_grouped_gemm():
    assert sizes(experts(), 2) == [(6, 8, 16, 4, "")]
    assert sizes(experts(), 2, "backward") == [(6, 16, 8, 4, "")]
    assert sizes(experts(), 2, "update") == [(8, 16, 6, 4, "")]


def test_rows_that_do_not_divide_make_two_parts():
    assert sizes(experts(tokens=5), 1) == [(3, 8, 16, 2, "1/2"), (2, 8, 16, 2, "2/2")]
    assert sizes(experts(tokens=1), 1) == [(1, 8, 16, 2, "")]  # two experts get nothing


@pytest.mark.parametrize("batch", [1, 3])
def test_given_rows_are_those_of_a_sample(batch):
    layer = experts(rows=(7, 0, 4, 1))
    assert layer.loads(batch) == (7 * batch, 0, 4 * batch, batch)
    assert [size[0] for size in sizes(layer, batch)] == [7 * batch, 4 * batch, batch]


def test_drawn_rows_are_a_seeds_and_add_up():
    one, same, other = (experts(rows="drawn", seed=seed, tokens=50) for seed in (1, 1, 2))
    assert one.loads(8) == same.loads(8) != other.loads(8)
    for layer in (one, other):
        assert sum(layer.loads(8)) == 8 * 50 * 2
    wide = experts(rows="drawn", seed=1, tokens=50, in_features=8, out_features=16)
    assert wide.loads(8) == one.loads(8)  # the layer behind gets the same tokens


@pytest.mark.parametrize("rows", ["even", "drawn", (7, 0, 4, 1)])
@pytest.mark.parametrize("phase", PHASES)
def test_macs_are_those_of_the_tokens_that_are_sent(rows, phase):
    layer = experts(rows=rows)
    whole = Linear(name="l", type="linear", in_features=16, out_features=8, tokens=6 * 2)
    macs = [sum(x.gemm.macs for x in one.lower(3) if x.gemm.phase == phase)
            for one in (layer, whole)]  # fmt: skip
    assert macs[0] == macs[1]


def works(layer, recipe, batch=1, pattern="2:4"):
    setting = Setting(load_recipe(recipe), Pattern.parse(pattern), Synthetic(), batch)
    return [(w, x) for w, x in zip(sparse_gemms([layer], setting), layer.lower(batch), strict=True)]


def test_a_mask_is_an_experts_own_in_every_part_and_direction():
    layer = experts(rows=(7, 0, 4, 1))
    whole = {}
    for work, lowered in works(experts(), "transposable"):
        whole[lowered.gemm.phase] = work.b.bits().reshape(4, lowered.gemm.n, -1)
    assert (whole["backward"] == np.swapaxes(whole["forward"], 1, 2)).all()
    for work, lowered in works(layer, "transposable"):
        if lowered.gemm.phase == "update":
            assert work.a.is_dense
            assert work.b.is_dense
            continue
        mask = work.b.bits().reshape(len(lowered.among), lowered.gemm.n, -1)
        assert (mask == whole[lowered.gemm.phase][list(lowered.among)]).all()
        assert work.b.broken_groups() == 0
    # experts' weights are told apart
    assert (whole["forward"][0] != whole["forward"][1]).any()


@pytest.mark.parametrize("recipe", ["fst", "transposable+mvue", "activations"])
def test_rows_that_are_sent_to_experts_run_dense_and_say_so(recipe):
    notes = [w.note for w, _ in works(experts(), recipe) if "sent to experts" in w.note]
    assert notes
    for work, lowered in works(experts(), recipe):
        assert work.k == lowered.gemm.k
        assert work.a.is_dense


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rows": [7, 4, 1]}, r"layer 'up': rows are 12 of 3 experts, expected 12 .* of 4"),
        ({"rows": [7, 0, 4, 2]}, r"layer 'up': rows are 13 of 4 experts, expected 12"),
        ({"rows": [13, 0, 0, -1]}, r"layers\[0\].rows is \[13, 0, 0, -1\]: expected even, drawn"),
        ({"rows": "evn"}, r"layers\[0\].rows is 'evn': expected even, drawn"),
        ({"experts": 0}, r"layers\[0\].experts is 0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(fields, message):
    layer = {"name": "up", "type": "experts", "experts": 4, "per_token": 2, "in_features": 16,
             "out_features": 8, "tokens": 6, **fields}  # fmt: skip
    with pytest.raises((SpecError, ShapeError), match=message) as error:
        validate(Network, {"layers": [layer]}, "test")
    assert "\n" not in str(error.value)


def test_every_token_may_go_to_one_expert_of_many():
    assert sizes(experts(experts=256, per_token=1, tokens=1), 1) == [(1, 8, 16, 1, "")]


LINEAR = {"name": "l", "type": "linear", "in_features": 16, "out_features": 8, "tokens": 0}
EXPERTS = {**LINEAR, "type": "experts", "experts": 4, "per_token": 2}


@pytest.mark.parametrize("hardware", ["systolic-16x16", "a100-sxm4-80gb", "ideal"])
@pytest.mark.parametrize("layer", [LINEAR, EXPERTS])
def test_a_layer_without_rows_costs_nothing(layer, hardware, tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(f"layers: [{layer}]")
    for fidelity in machines.FIDELITIES:
        point = {"fidelity": fidelity, "hardware": hardware, "elementwise": True}
        for row in rows(Point(path, recipe="transposable+mvue", **point)):
            assert (row["cycles"], row["macs_dense"], row["dram_read_bytes"]) == (0, 0, 0)
            assert row["speedup"] is None
            assert row["utilization"] == 0
    kept = memory_footprint(path, hardware=hardware).total()["dense"]
    assert kept["activations"] == 0
    assert kept["weights"] > 0


def test_the_catalogs_experts_decode_as_they_were_recorded():
    """Mixtral sends 16 tokens to 2 of 8 each; DeepSeek to 8 of 256: half of them get one."""
    for name, expected in (("mixtral-8x7b", (4, 8)), ("deepseek-v3", (1, 128))):
        found = {
            (g.m, g.count) for g in load_model(name).gemms(16, "decode") if g.kind == "experts"
        }
        assert found == {expected}


def test_a_grouped_gemm_takes_longer_than_one_expert_and_runs_everywhere():
    for hardware in ("systolic-128x128", "a100-sxm4-80gb"):
        machine = load_hardware(hardware)
        one, four = (
            machines.simulate(machine, next(sparse_gemms([experts(experts=n, per_token=n,
                tokens=64, in_features=256, out_features=256)],
                Setting(load_recipe("dense"), Pattern(2, 4), Synthetic(), 4))), "analytical")
            for n in (1, 4)
        )  # fmt: skip
        assert one.cycles <= four.cycles <= 4 * one.cycles
