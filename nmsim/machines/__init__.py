"""Machines that run GEMMs: a folder a kind, each with its schema, engines, storage and catalog.

``kind`` is the contract that each folder fulfils. Folders are found by scanning this package, and
those of the folders that the environment variable ``NMSIM_MACHINES`` names, so that a kind of one's
own need not stand in the installation.
"""

import sys

from nmsim.machines.catalog import HARDWARE, load_hardware, residual_path, with_residual
from nmsim.machines.folders import import_kinds
from nmsim.machines.kind import (
    FIDELITIES,
    KINDS,
    Call,
    Engine,
    Fidelity,
    Kind,
    Machine,
    Pass,
    Passes,
    Ran,
    Sample,
    Stored,
    Unmodelled,
    kind_of,
)
from nmsim.machines.silicon import chip_of, unmodelled
from nmsim.machines.simulation import (
    ENGINES,
    attention_time,
    dense_run,
    dense_runs,
    simulate,
    simulate_all,
    simulate_dense,
)
from nmsim.machines.step import Calling, Elementwise, Operation, Tensors
from nmsim.machines.storage import stored
from nmsim.result import COMMON_COLUMNS, Column

__all__ = [
    "COLUMNS",
    "ENGINES",
    "FIDELITIES",
    "HARDWARE",
    "KINDS",
    "OWN_COLUMNS",
    "Call",
    "Calling",
    "Elementwise",
    "Engine",
    "Fidelity",
    "Kind",
    "Machine",
    "Operation",
    "Pass",
    "Passes",
    "Ran",
    "Sample",
    "Stored",
    "Tensors",
    "Unmodelled",
    "attention_time",
    "chip_of",
    "dense_run",
    "dense_runs",
    "kind_of",
    "load_hardware",
    "residual_path",
    "simulate",
    "simulate_all",
    "simulate_dense",
    "stored",
    "unmodelled",
    "with_residual",
]

import_kinds(sys.modules[__name__], KINDS)

_BEFORE = [column.name for column in COMMON_COLUMNS].index("bit_operations_issued")

_OWN = tuple(KINDS.own_columns)

OWN_COLUMNS = tuple(column.name for column in _OWN)
"""Names of the columns of a result table that only some kind of machine fills."""

COLUMNS: tuple[Column, ...] = (
    *COMMON_COLUMNS[:_BEFORE],
    *_OWN,
    *COMMON_COLUMNS[_BEFORE:],
)
"""The columns of a result table, in order: the common ones, and those of every kind of machine."""
