"""Convolutions: their geometry, their tensors' shapes and their GEMMs."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nmsim.network.lowering import INPUT, Positive, WeightedSpec, checked_batch, three_gemms
from nmsim.network.operand import Input, Lowered, TensorName
from nmsim.windows import Axis, Windows

__all__ = ["Conv"]

Extent = Annotated[int, Field(ge=1, le=1 << 16)]
Padding = Annotated[int, Field(ge=0, le=1 << 16)]
Pair = tuple[Extent, Extent]


class Conv(WeightedSpec):
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
    images: Positive = Field(1, description="images per sample, such as a detector's regions")
    input: Input = Field("relu", description=INPUT)

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
        """How many independent parts its tensors have: the groups."""
        return self.groups

    @property
    def columns(self) -> int:
        """How many columns one image has: one for each output pixel."""
        return self.output_size[0] * self.output_size[1]

    def samples(self, batch: int) -> int:
        """How many images a batch has."""
        return batch * self.images

    @property
    def window(self) -> Pair:
        """Height and width of the window that the weight covers."""
        return _pair(self.kernel)

    @property
    def image(self) -> Pair:
        """Height and width of the input image."""
        return _pair(self.input_size)

    @property
    def output_size(self) -> Pair:
        """Height and width of the output image."""
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
        """Elements of the weight, all repeats; none if it is another layer's."""
        if self.weight_of:
            return 0
        kh, kw = self.window
        return self.out_channels * kh * kw * (self.in_channels // self.groups) * self.repeat

    def shape(self, tensor: TensorName, batch: int) -> tuple[int, ...]:
        """Shape of a tensor, channels last: activation NHWC, weight OHWI, gradient NHWC."""
        samples = self.samples(batch)
        if tensor == "activation":
            return (samples, *self.image, self.in_channels)
        if tensor == "weight":
            return (self.out_channels, *self.window, self.in_channels // self.groups)
        return (samples, *self.output_size, self.out_channels)

    def lower(self, batch: int) -> list[Lowered]:
        """The layer's GEMMs, one copy per group; T = batch.images.OH.OW."""
        samples = self.samples(checked_batch(batch))
        t = samples * self.columns
        o = self.out_channels // self.groups
        windows = self._windows(samples)
        image = self.image[0] * self.image[1] * windows.channels
        columns = 0 if self.pointwise else t * windows.reads + samples * image
        return three_gemms(
            self,
            t=t,
            o=o,
            i=windows.reads,
            count=self.groups,
            activation_elements=windows.elements,
            scatter=columns,
            windows=None if self.pointwise else windows,
        )

    def _windows(self, samples: int) -> Windows:
        """The windows over the activation, those of one group."""
        sizes = zip(self.image, self.output_size, self.window, *self.steps, strict=True)
        axes = tuple(
            Axis(size, out, taps, stride, dilation, -padding)
            for size, out, taps, stride, padding, dilation in sizes
        )
        return Windows(samples, axes, self.in_channels // self.groups)


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value
