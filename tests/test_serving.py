"""Inference as it is served: weights are pruned once, GPUs share a network, a request has a sum."""

import pytest

from nmsim.result import totals
from nmsim.run.point import Point, rows

GPU = "a100-sxm4-80gb"


def found(model="llama-3-8b", **keywords):
    keywords = {"hardware": GPU, "recipe": "asp", "fidelity": "analytical", **keywords}
    return list(rows(Point(model, **keywords)))


# ---- weights that do not change


@pytest.mark.parametrize("scenario", ["infer", "prefill", "decode"])
def test_weights_are_pruned_once_and_in_no_step(scenario):
    total = totals(found(scenario=scenario, layers="*mlp*"))["all"]
    assert total["mask_us"] == total["mask_weight_us"] == 0
    assert total["once_us"] > 0
    assert total["step_us"] == total["time_us"]
    assert total["step_speedup"] == pytest.approx(total["speedup"], rel=1e-6)


def test_a_training_step_packs_its_weights_and_has_no_once():
    table = found("vit-tiny", layers="*fc1*")
    total = totals(table)["all"]
    assert total["once_us"] is None
    assert total["mask_us"] == total["mask_weight_us"] > 0


def test_once_is_the_whole_search_whatever_shares_it():
    """asp searches once in a million steps: of a served weight that is one whole search."""
    trained, served = (
        found("vit-tiny", layers="*fc1*", phases=("forward",), batch=1, **scenario)[0]
        for scenario in ({}, {"scenario": "infer"})
    )
    packing = trained["mask_us"]  # the search is spread over a million steps
    assert packing < served["once_us"] < 10 * packing
    assert served["mask_work"].count("once") == 2
    assert "/ 1000000 steps" in trained["mask_work"]


def test_activations_are_masked_in_every_step_of_inference():
    total = totals(found(recipe="inference-weights+activations", scenario="prefill"))["all"]
    assert total["mask_activation_us"] == total["mask_us"] > 0
    assert total["mask_weight_us"] == 0 < total["once_us"]
    assert total["step_us"] == pytest.approx(total["time_us"] + total["mask_us"])
