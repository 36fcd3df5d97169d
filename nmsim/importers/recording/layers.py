"""Layers of a network, read off products that were recorded at several batches and lengths.

A size that is so many for each sample is a layer's, as is one that is the length; what follows
neither is left a product of fixed size.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

from nmsim.errors import SpecError
from nmsim.importers.recording.between import Node
from nmsim.importers.recording.product import Product
from nmsim.importing import Unused
from nmsim.network.blocks import block_of

__all__ = ["Run", "Size", "layers_of", "positions"]

Fields = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """What a step was run at.

    Parameters
    ----------
    batch
        Samples.
    tokens
        Of a sample; None: the step takes no length.
    target
        Tokens of the decoder behind an encoder that reads the others; None: there is none.
    """

    batch: int
    tokens: int | None = None
    target: int | None = None

    @property
    def words(self) -> Mapping[str, int]:
        """Words by which a layer says its rows, and what they stand for."""
        if self.tokens is None:
            return {}
        if self.target is None:
            return {"sequence": self.tokens}
        return {"source": self.tokens, "target": self.target}

    @property
    def fields(self) -> Fields:
        """The sizes as fields of a network or of a product of fixed size."""
        own = {"batch": self.batch, "tokens": self.tokens, "target": self.target}
        return {name: size for name, size in own.items() if size is not None}

    @property
    def of_network(self) -> Fields:
        """The sizes as a network of this step says them."""
        read = {name: size for name, size in self.fields.items() if name != "batch"}
        sequence = read if "target" in read else read.get("tokens")
        return {"batch": self.batch} | ({"sequence": sequence} if sequence else {})

    def __str__(self) -> str:
        """As messages say it."""
        return ", ".join(f"{name} {size}" for name, size in self.fields.items())


@dataclass(frozen=True)
class Run:
    """A step that was recorded.

    Parameters
    ----------
    size
        Of the step.
    products
        What it multiplied.
    nodes
        What it did between, and tables that it looked up.
    """

    size: Size
    products: tuple[Product, ...]
    nodes: tuple[Node, ...] = ()

    @property
    def forward(self) -> list[Product]:
        """What was multiplied forward, the first time."""
        return [p for p in self.products if p.phase == "forward" and not p.again]


class _Rows(NamedTuple):
    """Rows of a layer: a number or the word for the length, of each sample or of the step."""

    said: int | str
    batched: bool = True


def layers_of(runs: Sequence[Run]) -> tuple[list[Fields], tuple[str, ...]]:
    """The fields of a network's layers, and what was not read off, a line each.

    Parameters
    ----------
    runs
        Of one step; the first one's sizes are those of what stays as it is.

    Raises
    ------
    SpecError
        if steps do not multiply the same one after the other.
    """
    every = [run.forward for run in runs]
    for run, found in zip(runs[1:], every[1:], strict=True):
        _check_alike(runs[0], every[0], run, found)
    reader = _Reader(runs)
    layers = [reader.layer(alike) for alike in zip(*every, strict=True)]
    if not layers:
        raise SpecError("record: the step multiplies no matrices, expected products of layers")
    return layers, (*reader.told, *reader.names.told)


def _check_alike(one: Run, first: list[Product], run: Run, other: list[Product]) -> None:
    pairs = zip(first, other, strict=False)
    wrong = next((a for a, b in pairs if (a.kind, a.layer) != (b.kind, b.layer)), None)
    if wrong is None and len(first) == len(other):
        return
    at = f" from {wrong.layer!r} on" if wrong is not None else ""
    raise SpecError(
        f"record: the step multiplies other things at {run.size} than at {one.size}{at}, expected "
        "the same products of other sizes"
    )


def _word(runs: Sequence[Run], sizes: Sequence[int]) -> int | str | None:
    for word in runs[0].size.words:
        if all(run.size.words[word] == size for run, size in zip(runs, sizes, strict=True)):
            return word
    return sizes[0] if len(set(sizes)) == 1 else None


def positions(runs: Sequence[Run], rows: Sequence[int]) -> int | str | None:
    """The word or number of rows per sample of all runs, or of the step if it has them once."""
    pairs = list(zip(runs, rows, strict=True))
    each = [many // run.size.batch for run, many in pairs if many % run.size.batch == 0]
    found = _word(runs, each) if len(each) == len(rows) else None
    return _word(runs, rows) if found is None else found


@dataclass
class _Reader:
    """What is known of layers while they are read in their order."""

    runs: Sequence[Run]
    names: Unused = field(default_factory=Unused)
    weights: dict[tuple[Any, ...], str] = field(default_factory=dict)
    inputs: dict[tuple[Any, ...], str] = field(default_factory=dict)
    fixed: list[str] = field(default_factory=list)
    experts: bool = False

    @property
    def told(self) -> Iterator[str]:
        """What a reader must know, a line each."""
        if self.fixed:
            often = len(self.fixed)
            listed = ", ".join(self.fixed[:4]) + ", ..." * (often > 4)
            many = f"{often} products follow" if often > 1 else "1 product follows"
            yield f"{many} neither batch nor length, of fixed size: {listed}"
        if self.experts:
            yield "rows of experts are assumed to be even"
        unread = sum(p.heads is not None and p.heads.unread for p in self.runs[0].forward)
        if unread:
            many = f"{unread} attentions have" if unread > 1 else "1 attention has"
            yield f"{many} a mask without values, taken to forbid nothing: causal says otherwise"
        again = sum(p.again for p in self.runs[0].products)
        if again:
            yield f"{again} products were computed again on the way back: --recompute does so"
        if frozen := self._frozen:
            many = f"{len(frozen)} layers" if len(frozen) > 1 else "1 layer"
            yield f"{many} did not learn, such as {frozen[0]}: --learn says which do"

    @property
    def _frozen(self) -> list[str]:
        products = self.runs[0].products
        learned = {p.weight for p in products if p.phase == "update"}
        every = dict.fromkeys(p.weight for p in products if p.weight)
        return [name for name in every if name not in learned] if learned else []

    def layer(self, alike: Sequence[Product]) -> Fields:
        """The layer of one product in all runs."""
        found = _KINDS[alike[0].kind](self, alike)
        if found is None:
            return self._fixed(alike[0])
        return {name: value for name, value in found.items() if value is not None}

    def rows(self, sizes: Sequence[int]) -> _Rows | None:
        """What rows of all runs follow; None: nothing that a layer can say."""
        batches = [run.size.batch for run in self.runs]
        if all(rows % batch == 0 for rows, batch in zip(sizes, batches, strict=True)):
            each = [rows // batch for rows, batch in zip(sizes, batches, strict=True)]
            said = self.word(each)
            if said is not None:
                return _Rows(said)
        return _Rows(sizes[0], batched=False) if len(set(sizes)) == 1 else None

    def word(self, sizes: Sequence[int]) -> int | str | None:
        """The word that stands for sizes in all runs, or their number if that is one."""
        return _word(self.runs, sizes)

    def per_sample(self, sizes: Sequence[int]) -> int | None:
        """So many of each sample, in all runs; None if they are not."""
        found = {size / run.size.batch for run, size in zip(self.runs, sizes, strict=True)}
        one = found.pop()
        return None if found or one % 1 else int(one)

    def named(self, product: Product, shape: tuple[Any, ...]) -> Fields:
        """A layer's name, whose weight it has if that was met before, and whose input."""
        name = self.names.of(product.layer)
        owner = self.weights.setdefault((product.weight, *shape), name) if product.weight else name
        return {"name": name, "weight_of": owner if owner != name else None}

    def input_of(self, product: Product, name: str, features: int) -> str | None:
        """The layer before that reads the same input; None: there is none."""
        first = self.inputs.setdefault((product.source, features, block_of(name)), name)
        return first if first != name else None

    def input(self, product: Product) -> str:
        """What made its input: of data whose gradient was made nevertheless, a layer."""
        if product.made_by != "data" or not self._back(product):
            return product.made_by
        return "linear"

    def _back(self, product: Product) -> bool:
        return any(p.phase == "backward" and p.call == product.call for p in self.runs[0].products)

    def _fixed(self, product: Product) -> Fields:
        run = self.runs[0]
        name = self.names.of(product.layer)
        self.fixed.append(name)
        m, n, k, count = _as_matrices(product)
        found: Fields = {"name": name, "type": "gemm", "m": m, "n": n, "k": k}
        found |= {"count": count} if count > 1 else {}
        return found | run.size.fields


def _as_matrices(product: Product) -> tuple[int, int, int, int]:
    """A forward product as one of matrices: of an attention the scores' square, features summed."""
    if product.heads is not None:
        h = product.heads
        return h.queries, h.keys, h.head_dim + h.v_head_dim, h.batch * h.heads
    if product.window is not None:
        w = product.window
        taps, groups = prod(w.kernel), w.groups
        into, out = w.in_channels // groups, w.out_channels // groups
        if w.transposed:
            return w.images * prod(w.in_size), out * taps, into, groups
        return w.images * prod(w.out_size), out, into * taps, groups
    rows = product.m // product.count if product.kind == "experts" else product.m
    return rows, product.n, product.k, product.count


def _linear(reader: _Reader, alike: Sequence[Product]) -> Fields | None:
    first, rows = alike[0], reader.rows([p.m for p in alike])
    if rows is None or len({(p.n, p.k) for p in alike}) > 1:
        return None
    named = reader.named(first, ("linear", first.n, first.k))
    return {
        **named,
        "type": "linear",
        "in_features": first.k,
        "out_features": first.n,
        "tokens": rows.said,
        "batched": None if rows.batched else False,
        "input": reader.input(first),
        "input_of": reader.input_of(first, named["name"], first.k),
    }


def _experts(reader: _Reader, alike: Sequence[Product]) -> Fields | None:
    first = alike[0]
    each = reader.per_sample([p.m for p in alike])
    tokens: int | str | None = each
    sent = 1
    if each is None or (each % first.count == 0 and first.operation == "aten.bmm"):
        found = {
            p.m / (run.size.batch * (run.size.tokens or 1))
            for run, p in zip(reader.runs, alike, strict=True)
        }
        if len(found) != 1 or found == {0}:
            tokens, sent = (each // first.count, first.count) if each else (None, 1)
        else:
            tokens, sent = next(iter(reader.runs[0].size.words), 1), int(found.pop())
    if tokens is None or sent > first.count or len({(p.n, p.k, p.count) for p in alike}) > 1:
        return None
    reader.experts = True
    return {
        **reader.named(first, ("experts", first.n, first.k)),
        "type": "experts",
        "experts": first.count,
        "per_token": sent,
        "in_features": first.k,
        "out_features": first.n,
        "tokens": tokens,
        "input": reader.input(first),
        "note": "rows of experts assumed even",
    }


def _conv(reader: _Reader, alike: Sequence[Product]) -> Fields | None:
    first = alike[0].window
    images = reader.per_sample([p.window.images for p in alike if p.window is not None])
    sizes = {(p.window.in_size, p.window.out_size) for p in alike if p.window is not None}
    if first is None or images is None or len(sizes) > 1:
        return None
    shape = ("conv", first.transposed, first.kernel, first.in_channels, first.out_channels)
    named = reader.named(alike[0], shape)
    pixels = first.in_channels * prod(first.in_size)
    return {
        **named,
        "type": "conv_transposed" if first.transposed else "conv",
        "in_channels": first.in_channels,
        "out_channels": first.out_channels,
        "kernel": list(first.kernel),
        "stride": _unless(first.stride, 1),
        "padding": _unless(first.padding, 0),
        "dilation": _unless(first.dilation, 1),
        "groups": first.groups if first.groups > 1 else None,
        "output_padding": _unless(first.output_padding, 0),
        "input_size": list(first.in_size),
        "images": images if images > 1 else None,
        "input": reader.input(alike[0]),
        "input_of": reader.input_of(alike[0], named["name"], pixels),
    }


def _unless(values: tuple[int, ...], usual: int) -> list[int] | None:
    return None if all(value == usual for value in values) else list(values)


def _attention(reader: _Reader, alike: Sequence[Product]) -> Fields | None:
    every = [p.heads for p in alike if p.heads is not None]
    first, windows = every[0], reader.per_sample([one.batch for one in every])
    same = {(h.heads, h.kv_heads, h.head_dim, h.v_head_dim) for h in every}
    queries, keys = (reader.word([getattr(h, name) for h in every]) for name in ("queries", "keys"))
    if windows is None or len(same) > 1 or queries is None or keys is None:
        return None
    return {
        "name": reader.names.of(alike[0].layer),
        "type": "attention",
        "heads": first.heads,
        "kv_heads": first.kv_heads if first.kv_heads != first.heads else None,
        "head_dim": first.head_dim,
        "v_head_dim": first.v_head_dim if first.v_head_dim != first.head_dim else None,
        "queries": queries,
        "keys": keys if keys != queries else None,
        "windows": windows if windows > 1 else None,
        "causal": True if first.causal and first.queries <= first.keys else None,
    }


def _matmul(reader: _Reader, alike: Sequence[Product]) -> Fields | None:
    first, copies = alike[0], reader.per_sample([p.count for p in alike])
    if copies is None or len({(p.m, p.n, p.k) for p in alike}) > 1:
        return None
    return {
        "name": reader.names.of(first.layer),
        "type": "matmul",
        "m": first.m,
        "n": first.n,
        "k": first.k,
        "heads": copies if copies > 1 else None,
        "input": first.made_by,
    }


_KINDS: Mapping[str, Callable[[_Reader, Sequence[Product]], Fields | None]] = {
    "linear": _linear,
    "experts": _experts,
    "conv": _conv,
    "attention": _attention,
    "matmul": _matmul,
}
