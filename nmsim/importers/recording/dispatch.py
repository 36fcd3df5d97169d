"""The one module that sees PyTorch run: modes that are told of every operation of a step.

A dispatch mode sees operations of ``aten`` below autograd, forward and on the way back; a function
mode sees `scaled_dot_product_attention` before it becomes one of its many forms. Paths of modules
come from calls of modules themselves, whose ends are seen however they end.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nmsim.errors import SpecError
from nmsim.importers.recording.between import Between
from nmsim.importers.recording.identity import Marks
from nmsim.importers.recording.known import Known
from nmsim.importers.recording.layers import Run, Size
from nmsim.importers.recording.operations import (
    ATTENTION_BACKWARD,
    Multiplied,
    heads_of,
    multiplied,
    refuse_unknown,
)
from nmsim.importers.recording.product import Product
from nmsim.importers.recording.tape import Call, Tape

__all__ = ["VERSION", "Seen", "array", "ids", "on_meta", "run_of", "watched"]

VERSION: str = torch.__version__
"""Of PyTorch."""

Seen = Callable[[Product, Multiplied, bool], None]
"""Told of every product with its operands, while they are there, and whether the first of these is
the activation or the gradient."""

_MASK = ("add", "masked_fill", "where")
"""Operations by which a mask is laid on scores."""

_NO_NODE = 1 << 62
"""Numbers from here on are of nodes that add gradients up, behind all others."""


@dataclass
class _Watch:
    """What is known between operations.

    Parameters
    ----------
    tape
        What was multiplied.
    paths
        Of modules.
    seen
        Told of every product.
    entered
        Modules that run: path, and the node on the way back within which each was called.
    hidden
        Attentions that run, whose own operations are theirs.
    attentions
        Of each node within one the call that it is of.
    running
        The attention on the way back whose nodes run now.
    known
        Values of tensors on meta.
    """

    tape: Tape
    paths: dict[int, str]
    seen: Seen
    entered: list[tuple[str, int]] = field(default_factory=list)
    hidden: int = 0
    attentions: dict[int, Call] = field(default_factory=dict)
    running: Call | None = None
    known: Known = field(default_factory=Known)

    @property
    def module(self) -> str:
        return self.entered[-1][0] if self.entered else ""

    def says(self, mask: Any) -> str:
        """Of a mask ``causal``, or ``unread``: by its values; of a bias, by what was added."""
        mark = self.tape.marks.met(mask)
        if mark is not None and (mark.mask or mark.made_by != "data"):
            return mark.mask
        return self.known.says(mask)

    def masked(self, inputs: Sequence[Any], output: Any) -> None:
        """Note which mask is laid on a tensor: a constant, or given as data."""
        for one in inputs:
            mark = self.tape.marks.met(one)
            plain = mark is None or (mark.made_by == "data" and not mark.parameter)
            if plain and one.shape[-2:] == output.shape[-2:] and (says := self.known.says(one)):
                self.tape.marks.mask(output, says)

    def forward(self, node: int) -> bool:
        """Whether operations are forward: before the way back, or computed again within it."""
        if node < 0:
            return True
        if self.entered:
            return self.entered[-1][1] == node
        return torch.is_grad_enabled() and not self.tape.of_node(node)


def _node() -> int:
    """The number of the node that runs on the way back; -1: none does."""
    node = torch._C._current_autograd_node()  # noqa: SLF001
    return -1 if node is None else int(node._sequence_nr())  # noqa: SLF001


def _made() -> int:
    """The number of the node that autograd made last."""
    return int(torch._C._autograd._get_sequence_nr()) - 1  # noqa: SLF001


class _Operations(TorchDispatchMode):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        space, _, name = func._schema.name.partition("::")  # noqa: SLF001
        _refuse_parts(f"{space}.{name}", (args, kwargs))
        given = _by_name(func, args, kwargs)
        found = multiplied(name, given) if space == "aten" else []
        if not found and space == "aten":
            with self:  # what inference leaves whole falls into what it is made of
                whole = func.decompose(*args, **kwargs)
            if whole is not NotImplemented:
                return whole
        inputs = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        self._check(func, space, name, inputs, known=bool(found))
        node, made = _node(), _made()
        result = _run(func, args, kwargs, self.watch)
        if self.watch.forward(node) and not self.watch.hidden:
            self.watch.known.follow(func, name, args, kwargs, result)
        _refuse_parts(f"{space}.{name}", result)
        outputs = [one for one in tree_leaves(result) if isinstance(one, torch.Tensor)]
        self._note(name, found, inputs, outputs, (node, made))
        return result

    def _check(self, func: Any, space: str, name: str, inputs: list[Any], *, known: bool) -> None:
        plain = torch.Tag.pointwise in func.tags or func.is_view
        if not known and not plain and not self.watch.hidden and name not in ATTENTION_BACKWARD:
            where = f" in module {self.watch.module!r}" if self.watch.module else ""
            refuse_unknown(space, name, inputs, where)

    def _note(
        self,
        name: str,
        found: list[Multiplied],
        inputs: list[Any],
        outputs: list[Any],
        nodes: tuple[int, int],
    ) -> None:
        watch, (node, made) = self.watch, nodes
        tape, marks = watch.tape, watch.tape.marks
        if watch.hidden or watch.forward(node):
            marks.made(name, inputs, outputs)
            if node < 0 and not watch.hidden and not found:
                tape.between.ran(name, inputs, outputs)
            if name.rstrip("_") in _MASK and outputs and not watch.hidden:
                watch.masked(inputs, outputs[0])
            if "softmax" in name and not name.endswith("backward_data"):
                self._softmax(outputs)
            if not watch.hidden:
                for one in found:
                    self._forward(one, name, outputs, made, again=node >= 0)
            return
        self._backward(name, found, node)
        if name in ("_to_copy", "clone"):
            marks.made(name, inputs, outputs)

    def _softmax(self, outputs: list[Any]) -> None:
        mark = self.watch.tape.marks.of(outputs[0])
        if mark.scores >= 0:
            self.watch.tape.softmax(mark.scores, tuple(outputs[0].shape), mark.mask)

    def _forward(
        self, one: Multiplied, name: str, outputs: list[Any], made: int, *, again: bool
    ) -> None:
        tape = self.watch.tape
        ran = Product("matmul", "forward", 0, f"aten.{name}", self.watch.module, again=again)
        often = tape.marks.of(one.b).repeated
        call = tape.forward(one, ran, made)
        tape.keys_repeat(call.product.call, often)
        if outputs:
            tape.marks.multiplied(outputs[0], call.product.call)
            if not again:
                tape.between.product(call.product.call, (one.a, one.b), outputs[0])
                if one.bias:
                    tape.between.biased(outputs[0], one.bias)
        if one.kind == "attention":
            self.watch.attentions[made] = call
        self.watch.seen(call.product, one, not call.swapped)

    def _backward(self, name: str, found: list[Multiplied], node: int) -> None:
        watch = self.watch
        ran = Product("matmul", "backward", 0, f"aten.{name}")
        call = watch.attentions.get(node)
        if call is not None:
            if call is not watch.running and (found or name in ATTENTION_BACKWARD):
                watch.tape.attended(call, ran)
                watch.running = call
            return
        if node < _NO_NODE:
            watch.running = None
        for one in found:
            product = watch.tape.backward(one, ran, node)
            watch.seen(product, one, watch.tape.gradient_first(one, product))


class _Functions(TorchFunctionMode):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            return self._attention(func, args, kwargs)
        return func(*args, **kwargs)

    def _attention(self, func: Any, args: Any, kwargs: Any) -> Any:
        watch, names = self.watch, ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        query, key, value = (given[name] for name in names[:3])
        mask = given.get("attn_mask")
        says = "" if mask is None else watch.says(mask)
        sizes = heads_of(query, key, value, bool(given.get("is_causal")) or says == "causal")
        sizes = replace(sizes, unread=says == "unread")
        one = Multiplied("attention", query, key, heads=sizes)
        node = _node()
        if watch.hidden or not watch.forward(node):
            return func(*args, **kwargs)
        ran = Product("matmul", "forward", 0, "aten.scaled_dot_product_attention", watch.module)
        call = watch.tape.forward(one, replace(ran, again=node >= 0), -1)
        watch.seen(call.product, one, not call.swapped)
        first = _made() + 1
        watch.hidden += 1
        try:
            result = func(*args, **kwargs)
        finally:
            watch.hidden -= 1
        watch.attentions.update(dict.fromkeys(range(first, _made() + 1), call))
        watch.tape.marks.multiplied(result, -1)
        if node < 0:
            beside = _on_scores(mask is not None, bool(given.get("dropout_p")), sizes.causal)
            operands = (query, key, value)
            watch.tape.between.product(call.product.call, operands, result, beside)
        return result


def _on_scores(masked: bool, dropped: bool, causal: bool) -> tuple[str, ...]:
    """What is done to scores within one operation; nothing where a network need not say it."""
    if not masked and not dropped:
        return ()
    bias = ("score_bias",) if masked or causal else ()
    return ("scaling", *bias, "softmax", *(("dropout",) if dropped else ()))


def _refuse_parts(operation: str, tensors: Any) -> None:
    """Refuse tensors whose elements do not stand in one storage, in rows of one length."""
    for one in tree_leaves(tensors):
        if isinstance(one, torch.Tensor) and (one.is_nested or one.layout != torch.strided):
            what = "nested" if one.is_nested else f"sparse ({one.layout})"
            raise SpecError(
                f"record: {operation} has a tensor that is {what}, expected dense ones: zeros are "
                "kept as zeros in nmsim's masks"
            )


def _run(func: Any, args: Any, kwargs: Any, watch: _Watch) -> Any:
    name = func._schema.name  # noqa: SLF001
    if name not in ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal") or not any(
        isinstance(one, torch.Tensor) and one.is_meta for one in tree_leaves(args)
    ):
        return func(*args, **kwargs)
    found = watch.known.answer(func, args, kwargs)
    if found is not None:
        return found
    asks = "Tensor.item()" if name.endswith("scalar_dense") else name.replace("::", ".")
    where = f" in module {watch.module!r}" if watch.module else ""
    raise SpecError(
        f"record: {asks}{where} asks a tensor on meta for its values, expected none that the "
        "step depends on: pass sizes as numbers and no mask of padding, or a model with "
        "weights on a real device"
    )


def _by_name(func: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """An operation's arguments by the names of its schema."""
    schema = func._schema.arguments  # noqa: SLF001
    usual = {one.name: one.default_value for one in schema if one.has_default_value()}
    return {**usual, **dict(zip((one.name for one in schema), args, strict=False)), **kwargs}


def _unseen(product: Product, one: Multiplied, first: bool) -> None:
    """What is told of products that nobody asks for."""


@contextmanager
def watched(model: Any, seen: Seen = _unseen) -> Iterator[Tape]:
    """Watch what is multiplied while the context lasts.

    Parameters
    ----------
    model
        A module, whose parameters and modules give names.
    seen
        Told of every product with its operands.
    """
    marks = Marks(StorageWeakRef)
    tape = Tape(marks, Between(marks))
    _name_parameters(marks, model)
    paths = {id(module): path for path, module in model.named_modules(remove_duplicate=True)}
    watch = _Watch(tape, paths, seen)
    with ExitStack() as stack:
        stack.enter_context(torch.autograd.set_multithreading_enabled(mode=False))
        stack.enter_context(_paths(watch))
        stack.enter_context(_Functions(watch))
        stack.enter_context(_Operations(watch))
        try:
            yield tape
        except NotImplementedError as error:
            raise _refused(error) from error


def _refused(error: NotImplementedError) -> Exception:
    """Of an operation that is made of functions its name; any other error as it is."""
    found = re.search(r"HigherOrderOperator (\w+)", str(error))
    if found is None:
        return error
    return SpecError(
        f"record: {found[1]} runs functions of its own, expected operations of tensors, such as "
        "scaled_dot_product_attention"
    )


def run_of(step: Callable[[Size], None], size: Size, model: Any, seen: Seen = _unseen) -> Run:
    """A step of one size, recorded."""
    with watched(model, seen) as tape:
        step(size)
    return Run(size, tape.joined(), tuple(tape.between.nodes))


def on_meta(make: Callable[[], Any]) -> Any:
    """A model that a function makes, without memory, in the 16 bits that grouped products take."""
    with torch.device("meta"):
        return make().to(torch.bfloat16)


def array(tensor: Any) -> Any:
    """A tensor's values, in 32 bits, as they are now."""
    if tensor.is_meta:
        raise SpecError("record: a tensor on meta has no values, expected a model with weights")
    return tensor.detach().to("cpu", torch.float32, copy=True).numpy()


def ids(batch: int, tokens: int) -> Any:
    """Tokens without values."""
    return torch.empty(batch, tokens, dtype=torch.long, device="meta")


def _name_parameters(marks: Marks, model: Any) -> None:
    """Name every parameter, a shared one by all its names."""
    known: dict[int, tuple[Any, list[str]]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        known.setdefault(id(parameter), (parameter, []))[1].append(name)
    for parameter, names in known.values():
        marks.name(parameter, tuple(names))


def _has_storage(one: Any) -> bool:
    if not isinstance(one, torch.Tensor) or one.is_nested or one.layout != torch.strided:
        return False
    return not torch._C._functorch.is_functorch_wrapped_tensor(one)  # noqa: SLF001


@contextmanager
def _paths(watch: _Watch) -> Iterator[None]:
    """Follow calls of modules.

    Not by hooks: a hook that fails or a computation that stops early would leave a module open.
    """
    called = torch.nn.Module.__call__

    def call(module: Any, *args: Any, **kwargs: Any) -> Any:
        path = watch.paths.get(id(module), watch.module)
        if not watch.entered:
            for one in tree_leaves((args, kwargs)):
                if _has_storage(one):
                    watch.tape.marks.given(one)
        watch.entered.append((path, _node()))
        # Within a function that the mode is told of, as `Tensor.backward`, it is told of no other.
        told = any(isinstance(one, _Functions) for one in _get_current_function_mode_stack())
        try:
            with nullcontext() if told else _Functions(watch):
                return called(module, *args, **kwargs)
        finally:
            watch.entered.pop()

    torch.nn.Module.__call__ = call
    try:
        yield
    finally:
        torch.nn.Module.__call__ = called
