"""What the YAML file of a systolic array says."""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from nmsim.machines.kind import Machine
from nmsim.machines.systolic.dataflow import Dataflow, dataflow_of
from nmsim.machines.systolic.pe.shape import Passes, Pe, Selection
from nmsim.machines.width import IndexWidth, index_width
from nmsim.pattern import Pattern, PatternField
from nmsim.spec import Spec

__all__ = ["Delivery", "Dram", "Intersecting", "Sram", "SystolicArray"]

Position = Literal["a", "b", "either"]
Kib = Annotated[float, Field(ge=2**-10, le=2**40)]


class Sram(Spec):
    """On-chip buffers, each in two halves: one is filled while the other is read."""

    a_kib: Kib = Field(description="buffer of operand A, KiB")
    b_kib: Kib = Field(description="buffer of operand B, KiB")
    c_kib: Kib = Field(description="buffer of results and sums, KiB")


class Dram(Spec):
    """Off-chip memory: one channel that reads and writes share."""

    gbps: Annotated[float, Field(ge=1e-6, le=1e9)] | None = Field(
        description="bandwidth, 1e9 bytes per second; null: unlimited"
    )
    latency_ns: Annotated[float, Field(ge=0, le=1e9)] = Field(
        0.0, description="from a request to its first byte, ns"
    )
    memory: str | None = Field(
        None,
        description="kind that prices its energy, as technologies call it: hbm2, ddr3, lpddr4; "
        "null: the technology's own",
    )


class Delivery(Spec):
    """The path from the buffers to the array, shared by both operands and their metadata."""

    words_per_cycle: Annotated[float, Field(ge=1e-6, le=1e9)] = Field(description="words a cycle")
    word_bits: Annotated[int, Field(ge=1, le=65536)] = Field(description="width of a word, bits")

    @property
    def bits_per_cycle(self) -> float:
        """Bits that the path carries in a cycle."""
        return self.words_per_cycle * self.word_bits


class Intersecting(Spec):
    """Processing elements that skip every product with a zero, from the bits of both masks."""

    group: Annotated[int, Field(ge=1, le=64)] = Field(
        description="elements of K that reach a PE together"
    )
    lookahead: Annotated[int, Field(ge=0, le=2**31)] | None = Field(
        description="groups that a PE may run ahead of the fold's slowest; 0: lock-step; "
        "null: without limit"
    )


class SystolicArray(Machine):
    """A systolic array of rows x cols processing elements (PEs)."""

    replaced: ClassVar[Mapping[str, str]] = {
        "may_transpose": "order: best (true) or fixed (false)",
        "preload": "fold_period: exposed, preload_hidden (overlapped) or uncounted",
        "selector": "pe: {selection: any} or {selection: ordered} (--set pe.selection=ordered)",
    }

    kind: Literal["systolic"]
    rows: Annotated[int, Field(ge=1, le=65536)] = Field(description="R, processing elements")
    cols: Annotated[int, Field(ge=1, le=65536)] = Field(description="C, processing elements")
    dataflow: str = Field(description="what stays in the array: `nmsim list dataflows`")
    operand_bits: Annotated[int, Field(ge=1, le=64)] = Field(16, description="width of A and B")
    accumulator_bits: Annotated[int, Field(ge=1, le=64)] = Field(32, description="width of sums")
    output_bits: Annotated[int, Field(ge=1, le=64)] = Field(16, description="width of C in DRAM")
    dot_width: Annotated[int, Field(ge=1, le=1024)] = Field(
        1, description="products along K that a PE sums per cycle: its multipliers"
    )
    pe: Pe = Field(Pe(), description="what a PE is built of")
    clock: Literal["as_given", "as_synthesised"] = Field(
        "as_given",
        description="clock_mhz is the array's (as_given), or that of its dense twin, of which a PE "
        "that selects reaches less, by the levels that its path has more (as_synthesised)",
    )
    feed: Literal["skewed", "broadcast"] = Field(
        "skewed",
        description="operands move from PE to PE, one cycle each, so that a fold takes R + C - 2 "
        "cycles to fill and empty (skewed), or reach a whole row or column at once (broadcast; "
        "under os only)",
    )
    fold_period: Literal["exposed", "preload_hidden", "back_to_back", "uncounted"] = Field(
        "exposed",
        description="from fold to fold under ws and is, T rows streamed: shifting the stationary "
        "operand in takes R cycles before every fold, R + T + R + C - 2 (exposed); R once and then "
        "hides behind the fold before, T + R + C - 2 (preload_hidden); each PE has a shadow "
        "register and a valid bit, which passes on with the rows, so that a fold streams in behind "
        "the one before, max(T, R) (back_to_back; columns that load all their rows at once would "
        "need max(T, R + C)); or is left out (uncounted)",
    )
    drain: Literal["exposed", "overlapped", "back_to_back", "uncounted"] = Field(
        "exposed",
        description="shifting outputs out under os, R cycles: after every fold (exposed), "
        "behind the next one (overlapped), behind the next one, which streams in as soon as each "
        "PE has moved its sum to a shadow register, max(T, R) from fold to fold (back_to_back), or "
        "left out (uncounted)",
    )
    partial_sums: Literal["split", "spill"] = Field(
        "split",
        description="when half the C buffer cannot hold a fold's partial sums: stream fewer rows "
        "per fold (split), or send what does not fit to DRAM and back (spill)",
    )
    im2col: Literal["implicit", "explicit"] = Field(
        "implicit",
        description="a convolution's columns are made on chip from each element once (implicit), "
        "or stand in DRAM (explicit)",
    )
    native: tuple[PatternField, ...] = Field(
        (), description="patterns that the selectors support; a mask that breaks them takes more"
    )
    flexible_group: Annotated[int, Field(ge=0, le=1024)] = Field(
        0, description="any N:M runs natively up to this group; 0: none but `native`"
    )
    index_bits: tuple[IndexWidth, ...] = Field(
        (), description="metadata of patterns that take other than ceil(log2 M) bits an element"
    )
    sparse_operand: Position = Field("b", description="operand whose mask the selectors follow")
    order: Literal["best", "fixed"] = Field(
        "best",
        description="a GEMM, dense or masked, runs as A.B^T or as B.A^T, whichever is faster "
        "(best), or as it is given (fixed)",
    )
    masks: Literal["where_they_pay", "always"] = Field(
        "where_they_pay",
        description="a mask that the selectors support is followed where that is faster "
        "(where_they_pay), or wherever it can be (always)",
    )
    pad_groups: bool = Field(False, description="K is padded to whole groups")
    pad_slots: Annotated[int, Field(ge=1, le=2**20)] = Field(
        1, description="K is padded until its slots are a multiple of this, such as a buffer's tile"
    )
    intersecting: Intersecting | None = Field(
        None, description="PEs that skip every product with a zero, in place of selectors"
    )
    delivery: Delivery | None = Field(
        None, description="path from the buffers to the array; null: as wide as the PEs need"
    )
    arrays: Annotated[int, Field(ge=1, le=1024)] = Field(
        1, description="arrays alike that share the DRAM channel; a GEMM is shared out among them"
    )
    partition: Literal["best", "m", "n", "k", "copies"] = Field(
        "best",
        description="what each array gets of a GEMM: a part of the rows of C (m), its columns (n), "
        "K (k, whose sums are then added up through DRAM) or its copies; or what is fastest (best)",
    )
    buffers: Literal["private", "shared"] = Field(
        "private",
        description="of several arrays: each has a DMA engine and buffers as large as `sram` says, "
        "loads all that it needs and stands in line for the channel (private), or all run in "
        "lock-step from one engine and share those buffers, so that what they have in common is "
        "loaded once (shared)",
    )
    sram: Sram
    dram: Dram
    fused_attention: bool = Field(
        False,
        description="attention layers keep scores on chip, so that DRAM carries Q, K, V and O "
        "alone (true), or run as their GEMMs (false)",
    )

    @field_validator("dataflow")
    @classmethod
    def _dataflow_exists(cls, name: str) -> str:
        return dataflow_of(name).name

    @model_validator(mode="after")
    def _modelled(self) -> Self:
        if self.dataflow != "os" and self.feed != "skewed":
            raise ValueError("feed broadcast: expected dataflow os")
        shared = self.pe.macs_per_group
        if any(whole % shared for whole in (self.dot_width, *(p.group for p in self.native))):
            raise ValueError("pe.macs_per_group: expected a divisor of dot_width and native groups")
        if shared > 1 and self.flexible_group:
            raise ValueError("pe.macs_per_group above 1: expected flexible_group 0")
        if (self.pe.passes == "none") != (self.feed == "broadcast") and self.pe.passes:
            raise ValueError("pe.passes none and feed broadcast: expected both or neither")
        if (self.selection == "intersect") != (self.intersecting is not None):
            raise ValueError("pe.selection intersect and intersecting: expected both or neither")
        if self.pe.holds == "group":
            self._holds_groups()
        if self.intersecting is not None:
            self._intersects()
        return self

    def _holds_groups(self) -> None:
        if len({native.group for native in self.native}) != 1 or self.flexible_group:
            raise ValueError(
                "pe.holds group: expected native patterns of one group, and flexible_group 0"
            )
        if self.pad_slots > 1:
            raise ValueError("pe.holds group: expected pad_slots 1")

    def _intersects(self) -> None:
        if self.arrays > 1:
            raise ValueError("intersecting: expected arrays 1")
        if self.dataflow != "os" or self.feed != "broadcast" or self.dot_width > 1:
            raise ValueError("intersecting: expected dataflow os, feed broadcast and dot_width 1")
        if self.native or self.flexible_group:
            raise ValueError("intersecting: expected no native patterns and flexible_group 0")
        if self.pad_slots > 1:
            raise ValueError("intersecting: expected pad_slots 1")

    @property
    def flow(self) -> Dataflow:
        """The dataflow that it is named."""
        return dataflow_of(self.dataflow)

    @property
    def peak_macs(self) -> int:
        """Physical MACs per cycle, of all arrays."""
        return self.arrays * self.rows * self.cols * self.dot_width

    @property
    def selection(self) -> Selection:
        """How a PE selects: ``pe.selection``, or what other fields say."""
        return self.pe.selection or ("any" if self.intersecting is None else "intersect")

    @property
    def passes(self) -> Passes:
        """What a PE hands on: ``pe.passes``, or what other fields say."""
        return self.pe.passes or ("none" if self.feed == "broadcast" else "group")

    @property
    def floating(self) -> bool:
        """Whether its multipliers are floating point."""
        return self.pe.arithmetic == "float"

    @property
    def holds_groups(self) -> bool:
        """Whether PEs hold whole groups, so that a mask shortens the stream, not K."""
        return self.pe.holds == "group" and self.dataflow != "os"

    @property
    def group(self) -> int:
        """Elements of the widest group that a PE selects from; 1: it selects nothing."""
        own = self.intersecting.group if self.intersecting else 1
        return max([own, self.flexible_group, *(native.group for native in self.native)])

    @property
    def groups_per_pe(self) -> int:
        """Groups that a PE selects from in a cycle."""
        return self.dot_width // self.pe.macs_per_group

    @property
    def depth(self) -> int:
        """What a fold of ws or is takes along K: slots, or elements where PEs hold whole groups."""
        held = self.groups_per_pe * self.group if self.holds_groups else self.dot_width
        return self.rows * held

    @property
    def lowering(self) -> Literal["implicit", "columns"]:
        """What reads columns from DRAM writes an input's gradient there as columns."""
        return "columns" if self.im2col == "explicit" else "implicit"

    @property
    def fill_cycles(self) -> int:
        """Cycles of a fold in which operands and results move from PE to PE."""
        return self.rows + self.cols - 2 if self.feed == "skewed" else 0

    def metadata_bits(self, pattern: Pattern) -> int:
        """Bits of metadata of a kept element of a pattern."""
        return index_width(self.index_bits, pattern)

    def padded(self, k: int, native: Pattern) -> int:
        """K, padded to whole groups and to a multiple of slots where the array does so."""
        group = native.group if self.pad_groups and not native.is_dense else 1
        if self.pad_slots > 1:
            group = math.lcm(native.keep, self.pad_slots) // native.keep * native.group
        return -(-k // group) * group

    def native_for(self, pattern: Pattern) -> Pattern | None:
        """The native pattern under which a mask of this pattern takes fewest slots.

        None if the array has no selectors for it, so that it runs dense.
        """
        if pattern.is_dense:
            return None
        if pattern.group <= self.flexible_group:
            return self._shared(pattern)
        widest = self.flexible_group
        flexible = [Pattern(min(pattern.keep, widest), widest)] if widest else []
        natives = [self._shared(native) for native in (*self.native, *flexible)]
        if self.holds_groups:  # a beat is the least that a group takes
            natives.append(Pattern(self.pe.macs_per_group, self.group))
        covering = [native for native in natives if native.covers(pattern)]
        return min(covering or natives, key=lambda native: native.density, default=None)

    def _shared(self, pattern: Pattern) -> Pattern:
        """A pattern as it fills multipliers that share a group: all of them are this group's."""
        share = self.pe.macs_per_group
        return Pattern(min(-(-pattern.keep // share) * share, pattern.group), pattern.group)
