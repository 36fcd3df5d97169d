"""What is asked of a GPU, resolved to numbers: the call, the chip, the formats of its operands.

Both fidelities and the choice of kernel start from here; nothing is timed yet.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import SpecError
from nmsim.files import remembered
from nmsim.machines.gpu.chip import (
    ACROSS,
    ALONG_COLUMNS,
    ALONG_ROWS,
    AS_SQUARE,
    CAST_ACROSS,
    CAST_DOWN,
    CTAS,
    DOWN,
    LEAST_K,
    LEAST_M,
    LEAST_N,
    MOST_M,
    MOST_N,
    ORDER,
    STAGES,
    STREAM_K,
    TK,
    TM,
    TN,
    WM,
    WN,
    Chip,
    Form,
    chip_of,
)
from nmsim.machines.gpu.kernels import Kernel, KernelSet, load_kernels
from nmsim.machines.gpu.schema import FormatRate, Gpu, Library
from nmsim.machines.kind import Call
from nmsim.pattern import COLUMNS_KEPT, DENSE, Pattern

__all__ = ["Resolved", "resolve", "runs_as", "vectors_of"]

_TURNED = [TN, TM, TK, STAGES, CTAS, WN, WM, ORDER]
_TURNED += [ACROSS, DOWN, LEAST_N, LEAST_M, LEAST_K, MOST_N, MOST_M]
_TURNED += [CAST_ACROSS, CAST_DOWN, STREAM_K]
"""Columns of a kernel table whose operands change places."""


@dataclass(frozen=True)
class Resolved:
    """A call of a library on a GPU, resolved to the kernels and numbers that both models run.

    Parameters
    ----------
    library, kernels
        What serves it.
    table
        The kernels as numbers, kernels x 18: tile, stages, threadblocks per SM, warp tile, order,
        cluster, least M, N and K, most M and N, multicast, and 1 where slices of K are dealt out.
    splits
        Parts that K may be split into.
    vector_rows
        Rows of C up to which a matrix-vector kernel is there too; 0 if none is, or if the call
        names its kernel.
    chip, cycle_chip, form
        The machine as the closed form and the choice of kernel see it, as the cycle model sees it,
        and the operands.
    native
        The pattern that the instruction takes; DENSE if the call runs dense.
    shrink
        Share of K that is left before the instruction sees it (V:N:M), else 1.
    note
        What the reader should know.
    """

    library: Library
    kernels: KernelSet
    table: NDArray[np.float64]
    splits: NDArray[np.float64]
    vector_rows: int
    chip: Chip
    cycle_chip: Chip
    form: Form
    native: Pattern
    shrink: float
    note: str


class _Service(NamedTuple):
    """A library that serves a call, the pattern that it runs as, and whether K shrinks first."""

    library: Library
    kernels: KernelSet
    native: Pattern
    shrink: float = 1.0


def _libraries(machine: Gpu, call: Call, *, sparse: bool) -> list[Library]:
    """Libraries of a GPU that take a call's number format, the one that it asks for first.

    Then come those that are for convolutions, if it is one.
    """
    phase = call.convolution
    fits = [
        library
        for library in machine.libraries
        if library.sparse == sparse
        and (not library.dtypes or call.dtype in library.dtypes)
        and (not library.convolutions or phase in library.convolutions)
    ]
    return sorted(fits, key=lambda one: (_distance(one, call.library), not one.convolutions))


def _distance(library: Library, name: str) -> int:
    """How far a library is from the one that a call names: it, one also called so, another."""
    return 0 if library.library == name else 1 if name in library.also else 2


def _runs_as(
    machine: Gpu, call: Call, library: Library, kernels: KernelSet, pattern: Pattern
) -> Pattern | None:
    """The narrowest pattern of a library's kernels that covers a mask's; None if none does."""
    if kernels.cuda_cores:
        offered = library.patterns or (pattern,)
    elif call.sparse_operand == "a" and machine.format(call.dtype).weights is not None:
        offered = ()  # kernels of packed weights take a mask of these
    else:
        natives = machine.natives(call.dtype, call.accumulator)
        offered = tuple(native for native in natives if native in (library.patterns or natives))
    covering = [one for one in offered if one.covers(pattern)]
    return min(covering, key=lambda one: one.density, default=None)


def _vectors(machine: Gpu, call: Call) -> Iterator[_Service]:
    """Libraries with V:N:M kernels: of M columns 4 are left for V rows, and N of those each row."""
    pattern = call.pattern
    if not call.vector_length or not pattern.keep < COLUMNS_KEPT <= pattern.group:
        return
    for library in _libraries(machine, call, sparse=True):
        kernels = load_kernels(library.kernels)
        inner = Pattern(pattern.keep, COLUMNS_KEPT)
        native = _runs_as(machine, call, library, kernels, inner)
        if kernels.vectors and native:
            yield _Service(library, kernels, native, COLUMNS_KEPT / pattern.group)


def vectors_of(machine: Gpu, library: str, pattern: Pattern) -> bool:
    """Whether the kernels of a library, by name, take V:N:M of a pattern's V."""
    sets = (load_kernels(one.kernels) for one in machine.libraries if one.library == library)
    return any(
        one.vectors and any(pattern.vector % kernel.tile[0] == 0 for kernel in one.kernels)
        for one in sets
    )


def runs_as(call: Call) -> Pattern:
    """The pattern of a call, V:N:M where it names a V."""
    return Pattern(call.pattern.keep, call.pattern.group, call.vector_length)


def _plain(machine: Gpu, call: Call) -> Iterator[_Service]:
    """Libraries whose kernels run the pattern of a call, or one that covers it."""
    for library in _libraries(machine, call, sparse=True):
        kernels = load_kernels(library.kernels)
        native = _runs_as(machine, call, library, kernels, call.pattern)
        if native and not kernels.vectors:
            yield _Service(library, kernels, native)


def _serve(machine: Gpu, call: Call) -> tuple[_Service, str]:
    """The library and kernels that run a call, and what the reader should know about it."""
    notes = []
    service = None
    if not call.pattern.is_dense:
        service = next(chain(_vectors(machine, call), _plain(machine, call)), None)
        if service is None:
            notes.append(f"{call.pattern} has no kernel here and runs dense")
        elif call.vector_length and not service.kernels.vectors:
            notes.append(f"V:N:M has no kernel here and runs as {service.native}")
        elif not call.vector_length and service.native != call.pattern:
            notes.append(f"{call.pattern} runs as {service.native}")
    if service is None:
        dense = _libraries(machine, call, sparse=False)
        if not dense:
            raise SpecError(f"{machine.name}: no library for dense {call.dtype} GEMMs")
        service = _Service(dense[0], load_kernels(dense[0].kernels), DENSE)
    stands_in = service.library.library
    known = ("", stands_in, *service.library.also)
    if call.library not in known and (call.pattern.is_dense or service.native != DENSE):
        names = {name for one in machine.libraries for name in (one.library, *one.also)}
        lacks = "has no such kernel" if call.library in names else "is not known here"
        notes.append(f"library {call.library!r} {lacks}: {stands_in} stands in")
    return service, "; ".join(notes)


def _table(service: _Service, call: Call) -> NDArray[np.float64]:
    kernels = service.kernels.kernels
    chosen = [kernel for kernel in kernels if kernel.name == call.kernel]
    if not call.kernel:
        chosen = [*service.kernels.launched]
    if not chosen:
        known = ", ".join(kernel.name for kernel in kernels)
        raise SpecError(f"kernel {call.kernel!r}, expected one of {known}")
    order = ALONG_ROWS if service.kernels.order == "along_compressed" else AS_SQUARE
    table = np.array([_row(kernel, order) for kernel in chosen], np.float64)
    if call.kernel:  # whatever the size
        table[:, LEAST_M:CAST_DOWN] = [1, 1, 1, np.inf, np.inf]
    if service.kernels.vectors:
        table = table[call.vector_length % table[:, TM] == 0]
        if not len(table):
            rows = ", ".join(str(kernel.tile[0]) for kernel in kernels)
            raise SpecError(f"V = {call.vector_length}: expected a multiple of one of {rows}")
        # The widest that V allows.
        table = table[table[:, TM] == table[:, TM].max()]
    # Rows of a sparse kernel's tile belong to the compressed operand; a search has both ways,
    # unless tiles go along that one.
    one_way = service.kernels.vectors or service.kernels.choice != "search" or order == ALONG_ROWS
    if one_way and call.sparse_operand == "b":
        table = table[:, _TURNED]
        table[table[:, ORDER] == ALONG_ROWS, ORDER] = ALONG_COLUMNS
    return np.ascontiguousarray(table)


def _row(kernel: Kernel, order: float) -> list[float]:
    """A kernel as a row of a table, in the order of its columns."""
    most = [np.inf if size is None else size for size in kernel.most]
    shape = [*kernel.tile, kernel.stages, kernel.ctas_per_sm, *kernel.warp, order]
    cast = [max(sizes) for sizes in zip(kernel.cluster, kernel.multicast, strict=True)]
    return [*shape, *kernel.cluster, *kernel.least, *most, *cast, float(kernel.stream_k)]


def _rate(form: FormatRate, service: _Service) -> float:
    """MACs per clock and SM, dense equivalents of what is left of K."""
    native = service.native
    if native.is_dense:
        return form.macs_per_clk
    if service.kernels.cuda_cores:
        return form.macs_per_clk / native.density
    return form.sparse_macs(native) or form.macs_per_clk


def _form(machine: Gpu, call: Call, form: FormatRate, native: Pattern) -> Form:
    """Bytes of the operands of a call, as it runs: B has the weights, if such are packed."""
    index, density = machine.metadata_bits(native), native.density
    a, b = form.bits / 8, form.weight_bits() / 8
    if not native.is_dense:
        if call.sparse_operand == "a":
            a = (form.bits + index) / 8 * density
        else:
            b = (form.weight_bits(density) + index) / 8 * density
    return Form(a=a, b=b, out=form.output_bits / 8, in_turn=float(call.in_turn))


def _unpack_clocks(machine: Gpu, form: FormatRate, native: Pattern) -> float:
    """Clocks of an SM for each weight, as it stands along K, that CUDA cores unpack; mostly 0."""
    if form.weights is None:
        return 0.0
    return form.weights.instructions * native.density / machine.format("fp32").macs_per_clk


@remembered(maxsize=1024)
def resolve(machine: Gpu, call: Call) -> Resolved:
    """Find the library, the kernels and the numbers that a call runs by.

    A pattern runs as the narrowest one that a library's kernels cover it with: on tensor cores 1:4
    as 2:4 and 4:8 dense, on CUDA cores any N:M as itself. A V:N:M pattern needs a library with
    such kernels; elsewhere it runs as the N:M pattern that it also is. Sums in a format that the
    machine has no rate for run in the first that it has one for. The note says so.

    Raises
    ------
    SpecError
        for a number format or kernel that the machine does not have, or a V without kernels.
    """
    form = machine.format(call.dtype, call.accumulator)
    service, note = _serve(machine, call)
    if call.accumulator and form.accumulator not in ("", call.accumulator):
        note = "; ".join(filter(None, (note, f"sums run in {form.accumulator}")))
    native = service.native
    kernels, rate = service.kernels, _rate(form, service)
    unpack = _unpack_clocks(machine, form, native)
    return Resolved(
        library=service.library,
        kernels=kernels,
        table=_table(service, call),
        splits=np.array(kernels.splits, np.float64),
        vector_rows=0 if call.kernel else kernels.gemv_rows,
        chip=chip_of(machine, service.library, rate, "analytical", unpack),
        cycle_chip=chip_of(machine, service.library, rate, "cycle", unpack),
        form=_form(machine, call, form, native),
        native=native,
        shrink=service.shrink,
        note=note,
    )
