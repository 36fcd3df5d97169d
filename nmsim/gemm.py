"""A matrix multiplication: ``C[M,N] = A[M,K] . B[N,K]^T``, K last in both operands."""

from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any, Literal, get_args

from nmsim.errors import ShapeError
from nmsim.windows import Windows

__all__ = ["MAX_SIZE", "PHASES", "Gemm", "Kind", "Phase"]

Phase = Literal["forward", "backward", "update"]
"""forward (fprop), backward (dgrad: gradient of the layer's input), update (wgrad)."""

Kind = Literal["conv", "linear", "matmul", "gemm"]

PHASES: tuple[Phase, ...] = get_args(Phase)

MAX_SIZE = 1 << 31
"""The largest size or count of a GEMM."""

_SIZES = ("m", "n", "k", "count", "repeat")


@dataclass(frozen=True)
class Gemm:
    """One matrix multiplication of a layer in one phase, by size alone.

    Parameters
    ----------
    m, n, k
        Sizes of ``C[M,N] = A[M,K] . B[N,K]^T``, in elements.
    count
        Copies in one launch (groups of a convolution, heads of an attention).
    layer, phase, kind
        What it is part of.
    repeat
        Identical blocks, launched one after the other.
    gradient_of
        For a matmul's two backward GEMMs: the operand, "a" or "b", whose gradient this is.
    a_elements, b_elements
        Distinct elements in memory behind one copy of an operand: fewer than its size under im2col,
        where windows overlap and padding is not stored. None: as many as its size. Where an
        operand's windows are given, their number of elements.
    scatter_elements
        Elements per copy that adding columns back into an image (col2im) reads and writes.
    a_windows, b_windows
        How one copy of an operand is gathered from a tensor; None: it is not, or nobody knows.

    Raises
    ------
    ShapeError
        for a size below 1 or above 2**31, a phase that does not exist, or windows that do not make
        up their operand.
    """

    m: int
    n: int
    k: int
    count: int = 1
    layer: str = "gemm"
    phase: Phase = "forward"
    repeat: int = 1
    kind: Kind = "gemm"
    gradient_of: str = ""
    a_elements: int | None = None
    b_elements: int | None = None
    scatter_elements: int = 0
    a_windows: Windows | None = None
    b_windows: Windows | None = None

    def __post_init__(self) -> None:
        for name in _SIZES:
            value = getattr(self, name)
            integral = isinstance(value, Integral) and not isinstance(value, bool)
            if not integral or not 1 <= value <= MAX_SIZE:
                raise ShapeError(
                    f"GEMM {self.layer!r}: {name} is {value!r}, "
                    f"expected an integer from 1 to {MAX_SIZE}"
                )
            object.__setattr__(self, name, int(value))  # numpy's integers wrap
        self._derive("a", self.m)
        self._derive("b", self.n)
        for name, least in (("a_elements", 1), ("b_elements", 1), ("scatter_elements", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ShapeError(
                    f"GEMM {self.layer!r}: {name} is {value}, expected an integer from {least}"
                )
        for name, known in (("phase", PHASES), ("kind", get_args(Kind))):
            if getattr(self, name) not in known:
                raise ShapeError(
                    f"GEMM {self.layer!r}: {name} is {getattr(self, name)!r}, "
                    f"expected one of {', '.join(known)}"
                )

    def _derive(self, name: str, rows: int) -> None:
        """Count the elements behind an operand whose windows are given."""
        windows: Windows | None = getattr(self, f"{name}_windows")
        if windows is None:
            return
        if windows.shape != (rows, self.k):
            made = " x ".join(map(str, windows.shape))
            raise ShapeError(
                f"GEMM {self.layer!r}: {name}_windows make {made}, expected {rows} x {self.k}"
            )
        given = getattr(self, f"{name}_elements")
        if given not in (None, windows.elements):
            raise ShapeError(
                f"GEMM {self.layer!r}: {name}_elements is {given}, "
                f"expected the {windows.elements} of its windows"
            )
        object.__setattr__(self, f"{name}_elements", windows.elements)

    @property
    def macs(self) -> int:
        """Multiply-adds with nothing pruned: M.N.K of all copies and repeats."""
        return self.m * self.n * self.k * self.count * self.repeat

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, windows as objects within, for a file."""
        return asdict(self)
