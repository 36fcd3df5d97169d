"""What the YAML file of a GPU with tensor cores says."""

from functools import lru_cache
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from nmsim.errors import SpecError
from nmsim.gemm import Gemm, Phase
from nmsim.machines.gpu.stacks import Masks
from nmsim.machines.kind import Machine, Ran
from nmsim.machines.width import IndexWidth, index_width
from nmsim.pattern import Pattern, PatternField
from nmsim.spec import Spec

__all__ = [
    "L2",
    "Casting",
    "Constants",
    "Cycle",
    "FormatRate",
    "Gpu",
    "GpuDram",
    "Library",
    "PackedWeights",
    "Sm",
    "SparseRate",
    "Timing",
    "TimingOverride",
    "in_format",
    "of_gemm",
    "unpacked",
]

Positive = Annotated[float, Field(ge=1e-6, le=1e12)]
NonNegative = Annotated[float, Field(ge=0, le=1e6)]
Reached = Annotated[float, Field(ge=1e-3, le=1)]
"""A share of something that there is some of."""

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=2**31)]


class SparseRate(Spec):
    """How fast one native pattern runs, where patterns differ."""

    pattern: PatternField
    macs_per_clk: Positive = Field(description="dense-equivalent MACs per clock and SM")


class PackedWeights(Spec):
    """A number format of weights alone: packed in memory, unpacked to the format of activations."""

    dtype: str = Field(description="name: w4a16, w8a16")
    bits: Annotated[int, Field(ge=1, le=16)] = Field(description="of a packed weight")
    activations: str = Field(
        description="number format of `formats` that is multiplied, A, C and other GEMMs come in"
    )
    group: Count = Field(128, description="weights along K that share a scale")
    scale_bits: Annotated[int, Field(ge=0, le=64)] = Field(16, description="of a scale")
    instructions: NonNegative = Field(
        description="of a CUDA core's lane to unpack and scale a weight; as many lanes as fp32 has "
        "multiply-adds a clock"
    )

    def scale_of(self, density: float = 1.0) -> float:
        """Bits of a scale that a stored weight shares with its group, of which so many are."""
        return self.scale_bits / self.group / density


class FormatRate(Spec):
    """A number format and its sums, and what a streaming multiprocessor (SM) makes of them."""

    dtype: str = Field(description="name: fp16, bf16, fp8, int8, tf32, int4, fp4, fp32")
    bits: Annotated[int, Field(ge=1, le=64)] = Field(description="of an operand's element")
    output_bits: Annotated[int, Field(ge=1, le=64)] = Field(description="of an element of C")
    accumulator: str = Field(
        "",
        description="number format of the sums; of several entries of one dtype, the first is what "
        "a call gets that names none; none: sums of any format",
    )
    macs_per_clk: Positive = Field(description="dense MACs per clock and SM")
    sparse_macs_per_clk: Positive | None = Field(
        None,
        description="dense-equivalent MACs per clock and SM with a sparse operand; null: no "
        "sparse instruction",
    )
    sparse_rates: tuple[SparseRate, ...] = Field(
        (), description="native patterns that run at another rate than sparse_macs_per_clk"
    )
    native: tuple[PatternField, ...] | None = Field(
        None,
        description="patterns of the sparse instruction in this format, such as 1:2 of tf32; none "
        "of them where it takes what is no N:M of elements, such as 4:8 of pairs; null: the GPU's",
    )

    weights: PackedWeights | None = Field(
        None, description="how weights are packed; none: as activations; filled in"
    )

    def weight_bits(self, density: float = 1.0) -> float:
        """Bits of a stored weight: its share of a scale included, if weights are packed."""
        packed = self.weights
        return float(self.bits) if packed is None else packed.bits + packed.scale_of(density)

    def sparse_macs(self, native: Pattern) -> float | None:
        """Dense-equivalent MACs per clock and SM of a native pattern; None without instruction."""
        own = [rate.macs_per_clk for rate in self.sparse_rates if rate.pattern == native]
        return own[0] if own else self.sparse_macs_per_clk


class Sm(Spec):
    """One streaming multiprocessor (SM): sub-cores, shared memory, and what it holds at once."""

    sub_cores: Annotated[int, Field(ge=1, le=64)] = Field(
        4, description="schedulers, each with a tensor core"
    )
    shared_kib: Positive = Field(description="shared memory, KiB")
    shared_bytes_per_clk: Positive = Field(description="shared memory bandwidth, bytes per clock")
    port_bytes_per_clk: Positive = Field(description="from L2, bytes per clock")
    registers: Count = Field(65536, description="32-bit registers")
    threads: Count = Field(2048, description="resident threads")
    ctas: Count = Field(32, description="resident threadblocks")
    shared_latency: Count = Field(description="shared memory latency, clocks")
    mma_latency: Count = Field(description="from an mma to one that needs its sums, clocks")


class L2(Spec):
    """The second-level cache, shared by all SMs."""

    mib: Positive = Field(description="capacity, MiB")
    gbps: Positive = Field(description="read bandwidth, 1e9 bytes per second")
    latency_clk: Positive = Field(description="load latency, clocks of an SM")
    kept_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="share of the capacity up to which a series of launches finds all that it has "
        "read before, and its results stay to be written over; beyond it that falls in proportion "
        "to nothing at the capacity. 0: what is read is lost from the first byte on, results leave",
    )


class GpuDram(Spec):
    """Device memory of a GPU: bandwidth and latency of reads."""

    gbps: Positive = Field(description="read bandwidth as measured, 1e9 bytes per second")
    sheet_gbps: Positive | None = Field(
        None,
        description="bandwidth that the data sheet prints, 1e9 bytes per second; null: unknown",
    )
    latency_clk: Positive = Field(description="load latency, clocks of an SM")


class Constants(Spec):
    """Constants that both fidelities take, each its own: launch, results, the clock under load."""

    launch_us: NonNegative | None = Field(
        None,
        description="what a launch costs and no work hides, us: in closed form the shortest kernel "
        "of a graph, in cycles what comes before its first threadblock",
    )
    reduce_us: NonNegative | None = Field(
        None, description="launch of the kernel that adds up the parts of a split K, us"
    )
    store_bytes_per_clk: Positive | None = Field(
        None, description="results that an SM writes, bytes per clock"
    )
    write_gbps: Positive | None = Field(None, description="results into DRAM, 1e9 bytes per second")
    throttle: Share | None = Field(
        None, description="slow-down of a long kernel that keeps all tensor cores busy"
    )
    throttle_us: NonNegative | None = Field(
        None, description="time in which the clock comes down by half of that, us"
    )


class TimingOverride(Constants):
    """Fields of `timing` that a library's kernels take otherwise; null: as the machine says."""

    load_us: NonNegative | None = Field(
        None, description="from asking for a stage to its arrival under load, us"
    )
    wave_us: NonNegative | None = Field(
        None, description="between one tile of a slot and the next, us"
    )
    overlap: Share | None = Field(
        None,
        description="share of the shorter of on-chip and DRAM time that the longer does not hide",
    )
    gemv_gbps: Positive | None = Field(
        None, description="a matrix-vector kernel's reads, 1e9 bytes per second"
    )


class Timing(TimingOverride):
    """What a launch takes beside its arithmetic and its bytes; a machine leaves none of it out."""

    model_config = ConfigDict(json_schema_extra={"required": [*TimingOverride.model_fields]})

    sustained_throttle: Share = Field(
        0.0,
        description="slow-down of kernels that keep all tensor cores busy, launched back to back "
        "for so long that the clock has come down before the first is timed",
    )


class Cycle(Constants):
    """What the cycle model takes beside or instead of `timing`; null: as that says, or nothing."""

    start_us: NonNegative | None = Field(
        None, description="a threadblock before its first load and after its last store, us"
    )
    queue_clk: NonNegative | None = Field(
        None, description="what comes to DRAM's latency when it is fully used, clocks"
    )
    dram_share: Reached | None = Field(
        None, description="share of DRAM's bandwidth that the short rows of tiles reach"
    )
    absorbed_mib: NonNegative | None = Field(
        None, description="results that L2 holds until the kernel has ended, MiB"
    )
    results_wait: Share | None = Field(
        None,
        description="share of the time in which device memory takes results that tiles wait for, "
        "beyond their leaving an SM; null: all, as when every SM stores at once",
    )
    shared_queue_clk: Count | None = Field(
        None, description="accesses that may wait for shared memory, clocks of its time"
    )
    barrier_clk: Count | None = Field(
        None, description="from the last warp at a barrier until all go on, clocks"
    )
    efficiency: Reached | None = Field(
        None, description="share of the tensor cores' rate; null: that of the library"
    )


class Casting(Spec):
    """Two passes before each call: A's largest magnitude is found, then A is scaled and cast."""

    bits: Annotated[int, Field(ge=1, le=64)] = Field(
        16, description="of an element of A as the network has it"
    )
    threadblocks: Count = Field(
        description="of a pass at most: a row each, or in turns where there are more rows"
    )
    launch_us: NonNegative = Field(description="what a pass costs and no work hides, us")
    threadblock_us: NonNegative = Field(
        description="of an SM for every threadblock of a pass after its first, us"
    )
    dram_share: Reached = Field(
        description="share of device memory's bandwidth that the passes reach"
    )


class Library(Spec):
    """A library on this machine: the kernels that it has, and how well they do."""

    library: str = Field(description="name, as measured tables give it")
    kernels: str = Field(description="kernel set: `nmsim list kernels`")
    also: tuple[str, ...] = Field((), description="other names that measured tables give it")
    dtypes: tuple[str, ...] = Field((), description="number formats; none: all")
    sparse: bool = Field(False, description="takes a compressed operand")
    convolutions: tuple[Phase, ...] = Field(
        (),
        description="phases in which it runs implicit GEMMs of convolutions, and nothing else; "
        "none: GEMMs of matrices, and convolutions that no other library runs",
    )
    patterns: tuple[PatternField, ...] = Field(
        (),
        description="that it has kernels for; none: those of the sparse instruction, or, on CUDA "
        "cores, any",
    )
    efficiency: Reached = Field(
        1.0, description="share of the tensor cores' rate that the main loop reaches"
    )
    casts: Casting | None = Field(
        None, description="how it makes A of 16 bits into its own format; null: A comes in that"
    )
    timing: TimingOverride = Field(
        TimingOverride(), description="fields of `timing` that are other for this library"
    )
    cycle: Cycle = Field(Cycle(), description="fields of `cycle` that are other for this library")


class Gpu(Machine):
    """A GPU: streaming multiprocessors with tensor cores, an L2 cache, and device memory."""

    kind: Literal["gpu"]
    sms: Annotated[int, Field(ge=1, le=65536)] = Field(description="streaming multiprocessors")
    clock_mhz: Annotated[float, Field(ge=1e-3, le=1e6)] = Field(
        description="cycles per microsecond of an SM under load"
    )
    dtype: str = Field(description="number format of a simulated network")
    accumulator: str = Field(
        "", description="number format of its sums; none: the first that `formats` has"
    )
    formats: tuple[FormatRate, ...] = Field(min_length=1)
    packed_weights: tuple[PackedWeights, ...] = Field(
        (), description="number formats of weights alone, at the rates of one of `formats`"
    )
    native: tuple[PatternField, ...] = Field((), description="patterns of the sparse instruction")
    index_bits: tuple[IndexWidth, ...] = Field(
        (), description="metadata of patterns that take other than ceil(log2 M) bits an element"
    )
    sm: Sm
    l2: L2
    dram: GpuDram
    libraries: tuple[Library, ...] = Field(
        min_length=1, description="in order of preference where neither call nor stack names one"
    )
    attention: tuple[str, ...] = Field(
        (),
        description="sets of fused attention kernels, in order of preference: "
        "`nmsim list attention`; none: it has no fused attention",
    )
    fused_attention: bool = Field(
        True,
        description="attention layers run as one kernel where `attention` has one (true), or as "
        "their GEMMs, so that scores go through device memory (false)",
    )
    layout: Literal["channels_last", "channels_first"] = Field(
        "channels_last",
        description="of images in memory: with channels first a convolution on tensor cores, which "
        "reads channels last, has a pass over what it reads and one over what it writes",
    )
    conditions: Literal["free", "sustained", "locked"] = Field(
        "free",
        description="what its clock does: it starts at its highest and comes down under load "
        "(free), long work has brought it down already, as in training (sustained), or no load "
        "brings it down (locked)",
    )
    timing: Timing
    cycle: Cycle = Field(
        Cycle(), description="what the cycle model takes beside or instead of `timing`"
    )
    stack: str = Field(
        "best", description="what calls the libraries, by name or path: `nmsim list stacks`"
    )
    masks: Masks | None = Field(
        None,
        description="where_they_pay: a mask is not followed where the dense kernel is faster; "
        "always: it is where a kernel takes it; null: as the stack has it",
    )
    library: str = Field(
        "",
        description="a library of `libraries`, by name, that runs what it can of GEMMs with and "
        "without masks; none: those of the stack",
    )
    kernel: str = Field(
        "",
        description="a kernel, by name, to be run wherever the library has it; none: the library's "
        "choice",
    )

    residual: str = Field(
        "",
        description="file of a learned residual that corrects dense GEMMs of the closed form; "
        "none: the physics alone",
    )

    @model_validator(mode="after")
    def _unpacks_to_a_format(self) -> Self:
        known = [one.dtype for one in self.formats]
        for one in self.packed_weights:
            if one.activations not in known:
                raise ValueError(
                    f"packed_weights {one.dtype}: activations {one.activations!r}, expected one of "
                    f"{', '.join(dict.fromkeys(known))}"
                )
        return self

    @model_validator(mode="after")
    def _states_its_timing(self) -> Self:
        for name, value in self.timing:
            if value is None:
                raise ValueError(f"timing.{name} is missing")
        return self

    def under(self, conditions: str) -> "Gpu":
        """The GPU as its clock goes: "free", "sustained" after long work, or "locked".

        After long work the clock has come down, however short the next kernel is; a locked one
        stays where it is.
        """
        return self.model_copy(update={"conditions": conditions})

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Number formats of operands, each once."""
        packed = (one.dtype for one in self.packed_weights)
        return tuple(dict.fromkeys([*(one.dtype for one in self.formats), *packed]))

    @property
    def multiplied(self) -> str:
        """The number format of what is no packed weight: activations, and products of them."""
        packed = {one.dtype: one.activations for one in self.packed_weights}
        return packed.get(self.dtype, self.dtype)

    def format(self, dtype: str, accumulator: str = "") -> FormatRate:
        """The rates of a number format on this GPU, by its name and that of its sums.

        Sums that no entry names run as the first entry says: how a table calls them is free text.

        Raises
        ------
        SpecError
            if the machine has none of the name.
        """
        weights = next((one for one in self.packed_weights if one.dtype == dtype), None)
        wanted = dtype if weights is None else weights.activations
        named = [one for one in self.formats if one.dtype == wanted]
        if not named:
            known = ", ".join(self.dtypes)
            raise SpecError(f"{self.name}: number format {dtype!r}, expected one of {known}")
        form = next(
            (one for one in named if accumulator and one.accumulator == accumulator), named[0]
        )
        if weights is None:
            return form
        return form.model_copy(update={"dtype": dtype, "weights": weights})

    def natives(self, dtype: str, accumulator: str = "") -> tuple[Pattern, ...]:
        """Patterns that the sparse instruction takes in a number format; none without one."""
        form = self.format(dtype, accumulator)
        own = self.native if form.native is None else form.native
        return tuple(pattern for pattern in own if form.sparse_macs(pattern))

    @property
    def output_bits(self) -> int:
        """Width of C, in the format of a simulated network."""
        return self.format(self.dtype, self.accumulator).output_bits

    @property
    def peak_macs(self) -> float:
        """Dense MACs per cycle of the whole GPU, in the format of a simulated network."""
        return self.sms * self.format(self.dtype, self.accumulator).macs_per_clk

    def metadata_bits(self, pattern: Pattern) -> int:
        """Bits of metadata of a kept element of a pattern."""
        return index_width(self.index_bits, pattern)


@lru_cache(maxsize=256)
def in_format(machine: Gpu, wanted: str = "") -> Ran:
    """The GPU with another ``dtype``, at that format's rate; if it has none such, with its own.

    Parameters
    ----------
    wanted
        From ``nmsim.formats``, or empty.
    """
    if not wanted:
        return Ran(machine, machine.dtype)
    has = wanted in machine.dtypes
    served = any(
        not (library.sparse or library.convolutions)
        and (not library.dtypes or wanted in library.dtypes)
        for library in machine.libraries
    )
    if has and served:
        return Ran(machine.model_copy(update={"dtype": wanted}), wanted)
    return Ran(machine, machine.dtype, f"the GPU has no {wanted} and runs {machine.dtype}")


def of_gemm(machine: Gpu, gemm: Gemm) -> Gpu:
    """The GPU as it runs a GEMM of a network: weights alone are packed, and in forward alone.

    Products of activations, and convolutions, for which there is no such kernel, run in the format
    of the activations.

    Raises
    ------
    SpecError
        for a gradient with packed weights.
    """
    if machine.multiplied == machine.dtype:
        return machine
    if gemm.phase != "forward":
        raise SpecError(
            f"{machine.name}: {machine.dtype} packs weights for inference, expected phase forward "
            f"(--phase, --scenario infer, prefill or decode), found {gemm.phase} of {gemm.layer!r}"
        )
    if gemm.kind in ("matmul", "attention", "conv"):
        return machine.model_copy(update={"dtype": machine.multiplied})
    return machine


def unpacked(machine: Gpu, gemm: Gemm) -> str:
    """What a reader should know of a GEMM that no packed weights are of; "": nothing."""
    if of_gemm(machine, gemm) is machine:
        return ""
    what = "a convolution" if gemm.kind == "conv" else "a product of activations"
    return f"{what} runs {machine.multiplied}: {machine.dtype} is of weights alone"
