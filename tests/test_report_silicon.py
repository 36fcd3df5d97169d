"""The page on silicon: published figures with verdicts that can come out otherwise, and its own."""

import copy
import json
from pathlib import Path

import pytest

from reports.silicon_cost.claims import answer, judge
from reports.silicon_cost.figures import _of_pattern, _pes
from reports.silicon_cost.published import judge_published, measure_published

HERE = Path(__file__).parents[1] / "reports" / "silicon_cost"
FOUND = measure_published()
DIFFER = {"scale logarithmicly", "less than 5%", "half as large", "as large as one for 2:4"}


def met(figures):
    return {verdict.statement: verdict.reproduced for verdict in judge_published(figures)}


def test_what_is_met_and_what_is_not():
    for statement, reproduced in met(FOUND).items():
        assert reproduced != any(part in statement for part in DIFFER), statement


MUTATIONS = [
    ("3:1 for 2:4", ("fan_in",), [4, 8]),
    ("scale logarithmicly", ("mux_bits",), [2, 3, 4, 5]),
    ("1/8 of compressed", ("metadata_share",), 3 / 16),
    ("one multiplier grows", ("growth",), [1.05, 1.11, 1.23, 1.48]),  # multiplexers alone
    ("loses at 16:32", ("lone",), [0.53, 0.56, 0.62, 0.74]),
    ("that share a group do not", ("shared",), [0.59, 0.72, 0.93, 1.37]),
    ("is its queue", ("queue",), [1.2, 1.2, 1.2, 1.3, 1.3, 1.3]),
    ("200 : 6 : 2 : 1", ("eyeriss", "DRAM"), 1.0),
    ("A read of 64 bits", ("sram_64",), [1, 2, 10]),
    ("HBM2 is", ("hbm2",), 6.25),
    ("A bit of a register", ("register_um2",), 1.0),
    ("An int8 MAC", ("mac_um2",), 33.0),
    ("less than 5%", ("tensordash",), 0.04),
    ("half as large", ("sta",), 2.0),
    ("as large as one for 2:4", ("flexible",), 1.0),
]


@pytest.mark.parametrize(("statement", "path", "value"), MUTATIONS)
def test_every_verdict_flips_under_a_mutation(statement, path, value):
    changed = copy.deepcopy(FOUND)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    before, after = met(FOUND), met(changed)
    flipped = [one for one in before if before[one] != after[one]]
    assert len(flipped) == 1
    assert statement in flipped[0]


def test_every_verdict_has_a_mutation():
    assert len(MUTATIONS) == len(met(FOUND))


STORED = HERE / "results.json"


def test_the_committed_verdicts_follow_from_the_committed_figures():
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    found = json.loads(json.dumps(FOUND))
    for name, value in found.items():
        assert stored["published"][name] == pytest.approx(value, rel=1e-9)


# The page's own statements.


def figures():
    return json.loads(STORED.read_text(encoding="utf-8"))["figures"]


def differing(changed):
    return {v.statement for v in judge(changed) if not v.reproduced}


def test_the_committed_statements_and_answer_follow_from_the_committed_figures():
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    found = [(v.statement, v.computed, v.because) for v in judge(stored["figures"])]
    assert found == [(s["statement"], s["computed"], s["because"]) for s in stored["statements"]]
    assert answer(stored["figures"]) == stored["answer"]


@pytest.mark.parametrize(
    ("choose", "field", "factor", "statement"),
    [
        (("bf16, 45 nm", "4:8", "shared"), "at_equal_area", 0.1, "share a group gain more"),
        (("bf16, 45 nm", "16:32", "lone"), "at_equal_area", 50, "longer groups gain less"),
        (("int8, 45 nm", "2:4", "lone"), "at_equal_area", 50, "best structure is the same"),
        (("bf16, 45 nm", None, None), "at_equal_power", 5, "gains less than twice"),
    ],
)
def test_every_statement_can_come_out_otherwise(choose, field, factor, statement):
    changed = figures()
    before = differing(changed)
    for runs in changed["steps"].values():
        for run in runs:
            own = (run["variant"], run["pattern"], run["structure"])
            if all(want in (None, have) for want, have in zip(choose, own, strict=True)):
                run[field] *= factor
    (flipped,) = [one for one in before ^ differing(changed) if statement in one]
    assert statement in flipped


def test_what_runs_is_what_is_stored():
    """One of the figures of each kind, computed again."""
    stored = figures()
    assert _of_pattern("2:4") == pytest.approx(stored["patterns"]["2:4"])
    assert json.loads(json.dumps(_pes())) == stored["pes"]
