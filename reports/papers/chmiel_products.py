"""Sections 5 and 6 of Chmiel et al.: what two pruned operands leave to multiply."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from safetensors.numpy import load_file

import nmsim
from nmsim import prune
from nmsim.cost import bit_operations
from nmsim.gemm import Gemm
from nmsim.recipes.statistics import expected_macs
from nmsim.report.plots.theme import DENSE_COLOUR, MACHINE_COLOURS, apply_theme
from reports.claims import Verdict, judged
from reports.papers.paper import HERE, Figures, Printed

__all__ = [
    "draw_products",
    "judge_bit_operations",
    "judge_products",
    "measure_bit_operations",
    "measure_products",
]

PAIRS = (("2:4", "2:4"), ("2:4", "4:8"), ("4:8", "4:8"))
"""Patterns of weights and of activations; the second is that of section 6."""

_WEIGHTS = HERE.parents[1] / "traces" / "digits.safetensors"
_LAYER, _TOKENS = "fc2.weight", 512
_DRAWN, _EXACT = 1e-2, 1e-12
_FULL_BITS = 32


def _common(
    weights: NDArray[np.bool_], activations: NDArray[np.bool_], length: int
) -> NDArray[np.int64]:
    """How often a block of ``length`` elements of K leaves 0, 1, ... products."""
    counts = np.zeros(length + 1, np.int64)
    for start in range(0, weights.shape[1], length):
        block = slice(start, start + length)
        left = activations[:, block].astype(np.float32) @ weights[:, block].T.astype(np.float32)
        counts += np.bincount(left.astype(np.int64).ravel(), minlength=length + 1)
    return counts


def measure_products(tokens: int = _TOKENS, weights: Path = _WEIGHTS) -> dict[str, Any]:
    """Products of a block: exact for random masks, and on trained weights with drawn activations.

    Activations are ReLU of a Gaussian. A mask counts whole, as hardware that reads it does, or only
    where the activation it keeps is not zero.
    """
    w = load_file(weights)[_LAYER]
    x = np.maximum(np.random.default_rng(4).standard_normal((tokens, w.shape[1]), np.float32), 0)
    found = {}
    for ours, theirs in PAIRS:
        exact = expected_macs(ours, theirs)
        kept = prune(w, ours, "magnitude").mask
        pruned = prune(x, theirs, "magnitude")
        bits = {"mask": pruned.mask, "non_zero": pruned.values != 0}
        counts = {name: _common(kept, mask, exact.length) for name, mask in bits.items()}
        found[f"{ours}, {theirs}"] = {
            "length": exact.length,
            "exact_mean": float(exact.mean),
            "exact": [float(exact.pmf.get(n, 0)) for n in range(exact.length + 1)],
            **{
                name: {
                    "mean": float(np.arange(exact.length + 1) @ of / of.sum()),
                    "shares": (of / of.sum()).tolist(),
                }
                for name, of in counts.items()
            },
        }
    return {
        "weights": f"{weights.name}, {_LAYER}",
        "tokens": tokens,
        "pairs": found,
    }


def judge_products(printed: Printed, figures: Figures) -> list[Verdict]:
    """Eq. 18 on tensors whose non-zeros nobody spread evenly."""
    table, pairs = printed["products"], figures["pairs"]
    one = pairs["2:4, 2:4"]
    wanted = [float(Fraction(*p)) for p in table["probabilities"]]
    said = ", ".join(f"{top}/{bottom}" for top, bottom in table["probabilities"])
    return [
        judged(
            "Both operands 2:4, trained weights and ReLU activations: what the masks leave",
            f"{table['where']}, assumes a uniform distribution",
            f"{said}; mean {table['mean']}",
            ", ".join(f"{p:.4f}" for p in one["mask"]["shares"][:3])
            + f"; mean {one['mask']['mean']:.4f}",
            _away(one["mask"]["shares"], wanted, _DRAWN)
            + _away([one["mask"]["mean"]], [table["mean"]], _DRAWN),
        ),
        *(_non_zero(table, name, of) for name, of in pairs.items()),
    ]


def _away(found: list[float], wanted: list[float], error: float) -> list[str]:
    full = [*wanted, *[0.0] * (len(found) - len(wanted))]
    return [f"{x:.4f}, not {y:.4f}" for x, y in zip(found, full, strict=True) if abs(x - y) > error]


def _non_zero(table: Printed, name: str, of: Figures) -> Verdict:
    weights, _, activations = name.partition(", ")
    blocks = of["length"] / 4
    mean, wanted = of["non_zero"]["mean"] / blocks, float(table["mean"])
    return judged(
        f"Products that are not zero, a block of 4: weights {weights}, activations {activations}",
        f"{table['where']}, N/2 a block",
        f"{table['mean']}",
        f"{mean:.3f}",
        []
        if abs(mean - wanted) <= _DRAWN
        else [
            (
                f"{100 * (1 - mean / wanted):.0f} % fewer: ReLU leaves some groups fewer non-zeros "
                "than the pattern has room for"
            )
        ],
    )


def draw_products(figures: Figures) -> go.Figure:
    """Distribution of products per block for the patterns of section 6 and Eq. 18."""
    drawn = go.Figure()
    pair = figures["pairs"]["2:4, 4:8"]
    for name, shares, colour in (
        ("random masks, exact", pair["exact"], DENSE_COLOUR),
        ("trained weights, mask bits", pair["mask"]["shares"], MACHINE_COLOURS[0]),
        ("trained weights, not zero", pair["non_zero"]["shares"], MACHINE_COLOURS[1]),
    ):
        drawn.add_bar(
            name=name,
            x=list(range(6)),
            y=[100 * share for share in shares[:6]],
            marker={"color": colour},
            hovertemplate=f"%{{x}} products, {name}: %{{y:.2f}} %<extra></extra>",
        )
    drawn.update_xaxes(title="products of a block of 8 elements of K", dtick=1)
    drawn.update_yaxes(title="blocks [%]")
    return apply_theme(
        drawn,
        "Weights 2:4, activations 4:8: what is left to multiply",
        f"{figures['weights']} · {figures['tokens']} rows of ReLU of a Gaussian",
        430,
        112,
    )


def measure_bit_operations() -> dict[str, Any]:
    """MACs of ResNet-18's forward GEMMs, and which layers can hold the masks."""
    found = {"pruned": 0, "first": 0, "last": 0}
    gemms: list[Gemm] = [g for g in nmsim.load_model("resnet18").gemms(1) if g.phase == "forward"]
    for at, gemm in enumerate(gemms):
        place = "last" if at == len(gemms) - 1 else "first" if at == 0 else "pruned"
        found[place] += gemm.macs
    pairs = {
        f"{ours}, {theirs}": float(
            expected_macs(ours, theirs).mean / expected_macs(ours, theirs).length
        )
        for ours, theirs in PAIRS
    }
    return {"model": "resnet18", "macs": found, "mac_share": pairs}


def judge_bit_operations(printed: Printed, figures: Figures) -> list[Verdict]:
    """4 bits with two masks against 2 bits: a block, a lock-step array, the network."""
    table, macs = printed["bit_operations"], figures["macs"]
    bits, equal = table["bits"], table["equivalent_bits"]
    name = ", ".join(table["patterns"])
    share = figures["mac_share"][name]
    densest = min(nmsim.Pattern.parse(p).density for p in table["patterns"])
    inner = share * bit_operations(macs["pruned"], bits, bits)
    # Of the first layer the input has 3 channels, no group; the last is dense in full precision.
    first = bit_operations(macs["first"], bits, bits)
    last = bit_operations(macs["last"], _FULL_BITS, _FULL_BITS)
    whole = inner + first + last
    quantised = bit_operations(macs["pruned"] + macs["first"], equal, equal) + last
    skip, lock = (s * bit_operations(1, bits, bits) / equal**2 for s in (share, float(densest)))
    return [
        _times(f"{bits} bits with masks {name}, an engine that skips", table, skip, ""),
        _times(
            f"{bits} bits with masks {name}, a lock-step array",
            table,
            lock,
            "it must assume the worst case (section 5), so one mask of the two counts",
        ),
        _times(
            "ResNet-18, last layer dense in full precision in both",
            table,
            whole / quantised,
            f"the first layer, {100 * macs['first'] / sum(macs.values()):.1f} % of the MACs, has 3 "
            f"input channels and no group of {table['patterns'][1].partition(':')[2]}",
        ),
    ]


def _times(what: str, table: Printed, found: float, because: str) -> Verdict:
    equal = table["equivalent_bits"]
    return judged(
        f"{what}: bit operations over those of {equal} bits",
        table["where"],
        "1×",
        f"{found:.3f}×",
        [] if abs(found - 1) <= _EXACT else [because or f"it is {found:.3f}×"],
    )
