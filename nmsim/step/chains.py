"""Operations that run one after the other, as passes over memory: a kernel each, or one for all.

Bytes follow from how many tensors an operation reads and writes (``elementwise`` of a machine), how
many elements it is given and makes, and in which width. Fused, what one operation makes for the
next stays in registers: it is neither written nor read, unless somebody else needs it (``joins``),
or the next one needs all of it before it can go on (``sweeps``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from nmsim.machines import Calling, Elementwise, Operation
from nmsim.network.operations import Made

__all__ = ["Both", "Style", "Work", "chain_works"]


class Work(NamedTuple):
    """Kernels beside GEMMs: what they do, the bytes that they read and write, how many they are."""

    what: str
    read: float
    written: float
    launches: int = 1


class Both(NamedTuple):
    """What a chain takes forward and on the way back, kernels in the order in which they run."""

    forward: tuple[Work, ...]
    backward: tuple[Work, ...]


@dataclass(frozen=True)
class Style:
    """How a network's operations are run.

    Parameters
    ----------
    known
        What a machine says of operations.
    calling
        How it is made to do them.
    narrow, results
        Bytes of an element of a GEMM's operands, and of its result.
    stream
        The network has norms in 32 bits or embeddings under autocast, so that what joins its blocks
        has 32 bits.
    trains
        There is a way back.
    """

    known: Elementwise
    calling: Calling
    narrow: float
    results: float
    stream: bool
    trains: bool

    @property
    def wide(self) -> float:
        """Bytes of an element that autocast keeps out of 16 bits."""
        return max(self.narrow, 4.0) if self.calling.autocast else self.narrow

    @property
    def joined(self) -> float:
        """Bytes of an element of what joins blocks."""
        return self.wide if self.stream else self.narrow

    def operation(self, name: str) -> Operation | None:
        """An operation as the stack runs it, else as the machine says; None: not charged."""
        own = (one for one in self.calling.operations if one.made_by == name)
        found = next(own, None) or self.known.operation(name)
        return None if found is None or (found.trains and not self.trains) else found


@dataclass(frozen=True)
class _Step:
    """One operation of a chain: bytes that it is given and makes, and of what it reads beside."""

    operation: Operation
    given: float
    made: float
    beside: float
    trains: bool

    @property
    def forward(self) -> Work:
        one = self.operation
        way = one.forward if self.trains else one.inference or one.forward
        own = min(1.0, way.reads) if self.beside else way.reads
        read = own * self.given + (way.reads - own) * self.beside
        return Work(one.made_by, read, way.writes * self.made, way.kernels)

    @property
    def backward(self) -> Work:
        way = self.operation.backward
        return Work(
            self.operation.made_by, way.reads * self.made, way.writes * self.given, way.kernels
        )

    @property
    def sweeps(self) -> bool:
        return self.trains and self.operation.sweeps


def chain_works(
    chain: Sequence[Made], elements: float, style: Style, width: float, *, feeds: bool = False
) -> Both:
    """What a chain of operations takes.

    Parameters
    ----------
    elements, width
        That the first one is given, and bytes of each.
    feeds
        A GEMM reads what the last one makes: it is cast to the width of its operands.
    """
    fused = style.calling.fusion != "none"
    steps, casts = _steps(chain, elements, style, width)
    if fused:
        if not style.trains and style.calling.fusion == "epilogues" and not feeds:
            return Both(tuple(_epilogue(steps)), ())
        return _one_pass(steps, style)
    forward, backward = list[Work](), list[Work]()
    for step in steps:
        if cast := casts.get(step.operation.made_by):
            forward.append(_cast(cast, style.narrow, style.wide))
            backward.insert(0, _cast(cast, style.wide, style.narrow))
        forward.append(step.forward)
        backward.insert(0, step.backward)
    if feeds and steps and style.wide > style.narrow:
        last = _made(chain, elements)
        if steps[-1].made > last * style.narrow:
            forward.append(_cast(last, style.wide, style.narrow))
            backward.insert(0, _cast(last, style.narrow, style.wide))
    return Both(*(tuple(filter(_moves, works)) for works in (forward, backward)))


def _moves(work: Work) -> bool:
    return work.read + work.written > 0


def _cast(elements: float, given: float, made: float) -> Work:
    return Work("cast", elements * given, elements * made)


def _made(chain: Sequence[Made], elements: float) -> float:
    for one in chain:
        elements *= one.ratio
    return elements


def _steps(
    chain: Sequence[Made], elements: float, style: Style, width: float
) -> tuple[list[_Step], dict[str, float]]:
    """Operations that are charged, with their bytes, and elements that are cast before some."""
    steps, casts = list[_Step](), dict[str, float]()
    for name, ratio in chain:
        made = elements * ratio
        operation = style.operation(name)
        if operation is not None:
            given, out, beside = width, width, 0.0
            if operation.widths == "float32" and width < style.wide:
                casts[name], out = elements, style.wide
                given = width if style.calling.fusion != "none" else style.wide
            if operation.widths == "widest":
                out = max(width, style.joined)
                beside = elements * style.joined
            steps.append(_Step(operation, elements * given, made * out, beside, style.trains))
            width = out
        elements = made
    return steps, casts


def _one_pass(steps: Sequence[_Step], style: Style) -> Both:
    """A chain as one pass each way, another one for every sweep."""
    if not steps:
        return Both((), ())
    last = steps[-1]
    if last.operation.widths == "float32":  # its cast for the next GEMM rides along
        made = last.made * style.narrow / style.wide
        steps = [*steps[:-1], _Step(last.operation, last.given, made, 0.0, last.trains)]
    name = " + ".join(step.operation.made_by for step in steps)
    more = sum(step.sweeps for step in steps)
    forward = _merged(name, [one.forward for one in steps], _kept_forward(steps), more)
    backward = _merged(name, [one.backward for one in steps], _kept_backward(steps), more)
    return Both(*(tuple(filter(_moves, [work])) for work in (forward, backward)))


def _merged(
    name: str, works: Sequence[Work], kept: Iterator[tuple[float, float]], more: int
) -> Work:
    """Kernels as one: their bytes, less those that stay on the chip between two of them."""
    saved = [sum(part) for part in zip(*kept, strict=True)] or [0.0, 0.0]
    read, written = sum(work.read for work in works), sum(work.written for work in works)
    return Work(name, read - saved[0], written - saved[1], 1 + more)


def _kept_forward(steps: Sequence[_Step]) -> Iterator[tuple[float, float]]:
    """Bytes that are not read and not written between an operation and the next."""
    for one, after in pairwise(steps):
        if one.forward.written and after.forward.read:
            goes_on = one.operation.joins and after.operation.made_by.endswith("_norm")
            stays = goes_on or after.sweeps
            yield one.made, 0.0 if stays else one.made


def _kept_backward(steps: Sequence[_Step]) -> Iterator[tuple[float, float]]:
    """The same on the way back, where operations that do nothing there are passed through.

    What an operation kept of its result is made again where the one before it reads what it kept.
    """
    stays = False
    later: _Step | None = None
    for one in reversed(steps):
        if later is not None and one.backward.read and later.backward.written:
            stays = stays or later.operation.joins or one.operation.joins
            again = not stays and min(x.operation.backward.reads for x in (one, later)) > 1
            passes_on = stays or not one.backward.written
            yield later.given * (2 if again else 1), 0.0 if passes_on else later.given
        if one.backward.read:
            later, stays = one, False
        stays = stays or one.operation.joins


def _epilogue(steps: Sequence[_Step]) -> Iterator[Work]:
    """What is left of a chain in inference where the GEMM before it does what it can."""
    done = 0
    for step in steps:
        if not step.operation.epilogue:
            break
        done += 1
        if step.beside:
            yield Work(step.operation.made_by, step.beside, 0.0, 0)
    rest = steps[done:]
    if rest:
        name = " + ".join(step.operation.made_by for step in rest)
        yield _merged(name, [one.forward for one in rest], _kept_forward(rest), 0)
