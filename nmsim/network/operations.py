"""Operations beside GEMMs, as a network's layers say them: ``[batch_norm, relu, max_pool/4]``.

A layer says what makes its input and nobody else's (``before``), on a tensor of the input's size,
and what follows it (``then``), on its output. ``/4`` leaves a quarter of the elements, ``*4`` makes
four of each; what comes later in the chain works on as many.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BeforeValidator

from nmsim.errors import NmsimError, SpecError
from nmsim.network.operand import Input
from nmsim.registry import unknown_name

__all__ = ["OPERATIONS", "Chain", "Made", "OperationName", "chain_of", "made_by"]

OperationName = Literal[
    "batch_norm",
    "layer_norm",
    "rms_norm",
    "relu",
    "gelu",
    "silu",
    "swiglu",
    "residual",
    "sum",
    "bias",
    "conv_bias",
    "layer_scale",
    "gate",
    "scaling",
    "score_bias",
    "softmax",
    "dropout",
    "heads",
    "rotary",
    "max_pool",
    "mean",
    "concat",
    "upsample",
    "embedding",
    "loss",
]
"""What a network does between its GEMMs. ``residual`` adds a tensor that goes on beside (its
gradients are added on the way back), ``sum`` two that were made for it; ``gate`` multiplies
channels by another branch, ``layer_scale`` by parameters, ``scaling`` by a number; ``bias`` is of a
GEMM, ``conv_bias`` of a convolution; ``score_bias`` is what attention adds to its scores: a causal
mask, one of padding, a bias of positions; ``heads`` puts the rows of a head one after the other, as
a product of each head reads them (of every attention, no network says it)."""

OPERATIONS: tuple[OperationName, ...] = get_args(OperationName)

_WRITTEN = re.compile(r"([a-z_]+)(?:([/*])(\d+(?:\.\d+)?))?")


class Made(NamedTuple):
    """An operation, and how many elements it makes of one."""

    name: str
    ratio: float = 1.0


@lru_cache(maxsize=1024)
def _made(text: str) -> Made:
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise SpecError(f"{text!r}: expected an operation, such as relu, max_pool/4 or upsample*4")
    name, sign, number = match.groups()
    if name not in OPERATIONS:
        raise unknown_name("operation", name, OPERATIONS)
    factor = float(number or 1)
    if not factor:
        raise SpecError(f"{text!r}: expected a number above 0 behind {sign}")
    return Made(name, 1 / factor if sign == "/" else factor)


def chain_of(texts: Iterable[str]) -> tuple[Made, ...]:
    """Operations of a chain, in the order in which they run.

    Raises
    ------
    SpecError, UnknownName
        for one that there is not.

    Examples
    --------
    >>> chain_of(["relu", "max_pool/4"])
    (Made(name='relu', ratio=1.0), Made(name='max_pool', ratio=0.25))
    """
    return tuple(map(_made, texts))


def _checked(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise ValueError("expected a list of operations, such as [batch_norm, relu]")
    try:
        chain_of(value)
    except NmsimError as error:
        raise ValueError(str(error)) from error
    return tuple(value)


Chain = Annotated[tuple[str, ...], BeforeValidator(_checked)]
"""Operations one after the other, as they are written."""


def made_by(source: Input, *, convolution: bool) -> tuple[str, ...]:
    """Operations that make an input of a network which says none, by what made it (``input``).

    A ReLU before a convolution is taken to have a batch norm.
    """
    if source == "norm":
        return ("batch_norm",) if convolution else ("layer_norm",)
    if source == "relu" and convolution:
        return ("batch_norm", "relu")
    return () if source in ("data", "linear", "softmax") else (source,)
