"""Values of tensors that have none: on ``meta``, those that follow from sizes alone.

Positions, masks and lengths are made of ranges and constants. They are followed beside the step, on
the CPU, so that a model may ask for them and a causal mask is known by what it forbids; nothing
that was made of an input or a parameter is.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary

__all__ = ["Known"]

_MOST = 1 << 27
"""Bytes of the largest tensor that is followed: a mask of 8192 by 8192 has 2^26."""

_FILLED = {"zeros_like": 0, "new_zeros": 0, "ones_like": 1, "new_ones": 1}
"""Operations that read of a tensor its shape alone, and what they fill theirs with."""

_ASKS = ("_local_scalar_dense", "equal", "is_nonzero")
"""Operations that answer with a number."""


class Known:
    """What is known of the values of a step's tensors on ``meta``."""

    def __init__(self) -> None:
        self._values: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._says: dict[int, tuple[Any, dict[Any, bool]]] = {}
        self._lost: dict[int, Any] = {}  # held, so that its address stays its own

    def of(self, tensor: Any) -> Any:
        """A tensor's values, its own if it has any; None: they are not known."""
        if not tensor.is_meta:
            return tensor if tensor.layout == torch.strided else None
        found = self._values.get(tensor)
        return None if found is None or _storage(found) in self._lost else found

    def says(self, mask: Any) -> str:
        """Of a mask [.., queries, keys] ``causal``, or ``unread`` if its values are not known."""
        if mask.dim() < 2 or mask.shape[-2] < 2:
            return ""
        values = self.of(mask)
        if values is None:
            return "unread"
        whole = values.untyped_storage()
        written = 0 if values.is_inference() else values._version  # noqa: SLF001 (no public name)
        part = (values.storage_offset(), values.shape, values.stride(), written)
        known = self._says.setdefault(_storage(values), (whole, {}))[1]
        if part not in known:
            known[part] = _is_causal(values)
        return "causal" if known[part] else ""

    def answer(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What an operation that asks for values says; None: they are not known."""
        given = tree_map(self._given, (args, kwargs))
        if any(one is None for one in _tensors_or_none(given, (args, kwargs))):
            return None
        found = func(*given[0], **given[1])
        return found.to("meta") if isinstance(found, torch.Tensor) else found

    def follow(self, func: Any, name: str, args: Any, kwargs: Any, result: Any) -> None:
        """Do with the values that are known what an operation did without."""
        made = [one for one in tree_leaves(result) if isinstance(one, torch.Tensor)]
        if not made or not all(one.is_meta and _bytes(one) <= _MOST for one in made):
            return
        values = self._made(func, name, args, kwargs, made[0])
        if values is None:
            self._lose(args, made)
            return
        found = [one for one in tree_leaves(values) if isinstance(one, torch.Tensor)]
        for one, own in zip(made, found, strict=False):
            self._values[one] = own

    def _made(self, func: Any, name: str, args: Any, kwargs: Any, made: Any) -> Any:
        fill = _FILLED.get(name, args[-1] if name in ("full_like", "new_full") else None)
        if fill is not None:
            return torch.full(made.shape, fill, dtype=made.dtype, device="cpu")
        random = torch.Tag.nondeterministic_seeded in func.tags
        if random or "empty" in name or name in _ASKS:
            return None
        given = tree_map(self._given, (args, kwargs))
        if any(one is None for one in _tensors_or_none(given, (args, kwargs))):
            return None
        options = dict(given[1])
        if options.get("device") is not None or not _has_tensors(args):
            options["device"] = torch.device("cpu")
        return _tried(func, given[0], options)

    def _given(self, one: Any) -> Any:
        return self.of(one) if isinstance(one, torch.Tensor) else one

    def _lose(self, args: Any, made: Iterable[Any]) -> None:
        """Forget a tensor, and all that share its storage, into which something unknown went."""
        written = {id(one) for one in tree_leaves(args) if isinstance(one, torch.Tensor)}
        for one in made:
            if id(one) in written and (found := self._values.get(one)) is not None:
                self._lost[_storage(found)] = found


def _tried(func: Any, args: Any, options: Any) -> Any:
    """What an operation makes on the CPU; None: it is not for it."""
    try:
        return func(*args, **options)
    except (RuntimeError, TypeError, ValueError, NotImplementedError, IndexError):
        return None


def _has_tensors(args: Any) -> bool:
    return any(isinstance(one, torch.Tensor) for one in tree_leaves(args))


def _tensors_or_none(given: Any, asked: Any) -> Iterable[Any]:
    """What stands where tensors were asked for."""
    pairs = zip(tree_leaves(given, is_leaf=_is_none), tree_leaves(asked), strict=False)
    return [one for one, tensor in pairs if isinstance(tensor, torch.Tensor)]


def _is_none(one: Any) -> bool:
    return one is None


def _bytes(tensor: Any) -> int:
    return int(tensor.untyped_storage().nbytes())


def _storage(tensor: Any) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 (PyTorch has no public name)


def _is_causal(mask: Any) -> bool:
    """Whether a mask [.., queries, keys] forbids every later key, and no query its own.

    It may say what is allowed or what is forbidden (booleans), or what is added to scores. The last
    query's own key is the last one.
    """
    mask = mask[tuple(0 if stride == 0 else slice(None) for stride in mask.stride()[:-2])]
    if _bytes(mask) > _MOST:
        return False
    queries, keys = mask.shape[-2:]
    marked = mask != 0
    if mask.is_floating_point() and not ((mask == 0) | (mask == 1)).all():  # added to scores
        marked = mask > torch.finfo(mask.dtype).min / 2
    first = keys - queries + 1
    later, own = marked.triu(first).sum(), marked.diagonal(first - 1, -2, -1)
    most = mask[..., 0, 0].numel() * (queries * (queries - 1) // 2)
    return bool(later == 0 and own.all()) or bool(later == most and not own.any())
