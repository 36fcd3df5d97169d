"""How an operand of a GEMM is gathered from a tensor: windows over its pixels (im2col).

A matrix that is gathered holds an element of the tensor as often as windows cover its pixel, and
zeros where they reach beyond the edge. In memory stands the tensor. Both ways that a convolution's
matrices lie are meant, and the phases of a strided convolution's input gradient, whose windows are
those of the output gradient that a pixel of the input had a part in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from numbers import Integral
from typing import Annotated, Literal

from pydantic import Field

from nmsim.errors import ShapeError

__all__ = ["Axis", "Windows"]

MOST_AXES = 3
"""A convolution has one to three spatial dimensions."""


@dataclass(frozen=True)
class Axis:
    """One spatial dimension: tap t of window w is at position ``first + w.stride + t.step``.

    Parameters
    ----------
    size
        Positions of the tensor, 0 to ``size - 1``; all others are padding, zeros that are stored
        nowhere. What is padded behind the last position follows from the number of windows.
    windows, taps
        How many windows lie along the dimension, and how many positions each of them reads.
    stride
        Positions from one window to the next.
    step
        Positions from one tap to the next, the dilation; below 0 where taps run backwards.
    first
        Position of the first tap of the first window: the padding before it, negative.

    Raises
    ------
    ShapeError
        for a number that is no integer or cannot be.
    """

    size: int
    windows: int
    taps: int
    stride: int = 1
    step: int = 1
    first: int = 0

    def __post_init__(self) -> None:
        for name in ("size", "windows", "taps", "stride"):
            _check("axis", name, getattr(self, name), 1)
        for name in ("step", "first"):
            _check("axis", name, getattr(self, name), None)

    @property
    def plain(self) -> bool:
        """Whether windows are positions: one tap each, and each of them once, in order."""
        return (self.taps, self.stride, self.first, self.windows) == (1, 1, 0, self.size)

    @property
    def inside(self) -> bool:
        """Whether no window reaches beyond the edge, into padding."""
        last = self.first + (self.windows - 1) * self.stride
        reach = (self.taps - 1) * self.step
        return min(self.first, self.first + reach) >= 0 and max(last, last + reach) < self.size

    @property
    def inside_reads(self) -> int:
        """Pairs of a window and a tap of it that are at a position, not in padding."""
        return sum(self._inside(self.first + tap * self.step) for tap in range(self.taps))

    def _inside(self, at: int) -> int:
        """Of the places ``at``, a stride apart, those that are positions."""
        before = max(0, -(at // self.stride))  # windows whose tap is in front of the tensor
        after = max(0, -((at - self.size) // self.stride))  # windows whose tap is before its end
        return max(0, min(self.windows, after) - before)

    @property
    def seen(self) -> int:
        """Positions that some window covers, padding left out."""
        return _seen(self)


@lru_cache(maxsize=4096)
def _seen(axis: Axis) -> int:
    """Positions along one axis that some window covers.

    A tap visits every stride-th position, so taps share positions only where they leave the same
    rest by the stride; each adds what lies beyond the end of those before it. Taps go upwards.
    """
    seen, stride = 0, axis.stride
    ends: dict[int, int] = {}
    for place in sorted({axis.first + tap * axis.step for tap in range(axis.taps)}):
        last = min(place + (axis.windows - 1) * stride, axis.size - 1)
        start = max(place % stride, place)
        start = max(start, ends.get(place % stride, start))
        if start <= last:
            new = (last - start) // stride + 1
            seen += new
            ends[place % stride] = start + new * stride
    return seen


@dataclass(frozen=True)
class Windows:
    """The windows over a tensor that make up an operand, one copy of it.

    Windows are ordered image by image, the last axis fastest; what one of them reads tap by tap,
    the last axis and then channels fastest.

    Parameters
    ----------
    images
        Entries of the tensor that share no pixel: the batch.
    axes
        One to three spatial dimensions, the outermost first.
    channels
        Elements of a pixel that one copy reads: of a convolution in groups, those of a group.
    along
        What the windows lie along: ``rows``, with taps and channels along K (forward, and an input
        gradient, whose rows are pixels of the input), or ``k``, with taps and channels as rows (a
        weight gradient).

    Raises
    ------
    ShapeError
        for a number that is no integer or cannot be.

    Examples
    --------
    >>> row = Axis(size=8, windows=8, taps=3, first=-1)
    >>> seen = Windows(images=2, axes=(row, row), channels=16)
    >>> seen.shape, seen.elements
    ((128, 144), 2048)
    """

    images: int
    axes: Annotated[tuple[Axis, ...], Field(strict=False)]  # files have lists
    channels: int
    along: Literal["rows", "k"] = "rows"

    def __post_init__(self) -> None:
        _check("windows", "images", self.images, 1)
        _check("windows", "channels", self.channels, 1)
        if not 1 <= len(self.axes) <= MOST_AXES:
            raise ShapeError(f"windows: axes are {len(self.axes)}, expected 1 to {MOST_AXES}")
        if self.along not in ("rows", "k"):
            raise ShapeError(f"windows: along is {self.along!r}, expected rows or k")

    @property
    def pixels(self) -> int:
        """How many windows there are: output pixels, or input pixels for an input's gradient."""
        return self.images * prod(axis.windows for axis in self.axes)

    @property
    def taps(self) -> int:
        """Pixels that one window reads."""
        return prod(axis.taps for axis in self.axes)

    @property
    def reads(self) -> int:
        """Elements that one window reads: taps and channels."""
        return self.taps * self.channels

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and K of the operand."""
        return (self.pixels, self.reads) if self.along == "rows" else (self.reads, self.pixels)

    @property
    def plain(self) -> bool:
        """Whether the operand is the tensor: every pixel is a window."""
        return all(axis.plain for axis in self.axes)

    @property
    def inside(self) -> bool:
        """Whether no window reaches beyond the edge, into padding."""
        return all(axis.inside for axis in self.axes)

    @property
    def inside_reads(self) -> int:
        """Pixels that windows read, each as often as one does, padding left out."""
        return self.images * prod(axis.inside_reads for axis in self.axes)

    @property
    def tensor(self) -> int:
        """Elements of the tensor, whether a window reads them or not."""
        return self.images * prod(axis.size for axis in self.axes) * self.channels

    @property
    def elements(self) -> int:
        """Elements of the tensor that some window reads, each counted once."""
        return self.images * prod(axis.seen for axis in self.axes) * self.channels

    def part(self, of: Literal["pixels", "reads"], start: int, stop: int) -> "Windows | None":
        """Some of the windows, or some of what each reads, from one up to another, as windows.

        None if they are none, because they end amid a line of them, or see nothing but padding.

        Examples
        --------
        >>> row = Axis(size=8, windows=8, taps=3, first=-1)
        >>> both = Windows(images=2, axes=(row, row), channels=16)
        >>> both.part("pixels", 64, 128).shape, both.part("reads", 48, 144).shape
        ((64, 144), (128, 96))
        >>> both.part("pixels", 0, 100) is None
        True
        """
        if of == "pixels":
            block = _block((self.images, *(axis.windows for axis in self.axes)), start, stop)
        else:
            block = _block((*(axis.taps for axis in self.axes), self.channels), start, stop)
        if block is None:
            return None
        if of == "pixels":
            (_, images), *lines = block
            cut = (
                replace(axis, windows=many, first=axis.first + at * axis.stride)
                for axis, (at, many) in zip(self.axes, lines, strict=True)
            )
            found = replace(self, images=images, axes=tuple(cut))
        else:
            *lines, (_, channels) = block
            cut = (
                replace(axis, taps=many, first=axis.first + at * axis.step)
                for axis, (at, many) in zip(self.axes, lines, strict=True)
            )
            found = replace(self, channels=channels, axes=tuple(cut))
        return found if found.elements else None


def _block(sizes: Sequence[int], start: int, stop: int) -> list[tuple[int, int]] | None:
    """A range of what stands in several dimensions, last fastest: from where, how many, in each.

    None if it is no block.
    """
    block: list[tuple[int, int]] = []
    for i in range(len(sizes)):
        inner = prod(sizes[i + 1 :])
        if start % inner == 0 and stop % inner == 0:
            first = start // inner
            whole = ((0, size) for size in sizes[i + 1 :])
            return [*block, (first, stop // inner - first), *whole]
        first = start // inner
        if first != (stop - 1) // inner:
            break
        block.append((first, 1))
        start, stop = start - first * inner, stop - first * inner
    return None


def _check(what: str, name: str, value: int, least: int | None) -> None:
    integral = isinstance(value, Integral) and not isinstance(value, bool)
    if not integral or (least is not None and value < least):
        beyond = "" if least is None else f" from {least}"
        raise ShapeError(f"{what}: {name} is {value!r}, expected an integer{beyond}")
