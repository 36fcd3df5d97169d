"""Does a sweep that is killed at any moment lose or change a row, or leave anybody behind?

``python tests/campaigns/kills.py [--moments 30] [--seed 0] [--victims worker,sweep,scheduler]``;
about a minute a moment on two cores. A sweep runs undisturbed; then, once for each moment, another
one is started in a folder of its own; it, one of its workers, or the scheduler of the Dask cluster
that it runs on (extra ``cluster``) is killed (SIGKILL) at a random moment, and it is started again
until it is done. Its store must be the undisturbed one's, row for row; two seconds after the sweep
is killed, or has ended as its scheduler is gone, no process of it may be left, nor any that has a
file of the folder open.
"""

import argparse
import contextlib
import importlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from environment import report

from nmsim.run.store import Stored

EXPERIMENT = """
title: killed
model: resnet18
hardware: systolic-128x128-2to4
recipe: transposable
layers: "layer1*"
vary:
  pattern: [2:4, 1:4]
  rows: [64, 128]
  batch: [1, 2, 4]
  fidelity: [cycle, analytical]
  seed: 0..2
derive: {cols: rows}
"""

PATIENCE = 900.0
"""Seconds that a sweep may take."""

GONE = 2.0
"""Seconds after which nobody of a killed sweep may be left."""


def children_of(pid):
    """Processes that a process has started, and those that these have."""
    found = set()
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, path.read_text().split()):
                found |= {child, *children_of(child)}
    return found


def alive(pids):
    """Which of some processes run; one that nobody has buried yet does not."""
    return {pid for pid in pids if _state(pid) not in ("", "Z", "X")}


def _state(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def holders(folder):
    """Processes other than this one that have a file of a folder open."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if path.readlink().is_relative_to(folder):
                found.add(int(path.parts[2]))
    return found - {os.getpid()}


def wait_until_gone(pids, folder, seconds=GONE):
    """Whoever is left after so many seconds."""
    end = time.monotonic() + seconds
    while (left := alive(pids) | holders(folder)) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def stored(folder):
    """The views of a store, but for the time that points took."""
    found = {}
    with Stored.opened(folder) as store:
        for view in ("points", "rows"):
            columns = [name for name in store.columns(view) if name != "seconds"]
            found[view] = [row for batch in store.batches(view, columns) for row in batch]
    return found


def start(plan, folder, *options):
    """A sweep, on two processes unless options say otherwise."""
    options = options or ("--workers", "2")
    command = [sys.executable, "-m", "nmsim", "sweep", plan, "--out", folder, *options]
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    """What is wrong with how a sweep ended; empty if nothing is."""
    try:
        _, error = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return "it hung"
    return "" if process.returncode == 0 else error.strip().splitlines()[-1][:200]


def workers_of(pid):
    """Processes that run a sweep's points."""
    return sorted(one for one in children_of(pid) if "spawn_main" in _command(one))


def disturbed(plan, folder, draw, victim, long):
    """Kill a sweep or one of its workers at a random moment, start it again until it is done."""
    wrong, killed, process = [], "nobody", start(plan, folder)
    time.sleep(draw.uniform(0.0, 0.9 * long))
    while victim == "worker" and process.poll() is None and not workers_of(process.pid):
        time.sleep(0.05)
    others = children_of(process.pid)
    if process.poll() is None:
        killed = victim
        pids = [process.pid] if victim == "sweep" else workers_of(process.pid)
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(draw.choice(pids), signal.SIGKILL)
    if killed == "sweep":
        process.communicate(timeout=60)
        left = wait_until_gone(others, folder)
        wrong += [f"{len(left)} processes left: {sorted(map(_command, left))}"] if left else []
    elif why := finish(process):
        wrong.append(f"killed a {killed}: {why}")
    return killed, [*wrong, *until_done(plan, folder)]


def until_done(plan, folder):
    """Start a sweep until it is done; what is wrong if it is not."""
    for _ in range(5):
        if not (why := finish(start(plan, folder))):
            return []
    return [f"it does not end well: {why}"]


def without_scheduler(plan, folder, draw, long):
    """Kill the scheduler that a sweep runs on at a random moment; go on without a cluster."""
    aside = folder.with_name(f"{folder.name}-cluster")
    aside.mkdir()
    machines = importlib.import_module("clusters").Machines(aside)
    try:
        for _ in range(2):
            machines.join()
        process = start(plan, folder, "--scheduler", machines.address)
        time.sleep(draw.uniform(0.0, 0.9 * long))
        killed = "scheduler" if process.poll() is None else "nobody"
        others = children_of(process.pid)
        machines.scheduler.kill()
        why = finish(process)
    finally:
        machines.end()
    left = wait_until_gone(others, folder)
    wrong = [f"{len(left)} processes left: {sorted(map(_command, left))}"] if left else []
    if why and not re.search("scheduler of (the cluster is gone|Dask answers)", why):
        wrong.append(f"killed its scheduler: {why}")
    return killed, [*wrong, *until_done(plan, folder)]


def _command(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:120]
    return ""


def main():
    """Run the campaign and print one line, after what failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--victims", default="worker,sweep,scheduler")
    asked = parser.parse_args()
    of = asked.victims.split(",")
    draw, wrong, victims = random.Random(asked.seed), [], []
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        plan = folder / "experiment.yaml"
        plan.write_text(EXPERIMENT)
        for warm in ("warm", "undisturbed"):
            began = time.monotonic()
            if why := finish(start(plan, folder / warm)):
                raise SystemExit(why)
            long = time.monotonic() - began
        wanted = stored(folder / "undisturbed")
        for moment in range(asked.moments):
            victim, there = of[moment % len(of)], folder / str(moment)
            if victim == "scheduler":
                killed, found = without_scheduler(plan, there, draw, long)
            else:
                killed, found = disturbed(plan, there, draw, victim, long)
            victims.append(killed)
            if stored(folder / str(moment)) != wanted:
                found.append("its store is another one")
            wrong += [f"moment {moment}: {one}" for one in found]
    told = ", ".join(f"{victims.count(one)} {one}" for one in dict.fromkeys(victims))
    points, rows = len(wanted["points"]), len(wanted["rows"])
    report(f"{asked.moments} moments of {points} points, {rows} rows: killed {told}", wrong)


if __name__ == "__main__":
    main()
