"""``nmsim.torch``: what a step of PyTorch multiplies, recorded as a network or as tensors.

>>> import nmsim
>>> nmsim.torch.record  # doctest: +ELLIPSIS
<function record at ...>

PyTorch itself is an extra and is imported when something is recorded.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from nmsim.errors import SpecError
from nmsim.extras import extra
from nmsim.files import write_file
from nmsim.importers.recording.beside import beside
from nmsim.importers.recording.folding import folded
from nmsim.importers.recording.layers import Run, Size, layers_of
from nmsim.importers.recording.product import Product
from nmsim.importers.recording.splits import splits_of
from nmsim.importers.recording.values import Tensors, recorded
from nmsim.importing import as_yaml
from nmsim.network.catalog import Network
from nmsim.spec import validate

__all__ = ["Mode", "Recording", "Tensors", "record"]

Mode = Literal["shapes", "tensors"]

_DISPATCH = "nmsim.importers.recording.dispatch"


@dataclass(frozen=True)
class Recording:
    """A step that was recorded at several sizes: its products, and the network that it is of.

    Parameters
    ----------
    runs
        The step at each of its sizes; the first one's are those that it has unless asked.
    what
        What was recorded, for people.
    implementation
        The libraries whose layers these are, with their versions.
    predicted
        Layers of which generating needs the last token alone.
    sizes
        ``batch`` and ``sequence`` of the network; None: those of the first run.
    """

    runs: tuple[Run, ...]
    what: str
    implementation: str
    predicted: frozenset[str] = frozenset()
    sizes: Mapping[str, Any] | None = None

    @property
    def products(self) -> tuple[Product, ...]:
        """What the step multiplied, in its order, at the first of its sizes."""
        return self.runs[0].products

    @cached_property
    def _read(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        layers, told = layers_of(self.runs)
        tables, unknown = beside(self.runs, layers)
        for layer in layers:
            if layer["name"] in self.predicted and layer.get("tokens") == "sequence":
                layer["tokens"] = "predicted"
        decoded = [layer for layer in layers if layer.get("tokens") == "target"]
        if decoded:  # behind an encoder the word stands for as many tokens
            decoded[-1]["tokens"] = "predicted"
        whole = folded(tables) + folded(layers)
        said: dict[str, Any] = {
            "summary": f"{self.what}, recorded",
            "source": f"a step of {self.what} as {self.implementation} runs it, recorded by nmsim",
            "implementation": self.implementation,
            **self._sizes,
        }
        if splits := splits_of(whole):
            said["tensor_parallel"] = splits
        return {**said, "layers": whole}, (*told, *unknown)

    @property
    def _sizes(self) -> Mapping[str, Any]:
        return self.runs[0].size.of_network if self.sizes is None else self.sizes

    @property
    def document(self) -> dict[str, Any]:
        """The fields of the network's YAML."""
        return self._read[0]

    @property
    def told(self) -> tuple[str, ...]:
        """What was assumed, or not read off, a line each."""
        return self._read[1]

    @property
    def network(self) -> Network:
        """The network that the step is of."""
        return validate(Network, self.document, self.what)

    def save(self, path: str | Path) -> None:
        """Write the network as YAML, which is named wherever a model is.

        Raises
        ------
        SpecError
            if the file cannot be written.
        """
        text = as_yaml(self.document, self.told)
        write_file(Path(path), lambda aside: _written(aside, text))


def _written(aside: Path, text: str) -> None:
    aside.write_text(text, "utf-8")


def record(
    step: Callable[..., Any],
    model: Any,
    mode: Mode = "shapes",
    *,
    batches: Sequence[int] = (2, 3),
    lengths: Sequence[int] = (64, 96),
    targets: Sequence[int] = (40, 56),
) -> Any:
    """Record what a step of PyTorch multiplies.

    Parameters
    ----------
    step
        Runs forward, and backward if it trains. It is given those of ``model``, ``batch``,
        ``tokens`` and ``target`` that it has as parameters: run at each of the batches and lengths,
        what scales with which is read off. A step without ``batch`` is one sample of its network;
        ``target`` are the tokens of a decoder behind an encoder of ``tokens``.
    model
        The module whose parameters and modules give layers their names, on any device: on
        ``meta`` there are shapes alone, and no memory is needed.
    mode
        ``shapes``: of a network; ``tensors``: the values of one step's operands.
    batches, lengths, targets
        At which the step is run, the first of each in ``tensors``; two at least tell what scales.
        Each length has its target, which is another number.

    Returns
    -------
    Recording or Tensors
        By mode.

    Raises
    ------
    MissingExtra
        without PyTorch.
    SpecError
        for an operation that multiplies and is not known, a step that multiplies other things at
        another size, or lengths that do not tell a target from its source.

    Examples
    --------
    A step at two batches and two lengths, as a network::

        def step(batch, tokens):
            model(torch.empty(batch, tokens, dtype=torch.long, device="meta")).sum().backward()

        nmsim.torch.record(step, model).save("mine.yaml")
    """
    if mode not in ("shapes", "tensors"):
        raise SpecError(f"mode is {mode!r}, expected shapes or tensors")
    dispatch = extra("torch", _DISPATCH)
    asked = inspect.signature(step).parameters
    sizes = list(
        _sizes(
            (tuple(batches) if "batch" in asked else ()) or (1,),
            (tuple(lengths) if "tokens" in asked else ()) or (None,),
            tuple(targets) if "target" in asked else None,
        )
    )

    def run(size: Size) -> None:
        given = {"model": model, **{name: getattr(size, name) for name in _SIZES}}
        step(**{name: value for name, value in given.items() if name in asked})

    implementation = f"torch {dispatch.VERSION}"
    if mode == "tensors":
        return recorded(run, sizes[0], model, dispatch)
    runs = tuple(dispatch.run_of(run, size, model) for size in sizes)
    return Recording(runs, type(model).__name__, implementation)


_SIZES = ("batch", "tokens", "target")
"""What a step may be given."""


def _sizes(
    batches: Sequence[int], lengths: Sequence[int | None], targets: Sequence[int] | None
) -> Iterator[Size]:
    """Every batch at every length, and at the target of that."""
    if targets is not None and lengths == (None,):
        raise SpecError("record: the step takes target and no tokens, expected tokens of a source")
    said = (None,) * len(lengths) if targets is None else targets
    if len(said) != len(lengths) or any(map(_same, lengths, said)):
        raise SpecError(
            f"record: targets are {list(said)}, expected another number for each of the lengths "
            f"{list(lengths)}"
        )
    for tokens, target in zip(lengths, said, strict=True):
        for batch in batches:
            yield Size(batch, tokens, target)


def _same(one: int | None, other: int | None) -> bool:
    return one is not None and one == other
