"""The page of printed 2:4 gains: its figures again, and verdicts that can come out otherwise."""

import copy
import json
from pathlib import Path

import pytest

from reports.published import build
from reports.published.published_figures import WITHIN, measure, printed

HERE = Path(__file__).parents[1] / "reports" / "published"
STORED = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
FIGURES = STORED["figures"]


@pytest.mark.slow
def test_the_committed_figures_are_what_is_computed():
    """A third of them; `python -m reports.published.build` computes all again."""
    rows = slice(None, None, 3)
    assert json.loads(json.dumps(measure(rows))) == FIGURES[rows]


def test_training_steps_go_as_printed_and_are_within_15_percent():
    """2:4 of weights and of activations, an MLP and a layer, each by the stack that it ran on."""
    steps = [one for one in FIGURES if one["what"].startswith("Training")]
    assert len(steps) == 5
    for one in steps:
        assert (one["computed"] > 1) == (one["printed"] > 1)
        assert one["ratio"] == pytest.approx(1, abs=0.15)


def test_a_committed_figure_is_what_is_computed():
    smallest = slice(len(FIGURES) - 1, len(FIGURES))
    assert json.loads(json.dumps(measure(smallest))) == FIGURES[smallest]


def test_every_row_has_its_source_conditions_and_what_would_have_to_hold():
    assert len(FIGURES) == len(printed()) >= 15
    for row, stored in zip(printed(), FIGURES, strict=True):
        assert all(row[name] for name in ("source", "conditions", "otherwise", "known"))
        assert stored["printed"] == float(row["dense_ms"]) / float(row["sparse_ms"])
        assert stored["ratio"] == pytest.approx(stored["computed"] / stored["printed"])


def test_the_committed_verdicts_follow_from_the_committed_figures():
    found = [(v.statement, v.computed, v.because) for v in build.judge(FIGURES)]
    assert found == [(s["statement"], s["computed"], s["because"]) for s in STORED["statements"]]


@pytest.mark.parametrize("side", [-1, 1])
def test_a_verdict_is_two_sided(side):
    for near, holds in ((0.99, True), (1.01, False)):
        figures = copy.deepcopy(FIGURES)
        for row in figures:
            row["computed"] = row["printed"] * WITHIN.factor ** (side * near)
        assert {v.reproduced for v in build.judge(figures)[:-1]} == {holds}


def test_the_order_of_sparse_attention_can_come_out_otherwise():
    figures = copy.deepcopy(FIGURES)
    mlps, all_linear = (row for row in figures if row["network"] == "sam-vit-h")
    for less, holds in ((0.99, True), (1.01, False)):
        all_linear["computed"] = less * mlps["computed"]
        assert build.judge(figures)[-1].reproduced == holds


def test_the_page_has_every_row_and_its_conditions(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "measure", lambda: FIGURES)
    build.main(["--out", str(tmp_path)])
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.index("conditions are known") < page.index("Times and conditions")
    for row in FIGURES:
        assert f"{row['dense_ms']:,.2f}" in page
    held = sum(s["reproduced"] for s in STORED["statements"])
    assert f"{held} of {len(FIGURES) + 1} hold" in page
