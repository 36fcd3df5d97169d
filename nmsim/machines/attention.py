"""Fused attention on any kind of machine that has it: what a kind offers, and what it costs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.attention import Attention
from nmsim.gemm import Gemm
from nmsim.result import Result

__all__ = [
    "AttentionCalls",
    "AttentionLearned",
    "AttentionRoutines",
    "AttentionTime",
    "Fusion",
    "shapes_of",
]


class AttentionCalls(NamedTuple):
    """Calls of one library in one phase.

    Parameters
    ----------
    shapes
        Calls x 9 integers: batch, heads, kv_heads, queries, keys, head_dim, v_head_dim, causal (0
        or 1), window.
    phase
        forward or backward.
    library
        By name; "" for what the machine has first.
    replayed
        The same tensors have just been used, as in a benchmark's loop: L2 holds what fits.
    """

    shapes: NDArray[np.int64]
    phase: str = "forward"
    library: str = ""
    replayed: bool = False


class AttentionTime(NamedTuple):
    """What one attention costs, all its repeats together.

    Parameters
    ----------
    time_us
        Microseconds.
    read_bytes, written_bytes
        Of Q, K, V, O and the statistics, or of their gradients.
    beside_bytes
        Of kernels before and after: copies into a cache, partial results.
    macs, flops
        Multiply-adds of scored pairs, and twice as many.
    bound
        What takes longest: tensor cores, DRAM, launch, copies, combining.
    kernel
        Library, tile and split of the keys, for a reader.
    """

    time_us: float
    read_bytes: int
    written_bytes: int
    beside_bytes: int
    macs: int
    flops: int
    bound: str
    kernel: str


@dataclass(frozen=True)
class AttentionLearned:
    """What a kind of machine offers to residuals that are learned of its fused attention.

    Parameters
    ----------
    features
        Names of the features of ``describe``.
    describe
        From a machine and calls of one library to the closed form's account of them
        (`nmsim.machines.kind.Described`).
    applied
        From a machine, a correction (`nmsim.residual.file`) and calls to what their times are
        multiplied by.
    factors
        The same by what stands beside a machine that has a residual; None where nothing does of the
        calls' library and phase.
    """

    features: tuple[str, ...]
    describe: Callable[[Any, AttentionCalls], Any]
    applied: Callable[[Any, Any, AttentionCalls], NDArray[np.float64]]
    factors: Callable[[Any, AttentionCalls], NDArray[np.float64] | None]


@dataclass(frozen=True)
class AttentionRoutines:
    """What a kind of machine offers of fused attention.

    Parameters
    ----------
    times
        From a machine, calls, and values for fitted constants (None: its own) to microseconds.
    account
        From a machine and calls to columns that say what happens: ``time_us``, bytes, ``library``,
        ``kernel``, ``split``, ``ctas``, ``bound``.
    libraries
        Names that calls may carry on a machine.
    library_of
        From a machine and a measured table's name of a library to that of a call; "" if none.
    constants
        From a machine and a library to its fitted constants.
    learned
        What residuals ask; None: none can be learned.
    """

    times: Callable[[Any, AttentionCalls, Mapping[str, float] | None], NDArray[np.float64]]
    account: Callable[[Any, AttentionCalls], dict[str, NDArray[Any]]]
    libraries: Callable[[Any], tuple[str, ...]]
    library_of: Callable[[Any, str], str]
    constants: Callable[[Any, str], dict[str, float]]
    learned: AttentionLearned | None = None


@dataclass(frozen=True)
class Fusion:
    """How a kind of machine runs an attention layer of a network as one kernel.

    Parameters
    ----------
    why_not
        From a machine, an attention and a phase to why its products run one by one there; "" where
        one kernel runs them.
    simulate
        From a machine, the GEMM that stands for them (``Gemm.fused``) and a fidelity to what the
        kernel costs.
    """

    why_not: Callable[[Any, Attention, str], str]
    simulate: Callable[[Any, Gemm, str], Result]


def shapes_of(attentions: Sequence[Attention]) -> NDArray[np.int64]:
    """Sizes of attentions as the rows of ``AttentionCalls.shapes``."""
    rows = [
        (
            *(one.batch, one.heads, one.kv_heads, one.queries, one.keys),
            *(one.head_dim, one.v_head_dim, int(one.causal), one.window),
        )
        for one in attentions
    ]
    return np.array(rows, np.int64).reshape(len(rows), 9)
