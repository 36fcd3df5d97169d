"""What a learned residual sees of fused attention on a GPU, and what it makes of a call's time.

It stands beside the residual of GEMMs, one correction for each library, learned of calls whose
tensors had just been used (``replayed``), and is taken to hold for calls that find nothing in L2.
Of a ``head_dim`` and mask that were not measured, which are other kernels, nothing is corrected,
nor of the way back.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import SpecError
from nmsim.files import remembered
from nmsim.machines.attention import AttentionCalls, AttentionLearned
from nmsim.machines.gpu.attention import timed
from nmsim.machines.gpu.attention.grid import (
    BLOCKS,
    COUNT,
    GRID,
    LONGEST,
    RESIDENT,
    ROWS,
    SHORTEST,
    SPLITS,
)
from nmsim.machines.gpu.schema import Gpu
from nmsim.machines.kind import Described
from nmsim.residual.file import Correction, Residual, of_attention, read_residual

__all__ = ["FEATURES", "LEARNED", "applied", "describe", "factors"]

_SIZES = ("batch", "heads", "kv_heads", "queries", "keys", "head_dim", "v_head_dim")
_TIMES = ("launch", "chip", "dram", "before", "after")
_CUT = (SPLITS, COUNT, RESIDENT, BLOCKS, LONGEST, SHORTEST, ROWS)

FEATURES = (
    *(f"log {name}" for name in _SIZES),
    *("causal", "log us"),
    *(f"share of {name}" for name in _TIMES),
    *("log batch heads", "log rows", "log pairs", "log cached", "log group", "queries over keys"),
    *(f"log {GRID[column]}" for column in _CUT),
    *("waves", "fill of the last wave"),
)
"""Names of the features; none is measured."""

MOVED = 0.02
"""Share by which the closed form may have moved since a residual was fitted to what it lacks."""


def describe(machine: Gpu, calls: AttentionCalls) -> Described:
    """The closed form's account of calls, as features and as places in a region.

    Of a region's coordinates the first three are the kernel: head_dim and v_head_dim in octaves,
    and its mask; then come sizes in octaves.
    """
    parts, grid, _ = timed(machine, calls._replace(replayed=True))
    shapes = calls.shapes.astype(np.float64)
    batch, heads, kv_heads, queries, keys, dim, v_dim, causal, window = shapes.T
    sizes = [np.log2(column) for column in shapes.T[: len(_SIZES)]]
    pairs = np.log2(batch * heads * queries * keys)
    of_time = [getattr(parts, name) / parts.total for name in _TIMES]
    waves = grid[:, COUNT] / (machine.sms * np.maximum(1.0, grid[:, RESIDENT]))
    features = [
        *(*sizes, causal, np.log2(parts.total), *of_time),
        *(np.log2(batch * heads), np.log2(batch * heads * queries), pairs),
        *(np.log2(batch * kv_heads * keys), np.log2(heads / kv_heads), queries / keys),
        *(np.log2(np.maximum(1.0, grid[:, column])) for column in _CUT),
        *(np.log2(waves), waves / np.ceil(waves)),
    ]
    kernel = (np.log2(dim), np.log2(v_dim), 2 * causal + (window > 0))
    where = (
        *(*kernel, np.log2(batch), np.log2(heads), np.log2(heads / kv_heads)),
        *(np.log2(queries), np.log2(keys), np.log2(batch * heads), pairs),
    )
    return Described(
        np.column_stack(features).astype(np.float32), np.column_stack(where), parts.total
    )


def _residual(machine: Gpu) -> Residual | None:
    """What was learned of a machine's attention, if it has a residual and one of that, too."""
    if not machine.residual:
        return None
    path = of_attention(Path(machine.residual))
    if not path.is_file():
        return None
    residual = read_residual(path)
    _check(machine, path, residual)
    return residual


@remembered(maxsize=64)
def _check(machine: Gpu, path: Path, residual: Residual) -> None:
    """Refuse a residual that sees other features, or was fitted to other constants."""
    again = "fit it again: nmsim calibrate --residual"
    if residual.features != FEATURES:
        raise SpecError(f"{path}: its features are not those of this version, {again}")
    for library, one in residual.corrections.items():
        shapes = one.probe[:, :-1].astype(np.int64)
        now = timed(machine, AttentionCalls(shapes, library=library, replayed=True))[0].total
        if np.abs(np.log(now / one.probe[:, -1])).max(initial=0.0) > MOVED:
            raise SpecError(
                f"{path}: was fitted to other constants than {machine.name} has, {again}"
            )


def applied(machine: Gpu, one: Correction, calls: AttentionCalls) -> NDArray[np.float64]:
    """The factors of a correction that was learned of calls like these; 1 beyond its region.

    No corrected time is shorter than the products of its pairs allow.
    """
    seen = describe(machine, calls)
    batch, heads, _, queries, keys, dim, v_dim, causal, window = calls.shapes.T.astype(np.float64)
    found = np.where(one.region.has(seen.where), one.factors(seen.features, seen.where), 1.0)
    # Of a mask at least half of the pairs are seen, but of a window.
    pairs = batch * heads * queries * keys * np.where(causal > 0, 0.5, 1.0) * (window == 0)
    floor = pairs * (dim + v_dim) / machine.peak_macs / machine.clock_mhz / seen.us
    bounded: NDArray[np.float64] = np.maximum(found, np.minimum(1.0, floor))
    return bounded


def factors(machine: Gpu, calls: AttentionCalls) -> NDArray[np.float64] | None:
    """By what calls are corrected; None where nothing was learned of their library and phase."""
    residual = _residual(machine) if calls.phase == "forward" else None
    one = residual.corrections.get(calls.library) if residual else None
    return applied(machine, one, calls) if one else None


LEARNED = AttentionLearned(FEATURES, describe, applied, factors)
"""What learned residuals ask of a GPU's fused attention."""
