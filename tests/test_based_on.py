"""A machine that is based on another: what it takes over, what it changes, and what is refused."""

import json
import re
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from nmsim import cli
from nmsim.cli.commands.describe import describe, schema
from nmsim.errors import SpecError
from nmsim.machines import HARDWARE, KINDS, load_hardware
from nmsim.machines.document import OWN
from nmsim.machines.fit import Calibration, FitError, FittedConstant
from nmsim.measured.calibrate import write_machine
from nmsim.spec import read_yaml

ABOUT = "summary: mine\nsource: an example\n"
BASED = {name: machine for name in HARDWARE if (machine := load_hardware(name)).based_on}


@pytest.fixture
def machine(tmp_path):
    """A function from the text of a file, summary and source left out, to the machine."""

    def loaded(text, name="mine.yaml", about=ABOUT):
        (tmp_path / name).write_text(about + text)
        return load_hardware(tmp_path / name)

    return loaded


def differing(machine, base):
    """Fields of two machines that differ, but for those that say what a file is."""
    ours, theirs = machine.model_dump(), base.model_dump()
    return {name for name in ours if name not in OWN and ours[name] != theirs[name]}


def test_what_a_file_says_replaces_its_base_field_by_field(machine):
    base = load_hardware("systolic-128x128-2to4")
    found = machine("based_on: systolic-128x128-2to4\nrows: 64\ndram: {gbps: 100}\n")
    assert (found.rows, found.dram.gbps, found.dram.latency_ns) == (64, 100, base.dram.latency_ns)
    assert differing(found, base) == {"rows", "dram"}
    assert (found.name, found.summary, found.based_on) == ("mine", "mine", "systolic-128x128-2to4")
    assert type(found) is type(base)


def test_the_commented_example_is_what_its_comments_say(machine):
    text = (Path(__file__).parents[1] / "docs" / "files.md").read_text()
    found = machine(re.findall("```yml\n(.*?)```", text, re.DOTALL)[0], about="")
    base = load_hardware("a100-sxm4-80gb")
    assert differing(found, base) == {"dram", "native", "libraries"}
    assert found.dram == base.dram.model_copy(update={"gbps": 1400})
    assert list(map(str, found.native)) == ["2:4", "4:8"]
    assert [one for one in found.libraries if one not in base.libraries] == [
        base.libraries[1].model_copy(update={"efficiency": 0.9})
    ]


def test_the_last_word_on_an_entry_counts_whatever_it_is_called_by(machine, tmp_path):
    """What the usual figures of a step hold is changed like a list that a file writes out."""

    def reads(found):
        return found.elementwise.operation("relu").forward.reads

    usual = load_hardware("ideal").elementwise.operations
    at = [one.made_by for one in usual].index("relu")
    change = "elementwise: {{operations: {{{}: {{forward: {{reads: {}}}}}}}}}\n"
    assert reads(machine("based_on: ideal\n" + change.format("relu", 7), "first.yaml")) == 7
    assert reads(machine("based_on: first.yaml\n" + change.format(at, 8), "second.yaml")) == 8
    assert reads(machine("based_on: second.yaml\n" + change.format("relu", 9))) == 9
    path = "elementwise.operations.relu.forward.reads"
    assert reads(load_hardware(tmp_path / "second.yaml", **{path: 11})) == 11


def test_null_replaces_as_any_value_does(machine):
    assert machine("based_on: systolic-128x128\ndram: {gbps: null}\n").dram.gbps is None
    assert machine("based_on: sparseloop-stc\ndelivery: null\n").delivery is None
    found = machine("based_on: systolic-128x128-intersecting\nintersecting: {lookahead: null}\n")
    assert (found.intersecting.group, found.intersecting.lookahead) == (4, None)


def test_a_list_is_replaced_whole_and_its_entries_by_name_or_position(machine):
    base = load_hardware("a100-sxm4-80gb")
    whole = machine(
        "based_on: a100-sxm4-80gb\nlibraries: [{library: cublas, kernels: cublas-sm80}]\n"
    )
    assert [one.kernels for one in whole.libraries] == ["cublas-sm80"]
    found = machine(
        "based_on: a100-sxm4-80gb\nformats: {int8: {sparse_macs_per_clk: null}}\n"
        "libraries: {nm-spmm: {timing: {load_us: 0.5}}, 0: {efficiency: 0.9}}\n"
    )
    assert differing(found, base) == {"formats", "libraries"}
    assert found.libraries[0] == base.libraries[0].model_copy(update={"efficiency": 0.9})
    changed = [one.library for one in base.libraries].index("nm-spmm")
    assert found.libraries[changed].timing.load_us == 0.5
    assert found.libraries[changed].timing.overlap == base.libraries[changed].timing.overlap
    assert found.libraries[1:changed] == base.libraries[1:changed]
    rates = [one.sparse_macs_per_clk for one in found.formats]
    assert rates == [1979, 1979, None, None, 1024, 8192]


def test_bases_are_names_or_paths_from_the_file_and_may_stand_on_others(machine, tmp_path):
    (tmp_path / "deep").mkdir()
    machine("based_on: systolic-128x128\nrows: 64\n", "first.yaml")
    machine("based_on: ../first.yaml\ncols: 32\n", "deep/second.yaml")
    third = machine("based_on: deep/second.yaml\nrows: 16\n")
    assert (third.rows, third.cols, third.operand_bits) == (16, 32, 16)
    shadow = machine("based_on: systolic-16x16\nrows: 8\n", "systolic-16x16.yaml")
    assert (shadow.rows, shadow.cols) == (8, 16)


def test_a_base_gives_its_constants_but_not_the_report_of_their_fit(machine, tmp_path):
    fitted = calibrated(load_hardware("a100-sxm4-80gb"), "timing.launch_us", 4.0)
    write_machine(HARDWARE.path("a100-sxm4-80gb"), fitted, tmp_path / "fitted.yaml")
    assert load_hardware(tmp_path / "fitted.yaml").calibration == fitted.calibration
    found = machine("based_on: fitted.yaml\n")
    assert found.timing.launch_us == 4.0
    assert (found.fitted, found.calibration) == ((), None)


def calibrated(machine, path, value):
    """A machine with the report of a fit that set one constant."""
    report = Calibration(
        measured="made",
        method="by hand",
        rows=1,
        weight_shapes=1,
        holdouts=1,
        seed=0,
        evaluations=1,
        constants=(FittedConstant(path=path, start=1, value=value, low=value, high=value),),
        errors=(FitError(time="all", rows=1, mape=0, bias=0, held_out_mape=0, held_out_bias=0),),
    )
    return load_hardware(machine, **{path: value}).model_copy(update={"calibration": report})


@pytest.mark.parametrize(
    "path",
    ["timing.launch_us", "libraries.cusparselt-sm80.timing.wave_us", "libraries.0.efficiency"],
)
def test_a_fit_of_a_based_machine_is_written_over_its_base(machine, tmp_path, path):
    machine("based_on: a100-sxm4-40gb\nsms: 100\n", "start.yaml")
    start = machine("based_on: start.yaml\n# a comment\nfitted: [timing.launch_us]\n")
    fitted = calibrated(start, path, 0.75)
    out = tmp_path / "elsewhere" / "out.yaml"
    out.parent.mkdir()
    write_machine(tmp_path / "mine.yaml", fitted, out)
    assert "# a comment" in out.read_text()
    assert set(read_yaml(out)) == {
        "summary",
        "source",
        "based_on",
        "fitted",
        "calibration",
        path.partition(".")[0],
    }
    inner = read_yaml(out)
    for name in path.split("."):  # an entry that the file lacks is called as in the path
        inner = inner[name]
    assert inner == 0.75
    again = load_hardware(out)
    assert again.calibration == fitted.calibration
    assert differing(again, fitted) == set()
    assert differing(again, start) == {path.partition(".")[0]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("based_on: systolic-129\n", "mine.yaml: based_on is 'systolic-129': unknown hardware"),
        ("based_on: no.yaml\n", r"mine.yaml: based_on is 'no.yaml': .*no.yaml: cannot be read"),
        ("based_on: mine.yaml\n", "mine.yaml: based_on is 'mine.yaml': mine.yaml -> mine.yaml is"),
        ("based_on: 3\n", "mine.yaml: based_on is 3, expected a machine's name or path"),
        ("based_on: broken.yaml\n", "mine.yaml: based_on is 'broken.yaml': .*broken.yaml: rows is"),
        ("based_on: ideal\nkind: gpu\n", "mine.yaml: kind is 'gpu', expected 'ideal', that of"),
        ("based_on: ideal\nkind: gpo\n", "mine.yaml: unknown kind 'gpo'; did you mean 'gpu'"),
        ("based_on: ideal\nsms: 3\n", "mine.yaml: unknown field 'sms'"),
        ("based_on: v100\nlibraries: {cutlass: {sparse: true}}\n",
         "mine.yaml: field 'libraries.cutlass': unknown entry 'cutlass'"),
        ("based_on: v100\nlibraries: {cublas: {sparse: true}}\n",
         "mine.yaml: field 'libraries.cublas': entries 0, 1 are called 'cublas'"),
        ("rows: 3\n", "mine.yaml: kind is None, expected one of gpu"),
    ],
)  # fmt: skip
def test_a_base_that_will_not_do_is_refused_in_one_line(machine, tmp_path, text, message):
    (tmp_path / "broken.yaml").write_text(ABOUT + "based_on: systolic-16x16\nrows: many\n")
    with pytest.raises(SpecError, match=message) as caught:
        machine(text)
    assert "\n" not in str(caught.value)


def test_a_circle_of_bases_is_refused(machine, tmp_path):
    for name, base in (("a", "b"), ("b", "c"), ("c", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"{ABOUT}based_on: {base}.yaml\n")
    circle = r"c.yaml: based_on is 'a.yaml': a.yaml -> b.yaml -> c.yaml -> a.yaml is a circle"
    with pytest.raises(SpecError, match=circle):
        load_hardware(tmp_path / "a.yaml")
    with pytest.raises(SpecError, match=r"mine.yaml: based_on is 'a.yaml': .* is a circle"):
        machine("based_on: a.yaml\n")


@pytest.mark.parametrize("field", ["summary", "source"])
def test_a_file_says_itself_what_it_is(machine, field):
    about = "".join(line for line in ABOUT.splitlines(True) if not line.startswith(field))
    assert getattr(load_hardware("ideal"), field)
    assert getattr(machine("based_on: ideal\n", about=about), field) == ""


def test_only_a_file_is_based_on_something():
    with pytest.raises(SpecError, match="ideal with based_on=v100: based_on is read"):
        load_hardware(load_hardware("ideal"), based_on="v100")


def test_the_name_that_gpus_had_before_is_read(machine):
    text = HARDWARE.path("v100").read_text().replace("kind: gpu", "kind: tensor-core")
    found = machine(text, about="")
    assert found.kind == "gpu"
    assert machine("kind: tensor-core\nbased_on: mine.yaml\n", "next.yaml").kind == "gpu"


# ---- fields of earlier versions

IS_NOW = "may_transpose is now order: best (true) or fixed (false)"
ARRAY = "systolic-16x16"


def refused(make):
    with pytest.raises(SpecError) as error:
        make()
    return str(error.value)


def test_a_replaced_field_is_refused_with_what_says_it_now(machine, tmp_path):
    mine, base = tmp_path / "mine.yaml", tmp_path / "base.yaml"
    whole = HARDWARE.path(ARRAY).read_text() + "may_transpose: true\n"
    assert refused(lambda: machine(whole, about="")) == f"{mine}: {IS_NOW}"
    based = f"based_on: {ARRAY}\nmay_transpose: false\n"
    assert refused(lambda: machine(based)) == f"{mine}: {IS_NOW}"
    assert refused(lambda: machine(based + "rows: none\n")) == f"{mine}: {IS_NOW}"
    base.write_text(ABOUT + based)
    said = refused(lambda: machine("based_on: base.yaml\n"))
    assert said == f"{mine}: based_on is 'base.yaml': {base}: {IS_NOW}"


def test_a_replaced_field_is_refused_as_a_keyword_and_as_an_option():
    for given in (ARRAY, load_hardware(ARRAY)):
        said = refused(lambda given=given: load_hardware(given, may_transpose=True))
        assert said == f"{ARRAY} with may_transpose=True: {IS_NOW}"
    with pytest.raises(ValidationError, match=re.escape(IS_NOW)):
        type(load_hardware(ARRAY))(may_transpose=True)
    run = CliRunner().invoke(
        cli.app,
        ["simulate", "gemm:8x8x8", "--hardware", ARRAY, "--set", "may_transpose=false"],
        standalone_mode=False,
    )
    assert str(run.exception) == f"{ARRAY} with may_transpose=False: {IS_NOW}"


def test_what_replaces_a_field_stands_in_the_schema():
    for kind in KINDS:
        fields = KINDS[kind].schema.model_fields
        for old, new in KINDS[kind].schema.replaced.items():
            assert old not in fields
            assert new.partition(":")[0] in fields


# ---- the machines that ship


@pytest.mark.parametrize("name", BASED)
def test_a_file_that_ships_says_only_what_differs_from_its_base(name):
    machine, base = BASED[name], load_hardware(BASED[name].based_on)
    own = set(read_yaml(HARDWARE.path(name))) - {*OWN, "sparse_operand"}
    assert own == differing(machine, base) - {"sparse_operand"}
    assert len(own) <= 12


def test_a_machine_is_shown_with_what_differs_from_its_base(machine, tmp_path):
    facts = dict(describe("hardware", "a100-sxm4-40gb"))
    assert facts["sms"].startswith("108")
    told = {name: text for name, text in facts.items() if name.startswith("differs")}
    assert told == {
        "differs: l2.latency_clk": "213.0, in a100-sxm4-80gb 211.0",
        "differs: dram.gbps": "1490.0, in a100-sxm4-80gb 1769.0",
        "differs: dram.sheet_gbps": "1555.0, in a100-sxm4-80gb 2039.0",
        "differs: dram.latency_clk": "573.0, in a100-sxm4-80gb 571.0",
        "differs: timing.write_gbps": "1330.0, in a100-sxm4-80gb 1579.0",
        "differs: timing.gemv_gbps": "1114.0, in a100-sxm4-80gb 1323.0",
        "differs: cycle.write_gbps": "1092.0, in a100-sxm4-80gb 1297.0",
    }
    told = dict(describe("hardware", "hypothetical-4to8"))
    assert told["differs: formats.2"] == (
        "sparse_rates pattern 1:4 macs_per_clk 7916.0, in a100-sxm4-80gb none"
    )
    machine("based_on: v100\nformats: [{dtype: fp16, bits: 16, output_bits: 16, macs_per_clk: 9}]\n"
            "libraries: [{library: cublas, kernels: cublas-sm70}]\n")  # fmt: skip
    told = dict(describe("hardware", str(tmp_path / "mine.yaml")))
    assert told["differs: formats.1"].startswith("none, in v100 dtype fp32, bits 32")
    assert not any(name.startswith("differs") for name, _ in describe("hardware", "v100"))


def test_a_manifest_holds_the_machine_itself(machine, tmp_path, monkeypatch):
    found = machine("based_on: systolic-16x16\nrows: 8\n")
    out = tmp_path / "out"
    arguments = ("gemm:32x32x32", "--hardware", str(tmp_path / "mine.yaml"), "--out", str(out))
    monkeypatch.setattr(sys, "argv", ["nmsim", "simulate", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    stored = json.loads((out / "manifest.json").read_text())["machine"]
    assert stored == found.model_dump(mode="json")
    assert (stored["rows"], stored["cols"]) == (8, 16)


# ---- the JSON Schema of files


def refs(schema):
    """Every reference in a schema."""
    if isinstance(schema, dict):
        yield from [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
    for inner in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(inner, dict | list):
            yield from refs(inner)


@pytest.mark.parametrize("kind", [*KINDS, "hardware"])
def test_every_reference_of_a_schema_leads_somewhere(kind):
    found = json.loads(schema(kind))
    assert {ref.removeprefix("#/$defs/") for ref in refs(found)} <= set(found["$defs"])


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_schema_says_what_a_file_with_a_base_may_leave_out(kind):
    found = json.loads(schema(kind))
    assert found["if"] == {"required": ["based_on"]}
    assert "based_on" in found["description"]
    assert found["then"]["required"] == []
    required = {n for n, f in KINDS[kind].schema.model_fields.items() if f.is_required()}
    assert set(found["else"]["required"]) == required - {"host", "elementwise"}
    for way in ("then", "else"):
        assert set(found[way]["properties"]) == set(KINDS[kind].schema.model_fields)
        assert found[way]["additionalProperties"] is False


def test_a_schema_takes_parts_of_groups_and_entries_of_lists_in_a_file_with_a_base():
    found = json.loads(schema("gpu"))
    of, whole, change = found["$defs"], found["else"]["properties"], found["then"]["properties"]
    assert set(of["gpu.GpuDram"]["required"]) == {"gbps", "latency_clk"}
    assert "required" not in of["gpu.GpuDram.changed"]
    assert whole["dram"]["$ref"] == "#/$defs/gpu.GpuDram"
    assert change["dram"]["$ref"] == "#/$defs/gpu.GpuDram.changed"
    assert change["libraries"]["anyOf"] == [
        whole["libraries"],
        {"type": "object", "additionalProperties": {"$ref": "#/$defs/gpu.Library.changed"}},
    ]
    assert whole["libraries"]["items"] == {"$ref": "#/$defs/gpu.Library"}
    assert whole["elementwise"] == change["elementwise"]
