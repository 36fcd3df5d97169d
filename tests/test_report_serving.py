"""The page on serving: its figures again, and statements that can come out otherwise."""

import copy
import json
from pathlib import Path

import pytest

from nmsim.machines.gpu.stacks import STACKS
from reports.serving import build
from reports.serving.serving_claims import NEAR, error, judge, judged_rows
from reports.serving.serving_figures import MODELS, measure, printed

HERE = Path(__file__).parents[1] / "reports" / "serving"
STORED = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
FIGURES = STORED["figures"]


def differing(figures):
    return {v.statement for v in judge(figures) if not v.reproduced}


@pytest.mark.slow
def test_the_committed_figures_are_what_is_computed():
    """One network, and a third of the printed; `python -m reports.serving.build` computes all."""
    rows, model = slice(None, None, 3), "llama-3-8b"
    found = json.loads(json.dumps(measure({model: MODELS[model]}, rows)))
    assert found["printed"] == FIGURES["printed"][rows]
    for name in ("steps", "requests"):
        assert found[name] == [one for one in FIGURES[name] if one["model"] == model]


def test_some_committed_figures_are_what_is_computed():
    found = json.loads(json.dumps(measure({}, slice(0, 2))))
    assert found["printed"] == FIGURES["printed"][:2]


def test_every_printed_figure_has_its_source_and_an_answer():
    assert len(FIGURES["printed"]) == len(printed()) >= 30
    for row, stored in zip(printed(), FIGURES["printed"], strict=True):
        assert row["source"]
        assert row["licence"] in ("BSD-3", "Apache-2.0", "no licence seen; figures cited")
        assert row["conditions"]
        assert row["stack"] in STACKS
        assert stored["value"] == float(row["value"])
        faster = stored["computed"] / stored["value"]
        speed = 1 / faster if row["unit"] == "ms" else faster
        assert stored["speed_ratio"] == pytest.approx(speed)


def test_the_committed_statements_follow_from_the_committed_figures():
    found = [(v.statement, v.computed, v.because) for v in judge(FIGURES)]
    assert found == [(s["statement"], s["computed"], s["because"]) for s in STORED["statements"]]


@pytest.mark.parametrize(
    ("group", "wanted", "field", "value", "statement"),
    [
        ("printed", lambda row: True, "speed_ratio", 1 + 2 * NEAR, "Speeds that others printed"),
        ("printed", lambda row: row["dtype"] == "bf16", "speed_ratio", 1 - 2 * NEAR, "Decode of"),
        ("printed", lambda row: row["dtype"] == "w8a16", "speed_ratio", 1 + 2 * NEAR, "8 bits"),
        ("steps", lambda row: row["weights"] == "2:4 + int4", "speedup", 1.9, "In decode 2:4 adds"),
        ("steps", lambda row: row["weights"] == "2:4", "speedup", 0.99, "No step of served"),
        ("steps", lambda row: "prefill, 16" in row["step"], "speedup", 1.99, "On an H100"),
        ("steps", lambda row: row["weights"] == "2:4", "dense_ms", 1.0, "A speed-up is over"),
        ("requests", lambda row: row["weights"] == "2:4", "seconds", 1.0, "What whole requests"),
    ],
)
def test_a_changed_figure_changes_its_statement(group, wanted, field, value, statement):
    figures = copy.deepcopy(FIGURES)
    for row in filter(wanted, figures[group]):
        row[field] = value
    assert any(statement in found for found in differing(figures))


def test_weights_of_four_bits_are_met_where_their_figures_are():
    figures = copy.deepcopy(FIGURES)
    assert any("4 bits" in found and "weights of" in found for found in differing(figures))
    for row in figures["printed"]:
        row["speed_ratio"] = 1 + 0.99 * NEAR
    assert not any("with weights of 4 bits" in found for found in differing(figures))


def test_the_page_opens_with_the_answer_and_holds_every_row(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "measure", lambda: FIGURES)
    build.main(["--out", str(tmp_path)])
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    first = page.index("requests with 2:4 weights gain")
    assert first < page.index("Whole requests")
    for row in FIGURES["requests"]:
        assert f"{row['tokens_per_s']:,}" in page
    assert f"{error(judged_rows(FIGURES['printed'])):.1%}" in page
    assert page.count("TensorRT-LLM 0.6.1") >= 9
