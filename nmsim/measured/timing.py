"""Timing GEMMs on a GPU: what is timed, how, and a table that survives an interruption.

The GPU itself stands behind ``Backend`` (``nmsim.measured.cuda`` is the one for CUDA), so that all
else runs anywhere. C[M, N] = A[M, K] . B[N, K]^T in three phases of training, each with its layout
in memory:

======== ====== ======================== =======================================
phase    layout A                        B
======== ====== ======================== =======================================
forward  TN     activation, K last       weight, K last
backward NN     gradient, K last         weight, N last
update   NT     gradient, M last         activation, N last
======== ====== ======================== =======================================

Layouts have their names in BLAS, whose matrices stand column by column: the first letter is B's, T
if K is last, the second A's, N if K is last. A compressed operand has K last in every phase: in
backward it is a transposed copy of the weight (TN), in update one of the gradient (NN).
"""

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import product
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple, Protocol

from nmsim.csv_table import Rules, parse_csv
from nmsim.errors import MeasureError, SpecError, reason
from nmsim.registry import unknown_name

__all__ = [
    "COLUMNS",
    "Backend",
    "Case",
    "Device",
    "Method",
    "Outcome",
    "State",
    "grid",
    "measure",
]

COLUMNS = (
    *("source", "gpu", "variant", "library", "sparsity", "sparse_operand", "dtype_in", "dtype_acc"),
    *("m", "n", "k", "batch", "time_us", "layout", "phase", "time_min_us", "time_max_us", "runs"),
    *("in_turn", "conditions", "clock_mhz", "power_w", "method"),
)
"""Columns of the table; those up to ``time_us`` are what every measured table has."""

KEY = (
    *("gpu", "library", "sparsity", "sparse_operand", "dtype_in", "m", "n", "k", "batch"),
    *("layout", "phase"),
)
"""Columns by which a row that is there already is known."""

Phase = Literal["forward", "backward", "update"]

PHASES: tuple[Phase, ...] = ("forward", "backward", "update")

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
"""Tokens, or pixels times batch."""

WEIGHTS = (
    *((768, 768), (3072, 768), (768, 3072)),  # BERT-base, ViT-B/16
    *((1024, 1024), (4096, 1024), (1024, 4096)),  # BERT-large
    *((4096, 4096), (11008, 4096), (4096, 11008)),  # 7B
    *((5120, 5120), (13824, 5120), (5120, 13824)),  # 13B
    *((8192, 8192), (28672, 8192), (8192, 28672), (10240, 8192)),  # 70B
    *((64, 576), (256, 64), (128, 1152), (512, 128)),  # ResNet-50, first half
    *((256, 2304), (1024, 256), (512, 4608), (2048, 512)),  # ResNet-50, second half
)
"""Out and in features of weights; of a convolution, channels out and kernel size x channels in."""

DTYPES = ("bf16", "fp16")
LIBRARIES = ("cublas", "pytorch-cusparselt", "pytorch-cutlass")

LEAST_COMPRESSED = 64
"""Sizes of a GEMM with a compressed operand are multiples of this, so that nothing is padded."""


@dataclass(frozen=True)
class Case:
    """One GEMM to be timed: sizes, format, pattern, library and layouts.

    Parameters
    ----------
    phase, layout
        As the module says.
    library
        "cublas", "pytorch-cusparselt" or "pytorch-cutlass".
    sparse_operand
        "A", "B" or "" if the GEMM is dense; a compressed operand is 2:4.
    dtype
        "bf16" or "fp16".
    """

    phase: Phase
    layout: str
    library: str
    sparse_operand: Literal["A", "B", ""]
    dtype: str
    m: int
    n: int
    k: int

    @property
    def a_k_last(self) -> bool:
        """Whether K is A's last axis in memory."""
        return self.layout[1] == "N"

    @property
    def b_k_last(self) -> bool:
        """Whether K is B's last axis in memory."""
        return self.layout[0] == "T"

    def fields(self) -> dict[str, str]:
        """The columns that say what was timed."""
        return {
            "library": self.library,
            "sparsity": "2:4" if self.sparse_operand else "dense",
            "sparse_operand": self.sparse_operand,
            "dtype_in": self.dtype,
            "dtype_acc": "fp32",
            "m": str(self.m),
            "n": str(self.n),
            "k": str(self.k),
            "batch": "1",
            "layout": self.layout,
            "phase": self.phase,
            "in_turn": "0",
        }


@dataclass(frozen=True)
class Device:
    """A GPU and the software that runs it."""

    gpu: str
    variant: str
    software: str


@dataclass(frozen=True)
class State:
    """A GPU's clock and power; None if it does not say."""

    clock_mhz: float | None = None
    power_w: float | None = None


class Backend(Protocol):
    """What a GPU must offer to be timed: its name, operands, launches, clock."""

    @property
    def device(self) -> Device:
        """The GPU that this backend runs on."""

    def pool(self, case: Case) -> int:
        """Sets of operands that together are so large that none stays in the cache until reused."""

    def prepare(self, case: Case, launches: int) -> Callable[[], float]:
        """A function that launches a case so often, over the pool in turn: microseconds in all.

        Raises
        ------
        MeasureError
            if the GPU does not run the case.
        """

    def state(self) -> State:
        """Clock and power of the GPU at this moment."""


@dataclass(frozen=True)
class Method:
    """How a GEMM is timed: how long a run takes, and how many of them there are.

    Parameters
    ----------
    warm_up_us
        Launches before the first run take at least so long.
    run_us
        A run takes about so long.
    runs
        Runs; their median is the time, and their least and greatest are kept.
    most_launches
        In a run.
    """

    warm_up_us: float = 20_000.0
    run_us: float = 5_000.0
    runs: int = 9
    most_launches: int = 2_000

    def text(self, device: Device) -> str:
        """How a row's time came about, in words."""
        return (
            f"CUDA graph of back-to-back launches, about {self.run_us / 1e3:g} ms a run; operands "
            f"standard normal, in turn from a pool larger than L2; warm-up "
            f"{self.warm_up_us / 1e3:g} ms; median of {self.runs} runs, time = run / launches; "
            f"libraries choose kernels by default; clocks as found; clock and power read after the "
            f"last run; {device.software}"
        )


@dataclass(frozen=True)
class Outcome:
    """A case, and its time, or why it has none. ``known``: it was in the table already."""

    case: Case
    time_us: float | None
    problem: str = ""
    known: bool = False


def grid(
    *,
    phases: Sequence[Phase] = PHASES,
    dtypes: Sequence[str] = ("bf16",),
    libraries: Sequence[str] = LIBRARIES,
    weights: Sequence[tuple[int, int]] = WEIGHTS,
    rows: Sequence[int] = ROWS,
) -> list[Case]:
    """The GEMMs to be timed; a dense one and its compressed twins follow each other.

    Training never sees few tokens, so backward and update start at 64; compressed operands need
    whole tiles of the instruction.

    Raises
    ------
    UnknownName
        for a number format or library that cannot be timed.
    """
    for kind, named, known in (("dtype", dtypes, DTYPES), ("library", libraries, LIBRARIES)):
        for name in named:
            if name not in known:
                raise unknown_name(kind, name, known)
    cases: list[Case] = []
    for dtype, (out, inner), phase, tokens in product(dtypes, weights, phases, rows):
        if phase != "forward" and tokens < 64:
            continue
        sizes = {
            "forward": (tokens, out, inner),
            "backward": (tokens, inner, out),
            "update": (out, inner, tokens),
        }[phase]
        whole = all(size % LEAST_COMPRESSED == 0 for size in sizes)
        dense = {"forward": "TN", "backward": "NN", "update": "NT"}[phase]
        for library in libraries:
            if library == "cublas":
                cases.append(Case(phase, dense, library, "", dtype, *sizes))
            elif whole:
                operand: Literal["A", "B"] = "A" if phase == "update" else "B"
                layout = "NN" if phase == "update" else "TN"
                cases.append(Case(phase, layout, library, operand, dtype, *sizes))
    return cases


def measure(
    backend: Backend,
    path: Path,
    cases: Iterable[Case],
    *,
    source: str,
    method: Method | None = None,
) -> Iterator[Outcome]:
    """Time cases one by one; each row is in the table before the next case starts.

    A table that is there is continued: a last line that an interruption cut off is dropped, and
    rows that it has are not timed again.

    Parameters
    ----------
    source
        Who measured: the first column.

    Raises
    ------
    SpecError
        if the file is another kind of table, or cannot be written.
    MeasureError
        if the GPU fails in the midst of a run; what is in the table stands.
    """
    method = method or Method()
    done = _resume(path)
    device = backend.device
    for case in cases:
        fields = {
            "source": " ".join(source.split()),
            "gpu": device.gpu,
            "variant": device.variant,
            **case.fields(),
        }
        key = _key(fields)
        if key in done:
            yield Outcome(case, None, known=True)
            continue
        run = _prepared(backend, case, method)
        if isinstance(run, str):
            yield Outcome(case, None, run)
            continue
        timed = _timed(backend, run, method)
        del run  # and its operands
        row = fields | timed | {"conditions": "free", "method": method.text(device)}
        _append(path, [row[name] for name in COLUMNS])
        done.add(key)
        yield Outcome(case, float(timed["time_us"]))


class _Run(NamedTuple):
    """A case that is ready to be timed."""

    replay: Callable[[], float]
    launches: int


def _prepared(backend: Backend, case: Case, method: Method) -> _Run | str:
    """A run of about the length that is wanted, or why the GPU does not run the case."""
    pool = backend.pool(case)
    try:
        trial = backend.prepare(case, pool)
    except MeasureError as error:
        return str(error)
    trial()  # the first launches load code
    once = max(trial() / pool, 1e-3)
    del trial  # and its operands, which stand in the way of the next
    # Whole rounds of the pool, so that all its sets count alike.
    rounds = max(1, round(min(method.run_us / once, method.most_launches) / pool))
    try:
        return _Run(backend.prepare(case, rounds * pool), rounds * pool)
    except MeasureError as error:
        return str(error)


def _timed(backend: Backend, run: _Run, method: Method) -> dict[str, str]:
    """Time and its spread, clock and power: the columns that a run fills."""
    warm = 0.0
    while warm < method.warm_up_us:
        warm += max(run.replay(), 1.0)
    times = [run.replay() / run.launches for _ in range(method.runs)]
    state = backend.state()
    return {
        "time_us": f"{median(times):.4f}",
        "time_min_us": f"{min(times):.4f}",
        "time_max_us": f"{max(times):.4f}",
        "runs": str(method.runs),
        "clock_mhz": _text(state.clock_mhz),
        "power_w": _text(state.power_w),
    }


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _key(row: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in KEY)


def _resume(path: Path) -> set[tuple[str, ...]]:
    """Keys of the rows in a table, after dropping a last line that was cut off."""
    try:
        whole = path.read_bytes() if path.exists() else b""
        kept = whole[: whole.rfind(b"\n") + 1]
        table = parse_csv(str(path), kept.decode("utf-8"), Rules()) if kept else None
        begun = _line(COLUMNS).encode().startswith(whole)  # its header may be cut off too
        if table.header != COLUMNS if table else not begun:
            raise SpecError(f"{path}: columns are not those of a table of measured GEMMs")
        if len(kept) < len(whole):
            os.truncate(path, len(kept))
        if not table:
            _append(path, COLUMNS)
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be continued ({reason(error)})") from error
    rows = table.rows if table else []
    return {_key(dict(zip(COLUMNS, row, strict=True))) for row in rows}


def _line(fields: Iterable[str]) -> str:
    out = StringIO()
    csv.writer(out, lineterminator="\n").writerow(fields)
    return out.getvalue()


def _append(path: Path, fields: Iterable[str]) -> None:
    """Add a line and see it to the disk."""
    try:
        with path.open("ab") as file:
            file.write(_line(fields).encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise SpecError(f"{path}: cannot be written ({reason(error)})") from error
