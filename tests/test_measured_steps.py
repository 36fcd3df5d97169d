"""Measured steps of networks: the table that ships, errors of predictions, and what is refused."""

import json
from dataclasses import replace

import pytest

from nmsim.errors import SpecError
from nmsim.measured.steps.predict import predict_steps, summarize_steps
from nmsim.measured.steps.tables import COLUMNS, STEP_TABLES, read_steps, shipped_steps
from nmsim.network.catalog import MODELS
from nmsim.report import steps_page

STEPS = shipped_steps()


@pytest.fixture(scope="module")
def summary():
    return summarize_steps(STEPS, predict_steps(STEPS))


def test_the_table_says_where_it_comes_from_and_why_a_row_is_not_covered():
    (name,) = STEP_TABLES
    assert "Apache-2.0" in STEP_TABLES.load(name).licence
    assert len(STEPS) > 150
    for step in STEPS:
        assert step.network in ("", *MODELS)
        assert step.network or step.note
    assert len({(one.source, one.name, one.step_ms) for one in STEPS}) == len(STEPS)


@pytest.mark.slow
def test_steps_are_as_near_as_the_docs_say(summary):
    """No constant was fitted to any of these rows: a change that moves them moves the docs."""
    assert summary["rows"] == 42
    assert summary["median_ape"] < 0.15
    assert abs(summary["bias"]) < 0.1
    groups = {one["group"]: one for one in summary["groups"]}
    images = groups["rtx3090, infer, fp16, pytorch"]
    assert images["rows"] == 11
    assert images["median_ape"] < 0.06
    assert sum(one["rows"] for one in summary["groups"]) == summary["rows"]
    left = sum(one["rows"] for one in summary["not_covered"])
    assert left + summary["rows"] + summary["indicative"] == len(STEPS)


def test_gemms_alone_are_no_step():
    """What is beside GEMMs is what the estimate is for: without it images take half their time."""
    steps = [one for one in STEPS if one.name == "resnet50" and one.network and one.fit]
    images = summarize_steps(steps, predict_steps(steps))["steps"]
    assert len(images) == 2
    for one in images:
        assert one["gemms_ms"] < 0.55 * one["measured_ms"]
        assert one["predicted_ms"] == pytest.approx(one["measured_ms"], rel=0.05)
        assert one["predicted_ms"] == pytest.approx(one["gemms_ms"] + one["beside_ms"], rel=1e-6)


def test_conditions_of_a_row_are_those_of_its_prediction():
    step = next(one for one in STEPS if one.network == "resnet18" and one.stack == "pytorch")
    step = replace(step, batch=16, scenario="train", optimizer="momentum")
    (eager,) = predict_steps([step])
    (fused,) = predict_steps([replace(step, stack="compiled")])
    (turned,) = predict_steps([replace(step, layout="channels_first")])
    (adam,) = predict_steps([replace(step, optimizer="adam")])
    assert fused.beside_ms < eager.beside_ms < turned.beside_ms
    assert eager.gemms_ms == turned.gemms_ms
    assert eager.beside_ms < adam.beside_ms < 1.1 * eager.beside_ms


ROW = {
    "source": "s", "hardware": "rtx3090", "name": "n", "network": "resnet18", "scenario": "infer",
    "dtype": "fp16", "batch": "1", "tokens": "", "stack": "compiled", "layout": "channels_last",
    "attention": "fused", "optimizer": "none", "step_ms": "1.5", "test": "yes", "note": "",
}  # fmt: skip


def table(tmp_path, **changed):
    path = tmp_path / "own.csv"
    path.write_text(",".join(COLUMNS) + "\n" + ",".join({**ROW, **changed}.values()) + "\n")
    return path


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"step_ms": "0"}, "own.csv: line 2: step_ms is '0', expected milliseconds above 0"),
        ({"batch": "half"}, "own.csv: line 2: batch is 'half', expected an integer of 1 or more"),
        ({"tokens": "-4"}, "own.csv: line 2: tokens is '-4'"),
        ({"scenario": "dream"}, "own.csv: line 2: scenario is 'dream', expected train or infer"),
        ({"layout": "nchw"}, "own.csv: line 2: layout is 'nchw', expected channels_last or"),
        ({"test": "maybe"}, "own.csv: line 2: test is 'maybe', expected yes or indicative"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_by_line_and_column(tmp_path, changed, message):
    with pytest.raises(SpecError, match=message):
        read_steps(table(tmp_path, **changed))


def test_a_network_or_stack_that_there_is_not_is_named_with_its_line(tmp_path):
    for changed, word in (({"network": "resnet19"}, "resnet19"), ({"stack": "jax"}, "jax")):
        steps = read_steps(table(tmp_path, **changed))
        with pytest.raises(SpecError, match=f"steps, line 2: .*{word}"):
            predict_steps(steps)


def test_the_command_holds_a_table_of_one_s_own_and_refuses_what_it_cannot_do(tmp_path, command):
    path = table(tmp_path)
    out = command("validate", path)[1]
    assert "steps of networks, closed form" in out
    document = json.loads(command("validate", path, "--format", "json")[1])
    assert document["rows"] == 1
    assert document["steps"][0]["measured_ms"] == 1.5
    assert document["steps"][0]["predicted_ms"] > document["steps"][0]["gemms_ms"]
    for more, why in (
        (("--by", "dtype"), "expected --hardware, --out and --format alone"),
        (("--steps",), "expected no file"),
    ):
        status, _, err = command("validate", path, *more)
        assert (status, err.count("\n")) == (2, 1)
        assert why in err


def test_the_page_of_steps_has_every_step_its_parts_and_its_source(tmp_path, command):
    path = table(tmp_path, note="a note of one's own")
    status, _, err = command("validate", path, "--out", tmp_path / "page")
    assert status == 0
    assert err.endswith("index.html\n")
    (row,) = json.loads((tmp_path / "page" / "steps.json").read_text())["steps"]
    page = (tmp_path / "page" / "index.html").read_text()
    assert len(page) < 100_000  # no plotly.js
    assert page.index("By network") < page.index("Every step")
    assert "a note of one&#x27;s own" in page
    longest = max(row["predicted_ms"], row["measured_ms"])
    widths = [100 * row[name] / longest for name in ("gemms_ms", "beside_ms", "wait_ms")]
    assert all(f"width:{width:.2f}%" in page for width in widths)
    assert f"left:{100 * row['measured_ms'] / longest:.2f}%" in page
    shipped = steps_page(
        summarize_steps(STEPS, []), {n: STEP_TABLES.load(n).model_dump() for n in STEP_TABLES}
    )
    assert "DeepLearningExamples" in shipped
