"""Transposed convolutions: every pixel of the input is spread over a window of the output."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from nmsim.network.layers.convolution import Convolution, Extents, sides
from nmsim.network.lowering import IMPLICIT, Lowering
from nmsim.network.operand import FileLayout, Lowered, TensorName
from nmsim.network.window_gemms import WindowGemms
from nmsim.windows import Axis

__all__ = ["ConvTransposed"]

Width = Annotated[int, Field(ge=0)]


class ConvTransposed(Convolution):
    """A transposed convolution: the mirror of a convolution from its output to its input.

    Its output has (input - 1) stride - padding + dilation (kernel - 1) + output_padding + 1 pixels
    along a dimension, padding on both sides together; with ``padding: same``, input times stride.
    """

    type: Literal["conv_transposed"]
    wide: ClassVar[TensorName] = "gradient"

    output_padding: Width | tuple[Width, ...] = Field(
        0, description="further pixels of the output, after the last: below stride or dilation"
    )

    @model_validator(mode="after")
    def _output_fits(self) -> Self:
        steps = zip(self.each("stride"), self.each("dilation"), strict=True)
        more = self.each("output_padding")
        if len(more) != self.spatial:
            raise ValueError(
                f"layer {self.name!r}: output_padding has {len(more)} entries, expected "
                f"{self.spatial}, one for each dimension"
            )
        if any(own and own >= max(pair) for own, pair in zip(more, steps, strict=True)):
            raise ValueError(
                f"layer {self.name!r}: output_padding is {self.output_padding}, expected less than "
                "the stride or the dilation"
            )
        if self.padding == "same" and any(more):
            raise ValueError(
                f"layer {self.name!r}: output_padding is {self.output_padding}, expected none "
                "with padding: same"
            )
        if min(self.output_size) < 1:
            raise ValueError(f"layer {self.name!r}: padding leaves nothing of the output")
        return self

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Each dimension of the output, with a window for every pixel of the input."""
        steps = zip(self.each("stride"), self.each("dilation"), self._sides, strict=True)
        sizes = zip(self.output_size, self.image, self.window, steps, strict=True)
        return tuple(
            Axis(size, places, taps, stride, dilation, -before)
            for size, places, taps, (stride, dilation, (before, _)) in sizes
        )

    @property
    def output_size(self) -> Extents:
        """Pixels of the output along each dimension."""
        sizes = zip(self._spread, self._sides, self.each("output_padding"), strict=True)
        return tuple(size - sum(cut) + more for size, cut, more in sizes)

    @property
    def _spread(self) -> list[int]:
        """Pixels of the output from the first window's first tap to the last one's last."""
        fields = ("input_size", "stride", "kernel", "dilation")
        sizes = zip(*map(self.each, fields), strict=True)
        return [(n - 1) * stride + dilation * (k - 1) + 1 for n, stride, k, dilation in sizes]

    @property
    def _sides(self) -> list[tuple[int, int]]:
        """What is cut off the output before and after; below 0 where it is longer than windows."""
        if self.padding != "same":
            return [sides(one) for one in self.each("padding")]
        steps = zip(self._spread, self.image, self.each("stride"), strict=True)
        whole = [spread - size * stride for spread, size, stride in steps]
        return [(max(0, cut) // 2, cut - max(0, cut) // 2) for cut in whole]

    def shape(self, tensor: TensorName, batch: int) -> tuple[int, ...]:
        """Shape of a tensor, channels last: activation and gradient NHWC.

        The weight is a matrix, groups, taps and outputs of a group by inputs of a group: a layer
        forward makes that many columns of every pixel.
        """
        samples = self.samples(batch)
        if tensor == "activation":
            return (samples, *self.image, self.in_channels)
        if tensor == "weight":
            return (self.groups * self.taps * self.outputs, self.inputs)
        return (samples, *self.output_size, self.out_channels)

    def in_file(self, tensor: TensorName, batch: int) -> FileLayout | None:
        """How a file lays a tensor out: as PyTorch does, inputs first in a weight."""
        if tensor != "weight":
            return FileLayout.channels_second(self.shape(tensor, batch))
        axes = range(3, 3 + self.spatial)
        return FileLayout(
            (self.in_channels, self.outputs, *self.window),
            (self.groups, self.inputs, self.outputs, *self.window),
            (0, *axes, 2, 1),
        )

    def lower(self, batch: int, lowering: Lowering = IMPLICIT) -> list[Lowered]:
        """The layer's GEMMs, one copy per group; T = batch.images.H.W of the input."""
        of = WindowGemms(self, self.windows(batch), self.inputs)
        backward = [] if self.input == "data" else [of.gather("backward")]
        return [*of.spread("forward", lowering.forward), *backward, of.update()]
