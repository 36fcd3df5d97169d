"""Sweeps: a store that loses nothing, points that run once, workers that may die."""

import contextlib
import csv
import importlib.util
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import deque
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kills import children_of, wait_until_gone
from swept import point_rows

import nmsim
from nmsim.cli import sweeping, swept
from nmsim.cli.commands import sweeps
from nmsim.errors import SpecError
from nmsim.exporters.parquet import write_parquet
from nmsim.report import read_results, to_csv, write_csv
from nmsim.result import totals
from nmsim.run.experiment import Experiment, planned
from nmsim.run.manifest import sweep_manifest
from nmsim.run.point import tables
from nmsim.run.rows.frame import frame
from nmsim.run.store import COLUMNS_OF, STORE, Outcome, Store, Stored
from nmsim.run.store.frame import column_names, stored_frame
from nmsim.run.store.network import network_file_system
from nmsim.run.sweep import sweep
from nmsim.run.sweep.chunks import _Line, finished
from nmsim.run.workers import LocalPool, WorkerLost
from nmsim.spec import validate

SMALL = {"title": "t", "model": "gemm:8x9x12", "hardware": "systolic-16x16", "recipe": "asp"}


class Inline(Executor):
    """Runs what it is given at once, until it is out of patience."""

    def __init__(self, patience=10**9):
        self.patience = patience

    def submit(self, function, /, *args, **kwargs):
        if self.patience <= 0:
            raise KeyboardInterrupt
        self.patience -= 1
        future = Future()
        future.set_result(function(*args, **kwargs))
        return future


def plan_of(**said):
    usual = {name: one for name, one in SMALL.items() if name not in said.get("vary", ())}
    return planned(validate(Experiment, {**usual, **said}, "e.yaml"))


def run(folder, plan, executor=None, fresh=False):
    """Sweep a plan; points that were run, and what the store counts then."""
    with Store.opened(folder, fresh=fresh) as store:
        store.begin(plan, "test")
        ran = [one for found in sweep(store, plan, executor or Inline(), 1) for one in found]
        return len(ran), store.counts()


def dump(folder, view="rows"):
    """A view as plain tuples, but for the time that points took."""
    with Stored.opened(folder) as stored:
        columns = [name for name in stored.columns(view) if name != "seconds"]
        return [row for batch in stored.batches(view, columns) for row in batch]


VARIED = {"rows": [8, 16], "pattern": ["2:4", "1:4"], "seed": {"from": 0, "to": 1, "step": 1}}


def test_a_store_holds_the_rows_of_single_runs(tmp_path):
    plan = plan_of(vary=VARIED)
    assert run(tmp_path, plan) == (8, (8, 8, 0, 0))
    points = [plan.point(place) for place in plan.places]
    alone = [
        {**point_rows(point)[0], "rows": point.machine.rows} | {"point": at}
        for at, point in enumerate(points)
    ]
    table = nmsim.load_results(tmp_path)
    assert list(table.columns[:9]) == [
        *("point", "model", "recipe", "pattern", "batch", "fidelity", "seed", "rows", "layer")
    ]
    assert to_csv(table) == to_csv(
        frame([{n: row[n] for n in ("point",)} | row for row in alone])[list(table.columns)]
    )
    assert table.attrs["units"]["cycles"] == "cycles"
    assert table.dtypes["rows"] == "Int64"


@pytest.mark.parametrize("keep", ["rows", "layers", "totals"])
def test_what_is_kept_sums_to_what_was_run(tmp_path, keep):
    plan = plan_of(model="resnet18", layers="layer1.0*", fidelity="analytical", batch=2, keep=keep)
    run(tmp_path, plan)
    rows = point_rows(plan.point(plan.places[0]))
    whole = totals(rows)
    found = nmsim.load_results(tmp_path)
    assert len(found) == {"rows": len(rows), "layers": 2, "totals": 4}[keep]
    if keep == "totals":
        kept = {row["phase"]: row for row in found.to_dict("records")}
        assert kept.keys() == whole.keys()
        for phase, total in whole.items():
            assert {n: kept[phase][n] for n, v in total.items() if v is not None} == {
                n: v for n, v in total.items() if v is not None
            }
    else:
        assert found["cycles"].sum() == whole["all"]["cycles"]
    (point,) = dump(tmp_path, "points")
    with Stored.opened(tmp_path) as stored:
        names = [name for name in stored.columns("points") if name != "seconds"]
    told = dict(zip(names, point, strict=True))
    assert (told["status"], told["cycles"], told["speedup"]) == (
        "done", whole["all"]["cycles"], whole["all"]["speedup"],
    )  # fmt: skip


def test_a_finished_sweep_computes_nothing_and_a_longer_one_what_is_new(tmp_path):
    short, long = plan_of(vary=VARIED), plan_of(vary={**VARIED, "batch": [1, 2]})
    assert run(tmp_path, short)[0] == 8
    before = dump(tmp_path)
    assert run(tmp_path, short) == (0, (8, 8, 0, 0))
    assert dump(tmp_path) == before
    assert run(tmp_path, long) == (8, (16, 16, 0, 0))
    assert run(tmp_path, short) == (0, (8, 8, 0, 0))
    assert dump(tmp_path) == before
    assert run(tmp_path, short, fresh=True)[0] == 8


def test_equal_points_are_run_once_and_told_apart(tmp_path):
    plan = plan_of(
        vary={"batch": [None, 1], "rows": [16, "16..24 step 8"][:1]}, derive={"cols": "rows"}
    )
    assert run(tmp_path, plan) == (1, (2, 2, 0, 0))
    assert [row[0] for row in dump(tmp_path)] == [0, 1]


@settings(max_examples=25)
@given(st.lists(st.integers(0, 5), max_size=6), st.booleans())
def test_any_sequence_of_interrupted_runs_is_the_undisturbed_run(tmp_path_factory, ends, extend):
    folder, other = tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("b")
    plan = plan_of(vary=VARIED, keep="rows")
    if extend:
        run(folder, plan_of(vary={**VARIED, "rows": [16]}), Inline())
    for patience in ends:
        with contextlib.suppress(KeyboardInterrupt):
            run(folder, plan, Inline(patience))
    run(folder, plan)
    run(other, plan)
    for view in ("rows", "points"):
        assert dump(folder, view) == dump(other, view)


def test_an_executor_changes_nothing(tmp_path):
    plan = plan_of(vary=VARIED)
    with ThreadPoolExecutor(2) as threads, LocalPool(2) as processes:
        for name, executor in (("a", threads), ("b", processes), ("c", Inline())):
            assert run(tmp_path / name, plan, executor) == (8, (8, 8, 0, 0))
    assert dump(tmp_path / "a") == dump(tmp_path / "b") == dump(tmp_path / "c")


def test_a_point_that_raises_is_recorded_and_loses_nothing_else(tmp_path):
    plan = plan_of(model="gemm:64x64x64", vary={"sram.a_kib": [64, 0.01], "seed": [0, 1]})
    assert run(tmp_path, plan) == (4, (4, 2, 2, 0))
    with Store.opened(tmp_path) as store:
        many, first = store.failures()
    assert many == 2
    assert first.startswith("point 2: ")
    assert "sram" in first
    assert [row[0] for row in dump(tmp_path)] == [0, 1]
    assert run(tmp_path, plan) == (0, (4, 2, 2, 0))  # what a point is to blame for stays so


def test_a_fault_that_nobody_foresaw_is_told_and_the_machines_own_is_tried_again(
    tmp_path, monkeypatch
):
    plan = plan_of(vary={"seed": [0, 1, 2]})
    raised = iter([ZeroDivisionError("of a bug"), MemoryError(), None])

    def run_point(point):
        error = next(raised, None)
        if error:
            raise error
        return tables(point)

    monkeypatch.setattr("nmsim.run.sweep.outcome.tables", run_point)
    assert run(tmp_path, plan) == (3, (3, 1, 2, 0))
    with Store.opened(tmp_path) as store:
        assert store.failures() == (2, "point 0: ZeroDivisionError: of a bug")
    assert run(tmp_path, plan) == (1, (3, 2, 1, 0))


def test_a_reader_may_look_while_it_runs(tmp_path):
    plan = plan_of(vary=VARIED)
    with Store.opened(tmp_path) as store:
        store.begin(plan, "test")
        found = sweep(store, plan, Inline(), 1)
        seen = [len(nmsim.load_results(tmp_path)) for _ in found]
        assert seen[0] < seen[-1] == 8
        with Stored.opened(tmp_path) as stored, pytest.raises(sqlite3.OperationalError):
            stored._connection.execute("DELETE FROM point")


def test_one_sweep_at_a_time_writes_to_a_folder(tmp_path):
    with Store.opened(tmp_path), pytest.raises(SpecError, match="another sweep is writing"):
        Store.opened(tmp_path).__enter__()
    with Store.opened(tmp_path):
        pass


def test_what_is_no_store_is_refused_in_a_line(tmp_path):
    path = tmp_path / STORE
    with pytest.raises(SpecError, match="no such file"), Stored.opened(tmp_path):
        pass
    path.write_bytes(b"not a database at all, " * 100)
    for opened in (Stored.opened, Store.opened):
        with pytest.raises(SpecError, match=STORE), opened(tmp_path):
            pass
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE mine (a)")
    with pytest.raises(SpecError, match="is no store of results"), Store.opened(tmp_path):
        pass
    path.unlink()
    with Store.opened(tmp_path) as store:
        store._connection.execute("PRAGMA user_version = 99")
    with pytest.raises(SpecError, match="version 99"), Store.opened(tmp_path):
        pass


def test_a_count_beyond_64_bits_stays_whole(tmp_path):
    plan = plan_of(vary={"seed": [0, 1]})
    run(tmp_path, plan)
    with Store.opened(tmp_path, fresh=True) as store:
        store.begin(plan, "test")
        width = len(COLUMNS_OF["total"]) - 1
        sums = [("all", *(first + at for at in range(width))) for first in (1, 2**63)]
        numbers = [number for number, _ in store.to_run()]
        outcomes = [Outcome(0.0, {"total": [own]}) for own in sums]
        store.add(zip(numbers, outcomes, strict=True))
    found = dump(tmp_path, "points")
    assert [row[-width:] for row in found] == [own[1:] for own in sums]
    with Store.opened(tmp_path) as store:
        ((_, second),) = store.points([1])
    assert second["cycles"] == dict(zip(COLUMNS_OF["total"], sums[1], strict=True))["cycles"]


@pytest.mark.parametrize("large", [2**63, 3**100, 2**200])
def test_a_count_beyond_64_bits_is_exported_whole(tmp_path, large):
    parquet = pytest.importorskip("pyarrow.parquet")
    plan = plan_of(keep="totals", vary={"seed": [0, 1]})
    with Store.opened(tmp_path) as store:
        store.begin(plan, "test")
        store.describe({"kind": "sweep"})
        width = len(COLUMNS_OF["total"]) - 1
        numbers = [number for number, _ in store.to_run()]
        rows = [("all", *[value] * width) for value in (7, large)]
        store.add((n, Outcome(0.0, {"total": [r]})) for n, r in zip(numbers, rows, strict=True))
    write_parquet(tmp_path, tmp_path / "f.parquet")
    found = parquet.read_table(tmp_path / "f.parquet")
    assert [int(one) for one in found.column("cycles").to_pylist()] == [7, large]
    assert found.column("time_us").to_pylist() == [7.0, float(large)]
    write_csv(tmp_path, tmp_path / "f.csv")
    with (tmp_path / "f.csv").open() as file:
        assert [int(row["cycles"]) for row in csv.DictReader(file)] == [7, large]


def test_a_store_without_a_sweep_says_so(tmp_path):
    with Store.opened(tmp_path):
        pass
    with pytest.raises(SpecError, match=r"results\.sqlite: holds no sweep"):
        nmsim.load_results(tmp_path)


@pytest.mark.parametrize(("said", "name"), [
    ({"vary": {"seed": [1, 2**70]}}, "seed"), ({"seed": 2**70}, "seed"),
    ({"vary": {"rows": [8]}, "derive": {"dram.latency_ns": "2 ** 70"}}, "dram.latency_ns"),
    ({"vary": {"batch": [1, 2**63]}}, "batch"),
])  # fmt: skip
def test_an_integer_beyond_64_bits_is_refused_before_anything_runs(said, name):
    with pytest.raises(SpecError, match=rf"^the experiment: .*{name} is \d+, expected"):
        plan_of(**said)


MOUNTS = """22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw
40 22 0:35 / /data/my\\040nfs rw,relatime - nfs4 server:/export rw
41 40 8:2 / /data/my\\040nfs/local rw - xfs /dev/sdb rw
"""


def test_a_network_file_system_is_told_by_its_mount(tmp_path):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    found = [
        network_file_system(Path(folder), mounts)
        for folder in ("/data/my nfs/a/b", "/data/my nfs/local/x", "/data", "/")
    ]
    assert found == ["nfs4", "", "", ""]
    assert network_file_system(tmp_path, tmp_path / "none") == ""


def test_where_readers_would_have_to_wait_the_store_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("nmsim.run.store.writing.network_file_system", lambda _: "nfs4")
    with Store.opened(tmp_path) as store:
        assert "is on nfs4: the store keeps a rollback journal" in store.told
        (mode,) = store._connection.execute("PRAGMA journal_mode").fetchone()
    assert mode == "delete"
    plan = plan_of(vary=VARIED)
    assert run(tmp_path, plan) == (8, (8, 8, 0, 0))


# ---- chunks and workers


def test_chunks_grow_to_a_second_and_no_further():
    line = _Line(deque(range(10_000)), lambda number: number)
    sizes = []
    for _ in range(8):
        taken = line.take(idle=True)
        sizes.append(len(taken))
        line.learn([(one, Outcome(1 / 128, {})) for one in taken])
    assert sizes == [1, 4, 16, 64, 128, 128, 128, 128]
    line.learn([(0, Outcome(5.0, {}))])
    assert len(line.take(idle=True)) == 1


def test_points_that_lost_a_worker_wait_until_all_others_are_done():
    line = _Line(deque([3, 4]), lambda number: number)
    assert line.lost([1, 2], WorkerLost("")) == []
    assert [line.take(idle=idle) for idle in (True, False, False, True, True)] == [
        *([3], [4], [], [1], [2])
    ]
    ((number, outcome),) = line.lost([2], WorkerLost("signal 9"))
    assert (number, outcome.status) == (2, "lost")


class Deadly(Executor):
    """Runs chunks at once, and dies of some points, whenever or the first few times."""

    def __init__(self, deaths):
        self.deaths = dict(deaths)
        self.died = []

    def submit(self, function, /, chunk, keep):
        future = Future()
        for number, _ in chunk:
            if self.deaths.get(number, 0) > 0:
                self.deaths[number] -= 1
                self.died.append([one for one, _ in chunk])
                future.set_exception(WorkerLost("its process ended (signal 9)"))
                return future
        future.set_result([(number, Outcome(1e-4, {})) for number, _ in chunk])
        return future


def test_points_of_a_lost_worker_run_again_alone_and_the_one_to_blame_is_set_aside():
    deadly = Deadly({7: 99, 60: 1})
    found = dict(
        one
        for chunk in finished(range(100), lambda number: number, "rows", deadly, 2)
        for one in chunk
    )
    assert sorted(found) == list(range(100))
    failed = {number: outcome for number, outcome in found.items() if outcome.reason}
    assert list(failed) == [7]
    assert failed[7].status == "lost"
    assert failed[7].reason == "it kills the worker that runs it: its process ended (signal 9)"
    assert deadly.died[-1] == [7]
    assert len(deadly.died) == 3


def test_a_process_that_is_killed_is_one_task_lost():
    with LocalPool(2) as pool:
        lost = pool.submit(signal.raise_signal, signal.SIGKILL)
        others = [pool.submit(os.getpid) for _ in range(3)]
        with pytest.raises(WorkerLost, match="signal 9"):
            lost.result(60)
        assert os.getpid() not in {future.result(60) for future in others}
        wrong = pool.submit(int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            wrong.result(60)
    with LocalPool(1) as pool:
        lost = pool.submit(signal.raise_signal, signal.SIGKILL)
        later = pool.submit(os.getpid)
        assert isinstance(lost.exception(60), WorkerLost)
        assert later.result(60) != os.getpid()


HELD = """
import ctypes, os, sys, time
from nmsim.run.workers import LocalPool

def hold(path):
    open(path, "w").write(str(os.getpid()))
    ctypes.PyDLL(None).sleep(60)  # in C, with the interpreter's lock

if __name__ == "__main__":
    with LocalPool(1) as pool:
        pool.submit(hold, sys.argv[1]).result()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="as Linux ends orphans")
def test_a_worker_ends_with_its_parent_whatever_it_is_at(tmp_path):
    (tmp_path / "held.py").write_text(HELD)
    process = subprocess.Popen([sys.executable, tmp_path / "held.py", tmp_path / "pid"])
    end = time.monotonic() + 60
    while not ((tmp_path / "pid").is_file() and (tmp_path / "pid").read_text()):
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(0.2)
    worker = int((tmp_path / "pid").read_text())
    process.kill()
    process.wait()
    assert not wait_until_gone({worker}, tmp_path)


# ---- the command

EXPERIMENT = """
title: t
model: gemm:64x64x64
hardware: systolic-16x16
vary:
  pattern: [2:4, 1:4]
  sram.a_kib: {from: 0.01, to: 64, points: 2}
"""


def nmsim_(*command, cwd, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "nmsim", *map(str, command)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def test_a_sweep_says_what_it_did_and_a_second_one_that_it_had_nothing_to_do(tmp_path):
    (tmp_path / "e.yaml").write_text(EXPERIMENT)
    first = nmsim_("sweep", "e.yaml", "--out", "r", "--workers", 1, cwd=tmp_path, code=1)
    lines = first.stderr.splitlines()
    assert lines[0].startswith("4 points, 0 reused, 4 to compute")
    assert lines[-1].startswith("2 of 4 points failed, the first: point 0: ")
    about = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert about["points"] == {"total": 4, "reused": 0, "computed": 2, "failed": 2}
    assert (about["results_rows"], about["rows"]) == (2, 2)
    again = nmsim_("sweep", "e.yaml", "--out", "r", cwd=tmp_path, code=1)
    assert again.stderr.startswith("4 points, 4 reused, 0 to compute\nnothing to do: ")
    about = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert about["points"] == {"total": 4, "reused": 2, "computed": 0, "failed": 2}
    assert again.stdout == first.stdout
    rows = list(csv.DictReader((tmp_path / "r" / "results.csv").read_text().splitlines()))
    assert [(row["pattern"], row["sram.a_kib"]) for row in rows] == [
        ("2:4", "64.0"),
        ("1:4", "64.0"),
    ]
    table, manifest = read_results(tmp_path / "r")
    assert manifest["vary"]["sram.a_kib"] == {"from": 0.01, "to": 64, "points": 2}
    assert to_csv(table) == (tmp_path / "r" / "results.csv").read_text()


def test_a_sweep_of_which_all_points_fail_says_why(tmp_path):
    (tmp_path / "e.yaml").write_text(EXPERIMENT.replace("to: 64", "to: 0.02"))
    done = nmsim_("sweep", "e.yaml", "--out", "r", "--workers", 1, cwd=tmp_path, code=1)
    assert done.stderr.splitlines()[-1].startswith("4 of 4 points failed, the first: point 0: ")
    assert re.findall("^point [0-9]+", done.stdout, re.MULTILINE) == [
        f"point {at}" for at in range(4)
    ]
    assert not (tmp_path / "r" / "index.html").exists()
    with pytest.raises(SpecError, match="holds no rows, expected some to draw"):
        sweeps.report(tmp_path / "r")


def test_what_stands_in_a_folder_is_of_the_sweep_or_written_anew(tmp_path, monkeypatch):
    plan = plan_of(fidelity="analytical")
    nmsim.simulate("gemm:9x8x7", hardware="ideal", out=tmp_path)
    other = (tmp_path / "manifest.json").read_text()
    run(tmp_path, plan)
    told = []
    monkeypatch.setattr(swept, "tell", told.append)
    with Store.opened(tmp_path) as store:
        counted = {"results_key": store.digest(), "results_rows": store.kept()}
        about = sweep_manifest(plan, "").document() | counted
        store.describe(about)
    for _ in range(2):
        (tmp_path / "manifest.json").write_text(other)
        for _ in range(2):
            swept.write_swept(tmp_path, about, changed=False)
        (row,) = csv.DictReader((tmp_path / "results.csv").read_text().splitlines())
        assert (row["model"], row["hardware"]) == ("gemm:8x9x12", "systolic-16x16")
    assert ["nothing" in one for one in told] == [False, True] * 2


@pytest.mark.parametrize("keep", ["layers", "totals"])
def test_a_folder_that_keeps_sums_has_a_page_and_no_rows(tmp_path, keep):
    plan = plan_of(keep=keep)
    run(tmp_path, plan)
    with Store.opened(tmp_path) as store:
        store.describe(sweep_manifest(plan, "").document())
    with pytest.raises(SpecError, match=rf"results\.sqlite: keeps {keep} alone, expected rows"):
        read_results(tmp_path)
    sweeps.report(tmp_path)
    assert (tmp_path / "index.html").is_file()


def test_a_report_and_an_export_are_made_of_the_store(tmp_path):
    (tmp_path / "e.yaml").write_text(EXPERIMENT)
    nmsim_("sweep", "e.yaml", "--out", "r", "--workers", 1, cwd=tmp_path, code=1)
    wanted = (tmp_path / "r" / "results.csv").read_text()
    for name in ("results.csv", "index.html", "manifest.json"):
        (tmp_path / "r" / name).unlink()
    nmsim_("report", "r", cwd=tmp_path)
    assert (tmp_path / "r" / "results.csv").read_text() == wanted
    nmsim_("export", "r", "--format", "csv", "--out", "rows.csv", cwd=tmp_path)
    assert (tmp_path / "rows.csv").read_text() == wanted
    refused = nmsim_("export", "r", "--format", "csv", "--out", ".", cwd=tmp_path, code=2)
    assert "expected the name of a file" in refused.stderr


def test_a_simulation_in_the_folder_of_a_sweep_is_the_result_then(tmp_path):
    run(tmp_path, plan_of(vary=VARIED))
    assert len(nmsim.load_results(tmp_path)) == 8
    nmsim.simulate("gemm:8x9x12", hardware="systolic-16x16", out=tmp_path)
    assert len(nmsim.load_results(tmp_path)) == len(read_results(tmp_path)[0]) == 1


def test_rows_are_exported_as_parquet_or_it_is_said_what_to_install(tmp_path):
    run(tmp_path / "r", plan_of(vary=VARIED))
    if importlib.util.find_spec("pyarrow") is None:
        said = nmsim_("export", "r", "--format", "parquet", "--out", "f", cwd=tmp_path, code=2)
        assert "pip install 'nmsim[parquet]'" in said.stderr
        assert not (tmp_path / "f").exists()
        return
    nmsim_("export", "r", "--format", "parquet", "--out", "f.parquet", cwd=tmp_path)
    found = importlib.import_module("pyarrow.parquet").read_table(tmp_path / "f.parquet")
    with Stored.opened(tmp_path / "r") as stored:
        names = column_names(stored)
        wanted = stored_frame(stored, names)
    assert found.column_names == names
    assert found.column("cycles").to_pylist() == wanted["cycles"].tolist()
    assert found.column("transposed").to_pylist() == wanted["transposed"].tolist()
    assert found.schema.field("cycles").metadata == {b"unit": b"cycles"}


def test_the_time_is_estimated_for_the_workers_that_there_are(capsys):
    here, there = sweeping.Crew(4), sweeping.Crew(4, scheduler="tcp://HOST:1")
    assert here.duration(40) == "10 s on 4 processes"
    assert there.duration(40) == "40 s of one worker of tcp://HOST:1"
    clock = sweeping._Clock(12, lambda: 2, known=False)
    for _ in range(6):
        clock.learn([5.0])
    assert capsys.readouterr().err == "about 18 s for 7 more, as the first ones took\n"


LONG = """
title: t
model: resnet18
hardware: systolic-128x128-2to4
recipe: transposable
keep: totals
vary: {pattern: [2:4, 4:8, 1:4, 2:8], batch: 1..16, seed: 0..9}
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_sweep_that_is_ended_keeps_what_is_done_and_leaves_nobody(number, tmp_path):
    (tmp_path / "e.yaml").write_text(LONG)
    command = [sys.executable, "-m", "nmsim", "sweep", "e.yaml", "--out", "r", "--workers", "2"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True
    )
    done, end = 0, time.monotonic() + 120
    while done < 4 and time.monotonic() < end:
        time.sleep(0.2)
        with contextlib.suppress(SpecError, sqlite3.Error), Stored.opened(tmp_path / "r") as stored:
            done = stored._connection.execute(
                "SELECT count(*) FROM point WHERE status = 'done'"
            ).fetchone()[0]
    others = children_of(process.pid)
    assert len(others) >= 2
    process.send_signal(number)
    error = process.communicate(timeout=30)[1].decode()
    assert not wait_until_gone(others, tmp_path / "r")
    if number != signal.SIGKILL:
        assert "the same command goes on from there" in error
        assert error.endswith("nmsim: interrupted\n")
        assert "Traceback" not in error
    with Stored.opened(tmp_path / "r") as stored:
        assert (
            stored._connection.execute(
                "SELECT count(*) FROM points WHERE status = 'done'"
            ).fetchone()[0]
            >= done
        )
