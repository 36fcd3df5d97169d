"""Tables 1, 17 and 18 of Bambhaniya et al. and the FLOPs of Figures 4 and 5: two for every MAC."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import plotly.graph_objects as go

import nmsim
from nmsim.network.layer import AttentionLayer, Layer, Linear
from nmsim.report.plots.theme import MACHINE_COLOURS, apply_theme
from reports.claims import Verdict, judged
from reports.papers.paper import Figures, Printed

__all__ = [
    "FEED_FORWARD",
    "draw_savings",
    "judge_flops",
    "judge_savings",
    "measure_flops",
    "measure_savings",
    "operators",
]

MODEL = "vit-b16"
FEED_FORWARD = ("mlp.0", "mlp.3")
TARGETS = ("2:4", "1:4", "1:8", "1:16", "1:32", "1:128")
GROUPS: Mapping[str, tuple[str, ...]] = {
    "einsum": ("scores", "context"),
    "projections": ("query", "key", "value", "output"),
    "feed-forward": FEED_FORWARD,
}

_DIGIT = 0.01
"""The last digit that the tables print, cut or rounded."""


def _at(layer: Layer, tokens: int) -> Layer:
    """The layer without its class token."""
    fields = ("tokens",) if isinstance(layer, Linear) else ("queries", "keys")
    changed = {name: tokens for name in fields if getattr(layer, name) == tokens + 1}
    return layer.model_copy(update=changed)


def operators(model: str = MODEL) -> dict[str, dict[str, int]]:
    """FLOPs of one image and weights of every operator of the encoder, all blocks.

    The tables' sequence has no class token, and no patch embedding or classifier is in them.
    """
    network = nmsim.load_model(model)
    patches = (
        next(layer for layer in network.layers if layer.name == "conv_proj").lower(1)[0].gemm.m
    )
    found: dict[str, dict[str, int]] = {}
    for layer in network.layers:
        if isinstance(layer, Linear | AttentionLayer) and layer.name.startswith("encoder."):
            found |= _operators_of(_at(layer, patches))
    return found


def _operators_of(layer: Layer) -> dict[str, dict[str, int]]:
    """Operators of one layer, by the names of the tables."""
    macs = [one.gemm.macs for one in layer.lower(1) if one.gemm.phase == "forward"]
    name = layer.name.partition("_*.")[2]
    if isinstance(layer, AttentionLayer):
        counted = zip(("scores", "context"), macs, (0, 0), strict=True)
    elif name.endswith("in_proj"):  # three projections in one matrix
        thirds = [macs[0] // 3] * 3, [layer.weights // 3] * 3
        counted = zip(("query", "key", "value"), *thirds, strict=True)
    else:
        names = {"self_attention.out_proj": "output"}
        counted = zip([names.get(name, name)], macs, [layer.weights], strict=True)
    return {name: {"flops": 2 * own, "weights": weights} for name, own, weights in counted}


def measure_flops() -> dict[str, Any]:
    """Operators of ViT-Base, and its number of patches."""
    patches = nmsim.load_model(MODEL).layers[0].lower(1)[0].gemm.m
    return {"model": MODEL, "patches": patches, "operators": operators()}


def _sum(figures: Figures, names: Iterable[str], what: str) -> float:
    return float(sum(figures["operators"][name][what] for name in names))


def judge_flops(printed: Printed, figures: Figures) -> list[Verdict]:
    """Every figure of the three tables."""
    return [
        *_contributions(printed["contributions"], figures),
        *_operators(printed["operators"], figures),
        *_targets(printed["targets"], figures),
    ]


def _digits(statement: str, where: str, said: Iterable[float], found: Iterable[float]) -> Verdict:
    said, found = list(said), list(found)
    off = [f"{b:.3f} is not {a}" for a, b in zip(said, found, strict=True) if abs(a - b) >= _DIGIT]
    return judged(
        statement,
        where,
        ", ".join(map(str, said)),
        ", ".join(f"{value:.3f}" for value in found),
        off,
    )


def _contributions(table: Printed, figures: Figures) -> list[Verdict]:
    everything = list(figures["operators"])
    flops, weights = (_sum(figures, everything, what) for what in ("flops", "weights"))
    verdicts = [
        judged(
            "Sequence of an image of 224 × 224",
            table["where"],
            str(table["sequence"]),
            f"{figures['patches']} patches, no class token",
            [] if figures["patches"] == table["sequence"] else ["the patches are other"],
        ),
        judged(
            "Unit of the FLOPs of one image",
            table["where"],
            f"{table['unit']}FLOPs",
            f"{flops / 1e9:.2f} GFLOPs in all",
            [] if table["unit"] == "G" else ["Tables 17 and 18 count the same FLOPs in G"],
        ),
    ]
    for group, row in table["groups"].items():
        own, held = (_sum(figures, GROUPS[group], what) for what in ("flops", "weights"))
        shares = (100 * own / flops, 100 * held / weights)
        wrong = [
            f"{found:.3f} {what}, not {said}"
            for what, said, found, digit in (
                ("GFLOPs", row["flops"], own / 1e9, _DIGIT),
                ("% of FLOPs", row["flops_percent"], shares[0], 1),
                ("million parameters", row["parameters"], held / 1e6, _DIGIT),
                ("% of parameters", row["parameters_percent"], shares[1], 0.1),
            )
            if abs(said - found) >= digit
        ]
        verdicts.append(
            judged(
                f"{group}: FLOPs and parameters, figures apart from the unit",
                table["where"],
                f"{row['flops']} ({row['flops_percent']} %), {row['parameters']} "
                f"({row['parameters_percent']} %)",
                f"{own / 1e9:.3f} G ({shares[0]:.2f} %), {held / 1e6:.3f} M ({shares[1]:.2f} %)",
                wrong,
            )
        )
    return verdicts


def _operators(table: Printed, figures: Figures) -> list[Verdict]:
    return [
        _digits(
            f"{name}: GFLOPs",
            table["where"],
            [said],
            [figures["operators"][name]["flops"] / 1e9],
        )
        for name, said in table["flops"].items()
    ]


def _density(target: str) -> float:
    return 1.0 if target == "dense" else nmsim.Pattern.parse(target).density


def _targets(table: Printed, figures: Figures) -> list[Verdict]:
    dense = _sum(figures, FEED_FORWARD, "flops") / 1e9
    attention = _sum(figures, figures["operators"], "flops") / 1e9 - dense
    return [
        _digits(
            f"{target} in feed-forward: GFLOPs of self-attention, feed-forward, all",
            table["where"],
            said,
            (attention, _density(target) * dense, attention + _density(target) * dense),
        )
        for target, said in table["rows"].items()
    ]


def measure_savings() -> dict[str, Any]:
    """What the feed-forward patterns leave of FLOPs and weights."""
    of = operators()
    figures = {"operators": of}

    def left(what: str) -> Callable[[str], float]:
        dense = _sum(figures, FEED_FORWARD, what)
        rest = _sum(figures, of, what) - dense
        return lambda target: rest + _density(target) * dense

    return {
        "model": MODEL,
        "left": {
            target: {what: left(what)(target) for what in ("flops", "weights")}
            for target in ("dense", *TARGETS)
        },
    }


def judge_savings(printed: Printed, figures: Figures) -> list[Verdict]:
    """The savings that the text draws from Figure 5."""
    table = printed["savings"]
    sparser, other = table["patterns"]
    verdicts = []
    for what, name, field in (
        ("flops", "inference FLOPs", "flops_percent"),
        ("weights", "parameters", "parameters_percent"),
    ):
        less, than, dense = (figures["left"][at][what] for at in (sparser, other, "dense"))
        saved = 100 * (1 - less / than)
        verdicts.append(
            judged(
                f"{sparser} in feed-forward has fewer {name} than {other}",
                table["where"],
                f"{table[field]} % fewer",
                f"{saved:.1f} % fewer",
                []
                if abs(saved - table[field]) <= 1
                else [
                    (
                        f"{less / 1e6:,.0f} against {than / 1e6:,.0f} million; "
                        f"{100 * (1 - less / dense):.1f} % is what {sparser} saves over dense"
                    )
                ],
            )
        )
    return verdicts


def draw_savings(figures: Figures) -> go.Figure:
    """FLOPs and weights that each target leaves, over dense."""
    drawn = go.Figure()
    dense = figures["left"]["dense"]
    for what, name, colour in (
        ("flops", "inference FLOPs", MACHINE_COLOURS[0]),
        ("weights", "weights", MACHINE_COLOURS[1]),
    ):
        values = [100 * of[what] / dense[what] for of in figures["left"].values()]
        drawn.add_bar(
            name=name,
            x=list(figures["left"]),
            y=values,
            marker={"color": colour},
            text=[f"{value:.1f}" for value in values],
            textposition="outside",
            cliponaxis=False,
            hovertemplate=f"%{{x}}: %{{y:.2f}} % of the dense {name}<extra></extra>",
        )
    drawn.update_xaxes(title="pattern of the feed-forward weights", type="category")
    drawn.update_yaxes(title="of dense [%]", range=[0, 110])
    return apply_theme(
        drawn,
        "What patterns in feed-forward layers leave",
        f"{figures['model']} at 196 tokens, encoder blocks",
        430,
        112,
    )
