"""An estimate of what is no GEMM in a training step: normalisation, activations, the optimizer.

Bytes alone, each pass a kernel that reads and writes whole tensors, by what made a layer's input
(``input`` of its YAML): the forward GEMM is charged with making it, the backward GEMM with the way
back through it, the update GEMM with the optimizer. Left out: residual sums, pooling, dropout, the
loss, data loading, and what fusion with a GEMM would save. Too much: layers do not say that they
share an input, so that queries, keys and values each make their own, as do a block and its
shortcut; and a ReLU before a convolution always has a batch norm. An estimate, off by default.
"""

from nmsim.gemm import Gemm
from nmsim.machines import Machine, Pass, kind_of
from nmsim.network.layer import Bare, Conv, Layer

__all__ = ["elementwise_us"]

_PASSES = {
    "batch norm and relu": ((2, 1), (4, 1)),
    "relu": ((1, 1), (2, 1)),
    "gelu": ((1, 1), (2, 1)),
    "norm": ((1, 1), (2, 1)),
    "softmax": ((1, 1), (2, 1)),
    "embedding": ((1, 1), (1, 1)),
}
"""Tensors read and written: forward, and on the way back.

A batch norm reads its input for the sums and again to apply them; back, it reads gradient and input
twice. A layer norm or softmax holds a row on chip. Back, all read the gradient and the tensor.
"""

MASTER_BYTES = 4
"""Of a master weight and of its momentum: fp32."""


def elementwise_us(machine: Machine, layer: Layer | Bare, gemm: Gemm, batch: int) -> float:
    """Microseconds of elementwise work beside one GEMM, all repeats; 0 for a bare GEMM."""
    if isinstance(layer, Bare):
        return 0.0
    if gemm.phase == "update":
        return _optimizer_us(machine, layer) if layer.weights else 0.0
    name = "batch norm and relu" if isinstance(layer, Conv) and layer.input == "relu" else ""
    passes = _PASSES.get(name or layer.input)
    if passes is None or gemm.gradient_of == "b":
        return 0.0
    reads, writes = passes[gemm.phase == "backward"]
    kind = kind_of(machine)
    size = kind.operand_bits(machine) / 8
    for extent in layer.shape("activation", batch):
        size *= extent
    return kind.pass_us(machine, Pass(layer.input, reads * size, writes * size)) * layer.repeat


def _optimizer_us(machine: Machine, layer: Layer) -> float:
    """SGD with momentum on fp32 masters, in one kernel that writes the operand's copy too."""
    kind, weights = kind_of(machine), layer.weights / layer.repeat
    masters = 2 * MASTER_BYTES * weights
    gradient = weights * kind.output_bits(machine) / 8
    copy = weights * kind.operand_bits(machine) / 8
    one = kind.pass_us(machine, Pass("optimizer", masters + gradient, masters + copy))
    return one * layer.repeat
