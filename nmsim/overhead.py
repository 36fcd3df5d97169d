"""What a training step spends beside its GEMMs: making the masks that a recipe offers.

A mask is searched for once in ``refresh`` steps, in the first phase that it is offered in, and the
search is spread over those steps. Values change in every step, so an operand that the machine reads
compressed is packed in every step and for every phase: from the values and the mask (one bit an
element) if the mask is older, in the search's own kernel if it is made anew. What is pruned but
runs dense is written back with zeros.

Times are of bytes and of operations, not of anybody's code, and leave out what overlaps:

- a GPU takes a launch for each kernel, and the longer of its bytes at the bandwidth of a copy and
  its operations on CUDA cores (``nmsim.engine.preparation``, ``nmsim.pruning._effort``);
- a systolic array takes the bytes through DRAM: a lower bound, no vector unit is modelled;
- an ideal machine takes nothing: it counts MACs alone.

An algorithm that runs on the host (an optimal transposable mask, as in Hubara et al., NeurIPS 2021,
Table 2) takes its solver's time on ``HOST_CORES`` cores and its bytes over a link of ``LINK_GBPS``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from nmsim.engine.preparation import Pass, timed
from nmsim.hardware import Gpu, IdealMachine, Machine
from nmsim.mask import Mask, SparseGemm
from nmsim.operand import OPERANDS, Role
from nmsim.pruning import PRUNERS
from nmsim.recipe import Offer, Recipe
from nmsim.result import Run

__all__ = [
    "HOST_CORES",
    "LINK_GBPS",
    "MASK_COLUMNS",
    "Step",
    "basis",
    "mask_columns",
    "mask_steps",
    "operand_bits",
    "pass_us",
]

HOST_CORES = 16
"""Cores of the host that solve for masks, an assumption."""

LINK_GBPS = 25.0
"""To the host and back, an assumption: PCIe 4.0 x16, 31.5 GB/s less protocol."""

_ON_HOST = f"optimal transposable masks on {HOST_CORES} host cores and a {LINK_GBPS:g} GB/s link"

ROLES: tuple[Role, ...] = get_args(Role)

MASK_COLUMNS = ("mask_us", *(f"mask_{role}_us" for role in ROLES), "mask_work")
"""Columns of a row that tell of its masks."""


@dataclass(frozen=True)
class Step:
    """One thing that is done to have an operand masked.

    Parameters
    ----------
    role
        What the operand is to the layer.
    work
        Bytes and operations of one launch.
    refresh
        Training steps between two of it.
    repeat
        Launches each time.
    host_us
        Time on the host of one launch, its link included.
    """

    role: Role
    work: Pass
    refresh: int
    repeat: int
    host_us: float = 0.0

    def us(self, machine: Machine) -> float:
        """Microseconds of a training step, spread over those that share the mask."""
        once = self.host_us or pass_us(machine, self.work)
        return 0.0 if isinstance(machine, IdealMachine) else once * self.repeat / self.refresh


def basis(machine: Machine) -> str:
    """What the times of masks rest on, for a reader of them."""
    if isinstance(machine, Gpu):
        kernel = "a launch a kernel, and its bytes at copy speed or its operations on CUDA cores"
        return f"{kernel}; {_ON_HOST}"
    if isinstance(machine, IdealMachine):
        return "0: an ideal machine counts MACs alone"
    if machine.dram.gbps is None:
        return f"0 on the array: DRAM is unlimited, and no vector unit is modelled; {_ON_HOST}"
    return f"bytes through DRAM, a lower bound: no vector unit is modelled; {_ON_HOST}"


def pass_us(machine: Machine, work: Pass) -> float:
    """Microseconds of one launch that reads and writes whole matrices."""
    if isinstance(machine, Gpu):
        return timed(machine, [work]).time_us
    if isinstance(machine, IdealMachine) or machine.dram.gbps is None:
        return 0.0
    return (work.read_bytes + work.written_bytes) / (machine.dram.gbps * 1e3)


def mask_steps(machine: Machine, recipe: Recipe, work: SparseGemm, result: Run) -> Iterator[Step]:
    """What the masks of one GEMM take.

    Parameters
    ----------
    recipe
        That offers them.
    work, result
        The GEMM, and how it ran: which operands were read compressed.
    """
    g = work.gemm
    for position, mask in (("a", work.a), ("b", work.b)):
        operand = OPERANDS[g.phase][position == "b"]
        offer = recipe.offer_for(operand.tensor, g)
        if offer is None or mask.is_dense:
            continue
        matrix = _Matrix.of(machine, offer, work, mask, position, position in result.compressed)
        yield from _fixed(matrix) if not mask.indexed else _searched(matrix)


def mask_columns(
    machine: Machine, recipe: Recipe, work: SparseGemm, result: Run
) -> dict[str, float | str]:
    """Columns of a row: microseconds of all masks and of each role's, and what was done."""
    steps = list(mask_steps(machine, recipe, work, result))
    return {
        "mask_us": sum(step.us(machine) for step in steps),
        **{
            f"mask_{role}_us": sum(step.us(machine) for step in steps if step.role == role)
            for role in ROLES
        },
        "mask_work": "; ".join(_told(machine, step) for step in steps),
    }


def _told(machine: Machine, step: Step) -> str:
    spread = f" / {step.refresh} steps" if step.refresh > 1 else ""
    once = step.us(machine) * step.refresh
    return f"{step.role}: {step.work.what} {once:.3g} us{spread}"


@dataclass(frozen=True)
class _Matrix:
    """An operand as it is pruned: sizes in elements, and bits of them.

    Parameters
    ----------
    elements, kept
        Of all copies, before and after.
    shifted
        Elements of the gradient that FST adds to itself, shifted by one column.
    first
        The mask is made for this phase.
    compressed
        The machine reads the operand packed.
    """

    offer: Offer
    mask: Mask
    repeat: int
    elements: float
    kept: float
    shifted: float
    bits: int
    index_bits: int
    first: bool
    compressed: bool

    @classmethod
    def of(
        cls,
        machine: Machine,
        offer: Offer,
        work: SparseGemm,
        mask: Mask,
        position: str,
        compressed: bool,
    ) -> "_Matrix":
        g = work.gemm
        native = machine.native_for(mask.pattern) if compressed else None
        stored = native or mask.pattern
        elements = float(mask.rows * g.k)
        distinct = g.a_elements if position == "a" else g.b_elements
        per_pixel = g.phase == "forward" or not mask.indexed
        if distinct is not None and per_pixel:
            elements = float(distinct * g.count)
        return cls(
            offer,
            mask,
            g.repeat,
            elements,
            kept=elements * stored.stored(mask.k) / g.k,
            shifted=float(g.m * g.k * g.count),
            bits=operand_bits(machine),
            index_bits=machine.metadata_bits(stored),
            first=g.phase == offer.phases[0],
            compressed=compressed,
        )

    @property
    def bytes(self) -> float:
        """As it was."""
        return self.elements * self.bits / 8

    @property
    def written(self) -> float:
        """Bytes as the GEMM reads it: packed with its metadata, or whole with zeros."""
        return self.kept * (self.bits + self.index_bits) / 8 if self.compressed else self.bytes

    @property
    def flags(self) -> float:
        """Bytes of a mask that waits for a later step or phase: one bit an element."""
        return self.elements / 8

    def step(self, work: Pass, refresh: int = 1, host_us: float = 0.0) -> Step:
        """Something done to it."""
        return Step(self.offer.role, work, refresh, self.repeat, host_us)


def operand_bits(machine: Machine) -> int:
    """Width of an operand's element."""
    return machine.format(machine.dtype).bits if isinstance(machine, Gpu) else machine.operand_bits


def _fixed(of: _Matrix) -> Iterator[Step]:
    """A mask that is known: every kept column is copied; FST's gradient makes up for the others.

    Xu et al. (AAAI 2022, Eq. 10) add the gradient, shifted by one column, to itself.
    """
    if of.compressed:
        kept = of.kept * of.bits / 8
        yield of.step(Pass("gather", kept, kept))
    if of.offer.role == "activation" and of.offer.phases[0] == "update":
        gradient = of.shifted * of.bits / 8
        yield Step("gradient", Pass("shift and add", gradient, gradient, of.shifted), 1, of.repeat)


def _searched(of: _Matrix) -> Iterator[Step]:
    offer = of.offer
    effort = PRUNERS[offer.pruner].effort(of.mask.pattern, offer.options)
    operations, reads = effort.operations * of.elements, effort.reads * of.bytes
    pack = "compress" if of.compressed else "apply"
    if of.first and offer.refresh == 1 and not effort.host_ns:
        flags = of.flags if len(offer.phases) > 1 else 0.0
        name = f"{offer.pruner} and {pack}"
        yield of.step(Pass(name, reads, of.written + flags, operations))
        return
    if of.first:
        search = Pass(offer.pruner, reads, of.flags, operations)
        yield of.step(search, offer.refresh, _host_us(search, of.elements * effort.host_ns))
    if of.first or of.compressed:
        yield of.step(Pass(pack, of.bytes + of.flags, of.written))


def _host_us(search: Pass, core_ns: float) -> float:
    """On the host: there over the link, solved on its cores, and back; 0 if nothing runs there."""
    if not core_ns:
        return 0.0
    moved = search.read_bytes + search.written_bytes
    return moved / (LINK_GBPS * 1e3) + core_ns * 1e-3 / HOST_CORES
