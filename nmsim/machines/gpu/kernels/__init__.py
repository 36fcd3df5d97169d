"""The kernels that libraries of GPU routines choose from, one set per YAML file with its source."""

from itertools import product
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nmsim.machines.kind import Facts, Listing
from nmsim.spec import Catalog, Spec

__all__ = ["KERNELS", "LISTING", "Kernel", "KernelSet", "Multiples", "load_kernels"]

Size = Annotated[int, Field(ge=1, le=65536)]


class Kernel(Spec):
    """One kernel: a threadblock's tile of C, and how it is worked off."""

    tile: tuple[Size, Size, Size] = Field(description="rows, columns and slice of K of a tile")
    warp: tuple[Size, Size] = Field(description="rows and columns of a warp's part of the tile")
    stages: Annotated[int, Field(ge=2, le=64)] = Field(description="slices in shared memory")
    ctas_per_sm: Annotated[int, Field(ge=1, le=32)] = Field(description="resident threadblocks")
    cluster: tuple[Size, Size] = Field(
        (1, 1),
        description="threadblocks along rows and columns of C that load together: what they share "
        "arrives in all of them at once",
    )
    multicast: tuple[Size, Size] = Field(
        (1, 1),
        description="as `cluster`, counted in cycles alone: closed form and choice, fitted without "
        "it, load for each threadblock",
    )
    stream_k: bool = Field(
        False,
        description="there is one that deals the slices of all tiles out evenly, wherever tiles "
        "end; of persistent kernels, in cycles",
    )
    least: tuple[Size, Size, Size] = Field(
        (1, 1, 1), description="M, N and K from which on the library takes the kernel"
    )
    most: tuple[Size | None, Size | None] = Field(
        (None, None), description="M and N up to which it does; null: any"
    )

    @property
    def name(self) -> str:
        """What the kernel is called, by its tile, slice and stages: ``128x256x32_3``."""
        return "x".join(map(str, self.tile)) + f"_{self.stages}"

    def takes(self, m: int, n: int, k: int) -> bool:
        """Whether the library launches the kernel for a GEMM of this size."""
        enough = all(size >= least for size, least in zip((m, n, k), self.least, strict=True))
        limits = zip((m, n), self.most, strict=True)
        return enough and all(most is None or size <= most for size, most in limits)


class Multiples(Spec):
    """What the sizes of a sparse GEMM must be multiples of for a set's kernels to take it."""

    rows: Size = Field(1, description="rows of the compressed operand")
    k: Size = Field(1, description="elements along K, before it is compressed")
    dense: Size = Field(1, description="rows of the dense operand: they are padded, with a copy")

    def padded(self, rows: int, k: int) -> tuple[int, int]:
        """Rows and K of a compressed operand, rounded up to what kernels take.

        Examples
        --------
        >>> Multiples(rows=32, k=64, dense=8).padded(4097, 4097)
        (4128, 4160)
        """
        return -(-rows // self.rows) * self.rows, -(-k // self.k) * self.k

    @property
    def told(self) -> str:
        """What a compressed operand must be: ``multiples of 32 x 64``."""
        return f"multiples of {self.rows} x {self.k}"


class KernelSet(Spec):
    """The kernels that one routine of a library has, and its policy: how it comes to one of them.

    A library that searches times its kernels beforehand; one that does not takes its default,
    whatever the size.
    """

    summary: str
    source: str
    kernels: tuple[Kernel, ...] = Field(min_length=1)
    choice: Literal["search", "default", "single"] = Field(
        "search",
        description="search: the fastest of the kernels, by a library's own ranking or timed; "
        "default: the first, whatever the size; single: there is no other",
    )
    multiples: Multiples = Field(
        Multiples(), description="what sizes must be multiples of, of sparse GEMMs"
    )
    order: Literal["as_square", "along_compressed"] = Field(
        "as_square",
        description="in which order tiles of C are launched: so that what runs at once is as "
        "square as it can be, or along the rows of the compressed operand, all of them for a few "
        "of the dense one's before the next",
    )
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
        description="a tile smaller than the largest is passed over once its threadblocks, parts "
        "of K counted, are more than one wave, unless one tile spans C",
    )
    cuda_cores: bool = Field(False, description="runs on CUDA cores instead of tensor cores")
    operands: Literal["registers", "shared"] = Field(
        "registers",
        description="where the matrix instruction finds them; shared: warpgroups of four warps, of "
        "which `warp` is a part of the tile, multiply out of shared memory, filled in bulk",
    )
    persistent: bool = Field(
        False,
        description="threadblocks stay on their SM and take one tile after another: loads of the "
        "next begin as stages are free; counted in cycles",
    )
    vectors: bool = Field(
        False,
        description="V:N:M kernels: a tile's rows are of the compressed operand and divide V",
    )

    @model_validator(mode="after")
    def _takes_every_size(self) -> Self:
        """Check the least size of every part that the kernels' limits cut all sizes into."""
        bounds = [kernel.least for kernel in self.kernels]
        bounds += [((m or 0) + 1, (n or 0) + 1, 1) for m, n in (one.most for one in self.kernels)]
        starts = ({1, *sizes} for sizes in zip(*bounds, strict=True))
        for m, n, k in product(*map(sorted, starts)):
            if not any(kernel.takes(m, n, k) for kernel in self.kernels):
                raise ValueError(f"no kernel takes a GEMM of {m} x {n} x {k} (least, most)")
        return self

    @model_validator(mode="after")
    def _single(self) -> Self:
        if self.choice == "single" and len(self.kernels) > 1:
            raise ValueError(f"choice is 'single', expected one kernel, found {len(self.kernels)}")
        return self

    @property
    def launched(self) -> tuple[Kernel, ...]:
        """The kernels that the set comes to without being told one."""
        return self.kernels if self.choice == "search" else self.kernels[:1]


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
