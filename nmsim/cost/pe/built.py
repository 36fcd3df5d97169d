"""What a PE is built of: MACs, multiplexers, registers, queue and control, counted exactly.

Beside the MAC the counts are those of the Verilog that ``nmsim.cost.verilog`` writes, in cells that
Yosys maps it to: a flip-flop for a bit, and for a bit with an enable a two-input multiplexer before
it.
"""

from collections.abc import Iterator

from nmsim.cost.bill import Bill, Cell, Component, Part
from nmsim.cost.pe.mac import Mac, Multiplier, mac_of
from nmsim.cost.pe.structure import PeStructure, Queue

__all__ = ["bill_of", "mac_in"]


def bill_of(pe: PeStructure, multiplier: Multiplier = "booth") -> Bill:
    """The components of one PE, with the MAC of one of two flows."""
    beside = (*_multiplexers(pe), *_registers(pe), *_enables(pe), *_intersection(pe))
    return Bill.of([*_macs(pe, multiplier), *beside])


def mac_in(pe: PeStructure, multiplier: Multiplier = "booth") -> Mac:
    """The MAC of a PE: all its products and their sum."""
    return mac_of(
        pe.operand_bits, pe.sum_bits, pe.macs, floating=pe.floating, multiplier=multiplier
    )


def _flip_flops(name: str, part: Part, count: int) -> Component:
    return Component(name, part, count, "flip-flops", {"dff": 1})


def _muxes(name: str, part: Part, count: int) -> Component:
    return Component(name, part, count, "two-input multiplexers", {"mux2": 1})


def _gates(name: str, part: Part, kind: Cell, count: int) -> Component:
    return Component(name, part, count, f"{kind.rstrip('2').upper()} gates", {kind: 1})


def _macs(pe: PeStructure, multiplier: Multiplier) -> Iterator[Component]:
    """Products that are added to one sum share its adder: each takes a part of them all."""
    mac = mac_in(pe, multiplier)
    cells: dict[Cell, float] = {cell: count / pe.macs for cell, count in mac.cells.items()}
    kind = "float" if pe.floating else "int"
    of = f" of {pe.macs} products" if pe.macs > 1 else ""
    name = f"MAC {kind}{pe.operand_bits}, sum of {pe.sum_bits} bits{of}"
    yield Component(name, "mac", pe.macs, "MACs", cells, basis=mac.basis)


def _multiplexers(pe: PeStructure) -> Iterator[Component]:
    """Those that pick from a group, and of what is held those that pick what a beat multiplies."""
    count = pe.multiplexers * pe.multiplexer.two_input
    yield _muxes(f"selection, {pe.inputs}:1", "multiplexer", count)
    word = pe.operand_bits + pe.index_bits
    yield _muxes("beats", "multiplexer", pe.macs * word * (pe.beats - 1))


def _registers(pe: PeStructure) -> Iterator[Component]:
    own = pe.registers
    yield _flip_flops("operands held", "register", own.held * own.word_bits)
    yield _flip_flops("operands passed on", "register", own.passed * own.word_bits)
    yield _flip_flops("sums", "register", own.accumulator_bits)
    yield _flip_flops("valid bits", "register", own.valid_bits)
    yield _flip_flops("metadata", "metadata", own.metadata_bits)


def _enables(pe: PeStructure) -> Iterator[Component]:
    """What is held is loaded while it shifts in; sums under os shift out, or wait to."""
    own = pe.registers
    if pe.held:
        yield _muxes("enables of operands held", "register", own.held * own.word_bits)
        yield _muxes("enables of metadata", "metadata", pe.held_metadata_bits)
        return
    yield _muxes("sums that shift out", "register", pe.sum_bits)
    if pe.waiting_sums:
        yield _gates("sums that begin anew", "register", "and2", pe.sum_bits)


def _intersection(pe: PeStructure) -> Iterator[Component]:
    queue = pe.queue
    if queue is None:
        return
    yield _flip_flops(f"queue of {queue.depth} groups", "queue", queue.bits)
    yield _muxes(
        "queue: an entry stays, moves up or comes in",
        "queue",
        queue.entry_bits * (2 * queue.depth - 1),
    )
    yield _flip_flops("queue: filled entries", "control", queue.depth)
    yield _flip_flops("pairs that are done", "control", pe.group)
    yield _muxes("enable of sums", "control", pe.sum_bits)
    for kind, count in _control(pe, queue).items():
        yield _gates("first pair, index, queue", "control", kind, count)


def _control(pe: PeStructure, queue: Queue) -> dict[Cell, int]:
    """Gates that find the first pair, name it, and move the queue."""
    g, d = pe.group, queue.depth
    passes = pe.passes == "group"
    named = sum(
        sum(i >> bit & 1 for i in range(g)) - 1 for bit in range(max(1, (g - 1).bit_length()))
    )
    return {
        "and2": int(passes) + 2 + 3 * d + 2 * (d - 1) + 2 * g + 2 * (g - 1) + 3 + g,
        "or2": 1 + 2 * d + (g - 1) + (g - 2) + g + named + 1,
        "not": 3 + 2 * d + g + (g - 1) + 1,
    }
