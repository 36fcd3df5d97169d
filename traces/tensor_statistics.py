"""What synthetic tensors assume, measured on any tensors: spreads, neighbours, misfits, survivors.

Every function takes a network and a source of its tensors, synthetic or recorded, so that the same
statistic is made of both. Needs no training library.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.mask import Mask
from nmsim.network.catalog import Network
from nmsim.network.layer import Conv, Linear
from nmsim.network.lowering import Lowering
from nmsim.network.operand import TensorName
from nmsim.network.tensors import TensorSource
from nmsim.network.tensors.files import TensorFile
from nmsim.network.tensors.memory import InMemory
from nmsim.pattern import Pattern
from nmsim.pruning import prune
from nmsim.recipes.masking import sparse_gemms
from nmsim.recipes.recipe import load_recipe
from nmsim.recipes.setting import Setting

__all__ = [
    "NARROW",
    "PATTERNS",
    "channel_sigma",
    "log_sigma",
    "measured",
    "misfits",
    "neighbours",
    "of_layers",
    "of_matrix",
    "recorded",
    "survivors_means",
    "widest",
]

PATTERNS = ("2:4", "1:4", "4:8", "8:16")
NARROW = "2:4"
"""Native pattern of selectors that 4:8 and 8:16 masks are held against."""

HERE = Path(__file__).resolve().parent
_GROUP = 16
_WEIGHTED: tuple[TensorName, ...] = ("weight", "activation", "gradient")

Values = NDArray[Any]


def recorded(tensors: Mapping[str, Values]) -> TensorSource:
    """A source of tensors by name, laid out as a file of them is."""
    return TensorFile(InMemory(tensors))


def log_sigma(values: Values) -> float:
    """Standard deviation of ln |x| over what is not zero: sigma of a log-normal magnitude.

    A normal tensor of any scale has pi / sqrt(8) = 1.11.
    """
    return float(np.log(np.abs(values[values != 0].astype(np.float64))).std())


def channel_sigma(values: Values) -> float:
    """Standard deviation of ln(root mean square) over the channels, last axis, that are not zero.

    Of ``Synthetic``'s activations, but for a gelu or a softmax, that is sigma of a channel's scale.
    """
    flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
    power = (flat**2).mean(axis=0)
    return float(np.log(power[power > 0]).std() / 2)


def neighbours(values: Values) -> float | None:
    """Correlation of an element with its neighbour along every axis between the first and the last.

    Of images along height and width, of sequences along tokens; channels are standardised by
    themselves and those that never change left out. None: no such axis.
    """
    flat = values.astype(np.float64)
    over = tuple(range(values.ndim - 1))
    scale = flat.std(axis=over)
    lively = scale > 0
    x = (flat - flat.mean(axis=over))[..., lively] / scale[lively]
    found = []
    for axis in range(1, x.ndim - 1):
        size = x.shape[axis]
        if size > 1:  # a classifier's input has one place
            first, second = (x.take(range(i, size - 1 + i), axis) for i in (0, 1))
            each = (first * second).mean(axis=over)
            spans = first.std(axis=over) * second.std(axis=over)
            means = first.mean(axis=over) * second.mean(axis=over)
            found.append(float(np.mean((each - means)[spans > 0] / spans[spans > 0])))
    return float(np.mean(found)) if found else None


def of_layers(network: Network, source: TensorSource, batch: int) -> dict[str, dict[str, Any]]:
    """Spreads and neighbours of every layer with a weight.

    Returns
    -------
    dict
        By layer ``gradient_sigma``, ``gradient_zeros`` (a share), ``channel_sigma``,
        ``neighbours`` and ``weight_sigma``. Activations that are data have neither of theirs.
    """
    found = {}
    for layer in _layers(network):
        gradient = _whole(source, layer, "gradient", batch)
        of: dict[str, Any] = {
            "made_by": layer.input,
            "images": isinstance(layer, Conv),
            "gradient_sigma": log_sigma(gradient),
            "gradient_zeros": float((gradient == 0).mean()),
            "weight_sigma": log_sigma(_whole(source, layer, "weight", batch)),
        }
        if layer.input != "data":
            x = _whole(source, layer, "activation", batch)
            x = x if isinstance(layer, Conv) else x.reshape(batch, -1, x.shape[-1])
            of |= {"channel_sigma": channel_sigma(x), "neighbours": neighbours(x)}
        found[layer.name] = of
    return found


def misfits(
    network: Network, source: TensorSource, batch: int, pattern: str
) -> dict[str, dict[str, float]]:
    """Shares of groups that selectors do not cover, by what is misfit and role.

    ``across``: masks by magnitude along features, read in groups of rows, as a weight pruned for
    forward is in backward. ``narrow``: masks on 2:4 selectors, where their groups are wider.
    Matrices whose sides are not whole groups of sixteen are left out.
    """
    kinds = {"across": pattern} | ({"narrow": NARROW} if Pattern.parse(pattern).group > 4 else {})
    counts: dict[str, dict[str, Any]] = {kind: {} for kind in kinds}
    for layer in _layers(network):
        for role in _WEIGHTED:
            if role == "activation" and layer.input == "data":
                continue
            values = _whole(source, layer, role, batch)
            rows = len(values) if role == "weight" else values.size // values.shape[-1]
            matrix = values.reshape(rows, -1)
            if any(side % _GROUP for side in matrix.shape):
                continue
            bits = prune(matrix, pattern, "magnitude").mask
            for kind, native in kinds.items():
                read = bits.T if kind == "across" else bits
                into = counts[kind].setdefault(role, [0.0, 0])
                into[0] += bits.size * _misfit(read, pattern, native)
                into[1] += bits.size
    return {
        kind: {role: missed / size for role, (missed, size) in of.items()}
        for kind, of in counts.items()
    }


def survivors_means(
    network: Network, source: TensorSource, batch: int, pattern: str, seed: int = 0
) -> dict[str, float]:
    """Surviving products of a group, mean of all pairs of rows, by phase: column survivors_mean.

    Masks of recipe ``every-operand.yaml``, layers whose K is whole groups.
    """
    recipe = load_recipe(HERE / "every-operand.yaml")
    kept = Pattern.parse(pattern)
    lowering = Lowering.parse("columns")
    setting = Setting(recipe, kept, source, batch, seed, lowering)
    counts: dict[str, list[float]] = {}
    for work in sparse_gemms(list(_layers(network)), setting, counted=False):
        if work.a.is_dense or work.b.is_dense or work.k % kept.group:
            continue
        a, b = (mask.column_counts(0, mask.rows).astype(float) for mask in (work.a, work.b))
        into = counts.setdefault(work.gemm.phase, [0.0, 0.0])
        into[0] += float(a @ b)
        into[1] += float(work.a.rows) * work.b.rows * (work.k // kept.group)
    return {phase: products / pairs for phase, (products, pairs) in counts.items()}


def measured(network: Network, source: TensorSource, batch: int, seed: int = 0) -> dict[str, Any]:
    """Misfits and survivors of every pattern."""
    return {
        pattern: {
            **misfits(network, source, batch, pattern),
            "survivors": survivors_means(network, source, batch, pattern, seed),
        }
        for pattern in PATTERNS
    }


def widest(pattern: str) -> dict[str, float]:
    """What no tensor exceeds: misfits and survivors of the worst case.

    Across, groups of M hold N kept elements on average and a misfit one N + 1, so N / (N + 1) of
    them at most are misfit; narrow groups all may be. Masks that agree keep all N of a group.

    Examples
    --------
    >>> widest("1:4")
    {'across': 0.5, 'narrow': 1.0, 'survivors': 1.0}
    """
    keep = Pattern.parse(pattern).keep
    return {"across": keep / (keep + 1), "narrow": 1.0, "survivors": float(keep)}


def of_matrix(values: Values) -> dict[str, Any]:
    """Spread of a matrix, features last, and by pattern the misfits of its mask read across."""
    across = {}
    for pattern in PATTERNS:
        bits = prune(values, pattern, "magnitude").mask
        across[pattern] = _misfit(bits.T, pattern, pattern)
    return {"log_sigma": log_sigma(values), "across": across}


def _misfit(bits: NDArray[np.bool_], pattern: str, native: str) -> float:
    """Share of a mask's groups that break the native pattern: column misfit_share."""
    return (
        Mask.of(np.ascontiguousarray(bits), Pattern.parse(pattern))
        .but(fits=False)
        .misfit_share(Pattern.parse(native))
    )


def _layers(network: Network) -> Iterator[Conv | Linear]:
    return (layer for layer in network.layers if isinstance(layer, Conv | Linear))


def _whole(source: TensorSource, layer: Conv | Linear, tensor: TensorName, batch: int) -> Values:
    return np.concatenate(list(source.blocks(layer, tensor, batch)))
