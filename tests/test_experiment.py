"""Experiments: every combination of their lists, and a result that can be drawn again."""

from pathlib import Path

import pytest
from swept import point_rows, points_of

import nmsim
from nmsim.errors import SpecError
from nmsim.report import read_results, to_csv, write_report
from nmsim.report.pages.page import page
from nmsim.run.experiment import planned, read_experiment
from nmsim.run.manifest import manifest, sweep_manifest
from nmsim.run.point import Point, rows
from nmsim.run.rows.frame import frame

YAML = """
title: A test
models: [resnet18, mine.yaml]
recipes: [dense, asp]
patterns: [dense, 2:4, 4:8]
hardware: [systolic-128x128-2to4]
fidelities: [cycle, analytical]
layers: "*c*1"
"""

MINE = "layers: [{name: c1, type: linear, in_features: 40, out_features: 24, tokens: 9}]"


@pytest.fixture
def experiment(tmp_path):
    (tmp_path / "mine.yaml").write_text(MINE)
    (tmp_path / "experiment.yaml").write_text(YAML)
    return read_experiment(tmp_path / "experiment.yaml")


def swept(experiment):
    return [row for point in points_of(experiment) for row in point_rows(point)]


def test_a_sweep_is_every_combination(experiment):
    points = points_of(experiment)
    assert len(points) == 2 * 2 * 3 * 1 * 2
    assert len({str(point) for point in points}) == len(points)
    table = swept(experiment)
    assert {(row["model"], row["recipe"], row["pattern"], row["fidelity"]) for row in table} == {
        (model, recipe, pattern, fidelity)
        for model in ("resnet18", "mine")
        for recipe in ("dense", "asp")
        for pattern in ("dense", "2:4", "4:8")
        for fidelity in ("cycle", "analytical")
    }


def test_rows_of_a_sweep_are_those_of_single_runs(experiment):
    point = points_of(experiment)[8]
    results = point_rows(point)
    alone = list(rows(point))
    assert [{key: row[key] for key in alone[0]} for row in results] == alone


def test_a_stored_sweep_is_drawn_again_to_the_byte(experiment, tmp_path):
    table = frame(swept(experiment))
    write_report(
        tmp_path / "out", table, sweep_manifest(planned(experiment), "nmsim sweep").document()
    )
    again, about = read_results(tmp_path / "out")
    assert to_csv(again) == to_csv(table)
    drawn = page(again, about)
    assert drawn == (tmp_path / "out" / "index.html").read_text()
    for word in ("speed-up", "GB/s", "systolic-128x128-2to4", "A test"):
        assert word in drawn


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("title: A test", "titel: A test"), "did you mean 'title'"),
        (("2:4, 4:8", "2:4, 2:4"), "patterns is .*expected each entry once"),
        (("2:4, 4:8", "5:4"), "5:4"),
        (("fidelities: [cycle, analytical]", "fidelities: [exact]"), r"fidelities\[0\]"),
        (("models: [resnet18, mine.yaml]", "models: []"), "models"),
    ],
)
def test_experiments_that_cannot_be(tmp_path, change, message):
    path = tmp_path / "experiment.yaml"
    path.write_text(YAML.replace(*change))
    with pytest.raises(SpecError, match=message):
        read_experiment(path)


def test_the_manifest_reproduces_the_rows():
    point = Point(model="resnet18", recipe="asp", layers="layer1*", overrides={"rows": 64})
    about = manifest(point, "nmsim simulate resnet18").document()
    assert about["machine"]["rows"] == 64
    again = nmsim.simulate(
        about["model"],
        hardware=nmsim.load_hardware(about["hardware"], rows=about["machine"]["rows"]),
        recipe=about["recipe"],
        pattern=about["pattern"],
        batch=about["batch"],
        fidelity=about["fidelity"],
        seed=about["seed"],
        layers=about["layers"],
    )
    assert to_csv(again) == to_csv(frame(rows(point)))


def test_the_shipped_experiment_can_be_read():
    for path in sorted((Path(__file__).parents[1] / "reports").glob("*/experiment.yaml")):
        assert points_of(read_experiment(path))


def test_the_dense_run_is_of_the_same_fidelity():
    for fidelity in ("cycle", "analytical"):
        masked, dense = (
            list(rows(Point(model="resnet18", recipe=recipe, fidelity=fidelity, phases=["update"])))
            for recipe in ("asp", "dense")
        )
        assert [row["dense_cycles"] for row in masked] == [row["cycles"] for row in dense]


def test_scatter_is_of_all_copies(tmp_path):
    (tmp_path / "g.yaml").write_text(
        "layers: [{name: g, type: conv, in_channels: 8, out_channels: 8, kernel: 3, groups: 4, "
        "input_size: 6, repeat: 2}]"
    )
    own = {"model": tmp_path / "g.yaml", "batch": 1, "phases": ["backward"]}
    (row,) = rows(Point(**own, lowering="columns"))
    assert row["scatter_bytes"] == 2 * 8 * (16 * 9 + 36) * 2
    gbps = Point(**own).machine.dram.gbps
    assert row["scatter_us"] == pytest.approx(row["scatter_bytes"] / (gbps * 1e3))
    (row,) = rows(Point(**own))
    assert row["scatter_bytes"] == row["scatter_us"] == 0


@pytest.mark.parametrize(("scenario", "phases"), [
    ("train", ["forward", "backward", "update"]), ("infer", ["forward"]), ("decode", ["forward"]),
])  # fmt: skip
def test_a_sweep_that_names_no_phases_has_those_of_its_scenario(tmp_path, scenario, phases):
    path = tmp_path / "experiment.yaml"
    path.write_text(
        "title: t\nmodels: [gpt2]\nhardware: [ideal]\npatterns: [2:4]\nlayers: '*attn*'\n"
        f"fidelities: [analytical]\nscenario: {scenario}\n"
    )
    experiment = read_experiment(path)
    found = [row["phase"] for row in swept(experiment)]
    assert list(dict.fromkeys(found)) == phases
    assert sweep_manifest(planned(experiment), "test").document()["phases"] == phases


@pytest.mark.parametrize("wrong", ["lowering: sideways", "phases: []", "context: -1"])
def test_what_cannot_be_names_the_file(tmp_path, wrong):
    path = tmp_path / "experiment.yaml"
    path.write_text(f"title: t\nmodels: [gpt2]\nhardware: [ideal]\npatterns: [2:4]\n{wrong}\n")
    with pytest.raises(SpecError, match=r"experiment\.yaml: .*" + wrong.split(":")[0]):
        read_experiment(path)
