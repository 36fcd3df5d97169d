"""An estimate of what is no GEMM in a step: norms, activations, sums, casts, loss, the optimizer.

A network says what stands between its GEMMs (``before`` and ``then`` of its layers; where none
says so, what made each input), a machine how many tensors each operation passes through memory
(``elementwise`` of its YAML), and how it is made to run them: fused or not, in which widths, by
which host (``nmsim.machines.step.Calling``). Bytes and launches alone. Every operation is charged
to a GEMM of its layer in the same phase; of a layer without one there, such as an embedding, to the
next layer's. Parameters of norms and biases are left out, as are data loading and communication.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.gemm import Gemm, Phase
from nmsim.machines import Machine, Pass, Passes, Tensors, kind_of
from nmsim.machines.step import Calling, Elementwise
from nmsim.network.layer import AttentionLayer, Bare, Embedding, Layer
from nmsim.network.layers.convolution import Convolution
from nmsim.network.layers.layer_fields import WeightedSpec
from nmsim.network.operations import Made, chain_of, made_by
from nmsim.network.scenario import TRAINING, Scenario
from nmsim.step.chains import Both, Style, Work, chain_works

__all__ = ["ELEMENTWISE_COLUMNS", "Beside", "Means", "beside", "elementwise_columns"]

ELEMENTWISE_COLUMNS = (
    "elementwise_us",
    "elementwise_bytes",
    "elementwise_launches",
    "elementwise_work",
    "host_us",
)
"""Columns of a row that tell of what runs beside its GEMM."""

_SCORES = (Made("scaling"), Made("softmax"))
_CAUSAL = (Made("scaling"), Made("score_bias"), Made("softmax"))
"""What stands between the two products of an attention that says nothing else."""

_WIDE_INPUTS = ("norm", "embedding")
"""Inputs that have 32 bits under autocast, in a network whose blocks are joined in 32."""


class _Charged(NamedTuple):
    """Work of a layer's blocks, of which the GEMM that it is charged to has so many.

    ``scores``: that an attention kernel has in itself; ``fresh``: that is done once weights have
    changed, not in every pass.
    """

    work: Work
    repeat: int
    scores: bool = False
    fresh: bool = False
    blocks: int = 1

    def launched(self, gemm: Gemm) -> float:
        """How often it runs, as a step runs its GEMM: again, in several passes, or in part."""
        return self.repeat * (gemm.fresh if self.fresh else gemm.repeat) / self.blocks


class Means(NamedTuple):
    """What of a machine decides what runs beside GEMMs, but for how long that takes.

    Parameters
    ----------
    known
        What it says of operations.
    calling
        How it is made to do them.
    narrow, results
        Bytes of an element of a GEMM's operands, and of its result.
    """

    known: Elementwise
    calling: Calling
    narrow: float
    results: float

    @classmethod
    def of(cls, machine: Machine) -> "Means":
        """Those of a machine in a number format."""
        kind = kind_of(machine)
        narrow, results = kind.operand_bits(machine) / 8, kind.output_bits(machine) / 8
        return cls(machine.elementwise, kind.calling(machine), narrow, results)


@dataclass(frozen=True, eq=False)
class Beside:
    """What runs beside the GEMMs of layers.

    Parameters
    ----------
    charged
        To a layer in a phase.
    """

    charged: Mapping[tuple[str, Phase], Sequence[_Charged]]

    @cached_property
    def _works(self) -> list[Work]:
        return [one.work for every in self.charged.values() for one in every]

    @cached_property
    def _kernels(self) -> tuple[NDArray[np.float64], Passes, Passes]:
        """Of each work kernels, what one of them moves, and twice that of one inside another."""
        launches = np.array([one.launches for one in self._works], np.float64)
        share = np.maximum(launches, 1)
        single = [
            Pass(one.what, one.read / n, one.written / n)
            for one, n in zip(self._works, share.tolist(), strict=True)
        ]
        both = [Pass(one.what, 2 * one.read, 2 * one.written) for one in self._works]
        return launches, Passes.of(single), Passes.of(both)

    def us(self, machine: Machine) -> dict[tuple[str, Phase], list[float]]:
        """Microseconds of one block's work each; each kernel has an equal share of the bytes.

        What is done in another kernel takes what twice its bytes take more.
        """
        launches, passes, twice = self._kernels
        passes_us = kind_of(machine).passes_us
        single = passes_us(machine, passes)
        inside = passes_us(machine, twice) - single
        every = np.where(launches > 0, single, inside) * np.maximum(launches, 1)
        found = iter(every.tolist())
        return {at: [next(found) for _ in own] for at, own in self.charged.items()}


@dataclass(frozen=True)
class _Network:
    """The layers of a network as a machine runs them."""

    means: Means
    layers: Sequence[Layer]
    batch: int
    scenario: Scenario
    others: Sequence[Layer] = ()

    @property
    def whole(self) -> tuple[Layer, ...]:
        """All its layers, those that do not run among them."""
        return (*self.layers, *self.others)

    @property
    def says(self) -> bool:
        """Whether its layers say what stands between GEMMs."""
        return any(one.before or one.then for one in self.whole)

    def style(self) -> Style:
        """How its operations run."""
        known, calling, narrow, results = self.means
        if self.scenario.generates:  # who generates loads weights in the width of GEMMs
            calling = calling._replace(autocast=False)
        style = Style(
            known,
            calling,
            narrow=narrow,
            results=results,
            stream=False,
            trains=self.scenario.trains,
        )
        return replace(style, stream=self._streams(style))

    def _streams(self, style: Style) -> bool:
        """Whether norms or embeddings make what joins its blocks as wide as they are."""
        if style.wide == style.narrow:
            return False
        names = {made.name for one in self.whole for made in (*self.before(one), *_then(one))}
        found = map(style.operation, names)
        norms = (one for one in found if one is not None and one.made_by.endswith("_norm"))
        return any(one.widths == "float32" for one in norms)

    def before(self, layer: Layer) -> tuple[Made, ...]:
        """Operations that make a layer's input and are charged to it."""
        if isinstance(layer, AttentionLayer):
            return chain_of(layer.before) or (_CAUSAL if layer.causal else _SCORES)
        if layer.before or self.says or isinstance(layer, Embedding):
            return chain_of(layer.before)
        if not isinstance(layer, WeightedSpec):  # a product of activations
            return (Made("softmax"),) if layer.input == "softmax" else ()
        return chain_of(made_by(layer.input, convolution=isinstance(layer, Convolution)))


def _then(layer: Layer) -> tuple[Made, ...]:
    looked_up = (Made("embedding"),) if isinstance(layer, Embedding) and layer.then else ()
    return (*looked_up, *chain_of(layer.then))


def beside(
    means: Means,
    layers: Iterable[Layer | Bare],
    batch: int,
    scenario: Scenario = TRAINING,
    others: Sequence[Layer] = (),
) -> Beside:
    """What machines of some means do beside the GEMMs of layers, by layer and phase.

    Nothing where GEMMs are given without a network.

    Parameters
    ----------
    layers
        All that run, in their order.
    others
        Those of the network that do not: what they say tells how to read the rest.
    """
    own = [layer for layer in layers if not isinstance(layer, Bare)]
    network = _Network(means, own, batch, scenario, others)
    style = network.style()
    found: dict[tuple[str, Phase], list[_Charged]] = {}
    waiting: list[tuple[Phase, _Charged]] = []
    for layer in own:
        charged = list(_of_layer(network, style, layer))
        if isinstance(layer, Embedding):
            waiting += charged
            continue
        for phase, one in (*waiting, *charged):
            own_row = found.setdefault((layer.name, _charged_in(layer, phase)), [])
            own_row.append(one._replace(blocks=layer.repeat))
        waiting = []
    return Beside(found)


def _charged_in(layer: Layer, phase: Phase) -> Phase:
    """The phase in which a layer has a GEMM: one that is fed by data has no backward."""
    return "update" if phase == "backward" and layer.input == "data" else phase


def _of_layer(network: _Network, style: Style, layer: Layer) -> Iterator[tuple[Phase, _Charged]]:
    scores = isinstance(layer, AttentionLayer)
    for part, both in _parts(network, style, layer):
        ways: list[tuple[Phase, Sequence[Work]]] = [("forward", both.forward)]
        ways += [("backward", both.backward)] if style.trains else []
        for phase, works in ways:
            for work in works:
                yield phase, _Charged(work, layer.repeat, scores and part == "before")
    for phase, work in _turned(network, style, layer):
        yield phase, _Charged(work, layer.repeat)
    for phase, work in _heads(network, style, layer):
        yield phase, _Charged(work, layer.repeat, scores=True)
    for phase, work in _of_weights(style, layer):
        yield phase, _Charged(work, layer.repeat, fresh=phase == "update")


def _parts(network: _Network, style: Style, layer: Layer) -> Iterator[tuple[str, Both]]:
    """Chains of a layer: what makes its input, what is cast for it, what follows it."""
    inputs = prod(layer.shape("activation", network.batch))
    outputs = prod(layer.shape("gradient", network.batch))
    chain = network.before(layer)
    if chain:
        yield "before", chain_works(chain, inputs / _ratio(chain), style, style.narrow, feeds=True)
    elif isinstance(layer, WeightedSpec):
        yield "cast", _cast_for(layer, style, inputs)
    if isinstance(layer, WeightedSpec) and layer.input_of:
        wide = style.joined if layer.input in _WIDE_INPUTS else style.narrow
        added = Work("gradients added", 2 * inputs * wide, inputs * wide)
        yield "shared", Both((), (added,))
    width = style.wide if isinstance(layer, Embedding) else style.narrow
    yield "then", chain_works(_then(layer), outputs, style, width)


def _ratio(chain: Sequence[Made]) -> float:
    return prod(one.ratio for one in chain)


def _cast_for(layer: WeightedSpec, style: Style, elements: float) -> Both:
    """An input of 32 bits is cast for each layer that reads it, where no kernel before it does."""
    wide = style.stream and layer.input in _WIDE_INPUTS
    if style.wide == style.narrow or not (wide or layer.input == "data"):
        return Both((), ())
    if style.calling.fusion != "none" and layer.input != "data":
        return Both((), ())
    there = Work("cast", elements * style.wide, elements * style.narrow)
    back = Work("cast", elements * style.narrow, elements * style.wide)
    return Both((there,), (back,) if layer.input != "data" else ())


def _of_weights(style: Style, layer: Layer) -> Iterator[tuple[Phase, Work]]:
    """The optimizer and what is done to weights for it, once a step."""
    weights = layer.weights / layer.repeat
    if not weights:
        return
    gemms = not isinstance(layer, Embedding)
    casts = style.wide > style.narrow
    if casts and gemms:
        yield "forward", Work("weights cast", weights * style.wide, weights * style.narrow)
    if not style.trains:
        return
    gradient = weights * (style.wide if casts else style.results)
    if casts and gemms:
        yield "update", Work("gradient cast", weights * style.narrow, gradient)
    if not gemms:
        yield "backward", Work("gradient of the table", 0.0, gradient)
    if style.calling.zeroes:
        yield "update", Work("gradient zeroed, added to", 2 * gradient, 2 * gradient)
    if style.calling.unscales and casts:
        yield "update", Work("gradient unscaled", gradient, gradient)
    own = style.known.optimizer
    if own is None:
        return
    states = own.tensors * own.bits / 8 * weights
    copy = 0.0 if casts else weights * style.narrow
    yield "update", Work("optimizer", states + gradient, states + copy)


def _turned(network: _Network, style: Style, layer: Layer) -> Iterator[tuple[Phase, Work]]:
    """Images of a convolution are turned to channels last and back, each for every GEMM.

    Kernels on tensor cores read channels last alone; a depthwise one runs on CUDA cores.
    """
    if not (style.calling.turns_images and isinstance(layer, Convolution)):
        return
    if layer.groups == layer.in_channels > 1:
        return
    inputs, outputs = (
        prod(layer.shape(tensor, network.batch)) * style.narrow
        for tensor in ("activation", "gradient")
    )
    both = Work("images turned", inputs + outputs, inputs + outputs, 2)
    yield "forward", both
    if style.trains:
        yield "update", both
    if style.trains and layer.input != "data":
        yield "backward", both


def _heads(network: _Network, style: Style, layer: Layer) -> Iterator[tuple[Phase, Work]]:
    """Queries, keys, values and results are copied to and from rows of a head, where they are.

    Keys and values that heads share are copied for each of them. In a cache they stand by heads.
    """
    operation = style.operation("heads")
    if operation is None or not isinstance(layer, AttentionLayer) or not operation.forward.reads:
        return
    one = layer.attention(network.batch)
    cached = network.scenario.generates and layer.causal
    queries = one.batch * one.queries * one.heads * (one.head_dim + one.v_head_dim)
    keys = 0 if cached else one.batch * one.keys * (one.head_dim + one.v_head_dim)
    given = (queries + keys * one.kv_heads) * style.narrow
    made = (queries + keys * one.heads) * style.narrow
    kernels = 2 if cached else 4
    ways: list[tuple[Phase, Tensors]] = [("forward", operation.forward)]
    ways += [("backward", operation.backward)] if style.trains else []
    for phase, way in ways:
        read, written = (given, made) if phase == "forward" else (made, given)
        yield phase, Work("heads", way.reads * read, way.writes * written, kernels * way.kernels)


def elementwise_columns(
    machine: Machine, found: Beside, gemms: Sequence[Gemm]
) -> dict[str, list[Any]]:
    """Columns of rows: time, bytes and launches beside GEMMs, all repeats, and what they are.

    Of a launch in parts, and of a product's two gradients, the first one has it all.

    Parameters
    ----------
    found
        What runs beside the network's GEMMs (`beside`).
    """
    us, calling = found.us(machine), kind_of(machine).calling(machine)
    rows = zip(*(_row(found, us, gemm, calling) for gemm in gemms), strict=True)
    return {name: list(v) for name, v in zip(ELEMENTWISE_COLUMNS, rows, strict=True)}


def _row(
    found: Beside, us: Mapping[tuple[str, Phase], list[float]], gemm: Gemm, calling: Calling
) -> tuple[float | int | str, ...]:
    at = gemm.layer, gemm.phase
    here = zip(found.charged.get(at, ()), us.get(at, ()), strict=True) if _has_it_all(gemm) else ()
    fused = gemm.attention is not None
    ran = [(one.work, one.launched(gemm), t) for one, t in here if not (one.scores and fused)]
    told: dict[str, float] = {}
    for work, launched, taken in ran:
        told[work.what] = told.get(work.what, 0.0) + taken * launched
    launches = round(sum(work.launches * launched for work, launched, _ in ran))
    gemms = gemm.repeat if gemm.launches else 0
    return (
        sum(taken * launched for _, launched, taken in ran),
        round(sum(_bytes(work) * launched for work, launched, _ in ran)),
        launches,
        "; ".join(f"{what} {taken:.3g} us" for what, taken in told.items()),
        launches * calling.operation_us + gemms * calling.gemm_us,
    )


def _has_it_all(gemm: Gemm) -> bool:
    return gemm.first and gemm.gradient_of != "b"


def _bytes(work: Work) -> float:
    return work.read + work.written
