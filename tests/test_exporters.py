"""Results as files of other tools: SCALE-Sim's reports beside its own, a step on a time line."""

import csv
import json
from collections import defaultdict

import numpy as np
import pytest
from scale_sim import addresses, published

import nmsim
from nmsim.errors import NmsimError
from nmsim.exporters import EXPORTERS


def exported(table):
    """Reports of a golden table's rows, beside these rows: layers of one array at a time."""
    groups = defaultdict(list)
    for row in table:
        groups[row["rows"], row["cols"], row["dataflow"], row.get("pattern", "")].append(row)
    for (rows, cols, dataflow, pattern), own in groups.items():
        machine = nmsim.load_hardware("scale-sim", rows=rows, cols=cols, dataflow=dataflow)
        masks = {"recipe": "asp", "pattern": pattern} if pattern else {}
        gemms = [
            nmsim.Gemm(row["m"], row["n"], row["k"], layer=str(i), a_elements=pixels(row))
            for i, row in enumerate(own)
        ]
        run = nmsim.simulate(gemms, hardware=machine, compare=False, **masks)
        texts = EXPORTERS["scale-sim"].texts(run.rows, run.manifest)
        yield own, {name: list(lines(text)) for name, text in texts.items()}


def pixels(row):
    a, _ = addresses(row)
    return len(np.unique(a[a >= 0]))


def whole_groups(row):
    keep, group = map(int, row.get("pattern", "1:1").split(":"))
    return row["k"] if keep == group else -(-row["k"] // group) * group


def lines(text):
    header, *rows = (line.removesuffix(",") for line in text.splitlines())
    for row in csv.DictReader(
        [header.replace(", ", ","), *(row.replace(", ", ",") for row in rows)]
    ):
        yield {
            name: value if value == "ellpack_block" else float(value) for name, value in row.items()
        }


@pytest.mark.parametrize("name", ["scale-sim", "scale-sim-sparse"])
def test_reports_have_the_figures_of_scale_sim(name):
    """Cycles, utilisation and SRAM traffic, to the digit; DRAM it counts another way."""
    seen = 0
    for own, found in exported(published(name)[::27]):
        for row, compute, moved in zip(
            own, found["COMPUTE_REPORT.csv"], found["BANDWIDTH_REPORT.csv"], strict=True
        ):
            assert compute["Total Cycles"] == row["cycles"] - 1
            assert compute["Stall Cycles"] == 0
            for title, theirs in (
                ("Overall Util %", "overall_util"),
                ("Mapping Efficiency %", "mapping_efficiency"),
                ("Compute Util %", "compute_util"),
            ):
                assert compute[title] == pytest.approx(row[theirs], rel=1e-9)
            for title, theirs in (("IFMAP", "a_sram_reads"), ("FILTER", "b_sram_reads")):
                words = moved[f"Avg {title} SRAM BW"] * row["cycles"]
                if title == "IFMAP":  # it reads a short last group as if it were whole
                    words *= whole_groups(row) / row["k"]
                assert words == pytest.approx(row[theirs], rel=1e-9)
            seen += 1
    assert seen == len(published(name)[::27]) >= 4


def test_the_report_of_sparsity_has_its_storage_and_metadata():
    for own, found in exported(published("scale-sim-sparse")[::9]):
        sparse = [
            row for row in own if row["pattern"].split(":")[0] != row["pattern"].split(":")[1]
        ]
        for row, told in zip(sparse, found.get("SPARSE_REPORT.csv", []), strict=True):
            assert told["Original Filter Storage"] == row["n"] * row["k"]
            assert told["New Storage (Filter+Metadata)"] == pytest.approx(row["storage"])
            assert told["Filter Metadata Storage"] == pytest.approx(row["metadata"])


def test_a_machine_that_scale_sim_has_no_word_for_is_refused():
    for hardware in ("a100-sxm4-80gb", "systolic-128x128-intersecting"):
        run = nmsim.simulate("gemm:64x64x64", hardware=hardware)
        with pytest.raises(NmsimError, match=f"scale-sim: {hardware} is not one systolic array"):
            EXPORTERS["scale-sim"].texts(run.rows, run.manifest)


@pytest.mark.parametrize(("recipe", "stack"), [("fst", "best"), ("dense", "pytorch")])
def test_a_time_line_is_as_long_as_the_step_and_nothing_on_it_overlaps(recipe, stack):
    own = {"hardware": "a100-sxm4-80gb", "fidelity": "analytical", "batch": 1, "stack": stack}
    run = nmsim.simulate("resnet18", recipe=recipe, **own)
    assert (run.step["host_wait_us"] > 0) == (stack == "pytorch")
    (text,) = EXPORTERS["timeline"].texts(run.rows, run.manifest).values()
    spans = [one for one in json.loads(text)["traceEvents"] if one["ph"] == "X"]
    ends = [one["ts"] + one["dur"] for one in spans]
    assert all(
        after["ts"] == pytest.approx(end) for after, end in zip(spans[1:], ends, strict=False)
    )
    assert ends[-1] == pytest.approx(run.step["step_us"])
    gemms = [one for one in spans if one["tid"] == 0]
    assert [one["args"]["layer"] for one in gemms] == run["layer"].tolist()


def test_the_command_writes_them_and_refuses_in_a_line(command, tmp_path):
    stored = tmp_path / "run"
    command("simulate", "gemm:64x64x64", "--hardware", "scale-sim", "--out", stored)
    for form, names in (
        ("scale-sim", ["BANDWIDTH_REPORT.csv", "COMPUTE_REPORT.csv"]),
        ("timeline", ["timeline.json"]),
    ):
        out = tmp_path / form
        assert command("export", stored, "--format", form, "--out", out)[0] == 0
        assert sorted(path.name for path in out.iterdir()) == names
    for form, said in (
        ("parquett", "unknown format 'parquett'; did you mean 'parquet'? (known: "),
        ("timeline", "run/run"),
    ):
        folder = stored if form == "parquett" else stored / "run"
        status, out, err = command("export", folder, "--format", form, "--out", tmp_path / "no")
        assert (status, out) == (2, "")
        assert said in err
        assert len(err.splitlines()) == 1
    assert not (tmp_path / "no").exists()
