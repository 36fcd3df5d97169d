"""Where fused attention of a GPU stands among the calls of its library that were measured.

As of GEMMs, time and what it goes to count, and sizes: batch times heads, queries and keys. Another
``head_dim``, or a mask where there was none, is another kernel, which no allowance reaches.
"""

import numpy as np
from numpy.typing import NDArray

from nmsim.evidence.file import AttentionRecord
from nmsim.evidence.standing import ELSEWHERE, STANDINGS, Places
from nmsim.files import remembered
from nmsim.gemm import Gemm
from nmsim.machines.attention import AttentionCalls, shapes_of
from nmsim.machines.gpu.attention import timed
from nmsim.machines.gpu.attention.fusion import kernels_for
from nmsim.machines.gpu.schema import Gpu

__all__ = ["places", "standing_of"]


def places(machine: Gpu, calls: AttentionCalls) -> Places:
    """Where calls of one library in one phase stand, in a cache that holds nothing of them."""
    parts, _, _ = timed(machine, calls._replace(replayed=False))
    batch, heads, kv_heads, queries, keys, dim, v_dim, causal, _ = calls.shapes.T.astype(np.float64)
    of_time = (parts.chip, parts.dram, parts.before, parts.after, parts.launch)
    spent = (
        np.log2(parts.total),
        *(part / parts.total for part in of_time),
        np.log2(dim),
        np.log2(v_dim),
        causal,
        np.log2(heads / kv_heads) / ELSEWHERE,
    )
    sizes = (np.log2(batch * heads), np.log2(queries), np.log2(keys), np.zeros(len(batch)))
    return Places(np.column_stack(sizes), np.column_stack(spent))


@remembered(maxsize=64)
def _measured(machine: Gpu, record: AttentionRecord) -> Places:
    shapes: NDArray[np.int64] = record.shapes.astype(np.int64)
    return places(machine, AttentionCalls(shapes, record.phase, record.library))


def standing_of(machine: Gpu, gemm: Gemm, records: tuple[AttentionRecord, ...]) -> tuple[str, str]:
    """Where the time of a fused attention stands, and why it is beyond."""
    attention = gemm.attention
    kernels = None if attention is None else kernels_for(machine, attention, gemm.phase)
    if attention is None or kernels is None:
        return "beyond", "no attention of its kind was measured on it"
    own = [one for one in records if (one.library, one.phase) == (kernels.library, gemm.phase)]
    if not own:
        return "beyond", f"no {gemm.phase} attention of {kernels.library} was measured on it"
    calls = AttentionCalls(shapes_of([attention]), gemm.phase, kernels.library)
    word = STANDINGS[int(_measured(machine, own[0]).standing(places(machine, calls))[0])]
    why = f"no measured attention of {kernels.library} is like it" if word == "beyond" else ""
    return word, why
