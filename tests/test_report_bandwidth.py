"""The page on bandwidth: its figures again, and verdicts that can come out otherwise."""

import copy
import json
from pathlib import Path

import pytest

import nmsim
from reports.bandwidth import build
from reports.bandwidth.arrays import measure_delivery, measure_products, measure_words
from reports.bandwidth.bandwidth_claims import (
    asked_ratio,
    judge_delivery,
    judge_products,
    judge_selectors,
    judge_words,
)
from reports.bandwidth.selecting import measure_selectors

HERE = Path(__file__).parents[1] / "reports" / "bandwidth"
STORED = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
SECTIONS = {section["name"]: section for section in STORED["sections"]}
JUDGES = {
    "words": judge_words,
    "delivery": judge_delivery,
    "products": judge_products,
    "selectors": judge_selectors,
}


def changed(figures, *path, to):
    result = copy.deepcopy(figures)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return result


def differing(name, figures):
    return [v.statement for v in JUDGES[name](figures) if not v.reproduced]


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("words", measure_words),
        ("delivery", measure_delivery),
        ("selectors", measure_selectors),
    ],
)
def test_the_committed_figures_are_what_is_computed(name, measure):
    assert json.loads(json.dumps(measure())) == SECTIONS[name]["figures"]


def test_the_committed_products_are_what_the_bits_give():
    computed = json.loads(json.dumps(measure_products(("1:4",))))["patterns"]["1:4"]
    stored = SECTIONS["products"]["figures"]["patterns"]["1:4"]
    assert computed["gain"] == stored["gain"]
    assert computed["shares"] == pytest.approx(stored["shares"])


@pytest.mark.parametrize("name", JUDGES)
def test_the_committed_verdicts_follow_from_the_committed_figures(name):
    section = SECTIONS[name]
    verdicts = JUDGES[name](section["figures"])
    assert [(v.statement, v.computed, v.because) for v in verdicts] == [
        (v["statement"], v["computed"], v["because"]) for v in section["verdicts"]
    ]


def test_the_layer_is_the_second_of_feed_forward():
    for name in ("words", "delivery"):
        assert SECTIONS[name]["figures"]["size"] == [32 * 128, 768, 4 * 768]
    assert SECTIONS["products"]["figures"]["size"] == [4 * 128, 768, 4 * 768]


def test_four_words_come_for_one_at_one_in_four():
    asked = SECTIONS["words"]["figures"]["asked"]["1:4"]
    assert asked_ratio(asked["weights"], metadata=False) == 4
    assert asked_ratio(asked["weights"], metadata=True) == pytest.approx(4 * 16 / 18)
    assert asked_ratio(asked["both"], metadata=True) == 1


def test_speed_on_the_dense_path_is_need_over_supply():
    arrays = SECTIONS["delivery"]["figures"]["arrays"]
    for array in arrays.values():
        assert array["dense_waits"] == 0
        for of in array["speedup"].values():
            for gain in of.values():
                assert gain["as dense"] == gain["as dense, analytical"]
    gain = arrays["os"]["speedup"]["1:4"]["weights"]
    need, supply = 512 + 128 * 18 / 16, 256
    assert gain["as dense"] == pytest.approx(4 * supply / need, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "path", "to", "statement"),
    [
        ("words", ("asked", "1:4", "weights", "activations", "values"), 384.0, "need 4×"),
        ("words", ("asked", "1:8", "both", "activations", "metadata"), 8.0, "the same for both"),
        ("words", ("asked", "2:4", "both", "weights", "values"), 256.0, "twice the bandwidth"),
        ("words", ("asked", "1:8", "weights", "activations", "values"), 400.0, "more important"),
        (
            "delivery",
            ("arrays", "ws", "speedup", "1:4", "both", "compute_cycles"),
            1,
            "no compute by pruning both",
        ),
        ("delivery", ("arrays", "os", "speedup", "2:4", "both", "as dense"), 1.2, "gains less"),
        ("products", ("patterns", "2:4", "mean"), 1.1, "MACs of a block"),
        ("products", ("patterns", "2:4", "shares", 0), 0.2, "1/6, 4/6 and 1/6"),
        ("products", ("patterns", "1:4", "shares", 3), 0.1, "vary from 0 to N"),
        ("products", ("patterns", "1:8", "gain", "0"), 1.2, "in lock-step"),
        ("selectors", ("patterns", "4:8", "ordered", "inputs"), 8, "(N + 1):1"),
    ],
)
def test_a_changed_figure_changes_its_verdict(name, path, to, statement):
    figures = SECTIONS[name]["figures"]
    after = set(differing(name, changed(figures, *path, to=to)))
    assert any(statement in found for found in after - set(differing(name, figures)))


def test_what_differs_could_have_been_reproduced():
    figures = SECTIONS["products"]["figures"]
    for pattern, of in figures["patterns"].items():
        figures = changed(figures, "patterns", pattern, "mean", to=of["keep"] / 2)
        figures = changed(figures, "patterns", pattern, "gain", "4", to=1.0)
    assert not differing("products", figures)
    figures = SECTIONS["delivery"]["figures"]
    for pattern, of in figures["arrays"]["os"]["speedup"].items():
        path = ("arrays", "os", "speedup", pattern, "both", "as dense")
        figures = changed(figures, *path, to=of["both"]["any width"])
    assert not differing("delivery", figures)
    figures = SECTIONS["selectors"]["figures"]
    for depth, pattern in enumerate(figures["patterns"], 1):
        for kind in ("any", "ordered"):
            figures = changed(figures, "patterns", pattern, kind, "two_input", to=8 * depth)
    assert not differing("selectors", figures)


def test_the_page_holds_every_verdict_caption_and_figure(tmp_path, monkeypatch):
    stored = SECTIONS["products"]["figures"]
    monkeypatch.setattr(build, "measure_products", lambda: stored)
    build.main(["--out", str(tmp_path)])
    page = (tmp_path / "index.html").read_text("utf-8")
    written = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert written == {**STORED, "nmsim": nmsim.__version__}
    verdicts = [v for section in SECTIONS.values() for v in section["verdicts"]]
    assert page.count('class="reproduced"') == sum(v["reproduced"] for v in verdicts)
    assert page.count('class="differs"') == sum(not v["reproduced"] for v in verdicts)
    for name in SECTIONS:
        assert f'id="figure-{name}"' in page
        assert build.CAPTIONS[name].replace("'", "&#x27;") in page
