"""What all layers say: a name, repeats, and of a weight whether it is their own or another's."""

from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr

from nmsim.errors import ShapeError
from nmsim.formats import NumberFormat, format_in
from nmsim.gemm import Phase
from nmsim.network.blocks import Runs, block_of, in_block
from nmsim.network.operand import Brought, FileLayout, Input, TensorName
from nmsim.network.operations import Chain
from nmsim.network.scenario import Reading
from nmsim.pattern import PatternField
from nmsim.spec import Spec

__all__ = [
    "FORMAT",
    "INPUT",
    "LayerFormat",
    "LayerSpec",
    "Positive",
    "WeightedSpec",
    "checked_batch",
]

Positive = Annotated[int, Field(ge=1, le=1 << 31)]

LayerFormat = NumberFormat | Literal[""]

FORMAT = (
    "number format that its GEMMs run in under every recipe: of floats in every phase, of integers "
    "and of weights alone in forward. Default: as the recipe, or the machine's own"
)
"""The description of a layer's field of that name."""

INPUT = "what made the layer's input; a layer fed by data has no backward GEMM"
"""The description of a layer's field of that name."""


class LayerSpec(Spec):
    """Fields that the YAML of every layer has."""

    name: Annotated[str, Field(min_length=1)] = Field(
        description="unique; seeds its tensors; `*` stands for the number of a block"
    )
    repeat: Positive = Field(1, description="identical blocks, launched one after the other")
    first_block: Annotated[int, Field(ge=0)] = Field(
        0, description="number of the first of the blocks"
    )
    before: Chain = Field(
        (), description="operations that make its input and no other layer's, on its elements"
    )
    then: Chain = Field((), description="operations on its output, in their order")
    note: str = Field("", description="said of its rows, such as what an importer had to assume")

    _runs: Runs | None = PrivateAttr(None)
    _block: str = PrivateAttr("")
    _alike: int = PrivateAttr(1)

    @property
    def alike(self) -> int:
        """Identical blocks that it stands for, or is one of."""
        return max(self.repeat, self._alike)

    @property
    def block(self) -> str:
        """The block that it is in, by its name, or with a `*` for the number; "": in none."""
        return self._block or block_of(self.name)

    def alone(self, block: int) -> Self:
        """The layer in one of its blocks, under the name that it has there."""
        name = in_block(self.name, block)
        found = self.model_copy(update={"name": name, "repeat": 1, "first_block": 0})
        found._block = in_block(self.block, block)  # noqa: SLF001 (its own class)
        found._alike = self.repeat  # noqa: SLF001
        return found

    @property
    def runs(self) -> Runs | None:
        """What a training step runs of its blocks; None: every phase of each, once."""
        return self._runs

    def running(self, runs: Runs) -> Self:
        """The layer in a step that runs so much of it."""
        found = self.model_copy()
        found._runs = runs  # noqa: SLF001 (its own class)
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The name in each of the blocks, as a checkpoint has it; the name itself without `*`."""
        if "*" not in self.name:
            return (self.name,)
        blocks = range(self.first_block, self.first_block + self.repeat)
        return tuple(in_block(self.name, block) for block in blocks)

    @property
    def saved(self) -> tuple[TensorName, ...]:
        """Its tensors from other layers, which are kept until its last GEMM reads them again."""
        return ("activation",)

    def at(self, reading: Reading) -> Self | None:  # noqa: ARG002
        """The layer with numbers for the words that it says its sizes in; None: it does not run."""
        return self

    @property
    def masks(self) -> tuple[Brought, ...]:
        """Masks that the layer's file declares, whatever a recipe offers: none."""
        return ()

    @property
    def spatial(self) -> int:
        """How many dimensions its images have: none, its tensors are matrices."""
        return 0

    def runs_in(self, phase: Phase) -> str:  # noqa: ARG002
        """The number format that its file says for a phase; "": none."""
        return ""

    def owner(self, tensor: TensorName) -> str:  # noqa: ARG002
        """Name of the layer that a tensor belongs to: this one's."""
        return self.name

    def samples(self, batch: int) -> int:
        """Entries of its tensors that share no column: the batch."""
        return batch

    def in_file(self, tensor: TensorName, batch: int) -> FileLayout | None:  # noqa: ARG002
        """How a file lays a tensor out; None: as its shape says."""
        return None


class WeightedSpec(LayerSpec):
    """What every layer with a weight says."""

    type: Literal["conv", "conv_transposed", "linear", "experts"]
    input: Input = Field("linear", description=INPUT)
    weight_of: str = Field("", description="layer whose weight this one shares; counted there")
    pattern: PatternField | None = Field(
        None,
        description="to which its weight is pruned, by whatever recipe; forward has the mask under "
        "every recipe. Default: as the recipe and the run's --pattern say",
    )
    number_format: LayerFormat = Field("", description=FORMAT)
    input_of: str = Field(
        "",
        description="layer before this one that reads the same input, as Q of K and V; kept once",
    )

    @property
    def masks(self) -> tuple[Brought, ...]:
        """Masks that the layer's file declares: of its weight, in forward."""
        return () if self.pattern is None else (Brought("weight", "forward", self.pattern),)

    def runs_in(self, phase: Phase) -> str:
        """The number format that its file says for a phase; "": none."""
        return format_in(self.number_format, phase)

    def owner(self, tensor: TensorName) -> str:
        """Name of the layer that a tensor belongs to; a shared weight belongs to another."""
        return self.weight_of if tensor == "weight" and self.weight_of else self.name


def checked_batch(batch: int) -> int:
    """The batch, checked to be 1 or more.

    Raises
    ------
    ShapeError
        if it is below 1.
    """
    if not isinstance(batch, int) or batch < 1:
        raise ShapeError(f"batch is {batch!r}, expected an integer of 1 or more")
    return batch
