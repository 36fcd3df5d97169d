"""``nmsim compare``: exports of profilers, and their kernels beside predicted GEMMs."""

import gzip
import json
from pathlib import Path

import pytest

import nmsim
from nmsim.errors import SpecError
from nmsim.measured.profiles import exports
from nmsim.measured.profiles.exports import Export, read_export
from nmsim.measured.profiles.kernels import KernelRun
from nmsim.measured.profiles.matching import compare

HERE = Path(__file__).parent / "profiles"
GEMMS = HERE / "gemms.csv"
FILES = ("nsys_gpu_trace.csv", "nsys_kern_sum.csv", "ncu_raw.csv", "torch_trace.json")


def document(command, file, *options, model=GEMMS):
    status, out, err = command("compare", model, file, "--format", "json", *options)
    assert status == 0, err
    return json.loads(out)


def layers(found):
    return [row["layer"] for row in found["rows"] if row["kernel"]]


@pytest.mark.parametrize("file", FILES)
def test_every_kernel_and_every_launch_is_told(command, file):
    found = document(command, HERE / file)
    export = read_export(HERE / file)
    covered = found["covered"]
    told = [row for row in found["rows"] if row["kernel"]]
    assert sum(row["measured_us"] for row in told) == pytest.approx(
        sum(kernel.us * kernel.calls for kernel in export.kernels)
    )
    assert covered["measured_us"] == pytest.approx(sum(row["measured_us"] for row in told))
    assert all(row["how"] for row in found["rows"])
    unmatched = {row["layer"] for row in found["rows"] if not row["kernel"]}
    assert {*layers(found), *unmatched} - {None} == {"q", "up", "down"}
    assert len(unmatched) == covered["unmatched_launches"]
    for row in told:
        if row["layer"]:
            assert row["ratio"] == pytest.approx(row["predicted_us"] / row["measured_us"])


def test_a_trace_goes_by_the_shapes_of_its_operations(command):
    """addmm, mm and linear; a split GEMM has the time of its reduction, too."""
    found = document(command, HERE / "torch_trace.json")
    assert layers(found) == ["q", "up", None, "down"]
    assert [row["how"] for row in found["rows"]][:2] == ["size", "size"]
    assert found["rows"][2]["how"] == "no GEMM, by its name"
    assert found["rows"][3]["measured_us"] == pytest.approx(17.024 + 3.008)
    rows = nmsim.simulate(str(GEMMS), hardware="a100-sxm4-80gb", fidelity="analytical")
    assert [row["predicted_us"] for row in found["rows"] if row["layer"]] == list(rows["time_us"])


def test_launches_go_by_tile_and_grid_step_after_step(command):
    found = document(command, HERE / "nsys_gpu_trace.csv")
    assert layers(found) == ["q", "up", None, "down"] * 2
    assert {row["how"] for row in found["rows"] if row["layer"]} == {"tile and grid"}
    assert layers(document(command, HERE / "ncu_raw.csv")) == ["q", "up", "down"]


def test_the_same_times_whichever_way_they_were_written():
    ordered = [read_export(HERE / FILES[0]), read_export(HERE / FILES[2])]
    sums = {kernel.name: kernel.us for kernel in read_export(HERE / FILES[1]).kernels}
    trace = {kernel.name: kernel.us for kernel in read_export(HERE / FILES[3]).kernels}
    for export in ordered:
        for kernel in export.kernels:
            assert trace[kernel.name] == pytest.approx(kernel.us)
            assert sums.get(kernel.name, kernel.us) == pytest.approx(kernel.us)


def test_blocks_repeat_in_the_order_of_launches():
    def row(layer, n, repeat):
        sizes = {"m": 128, "n": n, "k": 64, "count": 1, "repeat": repeat}
        return {"layer": layer, "cycles": 1, "time_us": 2.0 * repeat, "kernel": "x", **sizes}

    rows = [row("first", 100, 1), row("a", 200, 2), row("b", 300, 2), row("last", 200, 1)]
    kernels = [
        KernelRun("gemm", 1.0, f"line {i}", size=(128, n, 64, 1))
        for i, n in enumerate([100, 200, 300, 200, 300, 200, 999])
    ]
    found = compare(Export("torch trace", tuple(kernels), ordered=True), rows)
    names = [pair.row and pair.row["layer"] for pair in found.pairs]
    assert names == ["first", "a", "b", "a", "b", "last", None]
    assert found.pairs[-1].how == "no predicted GEMM is 128 x 999 x 64"
    assert {pair.predicted_us for pair in found.pairs if pair.row} == {2.0}
    few = compare(Export("torch trace", tuple(kernels[:1]), ordered=True), rows)
    assert [pair.row["layer"] for pair in few.pairs] == ["first", "a", "a", "b", "b", "last"]
    assert few.sums["predicted_unmatched_us"] == 10.0


@pytest.mark.parametrize(
    ("name", "tile", "gemm"),
    [
        ("ampere_bf16_s16816gemm_bf16_128x256_ldg8_f2f_stages_64x3_tn", (128, 256), True),
        ("sm90_xmma_gemm_bf16f32_f32_tn_n_tilesize128x64x64_warpgroupsize1x1x1", (128, 64), True),
        ("cutlass_80_tensorop_f16_s16816gemm_relu_f16_256x64_64x3_tn_align8", (256, 64), True),
        ("nvjet_hsh_192x128_64x5_2x1_v_bz_coopB_TNN", (192, 128), True),
        ("void gemv2T_kernel_val<int, int, __nv_bfloat16>", None, True),
        ("void at::native::vectorized_elementwise_kernel<4>", None, False),
        ("void cublasLt::splitKreduce_kernel<32, 16>", None, False),
    ],
)  # fmt: skip
def test_what_names_tell(name, tile, gemm):
    kernel = KernelRun(name, 1.0, "line 1")
    assert (kernel.tile, kernel.multiplies) == (tile, gemm)


def broken():
    trace, table = (HERE / "torch_trace.json").read_text(), (HERE / FILES[0]).read_text()
    ncu, kernel = (HERE / "ncu_raw.csv").read_text(), '{"ph": "X", "cat": "kernel", "ts": 1, '
    yield "empty", "", "empty, expected an export"
    yield "of blanks", "\n \n", "empty, expected an export"
    yield "cut trace", trace[: len(trace) // 2], "not JSON"
    yield "cut table", table[: table.rindex(",1,7,")], "fields, the header has 20: cut short?"
    yield "cut quote", table[: table.rindex("ampere") + 3], "not CSV"
    yield "another table", "a,b\n1,2\n", "no header of an export that is known"
    yield "header alone", table[: table.index("1000000")], "export without a kernel"
    yield "no kernel", '{"traceEvents": []}', "torch trace export without a kernel"
    yield "other JSON", '{"rows": []}', "without a list traceEvents"
    yield "no object", '{"traceEvents": [1]}', "event 0: expected an object"
    yield "text as time", f'[{kernel}"name": "k", "dur": "1"}}]', "event 0: dur is '1'"
    yield "no time", f'[{kernel}"name": "k"}}]', "event 0: dur is None"
    yield "below zero", f'[{kernel}"name": "k", "dur": -1}}]', "event 0: dur is -1"
    yield "no name", f'[{kernel}"name": 3, "dur": 1}}]', "event 0: name is 3"
    grid = f'[{kernel}"name": "k", "dur": 1, "args": {{"grid": [1, "x", 1]}}}}]'
    yield "grid", grid, "event 0: grid is [1, 'x', 1], expected three whole numbers"
    yield "args", f'[{kernel}"name": "k", "dur": 1, "args": 3}}]', "event 0: args is 3"
    yield "words", table.replace(",7360,", ",fast,"), "Duration (ns) is 'fast', expected a number"
    yield "not a number", table.replace(",7360,", ",nan,"), "Duration (ns) is 'nan'"
    yield "unit", ncu.replace("nsecond", "cycle"), "is 'cycle', expected one of ns"
    yield "grid size", ncu.replace("(8, 16, 1)", "(8, 16)"), "Grid Size is '(8, 16)'"
    yield "metric", ncu.replace("gpu__time_duration.sum", "other"), "without gpu__time_duration"


BROKEN = list(broken())


@pytest.mark.parametrize(("text", "why"), [one[1:] for one in BROKEN], ids=[b[0] for b in BROKEN])
def test_what_is_no_export_gets_one_line(command, tmp_path, text, why):
    file = tmp_path / "export"
    file.write_text(text)
    status, out, err = command("compare", GEMMS, file)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert why in err
    assert str(file) in err


def test_files_that_cannot_be_read_or_are_too_large(tmp_path, monkeypatch):
    with pytest.raises(SpecError, match="cannot be read"):
        read_export(tmp_path / "none.csv")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not UTF-8 text"):
        read_export(tmp_path / "bytes")
    packed = tmp_path / "trace.json.gz"
    whole = gzip.compress((HERE / "torch_trace.json").read_bytes())
    packed.write_bytes(whole)
    assert read_export(packed) == read_export(HERE / "torch_trace.json")
    packed.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SpecError, match="cut short"):
        read_export(packed)
    packed.write_bytes(whole)
    monkeypatch.setattr(exports, "MOST_BYTES", 4000)
    for file in (HERE / "torch_trace.json", packed):
        with pytest.raises(SpecError, match="more than 4,000 bytes, expected an export of a step"):
            read_export(file)


def test_many_kernels_are_laid_beside_in_time():
    rows = [
        {"layer": f"l{i}", "cycles": 1, "time_us": 1.0, "kernel": "x", "m": 128, "n": 8 * i + 8,
         "k": 64, "count": 1, "repeat": 1}
        for i in range(400)
    ]  # fmt: skip
    kernels = tuple(
        KernelRun("gemm", 1.0, "", size=(128, 8 * (i % 400) + 8, 64, 1)) for i in range(40_000)
    )
    found = compare(Export("torch trace", kernels, ordered=True), rows)
    assert found.sums["matched_kernels"] == 40_000


def test_a_table_a_file_and_stored_results(command, tmp_path):
    file = HERE / "torch_trace.json"
    status, out, err = command("compare", GEMMS, file, "--out", tmp_path / "pairs.csv")
    assert (status, err.startswith("wrote ")) == (0, True)
    assert "torch trace: 3 of 4 kernels matched, 43.90 of 49.00 us measured (89.6%)" in out
    assert "no GEMM, by its name" in out
    header, *lines = (tmp_path / "pairs.csv").read_text().splitlines()
    assert header.startswith("kernel,calls,operation,where,layer")
    assert len(lines) == 4
    machine = ("--hardware", "a100-sxm4-80gb", "--fidelity", "analytical")
    status, _, err = command(
        "simulate", GEMMS, *machine, "--out", tmp_path / "r", "--format", "csv"
    )
    assert status == 0, err
    stored = document(command, file, model=tmp_path / "r")
    assert stored == document(command, file)
    status, _, err = command("compare", tmp_path / "r", file, "--batch", 2)
    assert (status, err.count("\n")) == (2, 1)
    assert "holds results: expected no option" in err
