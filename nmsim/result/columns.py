"""The columns of a result table that every kind of machine has: name, unit, meaning."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "COMMON_COLUMNS",
    "ENERGY_COLUMNS",
    "LAUNCH_COLUMNS",
    "SLOT_COLUMNS",
    "Column",
    "Columns",
    "optional_column",
]

Columns = dict[str, Sequence[Any]]
"""Rows, column by column."""


SLOT_COLUMNS = ("useful_cycles", "empty_slot_cycles", "misfit_cycles", "ragged_cycles")
"""Cycles that stream, by what fills the slots of an array."""


LAUNCH_COLUMNS = ("launch_cycles", "tail_cycles")
"""Cycles of launches, and of a tail of threadblocks: 0 of what has ``Parts``."""


@dataclass(frozen=True)
class Column:
    """A column of the result table: its name, its unit and what it holds.

    An optional one may lack a value, or stand in no table of an older version.
    """

    name: str
    unit: str
    meaning: str
    optional: bool = False


def optional_column(name: str, unit: str, meaning: str) -> Column:
    """A column in which a value may be lacking."""
    return Column(name, unit, meaning, optional=True)


ENERGY_COLUMNS = (
    optional_column("energy_pj", "pJ", "of the GEMM, where a run asks for its cost"),
    optional_column("energy_low_pj", "pJ", "the least that published tables make of it"),
    optional_column("energy_high_pj", "pJ", "the most that published tables make of it"),
    optional_column("energy_mac_pj", "pJ", "part: multipliers and adders"),
    optional_column("energy_mux_pj", "pJ", "part: multiplexers, queues and what controls them"),
    optional_column("energy_register_pj", "pJ", "part: registers, clocked"),
    optional_column("energy_sram_pj", "pJ", "part: buffers, but for metadata; a GPU's L1"),
    optional_column("energy_hop_pj", "pJ", "part: words and sums from PE to PE"),
    optional_column("energy_dram_pj", "pJ", "part: memory, metadata included"),
    optional_column("energy_metadata_pj", "pJ", "part: metadata, read from the buffers"),
    optional_column("energy_static_pj", "pJ", "part: leakage; a GPU at rest"),
)
"""Columns of what a GEMM takes in energy: parts add up to the first, which has a band."""

COMMON_COLUMNS = (
    Column("layer", "", "layer of the network"),
    Column("kind", "", "conv, linear, experts, matmul, attention or gemm"),
    Column("phase", "", "forward, backward or update"),
    Column("gradient_of", "", "operand whose gradient a backward GEMM of activations makes"),
    optional_column("part", "", "part of its layer's phase, of how many: 1/4; none: all of it"),
    Column("m", "elements", "rows of C"),
    Column("n", "elements", "columns of C"),
    Column("k", "elements", "reduction length"),
    Column("count", "", "copies in one launch: groups, or batch x heads"),
    Column("repeat", "", "identical blocks, launched one after the other"),
    Column("a_pattern", "N:M", "mask offered for A"),
    Column("b_pattern", "N:M", "mask offered for B"),
    Column("transposed", "", "ran as B.A^T, so that the masked operand meets the selectors"),
    Column("kernel", "", "dataflow or kernel chosen"),
    Column("engine", "", "model that ran it"),
    Column("hardware", "", "machine"),
    Column("compute_cycles", "cycles", "array, or tensor cores, at work"),
    Column("stall_cycles", "cycles", "array waiting for memory, or tensor cores idle"),
    Column("cycles", "cycles", "compute and stall"),
    Column("time_us", "us", "cycles over clock"),
    optional_column(
        "delivery_cycles", "cycles", "part of compute_cycles: waits for the buffers' path"
    ),
    optional_column("useful_cycles", "cycles", "part: macs_useful over peak"),
    optional_column("empty_slot_cycles", "cycles", "part: slots that masks leave empty, padding"),
    optional_column("misfit_cycles", "cycles", "part: slots beyond what the masks promise"),
    optional_column(
        "ragged_cycles", "cycles", "part: lanes and PEs that no slot reaches; tiles beyond C"
    ),
    optional_column(
        "fill_cycles", "cycles", "part: skew in and out of the array; a GPU's prologues"
    ),
    optional_column(
        "preload_cycles", "cycles", "part: shifting the stationary operand in; a GPU's copies"
    ),
    optional_column("drain_cycles", "cycles", "part: shifting outputs out; a GPU's epilogues"),
    optional_column(
        "path_wait_cycles", "cycles", "part: waiting for the buffers' path; for a GPU's L2, SMs"
    ),
    optional_column("dram_wait_cycles", "cycles", "part of stalls: waiting for DRAM's bandwidth"),
    optional_column("latency_wait_cycles", "cycles", "part of stalls: waiting for DRAM's latency"),
    optional_column("writeback_wait_cycles", "cycles", "part of stalls: results have to leave"),
    optional_column("launch_cycles", "cycles", "part: a GPU's launches, host calls if they show"),
    optional_column("tail_cycles", "cycles", "part: a GPU's SMs idle while the fullest ends"),
    optional_column(
        "half_width", "cycles", "half the 95% interval of compute_cycles; 0: nothing sampled"
    ),
    optional_column(
        "folds_run", "folds", "folds of an intersecting array that were run from the bits"
    ),
    optional_column("tiles", "threadblocks", "tiles of C, and of K where it is split, on a GPU"),
    optional_column(
        "waves", "rounds", "threadblocks of a launch over a GPU's slots; 1.1 takes two rounds"
    ),
    Column("macs_dense", "MACs", "M.N.K"),
    Column("macs_issued", "MACs", "slots spent, padding and empty slots included"),
    Column("macs_useful", "MACs", "pairs whose mask bits are both set; none that attention hides"),
    Column("utilization", "fraction", "macs_issued over cycles x peak"),
    Column("dram_read_bytes", "bytes", "read from DRAM, metadata included"),
    Column("dram_write_bytes", "bytes", "written to DRAM"),
    Column("sram_read_bytes", "bytes", "both operands, read from the on-chip buffers"),
    optional_column(
        "a_bits_per_cycle", "bits/cycle", "asked of A's buffer while A moves, with metadata"
    ),
    optional_column(
        "b_bits_per_cycle", "bits/cycle", "asked of B's buffer while B moves, with metadata"
    ),
    Column("metadata_bytes", "bytes", "part of dram_read_bytes that is metadata"),
    Column(
        "scatter_bytes",
        "bytes",
        "a pass after the GEMM: columns added up to an image (col2im), or zeros where none reach",
    ),
    optional_column("scatter_us", "us", "of that pass; part of the step, not of time_us"),
    optional_column("dense_scatter_us", "us", "the same in the machine's own number format"),
    optional_column("compressed", "", "operands read compressed: a, b or ab"),
    optional_column(
        "misfit_share", "fraction", "selected mask's groups that selectors do not cover"
    ),
    optional_column(
        "survivors_mean", "products", "per PE and group of an intersecting array, from bits"
    ),
    optional_column("survivors_expected", "products", "the same, for independent masks"),
    optional_column(
        "survivors", "fractions", "share of (PE, group) with 0, 1, ... products, from bits"
    ),
    optional_column(
        "bit_operations_issued", "bit-ops", "macs_issued by the widths of both operands"
    ),
    optional_column(
        "bit_operations_useful", "bit-ops", "macs_useful by the widths of both operands"
    ),
    *ENERGY_COLUMNS,
    Column("dram_gbps", "GB/s", "DRAM traffic over time"),
    Column(
        "bound",
        "",
        "what most cycles go to: compute, array fill, buffer bandwidth, dram bandwidth or latency",
    ),
    optional_column(
        "speedup", "x", "of the GEMM: dense cycles over these, same machine, same fidelity"
    ),
    optional_column("dense_cycles", "cycles", "of the dense run, mapped as well as can be"),
    optional_column("dense_time_us", "us", "of the dense run"),
    optional_column(
        "format_speedup",
        "x",
        "part of speedup: the dense run over one in number_format; none: the machine's own",
    ),
    optional_column(
        "mask_cycles", "cycles", "of the fastest way that uses a mask, whether it runs or not"
    ),
    optional_column("chosen", "", "what the machine chose, and what it passed over"),
    optional_column("mask_us", "us", "making the masks, per step: search / refresh, and packing"),
    optional_column("mask_weight_us", "us", "part of mask_us: of the weight"),
    optional_column("mask_activation_us", "us", "part of mask_us: of the activation"),
    optional_column("mask_gradient_us", "us", "part of mask_us: of the gradient"),
    optional_column(
        "once_us", "us", "pruning and packing weights once, to infer; no part of a step"
    ),
    optional_column("mask_work", "", "what making the masks takes, and how long each time"),
    optional_column(
        "elementwise_us", "us", "estimate: norms, activations, sums, casts, loss, optimizer"
    ),
    optional_column("dense_elementwise_us", "us", "the same in the machine's own number format"),
    optional_column(
        "communication_us",
        "us",
        "estimate: results exchanged by the machines of tensor parallelism",
    ),
    optional_column("elementwise_bytes", "bytes", "estimate: read and written by that"),
    optional_column("elementwise_launches", "kernels", "estimate: kernels of that"),
    optional_column("elementwise_work", "", "what that is, and how long each takes"),
    optional_column("host_us", "us", "of the host, to call the GEMM and what is beside it"),
    optional_column("dense_host_us", "us", "the same of the dense run"),
    optional_column("number_format", "", "format of the operands in memory, as they ran"),
    Column("note", "", "why an operand ran dense, and the like"),
)
"""The columns of a result table, in order, that do not depend on the kind of machine."""
