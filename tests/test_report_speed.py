"""The page on the cost of a simulation: drawn from what was measured, and said so."""

import copy
import doctest
import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from reports.speed import build, measure, speed_figures, sweeps
from reports.speed.speed_figures import curves
from reports.speed.speed_svg import curve_id

ROOT = Path(__file__).parents[1]
HERE = ROOT / "reports" / "speed"
SPACE = "{http://www.w3.org/2000/svg}"
DATA = json.loads((HERE / "measurements.json").read_text(encoding="utf-8"))


def texts(drawing):
    """What the drawing says, in its order."""
    return [element.text for element in ET.fromstring(drawing).iter(f"{SPACE}text")]


def dots(drawing, curve):
    """Where the dots of a curve are, points x 2."""
    (group,) = ET.fromstring(drawing).iterfind(f".//{SPACE}g[@id='{curve_id(curve)}']")
    found = [(float(dot.get("x")), float(dot.get("y"))) for dot in group.iter(f"{SPACE}use")]
    assert len(found) == len(curve.points)
    return np.array(found)


def scaled(series, fidelity, factor):
    """The measurements with the times of a curve's sizes multiplied by factor(MACs)."""
    data = copy.deepcopy(DATA)
    for point in data["points"]:
        if (point["series"], point["fidelity"]) == (series, fidelity):
            point["seconds"] = [t * factor(point["macs"]) for t in point["seconds"]]
    return data


def test_the_measurements_cover_what_they_claim():
    assert set(DATA["series"]) == set(measure.SERIES)
    for curve in curves(DATA):
        macs = [point.macs for point in curve.points]
        assert math.log10(macs[-1] / macs[0]) >= 4
        assert [point.size**3 for point in curve.points] == macs
        assert all(point.runs >= 7 for point in curve.points)
    assert DATA["conditions"]["threads"] == 1
    assert {"cpu", "numba", "remark", "timed"} <= set(DATA["conditions"])


def test_the_sweeps_that_were_run_are_those_that_are_declared():
    ran = build.swept()["ran"]
    assert [one["experiment"] for one in ran] == list(sweeps.EXPERIMENTS)
    for one in ran:
        assert one["points"] == int(one["experiment"].partition(" ")[0].replace(",", ""))
        assert one["cpu_s"] / one["points"] == pytest.approx(1e-3 * one["ms_per_point"], rel=0.05)
        assert f"{one['cpu_s']:,}" in build.page(DATA)


def test_a_sweep_is_timed_by_its_command():
    text = "model: gemm:8x9x12\nhardware: systolic-16x16\nvary:\n  batch: [1, 2, 3]\n"
    ran = sweeps.run("three", text)
    assert (ran["points"], ran["rows"]) == (3, 3)
    assert min(ran["wall_s"], ran["cpu_s"], ran["most_mib"], ran["store_mib"]) > 0


def test_every_statement_is_computed():
    before = build.statements(curves(DATA))
    changes = [
        ("lock-step, no bits", "cycle", lambda macs: 2.0, [0]),
        ("lock-step, bits", "cycle", lambda macs: macs**0.2, [1]),
        ("intersecting", "cycle", lambda macs: 3.0, [2]),
        ("intersecting", "analytical", lambda macs: macs**0.2, [2]),
    ]
    for series, fidelity, factor, told in changes:
        after = build.statements(curves(scaled(series, fidelity, factor)))
        assert [i for i in range(len(before)) if before[i] != after[i]] == told


def test_slopes_tell_flat_from_growing():
    slopes = {(curve.series, curve.fidelity): curve.slope for curve in curves(DATA)}
    for fidelity in ("cycle", "analytical"):
        assert abs(slopes["lock-step, no bits", fidelity]) < 0.1
    assert slopes["lock-step, bits", "cycle"] == pytest.approx(2 / 3, abs=0.12)
    assert slopes["intersecting", "analytical"] < slopes["intersecting", "cycle"] < 1.1
    assert doctest.testmod(speed_figures) == (0, 2)


def test_page_and_drawing_follow_from_the_measurements(tmp_path):
    build.main(["--out", str(tmp_path), "--docs", str(tmp_path / "docs")])
    page = (tmp_path / "index.html").read_text("utf-8")
    for text in (*build.statements(curves(DATA)), build.CAPTION):
        assert text.replace("'", "&#x27;") in page
    for name in DATA["conditions"]:
        assert f"<dt>{name.replace('_', ' ')}</dt>" in page
    drawn = (tmp_path / "docs" / build.SVG).read_text("utf-8")
    committed = (ROOT / "docs" / build.SVG).read_text("utf-8")
    # Releases of matplotlib write the same drawing in other bytes.
    assert texts(drawn) == texts(committed)
    for curve in curves(DATA):
        assert np.allclose(dots(drawn, curve), dots(committed, curve), atol=0.1)
    for label in (build.TITLE, *build.LABELS.values(), "MACs of the dense GEMM, M·N·K"):
        assert label in texts(drawn)


def test_the_drawing_is_the_same_every_time():
    assert build.svg(DATA) == build.svg(copy.deepcopy(DATA))


def test_the_docs_say_what_was_measured():
    text = (ROOT / "docs" / "systolic.md").read_text("utf-8")
    section = text.partition("## What a simulation costs")[2].partition("\n## ")[0]
    assert f"({build.SVG})" in section
    for statement in build.statements(curves(DATA)):
        assert statement in " ".join(section.split())


def test_the_drawing_keeps_within_its_frame():
    for curve in curves(DATA):
        x, y = dots(build.svg(DATA), curve).T
        assert np.all((x >= 78) & (x <= 796))
        assert np.all((y >= 104) & (y <= 444))
        decades = np.log10([(point.macs, point.median) for point in curve.points])
        for place, of in ((x, decades[:, 0]), (y, decades[:, 1])):
            assert abs(np.corrcoef(place, of)[0, 1]) > 1 - 1e-9  # both axes are logarithmic


def test_the_script_measures_both_fidelities(capsys):
    found = measure.measure_series("lock-step, bits", [16])
    assert [point["fidelity"] for point in found] == ["cycle", "analytical"]
    assert all(point["macs"] == 16**3 and min(point["seconds"]) > 0 for point in found)
