"""What an engine finds out about one GEMM, and the row that a table shows of it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nmsim.gemm import PHASES

__all__ = [
    "COMMON_COLUMNS",
    "ENERGY_COLUMNS",
    "LAUNCH_COLUMNS",
    "SLOT_COLUMNS",
    "Column",
    "Columns",
    "Parts",
    "Result",
    "macs_left",
    "totals",
    "totals_of",
]


@dataclass(frozen=True)
class Survivors:
    """Shares of (PE, group) pairs that have x = 0, 1, ... products of two kept elements.

    ``measured`` from the bits of both masks; empty where no bits were asked for. ``expected`` for
    the same counts of kept elements at independent positions.
    """

    measured: tuple[float, ...]
    expected: tuple[float, ...]

    @staticmethod
    def mean(shares: tuple[float, ...]) -> float | None:
        """Surviving products per PE and group; None without shares."""
        return math.fsum(x * share for x, share in enumerate(shares)) if shares else None


SLOT_COLUMNS = ("useful_cycles", "empty_slot_cycles", "misfit_cycles", "ragged_cycles")
"""Cycles that stream, by what fills the slots of an array."""


LAUNCH_COLUMNS = ("launch_cycles", "tail_cycles")
"""Cycles of launches, and of a tail of threadblocks: 0 of what has ``Parts``."""


class Parts(NamedTuple):
    """Where the cycles go, all repeats: they add up to ``cycles``.

    The first five to ``compute_cycles``: cycles that stream (which a row splits by what fills the
    slots), skew in and out of the array, shifting in and out, and waiting for the buffers' path.
    The others to ``stall_cycles``: what the array waits for, DRAM's bandwidth, its latency, or
    results to leave.
    """

    streamed: int
    fill: int
    preload: int
    drain: int
    path_wait: int
    dram_wait: int
    latency_wait: int
    writeback_wait: int

    def times(self, count: int) -> "Parts":
        """Of so many repeats."""
        return Parts._make(count * value for value in self)

    @classmethod
    def columns(cls, parts: "Parts | None") -> dict[str, int | None]:
        """The columns of a row that hold them, but for what streams; None: a machine has none."""
        values = parts or (None,) * len(cls._fields)
        columns = {f"{name}_cycles": v for name, v in zip(cls._fields, values, strict=True)}
        del columns["streamed_cycles"]
        return columns


@dataclass(frozen=True)
class Result:
    """What one GEMM costs on one machine: all copies and repeats, whole cycles and bytes.

    Parameters
    ----------
    engine, kernel
        The model that ran it and what it chose: the dataflow of an array, the tile of a GPU.
    transposed
        It ran as ``C^T = B . A^T``.
    compute_cycles, stall_cycles
        Cycles at work, and cycles that it waited for memory.
    delivery_cycles
        The part of ``compute_cycles`` that waits for the path from the buffers.
    clock_mhz
        Cycles per microsecond.
    peak_macs
        Physical MACs per cycle.
    macs_issued
        MAC slots spent, group padding and empty slots included.
    dram_read_bytes, dram_write_bytes
        Traffic with DRAM; metadata included.
    sram_read_bytes
        Bytes of both operands, metadata included, read from the on-chip buffers; not partial sums.
    metadata_bytes
        The part of ``dram_read_bytes`` that is metadata.
    a_bits_per_cycle, b_bits_per_cycle
        What the array asks of each operand's buffer per cycle in which the operand moves (streams,
        or shifts in before), metadata included.
    bound
        What most of its cycles go to: "compute", "array fill", "buffer bandwidth", "dram bandwidth"
        or "dram latency"; a GPU's words are its kind's.
    note
        What the reader should know.
    selects
        The selectors followed a mask.
    misfit_share
        Share of the groups of a mask that the selectors followed, or would follow, which they do
        not cover; None if they can follow none.
    survivors
        What both masks leave of a group; None unless the array intersects two of them.
    half_width
        Half the 95% confidence interval of ``compute_cycles``; 0 where nothing was estimated.
    folds_run
        Folds of an intersecting array that were run, all copies; None elsewhere.
    tiles, waves
        Threadblocks of a GPU, and those of one launch over its slots (1.1: a second round for a
        tenth of them); None for arrays and matrix-vector kernels.
    compressed
        Operands that were read compressed: "a", "b", "ab" or "".
    chosen
        What the machine chose of the ways to run the GEMM, and what it passed over.
    mask_cycles
        Cycles of the fastest way that uses a mask, whether it runs or not; None where none can be.
    parts
        Where the cycles go; None where a machine does not tell.
    spent
        Clocks of one launch by what its model adds up, in words of the machine's kind, which makes
        parts of them; empty where ``parts`` has them, or nobody tells.
    partition
        What each of several arrays gets a part of: "m", "n", "k" or "copies"; "" where one has all.
    idle_cycles
        The part of ``compute_cycles`` in which arrays have no work left, mean of all arrays.
    own
        Columns that only machines of its kind have, by name, as far as the model counts them.
    """

    engine: str
    kernel: str
    transposed: bool
    compute_cycles: int
    stall_cycles: int
    clock_mhz: float
    peak_macs: float
    macs_issued: int
    dram_read_bytes: int
    dram_write_bytes: int
    sram_read_bytes: int
    metadata_bytes: int
    bound: str
    delivery_cycles: int = 0
    a_bits_per_cycle: float | None = None
    b_bits_per_cycle: float | None = None
    note: str = ""
    selects: bool = False
    misfit_share: float | None = None
    survivors: Survivors | None = None
    half_width: int = 0
    folds_run: int | None = None
    tiles: int | None = None
    waves: float | None = None
    compressed: str = ""
    chosen: str = ""
    mask_cycles: int | None = None
    parts: Parts | None = None
    spent: Mapping[str, float] = field(default_factory=dict)
    partition: str = ""
    idle_cycles: int = 0
    own: Mapping[str, Any] = field(default_factory=dict)

    def but(self, **changes: Any) -> "Result":
        """The same result with other values of some fields; ``replace`` takes ten times as long."""
        made = Result.__new__(Result)
        made.__dict__.update(self.__dict__, **changes)
        return made

    @property
    def cycles(self) -> int:
        """All cycles of the GEMM: at work, and waiting."""
        return self.compute_cycles + self.stall_cycles

    @property
    def time_us(self) -> float:
        """Microseconds that all copies and repeats take."""
        return self.cycles / self.clock_mhz

    @property
    def utilization(self) -> float:
        """MAC slots spent over all that the machine has in these cycles; 0 if there are none."""
        return self.macs_issued / (max(1, self.cycles) * self.peak_macs)

    @property
    def dram_gbps(self) -> float:
        """DRAM traffic over time, gigabytes (1e9) per second."""
        moved = self.dram_read_bytes + self.dram_write_bytes
        return moved / self.time_us * 1e-3 if self.cycles else 0.0


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

Columns = dict[str, Sequence[Any]]
"""Rows, column by column."""

_SUMS = (
    "cycles",
    "time_us",
    "macs_dense",
    "macs_issued",
    "macs_useful",
    "dram_read_bytes",
    "dram_write_bytes",
)


def totals(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Sums per phase and for ``all``, with the speed-up of the sum and the ideal MAC ratio.

    ``speedup`` is of the GEMMs: dense cycles over cycles, None where no dense run was asked for.
    ``format_speedup`` is the part of it that is the number formats': dense cycles over those of
    dense GEMMs in the formats that the rows ran in; None where all ran in the machine's own.
    ``mask_cycles`` are cycles if every mask that can be used were, whether it runs or not, and
    ``mask_speedup`` dense cycles over these; None where no mask can be used. ``paying_cycles`` are
    cycles if masks were used where they beat the dense run alone, ``paying_speedup`` dense cycles
    over these; ``losing`` counts the GEMMs, of ``masked`` ones, whose mask does not: it takes more
    cycles than the dense run, whichever runs. ``speedup_ideal`` is
    macs_dense over the MACs that the masks leave (``macs_left``): what they promise to a machine
    that skips every pruned MAC and waits for nothing; None where none is left. ``sparse_share`` is
    the share of macs_dense in GEMMs that offer a mask by which the machine spends fewer slots than
    M.N.K: what Hubara et al. (NeurIPS 2021, Tables 3 and 4) print as utilisation of the sparse
    tensor cores. ``energy_pj``, its parts and the ends of its band are sums over GEMMs, None where
    a row has none.

    A step is GEMMs, masks (``mask_us``, also by role), passes that put images together
    (``scatter_us``), and, where they were estimated, elementwise work (``elementwise_us``) and what
    machines that share a network exchange (``communication_us``), or what the host takes to call
    all of these (``host_us``) where that is longer, by ``host_wait_us``: ``step_us``. Weights that
    do not change are pruned and packed once (``once_us``), in no step. ``mask_share`` is the masks'
    part of it. A dense step, ``dense_step_us``, has no masks and the machine's own number format,
    whatever the recipe; ``step_speedup`` is it over the step. None where rows do not tell.
    """
    table = list(rows)
    return totals_of({name: [row.get(name) for row in table] for name in _SUMMED})


def totals_of(columns: Columns) -> dict[str, dict[str, Any]]:
    """The sums of ``totals`` of rows column by column; of a column that is not there, none."""
    phases = columns["phase"]
    none: Sequence[Any] = [None] * len(phases)
    known = {name: columns.get(name, none) for name in _SUMMED}
    result = {}
    for phase in PHASES:
        of_phase = [place for place, one in enumerate(phases) if one == phase]
        if of_phase:
            own: Columns = {name: [values[i] for i in of_phase] for name, values in known.items()}
            result[str(phase)] = _total(own)
    result["all"] = _total(known)
    return result


def _total(rows: Columns) -> dict[str, Any]:
    sums: dict[str, Any] = {name: sum(rows[name]) for name in _SUMS}
    sums["time_us"] = math.fsum(rows["time_us"])
    dense = _total_known(rows, "dense_cycles")
    masked = _masked_cycles(rows)
    gain = [left < whole for left, whole in zip(*_pair(rows, "macs_issued"), strict=True)]
    offers = _offers(rows)
    both = zip(rows["macs_dense"], gain, offers, strict=True)
    sparse = sum(macs for macs, less, offered in both if less and offered)
    left = zip(*_pair(rows, "macs_useful"), offers, strict=True)
    return {
        **sums,
        **{name: _total_known(rows, name) for name in _COUNTS},
        **{one.name: _sum_known(rows, one.name) for one in ENERGY_COLUMNS},
        **_step(rows, sums["time_us"]),
        "sparse_share": _quotient(sparse, sums["macs_dense"]),
        "beyond_share": _beyond_share(rows, sums["time_us"]),
        "dense_cycles": dense,
        "speedup": _quotient(dense, sums["cycles"]),
        "format_speedup": None if dense is None else _format_speedup(rows),
        "mask_cycles": masked,
        "mask_speedup": _quotient(dense, masked),
        **_where_they_pay(rows, dense),
        "speedup_ideal": _quotient(
            sums["macs_dense"], sum(useful if one else whole for useful, whole, one in left)
        ),
    }


def _pair(rows: Columns, name: str) -> tuple[Sequence[int], Sequence[int]]:
    """A count of MACs, and MACs with nothing pruned."""
    return rows[name], rows["macs_dense"]


def _offers(rows: Columns) -> list[bool]:
    """Whether each row offers a mask."""
    patterns = zip(rows["a_pattern"], rows["b_pattern"], strict=True)
    return [both != ("dense", "dense") for both in patterns]


def _where_they_pay(rows: Columns, dense: int | None) -> dict[str, Any]:
    """Cycles with masks in use only where they beat the dense run, and how many GEMMs' lose."""
    triples = zip(rows["mask_cycles"], rows["cycles"], rows["dense_cycles"], strict=True)
    masked = [one for one in triples if one[0] is not None]
    if dense is None or not masked:
        return {
            "masked": len(masked),
            "losing": None,
            "paying_cycles": None,
            "paying_speedup": None,
        }
    others = sum(rows["cycles"]) - sum(cycles for _, cycles, _ in masked)
    paying = others + sum(min(tried, plain) for tried, _, plain in masked)
    return {
        "masked": len(masked),
        "losing": sum(tried > plain for tried, _, plain in masked),
        "paying_cycles": paying,
        "paying_speedup": _quotient(dense, paying),
    }


def macs_left(row: Mapping[str, Any]) -> int:
    """MACs of a row that its masks leave: all where none is offered.

    Fused attention has fewer useful ones, as causality hides pairs, which is no mask's promise.
    """
    offered = (row["a_pattern"], row["b_pattern"]) != ("dense", "dense")
    left: int = row["macs_useful" if offered else "macs_dense"]
    return left


def _beyond_share(rows: Columns, time_us: float) -> float | None:
    """The share of the time beyond measured data; None where no row tells where it stands."""
    if not any(rows["evidence"]):
        return None
    stands = zip(rows["evidence"], rows["time_us"], strict=True)
    beyond = math.fsum(taken for word, taken in stands if word == "beyond")
    return min(1.0, beyond / time_us) if time_us else 0.0


def _quotient(numerator: float | None, denominator: float | None) -> float | None:
    return numerator / denominator if numerator is not None and denominator else None


def _masked_cycles(rows: Columns) -> int | None:
    """Cycles with every mask in use that can be, whether it runs or not; None where none can."""
    tried = rows["mask_cycles"]
    if all(one is None for one in tried):
        return None
    cycles: Sequence[int] = rows["cycles"]
    return sum(runs if one is None else one for one, runs in zip(tried, cycles, strict=True))


def _format_speedup(rows: Columns) -> float | None:
    """Dense cycles over those in the number formats of the rows; None if all have the machine's."""
    gains, dense = rows["format_speedup"], rows["dense_cycles"]
    if all(gain is None for gain in gains):
        return None
    alone = math.fsum(d / (gain or 1.0) for d, gain in zip(dense, gains, strict=True))
    return _quotient(sum(dense), alone)


_BESIDE = (
    "mask_us",
    "mask_weight_us",
    "mask_activation_us",
    "mask_gradient_us",
    "elementwise_us",
    "scatter_us",
    "communication_us",
    "once_us",
)


def _step(rows: Columns, gemms_us: float) -> dict[str, Any]:
    """What a step takes beside its GEMMs, and what is left of the speed-up."""
    beside = {name: _sum_known(rows, name) for name in _BESIDE}
    masks, dense = beside["mask_us"], _sum_known(rows, "dense_time_us")
    others = ("elementwise_us", "scatter_us", "communication_us")
    busy = None if masks is None else gemms_us + masks + sum(beside[one] or 0.0 for one in others)
    of_dense = (_sum_known(rows, f"dense_{one}") for one in others)
    others_of_dense = (
        beside[one] if own is None else own for one, own in zip(others, of_dense, strict=True)
    )
    dense_busy = None if dense is None else dense + sum(own or 0.0 for own in others_of_dense)
    step = _called(busy, _sum_known(rows, "host_us"))
    dense_step = _called(dense_busy, _sum_known(rows, "dense_host_us"))
    return {
        "dense_time_us": dense,
        **beside,
        "host_wait_us": None if step is None or busy is None else step - busy,
        "step_us": step,
        "dense_step_us": dense_step,
        "mask_share": _quotient(masks, step),
        "step_speedup": _quotient(dense_step, step),
    }


def _called(busy: float | None, host: float | None) -> float | None:
    """A machine's time, or that of the host which calls its kernels, whichever is longer."""
    return busy if busy is None or host is None else max(busy, host)


_COUNTS = (
    "bit_operations_issued",
    "bit_operations_useful",
    "elementwise_bytes",
    "elementwise_launches",
)


def _total_known(rows: Columns, name: str) -> int | None:
    """A sum of counts, None unless every row has the value."""
    values: Sequence[int] = rows[name]
    return None if None in values or not values else sum(values)


def _sum_known(rows: Columns, name: str) -> float | None:
    """A sum, None unless every row has the value."""
    values = rows[name]
    return None if None in values or not values else math.fsum(values)


_SUMMED = (
    *("phase", "a_pattern", "b_pattern", "evidence", "mask_cycles", "format_speedup"),
    *_SUMS,
    *_COUNTS,
    *_BESIDE,
    *(column.name for column in ENERGY_COLUMNS),
    *("dense_cycles", "dense_time_us", "dense_elementwise_us", "dense_scatter_us"),
    *("host_us", "dense_host_us", "dense_communication_us"),
)
"""Columns that totals are made of."""
