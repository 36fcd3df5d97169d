"""Kernels of fused attention, by library and generation of GPUs: one set a YAML file.

A set says how a library cuts the work into threadblocks, when it splits the keys among several of
them, what it does beside (writing K and V into a cache), and at most eight fitted constants.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from nmsim.machines.kind import Facts, Listing
from nmsim.machines.measured_as import Part
from nmsim.spec import Catalog, Spec

__all__ = [
    "ATTENTION_KERNELS",
    "LISTING",
    "AttentionConstants",
    "AttentionKernels",
    "AttentionTile",
    "KeySplit",
    "load_attention_kernels",
]

Size = Annotated[int, Field(ge=1, le=65536)]
NonNegative = Annotated[float, Field(ge=0, le=1e6)]
Share = Annotated[float, Field(gt=0, le=1.25)]


class AttentionTile(Spec):
    """What a threadblock works on: rows of queries that stay, blocks of keys that go by.

    In backward it is the other way round: keys stay, queries go by.
    """

    queries: Size = Field(description="rows of Q of a block")
    keys: Size = Field(description="rows of K and V of a block")
    ctas_per_sm: Annotated[int, Field(ge=1, le=32)] = Field(description="resident threadblocks")
    head_dim: Size = Field(65536, description="the largest head_dim that it is for")
    most_rows: Annotated[int, Field(ge=0)] = Field(
        0, description="only where a head of K has at most so many rows of Q; 0: any"
    )
    split: bool | None = Field(
        None, description="only where the keys may be split, or may not; null: both"
    )
    phase: Literal["forward", "backward"] = Field("forward", description="that it is for")


class KeySplit(Spec):
    """When keys are split among threadblocks whose partial results another kernel combines."""

    plan: Literal["waves", "balanced"] = Field(
        description="waves: the fewest parts that fill waves to 85% of the best (FlashAttention); "
        "balanced: of these at most as many as give each SM the same blocks over the batch"
    )
    most: Size = Field(128, description="parts at most")
    sm_slots: Annotated[int, Field(ge=1, le=32)] = Field(
        1, description="threadblocks that the plan gives an SM"
    )
    least_blocks: Size = Field(1, description="blocks of keys below which nothing is split")
    grouped_only: bool = Field(
        False, description="only one query a head, and heads of Q that share a head of K"
    )
    planned_kv_heads: Annotated[int, Field(ge=0)] = Field(
        0, description="heads of K that the balance is made for, whatever the call has; 0: its own"
    )


class AttentionConstants(Spec):
    """Fitted constants, at most eight to a library and generation."""

    launch_us: NonNegative = Field(description="launches of a call that no work hides, us")
    efficiency: Share = Field(description="share of the tensor cores' rate in the main loop")
    backward: Share = Field(1.0, description="of that share in backward")
    softmax: NonNegative = Field(
        description="time on the softmax of a score that the tensor cores do not hide, in times of "
        "one exponential at the SM's rate"
    )
    cta_us: NonNegative = Field(description="a threadblock before its first block and after, us")
    block_us: NonNegative = Field(0.0, description="a block of keys at the least: latency, us")
    dram_share: Share = Field(1.0, description="of the machine's DRAM bandwidth")
    overlap: Annotated[float, Field(ge=0, le=1)] = Field(
        description="share of the shorter of on-chip and DRAM time that the longer does not hide"
    )
    token_us: NonNegative = Field(
        0.0, description="a threadblock of the kernel before attention, which copies a token, us"
    )


class AttentionKernels(Spec):
    """The kernels of fused attention that one library has for one generation of GPUs."""

    library: str = Field(description="name, as a call gives it")
    measured_as: tuple[Part, ...] = Field(
        (), description="how a measured table's library begins; the longest of a machine's counts"
    )
    summary: str
    source: str
    dtypes: tuple[str, ...] = Field(("fp16", "bf16"), description="number formats of Q, K and V")
    cache: bool = Field(
        False,
        description="made for keys and values that stand in a cache, as of prefill and decode; "
        "false: for those of a batch, as in training",
    )
    tiles: tuple[AttentionTile, ...] = Field(
        min_length=1, description="the first that a call fits is taken"
    )
    packs_groups: Literal["never", "one_query", "always"] = Field(
        "never",
        description="heads of Q that share a head of K are rows of the same block: never, only "
        "where a head has one query, or always",
    )
    split: KeySplit | None = Field(None, description="null: keys are never split")
    longest_first: bool = Field(
        False, description="threadblocks with most keys start first where causal"
    )
    before: Literal["nothing", "keys", "all"] = Field(
        "nothing",
        description="what a kernel before attention copies: nothing, new K and V into the cache, "
        "or Q too",
    )
    copy_threads: Size = Field(
        512, description="threads of a block of that kernel, one to an element, at most"
    )
    head_dim_step: Size = Field(32, description="head_dim is padded to a multiple of this")
    constants: AttentionConstants
    fitted: tuple[str, ...] = Field((), max_length=8, description="constants that a fit may set")

    def has(self, phase: str, head_dim: int) -> bool:
        """Whether there is a kernel of a phase for heads of so many features, however many rows."""
        return any(
            tile.phase == phase and head_dim <= tile.head_dim
            for tile in self.tiles
            if not tile.most_rows and tile.split is not True
        )


ATTENTION_KERNELS: Catalog[AttentionKernels] = Catalog(
    "attention kernels", Path(__file__).parent, AttentionKernels
)
"""The sets of attention kernels that ship with nmsim."""


def load_attention_kernels(name: str) -> AttentionKernels:
    """A set of attention kernels by name or path.

    Raises
    ------
    UnknownName, SpecError
        for a name that does not exist, or a file that is not such a set.
    """
    return ATTENTION_KERNELS.load(name)


def _facts(name: str) -> Facts:
    kernels = load_attention_kernels(name)
    own = type(kernels).model_fields
    rest = [
        (field, f"{getattr(kernels, field)}   [{own[field].description}]")
        for field in own
        if field not in ("summary", "source", "tiles", "constants")
    ]
    constants = [
        (field, f"{getattr(kernels.constants, field)}   [{about.description}]")
        for field, about in type(kernels.constants).model_fields.items()
    ]
    head = [("name", name), ("summary", kernels.summary), ("source", kernels.source)]
    return [*head, *rest, *(("tile", str(tile)) for tile in kernels.tiles), *constants]


LISTING = Listing(
    names=lambda: ATTENTION_KERNELS,
    summary=lambda name: load_attention_kernels(name).summary,
    facts=_facts,
    schema=AttentionKernels,
)
"""What `nmsim list attention` and `nmsim show attention` print."""
