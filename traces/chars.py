"""A transformer of 6.4 million parameters on characters of Python's own library.

Real tensors of more than a toy's size without a download: the text is the standard library's
modules, the network a decoder of Radford et al.'s layout (GPT-2, 2019), 200 steps of AdamW on two
threads take four minutes of processor time. Layers are those of ``chars.yaml`` beside this file.
Needs the extra ``digits``.
"""

import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it

__all__ = [
    "BATCH",
    "CONTEXT",
    "STEPS",
    "Chars",
    "Tensors",
    "Trained",
    "library_text",
    "train_chars",
]

BATCH, CONTEXT, STEPS = 8, 64, 200
_WIDTH, _BLOCKS, _HEADS = 256, 8, 4
_SYMBOLS = 128
"""ASCII; every other character becomes a question mark."""

Tensors = dict[str, NDArray[np.float32]]
"""``<layer>.weight``, ``<layer>.activation`` and ``<layer>.gradient``, as a file has them."""


class Trained(NamedTuple):
    """What came of a run.

    ``losses`` of every step, in nats a character; ``tensors`` by recorded step; ``logit_sigma``,
    the standard deviation of attention's logits over the keys of a query, by recorded step.
    """

    losses: list[float]
    tensors: dict[int, Tensors]
    logit_sigma: dict[int, float]
    parameters: int


class Chars(nn.Module):
    """Eight blocks of width 256, normalisation first, untied head, learned places."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.symbols = nn.Embedding(_SYMBOLS, _WIDTH)
        self.places = nn.Embedding(CONTEXT, _WIDTH)
        self.layers = nn.ModuleDict()
        for block in range(_BLOCKS):
            shapes = {"qkv": (1, 3), "out": (1, 1), "mlp_0": (1, 4), "mlp_2": (4, 1)}
            for name, (inputs, outputs) in shapes.items():
                linear = nn.Linear(inputs * _WIDTH, outputs * _WIDTH)
                nn.init.normal_(linear.weight, std=0.02)
                nn.init.zeros_(linear.bias)
                self.layers[f"blocks_{block}_{name}"] = linear
        self.layers["head"] = nn.Linear(_WIDTH, _SYMBOLS)
        self.norms = nn.ModuleList(nn.LayerNorm(_WIDTH) for _ in range(2 * _BLOCKS + 1))
        self.logits: list[Tensor] | None = None
        """Of every block's attention before its softmax, where they are asked for."""

    def forward(self, text: Tensor) -> Tensor:
        """Logits of samples x context symbols."""
        x = self.symbols(text) + self.places.weight
        for block in range(_BLOCKS):
            x = x + self._attention(block, self.norms[2 * block](x))
            y = self._run(block, "mlp_0", self.norms[2 * block + 1](x))
            x = x + self._run(block, "mlp_2", F.gelu(y))
        return self.layers["head"](self.norms[-1](x))  # type: ignore[no-any-return,unused-ignore]

    def _run(self, block: int, name: str, x: Tensor) -> Tensor:
        return self.layers[f"blocks_{block}_{name}"](x)  # type: ignore[no-any-return,unused-ignore]

    def _attention(self, block: int, x: Tensor) -> Tensor:
        split = self._run(block, "qkv", x).reshape(*x.shape[:2], 3, _HEADS, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        scores = (query @ key.transpose(-1, -2)) * query.shape[-1] ** -0.5
        if self.logits is not None:
            self.logits.append(scores.detach())
        hidden = torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).triu(1)
        shares = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        mixed = (shares @ value).transpose(1, 2).reshape(x.shape)
        return self._run(block, "out", mixed)


def library_text() -> NDArray[np.int64]:
    """The standard library's top modules, in the order of their names, as ASCII codes."""
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    text = "".join(path.read_text(encoding="utf-8") for path in paths)
    return np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int64)


def _batches(text: NDArray[np.int64], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng(seed)
    while True:
        starts = rng.integers(len(text) - CONTEXT - 1, size=BATCH)
        rows = np.stack([text[start : start + CONTEXT + 1] for start in starts])
        yield torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(rows[:, 1:].copy())


def train_chars(seed: int, recorded: Sequence[int], steps: int = STEPS) -> Trained:
    """Train on two threads and remember some steps, which count from 1."""
    torch.set_num_threads(2)
    network, batches = Chars(seed), _batches(library_text(), seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
    done = Trained([], {}, {}, sum(one.numel() for one in network.parameters()))
    for step, (text, following) in zip(range(1, steps + 1), batches, strict=False):
        seen: Tensors = {}
        network.logits = [] if step in recorded else None
        handles = _watch(network, seen) if step in recorded else []
        loss = F.cross_entropy(network(text).flatten(0, 1), following.flatten())
        optimiser.zero_grad()
        loss.backward()
        if handles:
            done.tensors[step], done.logit_sigma[step] = seen, _spread_of(network.logits or [])
        for handle in handles:
            handle.remove()
        optimiser.step()
        done.losses.append(loss.item())
    return done


def _watch(network: Chars, seen: Tensors) -> list[Any]:
    """Remember what every linear layer multiplies from now on, until the handles are removed."""

    def watched(name: str, layer: Any) -> Any:
        def forward(_: Any, inputs: Any, output: Tensor) -> None:
            seen[f"{name}.weight"] = layer.weight.detach().numpy().copy()
            seen[f"{name}.activation"] = inputs[0].detach().numpy().copy()
            output.register_hook(backward)

        def backward(gradient: Tensor) -> None:
            seen[f"{name}.gradient"] = gradient.flatten(0, -2).numpy().copy()

        return layer.register_forward_hook(forward)

    return [watched(name, layer) for name, layer in network.layers.items()]


def _spread_of(logits: Sequence[Tensor]) -> float:
    """Over the keys that a query sees, of queries that see sixteen at least."""
    found = [
        scores[:, :, query, : query + 1].std(-1).mean().item()
        for scores in logits
        for query in range(15, CONTEXT)
    ]
    return float(np.mean(found))
