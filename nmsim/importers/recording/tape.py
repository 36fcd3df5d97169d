"""Products in the order in which a step runs them, each in its phase and with its layer.

Forward products are calls, known by the number that autograd gives the node which it makes for
them; what that node multiplies on the way back is of its calls. Which of these, and whether it
makes the gradient of an input or of a weight, is told by the operands: the weight itself, or the
activation that was multiplied by it. M and N may be swapped, so that sizes are taken from the call
and must be those that were multiplied.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from nmsim.errors import SpecError
from nmsim.gemm import Phase
from nmsim.importers.recording.between import Between
from nmsim.importers.recording.identity import Marks, repeated
from nmsim.importers.recording.operations import Multiplied
from nmsim.importers.recording.product import Heads, Product

__all__ = ["Call", "Tape"]


@dataclass(frozen=True)
class Call:
    """A forward product, and by which tensors it is known again.

    Parameters
    ----------
    sources
        Numbers of what its operands hold, the activation's first.
    swapped
        Its first operand is the weight.
    """

    product: Product
    sources: tuple[int, int]
    swapped: bool = False


@dataclass
class Tape:
    """What was multiplied so far.

    Parameters
    ----------
    marks
        What is known of tensors.
    between
        What is done between products.
    """

    marks: Marks
    between: Between
    products: list[Product] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    _of_node: dict[int, list[Call]] = field(default_factory=lambda: defaultdict(list))
    _weighed: dict[int, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    _pairs: dict[int, int] = field(default_factory=dict)
    _repeats: dict[int, int] = field(default_factory=dict)

    def forward(self, one: Multiplied, ran: Product, node: int) -> Call:
        """Note a forward product.

        Parameters
        ----------
        ran
            What ran it: operation, module, and whether it runs again.
        node
            The number of the node that autograd made for it.
        """
        product, sources = self._forward(one, replace(ran, call=len(self.calls)))
        swapped = self._swapped(one)
        call = Call(product, sources, swapped)
        self.calls.append(call)
        self.products.append(product)
        self._of_node[node].append(call)
        return call

    def _forward(self, one: Multiplied, ran: Product) -> tuple[Product, tuple[int, int]]:
        a, b = self.marks.of(one.a), self.marks.of(one.b)
        swapped = self._swapped(one)
        activation, weight = (b, one.a) if swapped else (a, one.b)
        names = self.marks.names_of(weight)
        known = replace(
            ran,
            weight=_own(names, ran.module),
            source=activation.source,
            made_by=activation.made_by if activation.made_by in _INPUTS else "linear",
        )
        sources = (b.source, a.source) if swapped else (a.source, b.source)
        if one.kind == "conv":
            return replace(known, kind="conv", window=one.window), sources
        if one.kind == "attention":
            return replace(known, kind="attention", heads=self._heads(one)), sources
        m, n = (one.n, one.m) if swapped else (one.m, one.n)
        if one.kind == "grouped":
            return replace(known, kind="experts", m=m, n=n, k=one.k, count=one.count), sources
        if not names:
            self._pair(one, len(self.calls))
            return replace(known, m=one.m, n=one.n, k=one.k, count=one.count), sources
        whole = replace(known, m=m * one.count, n=n, k=one.k)
        if one.count == 1 or repeated(weight) % one.count == 0:
            return replace(whole, kind="linear"), sources
        return replace(whole, kind="experts", count=one.count), sources

    def _swapped(self, one: Multiplied) -> bool:
        return self.marks.of(one.a).parameter and not self.marks.of(one.b).parameter

    def _heads(self, one: Multiplied) -> Heads | None:
        heads = one.heads
        if heads is None:
            return None
        often = self.marks.of(one.b).repeated
        if often > 1 and heads.kv_heads % often == 0:
            return replace(heads, kv_heads=heads.kv_heads // often)
        return heads

    def softmax(self, scores: int, shape: tuple[int, ...], mask: str) -> None:
        """Say that a softmax weighs the result of a product, seen in a shape and through a mask."""
        self._weighed[scores] = (shape, mask)

    def _pair(self, one: Multiplied, call: int) -> None:
        """Join a product with values to the one whose softmax it reads."""
        mark = self.marks.of(one.a)
        if mark.weighed and mark.scores in self._weighed:
            self._pairs[mark.scores] = call

    def backward(self, one: Multiplied, ran: Product, node: int) -> Product:
        """Note a product on the way back.

        Raises
        ------
        SpecError
            if no forward product is of this node, or none of these sizes.
        """
        operands = (self.marks.of(one.a), self.marks.of(one.b))
        sources = [mark.source for mark in operands]
        names = {name for tensor in (one.a, one.b) for name in self.marks.names_of(tensor)}
        fitting = [call for call in self._of_node.get(node, ()) if _fits(one, call.product)]
        if not fitting:
            raise SpecError(
                f"record: {ran.operation} multiplies on the way back what was not multiplied "
                f"forward{_at(ran)}, expected the gradients of a product"
            )
        call = next((one for one in fitting if _knows(one, sources, names)), fitting[0])
        phase, of = _phase(one, call, sources, names)
        product = _turned(replace(call.product, operation=ran.operation, again=False), phase, of)
        self.products.append(product)
        return product

    def gradient_first(self, one: Multiplied, product: Product) -> bool:
        """Whether the gradient of a layer's output is the first operand on the way back."""
        if one.kind == "conv":
            return True
        other = self.marks.of(one.b)
        if product.phase == "backward":
            return product.weight in self.marks.names_of(one.b)
        return other.source == self.calls[product.call].sources[0]

    def attended(self, call: Call, ran: Product) -> None:
        """Note that an attention was run backward."""
        self.products.append(
            replace(call.product, phase="backward", operation=ran.operation, again=False)
        )

    def of_node(self, node: int) -> list[Call]:
        """The forward products of a node."""
        return self._of_node.get(node, [])

    def joined(self) -> tuple[Product, ...]:
        """All products, where those with a softmax between them are one attention."""
        second = {two: one for one, two in self._pairs.items()}
        whole = {one: self._whole(one, two) for one, two in self._pairs.items()}
        found: list[Product] = []
        for product in self.products:
            first = second.get(product.call, product.call)
            heads = whole.get(first)
            if heads is None:
                found.append(product)
            elif product.phase == "forward" and product.call == first:
                found.append(_attention(product, heads))
            elif product.call != first and product.gradient_of == "b":
                found.append(_attention(product, heads, first))
        return tuple(found)

    def _whole(self, one: int, two: int) -> Heads:
        scores, values = self.calls[one].product, self.calls[two].product
        shape, mask = self._weighed[one]
        squares = scores.count
        heads = shape[-3] if len(shape) > 3 else 1
        often = max(1, self._repeats.get(one, 1))
        sizes = (squares // heads, heads, max(1, heads // often), scores.m, scores.n, scores.k)
        causal, unread = mask == "causal", mask == "unread"
        return Heads(*sizes, values.n, causal=causal, fused=False, unread=unread)

    def keys_repeat(self, call: int, often: int) -> None:
        """Say that the second operand of a product has each head so often."""
        self._repeats[call] = often


_INPUTS = ("data", "relu", "gelu", "swiglu", "norm", "softmax", "embedding", "linear")


def _own(names: Sequence[str], module: str) -> str:
    """Of the names of a shared parameter the one that the running module has."""
    if not names:
        return ""
    return next((name for name in names if name.rpartition(".")[0] == module), names[0])


def _at(ran: Product) -> str:
    return f" in module {ran.module!r}" if ran.module else ""


def _attention(product: Product, heads: Heads, call: int | None = None) -> Product:
    number = product.call if call is None else call
    found = replace(product, kind="attention", heads=heads, call=number)
    return replace(found, m=0, n=0, k=0, count=1, gradient_of="")


def _fits(one: Multiplied, forward: Product) -> bool:
    """Whether a product's sizes are those of a forward one in another order."""
    if one.kind == "conv" or forward.kind == "conv":
        return one.window == forward.window
    if forward.kind == "attention" or one.kind == "attention":
        return False
    rows = one.m * one.n * one.k * (1 if one.kind == "grouped" else one.count)
    whole = forward.m * forward.n * forward.k
    if forward.kind == "matmul":
        whole *= forward.count
    return rows == whole


def _knows(call: Call, sources: Sequence[int], names: set[str]) -> bool:
    if call.product.weight and call.product.weight in names:
        return True
    return call.sources[0] in sources or call.sources[1] in sources


def _phase(
    one: Multiplied, call: Call, sources: Sequence[int], names: set[str]
) -> tuple[Phase, str]:
    """The phase of a product of a call, and of two activations whose gradient it makes."""
    product = call.product
    if one.computes in ("input", "weight"):
        return ("backward" if one.computes == "input" else "update"), ""
    if product.kind == "matmul":
        return "backward", "b" if call.sources[0] in sources and _not_b(call, sources) else "a"
    return ("backward" if product.weight in names else "update"), ""


def _not_b(call: Call, sources: Sequence[int]) -> bool:
    return call.sources[1] not in sources or call.sources[0] == call.sources[1]


def _turned(product: Product, phase: Phase, gradient_of: str) -> Product:
    """A forward product's sizes in another phase."""
    m, n, k = product.m, product.n, product.k
    found = replace(product, phase=phase, gradient_of=gradient_of)
    if product.kind == "matmul":
        sizes = (m, k, n) if gradient_of == "a" else (n, k, m)
    elif phase == "update":
        sizes = (n, k, m)
    else:
        sizes = (m, k, n)
    return replace(found, m=sizes[0], n=sizes[1], k=sizes[2])
