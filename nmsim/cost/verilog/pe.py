"""A PE that multiplies what it is handed: dense, or picking elements by the mask of B."""

from typing import NamedTuple

from nmsim.cost.pe.structure import PeStructure

__all__ = ["Bus", "buses", "first_element", "pe_module"]


def pe_module(pe: PeStructure) -> str:
    """A module ``pe``.

    Under ws B's slots shift down while ``load`` is high and stay; A moves to the right and sums run
    down, a register each. Under os both operands move, and sums stay until ``drain`` shifts them
    down; zeros that come in behind them clear the array.
    """
    return "\n".join([*_ports(pe), *_registers(pe), *_selected(pe), *_sum(pe), "endmodule", ""])


class Bus(NamedTuple):
    """What a PE hands on: its name, its bits, and whether to the right or down."""

    name: str
    bits: int
    right: bool


def buses(pe: PeStructure) -> list[Bus]:
    """What a PE hands on, sums included."""
    grouped = pe.multiplexers > 0
    words = pe.groups * pe.group if grouped else pe.macs
    found = [Bus("a_valid", 1, True), Bus("a", words * pe.operand_bits, True)]
    found += [] if pe.dataflow == "ws" else [Bus("b_valid", 1, False)]
    found.append(Bus("b", pe.macs * pe.operand_bits, False))
    found += [Bus("index", pe.macs * pe.index_bits, False)] if grouped else []
    return [*found, Bus("sum", pe.sum_bits, False)]


def _ports(pe: PeStructure) -> list[str]:
    slot = ["#(", "  parameter SLOT = 0  // which slot of its group a lone multiplier has", ")"]
    own = slot if _moves_along(pe) else []
    ports = ["  input  clk,", f"  input  {'load' if pe.dataflow == 'ws' else 'drain'},"]
    for name, bits, _ in buses(pe):
        ports += [f"  input  [{bits - 1}:0] {name}_in,", f"  output reg [{bits - 1}:0] {name}_out,"]
    ports[-1] = ports[-1].rstrip(",")
    return ["module pe", *own, "(", *ports, ");"]


def _moves_along(pe: PeStructure) -> bool:
    """Whether what a multiplexer picks from depends on the slot: in order, one slot a PE."""
    return pe.multiplexers > 0 and pe.selection == "ordered" and pe.macs_per_group == 1


def _registers(pe: PeStructure) -> list[str]:
    """What is handed on to the right moves each cycle; what is held, while it is loaded."""
    index = ["index_out <= index_in;"] if pe.multiplexers else []
    moves = ["a_out <= a_in;", "a_valid_out <= a_valid_in;"]
    if pe.dataflow == "ws":
        held = ["    if (load) begin", *(f"      {one}" for one in ("b_out <= b_in;", *index))]
        own = [*held, "    end"]
    else:
        moves += ["b_out <= b_in;", "b_valid_out <= b_valid_in;", *index]
        own = []
    return ["  always @(posedge clk) begin", *(f"    {one}" for one in moves), *own, "  end"]


def _selected(pe: PeStructure) -> list[str]:
    """The words of A that meet those of B: as they come, or picked from their group by index.

    Of multipliers that share a group each picks from it; others have a group each. Where kept
    elements stay in order, slot s of a group of N picks among elements s to s + M - N.
    """
    w, lanes = pe.operand_bits, pe.macs
    if not pe.multiplexers:
        return [f"  wire [{lanes * w - 1}:0] picked = a_in;"]
    index = "index_out" if pe.dataflow == "ws" else "index_in"
    lines = [f"  wire [{lanes * w - 1}:0] picked;"]
    for lane in range(lanes):
        first = first_element(pe, lane)
        low = f"({first} + SLOT) * {w}" if _moves_along(pe) else f"{first * w}"
        bits = f"{(lane + 1) * pe.index_bits - 1}:{lane * pe.index_bits}"
        lines.append(
            f"  select select{lane} (.x(a_in[{low} +: {pe.inputs * w}]), .index({index}[{bits}]), "
            f".y(picked[{lane * w + w - 1}:{lane * w}]));"
        )
    return lines


def first_element(pe: PeStructure, lane: int) -> int:
    """Of the words that a PE is handed, the first among which a lane picks."""
    ordered = pe.selection == "ordered"
    return lane // pe.macs_per_group * pe.group + (lane % pe.macs_per_group if ordered else 0)


def _sum(pe: PeStructure) -> list[str]:
    s = pe.sum_bits
    b, c = ("b_out", "sum_in") if pe.dataflow == "ws" else ("b_in", "sum_out")
    taken = "total" if pe.dataflow == "ws" else "drain ? sum_in : total"
    return [
        f"  wire [{s - 1}:0] total;",
        f"  mac unit (.a(picked), .b({b}), .c({c}), .y(total));",
        "  always @(posedge clk)",
        f"    sum_out <= {taken};",
    ]
