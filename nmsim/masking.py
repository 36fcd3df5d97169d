"""Masks of a layer's operands: a recipe's offers, made of the layer's tensors.

A mask is made along K of the first phase that it is offered in and, in a phase whose K runs along
the tensor's other axis, seen transposed. Nothing is drawn or pruned before an engine asks for bits.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.im2col import column_bits, column_values, windows
from nmsim.layer import Bare, Conv, Layer, Lowered, Operand
from nmsim.mask import Mask, SparseGemm, Words, transpose
from nmsim.pattern import Pattern
from nmsim.pruning import PRUNERS, mask_words
from nmsim.recipe import Offer, Recipe
from nmsim.tensors import TensorSource

__all__ = ["Setting", "sparse_gemms"]

_BLOCK_ELEMENTS = 1 << 20


@dataclass(frozen=True)
class Setting:
    """What masks depend on beside the network: recipe, pattern, tensors, batch and seed."""

    recipe: Recipe
    pattern: Pattern
    tensors: TensorSource
    batch: int = 1
    seed: int = 0


def sparse_gemms(
    layers: Iterable[Layer | Bare],
    setting: Setting,
    *,
    phases: Iterable[str] | None = None,
    names: str = "*",
) -> Iterator[SparseGemm]:
    """The GEMMs of a training step with the masks that a recipe offers.

    Parameters
    ----------
    layers
        Of a network, or bare GEMMs.
    phases
        Those wanted; None: all.
    names
        A glob over layer names.
    """
    wanted = None if phases is None else set(phases)
    for layer in layers:
        if not fnmatchcase(layer.name, names):
            continue
        makers = [_Maker(layer, offer, setting) for offer in setting.recipe.operands]
        for lowered in layer.lower(setting.batch):
            if wanted is None or lowered.gemm.phase in wanted:
                yield _masked(lowered, makers)


def _masked(lowered: Lowered, makers: list["_Maker"]) -> SparseGemm:
    gemm, notes = lowered.gemm, []
    masks = []
    for operand, rows in ((lowered.a, gemm.m), (lowered.b, gemm.n)):
        mask, note = Mask.dense(rows * gemm.count, gemm.k), ""
        for maker in makers:
            if gemm.kind != "matmul" and maker.offers(operand, gemm.phase):
                mask, note = maker.along(operand, mask)
        masks.append(mask)
        notes.append(note)
    return SparseGemm(gemm, masks[0], masks[1], "; ".join(filter(None, notes)))


@dataclass(frozen=True)
class _Maker:
    """One offer of a recipe on one layer."""

    layer: Layer | Bare
    offer: Offer
    setting: Setting

    def offers(self, operand: Operand, phase: str) -> bool:
        return operand.tensor == self.offer.role and phase in self.offer.phases

    @property
    def pattern(self) -> Pattern:
        return self.offer.pattern or self.setting.pattern

    def along(self, operand: Operand, dense: Mask) -> tuple[Mask, str]:
        """The mask as an operand of ``dense``'s shape sees it, and a note; dense if it cannot."""
        if self.pattern.is_dense:
            return dense, ""
        if self._straddles:
            return dense, (
                f"activation runs dense: groups of {self.pattern.group} do not divide "
                "its channels, so they do not line up with K"
            )
        traits = PRUNERS[self.offer.pruner]
        if operand.transposed == self.offer.transposed:
            regular = traits.regular and (operand.transposed or not self._has_padding)
            return Mask(self.pattern, dense.rows, dense.k, regular, lambda: self.words), ""
        fits = traits.transposable
        note = "" if fits else f"{self.offer.role} mask was made along the other axis: unfit"
        return Mask(self.pattern, dense.rows, dense.k, False, self._turned(dense), fits), note

    @property
    def _straddles(self) -> bool:
        """Groups of an image's channels would not line up with K of its columns."""
        layer = self.layer
        if not isinstance(layer, Conv) or self.offer.role != "activation" or self.offer.transposed:
            return False
        if layer.pointwise and layer.groups == 1:
            return False
        return bool(layer.in_channels // layer.groups % self.pattern.group)

    @property
    def _has_padding(self) -> bool:
        """Columns of an image may hold padding, which is pruned whatever the pattern keeps."""
        layer = self.layer
        if not isinstance(layer, Conv) or self.offer.role != "activation":
            return False
        return layer.steps[1] != (0, 0)

    def _turned(self, dense: Mask) -> Callable[[], Words]:
        copies = self.layer.copies

        def turn() -> Words:
            k = dense.rows // copies
            parts = [transpose(part, k) for part in np.split(self.words, copies)]
            return np.concatenate(parts)

        return turn

    @cached_property
    def words(self) -> Words:
        """The packed mask, all copies, along K of the offer's first phase."""
        key = [self.setting.seed, *(zlib.crc32(t.encode()) for t in self._names)]
        seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
        natural = not self.offer.transposed
        if isinstance(self.layer, Conv) and self.offer.role == "activation" and natural:
            return self._seen_as_columns(self.layer, seed)
        rows, k, blocks = self._transposed() if self.offer.transposed else self._natural()
        return mask_words(blocks, rows, k, self.pattern, self.offer.pruner, seed)

    @property
    def _names(self) -> tuple[str, str, str]:
        return self.layer.name, self.offer.role, self.offer.phases[0]

    def _blocks(self) -> Iterator[NDArray[Any]]:
        """The tensor as blocks of a matrix, features last."""
        tensor = self.offer.role
        for block in self.setting.tensors.blocks(self.layer, tensor, self.setting.batch):
            features = block[0].size if tensor == "weight" else block.shape[-1]
            yield block.reshape(-1, features)

    def _seen_as_columns(self, layer: Conv, seed: int) -> Words:
        """A convolution's activation, pruned per pixel along its channels, as columns."""
        batch = self.setting.batch
        pixels = batch * layer.image[0] * layer.image[1]
        words = mask_words(
            self._blocks(), pixels, layer.in_channels, self.pattern, self.offer.pruner, seed
        )
        if layer.pointwise and layer.groups == 1:
            return words
        return column_bits(words, windows(layer, batch))

    def _natural(self) -> tuple[int, int, Iterator[NDArray[Any]]]:
        """Rows, K and blocks of the tensor's own matrix, copy after copy."""
        shape = self.layer.shape(self.offer.role, self.setting.batch)
        copies = self.layer.copies
        if self.offer.role == "weight":
            return shape[0], int(np.prod(shape[1:])), self._blocks()
        rows, k = int(np.prod(shape[:-1])), shape[-1] // copies
        if copies == 1:
            return rows, k, self._blocks()
        whole = np.concatenate(list(self._blocks())).reshape(rows, copies, k)
        return rows * copies, k, iter([np.moveaxis(whole, 1, 0).reshape(-1, k)])

    def _transposed(self) -> tuple[int, int, Iterator[NDArray[Any]]]:
        """Rows, K and blocks of the transposed matrix: features by samples or outputs."""
        layer = self.layer
        whole = np.concatenate(list(self._blocks()))
        copies = layer.copies
        if self.offer.role == "weight":
            k, features = whole.shape[0] // copies, whole.shape[1]
            turned = np.swapaxes(whole.reshape(copies, k, features), 1, 2)
            return copies * features, k, iter([turned.reshape(-1, k)])
        if isinstance(layer, Conv) and self.offer.role == "activation":
            return self._columns_of(layer, whole)
        rows, k = whole.shape[1], whole.shape[0]
        return rows, k, (whole[:, span].T for span in _spans(rows, k))

    def _columns_of(
        self, layer: Conv, image: NDArray[Any]
    ) -> tuple[int, int, Iterator[NDArray[Any]]]:
        w = windows(layer, self.setting.batch)
        k = w.samples * w.out_height * w.out_width
        rows = w.window_height * w.window_width * w.channels
        pixels = image.astype(np.float32, copy=False)

        def blocks() -> Iterator[NDArray[Any]]:
            for span in _spans(rows, k):
                out = np.empty((span.stop - span.start, k), np.float32)
                column_values(pixels, w, span.start, out)
                yield out

        return rows, k, blocks()


def _spans(rows: int, k: int) -> Iterator[slice]:
    """Consecutive spans of rows, about a million elements each."""
    step = max(1, _BLOCK_ELEMENTS // k)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
