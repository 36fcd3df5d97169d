"""The page on several arrays: its figures again, and statements that can come out otherwise."""

import copy
import json
from pathlib import Path

import pytest

import nmsim
from reports.scaling import build
from reports.scaling.scaling_claims import gain, judge
from reports.scaling.scaling_figures import ARRAYS, measure

HERE = Path(__file__).parents[1] / "reports" / "scaling"
STORED = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
FIGURES = STORED["figures"]


def differing(figures):
    return {v.statement for v in judge(figures) if not v.reproduced}


def test_the_committed_figures_are_what_is_computed():
    few = (1, 2, 4)
    measured = json.loads(json.dumps(measure(few)))
    for layer, of in measured["layers"].items():
        stored = FIGURES["layers"][layer]
        assert of["size"] == stored["size"]
        for pattern, both in of["runs"].items():
            of_stored = stored["runs"][pattern]
            assert both["channel_cycles"] == of_stored["channel_cycles"]
            for buffers in ("private", "shared"):
                runs = of_stored[buffers]
                assert both[buffers] == [runs[ARRAYS.index(n)] for n in few]


def test_layers_are_a_convolution_of_three_by_three_and_the_second_of_feed_forward():
    assert FIGURES["layers"]["compute-bound"]["size"] == [32 * 14 * 14, 256, 9 * 256]
    assert FIGURES["layers"]["memory-bound"]["size"] == [128, 768, 4 * 768]


def test_the_committed_statements_follow_from_the_committed_figures():
    found = [(v.statement, v.computed, v.because) for v in judge(FIGURES)]
    assert found == [(s["statement"], s["computed"], s["because"]) for s in STORED["statements"]]
    assert not differing(FIGURES)


@pytest.mark.parametrize(
    ("layer", "pattern", "buffers", "place", "cycles", "statement"),
    [
        ("memory-bound", "dense", "shared", -1, 1, "No number of arrays beats"),
        ("compute-bound", "2:4", "private", -1, 10**6, "More arrays never cost time"),
        ("compute-bound", "dense", "private", 3, 90_000, "gain more than three times"),
        ("memory-bound", "2:4", "shared", -1, 110_000, "On the layer that loads"),
        ("memory-bound", "dense", "private", -1, 143_000, "On the layer that loads"),
        ("compute-bound", "2:4", "private", -1, 19_000, "The gain of 2:4 shrinks"),
    ],
)
def test_a_changed_figure_changes_its_statement(layer, pattern, buffers, place, cycles, statement):
    figures = copy.deepcopy(FIGURES)
    figures["layers"][layer]["runs"][pattern][buffers][place]["cycles"] = cycles
    assert any(statement in found for found in differing(figures))


def test_speedup_is_over_one_array():
    runs = FIGURES["layers"]["compute-bound"]["runs"]["dense"]["private"]
    assert gain(runs, 0) == 1
    assert gain(runs, 2) == runs[0]["cycles"] / runs[2]["cycles"]


def test_the_page_holds_every_statement_caption_and_run(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "measure", lambda: FIGURES)
    build.main(["--out", str(tmp_path)])
    page = (tmp_path / "index.html").read_text("utf-8")
    written = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert written == {**STORED, "nmsim": nmsim.__version__}
    assert page.count('class="reproduced"') == len(STORED["statements"])
    for name, caption in build.CAPTIONS.items():
        assert f'id="figure-{name}"' in page
        assert caption.replace("'", "&#x27;") in page
    assert page.count("<tr>") == 2 + len(STORED["statements"]) + 2 * 2 * 2 * len(ARRAYS)
