"""Layers: their tensors' shapes, and their lowering to the GEMMs of a training step."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nmsim.errors import ShapeError
from nmsim.gemm import Gemm, Phase
from nmsim.operand import OPERANDS, Input, Lowered, Operand, TensorName
from nmsim.spec import Spec

__all__ = ["Bare", "Conv", "Layer", "Linear", "Matmul"]

Positive = Annotated[int, Field(ge=1, le=1 << 31)]
Extent = Annotated[int, Field(ge=1, le=1 << 16)]
Padding = Annotated[int, Field(ge=0, le=1 << 16)]
Pair = tuple[Extent, Extent]

_INPUT = "what made the layer's input; a layer fed by data has no backward GEMM"


def _checked(batch: int) -> int:
    if not isinstance(batch, int) or batch < 1:
        raise ShapeError(f"batch is {batch!r}, expected an integer of 1 or more")
    return batch


class _Layer(Spec):
    name: Annotated[str, Field(min_length=1)] = Field(description="unique; seeds its tensors")
    repeat: Positive = Field(1, description="identical blocks, launched one after the other")


class Conv(_Layer):
    """A two-dimensional convolution; groups = in_channels makes it depthwise."""

    type: Literal["conv"]
    in_channels: Positive
    out_channels: Positive
    kernel: Extent | Pair = Field(description="window, one number or [height, width]")
    stride: Extent | Pair = 1
    padding: Padding | tuple[Padding, Padding] = 0
    dilation: Extent | Pair = 1
    groups: Positive = 1
    input_size: Extent | Pair = Field(description="input, one number or [height, width]")
    input: Input = Field("relu", description=_INPUT)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for field in ("in_channels", "out_channels"):
            if getattr(self, field) % self.groups:
                raise ValueError(
                    f"layer {self.name!r}: {field} is {getattr(self, field)}, "
                    f"expected a multiple of groups ({self.groups})"
                )
        if min(self.output_size) < 1:
            raise ValueError(f"layer {self.name!r}: the window is larger than the padded input")
        return self

    @property
    def copies(self) -> int:
        """Independent parts of its tensors: groups."""
        return self.groups

    @property
    def columns(self) -> int:
        """Columns of one sample: output pixels."""
        return self.output_size[0] * self.output_size[1]

    @property
    def window(self) -> Pair:
        """Height and width of the kernel."""
        return _pair(self.kernel)

    @property
    def image(self) -> Pair:
        """Height and width of the input."""
        return _pair(self.input_size)

    @property
    def output_size(self) -> Pair:
        """Height and width of the output."""
        sizes = zip(
            self.image,
            self.window,
            _pair(self.stride),
            _pair(self.padding),
            _pair(self.dilation),
            strict=True,
        )
        h, w = ((x + 2 * p - d * (k - 1) - 1) // s + 1 for x, k, s, p, d in sizes)
        return h, w

    @property
    def pointwise(self) -> bool:
        """Its columns are its pixels: a 1x1 window that visits each of them once."""
        return (self.window, _pair(self.stride), _pair(self.padding)) == ((1, 1), (1, 1), (0, 0))

    @property
    def steps(self) -> tuple[Pair, Pair, Pair]:
        """Stride, padding and dilation, each as height and width."""
        return _pair(self.stride), _pair(self.padding), _pair(self.dilation)

    @property
    def weights(self) -> int:
        """Elements of the weight, all repeats."""
        kh, kw = self.window
        return self.out_channels * kh * kw * (self.in_channels // self.groups) * self.repeat

    def shape(self, tensor: TensorName, batch: int) -> tuple[int, ...]:
        """Shape of a tensor, channels last: activation NHWC, weight OHWI, gradient NHWC."""
        if tensor == "activation":
            return (batch, *self.image, self.in_channels)
        if tensor == "weight":
            return (self.out_channels, *self.window, self.in_channels // self.groups)
        return (batch, *self.output_size, self.out_channels)

    def lower(self, batch: int) -> list[Lowered]:
        """The layer's GEMMs, one copy per group; T = batch.OH.OW."""
        t = _checked(batch) * self.columns
        o = self.out_channels // self.groups
        channels = self.in_channels // self.groups
        i = self.window[0] * self.window[1] * channels
        pixels = _checked(batch) * self._pixels_seen * channels
        columns = 0 if self.pointwise else t * i + batch * self.image[0] * self.image[1] * channels
        return _three_gemms(
            self, t=t, o=o, i=i, count=self.groups, activation_elements=pixels, scatter=columns
        )

    @property
    def _pixels_seen(self) -> int:
        """Pixels of an image that some window covers, padding left out."""
        sizes = zip(self.image, self.output_size, self.window, *self.steps, strict=True)
        height, width = (_positions_seen(*axis) for axis in sizes)
        return height * width


class Linear(_Layer):
    """A fully connected layer on ``tokens`` rows per sample."""

    type: Literal["linear"]
    in_features: Positive
    out_features: Positive
    tokens: Positive = Field(1, description="rows per sample")
    input: Input = Field("linear", description=_INPUT)

    @property
    def copies(self) -> int:
        """Independent parts of its tensors: one."""
        return 1

    @property
    def columns(self) -> int:
        """Columns of one sample: tokens."""
        return self.tokens

    @property
    def weights(self) -> int:
        """Elements of the weight, all repeats."""
        return self.out_features * self.in_features * self.repeat

    def shape(self, tensor: TensorName, batch: int) -> tuple[int, ...]:
        """Shape of a tensor: activation [T, I], weight [O, I], gradient [T, O]."""
        if tensor == "weight":
            return (self.out_features, self.in_features)
        features = self.in_features if tensor == "activation" else self.out_features
        return (batch * self.tokens, features)

    def lower(self, batch: int) -> list[Lowered]:
        """The layer's GEMMs; T = batch.tokens."""
        t = _checked(batch) * self.tokens
        return _three_gemms(
            self,
            t=t,
            o=self.out_features,
            i=self.in_features,
            count=1,
            activation_elements=t * self.in_features,
            scatter=0,
        )


class Matmul(_Layer):
    """A product of two activations, ``C[m,n] = A[m,k] . B[n,k]^T``, per sample and head."""

    type: Literal["matmul"]
    m: Positive = Field(description="rows of A: queries")
    n: Positive = Field(description="rows of B: keys, or features of a head")
    k: Positive = Field(description="reduction: features of a head, or keys")
    heads: Positive = Field(1, description="independent products per sample")
    input: Input = Field("linear", description="what made A")

    @property
    def copies(self) -> int:
        """Independent parts of its tensors: heads come one after the other, as rows."""
        return 1

    @property
    def columns(self) -> int:
        """Rows of A of one sample and head."""
        return self.m

    @property
    def weights(self) -> int:
        """A matmul has none."""
        return 0

    def shape(self, tensor: TensorName, batch: int) -> tuple[int, ...]:
        """Shape of a tensor: activation [batch.heads, m, k], activation_b [.., n, k]."""
        rows, columns = {
            "activation": (self.m, self.k),
            "activation_b": (self.n, self.k),
        }.get(tensor, (self.m, self.n))
        return (batch * self.heads, rows, columns)

    def lower(self, batch: int) -> list[Lowered]:
        """Forward, and the gradients of A and of B: dA = dC . B and dB = dC^T . A."""
        m, n, k = self.m, self.n, self.k
        count = _checked(batch) * self.heads

        def gemm(m: int, n: int, k: int, phase: Phase, gradient_of: str = "") -> Gemm:
            return Gemm(
                m, n, k, count, self.name, phase, self.repeat, "matmul", gradient_of=gradient_of
            )

        a, b, gradient = Operand("activation"), Operand("activation_b"), Operand("gradient")
        return [
            Lowered(gemm(m, n, k, "forward"), a, b),
            Lowered(gemm(m, k, n, "backward", "a"), gradient, replace(b, transposed=True)),
            Lowered(
                gemm(n, k, m, "backward", "b"),
                replace(gradient, transposed=True),
                replace(a, transposed=True),
            ),
        ]


Layer = Annotated[Conv | Linear | Matmul, Field(discriminator="type")]


@dataclass(frozen=True)
class Bare:
    """A GEMM without a layer: its operands are the tensors, in the roles of its phase."""

    gemm: Gemm
    input: Input = "linear"

    @property
    def name(self) -> str:
        """The GEMM's layer."""
        return self.gemm.layer

    @property
    def copies(self) -> int:
        """Copies of a GEMM are rows of one tensor."""
        return 1

    @property
    def columns(self) -> int:
        """A bare GEMM does not say where samples begin."""
        return 1

    def lower(self, batch: int) -> list[Lowered]:
        """The GEMM itself; its sizes hold the whole batch."""
        _checked(batch)
        return [Lowered(self.gemm, *OPERANDS[self.gemm.phase])]

    def shape(self, tensor: TensorName, batch: int) -> tuple[int, ...]:  # noqa: ARG002
        """Shape of a tensor: rows of all copies by K, or K by rows where the phase transposes."""
        g = self.gemm
        a, b = OPERANDS[g.phase]
        operand, rows = (a, g.m) if a.tensor == tensor else (b, g.n)
        return (g.k, rows * g.count) if operand.transposed else (rows * g.count, g.k)


def _three_gemms(
    layer: Conv | Linear,
    *,
    t: int,
    o: int,
    i: int,
    count: int,
    activation_elements: int,
    scatter: int,
) -> list[Lowered]:
    """Forward, backward and update of a layer with a weight; no backward if data feed it."""

    def gemm(m: int, n: int, k: int, phase: Phase) -> Gemm:
        return Gemm(m, n, k, count, layer.name, phase, layer.repeat, layer.type)

    gemms = [
        replace(gemm(t, o, i, "forward"), a_elements=activation_elements),
        replace(gemm(t, i, o, "backward"), scatter_elements=scatter),
        replace(gemm(o, i, t, "update"), b_elements=activation_elements),
    ]
    if layer.input == "data":
        del gemms[1]
    return [Lowered(gemm, *OPERANDS[gemm.phase]) for gemm in gemms]


def _positions_seen(
    size: int, out: int, window: int, stride: int, padding: int, dilation: int
) -> int:
    """Positions along one axis that some window covers.

    A tap visits every stride-th position, so taps share positions only where they leave the same
    rest by the stride; each adds what lies beyond the end of those before it.
    """
    seen = 0
    ends: dict[int, int] = {}
    for tap in range(window):
        first = tap * dilation - padding
        last = min(first + (out - 1) * stride, size - 1)
        start = max(first % stride, first)
        start = max(start, ends.get(first % stride, start))
        if start <= last:
            new = (last - start) // stride + 1
            seen += new
            ends[first % stride] = start + new * stride
    return seen


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value
