"""PEs that hold whole groups: how many cycles, beats, a group of the other operand stays in them.

A PE holds all that is kept of its groups and makes ``macs`` products of each in a beat. A fold is
as deep with a mask as without; all of its rows and columns are in lock-step, so that every row that
streams takes as many beats in it as the fullest group of the fold needs, one at least.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.machines.systolic.pe.slots import group_laws, group_slots
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.mask import Mask
from nmsim.pattern import Pattern

__all__ = ["Beats", "ExpectedBeats", "PeGroups", "expected_beats", "pe_groups", "tile_beats"]


class PeGroups(NamedTuple):
    """Elements of a group, groups of a fold along K, and products of each in a beat."""

    group: int
    together: int
    macs: int


class Beats(NamedTuple):
    """Beats of each fold, copies x tiles x folds, and slots that they make, copies x tiles."""

    each: NDArray[np.int64]
    slots: NDArray[np.int64]


class ExpectedBeats(NamedTuple):
    """Mean beats of each fold along K of a tile, and the slots along K that they make."""

    each: NDArray[np.float64]
    slots: float


def pe_groups(machine: SystolicArray) -> PeGroups:
    """The groups of an array whose PEs hold them."""
    return PeGroups(machine.group, machine.rows * machine.groups_per_pe, machine.pe.macs_per_group)


def tile_beats(
    mask: Mask, native: Pattern, copies: int, tile: int, k: int, groups: PeGroups
) -> Beats:
    """Beats of every fold of every tile of lanes, and slots along K of every tile.

    Parameters
    ----------
    mask
        Of copies.rows x K; a dense one where nothing is selected.
    native
        What the selectors support, DENSE where nothing is selected; if every such mask obeys it, no
        bits are made.
    copies
        Copies of the operand in one launch.
    tile
        Lanes in lock-step.
    k
        K, padded to whole groups where the machine does so.
    """
    rows = mask.rows // copies
    lengths = _lengths(k, groups.group)
    if mask.is_dense or mask.obeys(native):
        keep = groups.group if native.is_dense else native.keep
        fullest = np.minimum(keep, lengths)[None, None]
    else:
        tiles = [
            group_slots(mask, native, copy * rows + i, copy * rows + min(i + tile, rows), k)
            for copy in range(copies)
            for i in range(0, rows, tile)
        ]
        fullest = np.stack(tiles).reshape(copies, -1, len(lengths))
    each, slots = _in_beats(fullest, lengths, groups)
    whole = (copies, -(-rows // tile))
    return Beats(
        np.broadcast_to(each, (*whole, each.shape[2])).copy(), np.broadcast_to(slots, whole).copy()
    )


def _lengths(k: int, group: int) -> NDArray[np.int64]:
    """Elements of the groups along K."""
    return np.minimum(group, k - np.arange(0, k, group))


@compiled
def _in_beats(
    fullest: NDArray[np.int64], lengths: NDArray[np.int64], groups: PeGroups
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Beats of every fold, and slots of every tile: those of a group are no more than its elements.

    ``fullest`` is what the fullest lane of each group keeps, copies x tiles x groups.
    """
    copies, tiles, many = fullest.shape
    folds = (many + groups.together - 1) // groups.together
    each, slots = np.ones((copies, tiles, folds), np.int64), np.zeros((copies, tiles), np.int64)
    for copy in range(copies):
        for t in range(tiles):
            for g in range(many):
                beats = (fullest[copy, t, g] + groups.macs - 1) // groups.macs
                fold = g // groups.together
                each[copy, t, fold] = max(each[copy, t, fold], beats)
            for g in range(many):
                beats = each[copy, t, g // groups.together]
                slots[copy, t] += min(beats * groups.macs, lengths[g])
    return each, slots


def expected_beats(
    mask: Mask, native: Pattern, lanes: int, k: int, groups: PeGroups
) -> ExpectedBeats:
    """Beats of every fold along K, and slots, that a tile takes if masks are drawn uniformly.

    The fullest group of a fold keeps at most x elements if all groups of all lanes do: the product
    of what each group's law says of it, to the power of lanes. Exact where the mask obeys the
    native pattern, or nothing is selected.
    """
    if mask.is_dense or mask.obeys(native):
        counted = tile_beats(mask, native, 1, mask.rows, k, groups)
        return ExpectedBeats(counted.each[0, 0].astype(np.float64), float(counted.slots[0, 0]))
    lengths = _lengths(k, groups.group)
    at_most = _at_most(mask, native, k, (len(lengths), groups.group + 1))
    firsts = range(0, len(lengths), groups.together)
    each, slots = np.ones(len(firsts)), 0.0
    for fold, first in enumerate(firsts):
        together = slice(first, first + groups.together)
        fits = np.prod(at_most[together], axis=0) ** lanes
        law = np.diff(fits, prepend=0.0)  # of the fullest group
        law[-1] += 1.0 - fits[-1]
        units = np.maximum(1, -(-np.arange(len(law)) // native.keep)) * native.keep
        beats = -(-np.minimum(units, lengths[together].max()) // groups.macs)
        each[fold] = law @ beats
        taken = np.minimum.outer(lengths[together], beats * groups.macs).sum(axis=0)
        slots += float(law @ taken)
    return ExpectedBeats(each, slots)


def _at_most(mask: Mask, native: Pattern, k: int, shape: tuple[int, int]) -> NDArray[np.float64]:
    """P(a group keeps at most 0, 1, ... elements), of every group along K."""
    at_most = np.ones(shape)
    for law, own in zip(group_laws(mask, native, k), at_most, strict=True):
        sums = np.cumsum(law)[: len(own)]
        own[: len(sums)] = sums.clip(0, 1)
    return at_most
