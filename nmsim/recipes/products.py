"""Masks of what the products of an attention multiply: queries, keys, values, probabilities.

A mask is made along K of the product that reads the tensor in the first phase that it is offered
in: of forward, along features of queries and keys, along keys of probabilities and values. In the
other phase K runs along the other axis: a mask that does not obey its pattern there is not offered,
and the row says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import RecipeError
from nmsim.mask import Mask
from nmsim.mask.words import Words, transpose
from nmsim.network.layers.attention import AttentionLayer
from nmsim.network.operand import Lowered, Operand
from nmsim.pattern import Pattern
from nmsim.pruning import Context, Pruner, mask_words, pruner_of, try_out
from nmsim.recipes.context import check_asked
from nmsim.recipes.made import MADE
from nmsim.recipes.recipe import Offer
from nmsim.recipes.setting import Setting, check_vectors, mask_seed
from nmsim.windows import Windows

__all__ = ["ProductMaker"]


@dataclass(frozen=True, eq=False)
class ProductMaker:
    """One offer of a recipe on one attention layer."""

    layer: AttentionLayer
    offer: Offer
    setting: Setting

    @property
    def pattern(self) -> Pattern:
        """Pattern of the mask: the offer's own, or the run's."""
        return self.offer.pattern or self.setting.pattern

    @property
    def _pruner(self) -> Pruner:
        return pruner_of(self.offer.pruner, self.pattern)

    def padded(self, k: int) -> int:
        """K with zero columns that a mask asks for: none."""
        return k

    def along(
        self, operand: Operand, _windows: Windows | None, lowered: Lowered, dense: Mask
    ) -> tuple[Mask, str]:
        """The mask as an operand of ``dense``'s shape sees it, and a note; dense if it cannot."""
        offer, pruner = self.offer, self._pruner
        if self.pattern.is_dense:
            return dense, ""
        pruner.check(self.pattern, offer.options)
        check_asked(self.layer, offer, self.setting)
        try_out(offer.pruner, self.pattern, self._context, offer.options)
        check_vectors(self.pattern, offer.role)
        runs_dense = f"operand {offer.role} runs dense"
        if offer.withheld:
            return dense, f"{runs_dense}: {offer.pruner} mask, {self.pattern.density:.2%} kept"
        turned = operand.transposed != offer.transposed
        fits = pruner.structured and (pruner.transposable or not turned)
        if not (fits or offer.allow_unfit):
            if not pruner.structured:
                raise RecipeError(
                    f"recipe {self.setting.recipe.name!r}, layer {lowered.gemm.layer!r}: the "
                    f"{offer.pruner} mask of the {offer.role} obeys no pattern: expected another "
                    "pruner, or allow_unfit: true"
                )
            made = f"made along K of {offer.phases[0]}"
            return dense, f"{runs_dense}: its {offer.pruner} mask is {made}, not along both axes"
        return Mask.promising(
            self.pattern,
            dense.rows,
            dense.k,
            regular=pruner.regular and not turned,
            source=lambda: self._turned if turned else self.words,
            fits=fits,
            indexed=pruner.metadata,
        ), ""

    @property
    def words(self) -> Words:
        """The packed mask of all copies, one below the other, along K of its first phase."""
        return MADE.of(self, self._made)

    def _made(self) -> Words:
        matrices = self._matrices()
        rows, k = self._sizes
        if self._pruner.unit == "tile":  # tiles end with their copy
            return np.concatenate(
                [self._pruned(iter([one]), rows, k) for m in matrices for one in m]
            )
        return self._pruned((m.reshape(-1, k) for m in matrices), self._copies * rows, k)

    @property
    def _turned(self) -> Words:
        """The mask with the axes of every copy exchanged."""
        _, k = self._sizes
        return np.concatenate([transpose(one, k) for one in np.split(self.words, self._copies)])

    @property
    def _copies(self) -> int:
        return self.layer.samples(self.setting.batch) * self.layer.groups

    @property
    def _sizes(self) -> tuple[int, int]:
        """Rows and K of one copy."""
        layer, role = self.layer, self.offer.role
        (_, *one) = layer.shape(role, self.setting.batch)
        sizes = layer.by_group(role, np.broadcast_to(np.int8(0), (1, *one))).shape
        rows, features = sizes[1:]
        return (features, rows) if self.offer.transposed else (rows, features)

    def _matrices(self) -> Iterator[NDArray[Any]]:
        """Blocks of copies x rows x K."""
        role, batch = self.offer.role, self.setting.batch
        for block in self.setting.tensors.blocks(self.layer, role, batch):
            one = self.layer.by_group(role, block)
            yield np.swapaxes(one, 1, 2) if self.offer.transposed else one

    def _pruned(self, blocks: Iterator[NDArray[Any]], rows: int, k: int) -> Words:
        offer = self.offer
        name = self.layer.owner(offer.role)
        seed = mask_seed(self.setting.seed, name, offer.role, offer.phases[0])
        known, options = self._context, offer.options
        return mask_words(blocks, rows, k, self.pattern, offer.pruner, seed, known, **options)

    @property
    def _context(self) -> Context:
        return Context(self.layer.name, self.offer.role, self.setting.step)
