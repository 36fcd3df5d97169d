"""The page on real tensors: its figures again, and verdicts that can come out otherwise."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from reports.digits import build
from reports.digits.digits_claims import (
    Interval,
    interval,
    judge_estimators,
    judge_fits,
    judge_step,
    judge_survivors,
    judge_training,
    paired,
)
from reports.digits.digits_figures import DRAWS, chance_halves, chance_transposed
from traces.mask_statistics import DRAWS as DRAWN
from traces.mask_statistics import PATTERNS, STRUCTURES

HERE = Path(__file__).parents[1] / "reports" / "digits"
TRAINING = json.loads((HERE / "training.json").read_text(encoding="utf-8"))
STORED = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
SECTIONS = {section["name"]: section for section in STORED["sections"]}
JUDGES = {
    "training": judge_training,
    "estimators": judge_estimators,
    "step": judge_step,
    "survivors": judge_survivors,
    "fits": judge_fits,
}


@pytest.fixture(scope="module")
def sections():
    return build.sections(TRAINING)


def verdicts(name, figures):
    return [verdict.reproduced for verdict in JUDGES[name](figures)]


def changed(name, *path, to):
    result = copy.deepcopy(SECTIONS[name]["figures"])
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return result


def test_the_committed_results_are_what_is_computed(sections):
    found = [json.loads(json.dumps(section.record())) for section in sections]
    assert found == STORED["sections"]


def test_the_page_shows_every_section_and_verdict(sections):
    page = build.page(sections, TRAINING)
    for section in sections:
        assert section.title in page
        assert f"figure-{section.name}" in page
    assert page.count('class="reproduced"') + page.count('class="differs"') == sum(
        len(section.verdicts) for section in sections
    )


def test_every_recipe_was_trained_with_several_seeds():
    runs = TRAINING["runs"]
    seeds = TRAINING["conditions"]["seeds"]
    assert seeds >= 3
    for network in ("digits-cnn", "digits-vit"):
        for recipe in ("dense", "asp", "transposable+mvue", "fst", "sdgp", "mvue", "greedy"):
            wanted = (network, recipe, "2:4")
            found = [r["seed"] for r in runs if (r["network"], r["recipe"], r["pattern"]) == wanted]
            assert sorted(found) == list(range(seeds))
    assert all("gemms" in run for run in runs if run["recipe"] != "dense")


def test_the_statistics_are_of_what_was_trained():
    assert DRAWS == DRAWN
    masks = [mask for run in TRAINING["runs"] for mask in run.get("masks", [])]
    assert masks
    for of in masks:
        assert tuple(of["survivors"]) == tuple(of["transposed"]) == PATTERNS
        assert set(of["retained"]) == set(STRUCTURES)


def test_chance_is_counted():
    assert chance_transposed("2:4") == pytest.approx(11 / 16)
    assert chance_transposed("1:4") == pytest.approx((3**4 + 4 * 3**3) / 4**4)
    assert chance_halves() == pytest.approx(36 / 70)


@pytest.mark.parametrize("count", [2, 5, 10, 30])
def test_intervals_are_students(count):
    values = np.random.default_rng(count).normal(size=count)
    half = t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count)
    assert interval(values.tolist()) == pytest.approx((values.mean(), half), rel=1e-9)


def test_differences_are_paired_by_seed():
    assert paired([1.0, 2.0, 3.0], [0.0, 1.0, 2.0]) == Interval(1.0, 0.0)


@pytest.mark.parametrize(("less", "expected"), [(0.02, False), (0.0, True)])
def test_a_loss_of_accuracy_is_no_reproduction(less, expected):
    figures = copy.deepcopy(SECTIONS["training"]["figures"])
    for of in figures["runs"].values():
        dense = of["dense 2:4"]["accuracy"]
        of["transposable+mvue 2:4"]["accuracy"] = [value - less for value in dense]
    assert verdicts("training", figures)[0] is expected


@pytest.mark.parametrize(("more", "expected"), [(0.02, True), (0.0, False), (-0.02, False)])
def test_unbiased_gradients_must_beat_greedy_ones(more, expected):
    figures = copy.deepcopy(SECTIONS["estimators"]["figures"])
    for of in figures["runs"].values():
        greedy = of["greedy 2:4"]["accuracy"]
        of["mvue 2:4"]["accuracy"] = [value + more for value in greedy]
    assert verdicts("estimators", figures)[0] is expected


def test_a_biased_mean_is_noticed():
    path = ("update_errors", "digits-cnn", "2:4", "mvue, mean")
    figures = SECTIONS["estimators"]["figures"]
    once = figures["update_errors"]["digits-cnn"]["2:4"]["mvue"]
    assert verdicts("estimators", figures)[3]
    assert not verdicts("estimators", changed("estimators", *path, to=once))[3]


def test_a_phase_without_a_gain_is_noticed():
    figures = copy.deepcopy(SECTIONS["step"]["figures"])
    for networks in figures["machines"].values():
        for fidelities in networks.values():
            for of in fidelities.values():
                for phase in of["weighted"].values():
                    phase["speedup"] = 1.5
    assert verdicts("step", figures) == [True, True]
    figures["machines"]["a100-sxm4-80gb"]["digits-vit"]["cycle"]["weighted"]["update"][
        "speedup"
    ] = 1.001
    assert verdicts("step", figures) == [True, False]


@pytest.mark.parametrize(("factor", "expected"), [(1.0, True), (1.05, False), (0.95, False)])
def test_survivors_far_from_chance_are_noticed(factor, expected):
    figures = copy.deepcopy(SECTIONS["survivors"]["figures"])
    for patterns in figures["survivors"].values():
        for phases in patterns.values():
            of = phases["update"]
            of["mean"] = [factor * value for value in of["expected"]]
    assert verdicts("survivors", figures)[2] is expected


def test_chance_within_a_wide_interval_is_no_difference():
    figures = copy.deepcopy(SECTIONS["survivors"]["figures"])
    for patterns in figures["survivors"].values():
        for phases in patterns.values():
            of = phases["update"]
            of["mean"] = [f * x for f, x in zip((0.9, 1, 1.2, 1, 1.1), of["expected"], strict=True)]
    assert verdicts("survivors", figures)[2]


def test_groups_that_fit_less_often_are_noticed():
    figures = copy.deepcopy(SECTIONS["fits"]["figures"])
    seeds = TRAINING["conditions"]["seeds"]
    for of in figures["halves"].values():
        for role in of:
            of[role] = [36 / 70] * seeds
    assert verdicts("fits", figures)[3]
    figures["halves"]["digits-vit"]["weight"] = [0.4] * seeds
    assert not verdicts("fits", figures)[3]
