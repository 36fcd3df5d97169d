"""A keyword of a run is declared once; everything that takes keywords takes it from there."""

import inspect
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

import nmsim
from nmsim.cli import app
from nmsim.cli.keywords import of_keywords
from nmsim.errors import NmsimError, SpecError
from nmsim.run.experiment import Experiment, planned, read_experiment, schema
from nmsim.run.keyword import REQUIRED, Keyword, keywords, taking
from nmsim.run.manifest import manifest, sweep_manifest
from nmsim.run.memory import Keeping
from nmsim.run.point import Job, Point, Subject, rows
from nmsim.run.trace import record
from nmsim.run.training import Training

ALL = keywords(Point)
COMMANDS = {"simulate": Point, "train": Job, "memory": Keeping}
FUNCTIONS = {nmsim.simulate: Point, nmsim.train: Training, nmsim.memory_footprint: Keeping}


def named(values):
    return pytest.mark.parametrize("one", values, ids=lambda one: one.name)


def shown(*command):
    """The help of a command, in one line."""
    result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    return " ".join(result.output.split())


@named([*ALL, keywords(Keeping)[-1], keywords(Training)[-1]])
def test_a_keyword_says_in_a_sentence_what_it_is(one):
    assert re.fullmatch(r".{12,}\.", one.keyword.meaning)
    assert (one.default is REQUIRED) == (one.name in ("model", "steps"))


@pytest.mark.parametrize(("function", "kind"), FUNCTIONS.items())
def test_functions_have_the_keywords_and_say_what_they_are(function, kind):
    parameters = inspect.signature(function).parameters
    own = ["out"] if function is nmsim.simulate else []
    assert list(parameters) == [*(one.name for one in keywords(kind)), *own]
    flat = " ".join(function.__doc__.split())
    for one in keywords(kind):
        assert parameters[one.name].annotation == one.type
        assert parameters[one.name].default == one.default or one.default is REQUIRED
        assert f" {one.name} : " in flat
        assert one.keyword.meaning.rstrip(".") in flat
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert [name for name, p in parameters.items() if p.kind is positional] == ["model"]


@pytest.mark.parametrize(("command", "kind"), COMMANDS.items())
def test_commands_have_the_keywords_and_say_what_they_are(command, kind):
    help_text = shown(command)
    for one in keywords(kind):
        assert one.keyword.meaning in help_text
        assert ("MODEL" if one.name == "model" else f" --{one.option} ") in help_text


@named(ALL)
def test_an_experiment_sets_a_keyword_or_says_why_not(one):
    field = Experiment.model_fields.get(one.keyword.lists or one.name)
    if one.keyword.apart:
        assert field is None
        assert len(one.keyword.apart) > 20
    else:
        assert field.description == one.keyword.meaning


@named(ALL)
def test_a_manifest_says_what_a_keyword_was(one):
    about = manifest(Point("gemm:8x8x8", hardware="systolic-16x16"), "test").document()
    assert one.name in about or one.name == "overrides"


def test_a_new_keyword_is_declared_in_one_place(monkeypatch):
    @dataclass(frozen=True, kw_only=True)
    class Wider(Point):
        colour: Annotated[
            str, Keyword("What the rows are painted in.", choices=("red", "blue"))
        ] = "red"

    @taking(Wider)
    def paint(point: Wider) -> str:
        """The colour of a point."""
        return point.colour

    assert paint("gemm:1x1x1", colour="blue") == "blue"
    assert "colour : str, default 'red'\n    What the rows are painted in." in paint.__doc__
    with pytest.raises(NmsimError, match="unknown colour 'rde'; did you mean 'red'"):
        paint("gemm:1x1x1", colour="rde")

    seen = []
    painter = typer.Typer()
    painter.command()(of_keywords(Wider)(seen.append))
    assert CliRunner().invoke(painter, ["gemm:1x1x1", "--colour", "blue"]).exit_code == 0
    assert seen[0].colour == "blue"

    monkeypatch.setattr(schema, "SWEPT", (*schema.SWEPT, keywords(Wider)[-1]))
    plan = schema.with_keywords(Experiment)
    assert plan.model_fields["colour"].description == "What the rows are painted in."


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        (Point, {"batch": 0}, "batch is 0, expected an integer of 1 or more"),
        (Point, {"batch": True}, "batch is True"),
        (Point, {"batch": 1.5}, "batch is 1.5"),
        (Point, {"seed": -1}, "seed is -1, expected an integer of 0 or more"),
        (Point, {"sample": 1}, "sample is 1, expected two folds or more"),
        (Point, {"phases": ["fwd", "update"]}, "unknown phase 'fwd'"),
        (Point, {"phases": "fwd"}, "unknown phase 'fwd'"),
        (Point, {"fidelity": None}, "unknown fidelity 'None'"),
        (Point, {"fidelity": "cycles"}, "unknown fidelity 'cycles'; did you mean 'cycle'"),
        (Keeping, {"optimizer": "adma"}, "unknown optimizer 'adma'; did you mean 'adam'"),
    ],
)
def test_a_value_that_cannot_be_is_refused_where_it_is_given(kind, wrong, said):
    with pytest.raises(NmsimError, match=re.escape(said)):
        kind("gemm:8x8x8", **wrong)


def test_a_network_is_trained_at_batch_32_and_given_gemms_hold_theirs(tmp_path):
    (tmp_path / "g.csv").write_text("layer,m,n,k\na,8,8,8\n")
    trace = tmp_path / "t.safetensors"
    record(trace, Point("vit-tiny", batch=3, layers="head").sparse_gemms(), {"batch": 3})
    given = ("gemm:8x8x8", [nmsim.Gemm(8, 8, 8)], tmp_path / "g.csv", trace)
    assert [Point(model).samples for model in ("vit-tiny", *given)] == [32, 1, 1, 1, 1]
    assert [kind("vit-tiny").samples for kind in (Keeping, Job, Point)] == [32] * 3
    assert [Point(model, batch=5).samples for model in ("vit-tiny", "gemm:8x8x8")] == [5, 5]
    # Everything that depends on samples asks there.
    point = Point("vit-tiny", layers="head", phases=["forward"], fidelity="analytical")
    (row,) = rows(point)
    assert (row["m"], point.samples, point.setting.batch) == (32, 32, 32)
    assert manifest(point, "test").batch == 32
    plan = {"title": "t", "models": ["vit-tiny", "gemm:8x8x8"], "hardware": ["ideal"]}
    (tmp_path / "e.yaml").write_text(json.dumps({**plan, "patterns": ["2:4"]}))
    assert sweep_manifest(planned(read_experiment(tmp_path / "e.yaml")), "test").batches == [32, 1]
    weighed, stated = (nmsim.memory_footprint("vit-tiny", **b) for b in ({}, {"batch": 32}))
    assert weighed.total() == stated.total()
    assert shown("simulate").count("1 for GEMMs that are given") == 1


def test_a_field_without_a_keyword_is_a_programming_error():
    @dataclass
    class Bare:
        width: int

    with pytest.raises(TypeError, match="'width' has no Keyword"):
        keywords(Bare)


def test_a_setting_on_the_command_line_is_a_field_of_the_machine():
    assert Subject("gemm:8x8x8", overrides={"rows": 64}).machine.rows == 64
    row = nmsim.simulate("gemm:8x8x8", overrides={"name": "mine"}).iloc[0]
    assert row["hardware"] == "mine"
    with pytest.raises(SpecError, match="did you mean 'rows'"):
        nmsim.simulate("gemm:8x8x8", overrides={"row": 64})


TYPED = """
import nmsim
table = nmsim.simulate("resnet18", recipe="asp", batch=4, phases=("forward",), sample=None)
reveal_type(table)
nmsim.simulate("resnet18", batch="4")
nmsim.simulate("resnet18", batchs=4)
nmsim.simulate("resnet18", "asp")
nmsim.train("resnet18")
nmsim.memory_footprint("resnet18", optimizer="adam", fidelity="cycle")
"""


@pytest.mark.slow
def test_type_checkers_see_the_keywords(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(TYPED)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=", "--follow-imports=silent", "user.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(Path(nmsim.__file__).parents[1]), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    said = r"(?m)^user\.py:(\d+): (?:error: |note: Revealed )(.*)$"
    lines = re.findall(said, done.stdout)
    expected = ["Simulation", '"batch"', '"batchs"', "Too many positional", '"steps"', '"fidelity"']
    assert [int(number) for number, _ in lines] == [4, 5, 6, 7, 8, 9], done.stdout
    for (_, text), word in zip(lines, expected, strict=True):
        assert word in text


def test_the_schema_of_an_experiment_is_json(capsys):
    schema = json.loads(CliRunner().invoke(app, ["show", "schema", "experiment"]).output)
    assert schema["required"] == ["title"]
    assert {"vary", "derive", "when", "keep", "model", "models"} <= set(schema["properties"])
