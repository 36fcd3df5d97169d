"""From a remembered training step to a trace, by nmsim's own path, and whether masks agree.

The step's tensors are written as ``nmsim trace record --tensors`` reads them, the trace is recorded
from that file, and its masks are compared with those that the step multiplied with.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import TraceError
from nmsim.mask import Mask, SparseGemm
from nmsim.network.layer import Conv, Layer, Linear
from nmsim.run.manifest import manifest, provenance
from nmsim.run.point import Point
from nmsim.run.trace import check, record

__all__ = ["disagreements", "record_step", "step_tensors"]

Seen = Mapping[str, NDArray[Any]]

_OPERANDS = {
    "forward": ("activation", "weight"),
    "backward": ("gradient", "weight"),
    "update": ("gradient", "activation"),
}


def step_tensors(layers: Sequence[Layer], seen: Mapping[str, Seen]) -> dict[str, NDArray[Any]]:
    """Tensors of a step, named and laid out as a tensor file is: images NCHW, windows OIHW."""
    found = {}
    for layer in layers:
        if not isinstance(layer, Conv | Linear):
            continue
        tensors = seen[layer.name]
        weight, gradient = tensors["weight"], tensors["gradient"]
        if isinstance(layer, Conv):
            weight = np.moveaxis(weight.reshape(layer.shape("weight", 1)), -1, 1)
            samples = len(tensors["activation"])
            gradient = np.moveaxis(gradient.reshape(layer.shape("gradient", samples)), -1, 1)
        found[f"{layer.name}.weight"] = weight
        found[f"{layer.name}.gradient"] = gradient
        found[f"{layer.name}.activation"] = tensors["activation"]
    return {name: np.ascontiguousarray(values) for name, values in found.items()}


def record_step(
    point: Point, path: Path, training: Mapping[str, Any], tensors: str
) -> tuple[SparseGemm, ...]:
    """Record a trace of a step and read it back, every digest, shape and group checked.

    Parameters
    ----------
    point
        Model, recipe, pattern, batch, seed of the step's draws and file of tensors.
    training
        How the step came about; becomes a part of the provenance.
    tensors
        What the provenance calls the tensors, instead of the path of their file.
    """
    about = manifest(point, "python -m traces.train")
    said = {**provenance(about), "tensors": tensors, "training": dict(training)}
    record(path, point.sparse_gemms(), said)
    return tuple(check(path).gemms)


def disagreements(gemms: Sequence[SparseGemm], seen: Mapping[str, Seen]) -> list[str]:
    """Where a trace masks an operand otherwise than the step did that it was recorded from.

    Raises
    ------
    TraceError
        if not one mask can be compared.
    """
    wrong, compared = [], 0
    for work in gemms:
        gemm = work.gemm
        if gemm.kind == "matmul":
            continue
        for role, mask in zip(_OPERANDS[gemm.phase], (work.a, work.b), strict=True):
            if mask.is_dense:
                continue
            compared += 1
            if not _same(mask, seen[gemm.layer].get(f"{role} {gemm.phase}")):
                wrong.append(f"{role} of {gemm.layer}, {gemm.phase}")
    if not compared:
        raise TraceError("no mask to compare")
    return wrong


def _same(mask: Mask, used: NDArray[np.bool_] | None) -> bool:
    return used is not None and bool(np.array_equal(mask.bits(), used))
