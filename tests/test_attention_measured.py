"""Measured attention: tables read strictly, predictions that keep rows, errors, a fit."""

import csv
import gzip
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from nmsim.cli import app
from nmsim.errors import SpecError
from nmsim.machines import load_hardware
from nmsim.machines.attention import AttentionCalls
from nmsim.measured.attention.fit import fit_attention
from nmsim.measured.attention.predict import (
    LEAST_US,
    attention_routines,
    held_out,
    predict_attention,
    summarize_attention,
)
from nmsim.measured.attention.tables import (
    ATTENTION_TABLES,
    is_attention,
    read_attention,
    shipped_attention,
)
from nmsim.measured.tables import MEASURED, read_shipped

HEADER = "gpu,library,phase,batch,query_len,kv_len,heads,kv_heads,head_dim,time_us,test"
ROWS = [
    "NVIDIA H200,VLLM 0.19.0,decode,8,1,4096,64,8,128,60.5,yes",
    "NVIDIA H200,TRTLLM 1.3.0,prefill causal,2,2048,2048,64,8,128,420,yes",
    "NVIDIA H200,TRTLLM 1.3.0,prefill causal,1,16,16,4,1,128,9,indicative: short",
    "NVIDIA L40S,VLLM 0.22.0,decode,8,1,4096,64,8,128,200,yes",
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("\n".join([HEADER, *ROWS]) + "\n")
    return path


@pytest.fixture(scope="module")
def judged():
    found = predict_attention(shipped_attention()).table
    return found[found["judged"]]


def test_figures_are_those_that_the_documentation_states(judged):
    """Bounds of 2026-11: prefill, decode and FlashAttention-2 with its backward on the A100."""
    for kind, most in (("prefill", 0.08), ("decode", 0.10)):
        for part in ("seen", "held out"):
            rows = judged[(judged["kind"] == kind) & (judged["part"] == part)]
            for (machine, library), own in rows.groupby(["machine", "library"]):
                off = np.abs(own["ratio"] - 1)
                assert off.mean() < most, (machine, library, kind, part)
                assert off.median() < 0.09, (machine, library, kind, part)
    both = judged[(judged["kind"] == "both") & (judged["machine"] == "a100-sxm4-80gb")]
    assert np.abs(both["ratio"] - 1).mean() < 0.04


def test_no_pair_of_heads_is_far_off(judged):
    off = (judged["ratio"] - 1).abs()
    by_key = off.groupby([judged["machine"], judged["library"], judged["kind"], judged["key"]])
    assert by_key.median().max() < 0.20


def test_a_table_that_ships_says_where_it_comes_from_and_none_is_short():
    names = list(ATTENTION_TABLES)
    assert len(names) == 4
    for name, table in zip(names, shipped_attention(), strict=True):
        about = ATTENTION_TABLES.load(name)
        assert about.licence in ("Apache-2.0", "BSD-3-Clause")
        assert len(about.source) > 100
        assert table.fit.all()
        assert table.time_us.min() >= LEAST_US


def test_held_out_heads_are_about_a_third_and_always_the_same(judged):
    share = (judged["part"] == "held out").mean()
    assert 0.2 < share < 0.4
    for (h, kv, d), rows in judged.groupby(["heads", "kv_heads", "head_dim"]):
        assert set(rows["part"]) == {"held out" if held_out(h, kv, d) else "seen"}


def test_rows_keep_their_place_and_what_nobody_describes_stays_empty(file):
    tables = [read_attention(file)]
    found = predict_attention(tables)
    rows = list(csv.DictReader(io.StringIO(found.text(tables))))
    assert [",".join(list(row.values())[:-1]) for row in rows] == ROWS
    assert [bool(row["predicted_us"]) for row in rows] == [True, True, True, False]
    assert any("NVIDIA L40S" in note for note in found.notes)
    summary = summarize_attention(found)
    assert (summary["rows"], summary["not_judged"]) == (2, 1)


def test_the_command_holds_a_table_of_attention(file, tmp_path):
    out = tmp_path / "predicted.csv"
    done = CliRunner().invoke(
        app, ["validate", str(file), "--predictions", str(out), "--format", "json"]
    )
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert summary["rows"] == 2
    assert {row["by"] for row in summary["groups"]} >= {"key", "library", "kind"}
    assert out.read_text().startswith(f"{HEADER},predicted_us\n")


@pytest.mark.slow
def test_shipped_figures_name_attention_beside_gemms():
    done = CliRunner().invoke(
        app, ["validate", "--hardware", "h200", "--format", "json"], catch_exceptions=False
    )
    summary = json.loads(done.stdout)
    assert {row["kind"] for row in summary["attention"]["tables"]} == {"prefill", "decode"}
    shapes = sum(len(read_shipped(name).time_us) for name in MEASURED if name.startswith("h200"))
    assert summary["rows"] == shapes


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("decode,8,1", "dekode,8,1", "line 2: phase is 'dekode', expected one that begins with"),
        ("64,8,128,60.5", "64,7,128,60.5", "line 2: attention 'attention': kv_heads is 7"),
        ("60.5", "0", "line 2: time_us is '0', expected a time above 0 in us"),
        ("8,1,4096", "x,1,4096", "line 2: batch is 'x', expected an integer"),
        ("kv_len", "kv", "column kv_len or keys or seq is missing"),
        ("time_us", "us", "column 'time_us' is missing"),
    ],
)
def test_a_bad_row_is_told_by_line(file, old, new, problem):
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(SpecError) as error:
        read_attention(file)
    assert problem in str(error.value)


def test_a_table_is_known_by_its_head_dim_plain_or_gzipped(file, tmp_path):
    packed = tmp_path / "mine.csv.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    gemms = tmp_path / "gemms.csv"
    gemms.write_text("source,gpu,m,n,k\n")
    assert is_attention(file)
    assert is_attention(packed)
    assert not is_attention(gemms)
    assert len(read_attention(packed)) == len(ROWS)


def test_a_row_of_both_phases_is_their_sum(tmp_path):
    path = tmp_path / "both.csv"
    head = "gpu,library,phase,batch,seq,heads,head_dim,causal,time_us\n"
    rows = [f"A100,FlashAttention-2,{p},2,2048,16,128,1,500\n" for p in ("fwd", "bwd", "fwd+bwd")]
    path.write_text(head + "".join(rows))
    found = predict_attention([read_attention(path)]).table.set_index("line")["predicted_us"]
    assert found[4] == pytest.approx(found[2] + found[3])


def test_a_fit_finds_the_constants_that_made_its_rows():
    """Times that the model makes with other constants are fitted to less than a hundredth."""
    machine = load_hardware("h100-sxm")
    table = next(t for t in shipped_attention() if "h100" in t.file)
    mine = [text.startswith("VLLM") for text in table.columns["library"]]
    rows = np.flatnonzero(mine)[::40]
    truth = {"launch_us": 20.0, "efficiency": 0.6, "cta_us": 1.0}
    times = attention_routines(machine).times(
        machine, AttentionCalls(table.shapes[rows], "forward", "vllm", replayed=True), truth
    )
    made = replace(
        table,
        lines=[table.lines[row] for row in rows],
        records=[],
        columns={name: [cells[row] for row in rows] for name, cells in table.columns.items()},
        shapes=table.shapes[rows],
        runs=[table.runs[row] for row in rows],
        time_us=times,
        fit=np.ones(len(rows), bool),
    )
    found = fit_attention(machine, "vllm", [made], generations=60, seen_only=False)
    assert found.loss < 1e-3
    assert found.constants["launch_us"] == pytest.approx(20, rel=0.1)
