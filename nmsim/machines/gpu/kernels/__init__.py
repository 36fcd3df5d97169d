"""The kernels that libraries of GPU routines choose from, one set per YAML file with its source."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from nmsim.machines.kind import Facts, Listing
from nmsim.spec import Catalog, Spec

__all__ = ["KERNELS", "LISTING", "Kernel", "KernelSet", "load_kernels"]

Size = Annotated[int, Field(ge=1, le=65536)]


class Kernel(Spec):
    """One kernel: a threadblock's tile of C, and how it is worked off."""

    tile: tuple[Size, Size, Size] = Field(description="rows, columns and slice of K of a tile")
    warp: tuple[Size, Size] = Field(description="rows and columns of a warp's part of the tile")
    stages: Annotated[int, Field(ge=2, le=64)] = Field(description="slices in shared memory")
    ctas_per_sm: Annotated[int, Field(ge=1, le=32)] = Field(description="resident threadblocks")

    @property
    def name(self) -> str:
        """What the kernel is called, by its tile, slice and stages: ``128x256x32_3``."""
        return "x".join(map(str, self.tile)) + f"_{self.stages}"


class KernelSet(Spec):
    """The kernels that one routine of a library chooses from, with its rules of splitting K."""

    summary: str
    source: str
    kernels: tuple[Kernel, ...] = Field(min_length=1)
    splits: tuple[Size, ...] = Field((1,), description="parts that K may be split into, ascending")
    split_tiles_per_sm: Annotated[float, Field(gt=0)] = Field(
        6.0, description="K is split only while so many tiles come to an SM at most"
    )
    split_slices: Size = Field(4, description="slices of K that each part has at least")
    gemv_rows: Annotated[int, Field(ge=0)] = Field(
        0, description="rows or fewer for which a matrix-vector kernel is there too"
    )
    prefers_large_tiles: bool = Field(
        False,
        description="tiles below 128x128 are passed over once the grid is more than one wave and "
        "a tile spans neither side of C",
    )
    cuda_cores: bool = Field(False, description="runs on CUDA cores instead of tensor cores")
    operands: Literal["registers", "shared"] = Field(
        "registers",
        description="where the matrix instruction finds them; shared: warpgroups of four warps, of "
        "which `warp` is a part of the tile, multiply out of shared memory, filled in bulk",
    )
    vectors: bool = Field(
        False,
        description="V:N:M kernels: a tile's rows are of the compressed operand and divide V",
    )


KERNELS: Catalog[KernelSet] = Catalog("kernels", Path(__file__).parent, KernelSet)
"""The kernel sets that ship with nmsim."""


def load_kernels(name: str) -> KernelSet:
    """A kernel set by name or path.

    Raises
    ------
    UnknownName, SpecError
        for a name that does not exist, or a file that is not a kernel set.
    """
    return KERNELS.load(name)


def _facts(name: str) -> Facts:
    kernels = load_kernels(name)
    own = type(kernels).model_fields
    rest = [
        (field, f"{getattr(kernels, field)}   [{own[field].description}]")
        for field in own
        if field not in ("summary", "source", "kernels")
    ]
    head = [("name", name), ("summary", kernels.summary), ("source", kernels.source)]
    return [*head, *rest, *((kernel.name, _shape(kernel)) for kernel in kernels.kernels)]


def _shape(kernel: Kernel) -> str:
    tile, warp = ("x".join(map(str, sizes)) for sizes in (kernel.tile, kernel.warp))
    return f"tile {tile}, warp {warp}, {kernel.stages} stages, {kernel.ctas_per_sm} per SM"


LISTING = Listing(
    names=lambda: KERNELS,
    summary=lambda name: load_kernels(name).summary,
    facts=_facts,
    schema=KernelSet,
)
"""What `nmsim list kernels` and `nmsim show kernels` print."""
