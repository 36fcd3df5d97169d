"""The page on the papers: its figures on small sizes, and verdicts that can come out otherwise."""

import copy
import doctest
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from reports.claims import judged
from reports.pruning import build, printed
from reports.pruning.chmiel import judge_estimators, judge_scan, measure_estimators, measure_scan
from reports.pruning.hubara import (
    judge_diversity,
    judge_violations,
    measure_diversity,
    measure_violations,
)
from reports.pruning.hubara_masks import (
    judge_bounds,
    judge_retained,
    measure_bounds,
    measure_retained,
)
from reports.pruning.printed import power, within_last_digit

STORED = json.loads((build.HERE / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def weights():
    return load_file(build.WEIGHTS)


@pytest.fixture(scope="module")
def figures(weights):
    return {
        "estimators": measure_estimators(groups=20_000),
        "approximation": measure_scan(steps=20, blocks=2000),
        "bounds": measure_bounds(tiles=500),
        "diversity": measure_diversity(),
        "violations": measure_violations(groups=2000),
        "retained": measure_retained(weights),
    }


JUDGES = {
    "estimators": judge_estimators,
    "approximation": judge_scan,
    "bounds": judge_bounds,
    "diversity": judge_diversity,
    "violations": judge_violations,
    "retained": judge_retained,
}

DIFFERENT = {
    "estimators": ["less bias, the more accurate"],
    # A coarse grid does not reach the maximum of the fine one.
    "approximation": ["Maximum over blocks", "a₄ ≪ max"],
    "bounds": ["pattern's sparsity"],
    "diversity": [
        "transposable: number of masks [exact count]",
        "Sequential is the least diverse",
        "as 2:4 structured [exact count]",
    ],
    "violations": ["N/M ≥ ρ"],
    "retained": ["magnitude is kept [Eq. 2]"],
}


def differing(verdicts):
    """Statements that are not met, each with the cases in which it is not."""
    return [
        f"{v.statement} [{', '.join(case for case in v.cases if case not in v.met)}]"
        for v in verdicts
        if not v.reproduced
    ]


@pytest.mark.parametrize("name", JUDGES)
def test_small_sizes_have_the_verdicts_of_the_page(name, figures):
    found = differing(JUDGES[name](figures[name]))
    assert len(found) == len(DIFFERENT[name])
    for statement, part in zip(found, DIFFERENT[name], strict=True):
        assert part in statement


def changed(figures, *path, to):
    """A copy of nested figures with one of them replaced."""
    result = copy.deepcopy(figures)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return result


@pytest.mark.parametrize(
    ("name", "path", "to", "statement"),
    [
        ("estimators", ("quality", "1:2", "mvue", "bias"), 1e-3, "1:2: unbiased and MVUE have no"),
        ("estimators", ("quality", "2:4", "biased", "bias"), 0.0, "2:4: unbiased and MVUE have no"),
        ("estimators", ("quality", "2:4", "mvue", "variance"), 0.5, "MVUE varies least"),
        ("estimators", ("quality", "1:2", "mvue", "mse"), 1e-9, "greedy minimises the MSE"),
        ("estimators", ("quality", "1:2", "magnitude", "misdirected"), 1.0, "misdirected bias"),
        ("estimators", ("closed_form_error",), 1e-3, "2 |a₁ a₂|"),
        ("approximation", ("maximum",), 2.0, "less than twice"),
        ("approximation", ("one_zero", "maximum"), 2.1, "less than twice"),
        ("approximation", ("edge", "ratio"), [1.9, 2.0], "left edge"),
        ("approximation", ("equation_16", "largest_ratio"), 1.001, "two times 1:2"),
        ("bounds", ("lemma", "most"), 2.0, "twice the weight"),
        ("bounds", ("tight", 32), 1.5, "tight"),
        ("bounds", ("greedy", "least"), 0.49, "at least half"),
        (
            "diversity",
            ("paper", "sequential", "4:8"),
            7 * 10**5,
            "sequential: number",
        ),
        ("diversity", ("paper", "transposable", "4:8"), 10**20, "structured [Eq. 2"),
        ("violations", ("drawn", 8, "share"), 0.3, "random masks"),
        ("violations", ("probability", 4), [1.0, 0.9, 0.4, 0.1], "N/M ≤ ρ"),
        ("violations", ("probability", 16), [0.5] * 16, "sharper"),
        ("retained", ("all", "4:8 transposable"), 0.99, "Order of the kept"),
        ("retained", ("layers", "2:4", "fc2.weight"), 0.5, "Order of the kept"),
        ("retained", ("all", "2:4"), 0.94, "almost the same"),
        ("retained", ("all", "2:4 transposable"), 0.5, "2:4 transposable"),
        ("retained", ("all", "4:8 sequential"), 0.95, "kept [Eq. 2, exact count]"),
    ],
)
def test_a_verdict_follows_the_figures(name, path, to, statement, figures):
    before = differing(JUDGES[name](figures[name]))
    after = differing(JUDGES[name](changed(figures[name], *path, to=to)))
    assert any(statement in found for found in set(after) - set(before))


@pytest.mark.parametrize(
    ("name", "path", "to", "statement"),
    [
        ("estimators", ("quality", "1:2", "uniform", "bias"), 0.01, "less bias"),
        ("approximation", ("maximum",), 1.97539, "Maximum over blocks"),
        ("approximation", ("maximum_at",), [0.5, 0.5, 1.0, 0.1], "a₄ ≪"),
        ("bounds", ("kept_share_of_algorithm_1",), 0.5, "pattern's sparsity"),
        ("diversity", ("exact", "structured", "2:4"), 10**11, "structured [exact count]"),
        ("diversity", ("exact", "transposable", "1:2"), 10**10, "least diverse"),
        ("retained", ("diversity", "paper", "4:8 transposable"), 10**10, "kept [Eq. 2]"),
    ],
)
def test_what_differs_could_have_been_reproduced(name, path, to, statement, figures):
    before = differing(JUDGES[name](figures[name]))
    after = differing(JUDGES[name](changed(figures[name], *path, to=to)))
    assert any(statement in found for found in set(before) - set(after))


def test_the_mse_that_ranked_the_networks_would_contradict_the_paper(figures):
    found = copy.deepcopy(figures["estimators"])
    for name, accuracy in found["accuracy"].items():
        found["quality"]["1:2"][name]["mse"] = 1 / accuracy
    assert any("MSE does not decide" in s for s in differing(judge_estimators(found)))


def test_the_committed_results_have_what_is_quick_to_compute(weights):
    stored = {section["name"]: section["figures"] for section in STORED["sections"]}
    assert stored["diversity"] == json.loads(json.dumps(measure_diversity()))
    kept = measure_retained(weights)
    assert stored["retained"]["all"] == pytest.approx(kept["all"], rel=1e-9)
    assert stored["approximation"]["maximum"] == pytest.approx(1.97539, abs=5e-6)
    assert stored["approximation"]["blocks"] == 200 * 201 * 202 // 6
    for section in STORED["sections"]:
        for verdict in section["verdicts"]:
            assert verdict["reproduced"] == (not verdict["because"])


def test_the_weights_are_those_described(weights):
    readme = (build.WEIGHTS.parent / "README.md").read_text(encoding="utf-8")
    for name, values in weights.items():
        rows, k = values.shape
        assert values.dtype == np.float32
        assert f"`{name}` {rows}×{k}" in readme
    assert build.WEIGHTS.stat().st_size < 300_000


_OUTCOMES = ("reproduced", "partly", "differs")


def test_page_and_results_hold_every_verdict(tmp_path: Path, monkeypatch, figures):
    small = {f"measure_{name}": figures[name] for name in JUDGES}
    small["measure_scan"] = small.pop("measure_approximation")
    for name, found in small.items():
        monkeypatch.setattr(build, name, lambda *_, found=found: found)
    build.main(["--out", str(tmp_path / "page")])
    written = {path.name: path.read_text("utf-8") for path in (tmp_path / "page").iterdir()}
    assert sorted(written) == ["index.html", "results.json"]
    sections = json.loads(written["results.json"])["sections"]
    verdicts = [verdict for section in sections for verdict in section["verdicts"]]
    shown = [written["index.html"].count(f'class="{word}"') for word in _OUTCOMES]
    assert sum(shown) == len(verdicts)
    assert sum(v["reproduced"] for v in verdicts) == written["index.html"].count(
        'class="reproduced"'
    )
    for section in sections:
        assert f'id="figure-{section["name"]}"' in written["index.html"]
        assert written["index.html"].count(section["n_is"]) >= 3


def test_numbers_as_printed():
    assert within_last_digit(65536, "6", 4)
    assert within_last_digit(390_625, "4", 5)
    assert not within_last_digit(65_610_000, "4", 8)
    assert doctest.testmod(printed) == (0, 2)
    assert power(116_963_796_250) == "1.170·10¹¹"
    assert judged("a", "b", "c", "d", []).reproduced
    assert judged("a", "b", "c", "d", ["x", "y"]).because == "x; y"
