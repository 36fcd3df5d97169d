"""What an engine finds out about one GEMM, the columns of a table that shows it, and their sums."""

from nmsim.result.columns import (
    COMMON_COLUMNS,
    ENERGY_COLUMNS,
    LAUNCH_COLUMNS,
    SLOT_COLUMNS,
    Column,
    Columns,
    optional_column,
)
from nmsim.result.result import Parts, Result, Survivors
from nmsim.result.totals import macs_left, totals, totals_of

__all__ = [
    "COMMON_COLUMNS",
    "ENERGY_COLUMNS",
    "LAUNCH_COLUMNS",
    "SLOT_COLUMNS",
    "Column",
    "Columns",
    "Parts",
    "Result",
    "Survivors",
    "macs_left",
    "optional_column",
    "totals",
    "totals_of",
]
