"""What a training step spends beside its GEMMs: making the masks that a recipe offers.

A mask is searched for once in ``refresh`` steps, in the first phase that it is offered in, and the
search is spread over those steps. Values change in every step, so an operand that the machine reads
compressed is packed in every step: from the values and the mask (one bit an element) if the mask is
older, in the search's own kernel if it is made anew. One kernel packs for all phases that the mask
is offered in: it reads the values once and writes a copy for each, whose K runs along another axis,
as ``torch._sparse_semi_structured_tile`` and ``_sparse_semi_structured_apply`` do (PyTorch,
aten/src/ATen/native/sparse/cuda/SparseSemiStructuredTile.cu and SparseSemiStructuredApply.cu). The
first phase has the kernel, a later one what its copy takes more. What is pruned but runs dense is
written back with zeros.

In inference weights do not change: their masks are searched for and they are packed once, before
the first step, and no step holds any of it (``once_us``). Activations are new in every step, and so
are their masks.

Times are of bytes and of operations, not of anybody's code, and leave out what overlaps:
what a machine takes for a pass over memory is its kind's to say (``nmsim.machines``), and how an
operand is packed is the storage that its engines use (``Kind.stored``).

An algorithm that runs on the host (an optimal transposable mask, as in Hubara et al., NeurIPS 2021,
Table 2) takes its solver's time on the cores of the machine's ``host``, its bytes over the link.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nmsim.errors import SpecError
from nmsim.gemm import Gemm
from nmsim.machines import Machine, Pass, Stored, kind_of, stored
from nmsim.mask import Mask, SparseGemm
from nmsim.network.operand import ATTENTION_ROLES, Role, operands_of
from nmsim.pruning import pruner_of
from nmsim.recipes.recipe import Offer, Recipe

__all__ = [
    "MASK_COLUMNS",
    "MaskStep",
    "basis",
    "mask_columns",
    "mask_steps",
]

ROLES: tuple[Role, ...] = ("activation", "weight", "gradient")
"""Roles that rows tell apart: what an attention multiplies counts as activations."""

MASK_COLUMNS = ("mask_us", *(f"mask_{role}_us" for role in ROLES), "once_us", "mask_work")
"""Columns of a row that tell of its masks."""


@dataclass(frozen=True)
class MaskStep:
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
    core_ns
        Time of one launch on a core of the host, nanoseconds; 0 if the machine does it itself.
    inside
        The kernel that does it besides, which another phase has; None: one of its own.
    """

    role: Role
    work: Pass
    refresh: int
    repeat: int
    core_ns: float = 0.0
    inside: Pass | None = None

    def us(self, machine: Machine) -> float:
        """Microseconds of a training step, spread over those that share the mask.

        Raises
        ------
        SpecError
            if it takes a host, and the machine has none.
        """
        return self.once_us(machine) / self.refresh

    def once_us(self, machine: Machine) -> float:
        """Microseconds each time that it is done, however many steps share it.

        Raises
        ------
        SpecError
            if it takes a host, and the machine has none.
        """
        on_host = self.core_ns and kind_of(machine).host
        once = self._host_us(machine) if on_host else self._own_us(machine)
        return once * self.repeat

    def _own_us(self, machine: Machine) -> float:
        """Microseconds on the machine: of a kernel, or what the one that it is part of takes more.

        No kernel that does more is the faster one, though one that packs is paced otherwise.
        """
        pass_us = kind_of(machine).pass_us
        if self.inside is None:
            return pass_us(machine, self.work)
        return max(
            0.0, pass_us(machine, _both(self.inside, self.work)) - pass_us(machine, self.inside)
        )

    def _host_us(self, machine: Machine) -> float:
        """Microseconds on the host: there over the link, solved on its cores, and back."""
        host = machine.host
        if host is None:
            raise SpecError(
                f"{machine.name}: host is null, expected its cores and link: "
                f"{self.work.what} masks are solved on a host"
            )
        moved = self.work.read_bytes + self.work.written_bytes
        return moved / (host.link_gbps * 1e3) + self.core_ns * 1e-3 / host.cores


def _both(one: Pass, other: Pass) -> Pass:
    """Two passes as one kernel."""
    return Pass(
        one.what,
        one.read_bytes + other.read_bytes,
        one.written_bytes + other.written_bytes,
        one.operations + other.operations,
        one.packs or other.packs,
    )


def basis(machine: Machine) -> str:
    """What the times of masks rest on, for a reader of them."""
    kind, host = kind_of(machine), machine.host
    told = kind.passes_rest_on(machine)
    if not kind.host:
        return told
    if host is None:
        return f"{told}; no host to solve for optimal transposable masks"
    return (
        f"{told}; optimal transposable masks on {host.cores} host cores and a "
        f"{host.link_gbps:g} GB/s link"
    )


def mask_steps(
    machine: Machine, recipe: Recipe, work: SparseGemm, weights: int | None = None
) -> Iterator[MaskStep]:
    """What is done to have the operands of one GEMM masked, step by step.

    Of a launch in parts the first one has it all, for whole tensors that are stored as it has them.

    Parameters
    ----------
    recipe
        That offers them.
    work
        The GEMM with its masks.
    weights
        Elements of the layer's weight, which a part of a launch does not say.
    """
    g = work.gemm
    if not g.launches:
        return
    if g.phase == "update" and recipe.masks_gradient(g.layer):
        yield _gradient_masked(machine, g, weights)
    if work.a.is_dense and work.b.is_dense:
        return
    sides = stored(machine, work)
    for position, mask, side in (("a", work.a, sides[0]), ("b", work.b, sides[1])):
        operand = operands_of(g)[position == "b"]
        offer = recipe.offer_for(operand.tensor, g)
        if offer is None or mask.is_dense:
            continue
        matrix = _Matrix.of(machine, offer, work, position, side, weights)
        yield from _fixed(matrix) if not mask.indexed else _searched(matrix)


def mask_columns(
    machine: Machine,
    recipe: Recipe,
    work: SparseGemm,
    weights: int | None = None,
    *,
    frozen: bool = False,
) -> dict[str, Any]:
    """Columns of a row: microseconds of all masks and of each role's, and what was done.

    Parameters
    ----------
    frozen
        Weights do not change from step to step, as in inference: theirs is ``once_us``, and no part
        of ``mask_us``. Where they do change, ``once_us`` is None.
    """
    steps = list(mask_steps(machine, recipe, work, weights))
    once = [step for step in steps if frozen and step.role == "weight"]
    every = [step for step in steps if step not in once]
    return {
        "mask_us": sum(step.us(machine) for step in every),
        **{
            f"mask_{role}_us": sum(
                step.us(machine) for step in every if _told_as(step.role) == role
            )
            for role in ROLES
        },
        "once_us": sum(step.once_us(machine) for step in once) if frozen else None,
        "mask_work": "; ".join(_told(machine, step, once=step in once) for step in steps),
    }


def _told_as(role: Role) -> Role:
    return "activation" if role in ATTENTION_ROLES else role


def _told(machine: Machine, step: MaskStep, *, once: bool) -> str:
    spread = f" / {step.refresh} steps" if step.refresh > 1 else ""
    how = " once" if once else spread
    return f"{step.role}: {step.work.what} {step.once_us(machine):.3g} us{how}"


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
        position: str,
        stored: Stored,
        weights: int | None = None,
    ) -> "_Matrix":
        g = work.gemm
        mask = work.a if position == "a" else work.b
        elements = _elements(work, position, weights if offer.role == "weight" else None)
        return cls(
            offer,
            mask,
            g.fresh if offer.role == "weight" else g.repeat,
            elements,
            kept=elements * stored.elements / g.k,
            shifted=float(g.m * g.k * g.count),
            bits=kind_of(machine).operand_bits(machine),
            index_bits=stored.index_bits,
            first=g.phase == offer.phases[0],
            compressed=stored.compressed,
        )

    @property
    def bytes(self) -> float:
        """Bytes of the operand before it is pruned."""
        return self.elements * self.bits / 8

    @property
    def written(self) -> float:
        """Bytes as the GEMM reads it: packed with its metadata, or whole with zeros."""
        return self.kept * (self.bits + self.index_bits) / 8 if self.compressed else self.bytes

    @property
    def flags(self) -> float:
        """Bytes of a mask that waits for a later step or phase: one bit an element."""
        return self.elements / 8

    def step(self, work: Pass, refresh: int = 1, core_ns: float = 0.0) -> MaskStep:
        """One pass over the operand, spread over the steps that share it."""
        return MaskStep(self.offer.role, work, refresh, self.repeat, core_ns)


def _elements(work: SparseGemm, position: str, weights: int | None) -> float:
    """Elements of the tensor that an operand's mask prunes, or of the operand if it is no tensor's.

    Columns that K runs over are pruned as they are, but for a mask that looks at no value.
    """
    g = work.gemm
    mask = work.a if position == "a" else work.b
    windows, distinct = (
        (g.a_windows, g.a_elements) if position == "a" else (g.b_windows, g.b_elements)
    )
    per_pixel = g.phase == "forward" or not mask.indexed or (windows and windows.along == "rows")
    if g.part and weights:
        return float(weights)
    if g.part and windows:
        return float(windows.tensor * g.count)
    return float(distinct * g.count if distinct is not None and per_pixel else mask.rows * g.k)


def _gradient_masked(machine: Machine, gemm: Gemm, weights: int | None) -> MaskStep:
    """The gradient of a pruned weight, read with the mask and written with zeros, in each pass."""
    elements = float(weights if gemm.part and weights else gemm.m * gemm.n * gemm.count)
    size = elements * kind_of(machine).operand_bits(machine) / 8
    return MaskStep("weight", Pass("mask the gradient", size + elements / 8, size), 1, gemm.repeat)


def _fixed(of: _Matrix) -> Iterator[MaskStep]:
    """A mask that is known: every kept column is copied; FST's gradient makes up for the others.

    Metadata, where a machine wants some, is the same in every step and is not written again.

    Xu et al. (AAAI 2022, Eq. 10) add the gradient, shifted by one column, to itself.
    """
    if of.compressed:
        kept = of.kept * of.bits / 8
        yield of.step(Pass("gather", kept, kept))
    if of.offer.role == "activation" and of.offer.phases[0] == "update":
        gradient = of.shifted * of.bits / 8
        yield MaskStep(
            "gradient", Pass("shift and add", gradient, gradient, of.shifted), 1, of.repeat
        )


def _searched(of: _Matrix) -> Iterator[MaskStep]:
    offer = of.offer
    effort = pruner_of(offer.pruner, of.mask.pattern).effort(of.mask.pattern, offer.options)
    operations, reads = effort.operations * of.elements, effort.reads * of.bytes
    anew = offer.refresh == 1 and not effort.host_ns
    pack = "compress" if of.compressed else "apply"
    kernel = Pass(pack, of.bytes + of.flags, of.written, packs=of.compressed)
    if offer.epilogue:
        search = Pass(f"{offer.pruner} in the epilogue", 0.0, 0.0, operations)
        if of.first or of.compressed:
            yield of.step(search if of.first else kernel)
        return
    if anew:
        flags = of.flags if len(offer.phases) > 1 else 0.0
        name = f"{offer.pruner} and {pack}"
        kernel = Pass(name, reads, of.written + flags, operations, of.compressed)
    if of.first and not anew:
        search = Pass(offer.pruner, reads, of.flags, operations)
        yield of.step(search, offer.refresh, of.elements * effort.host_ns)
    if of.first:
        yield of.step(kernel)
    elif of.compressed:
        copy = Pass(f"{pack} in the {offer.phases[0]} kernel", 0.0, of.written, packs=True)
        yield MaskStep(offer.role, copy, 1, of.repeat, inside=kernel)
