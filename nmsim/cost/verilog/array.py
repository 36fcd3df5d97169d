"""An array of PEs alike: A to the right, B and sums down."""

from nmsim.cost.pe.structure import PeStructure
from nmsim.cost.verilog.pe import Bus, buses

__all__ = ["array_module"]


def array_module(pe: PeStructure, rows: int, cols: int) -> str:
    """A module ``array``: A comes in at the rows, B and sums at the columns, which leave below.

    A row or column must be handed its own a cycle later than the one before (skewed).
    """
    lines = buses(pe)
    return "\n".join(
        [
            f"// {rows} x {cols} PEs.",
            "module array (",
            "  input  clk,",
            f"  input  {'load' if pe.dataflow == 'ws' else 'drain'},",
            *(f"  input  [{_edge(bus, rows, cols) - 1}:0] {bus.name}_in," for bus in lines),
            f"  output [{cols * pe.sum_bits - 1}:0] sum_out",
            ");",
            *(line for bus in lines for line in _wires(bus, rows, cols)),
            f"  assign sum_out = sum[{rows * cols * pe.sum_bits} +: {cols * pe.sum_bits}];",
            *_grid(pe, rows, cols),
            "endmodule",
            "",
        ]
    )


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
