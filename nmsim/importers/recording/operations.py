"""Which operation of PyTorch multiplies what: the table, and what is refused because of it.

An operation is known by its name in ``aten`` and its arguments by those of its schema, which stay
from version to version while their places do not. One that multiplies matrices and is not in the
table is refused: a step without it would be a step with too little work.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nmsim.errors import SpecError
from nmsim.importers.recording.product import Heads, Sizes, Window

__all__ = ["ATTENTION_BACKWARD", "Multiplied", "heads_of", "multiplied", "refuse_unknown"]

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Multiplied:
    """What an operation multiplies: A [count, m, k] by B [count, k, n], or sizes of its own.

    Parameters
    ----------
    kind
        matrix | grouped | conv | attention; grouped: rows of A (or of K) fall into ``count`` parts.
    a, b
        The tensors; of a convolution the image (of its output, the gradient) and the weight.
    computes
        Of an operation that is backward alone: input or weight. Empty: it may be of any phase.
    bias
        Of a network's operations the one that adds its bias: bias or conv_bias. Empty: none does.
    """

    kind: str
    a: Any
    b: Any
    m: int = 0
    n: int = 0
    k: int = 0
    count: int = 1
    window: Window | None = None
    heads: Heads | None = None
    computes: str = ""
    bias: str = ""


def multiplied(name: str, given: Arguments) -> list[Multiplied]:
    """What an operation multiplies; nothing if it is in no table.

    Parameters
    ----------
    name
        Without namespace and overload: "addmm".
    given
        Its arguments by name.
    """
    found = _TABLE.get(name.removesuffix("_"))
    return list(found(given)) if found else []


def _mm(first: str, second: str) -> Callable[[Arguments], Iterator[Multiplied]]:
    def of(given: Arguments) -> Iterator[Multiplied]:
        a, b = given[first], given[second]
        m, k = a.shape
        bias = "bias" if first == "mat1" and given["self"].dim() < 2 else ""
        yield Multiplied("matrix", a, b, m, b.shape[1], k, bias=bias)

    return of


def _bmm(first: str, second: str) -> Callable[[Arguments], Iterator[Multiplied]]:
    def of(given: Arguments) -> Iterator[Multiplied]:
        a, b = given[first], given[second]
        count, m, k = a.shape
        yield Multiplied("matrix", a, b, m, b.shape[2], k, count)

    return of


def _mv(first: str, second: str) -> Callable[[Arguments], Iterator[Multiplied]]:
    def of(given: Arguments) -> Iterator[Multiplied]:
        a, b = given[first], given[second]
        yield Multiplied("matrix", a, b, a.shape[0], 1, a.shape[1])

    return of


def _grouped(given: Arguments) -> Iterator[Multiplied]:
    a, b = given["self"], given["mat2"]
    if a.dim() == 3 and b.dim() == 3:
        yield from _bmm("self", "mat2")(given)
    elif a.dim() == 2 and b.dim() == 3:
        yield Multiplied("grouped", a, b, a.shape[0], b.shape[2], a.shape[1], b.shape[0])
    elif a.dim() == 2:
        parts = given["offs"].shape[0]
        yield Multiplied("grouped", a, b, a.shape[0], b.shape[1], a.shape[1], parts, computes="k")
    else:
        raise SpecError(
            "record: aten._grouped_mm of a group of weights by one matrix is not known, expected "
            "rows in groups"
        )


def _convolution(given: Arguments) -> Iterator[Multiplied]:
    image, weight = given["input"], given["weight"]
    bias = "conv_bias" if given.get("bias") is not None else ""
    yield Multiplied("conv", image, weight, window=_window(given, image, weight), bias=bias)


def _convolution_backward(given: Arguments) -> Iterator[Multiplied]:
    image, weight, gradient = given["input"], given["weight"], given["grad_output"]
    window = _window(given, image, weight, tuple(gradient.shape[2:]))
    if given["output_mask"][0]:
        yield Multiplied("conv", gradient, weight, window=window, computes="input")
    if given["output_mask"][1]:
        yield Multiplied("conv", gradient, image, window=window, computes="weight")


def _window(given: Arguments, image: Any, weight: Any, out: Sizes = ()) -> Window:
    turned, groups = bool(given.get("transposed", False)), int(given.get("groups", 1))
    size, kernel = tuple(image.shape[2:]), tuple(weight.shape[2:])

    def each(name: str, usual: int) -> Sizes:
        found = tuple(given.get(name) or (usual,))
        return found * len(size) if len(found) == 1 else found

    stride, padding, dilation = each("stride", 1), each("padding", 0), each("dilation", 1)
    more = each("output_padding", 0)
    steps = list(zip(size, kernel, stride, padding, dilation, more, strict=True))
    if not out and turned:
        out = tuple((i - 1) * s - 2 * p + d * (k - 1) + o + 1 for i, k, s, p, d, o in steps)
    out = out or tuple((i + 2 * p - d * (k - 1) - 1) // s + 1 for i, k, s, p, d, _ in steps)
    inputs, outputs = weight.shape[:2] if turned else weight.shape[1::-1]
    inputs, outputs = (inputs, outputs * groups) if turned else (inputs * groups, outputs)
    return Window(
        *(image.shape[0], inputs, outputs, kernel, stride, padding, dilation, groups, size, out),
        *(turned, more if turned else ()),
    )


def heads_of(query: Any, key: Any, value: Any, causal: bool, *, last: bool = True) -> Heads:
    """Sizes of an attention of [.., heads, tokens, features]; if not ``last``, heads are third."""
    axis, at = (-3, -2) if last else (-2, -3)
    batch = 1
    for size in query.shape[:-3]:
        batch *= size
    single = query.dim() < 3
    heads, groups = (1, 1) if single else (query.shape[axis], key.shape[axis])
    queries, keys = (query.shape[0], key.shape[0]) if single else (query.shape[at], key.shape[at])
    sizes = (batch, heads, groups, queries, keys, query.shape[-1], value.shape[-1])
    return Heads(*sizes, causal=causal)


def _attention(*, last: bool = True) -> Callable[[Arguments], Iterator[Multiplied]]:
    def of(given: Arguments) -> Iterator[Multiplied]:
        query, key, value = given["query"], given["key"], given["value"]
        if any(given.get(name) is not None for name in _VARYING):
            raise SpecError(
                "record: attention over sequences of several lengths (cum_seq_q, cu_seqlens_q) has "
                "no one size, expected a batch of sequences of one length"
            )
        causal = bool(given.get("is_causal") or given.get("custom_mask_type"))
        heads = heads_of(query, key, value, causal, last=last)
        yield Multiplied("attention", query, key, heads=heads)

    return of


_VARYING = ("cum_seq_q", "cu_seqlens_q")


def _whole_attention(given: Arguments) -> Iterator[Multiplied]:
    """Three projections in one matrix, attention, and the projection behind it."""
    query, heads = given["query"], given["num_head"]
    features = given["embed_dim"]
    yield _linear(query, given["qkv_weight"], 3 * features, features)
    batch, tokens = query.shape[:2]
    each = features // heads
    keys = given.get("key", query).shape[1]
    sizes = Heads(batch, heads, heads, tokens, keys, each, each)
    yield Multiplied("attention", query, query, heads=sizes)
    yield _linear(query, given["proj_weight"], features, features)


def _whole_block(given: Arguments) -> Iterator[Multiplied]:
    """A transformer's encoder layer as one operation: attention, and two linear layers."""
    block = {**given, "query": given["src"], "num_head": given["num_heads"]}
    yield from _whole_attention(block)
    for name in ("ffn_weight_1", "ffn_weight_2"):
        out, into = given[name].shape
        yield _linear(given["src"], given[name], out, into)


def _linear(rows: Any, weight: Any, out: int, into: int) -> Multiplied:
    whole = 1
    for size in rows.shape[:-1]:
        whole *= size
    return Multiplied("matrix", rows, weight, whole, out, into)


_TABLE: Mapping[str, Callable[[Arguments], Iterator[Multiplied]]] = {
    "mm": _mm("self", "mat2"),
    "addmm": _mm("mat1", "mat2"),
    "_addmm_activation": _mm("mat1", "mat2"),
    "_int_mm": _mm("self", "mat2"),
    "_scaled_mm": _mm("self", "mat2"),
    "bmm": _bmm("self", "mat2"),
    "baddbmm": _bmm("batch1", "batch2"),
    "addbmm": _bmm("batch1", "batch2"),
    "mv": _mv("self", "vec"),
    "addmv": _mv("mat", "vec"),
    "_grouped_mm": _grouped,
    "convolution": _convolution,
    "_convolution": _convolution,
    "convolution_overrideable": _convolution,
    "cudnn_convolution": _convolution,
    "convolution_backward": _convolution_backward,
    "convolution_backward_overrideable": _convolution_backward,
    "_scaled_dot_product_attention_math": _attention(),
    "_scaled_dot_product_flash_attention": _attention(),
    "_scaled_dot_product_flash_attention_for_cpu": _attention(),
    "_scaled_dot_product_efficient_attention": _attention(),
    "_scaled_dot_product_cudnn_attention": _attention(),
    "_scaled_dot_product_fused_attention_overrideable": _attention(),
    "_flash_attention_forward": _attention(last=False),
    "_efficient_attention_forward": _attention(last=False),
    "_cudnn_attention_forward": _attention(),
    "_native_multi_head_attention": _whole_attention,
    "_transformer_encoder_layer_fwd": _whole_block,
}

ATTENTION_BACKWARD = frozenset(
    f"{name.removesuffix('_forward')}_backward"
    for name in _TABLE
    if "_attention" in name and not name.startswith(("_native", "_transformer"))
)
"""Operations that run an attention backward."""

_MULTIPLIES = re.compile(
    r"mm(?![a-z])|matmul|(?<!bi)(?<!tri)linear(?!1d|2d|3d)|conv(?!ert)|rnn|gru|lstm|attention|dot"
    r"|cdist|euclidean|trilinear$|solve|ormqr|householder|_compute_linear|cross_attn|gemm"
)
"""What names of operations hold that multiply matrices: those of ``aten`` are all of them."""

_OF_ONE = ("upsample", "_upsample", "linalg_householder")


def refuse_unknown(namespace: str, name: str, operands: Sequence[Any], where: str) -> None:
    """Refuse an operation that has two matrices and may multiply them.

    Raises
    ------
    SpecError
        naming it, and the module that runs it.
    """
    if namespace in ("prims", "prim", "c10d", "_c10d_functional", "profiler"):
        return
    known = namespace == "aten" and (name.startswith(_OF_ONE) or _MULTIPLIES.search(name) is None)
    packed = namespace == "quantized" and _MULTIPLIES.search(name) is not None
    if not packed and (known or sum(map(_is_matrix, operands)) < 2):
        return
    raise SpecError(
        f"record: {namespace}.{name}{where} has two matrices and is in no table of nmsim's, "
        "expected operations of PyTorch that it knows, such as aten.mm"
    )


def _is_matrix(tensor: Any) -> bool:
    return sum(size > 1 for size in tensor.shape) > 1 and (
        tensor.is_floating_point() or str(tensor.dtype) in ("torch.int8", "torch.uint8")
    )
