"""``nmsim timeline`` of arrays: folds one by one are those that the kernels add up."""

import json
import sys
from itertools import pairwise

import numpy as np
import pytest
from test_memory import plain
from test_monotone import cases
from test_timeline import nested

from nmsim import cli, machines
from nmsim.errors import CapacityError
from nmsim.gemm import Gemm
from nmsim.machines import load_hardware
from nmsim.machines.kind import kind_of
from nmsim.machines.systolic import cycle
from nmsim.machines.systolic.pipeline import events
from nmsim.machines.systolic.pipeline.memory import EXPOSED, TICKS, Timing
from nmsim.machines.systolic.placement import with_masks
from nmsim.machines.systolic.timeline import chrome_trace, program, spans_of
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import Pattern

ALL = 10**6


def told(machine, work, limit=ALL):
    """Spans by name of their thread, in cycles, and the facts."""
    events, facts = kind_of(machine).timeline(machine, work, limit)
    names = {
        (row["pid"], row["tid"]): row["args"]["name"]
        for row in events
        if row["name"] == "thread_name"
    }
    threads = {}
    for row in events:
        if row["ph"] == "X":
            start, long = row["args"]["cycle"], row["args"]["cycles"]
            threads.setdefault((row["pid"], names[row["pid"], row["tid"]]), []).append(
                (start, start + long)
            )
    return threads, dict(facts)


@pytest.mark.parametrize(
    ("drawn", "most", "least"), [(45, 120, 12), pytest.param(150, 2000, 80, marks=pytest.mark.slow)]
)
def test_folds_one_by_one_take_what_the_kernels_say(drawn, most, least):
    """Of drawn arrays, those whose GEMM takes at most so many folds."""
    ran = 0
    for _, work, machine, *_ in cases(range(drawn)):
        try:
            placement = cycle.choice(machine, work).best.placement
        except CapacityError:
            continue
        sums = cycle.count(machine, placement)[0]
        if sums.folds > most:
            continue
        folds = list(program(machine, placement, sums.cut))
        assert len(folds) == sums.folds
        timing = cycle.array_of(machine, placement).timing
        assert events.run([folds], timing)[0].finished == sums.total
        ran += 1
    assert ran > least


def irregular(rng, rows, k):
    """A mask of 4:8, uniform in each group, which breaks 2:4."""
    order = rng.permuted(np.tile(np.arange(8), (rows, k // 8, 1)), axis=2)
    return Mask.of((order < 4).reshape(rows, k), Pattern(4, 8))


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_folds_differ_where_bits_do(dataflow):
    """Masks that selectors do not cover, of either operand, in two copies."""
    rng = np.random.default_rng(1)
    machine = load_hardware("systolic-128x128-2to4", rows=4, cols=5, dataflow=dataflow)
    for side in "ab":
        m, n, k = 22, 13, 48
        rows = {"a": m, "b": n}[side]
        sparse, dense = irregular(rng, 2 * rows, k), Mask.dense(2 * (n if side == "a" else m), k)
        masks = (sparse, dense) if side == "a" else (dense, sparse)
        work = SparseGemm(Gemm(m, n, k, count=2), *masks)
        for way in with_masks(machine, work):
            sums = cycle.count(machine, way)[0]
            folds = list(program(machine, way, sums.cut))
            finished = events.run([folds], cycle.array_of(machine, way).timing)[0].finished
            assert (len(folds), finished) == (sums.folds, sums.total)


def test_folds_of_an_intersecting_array_stream_what_their_bits_say():
    rng = np.random.default_rng(2)
    machine = load_hardware("systolic-128x128-intersecting", rows=4, cols=5)
    masks = [irregular(rng, rows, 40) for rows in (2 * 9, 2 * 12)]
    work = SparseGemm(Gemm(9, 12, 40, count=2), *masks)
    _, facts = told(machine, work)
    placement = cycle.choice(machine, work).best.placement
    sums = cycle.count(machine, placement)[0]
    folds = list(program(machine, placement, sums.cut))
    timing = cycle.array_of(machine, placement).timing
    assert events.run([folds], timing)[0].finished == sums.total
    assert sum(one.ticks for one in folds) == sums.streamed
    assert len({one.ticks for one in folds}) > 2
    assert facts["machine"] == "systolic-128x128-intersecting"


def test_spans_of_a_gemm():
    machine = load_hardware("gemmini", **{"dram.gbps": 4})
    work = SparseGemm.dense(Gemm(100, 60, 70))
    threads, facts = told(machine, work)
    assert set(threads) == {(0, "loads"), (0, "stores"), (1, "folds"), (1, "pieces")}
    for own in threads.values():
        assert nested(own)
    channel = sorted(threads[0, "loads"] + threads[0, "stores"])
    assert all(before[1] <= after[0] for before, after in pairwise(channel))
    run = machines.simulate(machine, work)
    moved = run.dram_read_bytes + run.dram_write_bytes
    busy = sum(end - start for start, end in channel)
    assert busy == pytest.approx(moved * machine.clock_mhz / 4e3, rel=0.01)
    last = max(end for own in threads.values() for _, end in own)
    assert last <= run.cycles <= last + machine.rows + machine.fill_cycles + 1
    assert facts["spans"] == f"written {sum(map(len, threads.values())) - 20:,}"
    assert len(threads[1, "folds"]) == 5 * 4


def test_what_an_engine_does_ahead_of_its_pieces_is_no_matter_of_the_limit():
    """Nothing is loaded until two pieces before a fold; a program that ends there has no load."""
    timing = Timing(EXPOSED, held=False, shift=0, fill=0, latency=0)
    folds = [plain(1, 5 * TICKS)] * 6 + [plain(1, 5 * TICKS, y=TICKS, y_loads=True)] * 3
    whole = spans_of([iter(folds)], timing, ALL, [9])[0]
    assert [span.what for span in whole[4:7]] == ["load", "stream", "load"]
    for limit in range(1, len(whole)):
        assert spans_of([iter(folds)], timing, limit, [9])[0] == whole[:limit]


@pytest.mark.parametrize("limit", [1, 7, 40])
def test_a_limit_takes_the_first_spans_of_the_whole_run(limit):
    machine = load_hardware("gemmini", **{"dram.gbps": 4})
    placement = cycle.choice(machine, SparseGemm.dense(Gemm(300, 60, 70))).best.placement
    cut, timing = cycle.count(machine, placement)[0].cut, cycle.array_of(machine, placement).timing
    whole, first = (
        spans_of([program(machine, placement, cut)], timing, most, [1]) for most in (ALL, limit)
    )
    assert first[0] == whole[0][:limit]


def test_two_arrays_contend_for_one_channel():
    machine = load_hardware("gemmini", **{"dram.gbps": 1})
    placement = cycle.choice(machine, SparseGemm.dense(Gemm(64, 32, 64))).best.placement
    cut, timing = cycle.count(machine, placement)[0].cut, cycle.array_of(machine, placement).timing
    programs = [list(program(machine, placement, cut)) for _ in range(2)]
    found = spans_of([iter(one) for one in programs], timing, ALL, [1, 1])
    trace = chrome_trace(found, machine.clock_mhz)
    assert {row["args"]["name"] for row in trace if row["name"] == "process_name"} == {
        "DRAM channel",
        "array 0",
        "array 1",
    }
    moves = [row for row in trace if row["ph"] == "X" and row["pid"] == 0]
    ends = sorted((row["args"]["cycle"], row["args"]["cycles"]) for row in moves)
    assert all(a + long <= b + 1 / TICKS for (a, long), (b, _) in pairwise(ends))
    assert {row["args"]["array"] for row in moves} == {0, 1}
    few = spans_of([iter(one) for one in programs], timing, 9, [1, 1])
    assert sum(map(len, few)) == 9
    alone = spans_of([iter(programs[0])], timing, ALL, [1])[0]
    assert found[0][-1].end > 1.5 * alone[-1].end


def test_the_command_writes_it(monkeypatch, capsys, tmp_path):
    chosen = ("resnet18", "--layer", "layer3.1.conv2", "--phase", "forward", "--recipe", "asp")
    out = ("--limit", "50", "--out", str(tmp_path / "t.json"))
    arguments = (*chosen, "--hardware", "gemmini", *out)
    monkeypatch.setattr(sys, "argv", ["nmsim", "timeline", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code, capsys.readouterr().err
    document = json.loads((tmp_path / "t.json").read_text())
    spans = [row for row in document["traceEvents"] if row["ph"] == "X"]
    folds = [row for row in spans if row["cat"] == "fold"]
    assert len(spans) - len(folds) == 50
    assert document["otherData"]["runs"] in capsys.readouterr().out
