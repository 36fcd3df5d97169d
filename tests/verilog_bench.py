"""A Verilog module, run by Icarus Verilog: inputs of every cycle in, outputs of every cycle out."""

import re
import shutil
import subprocess

import pytest

installed = pytest.mark.skipif(shutil.which("iverilog") is None, reason="no Icarus Verilog")

_PORT = re.compile(
    r"^\s*(input|output)\s+(?:reg\s+)?(?:signed\s+)?(?:\[(\d+):0\])?\s*(\w+),?$", re.MULTILINE
)


def ports(text, top):
    """Ports of a module, as (direction, bits, name)."""
    module = re.search(rf"^module {top}\b.*?\);\n", text, re.MULTILINE | re.DOTALL)[0]
    return [(way, int(high or 0) + 1, name) for way, high, name in _PORT.findall(module)]


def run(folder, files, top, stimuli):
    """Outputs by cycle: what stands at them before the clock rises, x where it is not known.

    ``stimuli`` are values of the inputs by name, a dict a cycle; what is not named is 0.
    """
    text = "\n".join(files.values())
    known = ports(text, top)
    ins = [(bits, name) for way, bits, name in known if way == "input" and name != "clk"]
    outs = [(bits, name) for way, bits, name in known if way == "output"]
    width = sum(bits for bits, _ in ins)
    words = []
    for cycle in stimuli:
        assert set(cycle) <= {name for _, name in ins}, set(cycle) - {name for _, name in ins}
        word = 0
        for bits, name in ins:
            word = word << bits | (cycle.get(name, 0) & ((1 << bits) - 1))
        words.append(f"{word:x}")
    (folder / "stimuli.hex").write_text("\n".join(words) + "\n")
    declared = [f"  reg [{bits - 1}:0] {name};" for bits, name in ins]
    declared += [f"  wire [{bits - 1}:0] {name};" for bits, name in outs]
    names = ", ".join(f".{name}({name})" for _, name in [*ins, *outs])
    shown = " ".join(["%h"] * len(outs))
    bench = f"""
module bench;
  reg clk = 0;
  reg [{width - 1}:0] stimuli [0:{len(words) - 1}];
  integer cycle;
{chr(10).join(declared)}
  {top} dut (.clk(clk), {names});
  initial begin
    $readmemh("stimuli.hex", stimuli);
    for (cycle = 0; cycle < {len(words)}; cycle = cycle + 1) begin
      {{{", ".join(name for _, name in ins)}}} = stimuli[cycle];
      #1 $display("{shown}", {", ".join(name for _, name in outs)});
      #1 clk = 1;
      #1 clk = 0;
    end
  end
endmodule
"""
    (folder / "all.v").write_text(text + bench)
    for command in (
        ["iverilog", "-g2012", "-Wall", "-Wno-timescale", "-o", "bench", "all.v"],
        ["vvp", "-n", "bench"],
    ):
        done = subprocess.run(
            command, check=False, cwd=folder, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert not done.stderr, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == len(words)
    return [
        {
            name: None if "x" in one else int(one, 16)
            for (_, name), one in zip(outs, line, strict=True)
        }
        for line in lines
    ]


def column(outputs, c, bits=32):
    """The sum that leaves a column, signed."""
    value = outputs["sum_out"]
    if value is None:
        return None
    value = value >> c * bits & ((1 << bits) - 1)
    return value - (1 << bits) if value >> (bits - 1) else value
