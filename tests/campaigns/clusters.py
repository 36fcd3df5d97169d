"""What does a cluster cost beside a pool, and does it lose anything when workers are killed?

``python tests/campaigns/clusters.py [--chunks 40] [--rounds 3] [--moments 3]``; about two
minutes on two cores. Calls that sleep for a second, as a chunk takes, run on two processes and on
two workers of Dask: the cluster may take 5 % longer. Then a scheduler and three workers, processes
of their own, run points while at random moments one worker is killed and another joins: the rows
must be those of one process.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Executor, Future
from pathlib import Path

from environment import report

from nmsim.run.cluster.pool import connected, local
from nmsim.run.experiment import Experiment, planned
from nmsim.run.store import Store
from nmsim.run.sweep import sweep
from nmsim.run.workers import LocalPool
from nmsim.spec import validate

MOST = 0.05
"""Of the time of a pool, that a cluster may take more."""


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


class Inline(Executor):
    """Runs what it is given at once."""

    def submit(self, function, /, *args, **kwargs):
        future = Future()
        future.set_result(function(*args, **kwargs))
        return future


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


def wait_for(pool, workers):
    end = time.monotonic() + 60
    while pool.workers() != workers:
        assert time.monotonic() < end
        time.sleep(0.02)


def seconds(pool, chunks):
    """Time of some chunks of a second on two workers, once these have loaded what they need."""
    for future in [pool.submit(time.sleep, 0.1) for _ in range(4)]:
        future.result(120)
    began = time.monotonic()
    for future in [pool.submit(time.sleep, 1.0) for _ in range(chunks)]:
        future.result(600)
    return time.monotonic() - began


def disturbed(folder, wanted, moments, draw):
    """Run points on machines that come and go; what is wrong with their rows."""
    machines = Machines(folder)
    workers = [machines.join() for _ in range(3)]
    left = sorted(draw.sample(range(1, 12), moments))

    def disturb():
        chunks.append(1)
        if len(chunks) in left:
            workers.pop(draw.randrange(len(workers))).kill()
            workers.append(machines.join())

    chunks = []
    try:
        with connected(machines.address, []) as pool:
            wait_for(pool, 3)
            rows = run(folder / "there", pool, pool.workers, disturb)
    finally:
        machines.end()
    return [] if rows == wanted else ["rows of a cluster are others"]


def main():
    """Run the campaign and print one line, after what failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--moments", type=int, default=3)
    asked = parser.parse_args()
    with LocalPool(2) as pool:
        here = seconds(pool, asked.chunks)
    with local(2, []) as pool:
        there = seconds(pool, asked.chunks)
    more = there / here - 1
    wrong = [f"a cluster takes {more:.1%} longer, expected {MOST:.0%} at most"] * (more > MOST)
    draw = random.Random(0)
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory(prefix="clusters-") as name:
            wanted = run(Path(name) / "here", Inline(), 1)
            wrong += disturbed(Path(name), wanted, asked.moments, draw)
    told = f"{asked.chunks} chunks of a second on a cluster: {more:+.1%}"
    report(f"{told}; {asked.rounds * asked.moments} workers killed, as many joined", tuple(wrong))


if __name__ == "__main__":
    main()
