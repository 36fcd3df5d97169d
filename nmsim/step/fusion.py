"""Which attention of a step runs as one kernel, and which product by product.

A machine says whether it has a kernel; a layer is run by kernels in all phases or in none, as a
forward kernel keeps no probabilities that products of the way back could read. A mask of an operand
is followed by products alone: a layer that is offered one runs as its GEMMs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, groupby, pairwise

from nmsim.attention import Attention
from nmsim.gemm import Gemm
from nmsim.machines import Machine, kind_of
from nmsim.mask import Share, SparseGemm
from nmsim.network.layer import AttentionLayer, Bare, Layer
from nmsim.network.scenario import TRAINING, Scenario

__all__ = ["as_run"]


def as_run(
    works: Iterable[SparseGemm],
    machine: Machine,
    layers: Sequence[Layer | Bare],
    batch: int,
    scenario: Scenario = TRAINING,
) -> Iterator[SparseGemm]:
    """GEMMs as a machine runs them: those of attention are one a phase where a kernel fuses them.

    Parameters
    ----------
    works
        GEMMs of layers, those of a layer one after the other.
    layers
        What they are of. GEMMs of other layers are left as they are.
    batch, scenario
        That the GEMMs are made for: where a model generates, keys and values stand in a cache.
    """
    known = {layer.name: layer for layer in layers if isinstance(layer, AttentionLayer)}
    for name, own in groupby(works, lambda work: work.gemm.layer):
        if name not in known:
            yield from own
            continue
        layer = known[name]
        cached = scenario.generates and layer.causal
        attention = replace(layer.attention(batch), cached=cached)
        yield from _layer(list(own), machine, attention, scenario)


def _layer(
    works: list[SparseGemm], machine: Machine, attention: Attention, scenario: Scenario
) -> Iterator[SparseGemm]:
    why = _why_not(works, machine, attention, scenario)
    if why is None:
        for phase in dict.fromkeys(work.gemm.phase for work in works):
            yield SparseGemm.dense(Gemm.fused(attention, phase))
        return
    note = why and f"scores and probabilities go through memory: {why}"
    for one in _compared(works, machine, attention, scenario):
        yield replace(one, note="; ".join(filter(None, (one.note, note))))


def _compared(
    works: list[SparseGemm], machine: Machine, attention: Attention, scenario: Scenario
) -> Iterator[SparseGemm]:
    """Products beside what they are compared with: where only masks keep them apart, one kernel."""
    unmasked = [SparseGemm.dense(one.gemm) for one in works]
    if _why_not(unmasked, machine, attention, scenario) is not None:
        yield from works
        return
    for phase, own in groupby(works, lambda work: work.gemm.phase):
        products = list(own)
        ends = list(accumulate((one.gemm.macs for one in products), initial=0))
        kernel = Gemm.fused(attention, phase)
        for one, (start, stop) in zip(products, pairwise(ends), strict=True):
            yield replace(one, dense_as=Share(kernel, start, stop, ends[-1]))


def _why_not(
    works: list[SparseGemm], machine: Machine, attention: Attention, scenario: Scenario
) -> str | None:
    """Why a layer runs product by product, "" where nobody asks; None: it does not."""
    fusion = kind_of(machine).fusion
    if fusion is None:
        return ""
    if not all(work.a.is_dense and work.b.is_dense for work in works):
        return "a kernel that fuses the products follows no mask"
    found = (
        fusion.why_not(machine, attention, phase)
        for phase in scenario.phases
        if phase != "update"  # attention has no weight
    )
    return next(filter(None, found), None)
