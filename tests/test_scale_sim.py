"""What docs/scale-sim.md says of nmsim next to SCALE-Sim 3, recomputed from both."""

from collections import defaultdict
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from scale_sim import (
    CALC_CAPACITY,
    HALF,
    Repair,
    addresses,
    calc_reads,
    extents,
    folds,
    kept,
    lines,
    published,
    user_mode,
)
from tiers import fast_first

import nmsim
from nmsim import machines
from nmsim.pattern import Pattern

PAGE = (Path(__file__).parents[1] / "docs" / "scale-sim.md").read_text()
DENSE = published("scale-sim")
SPARSE = published("scale-sim-sparse")
LIMITED = published("scale-sim-bandwidth")
UNLIMITED = 2.0**30  # KiB
DATAFLOWS = ("os", "ws", "is")


def simulated(table, fields=lambda row: {}, *, exchanged=False, **settings):
    """nmsim's rows for a table's: on ``scale-sim``, with a dict of fields for each row.

    ``exchanged`` runs C^T = B.A^T on the transposed array.
    """
    groups = defaultdict(list)
    for index, row in enumerate(table):
        array = (row["rows"], row["cols"])[:: -1 if exchanged else 1]
        groups[(*array, row["dataflow"], repr(fields(row)), row.get("pattern", ""))].append(index)
    results = [None] * len(table)
    for (rows, cols, dataflow, _, pattern), members in groups.items():
        machine = nmsim.load_hardware(
            "scale-sim", rows=rows, cols=cols, dataflow=dataflow, **fields(table[members[0]])
        )
        masks = {"recipe": "asp", "pattern": pattern} if pattern else {}
        gemms = [_gemm(table[index], index, exchanged=exchanged) for index in members]
        frame = nmsim.simulate(gemms, hardware=machine, compare=False, **masks, **settings)
        for row in frame.to_dict("records"):
            results[int(row["layer"])] = row
    return results


def _gemm(row, index, *, exchanged):
    m, n, behind = row["m"], row["n"], "a_elements"
    if exchanged:
        m, n, behind = n, m, "b_elements"
    return nmsim.Gemm(m, n, row["k"], layer=str(index), **{behind: pixels(row)})


def pixels(row):
    """Distinct elements of A in memory."""
    return _pixels(*(row[name] for name in ("m", "n", "k", "side", "window", "stride")))


@cache
def _pixels(*shape):
    a, _ = addresses(dict(zip(("m", "n", "k", "side", "window", "stride"), shape, strict=True)))
    return len(np.unique(a[a >= 0]))


def assert_utilization(row, run):
    """SCALE-Sim's three percentages from a stall-free row of nmsim."""
    utilization, cycles = 100 * run["utilization"], run["cycles"]
    dense = run["macs_dense"] / run["macs_issued"]
    slots = row.get("slots", row["k"])
    time, fold = extents(row, slots)[2], lines(row, slots)
    skew = 0 if row["dataflow"] == "os" else row["cols"] - 1
    assert row["mapping_efficiency"] == pytest.approx(utilization * fold / time, rel=1e-9)
    assert row["compute_util"] == pytest.approx(utilization * fold / (fold + skew), rel=1e-9)
    overall = utilization * dense * cycles / (cycles - 1)
    assert row["overall_util"] == pytest.approx(overall, rel=1e-9)


def parts(table):
    """A part of a table, that of every sort of row, for the fast tests; all of it for the slow."""
    return pytest.mark.parametrize("table", fast_first([table[::9], table], 1), ids=["part", "all"])


@parts(DENSE)
@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
def test_utilization_converts(fidelity, table):
    for row, run in zip(table, simulated(table, fidelity=fidelity), strict=True):
        assert (run["cycles"], run["stall_cycles"]) == (row["cycles"], 0), row
        assert_utilization(row, run)


def test_a_user_mode_total_is_what_the_array_takes_and_the_stalls():
    for row, run in zip(LIMITED, simulated(LIMITED), strict=True):
        assert run["cycles"] + row["stall_cycles"] == row["cycles"]
        macs = 100 * run["macs_dense"] / (row["cycles"] - 1) / row["rows"] / row["cols"]
        assert row["overall_util"] == pytest.approx(macs, rel=1e-9)
        stall_free = {**row, "overall_util": 100 * run["utilization"] * run["cycles"]}
        stall_free["overall_util"] /= run["cycles"] - 1
        assert_utilization(stall_free, run)


SELECTORS = {
    "flexible": lambda row: {},
    "native": lambda row: {"native": [row["pattern"]], "flexible_group": 0},
}


@parts(SPARSE)
@pytest.mark.parametrize("selectors", SELECTORS)
def test_layer_wise_sparsity_takes_the_same_cycles_and_macs(selectors, table):
    runs = simulated(table, SELECTORS[selectors])
    for row, run in zip(table, runs, strict=True):
        assert (run["cycles"], run["stall_cycles"]) == (row["cycles"], 0), row
        assert run["macs_issued"] == run["macs_useful"] == row["m"] * row["n"] * row["slots"]
        assert_utilization(row, run)


def test_slots_storage_and_metadata_of_layer_wise_sparsity():
    for row, run in zip(SPARSE, simulated(SPARSE), strict=True):
        pattern = Pattern.parse(row["pattern"])
        stored = row["n"] * pattern.stored(row["k"])
        assert stored == row["n"] * row["slots"]
        bits = (pattern.group - 1).bit_length()
        assert row["metadata"] == pytest.approx(stored * bits / 32)
        assert row["storage"] == pytest.approx(stored + stored * bits / 32)
        # nmsim: bytes, loaded once here; none for N = M, which is dense
        loads = -(-stored * bits // 8) if not pattern.is_dense else 0
        assert run["metadata_bytes"] == loads


def test_accesses_of_layer_wise_sparsity():
    ratios = []
    for row, run in zip(SPARSE, simulated(SPARSE), strict=True):
        pattern, flow = Pattern.parse(row["pattern"]), row["dataflow"]
        down, across = folds(row, row["slots"])
        a_passes = 1 if flow == "is" else across
        b_passes = {"ws": 1, "os": down, "is": across}[flow]
        a_reads = row["m"] * row["slots"] * a_passes
        if flow == "ws":  # as if every kept element of a group brought its own share of it
            a_reads *= pattern.group / pattern.keep
        assert row["a_sram_reads"] == pytest.approx(a_reads)
        assert row["b_sram_reads"] == row["n"] * row["slots"] * b_passes
        bits = row["b_sram_reads"] * (8 + pattern.metadata_bits)
        a_bytes = row["m"] * row["k"] * a_passes
        assert run["sram_read_bytes"] == a_bytes + -(-bits // 8)
        if flow == "ws":
            ratios.append(row["a_sram_reads"] / a_bytes)
        else:
            assert row["a_sram_reads"] / a_bytes == 0.5
    assert min(ratios) == 1
    assert f"1 to {max(ratios):.3f} times" in PAGE


def test_layer_wise_sparsity_loads_only_kept_columns_of_a():
    loads = a_loads(SPARSE, "explicit")
    fitting = [
        (row, ours)
        for row, ours in zip(SPARSE, loads, strict=True)
        if row["side"] == "" and row["m"] * row["k"] <= CALC_CAPACITY
    ]
    assert len(fitting) > 30
    for row, ours in fitting:
        assert (row["a_dram_reads"], ours) == (row["m"] * row["slots"], row["m"] * row["k"])


def test_the_page_counts_the_rows():
    assert f"figures of {len(DENSE)} dense layers" in PAGE
    assert f"`is`), {len(SPARSE)} with" in PAGE
    assert f"and {len(LIMITED)} in its USER mode" in PAGE
    assert {row["rows"] for row in DENSE} == {row["cols"] for row in DENSE} == {8, 16, 32, 128}
    assert f"holds {CALC_CAPACITY} (50 of\n100 parts of 655, of half a buffer of {HALF})" in PAGE


@cache
def _reads(table, index):
    row = {"dense": DENSE, "sparse": SPARSE}[table][index]
    a, b = addresses(row)
    if table == "sparse":
        a, b = a[:, kept(row)], b[:, kept(row)]
    return calc_reads(row, a, b)


@pytest.mark.slow
def test_dram_reads_are_those_of_a_set_that_is_emptied_when_full():
    seen = {}
    for index, row in enumerate(DENSE):
        names = ("m", "n", "k", "side", "window", "stride", "dataflow", "rows")
        shape = tuple(row[name] for name in names)
        reads = seen.setdefault(shape, _reads("dense", index) if shape not in seen else None)
        assert reads == (row["a_dram_reads"], row["b_dram_reads"]), row
    for index, row in enumerate(SPARSE):
        assert _reads("sparse", index) == (row["a_dram_reads"], row["b_dram_reads"]), row


def a_loads(table, im2col, *, exchanged=False):
    """DRAM reads of A alone in nmsim: B and the sums get buffers without bounds."""
    b = "a" if exchanged else "b"
    fields = {f"sram.{b}_kib": UNLIMITED, "sram.c_kib": UNLIMITED, "im2col": im2col}
    runs = simulated(table, lambda row: fields, exchanged=exchanged)
    return [
        run["dram_read_bytes"] - run["metadata_bytes"] - x["n"] * x.get("slots", x["k"])
        for x, run in zip(table, runs, strict=True)
    ]


def b_loads(table, *, exchanged=False):
    """DRAM reads of B alone in nmsim."""
    a = "b" if exchanged else "a"
    fields = {f"sram.{a}_kib": UNLIMITED, "sram.c_kib": UNLIMITED, "im2col": "implicit"}
    runs = simulated(table, lambda row: fields, exchanged=exchanged)
    return [run["dram_read_bytes"] - pixels(x) for x, run in zip(table, runs, strict=True)]


@cache
def dense_loads(exchanged):
    """A implicit, A explicit and B, of every dense row."""
    return (
        a_loads(DENSE, "implicit", exchanged=exchanged),
        a_loads(DENSE, "explicit", exchanged=exchanged),
        b_loads(DENSE, exchanged=exchanged),
    )


def test_operands_that_fit_half_a_buffer_are_read_once_by_both():
    implicit, _, b = dense_loads(exchanged=False)
    fit_a = [i for i, row in enumerate(DENSE) if pixels(row) <= CALC_CAPACITY]
    fit_b = [i for i, row in enumerate(DENSE) if row["n"] * row["k"] <= CALC_CAPACITY]
    assert f"{len(fit_a)} rows for A, {len(fit_b)} for B" in PAGE
    for i in fit_a:
        assert implicit[i] == DENSE[i]["a_dram_reads"] == pixels(DENSE[i])
    for i in fit_b:
        assert b[i] == DENSE[i]["b_dram_reads"] == DENSE[i]["n"] * DENSE[i]["k"]


def loads_in_scale_sims_order():
    """Like ``dense_loads``, with the operands of os exchanged: row tiles are its inner loop."""
    as_is, turned = dense_loads(exchanged=False), dense_loads(exchanged=True)
    return [
        [
            theirs if row["dataflow"] == "os" else ours
            for row, ours, theirs in zip(DENSE, x, y, strict=True)
        ]
        for x, y in zip(as_is, turned, strict=True)
    ]


def test_reads_of_a_lie_between_pixels_and_columns():
    implicit, explicit, _ = loads_in_scale_sims_order()
    for row, least, most in zip(DENSE, implicit, explicit, strict=True):
        assert least <= row["a_dram_reads"] <= most, row
        if row["side"] == "":
            assert least == row["a_dram_reads"] == most


def test_reads_of_b_are_equal_unless_the_set_is_emptied_within_a_tile():
    unequal = defaultdict(list)
    for row, b in zip(DENSE, loads_in_scale_sims_order()[2], strict=True):
        if b != row["b_dram_reads"]:
            assert b < row["b_dram_reads"]
            unequal[row["dataflow"]].append(b / row["b_dram_reads"])
            # half a buffer to nmsim, 18 elements more than its set holds
            assert row["dataflow"] == "os" or row["n"] * row["k"] == HALF
    assert set(unequal) == {"os", "is"}
    equal = len(DENSE) - sum(map(len, unequal.values()))
    assert f"equal in {equal} of {len(DENSE)} rows" in PAGE
    low, high = min(unequal["os"]), max(unequal["os"])
    assert f"{len(unequal['os'])} rows of `os`, where nmsim reads {low:.2f} to {high:.2f}" in PAGE
    assert f"{len(unequal['is'])} rows of `is`" in PAGE


def test_writes_of_c_follow_from_partial_sums():
    spilling = 0
    for row, run in zip(DENSE, simulated(DENSE), strict=True):
        down = 1 if row["dataflow"] == "os" else folds(row)[0]
        _, sc, time = extents(row)
        outputs = row["m"] * row["n"]
        assert 0 <= row["c_dram_writes"] - outputs * down < row["cols"]
        tiles = [min(row["cols"], sc - i) for i in range(0, sc, row["cols"])]
        spilled = sum(max(0, time * cols - HALF) for cols in tiles) * (down > 1)
        spilling += spilled > 0
        assert run["dram_write_bytes"] == outputs + (down - 1) * spilled
    assert f"{spilling} rows spill" in PAGE


def ratio(values):
    """Least, median and largest, as the page writes them."""
    return " / ".join(f"{x:.3g}" for x in (min(values), median(values), max(values)))


def dram_lines():
    """The page's table of DRAM traffic, nmsim over SCALE-Sim."""
    writes = [run["dram_write_bytes"] for run in simulated(DENSE)]
    for name, loads, flows in (
        ("", dense_loads(exchanged=False), DATAFLOWS),
        (", operands exchanged", dense_loads(exchanged=True), ("os",)),
    ):
        for flow in flows:
            members = [i for i, row in enumerate(DENSE) if row["dataflow"] == flow]
            cells = [
                ratio([ours[i] / DENSE[i][theirs] for i in members])
                for ours, theirs in (
                    (loads[0], "a_dram_reads"),
                    (loads[1], "a_dram_reads"),
                    (loads[2], "b_dram_reads"),
                    (writes, "c_dram_writes"),
                )
            ]
            yield f"| `{flow}`{name} | {' | '.join(cells)} |"


def test_the_table_of_dram_traffic():
    for line in dram_lines():
        assert line in PAGE


REPAIRS = (
    Repair(),
    Repair(times=1),
    Repair(times=1, as_asked=True),
    Repair(times=1, as_asked=True, sums_stay=True),
)


@cache
def _user_runs():
    return [user_mode(row, *REPAIRS) for row in LIMITED]


def user_runs(repairs):
    """USER mode with the first so many repairs, of every row."""
    return [runs[repairs] for runs in _user_runs()]


@pytest.mark.slow
def test_user_mode_is_reproduced():
    for row, run in zip(LIMITED, user_runs(0), strict=True):
        assert run == (row["stall_cycles"], row["a_dram_reads"], row["b_dram_reads"]), row


def limited_in_nmsim():
    """Its bandwidths added up on nmsim's one channel; a word is a byte, a cycle 1 ns."""
    return simulated(
        LIMITED,
        lambda row: {"dram.gbps": float(row["a_words"] + row["b_words"] + row["write_words"])},
    )


def stall_lines():
    """The page's table of stalls."""
    table = zip(
        LIMITED,
        user_runs(1),
        user_runs(2),
        user_runs(3),
        limited_in_nmsim(),
        strict=True,
    )
    for row, once, asked, kept_sums, ours in table:
        theirs = row["stall_cycles"]
        share = f"{ours['stall_cycles'] / theirs:.3f}" if theirs else ""
        cells = (
            f"`{row['dataflow']}`",
            f"{row['m']}×{row['n']}×{row['k']}",
            f"{row['a_words']} / {row['write_words']}",
            ours["compute_cycles"],
            theirs,
            once[0],
            asked[0],
            kept_sums[0],
            ours["stall_cycles"],
            share,
        )
        yield f"| {' | '.join(map(str, cells))} |"


@pytest.mark.slow
def test_the_table_of_stalls():
    table = list(stall_lines())
    for line in table:
        assert line in PAGE
    assert all(row["a_words"] == row["b_words"] for row in LIMITED)
    columns = list(zip(*(line.split(" | ")[4:9] for line in table), strict=True))
    sums = " | ".join(str(sum(map(int, column))) for column in columns)
    waiting = " | ".join(str(sum(x != "0" for x in column)) for column in columns)
    assert f"| all | | | | {sums} | |" in PAGE
    assert f"| rows that wait | | | | {waiting} | |" in PAGE


def first_load_and_last_store(row):
    """Cycles in which the array waits for what nothing hides, on a channel of so many words.

    Until the first row of what streams is there, and what is held, and for all of the first fold;
    and for those of the last results that the channel is too slow for while they leave the array.
    """
    channel = row["a_words"] + row["b_words"] + row["write_words"]
    sr, sc, time = extents(row)
    rows, cols = min(sr, row["rows"]), min(sc, row["cols"])
    last_rows, last_cols = (sr - 1) % row["rows"] + 1, (sc - 1) % row["cols"] + 1
    if row["dataflow"] == "os":
        first = max(rows + cols, (rows + cols) * time - channel * time)
        return (first + last_rows * last_cols) / channel
    held, r = rows * cols / channel, row["rows"]
    first = max(held / r + r, held + rows / channel) - r
    first = max(first, held + rows * time / channel - r - time)
    leaving = time + row["cols"] - 2  # from the first result of the last fold on
    return first + max(0, time * last_cols / channel - leaving)


@pytest.mark.slow
def test_where_repaired_stalls_are_gone_nmsim_waits_for_the_first_load_and_the_last_store():
    table = zip(LIMITED, user_runs(3), limited_in_nmsim(), strict=True)
    gone = [(row, ours) for row, (stalls, *_), ours in table if stalls == 0]
    assert f"In {len(gone)} of {len(LIMITED)} rows" in PAGE
    for row, ours in gone:
        rest = ours["stall_cycles"] - first_load_and_last_store(row)
        assert -1e-3 <= rest <= 1 + 1e-2, row


@pytest.mark.slow
def test_where_they_stay_a_port_or_the_channel_is_busy_throughout():
    ports, channels = [], []
    table = zip(LIMITED, user_runs(3), limited_in_nmsim(), strict=True)
    for row, (stalls, a_reads, _), ours in table:
        if stalls == 0:
            continue
        fetch = -(-HALF // row["a_words"])
        fetches = a_reads // (fetch * row["a_words"]) - 1
        ports.append((ours["compute_cycles"] - 1 + stalls) / (fetches * (fetch + 1)))
        channel = row["a_words"] + row["b_words"] + row["write_words"]
        moved = (ours["dram_read_bytes"] + ours["dram_write_bytes"]) / channel
        channels.append(ours["cycles"] / max(moved, ours["compute_cycles"]))
    assert f"{len(ports)} rows that still wait" in PAGE
    assert f"{min(ports):.3f} to {max(ports):.3f} times" in PAGE
    assert f"{min(channels):.3f} to {max(channels):.3f} times" in PAGE
