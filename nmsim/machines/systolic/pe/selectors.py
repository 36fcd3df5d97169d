"""What the PEs of an array take: selectors per row of a table; registers for ``nmsim show``."""

from collections.abc import Sequence
from typing import Any

from nmsim.cost import Selectors
from nmsim.machines.kind import Facts
from nmsim.machines.systolic.parts import split_slots
from nmsim.machines.systolic.pe.registers import registers_of, shape_of
from nmsim.machines.systolic.pe.silicon import chip_of, pe_of
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.traffic import moves
from nmsim.mask import SparseGemm
from nmsim.result import SLOT_COLUMNS, Result

__all__ = ["columns", "facts", "selectors_of"]


def selectors_of(machine: SystolicArray) -> Selectors:
    """The multiplexers of all arrays, of PEs and at edges, as the machine's silicon has them."""
    chip, pe = chip_of(machine), machine.intersecting
    queue: int | None = 0
    if pe is not None:
        group_bits = 2 * pe.group * (machine.operand_bits + 1)
        queue = None if pe.lookahead is None else (pe.lookahead + 1) * group_bits
    return Selectors(
        chip.pe.multiplexer, chip.pe.multiplexers, chip.pes, queue, chip.edge_multiplexers
    )


def columns(
    machine: SystolicArray, works: Sequence[SparseGemm], results: Sequence[Result]
) -> dict[str, list[Any]]:
    """Columns of rows: the array's multiplexers, what fills its slots, and what moves."""
    cost, both = selectors_of(machine), machine.intersecting is not None
    bits = cost.multiplexer.select_bits * (2 if both else 1)
    slots = [split_slots(machine, *one) for one in zip(works, results, strict=True)]
    return {
        "selector_mux2": [cost.two_input] * len(works),
        "selector_depth": [cost.multiplexer.depth] * len(works),
        "select_bits": [one.macs_issued * bits if one.selects or both else 0 for one in results],
        "partition": [one.partition for one in results],
        "idle_array_cycles": [one.idle_cycles for one in results],
        **{name: [one[name] for one in slots] for name in SLOT_COLUMNS},
        **{one.name: [result.own.get(one.name) for result in results] for one in moves.COLUMNS},
    }


def facts(machine: SystolicArray) -> Facts:
    """What ``nmsim show`` says of an array's PEs: their shape, registers and selectors."""
    own = registers_of(machine)
    registers = (
        f"{own.bits:,} bits: {own.held} words held and {own.passed} passed on, of {own.word_bits} "
        f"bits; {own.metadata_bits} bits of metadata, {own.accumulator_bits} of sums, "
        f"{own.valid_bits} valid"
    )
    built = [
        ("shape", shape_of(machine)),
        ("registers of one PE", registers),
    ]
    return [*built, *_selector_facts(machine, selectors_of(machine))]


def _selector_facts(machine: SystolicArray, cost: Selectors) -> Facts:
    mux = cost.multiplexer
    if mux.inputs == 1:
        return [("selectors", "none")]
    pe = (
        f"{mux.two_input * cost.per_pe:,} two-input multiplexers of one bit, depth {mux.depth}, "
        f"{mux.select_bits * cost.per_pe} select bits, "
        f"{mux.transistors * cost.per_pe:,} transistors"
    )
    array = (
        f"{cost.two_input:,} two-input multiplexers, {cost.transistors:,} transistors "
        "(12.W.(M-1) a multiplexer; wires not counted)"
    )
    edge = f", and {cost.at_edge} at the edge" if cost.at_edge else ""
    told = [
        ("selectors", f"{cost.per_pe} per PE{edge}, {mux.inputs}:1, {mux.width} bits wide"),
        ("of one PE", pe),
        ("of the array" if machine.arrays == 1 else "of all arrays", array),
    ]
    if cost.queue_bits != 0:
        own = pe_of(machine).queue
        queue = "without limit" if own is None else f"{own.bits:,} bits"
        told.append(("queue of one PE", f"{queue}: d + 1 groups of both operands, flags of pairs"))
    return told
