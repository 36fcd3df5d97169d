"""Does a sweep on a Dask cluster give the rows of one on this machine, whoever comes and goes?"""

import os
import re
import signal
import sys
from concurrent.futures import Future
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest

from nmsim.errors import SpecError
from nmsim.run.sweep import finished
from nmsim.run.workers import WorkerLost

dask = pytest.importorskip("dask")
SLURMJob = pytest.importorskip("dask_jobqueue").slurm.SLURMJob
cluster = import_module("nmsim.run.cluster.pool")
campaign = import_module("clusters")
slurm = import_module("nmsim.run.cluster.slurm")


@pytest.fixture
def machines(tmp_path):
    (tmp_path / "dask").mkdir()
    found = campaign.Machines(tmp_path / "dask")
    yield found
    found.end()


def test_workers_come_and_go_and_no_row_is_lost_until_the_scheduler_is_gone(tmp_path, machines):
    wanted = campaign.run(tmp_path / "here", campaign.Inline(), 1)
    first = [machines.join() for _ in range(2)]
    seen = []

    def disturb():
        seen.append(pool.workers())
        if len(seen) == 1:
            first[0].kill()
            machines.join()
            campaign.wait_for(pool, 2)
        if len(seen) == 2:  # from here on it is the one that joined alone
            first[1].kill()

    with cluster.connected(machines.address, []) as pool:
        campaign.wait_for(pool, 2)
        assert campaign.run(tmp_path / "there", pool, pool.workers, disturb) == wanted
        assert (len(seen) > 2, pool.workers()) == (True, 1)
        with pytest.raises(SpecError, match="the scheduler of the cluster is gone"):
            campaign.run(tmp_path / "again", pool, 1, machines.scheduler.kill)


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


def test_a_scheduler_that_goes_as_a_sweep_begins_is_said_to_be_gone():
    class Closed:
        def run(self, *_):
            raise cluster.distributed.comm.CommClosedError("Stream is closed")

        nthreads = run

    for asked in (partial(cluster._check_code, Closed()), cluster.ClusterPool(Closed()).workers):
        with pytest.raises(SpecError, match=r"scheduler of the cluster is gone \(CommClosedErr"):
            asked()


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
    with dask.config.set(said):
        job = SLURMJob("tcp://HOST:PORT", name="dummy-name", **slurm.asked())
        script = job.job_script()
    script = script.replace(sys.executable, "python")
    golden = Path(__file__).parent / "golden" / "slurm_job.sh"
    assert script == golden.read_text()


def test_slurm_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SpecError, match="sbatch is not found"), slurm.slurm(2, []):
        pass
