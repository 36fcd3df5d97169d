"""An estimate of what is no GEMM in a training step: normalisation, activations, the optimizer.

Bytes alone, each pass a kernel that reads and writes whole tensors, by what made a layer's input
(``input`` of its YAML), as many as the machine says (``elementwise`` of its YAML, whose defaults
stand in ``nmsim/machines/step.yaml``): the forward GEMM is charged with making it, the backward
GEMM with the way back through it, the update GEMM with the optimizer. Left out: residual sums,
pooling, dropout, the loss, data loading, and what fusion with a GEMM would save. Too much: layers
do not say that they share an input, so that queries, keys and values each make their own, as do a
block and its shortcut; and a ReLU before a convolution always has a batch norm. An estimate, off by
default.
"""

from nmsim.gemm import Gemm
from nmsim.machines import Machine, Pass, kind_of
from nmsim.network.layer import Bare, Layer
from nmsim.network.layers.convolution import Convolution

__all__ = ["elementwise_us"]


def elementwise_us(machine: Machine, layer: Layer | Bare, gemm: Gemm, batch: int) -> float:
    """Microseconds of elementwise work beside one GEMM, all repeats; 0 for a bare GEMM.

    Nor is there any beside a fused attention, which holds its softmax.
    """
    if isinstance(layer, Bare) or not gemm.first or gemm.attention is not None:
        return 0.0
    if gemm.phase == "update":
        return _optimizer_us(machine, layer) * gemm.fresh if layer.weights else 0.0
    name = "batch norm and relu" if isinstance(layer, Convolution) and layer.input == "relu" else ""
    operation = machine.elementwise.operation(name or layer.input)
    if operation is None or gemm.gradient_of == "b":
        return 0.0
    tensors = operation.backward if gemm.phase == "backward" else operation.forward
    kind = kind_of(machine)
    size = kind.operand_bits(machine) / 8
    for extent in layer.shape("activation", batch):
        size *= extent
    work = Pass(layer.input, tensors.reads * size, tensors.writes * size)
    return kind.pass_us(machine, work) * gemm.repeat


def _optimizer_us(machine: Machine, layer: Layer) -> float:
    """Of one block: the optimizer's tensors there and back, the gradient, the operand's copy."""
    kind, weights = kind_of(machine), layer.weights / layer.repeat
    optimizer = machine.elementwise.optimizer
    own = optimizer.tensors * optimizer.bits / 8 * weights
    gradient = weights * kind.output_bits(machine) / 8
    copy = weights * kind.operand_bits(machine) / 8
    return kind.pass_us(machine, Pass("optimizer", own + gradient, own + copy))
