"""Synthesis as the judge of what is counted: Verilog to cells by Yosys, in flows that are pinned."""
