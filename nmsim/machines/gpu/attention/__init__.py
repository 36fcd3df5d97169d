"""Fused attention on GPUs: one kernel that keeps scores and probabilities on chip.

``kernels`` says how libraries cut the work, ``grid`` cuts it, ``clock`` times it. Closed form: a
call costs its rows of queries, not its pairs.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import SpecError
from nmsim.files import remembered
from nmsim.machines.attention import AttentionCalls, AttentionRoutines
from nmsim.machines.gpu.attention.clock import Parts, bytes_of, times
from nmsim.machines.gpu.attention.grid import (
    COUNT,
    SPLITS,
    TILE,
    grids,
    policy_of,
    tile_table,
)
from nmsim.machines.gpu.attention.kernels import AttentionKernels, load_attention_kernels
from nmsim.machines.gpu.schema import Gpu
from nmsim.machines.measured_as import letters
from nmsim.registry import unknown_name
from nmsim.spec import validate

__all__ = ["ATTENTION", "bound_of", "kernel_of", "library_of", "serves", "timed"]


def _sets(machine: Gpu) -> list[AttentionKernels]:
    return [load_attention_kernels(name) for name in machine.attention]


def library_of(machine: Gpu, text: str) -> str:
    """The library that a measured table means, by the longest ``measured_as``; "" if none."""
    known = [
        (len(letters(part)), one.library)
        for one in _sets(machine)
        for part in one.measured_as
        if letters(text).startswith(letters(part))
    ]
    return max(known)[1] if known else ""


@remembered(maxsize=256)
def serves(machine: Gpu, library: str) -> AttentionKernels:
    """The kernels of a library on a GPU; of the first that the GPU has where none is named.

    Raises
    ------
    SpecError
        if the GPU has no fused attention.
    UnknownName
        if it has none of that library.
    """
    sets = _sets(machine)
    if not sets:
        raise SpecError(f"{machine.name}: has no kernels of fused attention (field attention)")
    found = [one for one in sets if library in ("", one.library)]
    if not found:
        raise unknown_name("attention library", library, [one.library for one in sets])
    return found[0]


def _with(kernels: AttentionKernels, constants: Mapping[str, float] | None) -> AttentionKernels:
    if not constants:
        return kernels
    changed = {**kernels.constants.model_dump(), **constants}
    where = f"constants of {kernels.library}"
    own = validate(type(kernels.constants), changed, where)
    return kernels.model_copy(update={"constants": own})


def _cut(
    machine: Gpu, kernels: AttentionKernels, calls: AttentionCalls
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    tiles = tile_table(kernels)
    grid = grids(calls.shapes, tiles, policy_of(kernels, calls.phase), machine.sms)
    if np.any(grid[:, TILE] < 0):
        widest = int(calls.shapes[grid[:, TILE] < 0][:, 5:7].max())
        raise SpecError(
            f"{machine.name}: {kernels.library} has no attention kernel of {calls.phase} for "
            f"head_dim {widest}"
        )
    return grid, tiles


def timed(
    machine: Gpu, calls: AttentionCalls, constants: Mapping[str, float] | None = None
) -> tuple[Parts, NDArray[np.float64], AttentionKernels]:
    """Microseconds of calls by part, how each is cut, and whose kernels run them.

    Raises
    ------
    SpecError, UnknownName
        if the GPU or the library has no kernel for one of them.
    """
    kernels = _with(serves(machine, calls.library), constants)
    grid, tiles = _cut(machine, kernels, calls)
    parts = times(machine, kernels, calls.phase, calls.shapes, grid, tiles, replayed=calls.replayed)
    return parts, grid, kernels


def _times(
    machine: Gpu, calls: AttentionCalls, constants: Mapping[str, float] | None = None
) -> NDArray[np.float64]:
    return timed(machine, calls, constants)[0].total


_BOUNDS = ("tensor cores", "dram bandwidth", "launch", "copies", "combining")


def bound_of(parts: Parts) -> NDArray[Any]:
    """What takes longest in each call."""
    largest = np.argmax([parts.chip, parts.dram, parts.launch, parts.before, parts.after], axis=0)
    found: NDArray[Any] = np.array(_BOUNDS, object)[largest]
    return found


def _tiles(kernels: AttentionKernels, grid: NDArray[np.float64]) -> NDArray[Any]:
    names = np.array([f"{tile.queries}x{tile.keys}" for tile in kernels.tiles], object)
    return names[grid[:, TILE].astype(np.int64)]


def kernel_of(kernels: AttentionKernels, grid: NDArray[np.float64]) -> list[str]:
    """Library, tile and parts of the keys of each call, for a reader."""
    splits = grid[:, SPLITS].astype(np.int64)
    parts = [f", keys in {n} parts" if n > 1 else "" for n in splits]
    tiles = _tiles(kernels, grid)
    return [f"{kernels.library} {tile}{part}" for tile, part in zip(tiles, parts, strict=True)]


def _account(machine: Gpu, calls: AttentionCalls) -> dict[str, NDArray[Any]]:
    parts, grid, kernels = timed(machine, calls)
    element = machine.format(machine.dtype).bits / 8
    moved = bytes_of(calls.shapes, grid, kernels, calls.phase, element)
    return {
        "time_us": parts.total,
        "library": np.full(len(grid), kernels.library, object),
        "read_bytes": moved.read,
        "written_bytes": moved.written,
        "beside_bytes": moved.copied + moved.beside,
        "kernel": _tiles(kernels, grid),
        "split": grid[:, SPLITS].astype(np.int64),
        "ctas": grid[:, COUNT].astype(np.int64),
        "bound": bound_of(parts),
    }


ATTENTION = AttentionRoutines(
    times=_times,
    account=_account,
    libraries=lambda machine: tuple(one.library for one in _sets(machine)),
    library_of=library_of,
    constants=lambda machine, library: {
        name: getattr(serves(machine, library).constants, name)
        for name in serves(machine, library).fitted
    },
)
"""What is asked of a GPU's fused attention."""
