"""A sweep's page beside others: of sums alone, with commands of its points and links that lead."""

import json
import re
import shlex
from dataclasses import replace

import pytest
from fabricated import MANIFEST, network
from test_report import drawn, stored
from test_sweep import plan_of, run
from typer.testing import CliRunner

from nmsim import cli, report
from nmsim.report.again import commands
from nmsim.report.capacity import rests_on
from nmsim.report.neighbours import neighbours
from nmsim.report.pages.page import page as page_of
from nmsim.report.space import space_of
from nmsim.run.manifest import sweep_manifest
from nmsim.run.rows.frame import frame
from nmsim.run.store import Store

VARIED = {
    "dram.gbps": [None, 10],
    "zip": [
        {"masks": "always", "native": ["1:4", "2:4"]},
        {"masks": "where_they_pay", "native": ["2:4"]},
    ],
    "elementwise": [True, False],
    "phases": [["forward", "update"], ["forward"]],
    "lowering": ["columns"],
}  # fmt: skip


def swept(folder, **said):
    """A sweep's folder, as the command leaves it."""
    plan = plan_of(fidelity="analytical", **said)
    run(folder, plan)
    about = sweep_manifest(plan, "nmsim sweep e.yaml --out out").document()
    with Store.opened(folder) as store:
        store.describe(about)
    return plan, about


def test_a_page_of_sums_is_that_of_rows_as_far_as_sums_tell(tmp_path):
    vary = {"sram.a_kib": [8, 64], "dram.gbps": [1.0, 10.0], "pattern": ["2:4", "1:4"]}
    found = {}
    for keep in ("rows", "layers", "totals"):
        swept(tmp_path / keep, vary=vary, keep=keep)
        found[keep] = report.read_shown(tmp_path / keep)
    of_rows = space_of(found["rows"][0])
    for keep in ("layers", "totals"):
        space = space_of(found[keep][0])
        assert space.fields == of_rows.fields
        assert set(of_rows.measures) - set(space.measures) == {"utilization", "selector_mux2"}
        for name, values in space.measures.items():
            assert values == pytest.approx(of_rows.measures[name])
    page = page_of(*found["totals"])
    assert {"speedup", "front", "importance"} <= set(drawn(page))
    points = stored(page, "points")
    assert points["~speedup"] == pytest.approx(of_rows.measures["speedup"], rel=1e-5)
    assert "Rows of GEMMs were not kept" in page
    assert "utilisation" not in points
    report.write_report(tmp_path / "totals", *found["totals"])
    there = {path.name for path in (tmp_path / "totals").iterdir()}
    assert "index.html" in there
    assert not {"results.csv", "manifest.json"} & there  # the command writes the store's


def test_a_command_runs_what_its_point_was(tmp_path):
    plan, _ = swept(tmp_path, vary=VARIED, keep="totals", stack=None)
    table, about = report.read_shown(tmp_path)
    space = space_of(table)
    assert {field.name for field in space.numbers} == {"dram.gbps"}
    command = commands(about)
    for number, (told, _) in enumerate(space.points):
        words = shlex.split(command(told, number))
        assert words[-2:] == ["--out", f"out/points/{number}"]
        (ran,) = asked(words[2:-2])
        wanted = plan.point(plan.places[number])
        assert replace(ran, batch=wanted.batch) == replace(wanted, overrides=ran.overrides)
        assert ran.machine == wanted.machine


def asked(words):
    """The points that ``nmsim simulate`` would run."""
    found = []
    with pytest.MonkeyPatch.context() as patched:
        home = "nmsim.cli.commands.simulation"
        patched.setattr(f"{home}.rows", lambda point: found.append(point) or [])
        CliRunner().invoke(cli.app, ["simulate", *words])
    return found


def test_pages_of_points_and_of_a_validation_are_pointed_at_where_they_are(tmp_path):
    swept(tmp_path, vary={"rows": [8, 16]}, keep="totals")
    report.write_report(tmp_path, *report.read_shown(tmp_path))
    about = report.read_shown(tmp_path)[1]
    command = stored((tmp_path / "index.html").read_text(), "points")["command"][1]
    own = {**MANIFEST, "command": command, "hardware": "systolic-16x16"}
    (tmp_path / "manifest.json").write_text(json.dumps(about))
    for name, one in {
        "points/1": own,
        "points/other": {**own, "command": "nmsim simulate x"},
    }.items():
        report.write_report(tmp_path / name, frame(network()[:2]), one)
    report.write_report(tmp_path, *report.read_shown(tmp_path))
    page = (tmp_path / "index.html").read_text()
    assert "points/1/index.html" in page
    assert "points/other" not in page
    point = (tmp_path / "points/1/index.html").read_text()
    assert '<a href="../../index.html">The sweep</a>' in point
    beside = tmp_path / "validation"
    beside.mkdir()
    (beside / "manifest.json").write_text('{"kind": "validate", "machines": ["systolic-16x16"]}')
    assert neighbours(tmp_path, about).validation == ""  # it has no page
    (beside / "index.html").write_text("")
    assert neighbours(tmp_path, about).validation == "validation/index.html"
    for text in (page, point):
        shown = re.sub("<script.*?</script>", "", text, flags=re.DOTALL)
        for address in re.findall(r'<a [^>]*?href="([^"]*)"', shown):
            there = tmp_path if text is page else tmp_path / "points/1"
            anchored = address[0] == "#" and f'id="{address[1:]}"' in shown
            # What a sweep of sums has in its folder is written by the command itself.
            assert anchored or (there / address).is_file() or address == "results.csv"


def test_a_page_says_what_its_times_rest_on():
    about = {**MANIFEST, "evidence": "evidence: dense on this GPU: 3 measured GEMMs"}
    page = page_of(frame(network()[:2]), about)
    trust = page[page.index('id="trust"') : page.index('id="machine"')]
    assert about["evidence"] in trust
    assert f"nmsim validate --hardware {about['hardware']}" in trust
    assert "nmsim ships no measured times" in page_of(frame(network()[:2]), MANIFEST)
    machines = {"one": {"residual": "a/one.residual.npz"}, "two": {}}
    assert "residual one," in rests_on({"machines": machines})[0]
