"""What the three GEMMs of a layer multiply when a recipe prunes: values and masks, K last.

Nothing here knows of a training library. Every operand goes through ``nmsim.prune`` with the seed
that ``nmsim trace record`` uses, so a trace recorded from the tensors of a step has the masks that
the step multiplied with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.network.layer import Conv, Linear
from nmsim.pattern import Pattern
from nmsim.pruning import PRUNERS, Pruned, prune
from nmsim.pruning.fixed import information_restoration
from nmsim.recipes.masking import mask_seed
from nmsim.recipes.recipe import Offer, Recipe

__all__ = ["Matrix", "PrunedLayer", "WeightMasks"]

Matrix = NDArray[Any]
WeightMasks = Mapping[str, NDArray[np.bool_]]
"""Masks of a layer's weight by phase, in the orientation of the weight: O x I."""


@dataclass(frozen=True)
class PrunedLayer:
    """One layer under one recipe at one step.

    Parameters
    ----------
    layer
        With a weight.
    recipe, pattern
        What is pruned, and to what unless the recipe says.
    samples
        Of the batch.
    seed
        Of the step: what is drawn depends on it, on the layer and on the role.
    """

    layer: Conv | Linear
    recipe: Recipe
    pattern: Pattern
    samples: int
    seed: int = 0

    def offer(self, role: str, phase: str) -> Offer | None:
        """The recipe's mask of a role in a phase."""
        offers = self.recipe.operands
        return next((o for o in offers if o.role == role and phase in o.phases), None)

    def operand(self, role: str, phase: str, values: Matrix) -> Pruned | None:
        """Prune an operand along the K of the first phase that it is offered in.

        Parameters
        ----------
        values
            The tensor as it is, features last: activation T x I (columns), weight O x I, gradient
            T x O.

        Returns
        -------
        Pruned
            of the tensor's own shape; None if the recipe leaves the operand alone.
        """
        offer = self.offer(role, phase)
        if offer is None:
            return None
        home = values.T if offer.transposed else values
        if PRUNERS[offer.pruner].unit == "sample":
            # Rescaled by sample and map, as SDGP's released code does.
            home = home.reshape(self.samples, -1, home.shape[-1])
        seed = mask_seed(self.seed, self.layer.name, role, offer.phases[0])
        pattern = offer.pattern or self.pattern
        options: dict[str, Any] = dict(offer.options)
        done = prune(home, pattern, offer.pruner, seed=seed, **options)
        found = (part.reshape(-1, home.shape[-1]) for part in done)
        return Pruned(*((part.T if offer.transposed else part) for part in found))

    def weight_masks(self, weight: Matrix) -> WeightMasks:
        """Masks of a weight O x I in the phases whose operand it is.

        A recipe that prunes it in forward alone multiplies with the same values in backward, where
        no hardware is offered the mask (``asp``): the gradient of what was computed.
        """
        masks: dict[str, NDArray[np.bool_]] = {}
        for phase in ("forward", "backward"):
            done = self.operand("weight", phase, weight)
            if done is not None:
                masks[phase] = done.mask
        if "forward" in masks:
            masks.setdefault("backward", masks["forward"])
        return masks

    def backward_gradient(self, gradient: Matrix) -> Pruned | None:
        """The output's gradient T x O as the backward GEMM reads it."""
        return self.operand("gradient", "backward", gradient)

    def update_operands(self, gradient: Matrix, columns: Matrix) -> tuple[Pruned, Pruned]:
        """Gradient T x O and activation T x I as the update GEMM reads them.

        Where a fixed mask drops columns of the activation, the gradient of a dropped column acts on
        the kept one before it (Xu et al., AAAI 2022, Eq. 10).
        """
        offer = self.offer("activation", "update")
        kept = self.operand("activation", "update", columns)
        if offer is not None and not PRUNERS[offer.pruner].metadata:
            gradient = information_restoration(gradient.T, self.layer.columns).T
        drawn = self.operand("gradient", "update", gradient)
        return drawn or _whole(gradient), kept or _whole(columns)

    def at(self, seed: int) -> "PrunedLayer":
        """The same at another step."""
        return replace(self, seed=seed)


def _whole(values: Matrix) -> Pruned:
    return Pruned(values, np.ones(values.shape, np.bool_))
