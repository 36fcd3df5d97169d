"""An array of PEs alike: A to the right, B and sums down."""

from typing import NamedTuple

from nmsim.cost.pe.structure import PeStructure
from nmsim.cost.verilog.pe import Bus, buses, first_element

__all__ = ["array_module"]


def array_module(pe: PeStructure, rows: int, cols: int, *, at_edge: bool = False) -> str:
    """A module ``array``: A comes in at the rows, B and sums at the columns, which leave below.

    A row or column must be handed its own a cycle later than the one before (skewed). ``at_edge``:
    A comes by groups, of which each row picks, by ``a_index_in``, what all its PEs multiply.
    """
    lines = buses(pe)
    edge = _Edge(pe, rows) if at_edge else None
    return "\n".join(
        [
            f"// {rows} x {cols} PEs.",
            "module array (",
            "  input  clk,",
            f"  input  {'load' if pe.dataflow == 'ws' else 'drain'},",
            *(edge.ports() if edge else []),
            *(
                f"  input  [{_edge(bus, rows, cols) - 1}:0] {bus.name}_in,"
                for bus in lines
                if not (edge and bus.name == "a")
            ),
            f"  output [{cols * pe.sum_bits - 1}:0] sum_out",
            ");",
            *(edge.picks() if edge else []),
            *(line for bus in lines for line in _wires(bus, rows, cols)),
            f"  assign sum_out = sum[{rows * cols * pe.sum_bits} +: {cols * pe.sum_bits}];",
            *_grid(pe, rows, cols),
            "endmodule",
            "",
        ]
    )


class _Edge(NamedTuple):
    """Multiplexers at the rows' edge: what they pick is ``a_in`` of the array behind them."""

    pe: PeStructure
    rows: int

    def ports(self) -> list[str]:
        """Groups of A, and which of their elements are picked."""
        pe = self.pe
        words = self.rows * pe.groups * pe.group * pe.operand_bits
        index = self.rows * pe.macs * pe.multiplexer.select_bits
        return [f"  input  [{words - 1}:0] a_group_in,", f"  input  [{index - 1}:0] a_index_in,"]

    def picks(self) -> list[str]:
        """A multiplexer for each lane of each row; in order, a lone one's depends on its slot."""
        pe, w, bits = self.pe, self.pe.operand_bits, self.pe.multiplexer.select_bits
        lone = pe.selection == "ordered" and pe.macs_per_group == 1
        slot = f" + e % {pe.group - pe.inputs + 1}" if lone else ""
        lines = [f"  wire [{self.rows * pe.macs * w - 1}:0] a_in;", "  genvar e;", "  generate"]
        lines += [f"    for (e = 0; e < {self.rows}; e = e + 1) begin : edge_row"]
        for lane in range(pe.macs):
            word = f"e * {pe.groups * pe.group} + {first_element(pe, lane)}{slot}"
            at = f"(e * {pe.macs} + {lane})"
            lines.append(
                f"      select select{lane} (.x(a_group_in[({word}) * {w} +: {pe.inputs * w}]), "
                f".index(a_index_in[{at} * {bits} +: {bits}]), .y(a_in[{at} * {w} +: {w}]));"
            )
        return [*lines, "    end", "  endgenerate"]


def _edge(bus: Bus, rows: int, cols: int) -> int:
    """Bits of a bus along the edge where it comes in."""
    return bus.bits * (rows if bus.right else cols)


def _wires(bus: Bus, rows: int, cols: int) -> list[str]:
    """Wires of a bus: before each PE, by columns if it runs to the right and by rows if down."""
    along, across = (cols, rows) if bus.right else (rows, cols)
    bits = (along + 1) * across * bus.bits
    return [
        f"  wire [{bits - 1}:0] {bus.name};",
        f"  assign {bus.name}[{across * bus.bits - 1}:0] = {bus.name}_in;",
    ]


def _grid(pe: PeStructure, rows: int, cols: int) -> list[str]:
    control = "load" if pe.dataflow == "ws" else "drain"
    ports = [".clk(clk)", f".{control}({control})"]
    for name, bits, right in buses(pe):
        here = f"(c * {rows} + r)" if right else f"(r * {cols} + c)"
        there = f"((c + 1) * {rows} + r)" if right else f"((r + 1) * {cols} + c)"
        ports.append(f".{name}_in({name}[{here} * {bits} +: {bits}])")
        ports.append(f".{name}_out({name}[{there} * {bits} +: {bits}])")
    ordered = pe.selection == "ordered" and pe.macs_per_group == 1 and pe.multiplexers
    slot = f" #(.SLOT(r % {pe.group - pe.inputs + 1}))" if ordered else ""
    joined = ",\n        ".join(ports)
    return [
        "  genvar r, c;",
        "  generate",
        f"    for (r = 0; r < {rows}; r = r + 1) begin : row",
        f"      for (c = 0; c < {cols}; c = c + 1) begin : col",
        f"        pe{slot} pe (",
        f"        {joined});",
        "      end",
        "    end",
        "  endgenerate",
    ]
