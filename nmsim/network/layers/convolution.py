"""Convolutions of one to three dimensions: what they say, their geometry, their tensors' shapes."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from math import prod
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from nmsim.network.layers.layer_fields import INPUT, Positive, WeightedSpec, checked_batch
from nmsim.network.lowering import IMPLICIT, Lowering
from nmsim.network.operand import FileLayout, Input, Lowered, TensorName
from nmsim.network.window_gemms import WindowGemms
from nmsim.windows import Axis, Windows

__all__ = ["Conv", "Convolution", "Extents", "Padding", "same_padding", "sides"]

Extent = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=0)]
Sides = tuple[Width, Width]
Padding = int | tuple[int, int] | Literal["same"]
Extents = tuple[int, ...]

_PLANE = 2
"""Dimensions of a convolution that says nothing of them."""

_PER_DIMENSION = ("kernel", "stride", "padding", "dilation", "input_size")

_MOST, _MOST_TAPS = 1 << 31, 1 << 20

_EXPECTED = {
    name: (1, most, f"an integer from 1 to {most}, or a list of one for each dimension")
    for name, most in zip(_PER_DIMENSION, (_MOST_TAPS, *[_MOST] * 4), strict=True)
} | {
    "padding": (
        0,
        _MOST,
        f"same, an integer from 0 to {_MOST}, or a list of one or [before, after] per dimension",
    )
}
"""Range of each field's numbers, and how it is said."""


class Convolution(WeightedSpec, ABC):
    """What a convolution and a transposed one say; groups = in_channels makes it depthwise.

    A field of sizes or steps is one number for all dimensions, or a list with one for each.
    """

    type: Literal["conv", "conv_transposed"]
    in_channels: Positive
    out_channels: Positive
    dimensions: Literal[1, 2, 3] | None = Field(
        None, description="of an image; default: as many as the lists below have, else 2"
    )
    kernel: Extent | tuple[Extent, ...] = Field(description="window: one number or [height, width]")
    stride: Extent | tuple[Extent, ...] = 1
    padding: Width | Literal["same"] | tuple[Width | Sides, ...] = Field(
        0,
        description="zeros around: one number, [height, width], [before, after] in place of either "
        "of these, or same: a place for every stride-th pixel",
    )
    dilation: Extent | tuple[Extent, ...] = 1
    groups: Positive = 1
    input_size: Extent | tuple[Extent, ...] = Field(
        description="input: one number or [height, width]"
    )
    images: Positive = Field(1, description="images per sample, such as a detector's regions")
    input: Input = Field("relu", description=INPUT)

    @field_validator(*_PER_DIMENSION, mode="before")
    @classmethod
    def _can_be_read(cls, value: Any, info: ValidationInfo) -> Any:
        # A value that fits no way of writing a field would get a message for each of the ways.
        least, most, expected = _EXPECTED[str(info.field_name)]
        sided = info.field_name == "padding"
        if sided and isinstance(value, tuple):
            value = tuple(tuple(one) if isinstance(one, list) else one for one in value)
        if not (sided and value == "same"):
            for one in _numbers(value, sided=sided):
                if not isinstance(one, int) or isinstance(one, bool) or not least <= one <= most:
                    raise ValueError(f"expected {expected}")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for field in _PER_DIMENSION:
            value = getattr(self, field)
            if isinstance(value, tuple) and len(value) != self.spatial:
                raise ValueError(
                    f"layer {self.name!r}: {field} has {len(value)} entries, expected "
                    f"{self.spatial}, one for each dimension of 1, 2 or 3"
                )
        for field in ("in_channels", "out_channels"):
            if getattr(self, field) % self.groups:
                raise ValueError(
                    f"layer {self.name!r}: {field} is {getattr(self, field)}, "
                    f"expected a multiple of groups ({self.groups})"
                )
        return self

    @property
    def spatial(self) -> int:
        """How many dimensions an image has."""
        if self.dimensions:
            return self.dimensions
        values = (getattr(self, field) for field in _PER_DIMENSION)
        found = [len(value) for value in values if isinstance(value, tuple)]
        return min(max(1, *found), 3) if found else _PLANE

    def each(self, field: str) -> tuple[Any, ...]:
        """A field's value for each dimension."""
        value = getattr(self, field)
        return value if isinstance(value, tuple) else (value,) * self.spatial

    wide: ClassVar[TensorName]
    """The tensor that windows step along: the input, or the gradient of the output."""

    @property
    @abstractmethod
    def axes(self) -> tuple[Axis, ...]:
        """Each dimension of the image that windows step along."""

    def windows(self, batch: int) -> Windows:
        """The windows over the image that they step along, those of one group."""
        channels = self.inputs if self.wide == "activation" else self.outputs
        return Windows(self.samples(checked_batch(batch)), self.axes, channels)

    @property
    def copies(self) -> int:
        """How many independent parts its tensors have: the groups."""
        return self.groups

    @property
    def inputs(self) -> int:
        """Channels of the input that one group has."""
        return self.in_channels // self.groups

    @property
    def outputs(self) -> int:
        """Channels of the output that one group has."""
        return self.out_channels // self.groups

    @property
    def columns(self) -> int:
        """How many columns one image has: one for each place of the window."""
        return prod(axis.windows for axis in self.axes)

    def samples(self, batch: int) -> int:
        """How many images a batch has."""
        return batch * self.images

    @property
    def window(self) -> Extents:
        """Taps of the window that the weight covers, along each dimension."""
        return self.each("kernel")

    @property
    def taps(self) -> int:
        """Taps of the window in all."""
        return prod(self.window)

    @property
    def image(self) -> Extents:
        """Pixels of the input along each dimension."""
        return self.each("input_size")

    @property
    @abstractmethod
    def output_size(self) -> Extents:
        """Pixels of the output along each dimension."""

    @property
    def pointwise(self) -> bool:
        """Its columns are its pixels: a window of one tap that visits each of them once."""
        return all(axis.plain for axis in self.axes)

    @property
    def weights(self) -> int:
        """Elements of the weight, all repeats; none if it is another layer's."""
        if self.weight_of:
            return 0
        return self.out_channels * self.taps * self.inputs * self.repeat


class Conv(Convolution):
    """A convolution of one, two or three dimensions."""

    type: Literal["conv"]

    wide: ClassVar[TensorName] = "activation"

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        if min(self.output_size) < 1:
            raise ValueError(
                f"layer {self.name!r}: the window is larger than the padded input "
                f"({_by(self._reach)} against {_by(self._padded)})"
            )
        return self

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Each dimension of the input, with the places of the output."""
        steps = zip(self.each("stride"), self.each("dilation"), self._sides, strict=True)
        sizes = zip(self.image, self.output_size, self.window, steps, strict=True)
        return tuple(
            Axis(size, out, taps, stride, dilation, -before)
            for size, out, taps, (stride, dilation, (before, _)) in sizes
        )

    @property
    def output_size(self) -> Extents:
        """Pixels of the output along each dimension."""
        sizes = zip(self._padded, self._reach, self.each("stride"), strict=True)
        return tuple((size - reach) // stride + 1 for size, reach, stride in sizes)

    @property
    def _sides(self) -> list[tuple[int, int]]:
        fields = ("padding", "input_size", "kernel", "stride", "dilation")
        return [_padding(*one) for one in zip(*map(self.each, fields), strict=True)]

    @property
    def _padded(self) -> list[int]:
        return [size + sum(sides) for size, sides in zip(self.image, self._sides, strict=True)]

    @property
    def _reach(self) -> list[int]:
        pairs = zip(self.window, self.each("dilation"), strict=True)
        return [dilation * (kernel - 1) + 1 for kernel, dilation in pairs]

    def shape(self, tensor: TensorName, batch: int) -> tuple[int, ...]:
        """Shape of a tensor, channels last: activation NHWC, weight OHWI, gradient NHWC."""
        samples = self.samples(batch)
        if tensor == "activation":
            return (samples, *self.image, self.in_channels)
        if tensor == "weight":
            return (self.out_channels, *self.window, self.inputs)
        return (samples, *self.output_size, self.out_channels)

    def in_file(self, tensor: TensorName, batch: int) -> FileLayout | None:
        """How a file lays a tensor out: channels second, as PyTorch does."""
        return FileLayout.channels_second(self.shape(tensor, batch))

    def lower(self, batch: int, lowering: Lowering = IMPLICIT) -> list[Lowered]:
        """The layer's GEMMs, one copy per group; T = batch.images.OH.OW."""
        windows = self.windows(batch)
        of = WindowGemms(self, windows, self.outputs)
        backward = [] if self.input == "data" else of.spread("backward", lowering.backward)
        return [of.gather("forward"), *backward, of.update()]


def _padding(padding: Padding, *sizes: int) -> tuple[int, int]:
    return same_padding(*sizes) if padding == "same" else sides(padding)


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Padding before and after, with which there is a place for every stride-th pixel.

    An odd pixel of it stands after (TensorFlow's rule, which at stride 1 is PyTorch's too).
    """
    places = -(-size // stride)
    whole = max(0, (places - 1) * stride + dilation * (kernel - 1) + 1 - size)
    return whole // 2, whole - whole // 2


def sides(padding: int | tuple[int, int]) -> tuple[int, int]:
    """Padding before and after."""
    return padding if isinstance(padding, tuple) else (padding, padding)


def _numbers(value: Any, *, sided: bool) -> Iterator[Any]:
    """What stands in a field: one value, those of a list, and in sided ones those of pairs."""
    for entry in value if isinstance(value, tuple) else (value,):
        pair = sided and isinstance(entry, tuple) and len(entry) == 2
        yield from entry if pair else (entry,)


def _by(sizes: Any) -> str:
    return " x ".join(map(str, sizes))
