"""What selectors cost: counts, depth, and the figures that the literature gives."""

import pytest

import nmsim
from nmsim.cli.commands.describe import describe
from nmsim.cost import Multiplexer
from nmsim.cost.bit_operations import bit_operations
from nmsim.cost.multiplexer import fan_in
from nmsim.machines import load_hardware
from nmsim.machines.systolic.pe.selectors import selectors_of
from nmsim.pattern import Pattern


def tree(inputs):
    """Two-input multiplexers of a tree, and its depth, built level by level."""
    muxes = depth = 0
    while inputs > 1:
        muxes += inputs // 2
        inputs = inputs // 2 + inputs % 2
        depth += 1
    return muxes, depth


@pytest.mark.parametrize("inputs", range(1, 70))
def test_a_multiplexer_is_a_tree(inputs):
    mux = Multiplexer(inputs, 8)
    assert (mux.two_input, mux.depth) == (8 * tree(inputs)[0], tree(inputs)[1])
    assert 2**mux.select_bits >= inputs > 2**mux.select_bits // 2


@pytest.mark.parametrize(("inputs", "share"), [(4, 3.7), (8, 8.7), (16, 18.6)])
def test_shares_of_an_int8_multiplier(inputs, share):
    """Synthesis with Yosys: 7,744 transistors for an int8 multiplier with a 32-bit adder."""
    assert 100 * Multiplexer(inputs, 8).transistors / 7744 == pytest.approx(share, abs=0.06)


def test_ordered_slots_need_fewer_inputs():
    """Hubara et al., A.5: 3:1 for 2:4, 5:1 for 4:8."""
    assert fan_in(Pattern(2, 4), ordered=True) == 3
    assert fan_in(Pattern(4, 8), ordered=True) == 5
    assert fan_in(Pattern(2, 4), ordered=False) == 4


@pytest.mark.parametrize("ordered", [True, False])
def test_at_equal_density_longer_groups_cost_more(ordered):
    inputs = [fan_in(Pattern(n, 2 * n), ordered=ordered) for n in (1, 2, 4, 8)]
    muxes = [Multiplexer(i, 16).two_input for i in inputs]
    assert muxes == sorted(set(muxes))
    assert [Multiplexer(2 * n, 16).depth for n in (1, 2, 4, 8)] == [1, 2, 3, 4]


def test_machines():
    native = selectors_of(load_hardware("systolic-128x128-2to4"))
    assert (native.multiplexer.inputs, native.per_pe, native.pes) == (4, 2, 128 * 128)
    assert native.two_input == 2 * 16 * 3 * 128 * 128  # one for either operand
    assert native.transistors == 12 * native.two_input
    ordered = selectors_of(load_hardware("systolic-128x128-2to4", pe={"selection": "ordered"}))
    assert ordered.multiplexer.inputs == 3
    assert selectors_of(load_hardware("systolic-128x128-flexible")).multiplexer.inputs == 32
    assert selectors_of(load_hardware("systolic-128x128")).two_input == 0
    assert selectors_of(load_hardware("sparseloop-stc-flexible")).per_pe == 8
    pe = selectors_of(load_hardware("systolic-128x128-intersecting"))
    assert (pe.multiplexer.inputs, pe.per_pe) == (4, 2)
    assert pe.queue_bits == 5 * 2 * 4 * 17
    endless = load_hardware("systolic-128x128-intersecting", **{"intersecting.lookahead": None})
    assert selectors_of(endless).queue_bits is None


def test_an_intersecting_pe_selects_both_operands():
    """Each slot that is spent drives the select bits of two multiplexers of four inputs."""
    gemm = nmsim.Gemm(64, 32, 96)
    table = nmsim.simulate(
        [gemm],
        recipe="activations",
        pattern="2:4",
        hardware="systolic-128x128-intersecting",
        fidelity="analytical",
    )
    (row,) = table.to_dict("records")
    assert row["select_bits"] == row["macs_issued"] * 2 * 2 > 0


def test_rows_and_descriptions_say_it():
    table = nmsim.simulate([nmsim.Gemm(64, 64, 64)], recipe="asp", pattern="2:4")
    (row,) = table.to_dict("records")
    assert row["selector_mux2"] == 2 * 16 * 3 * 128 * 128
    assert row["selector_depth"] == 2
    assert row["select_bits"] == 2 * row["macs_issued"] == 2 * 64 * 64 * 32
    plain = nmsim.simulate([nmsim.Gemm(64, 64, 64)], hardware="systolic-128x128")
    assert plain.select_bits[0] == plain.selector_mux2[0] == 0
    facts = dict(describe("hardware", "systolic-128x128-2to4"))
    assert "1,152 transistors" in facts["of one PE"]
    assert "depth 2" in facts["of one PE"]
    assert dict(describe("hardware", "systolic-128x128"))["selectors"] == "none"


def test_bit_operations_weigh_both_operands():
    assert bit_operations(10, 4, 8) == bit_operations(10, 8, 4) == 320
