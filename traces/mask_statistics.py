"""Masks of a real training step in numbers, each beside what chance would give."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.machines.systolic.intersect.survivors import expected_survivors, survivor_histogram
from nmsim.mask import SparseGemm
from nmsim.network.layer import Conv, Layer, Linear
from nmsim.pattern import Pattern
from nmsim.pruning import prune
from nmsim.recipes.statistics import retained_l1, violations
from nmsim.run.point import Point

__all__ = [
    "DRAWS",
    "PATTERNS",
    "ROLES",
    "errors_of_update",
    "halves",
    "retained",
    "role_matrices",
    "survivors",
    "transposed_fit",
    "untied",
]

PATTERNS = ("2:4", "4:8", "1:4")
DRAWS = 64
"""Draws of the unbiased estimator; the mean of so many has an eighth of one draw's error."""

_TINY = 1e-20
"""Below any value of a tensor, above what float32 cannot hold."""

STRUCTURES = {
    "4:8": ("4:8", "magnitude"),
    "2:4": ("2:4", "magnitude"),
    "transposable 4:8": ("4:8", "transposable"),
    "transposable 2:4": ("2:4", "transposable"),
    "sequential 4:8": ("4:8", "sequential"),
}
ROLES = ("weight", "activation", "gradient")

Tensors = Mapping[str, NDArray[Any]]
Bits = NDArray[np.bool_]


def role_matrices(layers: Iterable[Layer], tensors: Tensors, role: str) -> list[NDArray[Any]]:
    """A role's tensors as matrices, features last: W O x I, X pixels or tokens x C, dY T x O.

    An input that is data is left out: it is no activation.
    """
    found = []
    for layer in layers:
        data = role == "activation" and layer.input == "data"
        if not isinstance(layer, Conv | Linear) or data:
            continue
        values = tensors[f"{layer.name}.{role}"]
        last = np.moveaxis(values, 1, -1) if values.ndim == 4 else values
        rows = len(last) if role == "weight" else last.size // last.shape[-1]
        found.append(np.ascontiguousarray(last).reshape(rows, -1))
    return found


def survivors(point: Point, seen: Mapping[str, Tensors]) -> dict[str, Any]:
    """What survives two masks, by phase: shares of groups with 0 .. M products.

    Groups of all pairs of rows, layers whose K is whole groups. Expected: positions independent and
    uniform, from how many each row keeps (under a window's padding fewer than N).

    Parameters
    ----------
    point
        Tensors, and a recipe that prunes both operands.
    seen
        The same tensors as matrices by layer: "columns" T x I, "weight" O x I, "gradient" T x O.
    """
    group = point.setting.pattern.group
    counts: dict[str, Any] = {}
    for work in point.sparse_gemms():
        if work.a.is_dense or work.b.is_dense or work.k % group:
            continue
        pairs = survivor_histogram(work.a, work.b, work.gemm.count, group).astype(float)
        law = expected_survivors(work.a, work.b, work.gemm.count, group)
        into = counts.setdefault(work.gemm.phase, [np.zeros((2, group + 1)), 0.0])
        into[0] += [pairs, law * pairs.sum()]
        into[1] += _non_zero(work, seen[work.gemm.layer])
    return {phase: _survivors(*found) for phase, found in counts.items()}


def untied(tensors: Tensors, seed: int) -> dict[str, NDArray[Any]]:
    """Tensors whose zeros are drawn, far below every other value: no two of them tie.

    Pruners keep the lowest index of equals, so masks of tensors with many zeros are alike; those of
    these tensors are not.
    """
    rng = np.random.default_rng(seed)

    def drawn(values: NDArray[Any]) -> NDArray[Any]:
        tiny = (_TINY * rng.random(values.shape)).astype(values.dtype)
        return np.where(values == 0, tiny, values)

    return {name: drawn(values) for name, values in tensors.items()}


def _non_zero(work: SparseGemm, seen: Tensors) -> float:
    """Products that survive and have no zero as a factor."""
    x, w, g = (seen[name] for name in ("columns", "weight", "gradient"))
    operands = {"forward": (x, w), "backward": (g, w.T), "update": (g.T, x.T)}
    a, b = operands[work.gemm.phase]
    kept = (mask.bits() & (values != 0) for mask, values in ((work.a, a), (work.b, b)))
    by_column = [bits.sum(axis=0, dtype=float) for bits in kept]
    return float(by_column[0] @ by_column[1])


def _survivors(both: NDArray[Any], non_zero: float) -> dict[str, Any]:
    measured = both[0]
    shares = [part / part.sum() for part in both]
    places = np.arange(len(measured))
    return {
        "pairs": int(measured.sum()),
        "mean": float(shares[0] @ places),
        "non_zero": non_zero / float(measured.sum()),
        "expected": float(shares[1] @ places),
        "shares": shares[0].tolist(),
        "expected_shares": shares[1].tolist(),
        "distance": float(np.abs(shares[0] - shares[1]).sum() / 2),
    }


def _masks(matrices: Iterable[NDArray[Any]], pattern: str) -> Iterable[Bits]:
    return (prune(matrix, pattern, "magnitude").mask for matrix in matrices)


def transposed_fit(matrices: Iterable[NDArray[Any]], pattern: str) -> float:
    """Share of groups across masks made along features that fit the pattern by themselves."""
    group = Pattern.parse(pattern).group
    fit = groups = 0.0
    for mask in _masks(matrices, pattern):
        if mask.shape[0] % group or mask.shape[1] % group:
            continue
        count = mask.size // group
        fit += count * (1.0 - violations(mask.T, pattern))
        groups += count
    return fit / groups


def halves(matrices: Iterable[NDArray[Any]], pattern: str = "4:8") -> float:
    """Share of groups whose halves hold half of what is kept each."""
    kept = Pattern.parse(pattern)
    fit = groups = 0
    for mask in _masks(matrices, pattern):
        if mask.shape[1] % kept.group:
            continue
        first = mask.reshape(-1, 2, kept.group // 2)[:, 0].sum(axis=1)
        fit += int((first == kept.keep // 2).sum())
        groups += len(first)
    return fit / groups


def retained(matrices: Sequence[NDArray[Any]]) -> dict[str, float]:
    """L1 norm that structures keep of all weights, relative to unstructured pruning to a half."""
    most = _kept(matrices, "2:4", "unstructured")
    return {name: _kept(matrices, *structure) / most for name, structure in STRUCTURES.items()}


def _kept(matrices: Iterable[NDArray[Any]], pattern: str, pruner: str) -> float:
    return sum(retained_l1(m, prune(m, pattern, pruner).mask) for m in matrices)


def errors_of_update(
    gradients: Sequence[NDArray[Any]], columns: Sequence[NDArray[Any]], pattern: str
) -> dict[str, float]:
    """Relative error of weight gradients dYᵀ X when dY is pruned along T: root of summed squares.

    "greedy" errs alike in every step; "mvue" is one draw, "mvue, mean" the mean of many, which
    would be 0 for infinitely many.
    """
    whole = once = mean = greedy = 0.0
    for gradient, x in zip(gradients, columns, strict=True):
        exact = gradient.T.astype(np.float64) @ x
        drawn = [prune(gradient.T, pattern, "mvue", seed=s).values @ x for s in range(DRAWS)]
        whole += float(np.sum(exact**2))
        once += float(np.mean([np.sum((one - exact) ** 2) for one in drawn]))
        mean += float(np.sum((np.mean(drawn, axis=0) - exact) ** 2))
        greedy += float(np.sum((prune(gradient.T, pattern).values @ x - exact) ** 2))
    found = {"greedy": greedy, "mvue": once, "mvue, mean": mean}
    return {name: float(np.sqrt(error / whole)) for name, error in found.items()}
