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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from nmsim.errors import SpecError
from nmsim.files import remembered
from nmsim.gemm import Gemm
from nmsim.machines import Machine, Pass, Passes, Stored, kind_of, stored
from nmsim.mask import Mask, Promised, SparseGemm
from nmsim.network.operand import ATTENTION_ROLES, Role, operands_of
from nmsim.pruning import pruner_of
from nmsim.recipes.recipe import Offer, Recipe

__all__ = [
    "MASK_COLUMNS",
    "MaskStep",
    "Masked",
    "basis",
    "mask_columns",
    "mask_steps",
    "once_us",
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

    @property
    def passes(self) -> tuple[Pass, ...]:
        """What a machine does itself: a kernel, or one with this in it, and that without."""
        return (self.work,) if self.inside is None else (_both(self.inside, self.work), self.inside)

    def on_host(self, machine: Machine) -> bool:
        """Whether a host beside the machine does it."""
        return bool(self.core_ns) and kind_of(machine).host


def once_us(machine: Machine, steps: Sequence[MaskStep]) -> list[float]:
    """Microseconds of each step each time that it is done, however many training steps share it.

    No kernel that does more is the faster one, though one that packs is paced otherwise.

    Raises
    ------
    SpecError
        if one takes a host, and the machine has none.
    """
    own = [step for step in steps if not step.on_host(machine)]
    passes = Passes.of([one for step in own for one in step.passes])
    us = iter(kind_of(machine).passes_us(machine, passes).tolist())
    return [
        (_host_us(machine, step) if step.on_host(machine) else _own_us(step, us)) * step.repeat
        for step in steps
    ]


def _own_us(step: MaskStep, us: Iterator[float]) -> float:
    """Microseconds on the machine: of a kernel, or what the one that it is part of takes more."""
    return next(us) if step.inside is None else max(0.0, next(us) - next(us))


def _host_us(machine: Machine, step: MaskStep) -> float:
    """Microseconds on the host: there over the link, solved on its cores, and back."""
    host = machine.host
    if host is None:
        raise SpecError(
            f"{machine.name}: host is null, expected its cores and link: "
            f"{step.work.what} masks are solved on a host"
        )
    moved = step.work.read_bytes + step.work.written_bytes
    return moved / (host.link_gbps * 1e3) + step.core_ns * 1e-3 / host.cores


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


class Masked(NamedTuple):
    """A GEMM with its masks.

    Parameters
    ----------
    recipe
        As its layer meets it, that offers them.
    work
        The GEMM.
    weights
        Elements of the layer's weight, which a part of a launch does not say.
    """

    recipe: Recipe
    work: SparseGemm
    weights: int | None = None


def mask_steps(
    machine: Machine, recipe: Recipe, work: SparseGemm, weights: int | None = None
) -> tuple[MaskStep, ...]:
    """What is done to have the operands of one GEMM masked, step by step (``Masked``).

    Of a launch in parts the first one has it all, for whole tensors that are stored as it has them.
    """
    gemm = work.gemm
    dense = work.a.is_dense and work.b.is_dense
    gradient = gemm.phase == "update" and recipe.masks_gradient(gemm.layer)
    if not gemm.launches or (dense and not gradient):
        return ()
    bits = kind_of(machine).operand_bits(machine)
    sides = None if dense else stored(machine, work)
    return _steps(recipe, gemm.layer, work.in_step, weights, bits, sides)


@remembered(maxsize=4096)
def _steps(
    recipe: Recipe,
    layer: str,
    asked: Promised,
    weights: int | None,
    bits: int,
    sides: tuple[Stored, Stored] | None,
) -> tuple[MaskStep, ...]:
    """The steps of a GEMM of a layer whose operands stand so in memory; None: nothing is masked."""
    work = replace(asked.work, gemm=replace(asked.gemm, layer=layer))
    g, steps = work.gemm, []
    if g.phase == "update" and recipe.masks_gradient(layer):
        steps.append(_gradient_masked(bits, g, weights))
    for position, mask, side in zip("ab", (work.a, work.b), sides or (), strict=False):
        operand = operands_of(g)[position == "b"]
        offer = recipe.offer_for(operand.tensor, g)
        if offer is None or mask.is_dense:
            continue
        matrix = _Matrix.of(bits, offer, work, position, side, weights)
        steps += _fixed(matrix) if not mask.indexed else _searched(matrix)
    return tuple(steps)


def mask_columns(
    machine: Machine, asked: Sequence[Masked], *, frozen: bool = False
) -> dict[str, list[Any]]:
    """Columns of rows: microseconds of all masks and of each role's, and what was done.

    Parameters
    ----------
    frozen
        Weights do not change from step to step, as in inference: theirs is ``once_us``, and no part
        of ``mask_us``. Where they do change, ``once_us`` is None.
    """
    steps = [mask_steps(machine, *one) for one in asked]
    us = iter(once_us(machine, [step for own in steps for step in own]))
    rows = zip(*(_row(own, [next(us) for _ in own], frozen=frozen) for own in steps), strict=True)
    return {name: list(values) for name, values in zip(MASK_COLUMNS, rows, strict=True)}


def _row(steps: Sequence[MaskStep], us: Sequence[float], *, frozen: bool) -> tuple[Any, ...]:
    """The columns of one GEMM, whose steps take so long each time."""
    once = [frozen and step.role == "weight" for step in steps]
    spread = [
        (_told_as(step.role), 0.0 if apart else taken / step.refresh)
        for step, taken, apart in zip(steps, us, once, strict=True)
    ]
    return (
        sum(taken for _, taken in spread),
        *(sum(taken for role, taken in spread if role == one) for one in ROLES),
        sum(taken for taken, apart in zip(us, once, strict=True) if apart) if frozen else None,
        "; ".join(map(_told, steps, us, once)),
    )


def _told_as(role: Role) -> Role:
    return "activation" if role in ATTENTION_ROLES else role


def _told(step: MaskStep, us: float, once: bool) -> str:
    spread = f" / {step.refresh} steps" if step.refresh > 1 else ""
    return f"{step.role}: {step.work.what} {us:.3g} us{' once' if once else spread}"


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
        bits: int,
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
            bits=bits,
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


def _gradient_masked(bits: int, gemm: Gemm, weights: int | None) -> MaskStep:
    """The gradient of a pruned weight, read with the mask and written with zeros, in each pass."""
    elements = float(weights if gemm.part and weights else gemm.m * gemm.n * gemm.count)
    size = elements * bits / 8
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
