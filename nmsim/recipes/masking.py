"""Masks of a layer's operands: a recipe's offers, made of the layer's tensors.

A mask is made along K of the first phase that it is offered in and, in a phase whose K runs along
the tensor's other axis, seen transposed. Nothing is drawn or pruned before an engine asks for bits.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import PatternError, RecipeError
from nmsim.gemm import Gemm
from nmsim.mask import Mask, SparseGemm
from nmsim.mask.words import Words, pack, transpose
from nmsim.network.im2col import column_bits, column_values, tap_bits
from nmsim.network.layer import AttentionLayer, Bare, Experts, Layer
from nmsim.network.layers.convolution import Convolution
from nmsim.network.operand import Lowered, Operand
from nmsim.network.tensors import Rectified
from nmsim.pattern import Pattern
from nmsim.pruning import Context, Pruner, mask_words, prune, pruner_of, try_out
from nmsim.recipes.context import check_asked, contexts, ordered, told
from nmsim.recipes.made import MADE
from nmsim.recipes.offered import check_weights, lowered_once
from nmsim.recipes.products import ProductMaker
from nmsim.recipes.recipe import Offer, Recipe
from nmsim.recipes.setting import Setting, check_vectors, mask_seed
from nmsim.windows import Axis, Windows

__all__ = ["Setting", "mask_seed", "sparse_gemms"]

_BLOCK_ELEMENTS = 1 << 20

_UNASKED = Context()


def sparse_gemms(
    layers: Iterable[Layer | Bare],
    setting: Setting,
    *,
    phases: Iterable[str] | None = None,
    names: str = "*",
    counted: bool = True,
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
    counted
        Notes say how many groups of a mask break its pattern, which takes the mask's bits.
    """
    wanted = None if phases is None else set(phases)
    whole, recipe = list(layers), setting.recipe
    recipe.check_names(whole)
    left = recipe.leave_dense.names(whole)
    named = [layer for layer in whole if fnmatchcase(layer.name, names)]
    masked = (layer for layer in named if layer.name not in left or layer.masks)
    check_weights(masked, setting)
    for layer in named:
        own = recipe.on(layer)
        dense = layer.name in left and not layer.masks
        offers = () if dense else own.operands
        makers = [_maker(layer, offer, setting, whole, counted=counted) for offer in offers]
        for one in lowered_once(layer, setting.batch, setting.lowering):
            if wanted is None or one.gemm.phase in wanted:
                work = _masked(one, makers, own)
                work = _in_recipe(work, layer, recipe, left_dense=dense)
                said = [note for note in (_again(work, layer), layer.note) if note]
                note = "; ".join(filter(None, (work.note, *said)))
                yield replace(work, note=note) if said else work


def _in_recipe(
    work: SparseGemm, layer: Layer | Bare, recipe: Recipe, *, left_dense: bool
) -> SparseGemm:
    """With what a recipe says of the GEMM beside its masks: its number format, and a note."""
    gemm, own = work.gemm, layer.runs_in(work.gemm.phase)
    if gemm.of_activations:
        return replace(work, number_format=own) if own else work
    if left_dense:
        offered = any(gemm.phase in offer.phases for offer in recipe.operands)
        return replace(work, note="left dense by the recipe" if offered else "", number_format=own)
    note = recipe.why_dense(layer, gemm.phase) or work.note
    wanted = own or recipe.formats.get(gemm.phase, "")
    if (note, wanted) == (work.note, work.number_format):
        return work  # most are, and a copy takes as long as all before it
    return replace(work, note=note, number_format=wanted)


def _again(work: SparseGemm, layer: Layer | Bare) -> str:
    """How many of a GEMM's launches are the second forward of a step; "" of none."""
    runs = None if isinstance(layer, Bare) else layer.runs
    if runs is None or not runs.again or work.gemm.phase != "forward":
        return ""
    return f"{runs.passes * runs.again} of {work.gemm.repeat} launches on the way back, again"


def _maker(
    layer: Layer | Bare,
    offer: Offer,
    setting: Setting,
    layers: Sequence[Layer | Bare],
    *,
    counted: bool,
) -> "_AnyMaker":
    """One offer on one of the network's layers."""
    if isinstance(layer, AttentionLayer):
        return ProductMaker(layer, offer, setting)
    return _Maker(layer, offer, setting, ordered(layer, offer, setting, layers), counted)


def _masked(lowered: Lowered, makers: list["_AnyMaker"], recipe: Recipe) -> SparseGemm:
    gemm = lowered.gemm
    if not gemm.macs:
        return replace(SparseGemm.dense(gemm), note="no rows, nothing to multiply")
    if not makers:
        return SparseGemm.dense(gemm)
    offered = [
        next((m for m in makers if m.offer is recipe.offer_for(operand.tensor, gemm)), None)
        for operand in (lowered.a, lowered.b)
    ]
    _check_orders(lowered, [maker for maker in offered if maker])
    taps = _whole_groups(lowered, [maker for maker in offered if maker])
    k = max(gemm.k, *(maker.padded(gemm.k) if maker else 0 for maker in offered))
    if k > gemm.k and all(offered):
        raise RecipeError(
            f"layer {gemm.layer!r}, {gemm.phase}: a fixed mask pads every sample, K from {gemm.k} "
            f"to {k}, which no second mask is made for: expected one mask in this phase"
        )
    masks, notes, k = [], [], max(k, taps)
    sides = ((lowered.a, gemm.m, gemm.a_windows), (lowered.b, gemm.n, gemm.b_windows))
    for (operand, rows, windows), maker in zip(sides, offered, strict=True):
        dense = Mask.dense(rows * gemm.count, k)
        mask, note = maker.along(operand, windows, lowered, dense) if maker else (dense, "")
        masks.append(mask)
        notes.append(note)
    if k > gemm.k:
        why = "every tap starts with a group" if taps == k else "every sample with a kept column"
        notes.append(f"K padded from {gemm.k} to {k}: {why}")
    return SparseGemm(gemm, masks[0], masks[1], "; ".join(filter(None, notes)))


def _check_orders(lowered: Lowered, makers: list["_AnyMaker"]) -> None:
    """Refuse masks in another order of K beside a second one, or where K is more than channels."""
    ordered = [m.offer for m in makers if pruner_of(m.offer.pruner, m.pattern).order]
    if not ordered:
        return
    plain = lowered.gemm.kind in ("linear", "gemm") and ordered[0].role == "weight"
    if len(makers) > 1 or not plain:
        raise RecipeError(
            f"layer {lowered.gemm.layer!r}, {lowered.gemm.phase}: a {ordered[0].pruner} mask puts "
            "K in another order, expected the only mask, of the weight of a linear layer"
        )


def _whole_groups(lowered: Lowered, makers: list["_AnyMaker"]) -> int:
    """K with the channels of every tap padded to whole groups, where taps follow one another.

    K as it is where more is padded than the sparsest mask leaves out, as of few channels.
    """
    taps, k = len(lowered.b.taps), lowered.gemm.k
    patterns = [maker.pattern for maker in makers if not maker.offer.withheld]
    if taps < 2 or not patterns:
        return k
    group = math.lcm(*(pattern.group for pattern in patterns))
    padded = taps * (-(-k // (taps * group)) * group)
    return padded if padded * min(pattern.density for pattern in patterns) < k else k


@dataclass(frozen=True, eq=False)
class _Maker:
    """One offer of a recipe on one layer."""

    layer: Layer | Bare
    offer: Offer
    setting: Setting
    ordered: str
    counted: bool

    @property
    def pattern(self) -> Pattern:
        return self.offer.pattern or self.setting.pattern

    @property
    def _pruner(self) -> Pruner:
        return pruner_of(self.offer.pruner, self.pattern)

    def along(
        self, operand: Operand, windows: Windows | None, lowered: Lowered, dense: Mask
    ) -> tuple[Mask, str]:
        """The mask as an operand of ``dense``'s shape sees it, and a note; dense if it cannot."""
        gemm, among = lowered.gemm, lowered.among
        if self.pattern.is_dense:
            return dense, ""
        self._pruner.check(self.pattern, self.offer.options)
        check_asked(self.layer, self.offer, self.setting)
        own = Context(self.layer.name, self.offer.role, self.setting.step)
        try_out(self.offer.pruner, self.pattern, own, self.offer.options)
        check_vectors(self.pattern, self.offer.role)
        if self.offer.withheld:
            why = "" if self._pruner.structured else ", which no N:M hardware can use"
            kept = f"{self.pattern.density:.2%} kept"
            return dense, f"{self.offer.role} runs dense: {self.offer.pruner} mask, {kept}{why}"
        if self._straddles(operand, windows, dense.k):
            return dense, (
                f"{self.offer.role} runs dense: groups of {self.pattern.group} do not divide "
                "its channels, so they do not line up with K"
            )
        if self._routed:
            return dense, f"{self.offer.role} runs dense: no mask is made of rows sent to experts"
        inside = operand.transposed or windows is None or windows.inside
        inside &= dense.k == gemm.k or not operand.taps
        home = Mask.promising(
            self.pattern,
            dense.rows,
            dense.k,
            regular=self._pruner.regular and inside,
            source=lambda: self._of(among, operand, windows, dense),
            fits=self._pruner.structured,
            indexed=self._pruner.metadata,
            tighter=self._tighter,
            known_kept=self._known_kept(operand, windows, dense.rows),
        )
        said = self.ordered or told(self.layer, self.offer, self.setting)
        if operand.transposed == self.offer.transposed:
            return home, _noted("" if home.fits else self._misfit(home, gemm), said)
        overlapping = self._per_pixel and windows is not None
        fits = self._pruner.transposable and not overlapping
        turned = home.but(regular=False, fits=fits, known_kept=None)
        return turned, _noted("" if fits else self._misfit(turned, gemm), said)

    def _known_kept(self, operand: Operand, windows: Windows | None, rows: int) -> int | None:
        """Elements kept where every pixel, or every tap of a weight, keeps as many."""
        if not self._pruner.regular or operand.transposed != self.offer.transposed:
            return None
        if self._per_pixel and windows is not None:
            return windows.inside_reads * self.pattern.stored(self._shape[-1])
        if operand.taps:
            return rows * len(operand.taps) * self.pattern.stored(self._channels(operand))
        return None

    def _of(
        self,
        among: tuple[int, ...] | None,
        operand: Operand,
        windows: Windows | None,
        dense: Mask,
    ) -> Words:
        """The mask's bits as an operand sees them that is of some of the layer's copies."""
        if among is None:
            return self._seen(operand, windows, dense)
        every = self.layer.copies
        whole = dense.but(rows=dense.rows // len(among) * every)
        parts = np.split(self._seen(operand, windows, whole), every)
        return np.concatenate([parts[copy] for copy in among])

    def _seen(self, operand: Operand, windows: Windows | None, dense: Mask) -> Words:
        """The mask's bits as an operand of ``dense``'s shape sees them.

        They are made, turned if they must be, and gathered through windows or tap by tap.
        """
        copies, turned = self.layer.copies, operand.transposed != self.offer.transposed
        rows = dense.rows // copies
        if self._per_pixel:
            columns = self._gathered(self.words, windows, 0 if operand.transposed else dense.k)
            return _turned(columns, copies, rows) if turned else columns
        if turned and windows is not None and not self._of_columns:
            pixels = transpose(self.words, self._samples * self.layer.columns)
            return self._gathered(pixels, windows, dense.k)
        taps = operand.taps
        if not taps or not isinstance(self.layer, Convolution):
            return _turned(self.words, copies, rows) if turned else self.words
        whole, of = self.words, self.layer.taps
        if turned:
            whole = _turned(whole, copies, of * rows)
        return tap_bits(whole, taps, of, copies, self._channels(operand), dense.k // len(taps))

    def _gathered(self, pixels: Words, windows: Windows | None, k: int) -> Words:
        """Bits of an image, pixels x channels of all copies, as windows see them copy by copy.

        ``k`` are those of a row, which may be more than windows read; 0: as many.
        """
        copies = self.layer.copies
        if windows is None and copies == 1:
            return pixels
        if windows is None:
            every, channels = Axis(len(pixels), len(pixels), 1), self._shape[-1] // copies
            windows = Windows(1, (every,), channels)
        return column_bits(pixels, windows, copies, k // windows.taps)

    @property
    def _tighter(self) -> Pattern | None:
        return None if self._pruner.metadata else _lowest(self.pattern, self.offer.pruner)

    def _misfit(self, mask: Mask, gemm: Gemm) -> str:
        """What the row says of a mask that breaks its pattern; refuses it if it is not allowed."""
        offer, share = self.offer, "some"
        if self.counted or not offer.allow_unfit:
            share = f"{mask.broken_groups() / mask.groups:.1%}"
        along = f"was made along K of {offer.phases[0]}"
        made = along if self._pruner.structured else "obeys no pattern"
        found = (
            f"{offer.pruner} mask of the {offer.role} {made}; "
            f"in {gemm.phase}, {share} of its groups break {mask.pattern}"
        )
        if not self.offer.allow_unfit:
            raise RecipeError(
                f"recipe {self.setting.recipe.name!r}, layer {gemm.layer!r}: the {found}: expected "
                "a mask of its own, a transposable pruner, or allow_unfit: true"
            )
        return found

    def padded(self, k: int) -> int:
        """K with zero columns, so that a fixed mask starts alike in every sample."""
        pads = self._by_sample and not self.offer.withheld
        return self._samples * self._sample(self.layer.columns) if pads else k

    @property
    def _samples(self) -> int:
        return self.layer.samples(self.setting.batch)

    @property
    def _by_sample(self) -> bool:
        """The mask looks at no value, and K runs over samples of several columns each."""
        over_samples = self.offer.transposed and self.offer.role != "weight"
        fixed = not self._pruner.metadata and not self._routed
        return over_samples and fixed and self.layer.columns > 1

    @property
    def _routed(self) -> bool:
        """The tensor's rows are sent to experts: which of them meet is not known before."""
        return isinstance(self.layer, Experts) and self.offer.role != "weight"

    @property
    def _shape(self) -> tuple[int, ...]:
        """Shape of the tensor that is pruned, features last."""
        return self.layer.shape(self.offer.role, self.setting.batch)

    @property
    def _per_pixel(self) -> bool:
        """The mask is an image's, and a GEMM sees each pixel in several windows."""
        layer, role = self.layer, self.offer.role
        if not isinstance(layer, Convolution) or role == "weight" or self.offer.transposed:
            return False
        if layer.wide == role:
            return not (layer.pointwise and layer.groups == 1)
        phase = self.offer.phases[0]
        return self.setting.lowering.of(phase) == "implicit" and not layer.pointwise

    @property
    def _of_columns(self) -> bool:
        """The mask is made of an image's columns, which hold a pixel for every window of it."""
        wide = isinstance(self.layer, Convolution) and self.layer.wide == self.offer.role
        return wide and self.offer.transposed

    def _channels(self, operand: Operand) -> int:
        """Channels that one copy of a weight has along an axis of its matrix."""
        layer = self.layer
        if not isinstance(layer, Convolution):
            return 0
        return layer.outputs if operand.transposed else layer.inputs

    def _straddles(self, operand: Operand, windows: Windows | None, k: int) -> bool:
        """Groups of channels would not line up with K, which goes on from pixel to pixel.

        Those of a pixel are pruned together: with several copies, groups would go on to the next.
        """
        group, taps = self.pattern.group, windows.taps if windows is not None else 1
        if self._per_pixel:
            channels = self._shape[-1] // self.layer.copies
            if operand.transposed:
                return (taps > 1 or self.layer.copies > 1) and bool(channels % group)
            return bool(
                (taps > 1 and k // taps % group) or (self.layer.copies > 1 and channels % group)
            )
        if operand.taps:
            taps = len(operand.taps)
        elif operand.transposed or self._of_columns:
            return False
        return taps > 1 and bool(k // taps % group)

    def _sample(self, columns: int) -> int:
        """Columns of a sample, padded to whole periods of an evenly spread mask."""
        period = self.pattern.group // math.gcd(self.pattern.keep, self.pattern.group)
        return -(-columns // period) * period

    @property
    def words(self) -> Words:
        """The packed mask, all copies, as it is made: of pixels, or along K of its first phase."""
        return MADE.of(self, self._made)

    def _made(self) -> Words:
        layer, shape = self.layer, self._shape
        if self._per_pixel:
            return self._pruned(self._blocks(), math.prod(shape[:-1]), shape[-1])
        if self._by_sample:
            return self._fixed(layer)
        rows, k, blocks = self._transposed() if self.offer.transposed else self._natural()
        alike = self._pruner.unit not in ("tile", "vector") and not self._pruner.wants
        if layer.copies == 1 or alike:
            return self._pruned(blocks, rows, k)
        parts = np.split(np.concatenate(list(blocks)), layer.copies)
        return np.concatenate(
            [self._pruned([part], len(part), k, copy) for copy, part in enumerate(parts)]
        )

    def _pruned(self, blocks: Iterable[NDArray[Any]], rows: int, k: int, copy: int = 0) -> Words:
        seed = mask_seed(self.setting.seed, *self._names)
        chosen, of = self.offer.pruner, contexts(self.layer, self.offer, self.setting)
        context = _UNASKED if self._pruner.masks_as else of(copy)
        options = self.offer.options
        try:
            return mask_words(blocks, rows, k, self.pattern, chosen, seed, context, **options)
        except PatternError as error:  # of a mask that was made elsewhere
            where = f"{self.setting.tensors.name}: {self.offer.role} of {self.layer.name}"
            raise PatternError(f"{where}: {error}") from error

    def _fixed(self, layer: Layer | Bare) -> Words:
        """A mask that looks at no value: the same columns of every sample, for every feature."""
        row = np.zeros((1, self._sample(layer.columns)))
        bits = prune(row, self.pattern, self.offer.pruner).mask
        bits[:, layer.columns :] = False
        whole = pack(np.tile(bits, self._samples))
        shape = layer.shape("weight", self.setting.batch)
        features = (
            shape[0] if self.offer.role == "gradient" else layer.copies * math.prod(shape[1:])
        )
        return np.repeat(whole, features, axis=0)

    @property
    def _names(self) -> tuple[str, str, str]:
        return self.layer.owner(self.offer.role), self.offer.role, self.offer.phases[0]

    def _blocks(self) -> Iterator[NDArray[Any]]:
        """The tensor as blocks of a matrix, features last."""
        tensor, source = self.offer.role, self.setting.tensors
        if self._pruner.brought:
            source = source.masks
        if self.offer.relu:
            source = Rectified(source)
        for block in source.blocks(self.layer, tensor, self.setting.batch):
            features = block[0].size if tensor == "weight" else block.shape[-1]
            yield block.reshape(-1, features)

    def _whole(self) -> NDArray[Any]:
        """The tensor as one matrix, features last; held once."""
        blocks = self._blocks()
        first = next(blocks)
        shape = self._shape
        rows = shape[0] if self.offer.role == "weight" else math.prod(shape[:-1])
        whole = np.empty((rows, first.shape[1]), first.dtype)
        start = 0
        for block in chain([first], blocks):
            whole[start : start + len(block)] = block
            start += len(block)
        return whole

    def _natural(self) -> tuple[int, int, Iterator[NDArray[Any]]]:
        """Rows, K and blocks of the tensor's own matrix, copy after copy."""
        shape, copies = self._shape, self.layer.copies
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
        whole = self._whole()
        copies = layer.copies
        if self.offer.role == "weight":
            k, features = whole.shape[0] // copies, whole.shape[1]
            turned = np.swapaxes(whole.reshape(copies, k, features), 1, 2)
            spans = list(_spans(features, k))
            return copies * features, k, (part[span] for part in turned for span in spans)
        if isinstance(layer, Convolution) and layer.wide == self.offer.role:
            return self._columns_of(layer, whole)
        rows, k = whole.shape[1], whole.shape[0]
        return rows, k, (whole[:, span].T for span in _spans(rows, k))

    def _columns_of(
        self, layer: Convolution, image: NDArray[Any]
    ) -> tuple[int, int, Iterator[NDArray[Any]]]:
        w = layer.windows(self.setting.batch)
        k, rows = w.pixels, w.reads * layer.copies
        pixels = image.astype(np.float32, copy=False)

        def blocks() -> Iterator[NDArray[Any]]:
            for span in _spans(rows, k):
                out = np.empty((span.stop - span.start, k), np.float32)
                column_values(pixels, w, layer.copies, span.start, out)
                yield out

        return rows, k, blocks()


_AnyMaker = _Maker | ProductMaker


def _noted(*notes: str) -> str:
    return "; ".join(filter(None, notes))


@lru_cache(maxsize=64)
def _lowest(pattern: Pattern, pruner: str) -> Pattern | None:
    """The pattern in lowest terms, if a mask that looks at no value obeys that one too."""
    common = math.gcd(pattern.keep, pattern.group)
    if common == 1:
        return None
    lowest = Pattern(pattern.keep // common, pattern.group // common)
    found = Mask.of(prune(np.zeros((1, pattern.group)), pattern, pruner).mask, lowest)
    return None if found.broken_groups() else lowest


def _turned(words: Words, copies: int, k: int) -> Words:
    """Bits of each copy with its axes exchanged; ``k`` are those of a row."""
    return np.concatenate([transpose(part, k) for part in np.split(words, copies)])


def _spans(rows: int, k: int) -> Iterator[slice]:
    """Consecutive spans of rows, about a million elements each."""
    step = max(1, _BLOCK_ELEMENTS // k)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
