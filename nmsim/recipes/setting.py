"""What masks depend on beside the network."""

import zlib
from dataclasses import dataclass

import numpy as np

from nmsim.errors import PatternError
from nmsim.network.lowering import IMPLICIT, Lowering
from nmsim.network.tensors import TensorSource
from nmsim.pattern import Pattern
from nmsim.recipes.recipe import Recipe

__all__ = ["Setting", "check_vectors", "mask_seed"]


@dataclass(frozen=True)
class Setting:
    """What masks depend on beside the network, and how its products are laid out as GEMMs.

    Parameters
    ----------
    batch
        Samples that a GEMM sees.
    step
        Of a training run, steps before this one; None: a step is run, of no run in particular.
    """

    recipe: Recipe
    pattern: Pattern
    tensors: TensorSource
    batch: int = 1
    seed: int = 0
    lowering: Lowering = IMPLICIT
    step: int | None = None


def check_vectors(pattern: Pattern, role: str) -> None:
    """Refuse V:N:M of what is no weight: V rows of activations are no rows of one matrix for long.

    Raises
    ------
    PatternError
        naming the role.
    """
    if pattern.vector and role != "weight":
        raise PatternError(f"pattern {pattern}: V:N:M is of weights, expected N:M for the {role}")


def mask_seed(seed: int, layer: str, role: str, phase: str) -> int:
    """Seed of a stochastic pruner for one mask: who draws it so elsewhere gets the same mask.

    Parameters
    ----------
    seed
        Of the run.
    layer, role, phase
        What the mask prunes, and the first phase that it is offered in.
    """
    key = [seed, *(zlib.crc32(text.encode()) for text in (layer, role, phase))]
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
