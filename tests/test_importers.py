"""Is what another tool's file says used, or refused by file and line, and never dropped?"""

import math

import pytest

from nmsim.errors import NmsimError
from nmsim.gemm import Gemm
from nmsim.importing import as_yaml, import_document, importers, told_of
from nmsim.machines import load_hardware
from nmsim.network.catalog import Network, load_model
from nmsim.network.layer import lowered
from nmsim.run.point import Point, rows
from nmsim.run.workload import load_workload
from nmsim.spec import read_yaml, validate

CONV = (
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, "
    "Strides,"
)


@pytest.fixture
def written(tmp_path):
    """Write a file; its path."""

    def write(text, name="file.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def forward(path, **keywords):
    keywords = {"hardware": "scale-sim", "phases": ("forward",), "compare": False, **keywords}
    return list(rows(Point(str(path), **keywords)))


def sizes(path):
    workload = load_workload(str(path))
    every = (one for layer in workload.layers for one in lowered(layer, workload.default_batch))
    return [
        (g.layer, g.m, g.n, g.k, g.count)
        for g in (one.gemm for one in every)
        if g.phase == "forward"
    ]


def refused(path):
    with pytest.raises(NmsimError) as error:
        load_workload(str(path))
    return str(error.value)


def test_a_rows_number_format_is_kept_where_a_recipe_prunes_nothing(written, tmp_path):
    table = written("layer,m,n,k,dtype\na,8,16,16,int8\nb,8,16,16,\n")
    recipe = written(
        "operands: [{role: weight, phases: [forward], pruner: magnitude}]\n"
        "formats: {forward: int4}\nleave_dense: {layers: a}",
        "r.yaml",
    )
    found = forward(table, recipe=recipe, hardware="ideal")
    assert [(row["b_pattern"], row["number_format"]) for row in found] == [
        ("dense", "int8"),
        ("2:4", "int4"),
    ]


def test_each_format_is_found_by_scanning():
    assert {"csv", "hf", "onnx", "scale-sim", "scale-sim-config", "zigzag"} <= set(importers())


# ---- tables of GEMMs


@pytest.mark.parametrize("recipe", ["dense", "asp", "wx"])
@pytest.mark.parametrize(
    ("text", "issued"),
    [
        ("layer,m,n,k,sparsity\na,3,5,16,3:4\nb,1,5,16,1:4\n", [3 * 5 * 12, 1 * 5 * 4]),
        ("Layer, M, N, K, Sparsity,\na, 4, 6, 32, 3:4,\nb, 2, 6, 32, 1:4,\n", [576, 96]),
        ("layer,m,n,k,b_pattern\na,3,5,16,dense\nb,1,5,16,4:8\n", [3 * 5 * 16, 1 * 5 * 8]),
    ],
)
def test_the_pattern_of_a_row_holds_under_every_recipe(written, text, issued, recipe):
    found = forward(written(text), recipe=recipe)
    assert [row["macs_issued"] for row in found] == issued


def test_a_row_without_a_pattern_is_the_recipes(written):
    found = forward(written("layer,m,n,k,sparsity\na,4,8,16,\nb,4,8,16,1:4\n"), recipe="asp")
    assert [row["b_pattern"] for row in found] == ["2:4", "1:4"]


def test_both_patterns_of_a_row_are_its_operands(written):
    path = written("layer,m,n,k,phase,a_pattern,b_pattern\na,8,8,16,update,1:4,2:4\n")
    (row,) = rows(Point(str(path), compare=False))
    assert (row["phase"], row["a_pattern"], row["b_pattern"]) == ("update", "1:4", "2:4")


def test_batch_count_and_repeat_are_used(written):
    text = "layer,m,n,k,batch,count,repeat,phase\na,2,3,5,7,11,13,\na,2,3,5,7,1,1,update\n"
    one, other = (bare.gemm for bare in load_workload(str(written(text))).layers)
    assert one == Gemm(14, 3, 5, 11, "a", "forward", 13)
    assert other == Gemm(2, 3, 35, 1, "a", "update")


def test_a_number_format_is_the_rows(written):
    path = written("layer,m,n,k,dtype\na,64,64,64,int8\nb,64,64,64,\n")
    found = forward(path, hardware="a100-sxm4-80gb", fidelity="analytical")
    assert [row["number_format"] for row in found] == ["int8", "bf16"]


@pytest.mark.parametrize(
    "text",
    [
        "LAYER;M;N;K;;\na;2;3;5;;\n",
        "\ufefflayer\tm\tn\tk\r\na\t2\t3\t5\r\n",
        "k,n,m,layer\n5,3,2,a",
    ],
)
def test_tables_are_read_however_they_were_written(written, text):
    assert sizes(written(text)) == [("a", 2, 3, 5, 1)]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("layer,m,n,k,note\na,1,2,3,x\n", "line 1: unknown column 'note'"),
        ("layer,m,n,k,groups\na,1,2,3,4\n", "line 1: unknown column 'groups'"),
        ("layer,m,n,k,b_patern\na,1,2,3,2:4\n", "did you mean 'b_pattern'"),
        ("layer,m,n,k,dtype\na,1,2,3,fp17\n", "line 2: unknown dtype 'fp17'"),
        ("layer,m,n,k,dtype,phase\na,1,2,3,w4a16,update\n", "line 2: dtype is 'w4a16'"),
        ("layer,m,n,k,phase\na,1,2,3,fprop\n", "line 2: unknown phase 'fprop'"),
        ("layer,m,n,k,batch\na,1,2,3,0\n", "line 2: batch is 0"),
        ("layer,m,n,k,sparsity\na,1,2,3,0.5\n", "line 2: sparsity is '0.5'"),
        ("layer,m,n,k,a_pattern\na,1,2,3,5:4\n", "line 2: a_pattern is '5:4'"),
        ("layer,m,n,k,sparsity,b_pattern\na,1,2,3,2:4,2:4\n", "line 2: b_pattern and sparsity"),
        ("layer,m,n,k,K\na,1,2,3,4\n", "column 'k' stands there twice"),
        ("layer;m;n;k\na,1,2,3\n", "line 2: m is ''"),
    ],
)
def test_what_a_table_says_is_used_or_refused(written, text, named):
    assert named in refused(written(text))


def test_a_steps_samples_multiply_what_a_gemm_has_of_one(written):
    (one,) = forward("gemm:64x32x16", batch=8)
    assert (one["m"], one["n"], one["k"]) == (512, 32, 16)
    path = written("layer,m,n,k,batch\na,4,8,16,2\n")
    with pytest.raises(NmsimError, match="batch is 8, expected none: its table says its batch"):
        forward(path, batch=8)


# ---- topologies of SCALE-Sim


@pytest.mark.parametrize("size", range(7, 20))
@pytest.mark.parametrize(("window", "stride"), [(3, 2), (1, 3), (7, 4), (2, 2), (5, 1)])
def test_outputs_are_rounded_up_as_the_source_counts_them(written, size, window, stride):
    path = written(f"{CONV}\nc, {size}, {size + 1}, {window}, {window}, 4, 8, {stride},\n")
    high, wide = (math.ceil((one - window + stride) / stride) for one in (size, size + 1))
    assert sizes(path) == [("c", high * wide, 8, window * window * 4, 1)]


def test_rounding_up_is_said_of_the_file_and_the_row(written):
    path = written(f"{CONV}\nc, 16, 16, 3, 3, 4, 8, 2,\nd, 15, 15, 3, 3, 4, 8, 2,\n")
    assert told_of([path]) == [f"{path}: 1 layer: output size rounded up, as SCALE-Sim counts it"]
    first, second = forward(path)
    assert (first["m"], "rounded up" in first["note"]) == (64, True)
    assert (second["m"], second["note"]) == (49, "")


def test_titles_blanks_and_comments_are_skipped_and_counted(written):
    text = (
        f"\ufeff{CONV.upper()}\r\n\r\nAlexnet,\r\nFC, 1, 1, 1, 1, 8, 4, 1, # last\r\n,,,,,,,,\r\n"
        "# nothing\r\nFC, 1, 1, 1, 1, 4, 2\r\n"
    )
    path = written(text)
    assert sizes(path) == [("FC", 1, 4, 8, 1), ("FC#2", 1, 2, 4, 1)]
    assert told_of([path]) == [
        f"{path}: skipped 1 title line without figures, 2 comments after #",
        "1 layer has the name of one before: the second of a name is called NAME#2",
    ]


def test_what_stands_behind_the_last_comma_is_skipped_as_the_source_does(written):
    path = written(f"{CONV}\nc, 9, 9, 3, 3, 1, 1, 2, 2\nd, 9, 9, 3, 3, 1, 1, 2\n")
    assert sizes(path) == [("c", 16, 1, 9, 1), ("d", 16, 1, 9, 1)]
    assert "skipped 1 cell behind a line's last comma" in told_of([path])[0]


def test_depthwise_layers_are_what_the_source_counts(written):
    path = written(f"{CONV}\nc_dw, 9, 9, 3, 3, 1, 1, 1,#dw\nDP1, 9, 9, 3, 3, 6, 2, 1,\n")
    marked, named = forward(path)
    assert (marked["count"], marked["macs_dense"]) == (1, 49 * 9)
    assert "counted by its channels and filters" in marked["note"]
    assert (named["count"], named["n"], named["macs_dense"]) == (6, 2, 49 * 9 * 6 * 2)


def test_sparsity_of_filters_and_other_fields_behind_the_strides(written):
    header = CONV.replace("Strides,", "Stride height, Stride width, Sparsity, Batch Size,")
    path = written(f"{header}\nc, 9, 9, 3, 3, 4, 8, 2, 1, 2:4, 5,\n")
    (row,) = forward(path)
    assert (row["m"], row["k"], row["b_pattern"]) == (5 * 4 * 7, 36, "2:4")
    assert row["macs_issued"] == row["macs_dense"] // 2


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("a, 1, B, 1, 1, 4, 4, 1,", "line 2: ifmap width is 'B', expected an integer"),
        ("a, 1, 1, 1, , 4, 4, 1,", "line 2: filter width is ''"),
        ("a, 3, 3, 5, 1, 4, 4, 1,", "line 2: filter height is 5, expected 3 at most"),
        ("a, 3, 3, 1, 1, 4,", "line 2: num filter is missing"),
        ("a, 3, 3, 1, 1, 4, 4, 0,", "line 2: strides is '0'"),
        ("a, 3, 3, 1, 1, 4, 4, 1, 9,", "line 2: '9' stands behind the last column"),
        ("Alexnet,", "no rows, expected at least one layer"),
    ],
)
def test_lines_that_are_no_layers_are_refused(written, line, named):
    assert named in refused(written(f"{CONV}\n{line}\n"))


def test_a_column_that_nobody_reads_is_refused(written):
    path = written(f"{CONV[:-1]}, Colour,\na, 3, 3, 1, 1, 4, 4, 1, red,\n")
    assert "column 'colour' is not read" in refused(path)


# ---- configurations of SCALE-Sim

CONFIG = """[general]
run_name = mine
[architecture_presets]
ArrayHeight: 12
ArrayWidth: 14
IfmapSramSzkB: 36
FilterSramSzkB: 37
OfmapSramSzkB: 38
Dataflow: os
Bandwidth: 5
[sparsity]
SparsitySupport: true
[run_presets]
InterfaceBandwidth: CALC
"""


def test_a_configuration_is_a_machine(written):
    machine = load_hardware(written(CONFIG, "a.cfg"))
    assert (machine.name, machine.rows, machine.cols, machine.dataflow) == ("a", 12, 14, "os")
    assert (machine.sram.a_kib, machine.sram.b_kib, machine.sram.c_kib) == (36, 37, 38)
    assert (machine.dram.gbps, machine.flexible_group) == (None, 32)


def test_a_configuration_of_the_first_version_is_read_too(written):
    text = CONFIG.replace("SramSzkB", "SramSz").replace("mine", '"mine"').split("[sparsity]")[0]
    machine = load_hardware(written(text, "a.cfg"))
    assert (machine.sram.a_kib, machine.dram.gbps) == (36, None)
    assert machine.summary == "mine, as SCALE-Sim counts"


def test_bandwidth_is_of_all_ports_and_support_for_masks_as_said(written):
    text = CONFIG.replace("CALC", "USER").replace("true", "False")
    path = written(text + "[layout]\nIfmapSRAMBankBandwidth: 3\n", "a.cfg")
    machine = load_hardware(path)
    assert (machine.dram.gbps, machine.flexible_group) == (5 + 3 + 10, 0)
    assert told_of([path]) == [f"{path}: SparsitySupport is false: masks run dense"]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("ArrayHeight: 12\n", "", "[architecture_presets] ArrayHeight is missing"),
        ("12", "twelve", "ArrayHeight is 'twelve', expected an integer"),
        ("Dataflow: os", "Dataflow: rs", "dataflow"),
        ("CALC", "AUTO", "InterfaceBandwidth is 'AUTO', expected CALC or USER"),
        ("CALC", "CALC\nUseRamulatorTrace: True", "traces of Ramulator are not modelled"),
        ("true", "true\nOptimizedMapping: true", "row-wise sparsity are not modelled"),
        ("true", "maybe", "SparsitySupport is 'maybe', expected true or false"),
        ("Bandwidth: 5", "Bandwith: 5", "did you mean 'Bandwidth'"),
        ("[sparsity]", "[sparse]", "unknown section 'sparse'"),
        ("Bandwidth: 5", "Bandwidth 5", "not a configuration"),
    ],
)
def test_what_a_configuration_says_is_used_or_refused(written, old, new, named):
    path = written(CONFIG.replace(old, new), "a.cfg")
    with pytest.raises(NmsimError) as error:
        load_hardware(path)
    assert named in str(error.value)


# ---- by content, and as YAML


def test_a_file_is_known_by_its_content_and_not_its_suffix(written):
    assert sizes(written("layer,m,n,k\na,2,3,5\n", "gemms.txt")) == [("a", 2, 3, 5, 1)]
    assert load_model(written(f"{CONV}\nc, 9, 9, 3, 3, 4, 8, 1,\n", "net")).name == "net"
    assert load_hardware(written(CONFIG, "array.yaml")).rows == 12
    assert "a configuration of SCALE-Sim, expected a network" in refused(written(CONFIG, "x.csv"))


@pytest.mark.parametrize(
    ("content", "name", "named"),
    [
        (b'{"architectures":["LlamaForCausalLM"],"hidden_size":1}', "config.json", "LlamaForC"),
        (b'{"model_type": "no-such-model"}', "c.json", "a configuration of Hugging Face"),
        (b"PK\x03\x04", "m.onnx", "onnx"),
        (b"", "empty.csv", "empty"),
    ],
)
def test_files_that_hold_no_layers_are_refused_as_what_they_are(written, content, name, named):
    assert named in refused(written(content, name))


@pytest.mark.parametrize(
    "text",
    [
        f"{CONV}\nc, 16, 17, 3, 2, 4, 8, 2,\nDP1, 9, 9, 3, 3, 6, 2, 1,\nc, 1, 1, 1, 1, 8, 4, 1,\n",
        'layer,m,n,k,count,repeat,sparsity\na,2,3,5,,,\nb,8,4,16,3,2,2:4\n"é, x",1,1,1,,,\n',
    ],
)
def test_a_file_and_the_yaml_of_it_run_alike(written, command, tmp_path, text):
    source, made = written(text), tmp_path / "made.yaml"
    status, out, err = command("import", source, "--out", made)
    assert (status, out) == (0, "")
    assert err.endswith(f"wrote {made}\n")
    assert sizes(made) == sizes(source)
    for one, other in zip(forward(source), forward(made), strict=True):
        for name in ("macs_dense", "macs_issued", "cycles", "b_pattern", "count", "repeat", "note"):
            assert one[name] == other[name], name
    _, err = command("import", source, "--out", made)[1:]
    assert "is there already" in err


def test_a_configuration_and_the_yaml_of_it_are_one_machine(written, command, tmp_path):
    source, made = written(CONFIG, "a.cfg"), tmp_path / "made.yaml"
    assert command("import", source, "--as", "scale-sim-config", "--out", made)[0] == 0
    same = {"name": "", "summary": "", "source": ""}
    assert load_hardware(made).model_copy(update=same) == load_hardware(source).model_copy(
        update=same
    )


@pytest.mark.parametrize(("column", "value"), [("phase", "update"), ("a_pattern", "2:4")])
def test_what_no_layer_says_is_refused_by_import(written, command, tmp_path, column, value):
    path = written(f"layer,m,n,k,{column}\na,4,4,8,{value}\n")
    status, _, err = command("import", path, "--out", tmp_path / "made.yaml")
    assert (status, err.count("\n")) == (2, 1)
    assert f"GEMM 'a': {column} is" in err


def test_a_number_format_is_a_layers_to_say(written, command, tmp_path):
    made = tmp_path / "made.yaml"
    table = written("layer,m,n,k,count,dtype\na,4,16,16,1,int8\nb,4,16,16,2,bf16\nc,4,8,8,1,\n")
    assert command("import", table, "--out", made)[0] == 0
    of_table, of_yaml = (
        [row["number_format"] for row in forward(path, hardware="ideal")] for path in (table, made)
    )
    assert of_table == of_yaml
    assert of_yaml[:2] == ["int8", "bf16"]


def test_a_layer_far_down_a_table_is_told_by_its_place(written, command, tmp_path):
    rows_ = [f"a{number},4,8,{1 << 20},1" for number in range(1030)]
    path = written("\n".join(["layer,m,n,k,count", *rows_, f"b,4,8,{1 << 20},4096", ""]))
    status, _, err = command("import", path, "--out", tmp_path / "made.yaml")
    assert (status, "layers[1030].in_channels" in err) == (2, True)
    assert not (tmp_path / "made.yaml").exists()


def test_a_tools_name_is_of_all_its_formats(written, command, tmp_path):
    texts = (CONFIG, "Layer, M, N, K,\na, 2, 3, 4,\n", f"{CONV}\na, 1, 2, 1, 1, 4, 3, 1,\n")
    for number, (text, read) in enumerate(
        zip(texts, (load_hardware, load_model, load_model), strict=True)
    ):
        out = tmp_path / f"{number}.yaml"
        assert command("import", written(text), "--as", "scale-sim", "--out", out)[0] == 0
        read(out)
    assert sizes(tmp_path / "1.yaml") == sizes(tmp_path / "2.yaml") == [("a", 2, 3, 4, 1)]


def test_import_says_what_it_knows(written, command, tmp_path):
    path = written("summary: x\n", "a.yaml")
    assert "no format knows its content" in command("import", path, "--out", tmp_path / "b")[2]
    assert (
        "'csvs'; did you mean 'csv'"
        in command(*("import", path, "--as", "csvs", "--out", tmp_path / "b"))[2]
    )


def test_what_is_told_of_a_file_goes_to_stderr(written, command):
    path = written(f"{CONV}\nTitle,\nc, 9, 9, 3, 3, 4, 8, 1,\n")
    _, out, err = command("simulate", path, "--phase", "forward", "--format", "json")
    assert out.startswith("{")
    assert err == f"{path}: skipped 1 title line without figures\n"


def test_yaml_of_any_text_is_read_as_that_text(tmp_path):
    names = [
        "a",
        "no",
        "1e3",
        "a: b",
        "#",
        "é\u2028\x85\x7f",
        "\U0001f600",
        "",
        " x ",
        '"\\',
        "~",
        "<<",
    ]
    document = {"summary": "x", "list": [{"name": name, "sizes": [1, [2, 3]]} for name in names]}
    path = tmp_path / "a.yaml"
    path.write_text(as_yaml(document, ["said\nso"]), encoding="utf-8")
    assert read_yaml(path) == document


def test_a_networks_own_batch_is_its_default(written):
    layer = "{name: a, type: linear, in_features: 4, out_features: 4}"
    text = f"summary: x\nsource: x\nbatch: 3\nlayers:\n  - {layer}\n"
    assert Point(str(written(text, "a.yaml"))).samples == 3
    assert Point(str(written(text, "a.yaml")), batch=2).samples == 2


def test_a_layers_own_pattern_is_offered_in_forward_alone(written):
    text = (
        "summary: x\nsource: x\nlayers:\n"
        '  - {name: a, type: linear, in_features: 16, out_features: 16, pattern: "1:4"}\n'
        "  - {name: b, type: linear, in_features: 16, out_features: 16}\n"
    )
    path = written(text, "a.yaml")
    for recipe, other in (("dense", "dense"), ("asp", "2:4")):
        found = list(rows(Point(str(path), recipe=recipe, compare=False)))
        masks = {(row["layer"], row["phase"]): row["b_pattern"] for row in found}
        assert masks == {
            ("a", "forward"): "1:4",
            ("b", "forward"): other,
            **{(layer, phase): "dense" for layer in "ab" for phase in ("backward", "update")},
        }


def test_every_importer_that_gives_a_network_gives_a_valid_one(written):
    path = written(f"{CONV}\nc, 16, 17, 3, 2, 4, 8, 2,\n")
    gives, found = import_document(path, "", {})
    assert gives == "network"
    assert validate(Network, found.content, "x").batch == 1
