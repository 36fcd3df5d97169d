"""Networks: layers, their tensors' shapes and their published sizes, one YAML file each."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from nmsim.spec import Catalog, Spec

__all__ = [
    "MODELS",
    "Conv",
    "Input",
    "Layer",
    "Linear",
    "Matmul",
    "Network",
    "TensorName",
]

Input = Literal["data", "relu", "gelu", "norm", "softmax", "embedding", "linear"]
"""What made a layer's input: its distribution, and for ``data`` that it needs no gradient."""

TensorName = Literal["activation", "activation_b", "weight", "gradient"]
"""A layer's tensors; ``activation_b`` is the second input of a matmul."""

Positive = Annotated[int, Field(ge=1, le=1 << 31)]
NonNegative = Annotated[int, Field(ge=0, le=1 << 31)]
Pair = tuple[Positive, Positive]

_INPUT = "what made the layer's input; a layer fed by data has no backward GEMM"


class _Layer(Spec):
    name: Annotated[str, Field(min_length=1)] = Field(description="unique; seeds its tensors")
    repeat: Positive = Field(1, description="identical blocks, launched one after the other")


class Conv(_Layer):
    """A two-dimensional convolution; groups = in_channels makes it depthwise."""

    type: Literal["conv"]
    in_channels: Positive
    out_channels: Positive
    kernel: Positive | Pair = Field(description="window, one number or [height, width]")
    stride: Positive | Pair = 1
    padding: NonNegative | tuple[NonNegative, NonNegative] = 0
    dilation: Positive | Pair = 1
    groups: Positive = 1
    input_size: Positive | Pair = Field(description="input, one number or [height, width]")
    input: Input = Field("relu", description=_INPUT)

    @field_validator("kernel", "stride", "padding", "dilation", "input_size", mode="before")
    @classmethod
    def _lists_are_pairs(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

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


class Linear(_Layer):
    """A fully connected layer on ``tokens`` rows per sample."""

    type: Literal["linear"]
    in_features: Positive
    out_features: Positive
    tokens: Positive = Field(1, description="rows per sample")
    input: Input = Field("linear", description=_INPUT)

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


class Matmul(_Layer):
    """A product of two activations, ``C[m,n] = A[m,k] . B[n,k]^T``, per sample and head."""

    type: Literal["matmul"]
    m: Positive = Field(description="rows of A: queries")
    n: Positive = Field(description="rows of B: keys, or features of a head")
    k: Positive = Field(description="reduction: features of a head, or keys")
    heads: Positive = Field(1, description="independent products per sample")
    input: Input = Field("linear", description="what made A")

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


Layer = Conv | Linear | Matmul


class Elsewhere(Spec):
    """Published parameters that are no GEMM's operand, such as embeddings and biases."""

    what: str
    count: Annotated[int, Field(ge=1)]


class Published(Spec):
    """Figures from the literature that the layers must add up to."""

    parameters: Annotated[int, Field(ge=1)] = Field(description="of the whole network")
    macs: Annotated[int, Field(ge=1)] = Field(description="forward, one sample")
    macs_tolerance: Annotated[float, Field(ge=0, le=0.05)] = Field(
        description="relative: the printed figure's rounding, or what it counts besides GEMMs"
    )
    source: str
    elsewhere: tuple[Elsewhere, ...] = Field((), description="parameters that no GEMM holds")

    @field_validator("elsewhere", mode="before")
    @classmethod
    def _list_is_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value


class Network(Spec):
    """A network as the list of its layers that are matrix multiplications."""

    name: str = Field("", description="filled in from the file's name")
    summary: str = Field("", description="one line")
    source: str = Field("", description="where the shapes come from")
    published: Published | None = None
    layers: tuple[Annotated[Layer, Field(discriminator="type")], ...] = Field(min_length=1)

    @field_validator("layers", mode="before")
    @classmethod
    def _list_is_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        seen: set[str] = set()
        for layer in self.layers:
            if layer.name in seen:
                raise ValueError(f"two layers are named {layer.name!r}")
            seen.add(layer.name)
        return self

    @property
    def weights(self) -> int:
        """Elements of all layers' weights."""
        return sum(layer.weights for layer in self.layers)


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value


def _models_folder() -> Path:
    # Inside a wheel the networks stand in the package, in a checkout beside it.
    package = Path(__file__).parent
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


MODELS: Catalog[Network] = Catalog("model", _models_folder(), Network)
"""The networks that ship with nmsim."""

