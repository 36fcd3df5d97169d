"""The grammar of experiments: ranges, expressions, fields, and what each message says."""

import math
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from swept import points_of

from nmsim.cost.technology import TECHNOLOGIES
from nmsim.errors import SpecError
from nmsim.machines import HARDWARE
from nmsim.machines.gpu import energy as gpu_energy
from nmsim.run.experiment import Experiment, identity, planned, read_experiment
from nmsim.run.experiment.axes import axes, range_of
from nmsim.run.experiment.expression import parse
from nmsim.run.experiment.fields import field_named
from nmsim.spec import validate

DESIGN = """
title: buffers of a 2:4 array
model: resnet50
recipe: transposable
hardware: systolic-128x128-2to4
vary:
  pattern: [dense, 2:4, 4:8]
  rows: {from: 64, to: 256, step: 64}
  sram.a_kib: {from: 64, to: 4096, points: 7, scale: log}
  zip: [{dram.gbps: 100, dram.latency_ns: 60}, {dram.gbps: 400, dram.latency_ns: 100}]
derive: {cols: rows}
when: sram.a_kib >= rows
keep: totals
"""

LAYERS = "layers: [{name: a, type: linear, in_features: %d, out_features: 8, tokens: 2}]"
SMALL = {"title": "t", "model": "gemm:8x9x12", "hardware": "systolic-16x16"}


def experiment(**said):
    usual = {name: one for name, one in SMALL.items() if name not in said.get("vary", ())}
    return validate(Experiment, {**usual, **said}, "e.yaml")


def values(name, said):
    (axis,) = axes({name: said})
    return [one for (one,) in axis.values]


def test_fields_ranges_zips_conditions_and_what_follows(tmp_path):
    (tmp_path / "e.yaml").write_text(DESIGN)
    plan = planned(read_experiment(tmp_path / "e.yaml"))
    points = [plan.point(place) for place in plan.places]
    wanted = [
        (str(pattern), rows, kib, dram)
        for pattern in ("dense", "2:4", "4:8")
        for rows in (64, 128, 192, 256)
        for kib in (64, 128, 256, 512, 1024, 2048, 4096)
        for dram in ((100, 60), (400, 100))
        if kib >= rows
    ]
    found = [
        (str(p.pattern), p.machine.rows, p.machine.sram.a_kib, (d.gbps, d.latency_ns))
        for p in points
        for d in [p.machine.dram]
    ]
    assert found == wanted
    assert all(p.machine.cols == p.machine.rows for p in points)
    assert {(p.recipe, p.model, p.fidelity, p.batch) for p in points} == {
        ("transposable", "resnet50", "cycle", None)
    }
    assert plan.columns == ("rows", "sram.a_kib", "dram.gbps", "dram.latency_ns", "cols")


numbers = st.integers(-1000, 1000) | st.decimals(-100, 100, places=2).map(float)


@given(numbers, st.integers(1, 40), st.integers(1, 500))
def test_a_range_in_steps_is_of_the_numbers_as_they_are_written(first, count, hundredths):
    step = hundredths / 100
    last = float(Fraction(str(first)) + count * Fraction(str(step)))
    found = range_of({"from": first, "to": last, "step": step}, "x")
    assert len(found) == count + 1
    exact = [Fraction(str(first)) + at * Fraction(str(step)) for at in range(count + 1)]
    assert list(found) == [float(one) for one in exact]
    assert all(
        isinstance(v, int) == (e.denominator == 1) for v, e in zip(found, exact, strict=True)
    )
    assert values("x", f"{first}..{last} step {step}") == list(found)
    assert range_of({"from": last, "to": first, "step": -step}, "x") == found[::-1]


@given(
    st.integers(1, 10**6),
    st.integers(1, 10**6),
    st.integers(2, 50),
    st.sampled_from(["log", "linear"]),
)
def test_a_range_of_points_has_its_ends_and_equal_distances(first, last, points, scale):
    last += first == last
    found = range_of({"from": first, "to": last, "points": points, "scale": scale}, "x")
    assert (found[0], found[-1], len(found)) == (first, last, points)
    measured = [math.log(v) if scale == "log" else v for v in found]
    gaps = [b - a for a, b in pairwise(measured)]
    assert gaps == pytest.approx([(measured[-1] - measured[0]) / (points - 1)] * len(gaps))
    assert values("x", f"{first}..{last} points {points} {scale}") == list(found)


def test_a_range_by_text_steps_by_one_and_whole_numbers_are_integers():
    assert values("rows", "3..6") == [3, 4, 5, 6]
    assert values("rows", "64..250 step 64") == [64, 128, 192]
    assert values("x", "0.5..2 points 4") == [0.5, 1, 1.5, 2]
    assert list(map(type, values("x", "0.5..2 points 4"))) == [float, int, float, int]
    assert values("model", "../a..b") == ["../a..b"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"from": 1, "to": 4}, "vary.rows: expected step or points"),
        ({"from": 1, "to": 4, "step": 1, "points": 2}, "vary.rows: expected step or points"),
        ({"from": 1, "to": 4, "step": 0}, "vary.rows.step is 0"),
        ({"from": 1, "to": 4, "step": -1}, "vary.rows.step is -1"),
        ({"from": 0, "to": 4, "points": 3, "scale": "log"}, "vary.rows: log from 0"),
        ({"from": 1, "to": 4, "points": 1}, "vary.rows.points is 1"),
        ({"from": 1, "to": 4, "points": 3, "scale": "cubic"}, "vary.rows.scale is 'cubic'"),
        ({"from": 1, "to": 4, "stepp": 3}, "did you mean 'step'"),
        ({"from": "a", "to": 4, "step": 3}, "vary.rows.from is 'a'"),
        ({"from": float("nan"), "to": 4, "step": 3}, "vary.rows.from is nan"),
        ({"to": 4, "step": 3}, "vary.rows.from is None"),
        ({"from": 0, "to": 1e9, "step": 1}, "1000000001 values"),
        ([], r"vary.rows is \[\]"),
        ([4, 4], "vary.rows: expected each entry once"),
        ([{"a": 1}], "vary.rows"),
    ],
)
def test_a_range_that_cannot_be_names_the_field(said, why):
    with pytest.raises(SpecError, match=why):
        axes({"rows": said})


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([], "vary.zip"),
        ([{"rows": 1}, {"cols": 1}], r"vary.zip\[1\]"),
        ([{"rows": 1}, 5], r"vary.zip\[1\]"),
        ({"rows": [1, 2], "cols": [1]}, "2 of rows, 1 of cols"),
        (5, "vary.zip"),
    ],
)
def test_a_zip_is_of_the_same_fields_throughout(said, why):
    with pytest.raises(SpecError, match=why):
        axes({"zip": said})


def test_a_zip_may_be_lists_by_field():
    by_entry = axes({"zip": [{"rows": 8, "cols": 4}, {"rows": 16, "cols": 2}]})
    assert axes({"zip": {"rows": [8, 16], "cols": [4, 2]}}) == by_entry


# ---- expressions, against Python's own reading of the same text

FIELDS = {"a": 7, "b": -3, "c.d": 2.5, "c.e.f": 0, "t": "2:4"}
NAMESPACE = {"a": 7, "b": -3, "c": SimpleNamespace(d=2.5, e=SimpleNamespace(f=0)), "t": "2:4"}

leaf = st.sampled_from([*(name for name in FIELDS if name != "t"), "0", "1", "2", "3.5", "10"])
arithmetic = st.recursive(
    leaf,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%", "**"]), inner).map(
            lambda parts: "({} {} {})".format(*parts)
        )
        | inner.map(lambda one: f"(-{one})")
        | st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(
            lambda p: f"{p[0]}({p[1]}, {p[2]})"
        )
    ),
    max_leaves=8,
)
compared = st.tuples(
    arithmetic, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), arithmetic
).map(lambda parts: "({} {} {})".format(*parts)) | st.sampled_from(
    ["t == '2:4'", "t in ('1:4', '2:4')", "t not in ['2:4']", "1 < a <= 7 < 9"]
)
expression = arithmetic | st.recursive(
    compared,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda parts: "({} {} {})".format(*parts)
        )
        | inner.map(lambda one: f"(not {one})")
    ),
    max_leaves=4,
)


@given(expression)
@example("1 < a <= 7 < 9")
@example("a >= 7 and a <= 7 and not a > 7 and not a < 7")
@example("a == 7 or t == '2:4'")
@example("c.e.f or b and c.d")
@example("t not in ('2:4', '4:8')")
@example("a // 2 + b % 4 - c.d ** 2 / 4 * -a")
@example("min(a, b) + max(a, b, c.d)")
def test_an_expression_is_what_python_makes_of_it(text):
    try:
        wanted = eval(text, {"__builtins__": {"min": min, "max": max}}, NAMESPACE)
    except (ArithmeticError, ValueError):
        wanted = None
    evaluate = parse(text, "when")
    try:
        found = evaluate(FIELDS)
    except SpecError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert wanted is None or isinstance(wanted, complex) or "beyond any field" in refused
        return
    assert (found, type(found)) == (wanted, type(wanted)) or math.isnan(found)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rows +", "derive.cols, column"),
        ("rows; cols", "derive.cols, column 5"),
        ("", "derive.cols"),
        ("__import__('os').system('true')", "derive.cols, column 1: expected min"),
        ("rows.__class__()", "derive.cols, column 1: expected min"),
        ("[x for x in rows]", "derive.cols, column 1: expected arithmetic"),
        ("rows[0]", "derive.cols, column 1: expected arithmetic"),
        ("(lambda: 1)()", "expected min"),
        ("rows if cols else 1", "expected arithmetic"),
        ("f'{rows}'", "expected arithmetic"),
        ("rows << 4", "derive.cols, column 1: expected one of"),
        ("~rows", "derive.cols, column 1"),
        ("rows is 4", "expected < <= > >="),
        ("rows in cols", "expected a list"),
        ("2 * (1)(2)", "column 5: expected min"),
        ("(1).real", "before the dot"),
        ("b'x' == rows", "expected a number or a text"),
        ("1" * 2000, "2000 characters"),
        ("(" * 300 + "1" + ")" * 300, "derive.cols"),
        ("\0", "derive.cols"),
    ],
)
def test_what_is_no_expression_is_refused_by_its_column(text, why):
    with pytest.raises(SpecError, match=r"derive\.cols") as refused:
        parse(text, "derive.cols")
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rows * pattern", "when, column 8: pattern is '2:4', expected a number"),
        ("rows < tokens", "when, column 8: tokens is null, expected a number"),
        ("rows / zero", "when, column 1: 64 and 0 have no value here"),
        ("9 ** 9 ** 9", "beyond any field"),
        ("-rows ** 0.5 < (-rows) ** 0.5", "no real number"),
    ],
)
def test_values_that_do_not_go_together_are_named(text, why):
    with pytest.raises(SpecError) as refused:
        parse(text, "when")({"rows": 64, "pattern": "2:4", "tokens": None, "zero": 0})
    assert why in str(refused.value)


# ---- fields


@pytest.mark.parametrize(
    ("name", "path", "column"),
    [
        ("batch", "", "batch"),
        ("rows", "rows", "rows"),
        ("sram.a_kib", "sram.a_kib", "sram.a_kib"),
        ("hardware.rows", "rows", "rows"),
        ("kernel", "", "run.kernel"),
        ("hardware.kind", "kind", "hardware.kind"),
        ("hardware.stack", "stack", "hardware.stack"),
        ("scenario", "", "scenario"),
    ],
)
def test_a_field_is_the_runs_unless_it_is_said_to_be_the_machines(name, path, column):
    field = field_named(name, "vary")
    assert (field.path, field.column) == (path, column)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"vary": {"row": [1]}}, "e.yaml: vary.row: unknown field 'row'; did you mean 'rows'"),
        ({"vary": {"patern": ["2:4"]}}, "did you mean 'pattern'"),
        ({"vary": {"hardware.batch": [1]}}, "vary.hardware.batch: unknown field 'batch'"),
        ({"vary": {"rows": [1], "hardware.rows": [2]}}, "rows and hardware.rows"),
        ({"vary": {"rows": [8]}, "derive": {"rows": "cols"}}, "rows, expected each field once"),
        ({"vary": {"tokens": [8]}, "tokens": 3}, "tokens: stands in vary or derive too"),
        ({"vary": {"pattern": ["2:4"]}, "pattern": "1:4"}, "pattern: stands in vary"),
        ({"vary": {"pattern": ["2:4"]}, "patterns": ["1:4"]}, "pattern"),
        ({"models": ["gemm:1x1x1"]}, "model: models is said too"),
        ({"model": ["gemm:1x1x1"]}, "did you mean 'models'"),
        ({"derive": {"rows": "colss * 2"}}, "derive.rows: unknown field 'colss'"),
        ({"derive": {"rows": "rows * 2"}}, "derive.rows: rows is derived there or below"),
        ({"derive": {"rows": "cols", "cols": "rows"}}, "cols is derived there or below"),
        ({"when": "rows >"}, "when, column"),
        ({"when": ["rows > 1", "rows ><"]}, r"when\[1\], column"),
        ({"when": 5}, "when is 5, expected a list"),
        ({"keep": "everything"}, "keep is 'everything'"),
        ({"vary": {"seed": {"from": 0, "to": 999_999, "step": 1}, "rows": "1..99"}}, "99,000,000"),
    ],
)
def test_an_experiment_that_cannot_be_says_so_in_a_line(said, why):
    with pytest.raises(SpecError, match=why) as refused:
        experiment(**said)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"vary": {"rows": [8, 0]}}, "e.yaml: systolic-16x16 with rows=0: rows is 0"),
        ({"vary": {"rows": [8.5]}}, "rows is 8.5"),
        ({"vary": {"sram.a_kb": [8]}}, "a_kb"),
        ({"vary": {"batch": [1, 0]}}, "e.yaml: batch is 0, expected an integer of 1 or more"),
        ({"vary": {"pattern": ["2:4", "9:4"]}}, "at pattern 9:4"),
        ({"vary": {"fidelity": ["exact"]}}, "unknown fidelity 'exact'"),
        ({"vary": {"hardware": ["ideal", "systolic-16x61"]}}, "did you mean 'systolic-16x16'"),
        ({"vary": {"model": ["gemm:8x8x8", "resnet81"]}}, "did you mean 'resnet18'"),
        ({"vary": {"layers": ["*", "conv*"]}}, "unknown layer 'conv"),
        ({"technology": "46nm"}, "did you mean '45nm'"),
        ({"cost": True, "vary": {"technology": ["7nm", "none.yaml"]}}, "none.yaml"),
        ({"vary": {"rows": [8]}, "when": "rows > 9"}, "none of 1 combinations is a point"),
        ({"vary": {"rows": [8]}, "when": "rows > pattern"}, "pattern is '2:4', expected a number"),
    ],
)
def test_every_point_is_checked_before_one_is_run(said, why):
    with pytest.raises(SpecError, match=why) as refused:
        planned(experiment(**said), "e.yaml")
    assert str(refused.value).startswith("e.yaml: ")
    assert "\n" not in str(refused.value)


def test_an_expression_reads_what_nothing_varies_from_the_machines_file():
    said = {"vary": {"hardware": ["systolic-16x16", "systolic-128x128-2to4"]}}
    found = planned(experiment(**said, derive={"cols": "rows // 2"}, when="batch == None"))
    assert [place.varied for place in found.places] == [(8,), (64,)]


def test_all_conditions_hold_for_every_point():
    conditions = ["rows > 1", "rows != 3", "seed in (0, 2)"]
    found = planned(experiment(vary={"rows": "1..4", "seed": "0..2"}, when=conditions))
    assert [place.varied + place.known[-1:] for place in found.places] == [
        *((2, 0), (2, 2), (4, 0), (4, 2))
    ]


def test_what_a_file_leaves_out_is_as_in_a_run_unless_it_has_lists_alone():
    listed = {"title": "t", "models": ["gemm:8x8x8"], "patterns": ["2:4"], "hardware": ["ideal"]}
    found = [(p.recipe, p.fidelity) for p in points_of(validate(Experiment, listed, "e"))]
    assert found == [("asp", "cycle"), ("asp", "analytical")]
    (point,) = points_of(validate(Experiment, {"title": "t", "model": "gemm:8x8x8"}, "e"))
    assert (point.recipe, point.fidelity, str(point.pattern)) == ("dense", "cycle", "2:4")
    assert point.hardware == "systolic-128x128-2to4"
    for missing in ("models", "patterns", "hardware"):
        rest = {name: one for name, one in listed.items() if name != missing}
        with pytest.raises(SpecError, match=f"e: {missing} is missing"):
            validate(Experiment, rest, "e")
    with pytest.raises(SpecError, match="e: model is missing"):
        validate(Experiment, {"title": "t", "vary": {"batch": [1]}}, "e")


def test_paths_start_at_the_folder_of_the_file(tmp_path):
    (tmp_path / "mine.yaml").write_text(LAYERS % 8)
    (tmp_path / "e.yaml").write_text(
        "title: t\nhardware: ideal\nvary:\n"
        "  zip: [{model: mine.yaml, batch: 1}, {model: 'gemm:8x8x8', batch: 2}]\n"
        "  technology: [own.yaml, 7nm]\nstack: mine.yaml\n"
    )
    (tmp_path / "own.yaml").write_text("based_on: 45nm\n")
    found = read_experiment(tmp_path / "e.yaml")
    assert found.stack == str(tmp_path / "mine.yaml")
    assert found.vary["technology"] == [str(tmp_path / "own.yaml"), "7nm"]
    text = (tmp_path / "e.yaml").read_text()
    (tmp_path / "e.yaml").write_text(text[: text.index("  technology")])
    plan = planned(read_experiment(tmp_path / "e.yaml"))
    assert [plan.point(place).model for place in plan.places] == [
        str(tmp_path / "mine.yaml"),
        "gemm:8x8x8",
    ]


# ---- what determines a point


def keys(**said):
    return [place.key for place in planned(experiment(**said)).places]


def test_equal_points_have_one_key_whatever_they_are_called():
    (plain,) = keys()
    assert keys(vary={"rows": [16, 8]})[0] == plain  # what the machine's file says
    assert keys(vary={"batch": [None, 1, 2]})[:2] == [plain, plain]
    assert keys(hardware=["systolic-16x16"], pattern="2:4") == [plain]
    assert len(set(keys(vary={"rows": [16, 8], "sram.a_kib": [64, 96], "seed": [0, 1]}))) == 8
    others = [
        *(
            keys(keep="totals"),
            keys(recipe="asp"),
            keys(vary={"seed": [1]}),
            keys(fidelity="analytical"),
        ),
        *(
            keys(vary={"compare": [False]}),
            keys(model="gemm:8x9x13"),
            keys(vary={"phases": [["forward"]]}),
        ),
    ]
    assert len({plain, *(key for (key,) in others)}) == 1 + len(others)


def test_a_key_follows_the_content_of_files(tmp_path):
    model = tmp_path / "m.yaml"
    model.write_text(LAYERS % 8)
    first = keys(model=str(model))
    assert keys(model=str(model)) == first
    model.write_text(LAYERS % 16)
    assert keys(model=str(model)) != first


def test_a_key_follows_the_files_that_energy_is_priced_by(tmp_path):
    shipped = TECHNOLOGIES.path("45nm").read_text()
    own, system = tmp_path / "own.yaml", tmp_path / "energy.yaml"
    own.write_text(shipped)
    first, free = (keys(technology=str(own), cost=cost) for cost in (True, False))
    own.write_text(shipped.replace("summary: ", "summary: another "))
    assert keys(technology=str(own), cost=True) != first
    assert keys(technology=str(own)) == free == keys()
    with pytest.MonkeyPatch.context() as patched:
        system.write_text(gpu_energy._FIGURES.read_text())
        patched.setattr(gpu_energy, "_FIGURES", system)
        first = keys(hardware="a100-sxm4-80gb", cost=True)
        system.write_text(system.read_text() + "# edited\n")
        assert keys(hardware="a100-sxm4-80gb", cost=True) != first


def test_a_key_follows_the_residuals_beside_a_machines_own_file(tmp_path):
    shipped = HARDWARE.path("h200")
    for name in ("h200.yaml", "h200.residual.npz", "h200.attention.residual.npz"):
        (tmp_path / name).write_bytes(shipped.with_name(name).read_bytes())
    said = {"hardware": str(tmp_path / "h200.yaml"), "vary": {"residual": [True]}}
    first = keys(**said)
    (tmp_path / "h200.attention.residual.npz").unlink()
    assert keys(**said) != first


def test_a_key_follows_the_code_of_a_pruner_of_ones_own(tmp_path):
    pruner = tmp_path / "mine.py"
    code = (
        "from nmsim.pruning import pruner\nfrom nmsim.pruning.magnitude import keep_largest\n"
        "@pruner('mine', summary='s', source='s', regular=True)\n"
        "def fill(block):\n    keep_largest(block, {})\n"
    )
    pruner.write_text(code.format("abs(block.values)"))
    recipe = tmp_path / "r.yaml"
    recipe.write_text("operands: [{role: weight, pruner: mine.py, phases: [forward]}]\n")
    first = keys(recipe=str(recipe))
    pruner.write_text(code.format("-abs(block.values)"))
    assert keys(recipe=str(recipe)) != first


def test_a_key_follows_the_tensors_the_code_the_version_and_a_machines_other_files(
    tmp_path, monkeypatch
):
    weights = tmp_path / "w.npz"
    model = tmp_path / "m.yaml"
    model.write_text(LAYERS % 8)
    said = {"model": str(model), "recipe": "asp", "vary": {"tensors": [str(weights)]}}
    np.savez(weights, **{"a.weight": np.ones((8, 8), np.float32)})
    first = keys(**said)
    np.savez(weights, **{"a.weight": np.full((8, 8), 2.0, np.float32)})
    assert keys(**said) != first
    plain, gpu = keys(), keys(hardware="a100-sxm4-80gb")
    for name in ("_code", "_kind_code", "_version"):
        with monkeypatch.context() as patched:
            patched.setattr(identity, name, lambda *_: "another")
            assert keys() != plain
    content, read = identity._content, []
    monkeypatch.setattr(identity, "_content", lambda path: read.append(path) or content(path))
    assert keys(hardware="a100-sxm4-80gb") == gpu
    assert {"kernels", "stacks"} <= {path.parent.name for path in read}
    monkeypatch.setattr(identity, "_content", lambda path: "another")
    assert keys(hardware="a100-sxm4-80gb") != gpu
