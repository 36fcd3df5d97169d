"""How a library cuts attention: threadblocks, blocks that each works off, parts of the keys.

All of it is integers and follows from sizes and from the library's rules; nothing is timed. Forward
keeps rows of queries in a threadblock and lets blocks of keys go by; backward keeps keys.

Sources: Dao, FlashAttention-2, ICLR 2024, section 3; Shah et al., FlashAttention-3, NeurIPS 2024;
the plan of split keys is that of FlashAttention's ``num_splits_heuristic``.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.machines.gpu.attention.kernels import AttentionKernels

__all__ = ["GRID", "RANKS", "Policy", "grids", "policy_of", "tile_table"]

BATCH, HEADS, KV_HEADS, QUERIES, KEYS, HEAD_DIM, V_HEAD_DIM, CAUSAL, WINDOW = range(9)
"""Columns of an array of shapes."""

RANKS = 8
"""Rounds of threadblocks for which the longest that must start in them is looked up."""

STAY, PASS, CTAS, MOST_DIM, MOST_ROWS, SPLIT, BACKWARD = range(7)
"""Columns of a tile table."""

GRID = ("tile", "splits", "ctas", "resident", "blocks", "longest", "shortest", "rows")
"""Columns of a grid, before those of the ranks."""

TILE, SPLITS, COUNT, RESIDENT, BLOCKS, LONGEST, SHORTEST, ROWS = range(8)

VISITED = 8 + RANKS
"""Column of a grid, behind those of the ranks: blocks with a pair, of all threadblocks together."""

_FILLED = 0.8
"""Share of the slots that threadblocks must fill for the keys to stay whole."""

_GOOD = 0.85
"""Share of the best filling of waves that is good enough."""

_MARGIN = 1.1
"""By how much a balanced plan rounds an SM's blocks up."""


class Policy(NamedTuple):
    """A library's rules as numbers: see ``KeySplit`` and ``AttentionKernels``.

    ``plan`` is 0 for none, 1 for waves, 2 for balanced; ``packs`` 0 never, 1 one query, 2 always.
    """

    packs: int
    plan: int
    most: int
    slots: int
    least: int
    grouped: int
    planned: int
    backward: int


def policy_of(kernels: AttentionKernels, phase: str) -> Policy:
    """The rules of a set of kernels in a phase; in backward nothing is packed or split."""
    if phase == "backward":
        return Policy(0, 0, 1, 1, 1, 0, 0, 1)
    packs = ("never", "one_query", "always").index(kernels.packs_groups)
    split = kernels.split
    if split is None:
        return Policy(packs, 0, 1, 1, 1, 0, 0, 0)
    plan = 1 + ("waves", "balanced").index(split.plan)
    return Policy(
        *(packs, plan, split.most, split.sm_slots, split.least_blocks),
        *(int(split.grouped_only), split.planned_kv_heads, 0),
    )


def tile_table(kernels: AttentionKernels) -> NDArray[np.int64]:
    """Tiles as numbers, a row each, in the columns STAY to BACKWARD."""
    rows = []
    for tile in kernels.tiles:
        backward = tile.phase == "backward"
        stay, passing = (tile.keys, tile.queries) if backward else (tile.queries, tile.keys)
        split = -1 if tile.split is None else int(tile.split)
        rows.append(
            (stay, passing, tile.ctas_per_sm, tile.head_dim, tile.most_rows, split, int(backward))
        )
    return np.array(rows, np.int64)


@compiled
def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@compiled
def _packed(shape: NDArray[np.int64], policy: Policy) -> int:
    """Heads of Q whose rows share a block."""
    group = shape[HEADS] // shape[KV_HEADS]
    one = policy.packs == 1 and shape[QUERIES] == 1
    return int(group) if policy.packs == 2 or one else 1


@compiled
def _visited(level: int, shape: NDArray[np.int64], tile: NDArray[np.int64], packed: int) -> int:
    """Blocks that the threadblock of a level of queries (backward: of keys) works off."""
    queries, keys, stay, passing = shape[QUERIES], shape[KEYS], tile[STAY], tile[PASS]
    if not shape[CAUSAL]:
        return _ceil(queries if tile[BACKWARD] else keys, passing)
    ahead, window = keys - queries, shape[WINDOW]
    if tile[BACKWARD]:  # queries that see one of these keys
        first = max(0, level * stay - ahead)
        last = queries
        if window:
            last = min(queries, max(first, min((level + 1) * stay, keys) - 1 - ahead + window))
        return _ceil(last, passing) - int(first // passing) if last > first else 0
    first = level * stay // packed
    last = min(((level + 1) * stay - 1) // packed, queries - 1)
    low = max(0, first + ahead + 1 - window) if window else 0
    return _ceil(last + ahead + 1, passing) - int(low // passing)


@compiled
def _passed_over(blocks: int, parts: int, policy: Policy) -> bool:
    """Whether the longest part is as long as with one part fewer, which a plan by waves avoids."""
    return policy.plan == 1 and parts > 1 and _ceil(blocks, parts) == _ceil(blocks, parts - 1)


@compiled
def _fewest(threadblocks: int, blocks: int, slots: int, policy: Policy) -> int:
    """The fewest parts of the keys whose waves are filled well; 1 if whole keys fill them."""
    if threadblocks >= _FILLED * slots or blocks < policy.least:
        return 1
    most = min(policy.most, slots, blocks)
    best = 0.0
    for parts in range(1, most + 1):
        if not _passed_over(blocks, parts, policy):
            waves = threadblocks * parts / slots
            best = max(best, waves / np.ceil(waves))
    for parts in range(1, most + 1):
        waves = threadblocks * parts / slots
        if not _passed_over(blocks, parts, policy) and waves / np.ceil(waves) >= _GOOD * best:
            return parts
    return 1


@compiled
def _bound(
    shape: NDArray[np.int64], tile: NDArray[np.int64], packed: int, sms: int, policy: Policy
) -> int:
    """Parts that the keys may be split into; a balanced plan asks for one sequence alone."""
    if policy.plan == 0:
        return 1
    if policy.grouped and (shape[QUERIES] > 1 or shape[HEADS] == shape[KV_HEADS]):
        return 1
    levels = _ceil(shape[QUERIES] * packed, tile[STAY])
    sequences = shape[BATCH] if policy.plan == 1 else 1
    threadblocks = sequences * (shape[HEADS] // packed) * levels
    blocks = _visited(levels - 1, shape, tile, packed)
    return _fewest(threadblocks, blocks, sms * policy.slots, policy)


@compiled
def _parts(
    shape: NDArray[np.int64],
    tile: NDArray[np.int64],
    packed: int,
    sms: int,
    bound: int,
    policy: Policy,
) -> int:
    """Parts that the keys are split into, of those that they may be."""
    if policy.plan != 2 or bound == 1:
        return bound
    levels = _ceil(shape[QUERIES] * packed, tile[STAY])
    blocks = _visited(levels - 1, shape, tile, packed)
    heads = policy.planned or shape[HEADS] // packed
    each = np.ceil(shape[BATCH] * levels * blocks * _MARGIN * heads / sms)
    return max(1, min(bound, int(np.ceil(blocks / each))))


@compiled
def _fits(shape: NDArray[np.int64], tile: NDArray[np.int64], packed: int, policy: Policy) -> bool:
    if (
        tile[BACKWARD] != policy.backward
        or max(shape[HEAD_DIM], shape[V_HEAD_DIM]) > tile[MOST_DIM]
    ):
        return False
    return bool(tile[MOST_ROWS] == 0 or shape[QUERIES] * packed <= tile[MOST_ROWS])


@compiled
def _choose(
    shape: NDArray[np.int64], tiles: NDArray[np.int64], packed: int, sms: int, policy: Policy
) -> tuple[int, int]:
    """The first tile that a call fits, -1 if none, and the parts of its keys."""
    for number in range(len(tiles)):
        tile = tiles[number]
        if not _fits(shape, tile, packed, policy):
            continue
        if tile[SPLIT] == 0:
            return number, 1
        bound = _bound(shape, tile, packed, sms, policy)
        if tile[SPLIT] == 1 and bound == 1:
            continue
        return number, _parts(shape, tile, packed, sms, bound, policy)
    return -1, 1


@compiled
def _rank(lengths: NDArray[np.int64], longest: int, copies: int, position: int) -> int:
    """Blocks of the threadblock at a position, the longest at 0; ``lengths`` counts levels."""
    seen = 0
    for length in range(longest, -1, -1):
        seen += lengths[length] * copies
        if seen > position:
            return length
    return 0


@compiled
def grids(
    shapes: NDArray[np.int64], tiles: NDArray[np.int64], policy: Policy, sms: int
) -> NDArray[np.float64]:
    """How each call is cut.

    Invariant: the levels of one head (blocks of rows that stay) are the same for all heads,
    sequences and parts of the keys, so that threadblocks are counted by length, a level at a time,
    and ``blocks`` is exactly what all of them work off together, each part as long as the longest.

    Parameters
    ----------
    shapes
        Calls x 9, columns BATCH to WINDOW.
    tiles
        As ``tile_table`` gives them.

    Returns
    -------
    array
        Calls x (9 + RANKS): the columns of GRID, then, for round 1 to RANKS, the blocks of the
        longest threadblock that is left to it when all SMs' slots have started those before; last
        VISITED. Tile -1: the library has none for the call.
    """
    found = np.zeros((len(shapes), 9 + RANKS), np.float64)
    for row in range(len(shapes)):
        shape = shapes[row]
        packed = _packed(shape, policy)
        number, parts = _choose(shape, tiles, packed, sms, policy)
        found[row, TILE] = number
        if number < 0:
            continue
        tile = tiles[number]
        length = shape[KEYS] if policy.backward else shape[QUERIES] * packed
        levels = _ceil(length, tile[STAY])
        copies = shape[BATCH] * (shape[HEADS] // packed) * parts
        most = _ceil(max(shape[KEYS], shape[QUERIES]), tile[PASS])
        lengths = np.zeros(most + 1, np.int64)
        total, visited, longest, shortest = 0, 0, 0, most
        for level in range(levels):
            whole = _visited(level, shape, tile, packed)
            blocks = _ceil(whole, parts)
            visited += whole
            lengths[blocks] += 1
            total += blocks
            longest, shortest = max(longest, blocks), min(shortest, blocks)
        count = copies * levels
        resident = min(tile[CTAS], _ceil(count, sms))
        found[row, SPLITS] = parts
        found[row, COUNT] = count
        found[row, RESIDENT] = resident
        found[row, BLOCKS] = total * copies
        found[row, VISITED] = visited * (copies // parts)
        found[row, LONGEST] = longest
        found[row, SHORTEST] = shortest
        found[row, ROWS] = min(tile[STAY], length)
        for k in range(1, RANKS + 1):
            position = k * sms * resident
            if position < count:
                found[row, 7 + k] = _rank(lengths, longest, copies, position)
    return found
