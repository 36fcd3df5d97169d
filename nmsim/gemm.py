"""A matrix multiplication: ``C[M,N] = A[M,K] . B[N,K]^T``, K last in both operands."""

import re
from dataclasses import asdict, dataclass
from functools import cached_property
from numbers import Integral
from typing import Any, Literal, get_args

from nmsim.attention import MAX_SIZE, Attention
from nmsim.errors import ShapeError
from nmsim.windows import Windows

__all__ = ["MAX_SIZE", "PHASES", "Gemm", "Kind", "Phase"]

Phase = Literal["forward", "backward", "update"]
"""forward (fprop), backward (dgrad: gradient of the layer's input), update (wgrad)."""

Kind = Literal["conv", "linear", "experts", "matmul", "attention", "gemm"]

PHASES: tuple[Phase, ...] = get_args(Phase)

_KINDS: tuple[Kind, ...] = get_args(Kind)

_SIZES = ("m", "n", "k", "count", "repeat")

_LEAST = {"a_elements": 1, "b_elements": 1, "scatter_elements": 0, "zeroed_elements": 0}

_PART = re.compile(r"([1-9]\d*)/([1-9]\d*)")
_ROWS = ("m", "k")
_MAY_HAVE_NONE = ("linear", "experts")


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
        For the backward GEMMs of a product of activations, the operand whose gradient this is: "a"
        or "b" of a matmul; "p", "v", "q" or "k" of an attention.
    a_elements, b_elements
        Distinct elements in memory behind one copy of an operand: fewer than its size under im2col,
        where windows overlap and padding is not stored. None: as many as its size. Where an
        operand's windows are given, their number of elements.
    scatter_elements
        Elements per copy that adding columns back into an image (col2im) reads and writes, in a
        pass over memory after the GEMM.
    zeroed_elements
        Elements per copy that are set to zero, in a pass over memory, as no product makes them.
    part
        Which part of its layer's phase this is, and of how many: "1/4"; parts are one launch, but
        for the products of an attention. "": it is all of it.
    a_windows, b_windows
        How one copy of an operand is gathered from a tensor; None: it is not, or nobody knows.
    renewed
        How many of the repeats read a weight that another step changes and no other repeat of
        this step reads; None: all. A frozen weight is none of them, nor is one of a micro-batch
        behind the first.
    attention
        The attention that runs as one kernel in place of its GEMMs, of which this has the MACs
        (``fused``); None: it is a product of two operands.

    Raises
    ------
    ShapeError
        for a size below 1 or above 2**31, a phase that does not exist, or windows that do not make
        up their operand. M and K may be 0 in a layer of a network, which then has no rows.
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
    zeroed_elements: int = 0
    part: str = ""
    a_windows: Windows | None = None
    b_windows: Windows | None = None
    attention: Attention | None = None
    renewed: int | None = None

    @classmethod
    def fused(cls, attention: Attention, phase: Phase) -> "Gemm":
        """All products of an attention's phase as one: keys by queries, and both heads' features.

        Raises
        ------
        ShapeError
            for a phase other than forward and backward.
        """
        m, n, k, count = attention.square(phase)
        name, repeat = attention.layer, attention.repeat
        return cls(m, n, k, count, name, phase, repeat, "attention", attention=attention)

    def __post_init__(self) -> None:
        for name in _SIZES:
            value = getattr(self, name)
            least = 0 if name in _ROWS and self.kind in _MAY_HAVE_NONE else 1
            if type(value) is int and least <= value <= MAX_SIZE:
                continue
            integral = isinstance(value, Integral) and not isinstance(value, bool)
            if not integral or not least <= value <= MAX_SIZE:
                raise ShapeError(
                    f"GEMM {self.layer!r}: {name} is {value!r}, "
                    f"expected an integer from {least} to {MAX_SIZE}"
                )
            object.__setattr__(self, name, int(value))  # numpy's integers wrap
        self._derive("a", self.m)
        self._derive("b", self.n)
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least and self.macs:
                raise ShapeError(
                    f"GEMM {self.layer!r}: {name} is {value}, expected an integer from {least}"
                )
        for name, known in (("phase", PHASES), ("kind", _KINDS)):
            if getattr(self, name) not in known:
                raise ShapeError(
                    f"GEMM {self.layer!r}: {name} is {getattr(self, name)!r}, "
                    f"expected one of {', '.join(known)}"
                )

        self._check_attention()
        found = _PART.fullmatch(self.part) if self.part else None
        if self.part and not (found and int(found[1]) <= int(found[2])):
            raise ShapeError(
                f"GEMM {self.layer!r}: part is {self.part!r}, expected one of so many, such as 1/4"
            )

    def _check_attention(self) -> None:
        if self.attention is None:
            return
        own = (self.m, self.n, self.k, self.count)
        if self.kind != "attention" or own != self.attention.square(self.phase):
            raise ShapeError(
                f"GEMM {self.layer!r}: {self.kind} of {own}, expected the attention that it runs, "
                f"{self.attention.square(self.phase)}"
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
        behind = max(1, windows.elements)  # windows may see padding alone
        if given not in (None, behind):
            raise ShapeError(
                f"GEMM {self.layer!r}: {name}_elements is {given}, "
                f"expected the {behind} of its windows"
            )
        object.__setattr__(self, f"{name}_elements", behind)

    @cached_property
    def sizes(self) -> tuple[object, ...]:
        """All that it is but for what it is called: layer, phase, kind, part."""
        return (
            *(self.m, self.n, self.k, self.count, self.repeat),
            *(self.a_elements, self.b_elements, self.scatter_elements, self.zeroed_elements),
            *(self.a_windows, self.b_windows, self.attention),
        )

    @cached_property
    def unnamed(self) -> tuple[object, ...]:
        """All that it is but for the name of its layer."""
        told = self.phase, self.kind, self.gradient_of, self.part, self.renewed
        return (*self.sizes, *told)

    @property
    def fresh(self) -> int:
        """How many of the repeats read a weight of their own that the last step changed."""
        return self.repeat if self.renewed is None else self.renewed

    @property
    def parts(self) -> int:
        """Of how many parts its layer's phase is, this one included."""
        return int(self.part.split("/")[1]) if self.part else 1

    @property
    def launches(self) -> bool:
        """Whether it is a launch of its own or the first part of one: others need no other.

        Products of an attention are launched one by one, as each reads what another wrote.
        """
        return self.first or self.kind == "attention"

    @property
    def first(self) -> bool:
        """Whether it is all of its layer in a phase, or the first part of that."""
        return not self.part or self.part.startswith("1/")

    @property
    def macs(self) -> int:
        """Multiply-adds with nothing pruned: M.N.K of all copies and repeats."""
        return self.m * self.n * self.k * self.count * self.repeat

    @property
    def macs_seen(self) -> int:
        """Multiply-adds that count with nothing pruned: in fused attention, of pairs that see."""
        if self.attention is None:
            return self.macs
        return self.attention.macs_seen(self.phase)

    @property
    def of_activations(self) -> bool:
        """Whether it multiplies two activations: no weight and no recipe has a part in it."""
        return self.kind in ("matmul", "attention")

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, windows as objects within, for a file of products of two operands."""
        fields = asdict(self)
        del fields["attention"]
        if self.renewed is None:
            del fields["renewed"]
        return fields
