"""What a tensor is to a step: a parameter or a copy of one, or an activation and what made it.

Tensors are known by their storage, so that views are what they are views of. A storage that was
freed leaves its address to the next one, which is another tensor: each is held weakly as long as
the recording lasts, whereby its address is not used again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = ["Mark", "Marks", "repeated"]


@dataclass(frozen=True)
class Mark:
    """What is known of the tensors of one storage.

    Parameters
    ----------
    names
        Parameters that it holds, or is made of alone: from which element, to which, its names.
    source
        Number of what it holds: the same for copies.
    made_by
        What made it, as a network's layer says it in ``input``.
    scores
        The product of which it is the result, also behind what is done to each element.
    weighed
        A softmax came behind that product.
    repeated
        How often each of its heads follows itself.
    mask
        Laid on it: ``causal``, or ``unread``, whose values are not known. Empty: none that matters.
    node
        That made it, among what is between products (``between``); -1: none did.
    """

    names: tuple[tuple[int, int, tuple[str, ...]], ...] = ()
    source: int = 0
    made_by: str = "data"
    scores: int = -1
    weighed: bool = False
    repeated: int = 1
    mask: str = ""
    node: int = -1

    @property
    def parameter(self) -> bool:
        """Whether it is a parameter, or made of parameters alone."""
        return bool(self.names)


COPIES = frozenset(
    (
        *("_to_copy", "clone", "contiguous", "t_copy", "permute_copy", "transpose_copy", "copy"),
        *("_unsafe_view", "view_copy", "expand_copy", "_reshape_copy", "_reshape_alias", "lift"),
        *("lift_fresh", "detach_copy", "alias_copy", "to", "_conj_physical"),
    )
)
"""Operations whose result holds what they are given."""

_MAKES = {
    "relu": "relu",
    "hardtanh": "relu",
    "threshold": "relu",
    "gelu": "gelu",
    "silu": "swiglu",
    "_softmax": "softmax",
    "_safe_softmax": "softmax",
    "native_layer_norm": "norm",
    "native_group_norm": "norm",
    "native_batch_norm": "norm",
    "_native_batch_norm_legit": "norm",
    "_native_batch_norm_legit_no_training": "norm",
    "_batch_norm_with_update": "norm",
    "_batch_norm_no_update": "norm",
    "cudnn_batch_norm": "norm",
    "_fused_rms_norm": "norm",
    "rsqrt": "scale of a norm",
    "embedding": "embedding",
}

_KEEPS = frozenset(
    (
        *("cat", "stack", "native_dropout", "max_pool2d_with_indices", "constant_pad_nd"),
        *("slice", "index", "index_select", "gather", "bernoulli", "roll", "div"),
        *("avg_pool2d", "_adaptive_avg_pool2d", "mean", "masked_fill", "where", "upsample"),
    )
)
"""Operations behind which values are distributed as before."""

_ELEMENTWISE = frozenset(
    (
        *("mul", "div", "add", "sub", "masked_fill", "where", "native_dropout", "bernoulli"),
        *("_softmax", "_safe_softmax", "softmax", "nan_to_num", "maximum", "clamp", "tanh"),
    )
)
"""Operations that an attention's scores go through on the way to their product with values."""

_MASKS = ("", "unread", "causal")
"""What is known of masks, what counts most last."""


@dataclass
class Marks:
    """The marks of all storages that a step has met.

    Parameters
    ----------
    hold
        Holds a storage weakly, so that its address stays its own.
    """

    hold: Callable[[Any], Any]
    _marks: dict[int, Mark] = field(default_factory=dict)
    _held: dict[int, Any] = field(default_factory=dict)
    _sources: int = 0

    def name(self, tensor: Any, names: tuple[str, ...]) -> None:
        """Say that a tensor is a parameter of these names."""
        start = tensor.storage_offset()
        known = self._get(tensor) or Mark(source=self._fresh())
        mine = (start, start + tensor.numel(), names)
        self._put(tensor, replace(known, names=(*known.names, mine)))

    def given(self, tensor: Any, made_by: str = "data") -> None:
        """Say that a tensor is an activation, unless something is known of it."""
        if self._get(tensor) is None:
            self._put(tensor, Mark(source=self._fresh(), made_by=made_by))

    def met(self, tensor: Any) -> Mark | None:
        """What is known of a tensor; None: nothing."""
        return self._get(tensor)

    def put(self, tensor: Any, mark: Mark) -> None:
        """Say what is known of a tensor."""
        self._put(tensor, mark)

    def shared(self, one: Any, other: Any) -> bool:
        """Whether two tensors share their storage."""
        return self._key(one) == self._key(other)

    def mask(self, tensor: Any, says: str) -> None:
        """Say that a mask is laid on a tensor; one that is known counts before others."""
        mark = self._get(tensor)
        if mark is not None and mark.mask != "causal":
            self._put(tensor, replace(mark, mask=says))

    def of(self, tensor: Any) -> Mark:
        """What is known of a tensor; of one that was never met, that it is data."""
        found = self._get(tensor)
        if found is None:
            self.given(tensor)
            found = self._get(tensor) or Mark()
        return found

    def names_of(self, tensor: Any) -> tuple[str, ...]:
        """The names of the parameter that a tensor is, or is a part of; none: it is none."""
        mark = self._get(tensor)
        if mark is None or not mark.names:
            return ()
        start = tensor.storage_offset()
        found = (names for first, end, names in mark.names if first <= start < end)
        return next(found, mark.names[0][2])

    def made(self, name: str, inputs: Sequence[Any], outputs: Iterable[Any]) -> None:
        """Hand on what is known of an operation's inputs to what it made."""
        keys = {self._key(one) for one in inputs}
        known = [(one, self._get(one)) for one in inputs]
        for output in outputs:
            if self._key(output) in keys:
                self._changed(name, output)
            elif (mark := self._new(name, known, output)) is not None:
                self._put(output, mark)

    def multiplied(self, output: Any, call: int) -> None:
        """Say that a tensor is the result of a product."""
        self._put(output, Mark(source=self._fresh(), made_by="linear", scores=call))

    def _changed(self, name: str, tensor: Any) -> None:
        """What was done in place, such as a ReLU."""
        mark, made = self._get(tensor), _MAKES.get(name.rstrip("_"))
        if mark is not None and made and name.endswith("_") and not mark.parameter:
            self._put(tensor, replace(mark, made_by=made))

    def _new(self, name: str, known: list[tuple[Any, Mark | None]], output: Any) -> Mark | None:
        if not known:
            return None
        first = known[0][1]
        if name in COPIES:
            mark = self.of(known[0][0]) if first is None else first
            return self._copied(mark, known[0][0], output)
        weights = [(one, mark) for one, mark in known if mark is not None and mark.parameter]
        others = [mark for _, mark in known if mark is not None and not mark.parameter]
        if weights and not others and name != "embedding":
            return self._of_parameters(weights, output)
        if not others and not weights:
            return None
        return Mark(
            source=self._fresh(),
            made_by=_made_by(name, [mark.made_by for mark in others]),
            **_scores(name, others),
        )

    def _copied(self, mark: Mark, original: Any, output: Any) -> Mark:
        names = self.names_of(original)
        whole = ((0, max(1, output.numel()), names),) if names else ()
        return replace(mark, names=whole, repeated=mark.repeated * repeated(original))

    def _of_parameters(self, weights: list[tuple[Any, Mark]], output: Any) -> Mark | None:
        """A masked, scaled or quantised weight is the weight still."""
        for one, _ in weights:
            if one.numel() == output.numel():
                whole = (0, max(1, output.numel()), self.names_of(one))
                return Mark(names=(whole,), source=self._fresh())
        return None

    def _fresh(self) -> int:
        self._sources += 1
        return self._sources

    def _key(self, tensor: Any) -> int:
        return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 (PyTorch has no public name)

    def _get(self, tensor: Any) -> Mark | None:
        return self._marks.get(self._key(tensor))

    def _put(self, tensor: Any, mark: Mark) -> None:
        key = self._key(tensor)
        if key not in self._held:
            self._held[key] = self.hold(tensor.untyped_storage())
        self._marks[key] = mark


def repeated(tensor: Any) -> int:
    """How often each element of a tensor is seen because axes were expanded."""
    often = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        often *= size if stride == 0 and size > 1 else 1
    return often


def _made_by(name: str, before: list[str]) -> str:
    plain = name.rstrip("_")
    if plain in _MAKES:
        return _MAKES[plain]
    if plain == "mul":
        return _multiplied_by(before)
    kept = plain in _KEEPS or plain.startswith(("upsample", "_adaptive", "max_pool", "avg_pool"))
    if (kept or plain == "bmm") and before:
        return before[0]
    return "linear" if before and before[0] != "data" else "data"


def _multiplied_by(before: list[str]) -> str:
    """A gate's branch or a norm's scale says what a product of elements is."""
    if "scale of a norm" in before:
        return "norm"
    if "swiglu" in before and len(before) > 1:
        return "swiglu"
    return before[0] if before else "linear"


def _scores(name: str, before: list[Mark]) -> dict[str, Any]:
    plain = name.rstrip("_")
    if plain not in _ELEMENTWISE:
        return {}
    mask = max((mark.mask for mark in before), key=_MASKS.index)
    found = next((mark for mark in before if mark.scores >= 0), None)
    if found is None:
        return {"mask": mask}
    weighed = found.weighed or "softmax" in plain
    return {"scores": found.scores, "weighed": weighed, "mask": mask}
