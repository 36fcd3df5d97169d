"""What PEs are built of: counts against synthesis, structures against each other, technologies."""

import dataclasses
import itertools
import json
import math

import pytest

from nmsim.cost import Multiplexer
from nmsim.cost.chip import Chip, bill_of_chip
from nmsim.cost.energy import prices_of
from nmsim.cost.pe.built import bill_of
from nmsim.cost.pe.delay import delay_of
from nmsim.cost.pe.mac import mac_of
from nmsim.cost.pe.structure import PeStructure
from nmsim.cost.price import cost_of, per_dense_mac
from nmsim.cost.synthesis import VERSION
from nmsim.cost.synthesis.cases import CASES
from nmsim.cost.synthesis.flow import transistors
from nmsim.cost.synthesis.table import MULTIPLIERS, dense_of, rows
from nmsim.cost.technology import load_technology
from nmsim.errors import SpecError
from nmsim.machines import HARDWARE, chip_of, load_hardware
from nmsim.machines.systolic.pe.selectors import selectors_of

FOUND = {(row.case, row.flow, row.multiplier): row for row in rows()}


def beside(pe):
    """Cells beside the MAC, as they are counted."""
    return bill_of(pe).cells(without=["mac"])


# Against synthesis.


@pytest.mark.parametrize("case", list(CASES))
def test_what_stands_beside_the_mac_is_exact(case):
    """Under kept hierarchy: every flip-flop, multiplexer and gate."""
    assert dict(FOUND[case, "kept", "default"].cells) == beside(CASES[case])


@pytest.mark.parametrize("multiplier", MULTIPLIERS)
@pytest.mark.parametrize("case", list(CASES))
def test_a_whole_pe_is_the_dense_one_of_its_flow_and_what_is_added(case, multiplier):
    """Flattened: the PE within 6%, what is added within 20% where it is more than 15%."""
    pe, dense = CASES[case], CASES[dense_of(case)]
    made = FOUND[case, "flat", multiplier].transistors
    base = FOUND[dense_of(case), "flat", multiplier].transistors
    added = transistors(beside(pe)) - transistors(beside(dense))
    assert (base + added) / made == pytest.approx(1, abs=0.10 if pe.intersects else 0.06)
    if made > 1.15 * base:
        assert added / (made - base) == pytest.approx(1, abs=0.20)


@pytest.mark.parametrize("multiplier", MULTIPLIERS)
@pytest.mark.parametrize("case", list(CASES))
def test_a_whole_pe_is_billed_as_its_flow_makes_it(case, multiplier):
    """MAC and all, within 7%: lanes share an adder, and as many whole MACs are 20% to 33% more."""
    bill = transistors(bill_of(CASES[case], multiplier).cells())
    assert bill / FOUND[case, "flat", multiplier].transistors == pytest.approx(1, abs=0.07)


@pytest.mark.parametrize("bits", [8, 16])
def test_lanes_of_integers_share_what_carries(bits):
    one, *several = (
        transistors(mac_of(bits, 32, n, multiplier="default").cells) for n in (1, 4, 8)
    )
    for lanes, made in zip((4, 8), several, strict=True):
        assert 0.6 < (made - one) / (lanes - 1) / one < 0.98
    assert transistors(mac_of(6, 32, 3).cells) < 3 * transistors(mac_of(6, 32).cells)
    assert "estimate" in mac_of(bits, 32, 5).basis
    between = [mac_of(bits, 32, n).size for n in range(1, 33)]
    assert between == sorted(between)


@pytest.mark.parametrize("case", list(CASES))
def test_the_longest_path_is_that_of_synthesis(case):
    """Levels that are added are exact as written (`raw`); restructured, the path is within 10%.

    A PE that only multiplies what others chose has a path as long as a dense one's.
    """
    delay, dense = delay_of(CASES[case]), dense_of(case)
    added = delay.levels - delay.dense_levels
    assert added == FOUND[case, "raw", "default"].levels - FOUND[dense, "raw", "default"].levels
    for multiplier in MULTIPLIERS:
        made, base = (FOUND[one, "flat", multiplier].levels for one in (case, dense))
        assert (base + added) / made == pytest.approx(1, abs=0.10)
    assert delay.levels / FOUND[case, "flat", "booth"].levels == pytest.approx(1, abs=0.12)


def test_floating_point_lanes_add_up_in_a_tree():
    """log2(lanes) adders behind each other, and that of the sum so far: no chain of all of them."""
    levels = [mac_of(16, 32, lanes, floating=True).levels for lanes in (1, 2, 4, 8)]
    steps = [after - before for before, after in itertools.pairwise(levels)]
    assert max(steps) < 1.25 * min(steps)
    assert levels[3] < 4 * levels[0]


def test_multiplexers_alone_miss_what_is_added_by_half():
    """The check above can fail: registers are most of it."""
    missed = []
    for case, pe in CASES.items():
        made = FOUND[case, "flat", "booth"].transistors
        base = FOUND[dense_of(case), "flat", "booth"].transistors
        if made > 1.15 * base:
            alone = 12 * pe.multiplexers * pe.multiplexer.two_input
            missed.append(alone / (made - base))
    assert len(missed) > 10
    assert sorted(missed)[len(missed) // 2] < 0.6


@pytest.mark.parametrize(("keep", "group", "added"), [(2, 4, 728), (1, 4, 728), (4, 8, 1652)])
def test_what_is_added_is_that_of_another_synthesis(keep, group, added):
    """Transistors over the dense PE of other Verilog, yosys 0.70, `synth -noabc`: 8,608 dense,
    9,336 at 2:4 and 1:4, 10,260 at 4:8; with Booth's multiplier the same more than 5,482."""
    pe = PeStructure.selecting(keep, group)
    assert transistors(beside(pe)) - transistors(beside(PeStructure())) == added


def test_rows_say_what_made_them():
    assert {(row.flow, row.multiplier) for row in rows()} == {
        ("kept", "default"), ("raw", "default"), ("flat", "default"), ("flat", "booth"),
    }  # fmt: skip
    for row in rows():
        assert row.version == VERSION
        assert "dfflegalize -cell $_DFF_P_ 01" in row.script
        assert ("-booth" in row.script) == (row.multiplier == "booth")
        assert row.transistors == transistors(row.cells) + transistors(row.mac)
        assert row.levels > 20


def test_the_same_mac_differs_by_flow_more_than_a_selector_adds():
    """Which is why a count is compared with the dense PE of the same flow."""
    flat = [FOUND["ws-int8", "flat", multiplier].transistors for multiplier in MULTIPLIERS]
    assert max(flat) > 1.5 * min(flat)
    assert max(flat) - min(flat) > FOUND["ws-int8-4:8", "flat", "booth"].transistors - min(flat)


# Structures against each other.


@pytest.mark.parametrize("inputs", range(1, 40))
def test_an_indexed_multiplexer_is_no_smaller_than_a_tree(inputs):
    mux = Multiplexer(inputs, 8)
    power = inputs & (inputs - 1) == 0
    assert (mux.indexed == mux.two_input) == power
    assert mux.indexed < 1.5 * mux.two_input + 1
    assert Multiplexer(3, 8).indexed * 12 == 288


def test_depth_is_logarithmic_and_count_linear_in_the_fan_in():
    """Hubara et al., A.5: "the area required for the multiplexers scale logarithmicly with the
    number of zeros in the block (N)". It is the depth that does."""
    groups = [4, 8, 16, 32, 64]
    made = [PeStructure.selecting(1, group) for group in groups]
    levels = [delay_of(pe).levels - delay_of(PeStructure()).levels for pe in made]
    assert levels == [math.log2(group) for group in groups]
    counts = [bill_of(pe).count("multiplexer") for pe in made]
    assert counts == [8 * (group - 1) for group in groups]


def test_at_equal_density_a_lone_multiplier_pays_for_its_group():
    """The sparse array loses to the dense one at 16:32, and does not where N share a group."""
    table = load_technology()
    lone, shared = (
        [
            per_dense_mac(Chip(pe, 1, 1, density=0.5), table)
            for pe in (
                PeStructure.selecting(n, 2 * n, **({"macs": n, "macs_per_group": n} if s else {}))
                for n in (1, 2, 4, 8, 16)
            )
        ]
        for s in (False, True)
    )
    assert lone == sorted(lone)
    assert lone[1] < 0.7 < lone[3] < 1 < lone[4]
    assert max(shared) < 0.75
    assert shared[2] < shared[1] * 1.15


@pytest.mark.parametrize("group", [4, 8])
def test_of_a_pe_that_intersects_the_queue_is_the_machine(group):
    table = load_technology()
    dense = table.ge(bill_of(PeStructure(dataflow="os")).cells())
    times = [
        table.ge(bill_of(PeStructure.intersecting(group, depth)).cells()) / dense
        for depth in (1, 4, 8)
    ]
    # Of another synthesis, mapped to cells of 45 nm, whose MAC is larger than ours.
    published = {4: (2.0, 3.7, 5.9), 8: (2.9, 6.3, 11)}[group]
    assert times == pytest.approx(published, rel=0.2)
    assert (times[2] - times[1]) / (times[1] - times[0]) == pytest.approx(4 / 3, rel=0.05)
    steps = bill_of(PeStructure.intersecting(group, 8))
    assert steps.count("queue") > 0.8 * sum(one.count for one in steps.components)


def test_a_fixed_mask_and_chosen_values_add_nothing():
    for selection in ({"selection": "fixed"}, {"passes": "selected"}):
        assert beside(PeStructure.selecting(4, 8, **selection)) == beside(PeStructure())


def test_ordered_selection_saves_little_of_a_pe():
    table = load_technology()
    for keep, group in ((2, 4), (4, 8), (8, 16)):
        any_, ordered = (
            table.ge(bill_of(PeStructure.selecting(keep, group, selection=s)).cells())
            for s in ("any", "ordered")
        )
        assert 0.90 < ordered / any_ < 1


def test_both_masks_take_a_multiplexer_each():
    one = PeStructure.selecting(2, 4)
    both = PeStructure.selecting(2, 4, follows="ab")
    assert (one.multiplexers, both.multiplexers) == (1, 2)
    assert both.registers.held == 4
    assert both.held_metadata_bits == 2
    assert both.registers.metadata_bits == 4


def test_multiplexers_stand_at_the_edge_where_values_are_chosen_there():
    machine = load_hardware("systolic-128x128-2to4", pe={"passes": "selected"}, sparse_operand="b")
    chip = chip_of(machine)
    assert chip.pe.multiplexers == 0
    (edge,) = [one for one in bill_of_chip(chip).components if "edge" in one.name]
    assert edge.count == 128 * 16 * 3
    assert selectors_of(machine).two_input == edge.count
    assert chip.delay.levels == chip.delay.dense_levels + 2
    found = cost_of(chip, load_technology())
    pes = found.growth * chip.density
    assert 1 < found.array_per_dense_mac / pes < 1.01
    per_pe = load_hardware("systolic-128x128-2to4", pe={"selection": "any"}, sparse_operand="b")
    both = [prices_of(chip_of(one), load_technology()).select.value for one in (machine, per_pe)]
    assert both[0] == pytest.approx(both[1] / 128)


@pytest.mark.parametrize("name", [n for n in HARDWARE if load_hardware(n).kind == "systolic"])
def test_selectors_of_rows_are_those_of_the_bill(name):
    """One owner of the count: `either` takes a multiplexer for each operand."""
    machine = load_hardware(name)
    chip = chip_of(machine)
    components = bill_of_chip(chip).components
    billed = sum(one.count for one in components if one.name.startswith("selection"))
    assert selectors_of(machine).two_input == billed
    if machine.sparse_operand == "either" and machine.group > 1:
        one_sided = load_hardware(name, sparse_operand="b")
        assert selectors_of(machine).two_input == 2 * selectors_of(one_sided).two_input


@pytest.mark.parametrize(("pattern", "bits"), [("2:4", 2), ("3:4", 1), ("6:8", 2), ("4:8", 3)])
def test_an_ordered_index_names_an_input(pattern, bits):
    machine = load_hardware(
        "systolic-128x128-2to4", native=(pattern,), sparse_operand="b", pe={"selection": "ordered"}
    )
    pe = chip_of(machine).pe
    assert pe.index_bits == bits == pe.multiplexer.select_bits
    keep, group = map(int, pattern.split(":"))
    own = {"operand_bits": 16, "floating": pe.floating, "selection": "ordered"}
    assert pe == dataclasses.replace(PeStructure.selecting(keep, group, **own), depth=None)


# Machines and their cost.


@pytest.mark.parametrize("name", [n for n in HARDWARE if load_hardware(n).kind == "systolic"])
def test_every_array_has_a_cost_whose_parts_add_up(name):
    machine = load_hardware(name)
    found = cost_of(chip_of(machine), load_technology())
    document = json.loads(json.dumps(found.document()))
    for part in ("pe", "array"):
        own = document[part]
        for area in ("area_ge", "area_um2"):
            assert own[area] == pytest.approx(sum(one[area] for one in own["components"]))
        assert all(one["source"] and one["unit"] for one in own["components"])
    assert document["array"]["area_ge"] > found.chip.pes * document["pe"]["area_ge"]
    assert document["band"]["low"] <= document["band"]["value"] <= document["band"]["high"]
    dense = found.chip.pe.group == 1
    for part in ("pe", "array") if dense else ():
        assert document[part]["per_dense_mac"] == pytest.approx(1)
    assert (document["pe"]["growth"] == pytest.approx(1)) == dense
    assert (found.delay.clock_share == 0) == dense
    assert found.chip.dense.pe.registers.bits <= found.chip.pe.registers.bits


def test_buffers_are_those_of_all_arrays():
    two = load_hardware("systolic-128x128", arrays=2)
    shared = load_hardware("systolic-128x128", arrays=2, buffers="shared")
    kib = [
        sum(one.kib * one.count for one in chip_of(machine).buffers) for machine in (two, shared)
    ]
    assert kib == [32768, 16384]


def test_a_machine_of_another_kind_is_refused_in_a_line():
    with pytest.raises(SpecError, match="does not say what it is built of, expected one of kind"):
        chip_of(load_hardware("ideal"))


def test_pairs_of_width_are_between_those_that_were_synthesised():
    sizes = [transistors(mac_of(bits, 32).cells) for bits in (4, 6, 8, 10, 12, 14, 16)]
    assert sizes == sorted(sizes)
    assert "estimate" in mac_of(10, 32).basis
    assert "estimate" not in mac_of(8, 32).basis
    wider = transistors(mac_of(8, 40).cells)
    assert wider == pytest.approx(transistors(mac_of(8, 32).cells) + 8 * 36)
