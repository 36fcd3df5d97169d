"""Technologies: figures and their sources, other nodes, Liberty files, tables of Accelergy."""

import json

import pytest

from nmsim.cost.chip import Chip
from nmsim.cost.pe.structure import PeStructure
from nmsim.cost.price import cost_of
from nmsim.cost.technology import TECHNOLOGIES, Technology, load_technology
from nmsim.cost.technology.scaling import area_factor, energy_factor
from nmsim.errors import SpecError
from nmsim.spec import validate


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


@pytest.mark.parametrize("node", [32, 20, 14, 10])
def test_a_node_without_energies_has_areas(tmp_path, node):
    path = tmp_path / "own.yaml"
    path.write_text(f"based_on: 45nm\nnode_nm: {node}\nvolts: 0.8\n")
    found, base = load_technology(path), load_technology()
    assert found.area("dff") == pytest.approx(area_factor(node) * base.area("dff"))
    assert found.energy is None


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
        ("based_on: own\nnode_nm: 7\nvolts: 0.7\n", "own.yaml -> own.yaml is a circle"),
        ("based_on: 45\nnode_nm: 7\nvolts: 0.7\n", "based_on is 45, expected a technology's name"),
        ("ERT: {tables: []}\n", "a table of Accelergy .ERT. does not say what its components are"),
    ],
)
def test_a_technology_that_is_wrong_is_refused_in_a_line(tmp_path, text, what):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=what) as caught:
        load_technology(path)
    assert "\n" not in str(caught.value)
    assert "own.yaml" in str(caught.value) or "node_nm" in str(caught.value)


def test_a_circle_of_two_technologies_is_refused_in_a_line(tmp_path):
    for name, base in (("one", "two"), ("two", "one")):
        (tmp_path / f"{name}.yaml").write_text(f"based_on: {base}\nnode_nm: 7\nvolts: 0.8\n")
    with pytest.raises(SpecError, match=r"one.yaml -> two.yaml -> one.yaml is a circle"):
        load_technology(tmp_path / "one.yaml")


FIGURES = [
    ("cells", "dff"),
    ("energy", "macs", 0, "pj"),
    ("energy", "register_bit"),
    ("energy", "wire_bit_mm"),
    ("energy", "dram", "hbm2"),
    ("energy", "leakage_nw"),
    ("energy", "sram", 0),
]


@pytest.mark.parametrize("path", [*FIGURES, ("energy", "sram_source")], ids=lambda p: p[-1])
@pytest.mark.parametrize("end", [False, True])
def test_every_figure_needs_its_source(path, end):
    """A figure whose source, or that of an end of its band, is none of the table's is refused."""
    document = json.loads(load_technology().model_dump_json())
    own = document
    for step in path[:-1]:
        own = own[step]
    if path[-1] == "sram_source":
        own["sram_source"] = "hearsay"
    else:
        own[path[-1]] |= {"ends": ("hearsay",)} if end and "ends" in own[path[-1]] else {
            "source": "hearsay"
        }  # fmt: skip
    named = next(str(one) for one in reversed(path) if isinstance(one, str) and one != "pj")
    with pytest.raises(SpecError, match=rf"{named}.*source 'hearsay' is none of sources"):
        validate(Technology, document, "own.yaml")


ERT = """
ERT:
  version: '0.4'
  tables:
    - name: system.PE[0..63].mac
      actions: [{name: mac_random, arguments: {}, energy: 0.5608}, {name: mac_gated, energy: 0.018}]
    - name: system.glb
      actions: [{name: read, arguments: {data_delta: 1}, energy: 25.6}, {name: write, energy: 30}]
    - {name: system.DRAM, actions: [{name: read, arguments: {}, energy: 512}]}
    - {name: system.noc, actions: [{name: transfer, arguments: {}, energy: 1}]}
"""
ART = """
ART:
  version: '0.4'
  tables:
    - {name: system.glb, area: 250000}
    - name: system.PE[0..63].reg
      area: 95.68
"""
MAPPED = """
based_on: 45nm
summary: ours
accelergy:
  ert:
    file: ERT.yaml
    components:
      system.PE[0..63].mac: {replaces: mac.int8, action: mac_random}
      system.glb: {replaces: sram.128, action: read, bits: 64}
      system.DRAM: {replaces: dram.hbm2, bits: 64}
      system.noc: {replaces: nothing}
  art:
    file: ART.yaml
    components:
      system.glb: {replaces: sram.128}
      system.PE[0..63].reg: {replaces: cells.dff, bits: 16}
"""


def mapped(folder, text=MAPPED):
    for name, own in (("ERT", ERT), ("ART", ART), ("own", text)):
        (folder / f"{name}.yaml").write_text(own)
    return load_technology(folder / "own.yaml")


def test_tables_of_accelergy_replace_figures(tmp_path):
    """Energies of an ERT and areas of an ART, by hand; what they do not say is the base's."""
    found, base = mapped(tmp_path), load_technology()
    assert found.mac_pj(8, floating=False) == (0.5608, 0.5608, 0.5608)
    assert found.sram_read_pj(128).value == pytest.approx(0.4)
    assert found.sram_um2(128) == pytest.approx(250000)
    assert found.sram_leakage_uw(128) == pytest.approx(base.sram_leakage_uw(128))
    assert found.dram_pj("hbm2").value == 8
    assert found.area("dff") == pytest.approx(5.98)
    assert found.area("mux2") == base.area("mux2")
    assert found.sram_read_pj(32) == base.sram_read_pj(32)
    assert found.summary == "ours"
    assert {"ERT.yaml", "ART.yaml"} < set(found.sources)
    assert found.energy.dram["hbm2"].source == "ERT.yaml"


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("      system.noc: {replaces: nothing}\n", "", "system.noc of ERT.yaml not said to be"),
        ("mac.int8, action", "cells.mac, action", "replaces is 'cells.mac', expected mac.int8"),
        ("cells.dff, bits", "mac.int8, bits", "replaces is 'mac.int8', expected cells."),
        (
            "action: mac_random",
            "action: add",
            "action 'add', expected one of mac_random, mac_gated",
        ),
        ("system.DRAM:", "system.HBM:", "system.DRAM of ERT.yaml not said to be"),
        ("file: ART.yaml", "file: own.yaml", "expected a table of Accelergy, ART"),
        ("bits: 16", "bits: 0", "components.system.PE"),
    ],
)
def test_what_does_not_map_is_refused_by_name(tmp_path, old, new, what):
    assert old in MAPPED
    with pytest.raises(SpecError, match=what) as caught:
        mapped(tmp_path, MAPPED.replace(old, new))
    assert "\n" not in str(caught.value)


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
