"""Does a sweep on a Dask cluster give the rows of one on this machine, whoever comes and goes?"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from importlib import import_module
from pathlib import Path

import pytest
from test_sweep import Inline

from nmsim.errors import SpecError
from nmsim.run.experiment import Experiment, planned
from nmsim.run.store import Store
from nmsim.run.sweep import finished, sweep
from nmsim.run.workers import WorkerLost
from nmsim.spec import validate

dask = pytest.importorskip("dask")
cluster = import_module("nmsim.run.cluster.pool")
slurm = import_module("nmsim.run.cluster.slurm")

SMALL = {"title": "t", "model": "gemm:8x9x12", "hardware": "systolic-16x16"}
SMALL |= {"fidelity": "analytical"}
VARIED = {"pattern": ["2:4", "1:4"], "rows": [8, 16], "seed": {"from": 0, "to": 99, "step": 1}}


def run(folder, executor, workers, each=lambda: None):
    """Sweep a plan of 400 points; the rows that are stored then."""
    plan = planned(validate(Experiment, {**SMALL, "vary": VARIED}, "e.yaml"))
    with Store.opened(folder) as store:
        store.begin(plan, "test")
        for _ in sweep(store, plan, executor, workers):
            each()
        assert store.counts() == (400, 400, 0, 0)
        return [
            {name: value for name, value in row.items() if name != "seconds"}
            for _, row in store.points(range(400))
        ]


class Machines:
    """A scheduler and workers, each a process as another machine would have it."""

    def __init__(self, folder):
        self.file, self.processes = folder / "scheduler.json", []
        self.scheduler = self._start("scheduler", "--port", "0", "--no-dashboard")
        end = time.monotonic() + 60
        while not (self.file.is_file() and self.file.read_text()):
            assert time.monotonic() < end
            time.sleep(0.05)
        self.address = json.loads(self.file.read_text())["address"]

    def _start(self, kind, *options):
        command = [sys.executable, "-m", "distributed.cli.dask_" + kind, *options]
        command += ["--scheduler-file", str(self.file)]
        if kind == "scheduler":
            command += ["--host", "127.0.0.1"]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.file.parent
        )
        self.processes.append(process)
        return process

    def join(self):
        return self._start("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard")

    def end(self):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()


@pytest.fixture
def machines(tmp_path):
    (tmp_path / "dask").mkdir()
    found = Machines(tmp_path / "dask")
    yield found
    found.end()


def wait_for(pool, workers):
    end = time.monotonic() + 60
    while pool.workers() != workers:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_workers_come_and_go_and_no_row_is_lost_until_the_scheduler_is_gone(tmp_path, machines):
    wanted = run(tmp_path / "here", Inline(), 1)
    first = [machines.join() for _ in range(2)]
    seen = []

    def disturb():
        seen.append(pool.workers())
        if len(seen) == 1:
            first[0].kill()
            machines.join()
            wait_for(pool, 2)
        if len(seen) == 2:  # from here on it is the one that joined alone
            first[1].kill()

    with cluster.connected(machines.address, []) as pool:
        wait_for(pool, 2)
        assert run(tmp_path / "there", pool, pool.workers, disturb) == wanted
        assert (len(seen) > 2, pool.workers()) == (True, 1)
        with pytest.raises(SpecError, match="the scheduler of the cluster is gone"):
            run(tmp_path / "again", pool, 1, machines.scheduler.kill)


def test_a_call_that_kills_its_worker_is_told_and_others_run():
    with cluster.local(1, []) as pool:
        lost = pool.submit(signal.raise_signal, signal.SIGKILL)
        with pytest.raises(WorkerLost, match="ended"):
            lost.result(60)
        other = pool.submit(os.getpid)
        wrong = pool.submit(int, "x")
        assert other.result(60) != os.getpid()
        with pytest.raises(ValueError, match="invalid literal"):
            wrong.result(60)


def test_a_worker_with_another_nmsim_is_refused(monkeypatch):
    here = cluster._code()
    assert cluster._called(here, int, ("3",), {}) == 3
    monkeypatch.setattr(cluster.distributed, "get_worker", lambda: type("W", (), {"address": "w"}))
    with pytest.raises(SpecError, match="worker w has another nmsim, expected "):
        cluster._called("other", int, ("3",), {})


def test_a_cluster_that_cannot_go_on_ends_a_sweep():
    class Refusing:
        def submit(self, *_):
            future = Future()
            future.set_exception(SpecError("worker w has another nmsim"))
            return future

    with pytest.raises(SpecError, match="another nmsim"):
        list(finished([0], lambda number: number, "rows", Refusing(), 1))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x", "tcp://:x y"])
def test_no_scheduler_is_one_line(monkeypatch, address):
    monkeypatch.setattr(cluster, "_PATIENCE", "1s")
    with (
        pytest.raises(SpecError, match=f"--scheduler {re.escape(address)}: no scheduler of Dask"),
        cluster.connected(address, []),
    ):
        pass


def test_the_job_of_slurm_is_the_committed_one(monkeypatch):
    said = {"jobqueue.slurm.queue": "short", "jobqueue.slurm.walltime": "01:00:00"}
    with dask.config.set(said), slurm.jobs() as made:
        script = made.job_script().replace(made.scheduler_address, "tcp://HOST:PORT")
    script = script.replace(sys.executable, "python")
    golden = Path(__file__).parent / "golden" / "slurm_job.sh"
    assert script == golden.read_text()
