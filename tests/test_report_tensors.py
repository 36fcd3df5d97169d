"""Synthetic tensors beside recorded ones: figures again, verdicts that can turn."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from nmsim.network.tensors import Synthetic
from nmsim.pruning import prune
from nmsim.recipes.statistics import violations
from reports.claims import Section
from reports.tensors import build
from reports.tensors.tensors_claims import judge_constants, judge_sensitivity
from reports.tensors.tensors_figures import ASSUMED, NETWORKS, ends, sensitivity
from traces.tensor_statistics import (
    PATTERNS,
    channel_sigma,
    log_sigma,
    neighbours,
    of_matrix,
    widest,
)

ROOT = Path(__file__).parents[1]
HERE = ROOT / "reports" / "tensors"
RECORDED = json.loads((HERE / "recorded.json").read_text(encoding="utf-8"))
STORED = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
FIGURES = {section["name"]: section["figures"] for section in STORED["sections"]}
CORNERS = load_file(ROOT / "traces" / "tensors-sample.safetensors")


def leaves(value, path=()):
    if isinstance(value, dict):
        return {k: v for key, one in value.items() for k, v in leaves(one, (*path, key)).items()}
    return {path: value}


def near(found, stored):
    assert leaves(found) == {k: pytest.approx(v, abs=3e-4) for k, v in leaves(stored).items()}


@pytest.mark.parametrize("name", sorted(CORNERS))
def test_the_sample_has_the_figures_that_were_recorded_of_it(name):
    near(of_matrix(CORNERS[name]), RECORDED["conditions"]["samples"][name])


def test_the_sensitivity_of_a_network_is_what_is_computed():
    found = sensitivity(RECORDED, ["digits-vit"])["networks"]["digits-vit"]
    near(found, FIGURES["sensitivity"]["networks"]["digits-vit"])


@pytest.mark.slow
def test_all_committed_results_are_what_is_computed():
    for section, stored in zip(build.sections(RECORDED), STORED["sections"], strict=True):
        near(section.figures, stored["figures"])
        assert json.loads(json.dumps(section.record()))["verdicts"] == stored["verdicts"]


def test_verdicts_follow_from_the_figures_and_the_page_shows_them():
    judged = [judge_constants(FIGURES["constants"]), judge_sensitivity(FIGURES["sensitivity"])]
    found = []
    for stored, verdicts in zip(STORED["sections"], judged, strict=True):
        assert [v.record() for v in verdicts] == stored["verdicts"]
        kept = {k: v for k, v in stored.items() if k != "verdicts"}
        found.append(Section(**kept, verdicts=verdicts))
    page = build.page(found)
    assert "figure-sensitivity" in page
    assert "the paper prints" not in page
    assert page.count('class="reproduced"') == sum(v.reproduced for of in judged for v in of)


def test_a_network_of_five_million_parameters_was_trained_for_200_steps():
    made = FIGURES["constants"]["made"]["chars"]
    assert made["parameters"] > 5_000_000
    assert made["training"].startswith("200 steps")
    assert made["loss_last_ten"] < made["loss_first"] - 2


@pytest.mark.parametrize(("shift", "expected"), [(0.0, True), (0.2, False)])
def test_survivors_far_from_synthetic_ones_are_noticed(shift, expected):
    figures = copy.deepcopy(FIGURES["sensitivity"])
    for patterns in figures["networks"].values():
        for kinds in patterns.values():
            for of in kinds["survivors"].values():
                of["recorded"] = of["synthetic"] * (1 + shift)
    assert judge_sensitivity(figures)[4].reproduced is expected


@pytest.mark.parametrize("constant", sorted(ASSUMED))
def test_a_constant_beyond_every_layer_is_noticed(constant):
    figures = copy.deepcopy(FIGURES["constants"])
    of = figures["constants"][constant]
    at = list(figures["constants"]).index(constant)
    for one in of["networks"].values():
        one["recorded"] = [of["assumed"] - 0.05, of["assumed"], of["assumed"] + 0.05]
    assert judge_constants(figures)[at].reproduced
    for one in of["networks"].values():
        one["recorded"] = [of["assumed"] + 0.5, of["assumed"] + 1, of["assumed"] + 2]
    assert not judge_constants(figures)[at].reproduced


def test_statistics_find_the_constants_that_tensors_were_drawn_with():
    rng = np.random.default_rng(0)
    magnitudes = np.exp(1.5 * rng.standard_normal(40_000))
    magnitudes[:5000] = 0
    assert log_sigma(magnitudes) == pytest.approx(1.5, rel=0.02)
    gains = np.exp(0.8 * rng.standard_normal(2000))
    scales = rng.standard_normal((1000, 2000)) * gains
    assert channel_sigma(scales) == pytest.approx(np.log(gains).std(), rel=0.02)
    walk = rng.standard_normal((50, 200, 20))
    for t in range(1, 200):
        walk[:, t] = 0.6 * walk[:, t - 1] + 0.8 * walk[:, t]
    assert neighbours(walk + 3.0) == pytest.approx(0.6, abs=0.02)
    assert neighbours(walk[:, :1]) is None


def test_constants_are_fields_and_a_manifest_names_those_that_were_changed():
    assert Synthetic(3).name == "synthetic, seed 3"
    assert Synthetic(3, gradient_sigma=1.5).name == "synthetic, seed 3, gradient_sigma 1.5"
    least, largest = ends(RECORDED)
    assert least.gradient_sigma < Synthetic().gradient_sigma < largest.gradient_sigma


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_recorded_mask_is_beyond_the_worst_case(pattern):
    worst = widest(pattern)
    for name in NETWORKS:
        for kind, roles in RECORDED["networks"][name]["masks"][pattern].items():
            assert max(roles.values()) <= worst[kind]


def test_a_mask_that_all_rows_share_has_the_most_survivors():
    bits = prune(np.tile(np.arange(16.0), (8, 1)), "2:4", "magnitude").mask
    counts = bits.sum(axis=0, dtype=float)
    assert counts @ counts / (8 * 8 * 4) == widest("2:4")["survivors"]


def test_zeros_that_tie_are_why_gradients_behind_a_relu_are_misfit():
    gradient = CORNERS["digits-cnn.gradient"].astype(np.float32)
    drawn = 1e-20 * np.random.default_rng(0).random(gradient.shape)
    untied = np.where(gradient == 0, drawn.astype(np.float32), gradient)
    tied_share, untied_share = (
        violations(prune(values, "4:8", "magnitude").mask.reshape(-1, 8), "2:4")
        for values in (gradient, untied)
    )
    assert tied_share > untied_share + 0.1
