"""What a training step takes beside its GEMMs: figures of a machine that every kind of them has.

``step.yaml`` holds what is taken on a machine whose own file says nothing else, with its sources.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, field_validator

from nmsim.network.operations import OperationName
from nmsim.spec import Spec, read_yaml

__all__ = [
    "Calling",
    "Elementwise",
    "Fusing",
    "Host",
    "Operation",
    "Optimizer",
    "Tensors",
    "Widths",
    "usual",
]

Count = Annotated[float, Field(ge=0, le=1e6)]

Fusing = Literal["none", "chains", "epilogues"]
"""What becomes of operations between GEMMs: a kernel each; a chain of them one pass over memory;
or, in inference, part of the GEMM before them, as far as a kernel's epilogue can do them."""

Widths = Literal["kept", "float32", "widest"]
"""In which width an operation runs where 16-bit GEMMs are cast to on the fly (autocast): that of
its input; always 32 bits; the widest of what it reads."""


class Host(Spec):
    """The computer that a machine is driven from, as far as it works for a training step."""

    cores: Annotated[int, Field(ge=1, le=65536)] = Field(description="that solve for masks")
    link_gbps: Annotated[float, Field(gt=0, le=1e6)] = Field(
        description="to the host and back, 1e9 bytes per second"
    )
    source: str = Field(description="where the figures come from")


class Tensors(Spec):
    """How many whole tensors an operation reads and writes, and by how many kernels.

    Reads are of what it is given, writes of what it makes: forward the input and the output, on the
    way back the other way round.
    """

    reads: Count = Field(description="tensors read")
    writes: Count = Field(description="tensors written")
    kernels: Annotated[int, Field(ge=1, le=1000)] = Field(1, description="launches")


class Operation(Spec):
    """An operation between two GEMMs, as a kernel of its own."""

    made_by: OperationName = Field(description="what a network's layer says: `before` or `then`")
    forward: Tensors = Field(description="making its result")
    inference: Tensors | None = Field(
        None, description="making it where nothing is trained; null: as in training"
    )
    backward: Tensors = Field(description="the way back through it")
    trains: bool = Field(False, description="it is there in training alone")
    widths: Widths = Field("kept", description="under autocast: kept, float32 or widest")
    sweeps: bool = Field(
        False,
        description="in training, all of its input must be there before any of its result is: no "
        "pass makes the input and the result",
    )
    joins: bool = Field(
        False,
        description="it joins branches: a fused pass writes its gradient for both of them, and its "
        "result where a norm follows, behind which it goes on",
    )
    epilogue: bool = Field(
        False, description="in inference, the kernel of the GEMM before it can do it"
    )
    source: str = Field(description="where the figures come from")


class Optimizer(Spec):
    """What updates the weights, in one kernel that also writes the copy that GEMMs read."""

    tensors: Count = Field(description="read and written beside gradient and copy")
    bits: Annotated[int, Field(ge=1, le=64)] = Field(description="of an element of them")
    source: str = Field(description="where the figures come from")


class Elementwise(Spec):
    """What is no GEMM in a step, in tensors that pass through memory."""

    operations: tuple[Operation, ...] = Field(description="by what networks call them")
    optimizer: Optimizer | None = Field(description="null: a step without one")

    @field_validator("operations")
    @classmethod
    def _each_once(cls, operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
        if len({one.made_by for one in operations}) < len(operations):
            raise ValueError("expected each made_by once")
        return operations

    def operation(self, made_by: str) -> Operation | None:
        """An operation by name; None if it is not charged."""
        return next((one for one in self.operations if one.made_by == made_by), None)


class Calling(NamedTuple):
    """How what is no GEMM is called on a machine.

    Parameters
    ----------
    fusion
        What becomes of operations between two GEMMs.
    autocast
        Whether weights and inputs are kept in 32 bits and cast for each GEMM of 16.
    zeroes, unscales
        Whether gradients are set to zero before a step, and divided by a loss scale after it.
    turns_images
        Whether a convolution's images are turned from channels first to last, and back.
    operation_us, gemm_us
        Of the host for a kernel beside GEMMs, and for a GEMM; 0: hidden.
    operations
        That run otherwise than the machine says.
    """

    fusion: Fusing = "none"
    autocast: bool = False
    zeroes: bool = False
    unscales: bool = False
    turns_images: bool = False
    operation_us: float = 0.0
    gemm_us: float = 0.0
    operations: tuple[Operation, ...] = ()


def usual() -> Mapping[str, Any]:
    """Fields of every machine whose file says nothing else, as ``step.yaml`` has them."""
    return read_yaml(Path(__file__).with_suffix(".yaml"))
