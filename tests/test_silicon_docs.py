"""The figures of docs/silicon.md: what computes them, and that the page says what comes of it."""

import json
import re
from pathlib import Path

import pytest

from nmsim.cost.pe.built import bill_of
from nmsim.cost.pe.delay import delay_of
from nmsim.cost.pe.mac import MULTIPLIERS, mac_of
from nmsim.cost.synthesis import VERSION
from nmsim.cost.synthesis.cases import CASES
from nmsim.cost.synthesis.flow import transistors
from nmsim.cost.synthesis.table import dense_of, rows
from nmsim.machines.gpu.energy import system_energies

ROOT = Path(__file__).parents[1]
PAGE = " ".join((ROOT / "docs" / "silicon.md").read_text(encoding="utf-8").split())
FOUND = {(row.case, row.flow, row.multiplier): row for row in rows()}
REPORT = json.loads((ROOT / "reports/silicon_cost/results.json").read_text(encoding="utf-8"))


def said(pattern):
    """The numbers that the page has where a pattern matches, once."""
    (match,) = re.finditer(pattern, PAGE)
    return [float(one.replace(",", "")) for one in match.groups()]


def beside(pe):
    return transistors(bill_of(pe).cells(without=["mac"]))


def off():
    """Per cent by which PEs miss synthesis: whole, what is added, as billed, and their paths."""
    found = {name: {True: [0.0], False: [0.0]} for name in ("whole", "added", "bill", "path")}
    for case, pe in CASES.items():
        dense, delay = dense_of(case), delay_of(pe)
        added = beside(pe) - beside(CASES[dense])
        for multiplier in MULTIPLIERS:
            made, base = (FOUND[one, "flat", multiplier] for one in (case, dense))
            path = base.levels + delay.levels - delay.dense_levels
            share = {
                "whole": (base.transistors + added) / made.transistors,
                "bill": transistors(bill_of(pe, multiplier).cells()) / made.transistors,
                "path": path / made.levels,
            }
            if made.transistors > 1.15 * base.transistors:
                share["added"] = added / (made.transistors - base.transistors)
            for name, value in share.items():
                found[name][pe.intersects].append(100 * abs(value - 1))
    return {name: {kind: max(every) for kind, every in own.items()} for name, own in found.items()}


OFF = off()
WITHIN = [
    (r"multipliers, one operand \| within ([\d.]+) %", [OFF["whole"][False]]),
    (r"15 % of the dense PE \| within ([\d.]+) %", [OFF["added"][False]]),
    (
        r"PEs that intersect \| within ([\d.]+) %, what is added within ([\d.]+) %",
        [OFF["whole"][True], OFF["added"][True]],
    ),
    (r"that of its flow \| within ([\d.]+) %", [max(OFF["bill"].values())]),
    (
        r"one operand, intersecting \| within ([\d.]+) %, ([\d.]+) %",
        [OFF["path"][False], OFF["path"][True]],
    ),
]


@pytest.mark.parametrize(("pattern", "found"), WITHIN)
def test_bounds_are_those_that_were_found(pattern, found):
    """Not less than what comes of it, and no more than half a per cent above."""
    for bound, value in zip(said(pattern), found, strict=True):
        assert value <= bound <= value + 0.5


def test_counts_and_lanes_are_those_of_the_tables():
    assert re.findall(r"(\d+) structures", PAGE) == [str(len(CASES))] * 3
    assert VERSION in PAGE
    kept = transistors(FOUND["ws-int8", "kept", "default"].mac)
    assert said(r"int8 MAC has ([\d,]+) to ([\d,]+)") == [transistors(mac_of(8, 32).cells), kept]
    lanes = []
    for multiplier in MULTIPLIERS:
        one, eight = (transistors(mac_of(8, 32, n, multiplier=multiplier).cells) for n in (1, 8))
        lanes.append(round(100 * (eight / one - 1) / 7))
    assert said(r"takes (\d+) % of a MAC more .* multiplier and (\d+) % with") == lanes


def at(network, pattern, structure, variant="bf16, 45 nm"):
    (run,) = [
        one
        for one in REPORT["figures"]["steps"][network]
        if (one["variant"], one["pattern"], one["structure"]) == (variant, pattern, structure)
    ]
    return run


_N = r"(\d+\.\d+)"
_SIX = f"{_N} at 2:4, {_N} at 4:8, {_N} at 8:16; BERT-large {_N}, {_N} and {_N}"


@pytest.mark.parametrize(
    ("structure", "words"),
    [
        ("shared", "N multipliers that share a group: ResNet-50 gains "),
        ("lone", "A group for each multiplier: ResNet-50 gains "),
    ],
)
def test_gains_are_those_of_the_report(structure, words):
    runs = [
        at(network, one, structure)
        for network in ("resnet50", "bert-large")
        for one in ("2:4", "4:8", "8:16")
    ]
    assert said(words + _SIX) == [round(run["at_equal_area"], 2) for run in runs]


def test_other_figures_of_the_report_are_on_the_page():
    runs = [
        at(network, pattern, structure)
        for network in ("resnet50", "bert-large")
        for pattern in ("2:4", "4:8", "8:16")
        for structure in ("lone", "shared")
    ]
    ends = [
        round(end(run[name] for run in runs), 2)
        for name in ("at_equal_bandwidth", "per_area_at_equal_bandwidth")
        for end in (min, max)
    ]
    assert said(r"gain ([\d.]+) to ([\d.]+), and ([\d.]+) to ([\d.]+) for each") == ends
    own = REPORT["figures"]["intersecting"]
    area, density = said(r"masks is ([\d.]+) times a dense one .* keep (\d+) % or less")
    assert (area, density) == (round(own["area"], 1), round(100 * own["crosses_dense"]))
    others = [
        round(at(network, "4:8", "shared", variant)["at_equal_area"], 2)
        for variant in ("int8, 45 nm, other multiplier", "int8, 45 nm")
        for network in ("resnet50", "bert-large")
    ]
    numbers = r"gain ([\d.]+) and ([\d.]+) at int8 .* gain ([\d.]+) and ([\d.]+) with Booth"
    assert said(numbers) == others


def test_figures_of_gpus_are_those_of_the_table():
    own = system_energies()
    numbers = r"([\d.]+) pJ a bit of HBM, .* ([\d.]+) of L1 .* (\d+) W at rest"
    assert said(numbers) == [own.dram_pj_bit, own.l1_pj_bit, own.idle_w]
    assert said(r"the band is (\d+) %") == [pytest.approx(100 * own.band)]
