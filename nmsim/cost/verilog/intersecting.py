"""A PE that takes only pairs of which both elements are kept, from a queue of groups."""

from nmsim.cost.pe.structure import PeStructure

__all__ = ["intersecting_module"]


def intersecting_module(pe: PeStructure) -> str:
    """A module ``pe``: groups of both operands come with a flag for every element that was kept.

    They wait, with a flag for each pair of which both were, in a queue of which entry 0 is worked
    on, one pair a cycle, the first that is left; a group without pairs takes one cycle to pass.
    ``push`` may be high while ``ready`` is.
    """
    g, w = pe.group, pe.operand_bits
    entry = g * (2 * w + 1)
    return "\n".join(
        [*_ports(pe), *_passed(pe), *_queue(pe, entry), *_pairs(pe), *_sum(pe), "endmodule", ""]
    )


def _ports(pe: PeStructure) -> list[str]:
    g, w, s = pe.group, pe.operand_bits, pe.sum_bits
    passed = (
        ["  input  a_valid_in,", "  input  b_valid_in,"]
        if pe.passes == "group"
        else ["  input  push,"]
    )
    if pe.passes == "group":
        passed += [f"  output reg {one}_valid_out," for one in "ab"]
        passed += [f"  output reg [{g * w - 1}:0] {one}_out," for one in "ab"]
        passed += [f"  output reg [{g - 1}:0] {one}_kept_out," for one in "ab"]
    return [
        "module pe (",
        "  input  clk,",
        "  input  reset,",
        "  input  drain,",
        *passed,
        *(f"  input  [{g * w - 1}:0] {one}_in," for one in "ab"),
        *(f"  input  [{g - 1}:0] {one}_kept_in," for one in "ab"),
        "  output ready,",
        "  output idle,",
        f"  input  [{s - 1}:0] sum_in,",
        f"  output reg [{s - 1}:0] sum_out",
        ");",
    ]


def _passed(pe: PeStructure) -> list[str]:
    if pe.passes != "group":
        return []
    moves = [f"    {one}{what}_out <= {one}{what}_in;" for one in "ab" for what in _PASSED]
    return [
        "  wire push = a_valid_in & b_valid_in;",
        "  always @(posedge clk) begin",
        *moves,
        "  end",
    ]


_PASSED = ("", "_kept", "_valid")


def _queue(pe: PeStructure, entry: int) -> list[str]:
    """Entries behind each other: all move up when the first is done, and a new one goes behind.

    ``filled`` is a thermometer. An entry takes the one behind it if that is filled, else what comes
    in: when the first is done, and while it is empty itself.
    """
    d = pe.depth or 0
    lines = [
        f"  wire [{entry - 1}:0] group = {{a_kept_in & b_kept_in, b_in, a_in}};",
        f"  reg  [{d - 1}:0] filled;",
        "  wire pop;",
        "  wire keep = ~reset;",
        "  wire down = pop & ~push;",
        "  wire up = push & ~pop;",
        f"  assign ready = ~filled[{d - 1}] | pop;",
        "  assign idle = ~filled[0];",
    ]
    lines += [f"  reg  [{entry - 1}:0] entry{i};" for i in range(d)]
    for i in range(d):
        behind = "group" if i == d - 1 else f"filled[{i + 1}] ? entry{i + 1} : group"
        leaves = "down" if i == d - 1 else f"(down & ~filled[{i + 1}])"
        comes = "up" if i == 0 else f"(up & filled[{i - 1}])"
        lines += [
            "  always @(posedge clk) begin",
            f"    filled[{i}] <= ((filled[{i}] & ~{leaves}) | {comes}) & keep;",
            f"    if (pop | (push & ~filled[{i}])) entry{i} <= {behind};",
            "  end",
        ]
    return lines


def _pairs(pe: PeStructure) -> list[str]:
    """Pairs of the first entry that are left, the first of them, and whether there are more."""
    g, w = pe.group, pe.operand_bits
    flags = 2 * g * w
    lines = [
        f"  reg  [{g - 1}:0] taken;",
        f"  wire [{g - 1}:0] left = entry0[{flags + g - 1}:{flags}] & ~taken;",
        "  wire below1 = left[0];",
        *(f"  wire below{i} = below{i - 1} | left[{i - 1}];" for i in range(2, g + 1)),
        f"  wire [{g - 1}:0] first = {{"
        + ", ".join([f"left[{i}] & ~below{i}" for i in range(g - 1, 0, -1)] + ["left[0]"])
        + "};",
        "  wire more = " + " | ".join(f"(left[{i}] & below{i})" for i in range(1, g)) + ";",
        f"  wire busy = filled[0] & below{g};",
        "  wire stays = filled[0] & more;",
        "  assign pop = filled[0] & ~more;",
        f"  always @(posedge clk) taken <= (taken | first) & {{{g}{{stays}}}};",
    ]
    bits = max(1, (g - 1).bit_length())
    named = [" | ".join(f"first[{i}]" for i in range(g) if i >> b & 1) for b in range(bits)]
    lines.append(f"  wire [{bits - 1}:0] index = {{{', '.join(reversed(named))}}};")
    for one, low in (("a", 0), ("b", g * w)):
        words = f"entry0[{low + g * w - 1}:{low}]"
        lines += [
            f"  wire [{w - 1}:0] {one};",
            f"  select select_{one} (.x({words}), .index(index), .y({one}));",
        ]
    return lines


def _sum(pe: PeStructure) -> list[str]:
    return [
        f"  wire [{pe.sum_bits - 1}:0] total;",
        "  mac unit (.a(a), .b(b), .c(sum_out), .y(total));",
        "  always @(posedge clk)",
        "    sum_out <= drain ? sum_in : busy ? total : sum_out;",
    ]
