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
    others: Iterable[SparseGemm] = (),
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
    others
        GEMMs of the same layers in phases that nobody asked for: a mask there keeps the products
        of a layer apart in all phases.
    """
    masked = {one.gemm.layer for one in others if _follows(one)}
    known = {layer.name: layer for layer in layers if isinstance(layer, AttentionLayer)}
    for name, own in groupby(works, lambda work: work.gemm.layer):
        if name not in known:
            yield from own
            continue
        layer = known[name]
        cached = scenario.generates and layer.causal
        attention = replace(layer.attention(batch), cached=cached)
        products = list(own)
        why = _why_not(machine, attention, scenario)
        if why is not None:
            yield from _told(products, why)
        elif name in masked or any(map(_follows, products)):
            yield from _told(_compared(products, attention), _MASKED)
        else:
            for phase, same in groupby(products, lambda work: work.gemm.phase):
                first = next(same)
                often = replace(attention, repeat=first.gemm.repeat)
                yield replace(SparseGemm.dense(Gemm.fused(often, phase)), note=first.note)


_MASKED = "a kernel that fuses the products follows no mask"


def _follows(work: SparseGemm) -> bool:
    """Whether a product has a mask to follow."""
    return not (work.a.is_dense and work.b.is_dense)


def _told(works: Iterable[SparseGemm], why: str) -> Iterator[SparseGemm]:
    """Products that say why they are no kernel; "" where nobody asks."""
    note = why and f"scores and probabilities go through memory: {why}"
    for one in works:
        yield replace(one, note="; ".join(filter(None, (one.note, note))))


def _compared(works: list[SparseGemm], attention: Attention) -> Iterator[SparseGemm]:
    """Products that only masks keep apart, beside what they are compared with: one kernel."""
    for phase, own in groupby(works, lambda work: work.gemm.phase):
        products = list(own)
        ends = list(accumulate((one.gemm.macs for one in products), initial=0))
        kernel = Gemm.fused(replace(attention, repeat=products[0].gemm.repeat), phase)
        for one, (start, stop) in zip(products, pairwise(ends), strict=True):
            yield replace(one, dense_as=Share(kernel, start, stop, ends[-1]))


def _why_not(machine: Machine, attention: Attention, scenario: Scenario) -> str | None:
    """Why a layer without masks runs product by product; "": nobody asks; None: it does not."""
    fusion = kind_of(machine).fusion
    if fusion is None:
        return ""
    found = (
        fusion.why_not(machine, attention, phase)
        for phase in scenario.phases
        if phase != "update"  # attention has no weight
    )
    return next(filter(None, found), None)
