"""Stacks: what calls a GPU's libraries, one a YAML file with its source.

A stack says which library serves which operand's mask, whether a mask is followed where the dense
kernel is faster, what becomes of sizes that a library does not take, and what a call takes on the
host.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from nmsim.files import remembered
from nmsim.machines.kind import Facts, Listing
from nmsim.machines.step import Calling, Fusing, Operation
from nmsim.network.operand import Role
from nmsim.spec import Catalog, Spec

__all__ = ["LISTING", "STACKS", "HostCalls", "Masks", "Service", "Stack", "load_stack"]

Microseconds = Annotated[float, Field(ge=0, le=1e6)]

Masks = Literal["where_they_pay", "always"]
"""When a mask that a kernel takes is followed."""


class Service(Spec):
    """Libraries that run GEMMs with one operand masked, in order of preference."""

    operands: tuple[Role, ...] = Field((), description="whose masks they are; none: anybody's")
    libraries: tuple[str, ...] = Field(min_length=1, description="the first that can run it")


class HostCalls(Spec):
    """What a call takes on the host: a kernel that is shorter waits for the next one to come."""

    dense: Microseconds = Field(0.0, description="a dense GEMM, us")
    sparse: Microseconds = Field(0.0, description="a GEMM with a compressed operand, us")
    operation: Microseconds = Field(0.0, description="a kernel beside GEMMs, us")


class Stack(Spec):
    """A stack: the libraries that it calls and its policy."""

    summary: str
    source: str
    sparse: tuple[Service, ...] = Field(
        (),
        description="which libraries run masked GEMMs, the first entry that names the operand; "
        "none: the fastest that the machine has",
    )
    packed: str = Field(
        "",
        description="the library that runs GEMMs whose weights alone have fewer bits, where it "
        "takes the format; none: the machine's first",
    )
    masks: Masks = Field(
        description="where_they_pay: a mask is not followed where the dense kernel is faster; "
        "always: it is, as one that has been packed must be"
    )
    misfit: Literal["pads", "dense"] = Field(
        description="what sizes become that a library's kernels do not take: padded with zeros, or "
        "run dense"
    )
    convolutions: bool = Field(
        description="whether it has convolutions that follow masks; where it has none, they are "
        "timed as the GEMMs that they are, and rows say so"
    )
    host_us: HostCalls = Field(HostCalls(), description="of a call on the host; none: hidden")
    fusion: Fusing = Field(
        "chains",
        description="what becomes of operations between GEMMs: none: a kernel each; chains: those "
        "of a chain are one pass over memory; epilogues: that, and in inference the GEMM before "
        "them does what its kernel's epilogue can",
    )
    generates_rows: tuple[str, ...] = Field(
        (),
        description="number formats in which a dense GEMM of one row is a kernel that the stack "
        "generates, which reads B as fast as device memory sends it, and no library's",
    )
    autocast: bool = Field(
        False,
        description="under 16-bit GEMMs weights and what joins blocks have 32 bits, and are cast "
        "for each",
    )
    zeroes_gradients: bool = Field(
        False, description="gradients are set to zero before a step, and added up in it"
    )
    unscales: bool = Field(
        False, description="16-bit gradients are of a scaled loss, and are divided by its scale"
    )
    operations: tuple[Operation, ...] = Field(
        (), description="operations that run otherwise than `elementwise` of the machine says"
    )
    packing: Annotated[float, Field(ge=1, le=100)] = Field(
        1.0, description="times that packing an operand takes of what its bytes take"
    )

    @property
    def calling(self) -> Calling:
        """How it calls what is no GEMM."""
        return Calling(
            fusion=self.fusion,
            autocast=self.autocast,
            zeroes=self.zeroes_gradients,
            unscales=self.unscales,
            operation_us=self.host_us.operation,
            gemm_us=self.host_us.dense,
            operations=self.operations,
        )

    def libraries(self, role: Role | None) -> tuple[str, ...]:
        """Libraries for a mask of an operand (None: of no network's), in order; (): any."""
        fits = (one for one in self.sparse if role is None or role in (one.operands or (role,)))
        found = next(fits, None)
        return found.libraries if found else ()


STACKS: Catalog[Stack] = Catalog("stack", Path(__file__).parent, Stack)
"""The stacks that ship with nmsim."""


@remembered(maxsize=64)
def load_stack(name: str) -> Stack:
    """A stack by name or path.

    Raises
    ------
    UnknownName, SpecError
        for a name that does not exist, or a file that is not a stack.
    """
    return STACKS.load(name)


def _facts(name: str) -> Facts:
    stack = load_stack(name)
    served = [(_operands(one), ", ".join(one.libraries)) for one in stack.sparse]
    fields = [
        (field, f"{_said(getattr(stack, field))}   [{info.description}]")
        for field, info in type(stack).model_fields.items()
        if info.description and field not in ("sparse", "operations")
    ]
    head = [("name", name), ("summary", stack.summary), ("source", stack.source)]
    return [
        *head,
        *(served or [("masks of any operand", "the fastest that the machine has")]),
        *fields,
        *((f"operation {one.made_by}", one.source) for one in stack.operations),
    ]


def _operands(service: Service) -> str:
    return f"masks of {', '.join(service.operands) or 'any operand'}"


def _said(value: object) -> str:
    if isinstance(value, HostCalls):
        return f"dense {value.dense:g}, sparse {value.sparse:g}, operation {value.operation:g}"
    return str(value)


LISTING = Listing(
    names=lambda: STACKS,
    summary=lambda name: load_stack(name).summary,
    facts=_facts,
    schema=Stack,
)
"""What `nmsim list stacks` and `nmsim show stacks` print."""
