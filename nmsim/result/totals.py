"""The sums of a table's rows: per phase, of all, and of the step around them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nmsim.gemm import PHASES
from nmsim.result.columns import ENERGY_COLUMNS, Columns

__all__ = ["macs_left", "totals", "totals_of"]

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
