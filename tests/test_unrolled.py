"""Identical blocks one by one: what they multiply, which weights and inputs they share."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from nmsim.errors import SpecError
from nmsim.network.catalog import MODELS, Network, load_model
from nmsim.network.layer import lowered
from nmsim.network.learning import Learning
from nmsim.network.scenario import Scenario
from nmsim.network.unrolled import blocks_of
from nmsim.recipes.recipe import LeaveDense
from nmsim.recipes.where import Where
from nmsim.run.answer import sums
from nmsim.run.manifest import manifest
from nmsim.run.point import Point, rows
from nmsim.spec import validate


def launched(layers):
    """GEMMs of a step, however many layers they are of."""
    found = {}
    for layer in layers:
        for one in lowered(layer, 2):
            key = (one.gemm.phase, one.gemm.part, one.gemm.m, one.gemm.n, one.gemm.k)
            repeat, renewed = found.get(key, (0, 0))
            often = one.gemm.repeat if one.gemm.renewed is None else one.gemm.renewed
            found[key] = repeat + one.gemm.repeat, renewed + often
    return found


def blocks(network):
    return [one for one in network.layers if "*" in one.name and one.type == "linear"]


@pytest.mark.parametrize("name", [name for name in MODELS if blocks(load_model(name))])
@pytest.mark.parametrize("what", ["all learns", "recompute", "adapters", "learn"])
def test_blocks_one_by_one_multiply_what_they_do_together(name, what):
    network = load_model(name)
    first, *_, last = blocks(network)
    learning = {
        "all learns": Learning.of(),
        "recompute": Learning.of(recompute="*", micro_batches=2),
        "adapters": Learning.of(adapters=f"8:{first.name}"),
        "learn": Learning.of(learn=last.names[-1]),
    }[what]
    asked = Scenario(learning=learning)
    together, apart = network.at(asked), network.at(asked, block_by_block=True)
    assert launched(apart) == launched(together)
    assert sum(layer.weights for layer in apart) == sum(layer.weights for layer in together)
    assert not [layer.name for layer in apart if "*" in layer.name]
    assert len({layer.name for layer in apart}) == len(apart)


@pytest.mark.parametrize("name", [name for name in MODELS if blocks(load_model(name))])
def test_rules_of_first_last_and_blocks_choose_the_same_layers(name):
    network = load_model(name)
    together, apart = network.at(), network.at(block_by_block=True)
    ends = LeaveDense(first=True, last=True)
    assert ends.names(apart) == ends.names(together)
    rule = Where(in_blocks=True)
    chosen = [one.name for layer in together if not rule.why_not(layer) for one in each(layer)]
    assert sorted(chosen) == sorted(one.name for one in apart if not rule.why_not(one))


def each(layer):
    return [layer.alone(block) for block in blocks_of(layer)] if "*" in layer.name else [layer]


SHARING = validate(
    Network,
    {"layers": [
        {"name": "stem", "type": "linear", "in_features": 4, "out_features": 8, "repeat": 2},
        {"name": "a.*.q", "type": "linear", "in_features": 8, "out_features": 8, "repeat": 2},
        {"name": "a.*.k", "type": "linear", "in_features": 8, "out_features": 8, "repeat": 2,
         "input_of": "a.*.q"},
        {"name": "b.*.q", "type": "linear", "in_features": 8, "out_features": 8, "repeat": 2,
         "first_block": 5, "weight_of": "a.*.q"},
    ]},
    "test",
)  # fmt: skip


def test_blocks_share_weights_and_inputs_in_their_order():
    found = SHARING.at(block_by_block=True)
    assert [(one.name, one.repeat, one.weight_of, one.input_of) for one in found] == [
        ("stem", 2, "", ""),
        ("a.0.q", 1, "", ""),
        ("a.0.k", 1, "", "a.0.q"),
        ("a.1.q", 1, "", ""),
        ("a.1.k", 1, "", "a.1.q"),
        ("b.5.q", 1, "a.0.q", ""),
        ("b.6.q", 1, "a.1.q", ""),
    ]


def test_a_checkpoint_comes_to_the_sums_of_its_blocks(tmp_path):
    """Masks that keep as many everywhere: with tensors of any values all is as without them."""
    text = MODELS.path("vit-tiny").read_text()
    (tmp_path / "m.yaml").write_text(text)
    rng, weights = np.random.default_rng(0), {}
    for layer in load_model("vit-tiny").at(block_by_block=True):
        if layer.type in ("linear", "conv"):
            layout = layer.in_file("weight", 1)
            shape = layout.shape if layout else layer.shape("weight", 1)
            weights[f"{layer.name}.weight"] = rng.normal(size=shape).astype(np.float32)
    save_file(weights, tmp_path / "w.safetensors")
    asked = {"recipe": "asp", "hardware": "a100-sxm4-80gb", "fidelity": "analytical", "batch": 8}
    found = []
    for more in ({}, {"tensors": tmp_path / "w.safetensors"}):
        point = Point(tmp_path / "m.yaml", **asked, **more)
        found.append(sums(list(rows(point)), manifest(point, "test").document())["all"])
    together, apart = found
    assert (together.pop("masked"), apart["masked"]) == (4, 4 * 3)  # rows
    known = {name: value for name, value in together.items() if value is not None}
    assert {name: apart[name] for name in known} == pytest.approx(known, rel=1e-9)


def test_no_number_in_a_file_makes_names_without_end():
    layer = {"name": "h.*", "type": "linear", "in_features": 4, "out_features": 4}
    with pytest.raises(SpecError, match=r"'h\.\*': repeat is 2000000000, expected 16384 blocks at"):
        validate(Network, {"layers": [{**layer, "repeat": 2_000_000_000}]}, "test")
    found = validate(Network, {"layers": [{**layer, "name": "h", "repeat": 2_000_000_000}]}, "test")
    assert len(found.at(block_by_block=True)) == 1
