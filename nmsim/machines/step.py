"""What a training step takes beside its GEMMs: figures of a machine that every kind of them has.

``step.yaml`` holds what is taken on a machine whose own file says nothing else, with its sources.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from nmsim.network.operand import Input
from nmsim.spec import Spec, read_yaml

__all__ = ["Elementwise", "Host", "MadeBy", "Operation", "Optimizer", "Tensors", "usual"]

MadeBy = Literal["batch norm and relu"] | Input
"""What made a layer's input; a ReLU before a convolution is taken to have a batch norm."""

Count = Annotated[float, Field(ge=0, le=1e6)]


class Host(Spec):
    """The computer that a machine is driven from, as far as it works for a training step."""

    cores: Annotated[int, Field(ge=1, le=65536)] = Field(description="that solve for masks")
    link_gbps: Annotated[float, Field(gt=0, le=1e6)] = Field(
        description="to the host and back, 1e9 bytes per second"
    )
    source: str = Field(description="where the figures come from")


class Tensors(Spec):
    """How many whole tensors one kernel reads and writes."""

    reads: Count = Field(description="tensors read")
    writes: Count = Field(description="tensors written")


class Operation(Spec):
    """An elementwise operation between two GEMMs, by what it makes of a layer's input."""

    made_by: MadeBy = Field(description="`input` of a layer, or a batch norm with its ReLU")
    forward: Tensors = Field(description="making the input")
    backward: Tensors = Field(description="the way back through it")
    source: str = Field(description="where the figures come from")


class Optimizer(Spec):
    """What updates the weights, in one kernel that also writes the copy that GEMMs read."""

    tensors: Count = Field(description="read and written beside gradient and copy")
    bits: Annotated[int, Field(ge=1, le=64)] = Field(description="of an element of them")
    source: str = Field(description="where the figures come from")


class Elementwise(Spec):
    """What is no GEMM in a step, in tensors that pass through memory."""

    operations: tuple[Operation, ...] = Field(description="by what made a layer's input")
    optimizer: Optimizer

    @field_validator("operations")
    @classmethod
    def _each_once(cls, operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
        if len({one.made_by for one in operations}) < len(operations):
            raise ValueError("expected each made_by once")
        return operations

    def operation(self, made_by: str) -> Operation | None:
        """The operation that makes an input; None if its making is not charged."""
        return next((one for one in self.operations if one.made_by == made_by), None)


def usual() -> Mapping[str, Any]:
    """Fields of every machine whose file says nothing else, as ``step.yaml`` has them."""
    return read_yaml(Path(__file__).with_suffix(".yaml"))
