"""From a sparse GEMM to a call of a GPU's library.

Both fidelities share it: which operand is compressed, the kernel that the library picks, copies.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nmsim.files import remembered
from nmsim.gemm import Gemm
from nmsim.machines.gpu import direct
from nmsim.machines.gpu.call import Resolved, resolve, runs_as, vectors_of
from nmsim.machines.gpu.chip import (
    MATRIX_VECTOR,
    STAGES,
    TK,
    TM,
    TN,
    Form,
    Size,
)
from nmsim.machines.gpu.choice import choose, rules_of
from nmsim.machines.gpu.direct import is_depthwise
from nmsim.machines.gpu.kernels import Multiples
from nmsim.machines.gpu.preparation import cast_us
from nmsim.machines.gpu.schema import Casting, FormatRate, Gpu
from nmsim.machines.gpu.stacks.policy import (
    dense_library,
    role_of,
    sparse_libraries,
    stack_of,
)
from nmsim.machines.kind import Call, Stored
from nmsim.mask import Mask, Promised, SparseGemm
from nmsim.network.operand import OPERANDS
from nmsim.pattern import DENSE, Pattern

__all__ = [
    "BOUNDS",
    "Clock",
    "Launch",
    "by_promise",
    "by_rule",
    "candidates",
    "cast_clocks",
    "copy_clocks",
    "kernel_name",
    "launch_of",
    "stored",
    "ways_of",
]


BOUNDS = (
    "compute",
    "shared memory",
    "l2 bandwidth",
    "load latency",
    "sm port",
    "wave overhead",
    "dram bandwidth",
    "launch",
    "split-k reduction",
)
"""What a GEMM's time goes to, in words that both fidelities use."""


@dataclass(frozen=True)
class Launch:
    """A sparse GEMM as one launch of a library's kernel: the call, the copy before it, the choice.

    Parameters
    ----------
    work
        What it does.
    call, resolved, form
        The routine, its numbers, and the operands' bytes with what a convolution reads once.
    size
        Sizes that the kernel is launched with: M, N, K and copies, padded as its library asks.
    ran
        The row of the table of the kernel that runs (``MATRIX_VECTOR``: that kernel), and parts of
        K; None: as the rule of thumb chooses.
    known
        What models have found out of it, by their names: it is looked at more than once.
    copied_bytes
        Of the operand that is copied so that K comes last, 0 if none is.
    misfit_share
        Of the masked operand's groups, those that no native pattern covers; None without a mask.
    dealt
        Threadblocks for each tile that slices of K are dealt out to (stream-K); 0: whole tiles.
    """

    work: SparseGemm
    call: Call
    resolved: Resolved
    form: Form
    size: Size
    copied_bytes: float
    misfit_share: float | None
    note: str
    dealt: int = 0
    ran: tuple[int, float] | None = None
    known: dict[str, Any] = field(default_factory=dict, compare=False)

    @cached_property
    def _by_rule(self) -> tuple[int, float, float]:
        """The kernel and the parts of K by the rule of thumb, and its clocks."""
        own = self.resolved
        row, split, clocks = choose(
            own.chip, self.form, own.table, own.splits, rules_of(own), self.size
        )
        return int(row), float(split), float(clocks)

    @property
    def row(self) -> int:
        """The kernel's row of the table (``MATRIX_VECTOR``: that kernel)."""
        return (self.ran or self._by_rule)[0]

    @property
    def split(self) -> float:
        """Parts that K is split into."""
        return (self.ran or self._by_rule)[1]

    @property
    def table_row(self) -> NDArray[np.float64]:
        """The chosen row of the kernel table: tile, stages, threadblocks per SM, warp tile."""
        row: NDArray[np.float64] = self.resolved.table[self.row]
        return row

    @property
    def kernel(self) -> str:
        """Library, kernel, and how K is split or its slices dealt out, as a row shows them."""
        library = self.resolved.library.library
        if self.row == MATRIX_VECTOR:
            return f"{library} matrix-vector"
        parts = f" split {int(self.split)}" if self.split > 1 else ""
        parts += f" stream-k {self.dealt}" if self.dealt else ""
        return f"{library} {kernel_name(self.table_row)}{parts}"


Clock = Callable[[Launch], float]
"""How long a launch takes, by whoever compares several; clocks."""


def by_rule(launch: Launch) -> float:
    """Clocks of a launch by the rule of thumb that its kernel is the first by."""
    return launch._by_rule[2]  # noqa: SLF001 (its own module)


def _size(work: SparseGemm) -> Size:
    g = work.gemm
    return Size(float(g.m), float(g.n), float(work.k), float(g.count))


def kernel_name(row: NDArray[np.float64]) -> str:
    """The name of a row of a kernel table, as kernel sets call it: ``128x256x32_3``."""
    m, n, k, stages = row[[TM, TN, TK, STAGES]].astype(int)
    return f"{m}x{n}x{k}_{stages}"


Side = Literal["a", "b"]


def stored(machine: Gpu, work: SparseGemm, clock: Clock) -> tuple[Stored, Stored]:
    """How A and B stand in a GPU's memory: packed as the kernel takes it, or dense.

    Kernels take one packed operand: which one it is, of two that could be, ``clock`` decides.
    """
    if is_depthwise(work.gemm):
        return direct.stored(machine, work)
    form = machine.format(machine.dtype)
    whole = Stored.dense(work.k, form.bits)
    sides = {"a": whole, "b": _weights(whole, form)}
    way = _way(machine, work.in_step, clock)
    if way is not None:
        position, native, _ = way
        # Instructions select by metadata whatever the mask is: a fixed one is stored with it, too.
        index = machine.metadata_bits(native)
        packed = Stored(native, form.bits, index, native.stored(work.k))
        sides[position] = packed if position == "a" else _weights(packed, form)
    for position, mask in _masked(work):
        if not sides[position].compressed:
            broken = f"the mask of {mask.pattern} breaks"
            why = "a kernel takes one packed operand"
            if way is None:
                why = _misfit(machine, work) or _why_dense(machine, broken)
            sides[position] = sides[position]._replace(why=why)
    return sides["a"], sides["b"]


def _weights(stored: Stored, form: FormatRate) -> Stored:
    """An operand of weights as a number format packs them."""
    if form.weights is None:
        return stored
    scale = form.weights.scale_of(stored.pattern.density)
    return stored._replace(value_bits=form.weights.bits, scale_bits=scale)


def launch_of(machine: Gpu, work: SparseGemm, clock: Clock = by_rule) -> Launch:
    """How a library runs a sparse GEMM: with an operand compressed, or dense.

    The other operand's mask gains nothing, and neither does a mask whose pattern no kernel covers.
    CUDA cores have kernels for any pattern (`nmsim.machines.gpu.call.resolve`). The kernel is that
    of the rule of thumb.

    Parameters
    ----------
    clock
        By which operand is compressed, of two that could be, and by which library it runs, of those
        that the stack has no order for.
    """
    asked = work.in_step
    if work.a.is_dense and work.b.is_dense:
        return _unmasked(machine, asked)
    way = _way(machine, asked, clock)
    return _dense(machine, work) if way is None else way[2]


def candidates(machine: Gpu, work: SparseGemm) -> Iterator[Launch]:
    """What a sparse GEMM may launch: by each way to follow a mask of it, and dense."""
    dense = work.a.is_dense and work.b.is_dense
    if not dense:
        yield from (launch for _, _, launch in ways_of(machine, work.in_step))
    yield _unmasked(machine, (work if dense else SparseGemm.dense(work.gemm)).in_step)


@remembered(maxsize=8192)
def _unmasked(machine: Gpu, asked: Promised) -> Launch:
    return _dense(machine, asked.work)


def _masked(work: SparseGemm) -> list[tuple[Side, Mask]]:
    sides: tuple[tuple[Side, Mask], ...] = (("a", work.a), ("b", work.b))
    return [(position, mask) for position, mask in sides if not mask.is_dense]


Way = tuple[Side, Pattern, Launch]
"""The operand that is compressed, the pattern that a kernel takes it as, and the launch."""


@remembered(maxsize=8192)
def _way(machine: Gpu, asked: Promised, clock: Clock) -> Way | None:
    """How a mask of a sparse GEMM is followed; None: none can be."""
    ways = ways_of(machine, asked)
    if len(ways) <= 1:
        return ways[0] if ways else None
    return min(ways, key=lambda way: clock(way[2]) + copy_clocks(way[2]))


@remembered(maxsize=8192)
def ways_of(machine: Gpu, asked: Promised) -> tuple[Way, ...]:
    """All ways in which the libraries of the stack follow a mask of a sparse GEMM.

    They depend on what masks promise, in a phase of a step (``SparseGemm.in_step``).
    """
    stack, work = stack_of(machine), asked.work
    ways = []
    for position, mask in _masked(work):
        for library in sparse_libraries(machine, role_of(work.gemm, position)):
            native = _kernel_pattern(machine, mask.pattern, position, library)
            if native.is_dense or not mask.obeys(native):
                continue
            call = _call(machine, native, position, library)
            if stack.misfit == "dense" and _unfit(machine, work, call):
                continue
            ways.append((position, native, _compressed(machine, work, call, mask)))
            if stack.sparse:  # in its order
                break
    return tuple(ways)


def by_promise(machine: Gpu, work: SparseGemm) -> bool:
    """Whether what a sparse GEMM costs follows from its masks' promises: one is followed, or none.

    Of a mask that no kernel takes the share of groups is told that break the native pattern.
    """
    return (work.a.is_dense and work.b.is_dense) or bool(ways_of(machine, work.in_step))


def _call(
    machine: Gpu,
    pattern: Pattern = DENSE,
    position: Side | Literal[""] = "",
    library: str = "",
) -> Call:
    """A call in the number formats of a simulated network."""
    return Call(
        machine.dtype,
        pattern.plain,
        position,
        library,
        vector_length=pattern.vector,
        accumulator=machine.accumulator,
    )


def _kernel_pattern(machine: Gpu, pattern: Pattern, position: Side, library: str) -> Pattern:
    """What a library runs a pattern as, or of none that it covers, its own; DENSE: neither."""
    for one in (pattern, *machine.natives(machine.dtype, machine.accumulator)):
        if one.vector and not vectors_of(machine, library, one):
            continue
        found = resolve(machine, _call(machine, one, position, library))
        if found.library.library == library and not found.native.is_dense:
            return one if one.vector and found.kernels.vectors else found.native
    return DENSE


def _served(machine: Gpu, work: SparseGemm, mask: Mask, position: Side) -> Pattern:
    """What the first library that the stack has for a mask runs it as; DENSE: none does."""
    libraries = sparse_libraries(machine, role_of(work.gemm, position))
    runs = (_kernel_pattern(machine, mask.pattern, position, library) for library in libraries)
    return next((native for native in runs if not native.is_dense), DENSE)


def _unfit(machine: Gpu, work: SparseGemm, call: Call) -> str:
    """Why a library does not take a compressed operand of these sizes; "": it does."""
    found = resolve(machine, call)
    rows = work.gemm.m if call.sparse_operand == "a" else work.gemm.n
    asked = found.kernels.multiples
    if asked.padded(rows, work.k) == (rows, work.k):
        return ""
    return f"{found.library.library} takes {asked.told}, not {rows} x {work.k}"


def _misfit(machine: Gpu, work: SparseGemm) -> str:
    """Why no library of the stack takes the sizes of a masked GEMM; "": sizes are not why."""
    for position, mask in _masked(work):
        for library in sparse_libraries(machine, role_of(work.gemm, position)):
            native = _kernel_pattern(machine, mask.pattern, position, library)
            if not native.is_dense and mask.obeys(native):
                return _unfit(machine, work, _call(machine, native, position, library))
    return ""


def _why_dense(machine: Gpu, broken: str) -> str:
    """Why a mask that no kernel takes runs dense; ``broken`` is said before what there is."""
    libraries = sparse_libraries(machine, None)
    natives = machine.natives(machine.dtype, machine.accumulator)
    offered = [
        one
        for one in natives
        if any(_kernel_pattern(machine, one, "b", library) == one for library in libraries)
    ]
    if not machine.native:
        return "the GPU has no sparse instruction"
    if not offered and (machine.library or stack_of(machine).sparse):
        whose = f"library {machine.library}" if machine.library else f"stack {machine.stack}"
        return f"{whose} has no sparse kernel for {machine.dtype} on {machine.name}"
    if not offered:
        return f"the GPU has no sparse kernel for {machine.dtype}"
    return f"{broken} {', '.join(map(str, offered))}"


def _dense(machine: Gpu, work: SparseGemm) -> Launch:
    note, share = "", None
    masked = _masked(work)
    if masked:
        natives = [_served(machine, work, mask, side) for side, mask in masked]
        share = min(
            1.0 if native.is_dense else mask.misfit_share(native)
            for (_, mask), native in zip(masked, natives, strict=True)
        )
        broken = f"{share:.1%} of the mask's groups break"
        note = f"runs dense: {_misfit(machine, work) or _why_dense(machine, broken)}"
    g = work.gemm
    call = _call(machine, library=dense_library(machine))
    call = replace(call, convolution=g.phase if g.kind == "conv" else "")
    return _chosen(machine, work, call, _size(work), 0.0, share, note)


def _compressed(machine: Gpu, work: SparseGemm, call: Call, mask: Mask) -> Launch:
    """The launch with an operand compressed."""
    position, native = call.sparse_operand or "b", runs_as(call)
    notes = [] if mask.pattern == native else [f"{mask.pattern} runs as {native}"]
    if not (work.a.is_dense or work.b.is_dense):
        notes.append(f"two masks: that of {'B' if position == 'a' else 'A'} gains nothing")
    if work.gemm.kind == "conv" and not stack_of(machine).convolutions:
        notes.append(f"stack {machine.stack} has no such convolution: timed as its GEMM")
    # Layouts matter to sparse instructions alone.
    kernels = resolve(machine, call).kernels
    copied = 0.0 if kernels.cuda_cores else _copied(machine, work, position)
    if copied:
        notes.append("the dense operand is copied so that K comes last")
    size = _padded(work, kernels.multiples, position)
    if size != _size(work):
        notes.append("padded to {:.0f} x {:.0f} x {:.0f}".format(*size[:3]))
        copied = copied or _padding_copy(machine, work, size, position)
    shrunk = size._replace(k=float(math.ceil(size.k * native.shrink)))
    return _chosen(machine, work, call, shrunk, copied, 0.0, "; ".join(notes))


def _padded(work: SparseGemm, asked: Multiples, position: Side) -> Size:
    """Sizes of a sparse GEMM as a library's kernels take them: rounded up to multiples."""
    m, n, k, copies = map(int, _size(work))
    rows, dense = (m, n) if position == "a" else (n, m)
    rows, k = asked.padded(rows, k)
    dense = -(-dense // asked.dense) * asked.dense
    m, n = (rows, dense) if position == "a" else (dense, rows)
    return Size(float(m), float(n), float(k), float(copies))


def _padding_copy(machine: Gpu, work: SparseGemm, size: Size, position: Side) -> float:
    """Bytes read and written to pad the dense operand; implicit GEMMs mask what lies beyond."""
    rows = size.n if position == "a" else size.m
    if work.gemm.kind == "conv" or (rows, size.k) == _dense_side(work, position):
        return 0.0
    return 2.0 * rows * size.k * size.copies * machine.format(machine.dtype).bits / 8


def _dense_side(work: SparseGemm, position: Side) -> tuple[float, float]:
    """Rows and K of the operand that is not compressed."""
    return float(work.gemm.n if position == "a" else work.gemm.m), float(work.k)


def _copied(machine: Gpu, work: SparseGemm, compressed: str) -> float:
    """Bytes read and written to bring the dense operand's K last, as sparse instructions need it.

    The compressed operand is written in its order when it is compressed.
    """
    g = work.gemm
    if g.kind not in ("conv", "linear"):
        return 0.0
    a, b = OPERANDS[g.phase]
    dense, rows = (b, g.n) if compressed == "a" else (a, g.m)
    if not dense.transposed:
        return 0.0
    elements = (g.b_elements if compressed == "a" else g.a_elements) or rows * g.k
    return 2.0 * elements * g.count * machine.format(machine.dtype).bits / 8


def _chosen(
    machine: Gpu,
    work: SparseGemm,
    call: Call,
    size: Size,
    copied: float,
    share: float | None,
    note: str,
) -> Launch:
    g = work.gemm
    generated = _generates(machine, call, g)
    found = _routine(machine, call, generated=generated, launches=g.launches)
    form = found.form._replace(
        a_once=1.0 if g.a_elements is None else min(1.0, g.a_elements / (g.m * g.k)),
        b_once=1.0 if g.b_elements is None else min(1.0, g.b_elements / (g.n * g.k)),
    )
    if generated:
        note = "; ".join(filter(None, (note, _GENERATED)))
    cast = f"A is scaled and cast to {call.dtype} first" if _casting(machine, call, g) else ""
    said = "; ".join(filter(None, (note, found.note, cast)))
    return Launch(work, call, found, form, size, copied, share, said)


@remembered(maxsize=1024)
def _routine(machine: Gpu, call: Call, *, generated: bool, launches: bool) -> Resolved:
    """What a call runs, as one object for all GEMMs: they are estimated together."""
    found = _forced(machine, call)
    if generated:
        found = _generated(found)
    if launches:
        return found
    paid, ran = (one._replace(launch=0.0) for one in (found.chip, found.cycle_chip))
    return replace(found, chip=paid, cycle_chip=ran)  # another part has paid


_GENERATED = "one row: a kernel that the stack generates"


def _generates(machine: Gpu, call: Call, gemm: Gemm) -> bool:
    """Whether the stack makes a kernel of its own of a dense GEMM, whose user named no other."""
    named = machine.kernel or call.library
    one = gemm.m == 1 and gemm.count == 1 and call.pattern.is_dense
    return one and not named and call.dtype in stack_of(machine).generates_rows


def _generated(found: Resolved) -> Resolved:
    """A call whose matrix-vector kernel is generated: it reads B as fast as device memory sends it.

    Whole rows are read, as no tile does: of DRAM's bandwidth the cycle model has no share for them.
    """
    read = found.chip.dram
    chip, ran = (one._replace(gemv=read) for one in (found.chip, found.cycle_chip))
    return replace(found, vector_rows=1, chip=chip, cycle_chip=ran)


def _forced(machine: Gpu, call: Call) -> Resolved:
    """The call with the machine's own kernel where the library has it, else with its choice."""
    free = resolve(machine, call)
    if not machine.kernel or machine.kernel not in {kernel.name for kernel in free.kernels.kernels}:
        return free
    return resolve(machine, replace(call, kernel=machine.kernel))


def copy_clocks(launch: Launch) -> float:
    """Clocks of the copy before the GEMM: a launch, and its bytes through DRAM."""
    if not launch.copied_bytes:
        return 0.0
    chip = launch.resolved.chip
    return chip.launch + launch.copied_bytes / 2 * (1 / chip.dram + 1 / chip.write)


def cast_clocks(machine: Gpu, launch: Launch) -> float:
    """Clocks of the passes before the GEMM that make A of the GEMM's number format."""
    g = launch.work.gemm
    if not g.launches:
        return 0.0
    rows = g.m if g.a_elements is None else g.a_elements / g.k
    size = np.array([[rows, g.n, g.k, g.count]], np.float64)
    casting, dtype = _casting(machine, launch.call, g), launch.call.dtype
    return float(cast_us(machine, casting, dtype, size)[0]) * machine.clock_mhz


def _casting(machine: Gpu, call: Call, gemm: Gemm) -> Casting | None:
    """How A is cast, which a network has in 16 bits: as dense GEMMs have it, masks or none.

    Products of activations take what the layers and the softmax before them write.
    """
    if gemm.kind in ("matmul", "attention"):
        return None
    return resolve(machine, Call(call.dtype, accumulator=call.accumulator)).library.casts
