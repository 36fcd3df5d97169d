"""Does a command that reads a damaged file answer, or refuse in one line that names the file?

``python tests/campaigns/mutated_commands.py [--inputs N] [--seed S] [--kind GLOB]``. Files of every
kind that commands read (`file_kinds`), folders of results included, are damaged (`damage`): one
file at a time, by its bytes, its fields or as a whole. A command that reads it is run in a process
of at most 4 GiB, for `PATIENCE` seconds. Right is status 0, or 1 or 2 with one line on stderr that
names a file of the input; wrong is a traceback, a warning of a library, a hang, more memory, a
line without a name, or one of more than `LONGEST` characters. A line for each kind and one for all
give how many were answered and refused; what failed is kept and named.
"""

import argparse
import fnmatch
import json
import multiprocessing
import os
import random
import re
import resource
import shlex
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import Executor, Future
from pathlib import Path

from damage import damaged
from file_kinds import kinds
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from nmsim import cli
from nmsim.cli import sweeping

MEMORY = 4 << 30
PATIENCE = 20
LONGEST = 1000
AT_ONCE = 400
"""Inputs that a process takes before another takes over."""


class Here(Executor):
    """Runs a sweep's points in this process: to start another takes a second."""

    def __init__(self, workers):
        self.workers = workers

    def submit(self, function, /, *args, **given):
        """Run it now."""
        future = Future()
        try:
            future.set_result(function(*args, **given))
        except Exception as error:  # noqa: BLE001 - as a pool hands it on
            future.set_exception(error)
        return future


def documents(files):
    """What each file that is a document says; None of others."""
    found = {}
    for name, data in files.items():
        found[name] = None
        if name.endswith((".yaml", ".json")):
            try:
                found[name] = json.loads(json.dumps(YAML(typ="safe").load(data)))
            except (YAMLError, ValueError, TypeError):
                found[name] = None
    return found


def ran(command, folder, err):
    """The status of a command that is run in a folder, and what it told; or what it raised."""
    os.chdir(folder)
    err.seek(0)
    err.truncate()
    sys.argv = ["nmsim", *shlex.split(command)]
    try:
        cli.main()
    except SystemExit as end:
        status = end.code or 0
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is a finding
        at = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(at.filename).name}:{at.lineno}"
        return None, f"{type(error).__name__} at {where}: {error}"[:300]
    sys.stderr.flush()
    err.seek(0)
    return status, err.read()


def judged(status, told, names):
    """``answered`` or ``refused``, or what is wrong."""
    if status is None:
        return told
    if "Warning" in told or "Traceback" in told:
        return f"a library tells: {told[:300]}"
    if status == 0:
        return "answered"
    last = told.strip().splitlines()[-1:] or [""]
    if status not in (1, 2) or not last[0]:
        return f"status {status}: {told[:300]}"
    if len(last[0]) > LONGEST:
        return f"a line of {len(last[0])} characters: {last[0][:200]}"
    if "out of memory" in last[0]:
        return f"memory: {last[0]}"
    if not any(re.search(rf"\b{re.escape(name)}\b", told) for name in names):
        return f"names no file: {last[0][:300]}"
    return "refused"


def written(kind, folder):
    """The files of a kind, in a folder of their own."""
    for name, data in kind.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def attempt(kind, said, folder, draw, err):
    """Damage one file and run one command; what came of it."""
    written(kind, folder)
    name = draw.choice(sorted(kind.damaged))
    damaged(folder / name, json.loads(json.dumps(said[name])), draw)
    command = draw.choice(kind.commands)
    (folder / "command").write_text(command)
    status, told = ran(command, folder, err)
    names = [Path(one).name for one in kind.files]
    stems = [Path(one).stem for one in kind.damaged]  # what a machine, a recipe is called
    return f"{command} [{name}]", judged(status, told, ["nmsim: r", *names, *stems])


def work(found, folder, seed, numbers, results):
    """Try inputs in a process of bounded memory, and send what came of each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sweeping.LocalPool = Here
    out, err = (folder / "stdout").open("w+"), (folder / "stderr").open("w+")
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    names = sorted(found)
    said = {name: documents(found[name].files) for name in names}
    for number in numbers:
        draw = random.Random(f"{seed} {number}")
        name = names[number % len(names)]
        place = folder / str(number)
        place.mkdir()
        results.send((number, name, None, 0))
        start = time.process_time()
        what = attempt(found[name], said[name], place, draw, err)
        results.send((number, name, what, time.process_time() - start))
        if what[1] in ("answered", "refused"):
            shutil.rmtree(place)
        out.seek(0)
        out.truncate()


def _ended(process):
    process.kill()
    process.join()


def campaign(found, inputs, seed, folder):
    """Outcomes by kind, what failed by number, and CPU seconds by kind."""
    outcomes, failed, seconds, left = Counter(), {}, Counter(), list(inputs)
    context = multiprocessing.get_context("fork")
    while left:
        receive, send = context.Pipe(duplex=False)
        part = left[:AT_ONCE]
        process = context.Process(target=work, args=(found, folder, seed, part, send))
        process.start()
        send.close()
        at, why = None, "hung"
        try:
            while receive.poll(PATIENCE):
                number, name, what, took = receive.recv()
                at = (number, name)
                if what is None:
                    continue
                came = what[1] if what[1] in ("answered", "refused") else "failed"
                outcomes[name, came] += 1
                seconds[name] += took
                if came == "failed" or took > PATIENCE / 4:
                    failed[number] = f"{name}: {what[0]}: {what[1]} ({took:.1f} s)"
                    print(f"{folder}/{number} {failed[number]}", flush=True)
                left.remove(number)
                at = None
        except EOFError:
            why = "died"
        _ended(process)
        if at is not None:
            failed[at[0]] = f"{at[1]}: {(folder / str(at[0]) / 'command').read_text()}: {why}"
            print(f"{folder}/{at[0]} {failed[at[0]]}", flush=True)
            outcomes[at[1], "failed"] += 1
            left.remove(at[0])
        elif left and left[0] == part[0]:
            raise SystemExit("the process died between two inputs")
    return outcomes, failed, seconds


def undamaged(found, folder):
    """Commands that are refused although nothing is damaged: a campaign of them shows nothing."""
    wrong = []
    sweeping.LocalPool = Here
    with (folder / "err").open("w+") as err:
        kept = os.dup(2), os.dup(1)
        os.dup2(err.fileno(), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        for name, kind in found.items():
            for number, command in enumerate(dict.fromkeys(kind.commands)):
                place = folder / f"whole-{name}-{number}".replace(" ", "-").replace(":", "-")
                place.mkdir()
                written(kind, place)
                status, told = ran(command, place, err)
                if status != 0:
                    wrong.append(f"{name}: {command}: {status} {told}")
        os.dup2(kept[0], 2)
        os.dup2(kept[1], 1)
    return wrong


def main():
    """Run the campaign and print lines of figures, after what failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", default="*")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mutated-"))
    (folder / "made").mkdir()
    found = kinds(folder / "made")
    found = {name: kind for name, kind in found.items() if fnmatch.fnmatch(name, asked.kind)}
    for line in undamaged(found, folder):
        print(f"undamaged: {line}")
    inputs = range(asked.first, asked.first + asked.inputs)
    outcomes, failed, seconds = campaign(found, inputs, asked.seed, folder)
    total = Counter()
    for name in found:
        one = {what: outcomes[name, what] for what in ("answered", "refused", "failed")}
        total.update(one)
        many = max(1, sum(one.values()))
        told = ", ".join(f"{number} {what}" for what, number in one.items())
        print(f"{name}: {told}, {1000 * seconds[name] / many:.0f} ms")
    told = ", ".join(f"{number} {what}" for what, number in total.items())
    print(f"{asked.inputs} inputs of {len(found)} kinds, seed {asked.seed}: {told}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
