"""What a checkpoint calls the tensor of a layer, and how it stands there.

Names are looked for from the nearest on: as the network has them; with one prefix more
(``bert.encoder...``) or one part less (``h.0...`` of ``transformer.h.0...``); as a part of a packed
projection, or as the parts of one that the network has packed; as the embedding that a head shares.
What could be two tensors is refused, never guessed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count, product
from typing import NamedTuple

from nmsim.errors import ShapeError, SpecError
from nmsim.network.tensors.archive import Held, named_shape
from nmsim.network.tensors.heads import packed_by_head, rows_by_head

__all__ = ["Names", "Part", "Wanted", "renamed"]

_PACKED = ("qkv", "qkv_proj", "in_proj", "c_attn", "Wqkv", "W_pack")
"""Queries, keys and values as one matrix, one below the other."""

_UNSAID = "query_key_value"
"""What files call that, and the same head by head."""

_APART = (
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("q", "k", "v"),
    ("q_lin", "k_lin", "v_lin"),
    ("wq", "wk", "wv"),
    ("to_q", "to_k", "to_v"),
)
_HALVES = (("gate_proj", "up_proj"), "gate_up_proj")
_OF_EXPERTS = {
    "gate_up_proj": (("gate_proj", "up_proj"), ("w1", "w3")),
    "down_proj": (("down_proj",), ("w2",)),
}
"""Weights of all experts as one, and what those of each expert are called one by one."""

_HEADS = ("lm_head", "output", "decoder", "embed_out")
_TABLES = ("embed_tokens", "wte", "word_embeddings", "tok_embeddings", "shared", "embed_in")
"""Last layers, and the embeddings that their weight may be."""

_CONV1D = re.compile(r"(.*\.|)(?:attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj|attn\.q_attn)")
_MASKS = ("mask", "weight_mask", "__weight_mma_mask")
"""Masks beside a weight: of one's own, of torch.nn.utils.prune, of apex."""


class Part(NamedTuple):
    """A tensor of a file, or some of its rows.

    Parameters
    ----------
    key
        Its name in the file.
    rows
        Those that are meant; None: all.
    turned
        Stored inputs first, as the Conv1D of transformers is.
    """

    key: str
    rows: range | None = None
    turned: bool = False

    def overlaps(self, other: "Part") -> bool:
        """Whether another part of the same tensor has some of its rows."""
        if self.rows is None or other.rows is None:
            return True
        return self.rows.start < other.rows.stop and other.rows.start < self.rows.stop


class Wanted(NamedTuple):
    """What is looked for: the name of a layer in one block, its tensor, and its shape in a file."""

    layer: str
    tensor: str
    shape: tuple[int, ...]
    mask: bool = False

    @property
    def usual(self) -> str:
        """The name that a file usually has for it."""
        return f"{self.layer}.{self.tensor}"

    @property
    def ends(self) -> tuple[str, ...]:
        """What names end with behind that of a layer: a mask's, where that is wanted, first."""
        return (*_MASKS, self.tensor) if self.mask and self.tensor == "weight" else (self.tensor,)


def renamed(keys: Iterable[str], rules: Sequence[str]) -> dict[str, str]:
    """Names of tensors as rules have them, each with the name in the file.

    Parameters
    ----------
    rules
        ``GLOB=NAME``: what a ``*`` matches stands for that of the name, in their order. The first
        that matches holds; without one a tensor keeps its name.

    Raises
    ------
    SpecError
        for a rule that is none, that matches nothing, or that gives two tensors one name.

    Examples
    --------
    >>> renamed(["vit.layer.3.fc.weight"], ["vit.layer.*=blocks.*"])
    {'blocks.3.fc.weight': 'vit.layer.3.fc.weight'}
    """
    made, used = [_rule(rule) for rule in rules], set()
    found: dict[str, str] = {}
    for key in keys:
        name = key
        for number, (glob, to) in enumerate(made):
            if match := glob.fullmatch(key):
                parts = iter(match.groups())
                name = re.sub(r"\*", lambda _, parts=parts: next(parts), to)  # type: ignore[misc]
                used.add(number)
                break
        if name in found:
            raise SpecError(f"tensor_names: {found[name]} and {key} are both {name}, expected one")
        found[name] = key
    for number, rule in enumerate(rules):
        if number not in used:
            raise SpecError(f"tensor_names {rule!r}: matches no tensor, or none that is left")
    return found


def _rule(text: str) -> tuple[re.Pattern[str], str]:
    glob, equals, name = text.partition("=")
    if not (equals and glob and name) or not name.count("*") == glob.count("*") <= 4:
        raise SpecError(
            f"tensor_names {text!r}: expected GLOB=NAME with as many * on both sides, four at most"
        )
    return re.compile("(.*)".join(map(re.escape, glob.split("*")))), name


@dataclass(frozen=True)
class Names:
    """The names of a file's tensors.

    Parameters
    ----------
    held
        By the name in the file.
    known
        Names to look for, each with that in the file.
    """

    held: Mapping[str, Held]
    known: Mapping[str, str]

    @cached_property
    def _ends(self) -> dict[str, list[str]]:
        """Names by what they end with, from every part on but the first."""
        found: dict[str, list[str]] = {}
        for name in self.known:
            at = name.find(".")
            while at >= 0:
                found.setdefault(name[at + 1 :], []).append(name)
                at = name.find(".", at + 1)
        return found

    def spelt(self, name: str) -> str | None:
        """The name in the file of what is called so, or so with another prefix; None: it has none.

        Raises
        ------
        SpecError
            if several names end with it.
        """
        if name in self.known:
            return self.known[name]
        longer = self._ends.get(name, [])
        if len(longer) > 1:
            raise SpecError(
                f"{name} may be {longer[0]} or {longer[1]}, expected one, by tensor_names"
            )
        if longer:
            return self.known[longer[0]]
        shorter = name.partition(".")[2]
        fits = "." in shorter and not shorter.partition(".")[0].isdigit()
        return self.known.get(shorter) if fits else None

    def parts(self, wanted: Wanted) -> tuple[Part, ...]:
        """Where a tensor is; its parts follow one another along the first axis; none: nowhere.

        Raises
        ------
        SpecError
            if it may be one or another.
        ShapeError
            if what is packed with it is of another shape.
        """
        return next(filter(None, self._candidates(wanted)), ())

    def _candidates(self, wanted: Wanted) -> Iterator[tuple[Part, ...]]:
        layer, weight = wanted.layer, wanted.tensor == "weight"
        yield from (self._whole(wanted, f"{layer}.{end}") for end in wanted.ends)
        if not weight:
            return
        yield self._whole(wanted, f"{layer}_weight")
        yield self._whole(wanted, layer)
        if len(wanted.shape) != 2:
            return
        yield from self._within(wanted)
        yield from self._gathered(wanted)
        yield from self._of_experts(wanted)
        yield from self._tied(wanted)

    def _whole(self, wanted: Wanted, name: str) -> tuple[Part, ...]:
        key = self.spelt(name)
        if key is None:
            return ()
        two = len(wanted.shape) == 2
        return (Part(key, turned=two and self._inputs_first(key, wanted.shape)),)

    def _inputs_first(self, key: str, expected: tuple[int, ...]) -> bool:
        """Whether a matrix is stored as the Conv1D of GPT-2 stores it; a square one as its block.

        Others give layers these names, too, and store outputs first: shapes tell.
        """
        match = _CONV1D.fullmatch(key.rpartition(".")[0])
        if match is None or len(self.held[key].shape) != 2:
            return False
        if expected[0] != expected[1]:
            return self.held[key].shape == expected[::-1]
        wide = self.held.get(f"{match[1]}attn.c_attn.weight")
        return wide is not None and len(wide.shape) == 2 and wide.shape[0] < wide.shape[1]

    def _within(self, wanted: Wanted) -> Iterator[tuple[Part, ...]]:
        """Rows of a projection that the file has packed, where the network has its parts."""
        parent, _, leaf = wanted.layer.rpartition(".")
        rows = wanted.shape[0]
        for names in _APART:
            if leaf in names:
                yield self._by_head(names.index(leaf), wanted)
                for packed in _PACKED:
                    if key := self._packed(parent, packed, wanted):
                        yield self._third(key, names.index(leaf), wanted)
        halves, packed = _HALVES
        if leaf in halves and (key := self._packed(parent, packed, wanted)):
            if self.held[key].shape != (2 * rows, wanted.shape[1]):
                raise _another_shape(key, self.held[key].shape, (2 * rows, wanted.shape[1]))
            start = rows * halves.index(leaf)
            yield (Part(key, range(start, start + rows)),)

    def _by_head(self, which: int, wanted: Wanted) -> tuple[Part, ...]:
        """Rows of a projection that has its heads one after the other; none: the file has none."""
        parent = wanted.layer.rpartition(".")[0]
        named = [one for end in wanted.ends if (one := self._heads.get((parent, end)))]
        if not named:
            return ()
        name, head = named[0]
        key, rows = self.known[name], wanted.shape[0]
        shape = self.held[key].shape
        found = rows_by_head(shape[0], rows, head, which) if shape[1:] == wanted.shape[1:] else ()
        if not found:
            raise ShapeError(
                f"{key} is {named_shape(shape)}, of which {named_shape(wanted.shape)} are no "
                f"queries, keys or values of heads of {head} rows"
            )
        return tuple(Part(key, one) for one in found)

    @cached_property
    def _heads(self) -> Mapping[tuple[str, str], tuple[str, int]]:
        return packed_by_head(self.known)

    def hint(self, layer: str) -> str:
        """What a rule must say of a file that packs a layer it lacks; "" if it does not."""
        leaf = layer.rpartition(".")[2]
        packed = next((key for key in self.held if f"{_UNSAID}." in key), "")
        if not packed or not any(leaf in names for names in _APART):
            return ""
        return (
            f"{packed} packs it in an order that the file does not say, expected tensor_names: "
            f"GLOB=...qkv[ROWS OF A HEAD].weight, head by head, or GLOB=...qkv.weight"
        )

    def _packed(self, parent: str, leaf: str, wanted: Wanted) -> str | None:
        name = f"{parent}.{leaf}" if parent else leaf
        ends = (*(f".{end}" for end in wanted.ends), "_weight")
        return next(filter(None, (self.spelt(name + end) for end in ends)), None)

    def _third(self, key: str, which: int, wanted: Wanted) -> tuple[Part, ...]:
        """Queries, then keys, then values: of keys and values there are as many."""
        rows, has = wanted.shape[0], self.held[key].shape
        turned = len(has) == 2 and has[0] == wanted.shape[1] != has[1]
        stored = has[::-1] if turned else has
        whole = stored[0] if stored else 0
        fits = whole >= 3 * rows if which else rows < whole <= 3 * rows and (whole - rows) % 2 == 0
        if not fits or stored[1:] != wanted.shape[1:]:
            raise _another_shape(key, has, (3 * rows, *wanted.shape[1:]))
        start = (0, whole - 2 * rows, whole - rows)[which]
        return (Part(key, range(start, start + rows), turned),)

    def _gathered(self, wanted: Wanted) -> Iterator[tuple[Part, ...]]:
        """The parts of a projection that the network has packed, where the file has them apart."""
        parent, _, leaf = wanted.layer.rpartition(".")
        groups = _APART if leaf in _PACKED else (_HALVES[0],) if leaf == _HALVES[1] else ()
        for names, end in product(groups, wanted.ends):
            keys = [self.spelt(f"{parent}.{name}.{end}".lstrip(".")) for name in names]
            there = [key for key in keys if key is not None]
            if len(there) == len(names):
                yield tuple(map(Part, there))

    def _of_experts(self, wanted: Wanted) -> Iterator[tuple[Part, ...]]:
        """The experts' weights one by one, where the network has all of them as one."""
        parent, _, leaf = wanted.layer.rpartition(".")
        groups = _OF_EXPERTS.get(leaf, ()) if parent.endswith("experts") else ()
        for names, end in product(groups, wanted.ends):
            found: list[Part] = []
            for expert in count():
                keys = [self.spelt(f"{parent}.{expert}.{name}.{end}") for name in names]
                there = [Part(key) for key in keys if key is not None]
                if len(there) < len(names):
                    break
                found += there
            yield tuple(found)

    def _tied(self, wanted: Wanted) -> Iterator[tuple[Part, ...]]:
        """The embedding that a head shares, or the head whose weight an embedding is."""
        leaf = wanted.layer.rpartition(".")[2]
        others = _TABLES if leaf in _HEADS else _HEADS[:1] if leaf in _TABLES else ()
        for other in others:
            key = self.spelt(f"{other}.weight")
            if key is not None and self.held[key].shape == wanted.shape:
                yield (Part(key),)


def _another_shape(key: str, has: tuple[int, ...], expected: tuple[int, ...]) -> ShapeError:
    return ShapeError(f"{key} is {named_shape(has)}, expected {named_shape(expected)}")
