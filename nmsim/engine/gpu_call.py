"""What is asked of a GPU, resolved to numbers: the call, the chip and the formats of its operands.

Both fidelities and the choice of kernel start from here; nothing is timed yet.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import SpecError
from nmsim.hardware import Gpu
from nmsim.hardware._tensor_core import Library
from nmsim.kernels import KernelSet, load_kernels
from nmsim.pattern import DENSE, Pattern

__all__ = ["Call", "Chip", "Form", "Resolved", "resolve"]

TM, TN, TK, STAGES, CTAS, WM, WN = range(7)
"""Columns of a kernel table."""


@dataclass(frozen=True)
class Call:
    """One routine of a library, whatever the sizes it is called with.

    Parameters
    ----------
    dtype
        Number format of the operands.
    pattern
        Of the compressed operand; DENSE if none is.
    sparse_operand
        Which one: "a", "b", or "" if the call is dense.
    library
        By name; "" for what the machine prefers.
    kernel
        A kernel of the library by name, to be used instead of the library's choice.
    vector_length
        V of a V:N:M pattern: columns of K are dropped for V rows together; 0 for plain N:M.
    """

    dtype: str
    pattern: Pattern = DENSE
    sparse_operand: Literal["a", "b", ""] = ""
    library: str = ""
    kernel: str = ""
    vector_length: int = 0


class Chip(NamedTuple):
    """A GPU in clocks (of an SM), bytes per clock and MACs per clock and SM.

    Bandwidths of L2, DRAM, stores to DRAM and matrix-vector kernels are those of the whole GPU.
    Times are in clocks. ``throttle`` is the slow-down and ``throttle_half`` when half of it is there.
    """

    sms: float
    macs: float
    shared: float
    port: float
    l2: float
    l2_bytes: float
    dram: float
    launch: float
    load: float
    wave: float
    reduce: float
    overlap: float
    store: float
    write: float
    throttle: float
    throttle_half: float
    gemv: float


class Form(NamedTuple):
    """Bytes of an element of A, of B (per element of K, compressed with metadata) and of C.

    ``a_once`` and ``b_once`` are the shares of an operand's elements that are distinct in memory: a
    convolution's columns are made of fewer pixels.
    """

    a: float
    b: float
    out: float
    a_once: float = 1.0
    b_once: float = 1.0


@dataclass(frozen=True)
class Resolved:
    """A call on a machine.

    Parameters
    ----------
    library, kernels
        What serves it.
    table
        The kernels as numbers, kernels x 7: tile, stages, threadblocks per SM, warp tile.
    splits
        Parts that K may be split into.
    chip, form
        The machine and the operands.
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
    chip: Chip
    form: Form
    native: Pattern
    shrink: float
    note: str


def _library(machine: Gpu, call: Call, *, sparse: bool) -> tuple[Library, str]:
    fits = [
        library
        for library in machine.libraries
        if library.sparse == sparse and (not library.dtypes or call.dtype in library.dtypes)
    ]
    if not fits:
        kind = "compressed" if sparse else "dense"
        raise SpecError(f"{machine.name}: no library for {kind} {call.dtype} GEMMs")
    named = [library for library in fits if library.library == call.library]
    if named or not call.library:
        return (named or fits)[0], ""
    return fits[0], f"library {call.library!r} is not known here: {fits[0].library} stands in"


def _chip(machine: Gpu, library: Library, macs: float) -> Chip:
    own = library.timing
    timing = machine.timing.model_copy(
        update={name: value for name, value in own.model_dump().items() if value is not None}
    )
    clock = machine.clock_mhz
    return Chip(
        sms=float(machine.sms),
        macs=macs * library.efficiency,
        shared=machine.sm.shared_bytes_per_clk,
        port=machine.sm.port_bytes_per_clk,
        l2=machine.l2.gbps * 1e3 / clock,
        l2_bytes=machine.l2.mib * 2**20,
        dram=machine.dram.gbps * 1e3 / clock,
        launch=timing.launch_us * clock,
        load=timing.load_us * clock,
        wave=timing.wave_us * clock,
        reduce=timing.reduce_us * clock,
        overlap=timing.overlap,
        store=timing.store_bytes_per_clk,
        write=timing.write_gbps * 1e3 / clock,
        throttle=timing.throttle,
        throttle_half=timing.throttle_us * clock,
        gemv=timing.gemv_gbps * 1e3 / clock,
    )


def _table(kernels: KernelSet, call: Call) -> NDArray[np.float64]:
    chosen = [kernel for kernel in kernels.kernels if call.kernel in ("", kernel.name)]
    if call.vector_length:
        chosen = [k for k in chosen if call.vector_length in (k.tile[0], k.tile[1])] or chosen
    if not chosen:
        known = ", ".join(kernel.name for kernel in kernels.kernels)
        raise SpecError(f"kernel {call.kernel!r}, expected one of {known}")
    return np.array([[*k.tile, k.stages, k.ctas_per_sm, *k.warp] for k in chosen], np.float64)


@lru_cache(maxsize=1024)
def resolve(machine: Gpu, call: Call) -> Resolved:
    """Find the library, the kernels and the numbers that a call runs by.

    A pattern that the instruction does not cover runs dense; one that it covers runs as the
    native pattern (1:4 as 2:4).

    Raises
    ------
    SpecError
        for a number format, library or kernel that the machine does not have.
    """
    form = machine.format(call.dtype)
    pattern = Pattern(2, 4) if call.vector_length else call.pattern
    native = DENSE if pattern.is_dense else machine.native_for(pattern) or DENSE
    cuda_cores = form.sparse_macs_per_clk is None
    if cuda_cores and not pattern.is_dense:  # kernels of CUDA cores take any N:M
        native = pattern
    sparse = not native.is_dense
    library, note = _library(machine, call, sparse=sparse)
    if not call.pattern.is_dense and not sparse:
        note = f"{call.pattern} has no instruction here and runs dense"
    density = native.density if sparse else 1.0
    if not sparse:
        macs = form.macs_per_clk
    else:
        macs = form.sparse_macs_per_clk or form.macs_per_clk / density
    width = form.bits / 8
    compressed = (form.bits + machine.metadata_bits(native)) / 8 * density if sparse else width
    kernels = load_kernels(library.kernels)
    return Resolved(
        library=library,
        kernels=kernels,
        table=_table(kernels, call),
        splits=np.array(kernels.splits, np.float64),
        chip=_chip(machine, library, macs),
        form=Form(
            a=compressed if sparse and call.sparse_operand == "a" else width,
            b=compressed if sparse and call.sparse_operand != "a" else width,
            out=form.output_bits / 8,
        ),
        native=native,
        shrink=4 / call.pattern.group if call.vector_length else 1.0,
        note=note,
    )
