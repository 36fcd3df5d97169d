"""The multiply-accumulate unit (MAC) of a PE: products of one or several lanes, and a sum."""

from nmsim.cost.pe.structure import PeStructure
from nmsim.errors import SpecError

__all__ = ["mac_module"]


def mac_module(pe: PeStructure) -> str:
    """A module ``mac``: y = c + the sum over lanes of a . b.

    Raises
    ------
    SpecError
        for floating point but bf16 with sums of 32 bits.
    """
    return _floating(pe) if pe.floating else _integer(pe)


def _integer(pe: PeStructure) -> str:
    w, s, lanes = pe.operand_bits, pe.sum_bits, pe.macs
    chain = "c"
    lines: list[str] = []
    for i in range(lanes):
        a, b = (f"{one}[{i * w + w - 1}:{i * w}]" for one in "ab")
        lines += [
            f"  wire signed [{2 * w - 1}:0] product{i} = $signed({a}) * $signed({b});",
        ]
        chain += f" + product{i}"
    return "\n".join(
        [
            f"// {lanes} product(s) of int{w}, added to a sum of {s} bits.",
            "module mac (",
            f"  input  [{lanes * w - 1}:0] a,",
            f"  input  [{lanes * w - 1}:0] b,",
            f"  input  signed [{s - 1}:0] c,",
            f"  output signed [{s - 1}:0] y",
            ");",
            *lines,
            f"  assign y = {chain};",
            "endmodule",
            "",
        ]
    )


def _floating(pe: PeStructure) -> str:
    if (pe.operand_bits, pe.sum_bits) != (16, 32):
        raise SpecError(
            f"Verilog: floating point of {pe.operand_bits} and {pe.sum_bits} bits is not drawn, "
            "expected operands of 16 (bf16) and sums of 32"
        )
    lines: list[str] = []
    for i in range(pe.macs):
        lane = f"[{i * 16 + 15}:{i * 16}]"
        lines += [
            f"  wire [31:0] product{i};",
            f"  bf16_multiply multiply{i} (.a(a{lane}), .b(b{lane}), .y(product{i}));",
        ]
    added, total = _tree([f"product{i}" for i in range(pe.macs)])
    head = [
        "module mac (",
        f"  input  [{pe.macs * 16 - 1}:0] a,",
        f"  input  [{pe.macs * 16 - 1}:0] b,",
        "  input  [31:0] c,",
        "  output [31:0] y",
        ");",
    ]
    last = f"  fp32_add accumulate (.a({total}), .b(c), .y(y));"
    return "\n".join([_BF16, *head, *lines, *added, last, "endmodule", ""])


def _tree(terms: list[str]) -> tuple[list[str], str]:
    """Adders that add up terms two by two, level by level, and what the sum is called.

    The sum so far comes last: of its loop no other adder is a part.
    """
    lines: list[str] = []
    while len(terms) > 1:
        nexts = []
        for left, right in zip(terms[::2], terms[1::2], strict=False):
            name = f"sum{len(lines) // 2}"
            lines += [
                f"  wire [31:0] {name};",
                f"  fp32_add add_{name} (.a({left}), .b({right}), .y({name}));",
            ]
            nexts.append(name)
        terms = nexts + terms[len(terms) & ~1 :]
    return lines, terms[0]


_BF16 = """\
// a . b of bf16 operands, exact in fp32. Subnormal numbers are zero; what would be infinite or no
// number is not handled.
module bf16_multiply (
  input  [15:0] a,
  input  [15:0] b,
  output [31:0] y
);
  // The product has 16 bits of significand, 1.x or 2.x.
  wire zero = (a[14:7] == 0) | (b[14:7] == 0);
  wire [15:0] raw = {1'b1, a[6:0]} * {1'b1, b[6:0]};
  wire signed [9:0] exponent = a[14:7] + b[14:7] - 10'sd127 + raw[15];
  wire [23:0] fraction = raw[15] ? {raw, 8'b0} : {raw[14:0], 9'b0};
  assign y = (zero | exponent < 1) ? 32'b0
    : {a[15] ^ b[15], exponent[7:0], fraction[22:0]};
endmodule

// a + b of fp32, truncated: within one unit in the last place.
module fp32_add (
  input  [31:0] a,
  input  [31:0] b,
  output [31:0] y
);
  // The larger first; the smaller is shifted to it, with three bits more.
  wire larger = a[30:0] > b[30:0];
  wire [31:0] upper = larger ? a : b;
  wire [31:0] lower = larger ? b : a;
  wire [7:0] apart = upper[30:23] - lower[30:23];
  wire [26:0] upper_fraction = {upper[30:23] != 0, upper[22:0], 3'b0};
  wire [26:0] lower_fraction = {lower[30:23] != 0, lower[22:0], 3'b0};
  wire [26:0] shifted = apart > 26 ? 27'b0 : lower_fraction >> apart[4:0];
  wire [27:0] total = (upper[31] ^ lower[31]) ? upper_fraction - shifted : upper_fraction + shifted;
  // The leading one to its place: shifts by 16, 8, 4, 2, 1 where there is room.
  wire [27:0] by16 = total[27:12] == 0 ? total << 16 : total;
  wire [27:0] by8 = by16[27:20] == 0 ? by16 << 8 : by16;
  wire [27:0] by4 = by8[27:24] == 0 ? by8 << 4 : by8;
  wire [27:0] by2 = by4[27:26] == 0 ? by4 << 2 : by4;
  wire [27:0] by1 = by2[27] == 0 ? by2 << 1 : by2;
  wire [4:0] by = {total[27:12] == 0, by16[27:20] == 0, by8[27:24] == 0, by4[27:26] == 0,
    ~by2[27]};
  wire signed [9:0] exponent = {2'b0, upper[30:23]} + 10'sd1 - {5'b0, by};
  assign y = (total == 0 | exponent < 1) ? 32'b0 : {upper[31], exponent[7:0], by1[26:4]};
endmodule
"""
