"""Figure 2 and section 4 of Xu et al.: where the MACs and elements of ResNet-18 are."""

from itertools import groupby
from math import prod
from typing import Any

import plotly.graph_objects as go

import nmsim
from nmsim.report.plots.theme import MACHINE_COLOURS, apply_theme
from reports.claims import Found, Verdict, judged
from reports.papers.bench import AS_IS, Bench
from reports.papers.paper import Figures, Printed
from reports.papers.phase_gains import ALL_PHASES, network_rows

__all__ = [
    "A100",
    "BATCH",
    "MODEL",
    "PATTERN",
    "draw_layers",
    "judge_layers",
    "measure_layers",
    "time_share",
]

MODEL, BATCH, PATTERN, A100 = "resnet18", 256, "2:4", "a100-sxm4-80gb"

_ABOUT = 0.05


def measure_layers(bench: Bench = AS_IS) -> dict[str, Any]:
    """MACs of every convolution by phase, one image; elements of the second; the A100's time.

    MACs are those of the paper's definition, alike in all phases (``columns``); the time is of the
    implicit GEMMs that libraries run.
    """
    every = nmsim.load_model(MODEL).gemms(1, lowering="columns")
    gemms = [g for g in every if g.kind == "conv"]
    macs = {
        layer: {g.phase: g.macs for g in some}
        for layer, some in groupby(gemms, key=lambda g: g.layer)
    }
    second = next(g for g in nmsim.load_model(MODEL).gemms(BATCH) if g.layer == list(macs)[1])
    rows = network_rows(MODEL, "dense", PATTERN, BATCH, bench.machine(A100))
    return {
        "model": MODEL,
        "macs": macs,
        "forward_macs": sum(of["forward"] for of in macs.values()),
        "second": {
            "layer": second.layer,
            "weights": second.n * second.k,
            "activations": second.m * second.k,
        },
        "gpu": {
            "hardware": A100,
            "batch": BATCH,
            "time_us": {
                phase: sum(row["time_us"] for row in rows if row["phase"] == phase)
                for phase in ALL_PHASES
            },
        },
    }


def _backward_share(of: Figures, kept: float = 1.0) -> float:
    """Percent of the work that is not forward, where a mask leaves ``kept`` of forward."""
    rest = sum(value for phase, value in of.items() if phase != "forward")
    return float(100 * rest / (rest + kept * of["forward"]))


def judge_layers(printed: Printed, figures: Figures) -> list[Verdict]:
    """The shares of backward, and the sizes of one layer's operands."""
    return [*_shares(printed["layers"], figures), *_elements(printed["second_layer"], figures)]


def _shares(table: Printed, figures: Figures) -> list[Verdict]:
    kept = nmsim.Pattern.parse(PATTERN).density
    shares = {layer: _backward_share(of, kept) for layer, of in figures["macs"].items()}
    top = max(shares, key=lambda layer: shares[layer])
    return [
        judged(
            "SR-STE: the most of a convolution's MACs that is backward, ResNet-18",
            table["where"],
            f"up to {table['most_percent']} %",
            f"{shares[top]:.1f} % ({min(shares.values()):.1f} % in the first, {len(shares)} "
            "convolutions)",
            []
            if abs(shares[top] - table["most_percent"]) <= 1
            else [f"{top} has {shares[top]:.1f} %"],
        )
    ]


def time_share(printed: Printed, figures: Figures, _: tuple[str, ...]) -> Found:
    """Percent of the time of a dense step's GEMMs that is not forward."""
    gpu, said = figures["gpu"], printed["layers"]["training_percent"]
    share = _backward_share(gpu["time_us"])
    total = {phase: sum(m.get(phase, 0) for m in figures["macs"].values()) for phase in ALL_PHASES}
    return Found(
        {f"ResNet-18 on {gpu['hardware']}, batch {gpu['batch']}": share},
        f"{abs(share - said):.1f} points off",
        f"{_backward_share(total):.1f} % of the MACs",
    )


def _elements(table: Printed, figures: Figures) -> list[Verdict]:
    second = figures["second"]
    ratio = second["activations"] / second["weights"]
    sizes = [
        judged(
            f"Elements of the second layer's {name}, batch {BATCH}",
            table["where"],
            f"{' × '.join(map(str, table[name]))} = {prod(table[name]):,}",
            f"{second[name]:,} ({second['layer']}, im2col)",
            [] if prod(table[name]) == second[name] else ["the lowered layer has other sizes"],
        )
        for name in ("weights", "activations")
    ]
    return [
        *sizes,
        judged(
            "Activations over weights in that layer",
            table["where"],
            f"about {table['ratio']}×",
            f"{ratio:.0f}×",
            [] if abs(ratio / table["ratio"] - 1) <= _ABOUT else ["the sizes say otherwise"],
        ),
    ]


def draw_layers(figures: Figures) -> go.Figure:
    """MACs by layer and phase."""
    drawn = go.Figure()
    for phase, colour in zip(ALL_PHASES, MACHINE_COLOURS, strict=False):
        drawn.add_bar(
            name=phase,
            x=list(figures["macs"]),
            y=[of.get(phase, 0) / 1e6 for of in figures["macs"].values()],
            marker={"color": colour},
            hovertemplate=f"%{{x}}, {phase}: %{{y:.2f}} million MACs<extra></extra>",
        )
    drawn.update_layout(barmode="stack")
    drawn.update_yaxes(title="million MACs, one image")
    drawn.update_xaxes(tickangle=-45)
    return apply_theme(
        drawn,
        "MACs of the convolutions of ResNet-18",
        f"one image, dense · forward: {figures['forward_macs']:,} MACs in all",
        460,
        112,
    )
