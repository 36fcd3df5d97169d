"""GEMMs of layers whose windows step along an image: convolutions, and their transposes.

Windows step along the *wide* image (a convolution's input, a transposed one's output) with a place
for every pixel of the *narrow* one. Of the three products of a training step one gathers, one
spreads, and one makes the gradient of the weight; all three have the same products in them, but for
those with padding.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import gcd
from typing import NamedTuple, Protocol

from nmsim.gemm import Gemm, Phase
from nmsim.network.lowering import LoweringName
from nmsim.network.operand import OPERANDS, Lowered, TensorName
from nmsim.windows import Axis, Windows

__all__ = ["StridePhase", "WindowGemms", "stride_phases"]


class StridePhase(NamedTuple):
    """Pixels of a dimension that leave the same rest by the stride, and the taps that reach them.

    Parameters
    ----------
    pixels
        Of the wide image.
    taps
        Those that any of them can take, in order.
    places
        The narrow image as these pixels gather it: tap by tap, its pixels run backwards.
    """

    pixels: range
    taps: range
    places: Axis


def stride_phases(axis: Axis) -> list[StridePhase]:
    """The phases of a dimension that have pixels and taps, in the order of their first pixel.

    Pixel y takes tap t at place ``(y - first - t * step) / stride``, where that is a whole number.
    So taps of one phase are ``stride / gcd(stride, step)`` apart, and a phase is named by its least
    tap.
    """
    found: dict[int, int] = {}
    for tap in range(min(axis.taps, axis.stride)):
        found.setdefault(tap * axis.step % axis.stride, tap)
    phases = (_phase(axis, rest, tap) for rest, tap in found.items())
    return sorted((one for one in phases if one.pixels), key=lambda one: one.pixels[0])


def _phase(axis: Axis, rest: int, tap: int) -> StridePhase:
    pixels = range((rest + axis.first) % axis.stride, axis.size, axis.stride)
    taps = range(tap, axis.taps, axis.stride // gcd(axis.stride, axis.step))
    place = (pixels.start - axis.first - tap * axis.step) // axis.stride
    apart = taps.step * axis.step // axis.stride
    places = Axis(axis.windows, max(1, len(pixels)), len(taps), 1, -apart, place)
    return StridePhase(pixels, taps, places)


class HasWindows(Protocol):
    """What lowering must know of a layer."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def repeat(self) -> int:
        """Identical blocks."""

    @property
    def groups(self) -> int:
        """Copies in one launch."""

    @property
    def wide(self) -> TensorName:
        """The tensor that windows step along."""


@dataclass(frozen=True)
class WindowGemms:
    """The GEMMs of one layer for a batch.

    Parameters
    ----------
    layer
        Whose.
    windows
        Over the wide image, those of one group.
    channels
        Of the narrow image, those of one group.
    """

    layer: HasWindows
    windows: Windows
    channels: int

    def _gemm(self, m: int, n: int, k: int, phase: Phase) -> Gemm:
        layer = self.layer
        return Gemm(m, n, k, layer.groups, layer.name, phase, layer.repeat, "conv")

    def gather(self, phase: Phase) -> Lowered:
        """Every pixel of the narrow image, from the window that it is the place of."""
        w = self.windows
        gemm = self._gemm(w.pixels, self.channels, w.reads, phase)
        return Lowered(replace(gemm, a_windows=_gathered(w)), *OPERANDS[phase])

    def update(self) -> Lowered:
        """The gradient of the weight: windows and narrow pixels, summed over places."""
        w = self.windows
        turned = _gathered(replace(w, along="k"))
        if self.layer.wide == "activation":
            gemm = self._gemm(self.channels, w.reads, w.pixels, "update")
            gemm = replace(gemm, b_windows=turned)
        else:
            gemm = self._gemm(w.reads, self.channels, w.pixels, "update")
            gemm = replace(gemm, a_windows=turned)
        return Lowered(gemm, *OPERANDS["update"])

    def spread(self, phase: Phase, lowering: LoweringName) -> list[Lowered]:
        """Every pixel of the wide image, from all windows that it is in."""
        if lowering == "implicit":
            return self._parts(phase)
        w = self.windows
        gemm = self._gemm(w.pixels, w.reads, self.channels, phase)
        added = 0 if w.plain else w.pixels * w.reads + w.tensor
        return [Lowered(replace(gemm, scatter_elements=added), *OPERANDS[phase])]

    def _parts(self, phase: Phase) -> list[Lowered]:
        """A GEMM for the pixels of each phase of the stride, all of one launch."""
        parts = [self._part(phase, one) for one in product(*map(stride_phases, self.windows.axes))]
        made = sum(part.gemm.m * part.gemm.n for part in parts)
        if len(parts) > 1:
            parts = [
                part_of(part, f"{number}/{len(parts)}")
                for number, part in enumerate(parts, start=1)
            ]
        if not parts or made == self.windows.tensor:
            return parts
        first = replace(parts[0].gemm, zeroed_elements=self.windows.tensor - made)
        return [replace(parts[0], gemm=first), *parts[1:]]

    def _part(self, phase: Phase, along: tuple[StridePhase, ...]) -> Lowered:
        w = self.windows
        places = Windows(w.images, tuple(one.places for one in along), self.channels)
        gemm = self._gemm(places.pixels, w.channels, places.reads, phase)
        gemm = replace(gemm, a_windows=_gathered(places))
        a, b = OPERANDS[phase]
        taps = tuple(self._flat([one.taps for one in along]))
        return Lowered(gemm, a, replace(b, taps=taps), tuple(one.pixels for one in along))

    def _flat(self, taps: list[range]) -> Iterator[int]:
        """Taps of the window, the last dimension fastest."""
        for one in product(*taps):
            flat = 0
            for axis, tap in zip(self.windows.axes, one, strict=True):
                flat = flat * axis.taps + tap
            yield flat


def part_of(lowered: Lowered, part: str) -> Lowered:
    """The same as a part of a launch."""
    return replace(lowered, gemm=replace(lowered.gemm, part=part))


def _gathered(windows: Windows) -> Windows | None:
    """Windows, if they are not just the tensor's pixels."""
    return None if windows.plain else windows
