"""`nmsim validate`: its figures against plain Python, what it refuses, what it writes."""

import csv
import json
import math
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest
from tiers import fast_first

from nmsim import cli
from nmsim.errors import SpecError
from nmsim.machines import HARDWARE, Call, load_hardware
from nmsim.machines.gpu.routines import call_times
from nmsim.measured import accuracy, predict, tables
from nmsim.measured.predict import IN_TURN
from nmsim.measured.tables import COLUMNS, MEASURED, read_measured, read_shipped, shipped_path
from nmsim.pattern import Pattern
from nmsim.report import read_results

HEADER = ",".join(COLUMNS)
DENSE = "me,A100,SXM4-80GB,cublas,dense,,fp16,fp32,4096,1024,512,1,50.0"
SPARSE = "me,A100,SXM4-80GB,cusparselt,2:4,B,fp16,fp32,4096,1024,512,1,40.0"
HELD_OUT = "me,A100,SXM4-80GB,cublas,dense,,fp16,fp32,4096,1024,768,1,40"
SHORT = "me,A100,SXM4-80GB,cublas,dense,,bf16,fp32,1,4096,4096,1,20"


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run `nmsim validate` in an empty folder; status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["nmsim", "validate", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        shown = capsys.readouterr()
        return stop.value.code or 0, shown.out, shown.err

    return run


@pytest.fixture
def document(run):
    """The JSON document of a `nmsim validate` that must succeed."""

    def document(*arguments):
        status, out, err = run(*arguments, "--format", "json")
        assert status == 0, err
        return json.loads(out, parse_constant=pytest.fail)

    return document


def table(path, *rows, header=HEADER):
    path.write_bytes("\n".join([header, *rows, ""]).encode())
    return path


def alone(row):
    """The prediction of one row of a file, straight from the engine."""
    cells = dict(zip(COLUMNS, row.split(","), strict=False))
    pattern = Pattern.parse(cells["sparsity"])
    call = Call(
        cells["dtype_in"],
        pattern,
        cells["sparse_operand"].lower(),
        cells["library"].lower(),
        in_turn=IN_TURN,
    )
    sizes = np.array([[float(cells[name]) for name in ("m", "n", "k", "batch")]])
    return float(call_times(load_hardware("a100-sxm4-80gb"), call, sizes)[0])


def plainly(ratios):
    ape = sorted(abs(ratio - 1) for ratio in ratios)
    at = 0.9 * (len(ape) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ape) - 1)
    return {
        "rows": len(ape),
        "mape": sum(ape) / len(ape),
        "median_ape": statistics.median(ape),
        "p90_ape": ape[low] + (at - low) * (ape[high] - ape[low]),
        "bias": math.prod(ratio ** (1 / len(ratios)) for ratio in ratios) - 1,
    }


def close(found, expected):
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)


def test_errors_equal_plain_python(document, tmp_path):
    rows = [DENSE, SPARSE, SHORT, DENSE.replace("50.0", "61.5"), SHORT.replace(",20", ",7")]
    found = document(table(tmp_path / "t.csv", *rows))
    ratios = [alone(row) / float(row.rpartition(",")[2]) for row in rows]
    close(found, plainly(ratios))
    groups = {(g["by"], g["group"]): g for g in found["groups"]}
    close(groups["dtype_in", "bf16"], plainly([ratios[2], ratios[4]]))
    close(groups["sparsity", "2:4"], plainly([ratios[1]]))
    close(groups["size", "5-10 us"], plainly([ratios[4]]))
    close(groups["size", "20-100 us"], plainly(ratios[:4]))
    close(groups["m_class", "over 1024"], plainly([*ratios[:2], ratios[3]]))
    for by in ("machine", "source", "library", "file", "bound"):
        assert sum(g["rows"] for (name, _), g in groups.items() if name == by) == len(rows)


def test_speedup_and_direction_are_over_the_median_dense_twin(document, tmp_path):
    rows = [DENSE, DENSE.replace("50.0", "60.0"), SPARSE, SPARSE.replace("40.0", "80.0"), SHORT]
    # Within 5 % of no gain the direction is not judged; another source has no twin.
    rows += [SPARSE.replace("40.0", "54.0"), SPARSE.replace("me,", "you,")]
    found = document(table(tmp_path / "t.csv", *rows))["speedup"]
    predicted = alone(DENSE) / alone(SPARSE)
    assert predicted > 1
    close(found, plainly([predicted / (55 / time) for time in (40, 80, 54)]))
    assert (found["direction_checked"], found["direction_right"]) == (2, 1)
    assert document(table(tmp_path / "t.csv", DENSE))["speedup"] is None


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (DENSE.replace("4096", "0"), "m is '0', expected an integer of 1 to 2147483648"),
        (DENSE.replace("1024", "1e3"), "n is '1e3'"),
        (DENSE.replace(",512", ",9999999999"), "k is '9999999999'"),
        (DENSE.replace(",512", ","), "k is ''"),
        (DENSE.replace(",1,50", ",-1,50"), "batch is '-1'"),
        (DENSE.replace("50.0", "nan"), "time_us is 'nan', expected a time above 0"),
        (DENSE.replace("50.0", "0"), "time_us is '0'"),
        (DENSE.replace("50.0", "1e999"), "time_us is '1e999'"),
        (DENSE.replace("50.0", "1e-320"), "time_us is '1e-320'"),
        (DENSE.replace("50.0", "5_0"), "time_us is '5_0'"),
        (DENSE.replace("dense", "5:4"), "sparsity is '5:4', expected dense or N:M"),
        (DENSE.replace("dense", "sparse"), "sparsity is 'sparse'"),
        (DENSE.replace("dense,", "dense,A"), "sparse_operand is 'A', but sparsity is dense"),
        (SPARSE.replace(",B,", ",C,"), "sparse_operand is 'C', expected A, B or nothing"),
        (DENSE.replace("fp16", ""), "dtype_in is empty"),
        (DENSE.replace("fp16", "fp7"), "dtype_in is 'fp7', expected one of bf16"),
        (DENSE.replace("A100", "MI300X"), "gpu 'MI300X SXM4-80GB' has no machine in the catalog"),
        (DENSE.replace("SXM4-80GB", "PCIe-40GB"), "gpu 'A100 PCIe-40GB' has no machine"),
        (DENSE.rpartition(",")[0], "12 fields, the header has 13"),
        (DENSE + ",1", "14 fields, the header has 13"),
        (DENSE.replace("me", '"me'), "not CSV (unexpected end of data)"),
    ],
)
def test_a_bad_row_refuses_a_strict_file_by_line_and_column(run, tmp_path, row, says):
    status, out, err = run(table(tmp_path / "t.csv", DENSE, SHORT, row), "--strict")
    assert (status, out) == (2, "")
    assert says in err
    assert err.startswith(f"nmsim: {tmp_path / 't.csv'}: line ")
    assert err.count("\n") == 1
    assert "line 4: " in err or "unexpected end" in err


def test_the_first_of_several_bad_rows_is_named(tmp_path):
    rows = (DENSE, SPARSE.replace("2:4", "4:2"), DENSE.replace("50.0", "x"), "")
    with pytest.raises(SpecError, match=r"line 3: sparsity is '4:2'.* \(and 1 more\)$"):
        read_measured(table(tmp_path / "t.csv", *rows))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty, expected a header and rows"),
        (b"\n\n", "empty, expected a header and rows"),
        (HEADER.encode(), "no rows, expected at least one measured GEMM"),
        (HEADER.replace(",k,", ",").encode(), "line 1: column 'k' is missing"),
        (f"{HEADER},m\n".encode(), "line 1: column 'm' stands there twice"),
        (b"\xff\xfe\x00", "expected a CSV text file"),
    ],
)
def test_a_file_without_rows_is_refused(run, tmp_path, content, says):
    (tmp_path / "t.csv").write_bytes(content)
    status, out, err = run("t.csv")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert says in err


def test_files_that_cannot_be_read_or_written_are_told_in_one_line(run, tmp_path):
    table(tmp_path / "t.csv", DENSE)
    for arguments in (
        ("absent.csv",),
        (tmp_path,),
        ("t.csv", "--predictions", "no/such/folder.csv"),
        ("t.csv", "--predictions", "t.csv"),
        ("t.csv", "--hardware", "systolic-16x16"),
        ("t.csv", "--hardware", "a100"),
        ("t.csv", "--by", "colour"),
        ("t.csv", "--out", "t.csv"),
        (MEASURED.folder / "attention" / "attention-a100.csv.gz", "--strict"),
    ):
        before = sorted(tmp_path.rglob("*"))
        status, out, err = run(*arguments)
        assert (status, out, err.count("\n")) == (2, "", 1), arguments
        assert sorted(tmp_path.rglob("*")) == before


def test_predictions_leave_every_cell_as_it_is(run, tmp_path):
    header = f"note,{HEADER}, odd column "
    rows = [
        f'"a, ""quoted""\nnote",{DENSE}, 007 ',
        f",{SHORT.replace('bf16', 'BF16')},é",
        f"x,{SPARSE},",
    ]
    (tmp_path / "t.csv").write_bytes(
        b"\xef\xbb\xbf" + "\r\n".join([header, rows[0], "", *rows[1:]]).encode()
    )
    status, _, err = run("t.csv", "--predictions", "p.csv", "--by", "odd column")
    assert status == 0, err
    times = [alone(DENSE), alone(SHORT), alone(SPARSE)]
    expected = [f"{header},predicted_us", *(f"{r},{t!r}" for r, t in zip(rows, times, strict=True))]
    assert (tmp_path / "p.csv").read_bytes().decode() == "\n".join(expected) + "\n"
    status, _, err = run("p.csv", "--predictions", "q.csv")
    assert (status, err.count("\n")) == (2, 1)
    assert "column 'predicted_us' stands there already" in err


def test_predictions_of_several_files_have_the_columns_of_all(run, tmp_path):
    table(tmp_path / "a.csv", f"{DENSE},1", header=f"{HEADER},x")
    table(tmp_path / "b.csv", f"2,{SHORT}", header=f"y,{HEADER}")
    assert run("a.csv", "b.csv", "--predictions", "p.csv")[0] == 0
    with (tmp_path / "p.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert [(r["x"], r["y"], r["time_us"]) for r in (first, second)] == [
        ("1", "", "50.0"),
        ("", "2", "20"),
    ]
    assert float(second["predicted_us"]) == alone(SHORT)


def test_an_interrupted_write_leaves_what_was_there(run, monkeypatch, tmp_path):
    table(tmp_path / "t.csv", DENSE)
    (tmp_path / "p.csv").write_text("older")

    def stop(path, _):
        path.write_text("half a li")
        raise KeyboardInterrupt

    monkeypatch.setattr("nmsim.cli.commands.validation._write_text", stop)
    assert run("t.csv", "--predictions", "p.csv") == (130, "", "nmsim: interrupted\n")
    assert (tmp_path / "p.csv").read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv", "t.csv"]


def test_an_unknown_library_is_said_once(run, tmp_path):
    rows = [DENSE.replace("cublas", "Mine v2")] * 3 + [SPARSE, DENSE.replace("cublas", "cuBLAS")]
    table(tmp_path / "t.csv", *rows)
    status, out, err = run("t.csv", "--format", "json", "--predictions", "p.csv")
    assert status == 0
    assert err.count("'Mine v2'") == 1
    assert "'Mine v2' is not known here: cublas stands in (3 rows)" in err
    found = [line.rpartition(",")[2] for line in (tmp_path / "p.csv").read_text().splitlines()]
    assert found[1] == found[5] == repr(alone(DENSE))
    assert any("'Mine v2'" in note for note in json.loads(out)["notes"])


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("note", ("floor ~25-75us", "", "clock ticks: floor 15 us")),
        ("floor_us", ("75", "", "15.0")),
        ("note,floor_us", (",75", "floor 90 us,", "floor 90 us,15")),
    ],
)
def test_a_timing_floor_is_stated_and_its_rows_counted(run, document, tmp_path, header, cells):
    rows = [f"{row},{cell}" for row, cell in zip((DENSE, SPARSE, SHORT), cells, strict=True)]
    table(tmp_path / "t.csv", *rows, header=f"{HEADER},{header}")
    found = document("t.csv")
    assert found["rows"] == 3
    floor = found["timing_floor"]
    assert (floor["rows"], floor["rows_within_floor"]) == (2, 1)
    close(floor["without_rows_within_floor"], plainly([alone(SPARSE) / 40, alone(SHORT) / 20]))
    assert "2 rows note a floor of their timer, 1 are no longer than it" in run("t.csv")[1]


def test_by_groups_by_that_column_alone(document, tmp_path):
    table(tmp_path / "t.csv", f"{DENSE},10", f"{SHORT},9", f"{SPARSE},", header=f"{HEADER},x")
    found = document("t.csv", "--by", "x")["groups"]
    assert [(g["by"], g["group"], g["rows"]) for g in found] == [
        ("x", "9", 1),
        ("x", "10", 1),
        ("x", "", 1),
    ]


def test_a_machine_of_that_gpu_takes_its_shipped_points_as_far_as_it_can(run, tmp_path):
    """What it has no number format for is left out, and said; its name begins like the GPU's."""
    lines = (HARDWARE.path("a100-sxm4-80gb")).read_text().splitlines()
    (tmp_path / "a100-sxm4-80gb-mine.yaml").write_text(
        "\n".join(
            line for line in lines if "int8" not in line or line.startswith(("#", "packed_weights"))
        )
    )
    status, out, err = run("--hardware", "./a100-sxm4-80gb-mine.yaml", "--format", "json")
    assert status == 0, err
    found = json.loads(out)
    rows = 1296 + 2793 + 11_544 + 57
    assert (found["rows"], found["machines"]) == (rows, ["a100-sxm4-80gb-mine"])
    assert "left out: dtype_in is 'int8'" in err
    assert "(1,176 rows)" in err


def test_what_nobody_measured_follows_from_the_rows(document, tmp_path):
    header = f"{HEADER},phase,layout"
    rows = [f"{DENSE},update,NT", f"{SPARSE},backward,NN", f"{SHORT.replace(',1,20', ',9,20')},,"]
    table(tmp_path / "t.csv", *rows, header=header)
    found = document("t.csv")
    assert not [t for t in found["unmeasured"] if "phase" in t or "one launch" in t]
    assert "int8 on a100-sxm4-80gb: dense and 2:4" in found["unmeasured"]
    assert {"phase", "layout"} <= {group["by"] for group in found["groups"]}
    del rows[0]
    table(tmp_path / "t.csv", *rows, header=header)
    assert any("update phase" in text for text in document("t.csv")["unmeasured"])


def test_hardware_overrides_the_gpu_of_every_row(document, tmp_path):
    rows = [DENSE.replace("A100", "something else"), SHORT]
    table(tmp_path / "t.csv", *rows)
    found = document("t.csv", "--hardware", "a100-sxm4-80gb")
    assert found["machines"] == ["a100-sxm4-80gb"]
    assert found["rows"] == 2


def test_no_prediction_reads_a_measured_time(run, monkeypatch, tmp_path):
    """Same predictions with other times, and with the shipped points deleted."""
    rows = [DENSE, SPARSE, SHORT]
    table(tmp_path / "t.csv", *rows)
    assert run("t.csv", "--predictions", "before.csv")[0] == 0
    table(tmp_path / "u.csv", *(f"{row.rpartition(',')[0]},{i + 1}" for i, row in enumerate(rows)))
    monkeypatch.setattr(MEASURED, "folder", tmp_path / "gone")
    assert run("t.csv", "--predictions", "after.csv")[0] == 0
    assert run("u.csv", "--predictions", "other.csv")[0] == 0
    before, after, other = (
        [line.rpartition(",")[2] for line in (tmp_path / name).read_text().splitlines()]
        for name in ("before.csv", "after.csv", "other.csv")
    )
    assert before == after == other
    assert "no shipped points" in run()[2]


@pytest.mark.parametrize("hardware", fast_first(["a100-sxm4-80gb", ""], 1))
def test_without_a_file_the_shipped_points_are_predicted(document, hardware):
    found = document(*(("--hardware", hardware) if hardware else ()))
    assert found["rows"] >= (2529 if hardware else 90_000)
    assert {"rows", "mape", "median_ape", "p90_ape", "bias", "groups"} <= set(found)
    assert {"machine", "size", "bound"} <= {group["by"] for group in found["groups"]}
    assert len(found["worst"]) == 10
    assert set(found["machines"]) <= set(HARDWARE)
    assert any("backward" in text for text in found["unmeasured"])
    assert not hardware or found["machines"] == [hardware]


@pytest.mark.parametrize(
    ("name", "limit", "lean"), [("a100-dense-bf16", 0.065, 0.03), ("a100-dense-int8", 0.10, 0.05)]
)
def test_the_a100_stays_near_its_measured_times(name, limit, lean):
    """aiconfigurator's GEMMs: most were calibrated on, so this guards and proves nothing."""
    rows = read_shipped(name)
    found = accuracy.summarize(predict.predict([rows]))
    assert found["mape"] < limit
    assert abs(found["bias"]) < lean


@pytest.mark.parametrize("name", list(MEASURED))
def test_every_shipped_file_says_where_it_comes_from(name):
    about = MEASURED.load(name)
    assert all(vars(about).values())
    rows = read_shipped(name)
    assert {one.conditions for one in rows.routines} <= {"free", "sustained"}
    said = int(about.summary.split()[0].replace(",", ""))
    assert len(rows) == said


def test_every_shipped_table_has_a_source():
    tables = {*MEASURED.folder.glob("*.csv"), *MEASURED.folder.glob("*.csv.gz")}
    assert tables == {shipped_path(name) for name in MEASURED}


@pytest.mark.parametrize(
    ("gpu", "variant", "machine"),
    [
        ("A100", "SXM4-80GB", "a100-sxm4-80gb"),
        ("NVIDIA A100-SXM4-40GB", "", "a100-sxm4-40gb"),
        ("A100", "PCIe-80GB", "a100-pcie-80gb"),
        ("A100-PCIE-40GB", "", ""),
        ("NVIDIA A100 80GB PCIe", "79 GiB", "a100-pcie-80gb"),
        ("NVIDIA A100-SXM4-80GB", "79 GiB", "a100-sxm4-80gb"),
        ("NVIDIA RTX A1000", "", ""),
        ("NVIDIA GH200 480GB", "95 GiB", ""),
        ("H100", "SXM5-80GB", "h100-sxm"),
        ("NVIDIA H100 PCIe", "", "h100-pcie"),
        ("NVIDIA A10", "", "a10"),
        ("NVIDIA A10G", "", ""),
        ("NVIDIA L4", "", "l4"),
        ("NVIDIA L40", "", ""),
        ("NVIDIA L40S", "48GB", "l40s"),
        ("NVIDIA GeForce RTX 4090", "", "rtx4090"),
        ("NVIDIA GB200", "", ""),
        ("H200", "SXM5-141GB", "h200"),
        ("RTX3090", "GeForce", "rtx3090"),
        ("NVIDIA GeForce RTX 3090", "", "rtx3090"),
        ("NVIDIA GeForce RTX 3090 Ti", "", ""),
        ("V100", "SXM2-16GB", "v100"),
        ("TPU v4", "", ""),
    ],
)
def test_gpus_are_found_as_people_write_them(gpu, variant, machine):
    assert predict.machine_of(gpu, variant) == machine


def test_the_page_is_drawn_and_drawn_again(run, tmp_path):
    table(tmp_path / "t.csv", DENSE, SPARSE, SHORT)
    assert run("t.csv", "--out", "d")[0] == 0
    page = (tmp_path / "d" / "index.html").read_text()
    for text in ("The worst ten", "What has no measured data", "3.1", "figure-speedups", "4096"):
        assert text in page
    df, manifest = read_results(tmp_path / "d")
    assert df["predicted_us"].tolist() == [alone(DENSE), alone(SPARSE), alone(SHORT)]
    assert manifest["kind"] == "validate"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["nmsim", "report", "d"])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert stop.value.code == 0
    assert (tmp_path / "d" / "index.html").read_text() == page


def test_stored_rows_that_are_cut_or_spoilt_are_refused(run, tmp_path):
    table(tmp_path / "t.csv", DENSE, SPARSE)
    run("t.csv", "--out", "d")
    results = tmp_path / "d" / "results.csv"
    whole = results.read_text()
    for spoilt in (whole[:-3], whole.replace("ratio", "ration"), whole.rpartition("me,")[0], "x\n"):
        results.write_text(spoilt)
        with pytest.raises(SpecError):
            read_results(tmp_path / "d")


def test_a_wide_figure_keeps_every_bad_row(tmp_path, monkeypatch):
    monkeypatch.setattr("nmsim.report.plots.validation.MOST_POINTS", 10)
    rows = [DENSE.replace("50.0", str(10 * time)) for time in range(2, 60)]
    found = predict.predict([read_measured(table(tmp_path / "t.csv", *rows))])
    plots = sys.modules["nmsim.report.plots.validation"]
    shown = plots._shown(found.table)
    far = (found.table["ratio"] > 1.25) | (found.table["ratio"] < 0.8)
    assert shown[far].all()
    assert shown.sum() < len(rows)


def test_the_largest_gemm_has_an_account(document, tmp_path):
    size = ",".join(["2147483647"] * 3)
    table(tmp_path / "t.csv", DENSE.replace("4096,1024,512", size))
    (worst,) = document("t.csv")["worst"]
    assert (worst["tiles"], worst["m"]) == (2**23 * 2**24, 2**31 - 1)
    assert worst["waves"] == worst["tiles"] / 108


def test_kinds_of_rows_have_colours_of_their_own(run, tmp_path):
    patterns = ("1:4", "2:4", "2:8", "1:8", "2:10", "2:20", "2:40", "2:7", "2:100", "4:8")
    rows = [SPARSE.replace("2:4", pattern) for pattern in patterns]
    found = predict.predict([read_measured(table(tmp_path / "t.csv", DENSE, *rows))])
    kinds = sys.modules["nmsim.report.plots.validation"]._kinds(found.table)
    assert sorted(set(kinds)) == ["fp16 dense", "fp16 sparse"]
    few = predict.predict([read_measured(table(tmp_path / "u.csv", DENSE, *rows[:2]))])
    kinds = sys.modules["nmsim.report.plots.validation"]._kinds(few.table)
    assert sorted(set(kinds)) == ["fp16 1:4", "fp16 2:4", "fp16 dense"]


@pytest.mark.parametrize("count", fast_first([10_000, 100_000], 1))
def test_very_many_rows_are_read(tmp_path, count):
    rows = [f"{DENSE.rpartition(',')[0]},{i}.5" for i in range(1, count + 1)]
    found = read_measured(table(tmp_path / "t.csv", *rows))
    assert len(found) == count
    assert found.time_us[-1] == count + 0.5
    assert found.lines[-1] == count + 1


def test_the_package_carries_its_points():
    shipped = Path(tables.__file__).parent
    assert MEASURED.folder == shipped
    assert sum(path.stat().st_size for path in shipped.iterdir()) < 1_500_000


@pytest.mark.parametrize("fidelity", ["analytical", "cycle"])
@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("note", ("", "host timer: floor 25 us", "launch excluded", "")),
        ("conditions", ("free", "Sustained", "", "locked")),
    ],
)
def test_rows_are_predicted_at_the_clock_that_they_were_timed_at(
    tmp_path, document, fidelity, column, cells
):
    """Of an older table the note says it, where no column does."""
    rows = (f"{DENSE},{cell}" for cell in cells)
    path = table(tmp_path / "f.csv", *rows, header=f"{HEADER},{column}")
    out = tmp_path / "p.csv"
    shown = document(path, "--predictions", out, "--fidelity", fidelity)
    predicted = [line.rpartition(",")[2] for line in out.read_text().splitlines()[1:]]
    free, sustained, other, locked = map(float, predicted)
    assert free == other
    # Tensor cores are busy for part of the time, and then 11% slower.
    assert 1.02 * free < sustained < 1.11 * free
    assert locked < free if column == "conditions" else locked == free
    assert any("long work" in note and "(1 row)" in note for note in shown["notes"])


def test_several_words_of_conditions_are_of_a_free_clock(document, tmp_path):
    """Earlier versions of ``nmsim measure`` wrote them; one word that is none is refused."""
    words = ("CUDA graph of back-to-back launches", "sustaned")
    rows = (f"{DENSE},{cell}" for cell in words)
    found = document(table(tmp_path / "t.csv", *rows, header=f"{HEADER},conditions"))
    assert [group["group"] for group in found["groups"] if group["by"] == "conditions"] == ["free"]
    (refused,) = found["refused"]
    assert refused["line"] == 3
    assert refused["why"].startswith("conditions is 'sustaned', expected one of free")


def test_what_the_host_adds_is_in_the_prediction(run, tmp_path):
    rows = (f"{DENSE},{cell}" for cell in ("", "21.5"))
    table(tmp_path / "t.csv", *rows, header=f"{HEADER},host_us")
    assert run("t.csv", "--predictions", "p.csv")[0] == 0
    alone_us, hosted = (
        float(line.rpartition(",")[2]) for line in (tmp_path / "p.csv").read_text().split()[1:]
    )
    assert (alone_us, hosted) == (alone(DENSE), alone(DENSE) + 21.5)


def test_rows_that_cannot_be_predicted_are_listed_and_the_rest_is_judged(run, tmp_path):
    header = f"{HEADER},vector_length"
    rows = [f"{row}," for row in (DENSE, DENSE.replace("A100", "MI300X"), SHORT)]
    rows += [f"{SPARSE},x", f"{DENSE.replace('50.0', 'nan')},", f"{SPARSE.replace('2:4', '2:8')},0"]
    table(tmp_path / "t.csv", *rows, header=header)
    status, out, _ = run("t.csv", "--format", "json", "--predictions", "p.csv", "--out", "d")
    assert status == 0
    found = json.loads(out)
    assert found["rows"] == 2
    assert [(one["line"], one["judged"]) for one in found["refused"]] == [
        (line, False) for line in (3, 5, 6, 7)
    ]
    assert "no machine" in found["refused"][0]["why"]
    cells = [line.rpartition(",")[2] for line in (tmp_path / "p.csv").read_text().splitlines()]
    assert cells == ["predicted_us", repr(alone(DENSE)), "", repr(alone(SHORT)), "", "", ""]
    page, (df, manifest) = (tmp_path / "d/index.html").read_text(), read_results(tmp_path / "d")
    assert len(df) == 2
    assert manifest["refused"] == found["refused"]
    assert "MI300X SXM4-80GB" in page
    assert "no machine in the catalog" in run("t.csv")[1]
    status, out, err = run("t.csv", "--strict")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("nmsim: t.csv: line 3: gpu 'MI300X SXM4-80GB' has no machine")
    assert err.endswith("(and 3 more)\n")


def test_a_time_that_cannot_be_is_listed_and_counted(document, run, tmp_path):
    """4096 x 1024 x 512 at 312 TFLOP/s is 13.8 us; 537 MB but L2's 42 at 1.77 TB/s are 280 us."""
    wide = SHORT.replace("4096,4096", "16384,16384")
    rows = [DENSE, DENSE.replace("50.0", "11.4"), DENSE.replace("50.0", "11.6")]
    rows += [wide.replace(",1,20", ",1,232"), wide.replace(",1,20", ",1,235")]
    found = document(table(tmp_path / "t.csv", *rows))
    assert found["rows"] == 5
    assert [(one["line"], one["judged"]) for one in found["refused"]] == [(3, True), (5, True)]
    assert found["refused"][0]["why"].startswith("time_us is 11.4, but at the peak rate")
    assert found["impossible"]["rows"] == 2
    close(found["impossible"]["without_them"], {"rows": 3})
    assert run("t.csv", "--strict")[0] == 2
    assert not document("t.csv", "--hardware", "h100-sxm")["refused"]


def test_sources_are_judged_by_condition_with_held_out_shapes_apart(document, tmp_path):
    rows = [f"{DENSE},{clock}" for clock in ("free", "sustained", "free")]
    rows.append(f"{HELD_OUT},free")
    found = document(table(tmp_path / "t.csv", *rows, header=f"{HEADER},conditions"))["tables"]
    assert [(one["conditions"], one["shapes"], one["rows"]) for one in found] == [
        ("free", "calibration", 2),
        ("free", "held out", 1),
        ("sustained", "calibration", 1),
    ]
    close(found[0], plainly([alone(DENSE) / 50] * 2))
    close(found[1], plainly([alone(HELD_OUT) / 40]))
