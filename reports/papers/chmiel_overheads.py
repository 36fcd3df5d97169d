"""Tables 3 and 10 of Chmiel et al.: what it costs to prune gradients and activations."""

from typing import Any

import plotly.graph_objects as go

from nmsim.report.pages.claims import Verdict, judged
from nmsim.report.plots.theme import MACHINE_COLOURS, apply_theme
from reports.papers.measure_kernels import ACTIVATIONS, ESTIMATORS
from reports.papers.paper import Figures, Printed
from reports.papers.training_step import (
    conditions,
    forward_outputs,
    nanoseconds,
    one_pass,
    passing,
    step,
)

__all__ = [
    "draw_estimators",
    "judge_activations",
    "judge_estimators_cost",
    "measure_activations",
    "measure_estimators_cost",
]

BATCH = 32
"""Of a GPU: 256 on 8 of them (Appendix A.4)."""

_ALIKE = 2.0
_EXACT, _APPROXIMATE = "MVUE 2:4", "approx-MVUE 2:4"


def measure_estimators_cost() -> dict[str, Any]:
    """Times of the estimators on a core; a pass over all gradients on the GPU; a training step."""
    cells = forward_outputs("resnet50", BATCH, inner=True)
    return {
        "model": "resnet50",
        "batch": BATCH,
        "step": step("resnet50", BATCH),
        "fused": one_pass(cells, "2:4"),
        "operators": one_pass(cells, "2:4", fused=False),
        "nanoseconds": {name: nanoseconds(name) for name in ESTIMATORS},
        "conditions": conditions(),
    }


def _percent(figures: Figures, kind: str) -> float:
    return float(100 * figures[kind]["ms"] / figures["step"]["gpu_ms"])


def judge_estimators_cost(printed: Printed, figures: Figures) -> list[Verdict]:
    """Every row of Table 3 against a pass over the gradients; quotients against kernels."""
    table = printed["estimators"]
    said, ns = table["overhead_percent"], figures["nanoseconds"]
    rows = [_pass(table, name, percent, figures) for name, percent in said.items()]
    return [
        *rows,
        _quotient(table, _EXACT, ns),
        _quotient(table, "MVUE 1:2", ns),
        _reduction(table),
    ]


def _pass(table: Printed, name: str, percent: float, figures: Figures) -> Verdict:
    least, operators = _percent(figures, "fused"), _percent(figures, "operators")
    core = figures["nanoseconds"][name] * figures["fused"]["elements"] / 1e6
    share = 100 * core / figures["step"]["core_ms"]
    return judged(
        f"{name}: overhead over training, at least a pass over every gradient",
        table["where"],
        f"{percent} %",
        f"{least:.1f} % for one kernel that reads and writes each once, {operators:.0f} % for "
        f"operators of a framework; {share:.0f} % with both on a core",
        []
        if percent >= least
        else [
            (
                f"less than a pass of its own takes, {figures['fused']['ms']:.1f} ms beside "
                f"{figures['step']['gpu_ms']:.0f} of GEMMs: unless the rest of a step takes "
                f"{least / percent - 1:.1f} times as long as those, only a kernel that makes the "
                "gradients can prune them so fast"
            )
        ],
    )


def _quotient(table: Printed, name: str, ns: Figures) -> Verdict:
    of = table["overhead_percent"]
    said, found = of[name] / of[_APPROXIMATE], ns[name] / ns[_APPROXIMATE]
    times = found / said
    reason = (
        f"{ns[name]:.1f} ns an element and {ns[_APPROXIMATE]:.1f}: the optimum needs no search, "
        "p = min(1, |a|/t), and one random number a group, the approximation needs N"
    )
    return judged(
        f"{name} over {_APPROXIMATE}, kernels of one run",
        f"{table['where']}, quotient of two rows",
        f"{said:.3g}×",
        f"{found:.2f}×",
        [] if 1 / _ALIKE <= times <= _ALIKE else [reason],
    )


def _reduction(table: Printed) -> Verdict:
    of, said = table["overhead_percent"], table["reduction_percent"]
    found = 100 * (1 - of[_APPROXIMATE] / of[_EXACT])
    return judged(
        "The approximation reduces the time of MVUE 2:4",
        "section 4.4",
        f"by ~{said} %",
        f"by {found:.0f} % going by Table 3 itself",
        [] if abs(found - said) < 5 else ["text and table of the paper part"],
    )


def draw_estimators(figures: Figures) -> go.Figure:
    """Time an element of every estimator."""
    drawn = go.Figure()
    ns = figures["nanoseconds"]
    drawn.add_bar(
        x=list(ns),
        y=list(ns.values()),
        width=0.45,
        marker={"color": MACHINE_COLOURS[0]},
        text=[f"{value:.1f}" for value in ns.values()],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{x}: %{y:.4g} ns an element<extra></extra>",
        showlegend=False,
    )
    drawn.update_yaxes(title="CPU time [ns an element]", rangemode="tozero")
    held = figures["conditions"]
    return apply_theme(
        drawn,
        "What it takes to draw a gradient",
        f"one run, median of warm runs · {held['cpu']}, {held['threads']} thread",
        390,
        96,
    )


def measure_activations() -> dict[str, Any]:
    """What pruning adds to a ReLU: a kernel on the GPU, and times on a core."""
    cells = forward_outputs("resnet18", BATCH, inner=True)
    return {
        "model": "resnet18",
        "batch": BATCH,
        "step": step("resnet18", BATCH),
        "relu_ms": passing(cells),
        "fused": {p: one_pass(cells, p) for p in ACTIVATIONS},
        "operators": {p: one_pass(cells, p, fused=False) for p in ACTIVATIONS},
        "nanoseconds": {
            "relu": nanoseconds("relu"),
            **{p: nanoseconds(f"activations {p}") for p in ACTIVATIONS},
        },
        "conditions": conditions(),
    }


def judge_activations(printed: Printed, figures: Figures) -> list[Verdict]:
    """Every row of Table 10: inside the ReLU's kernel or after it; 4:8 against 2:4."""
    table = printed["activations"]
    said, ns = table["overhead_percent"], figures["nanoseconds"]
    gpu, core = figures["step"]["gpu_ms"], figures["step"]["core_ms"]
    verdicts = []
    for pattern, percent in said.items():
        inside = 100 * (figures["fused"][pattern]["ms"] - figures["relu_ms"]) / gpu
        after = 100 * figures["fused"][pattern]["ms"] / gpu
        alone = ns[pattern] * figures["fused"][pattern]["elements"] / 1e6 / core
        verdicts.append(
            judged(
                f"{pattern}: overhead of pruning activations over a ReLU",
                table["where"],
                f"{percent} %",
                f"{abs(inside):.2f} % in the ReLU's kernel, whose bytes hide the comparisons; "
                f"{after:.1f} % as a kernel of its own; {100 * alone:.1f} % with both on a core",
                []
                if inside <= percent < after
                else [f"it lies outside {abs(inside):.2f} to {after:.1f} %"],
            )
        )
    wanted, found = said["4:8"] / said["2:4"], ns["4:8"] / ns["2:4"]
    return [
        *verdicts,
        judged(
            "4:8 over 2:4, kernels of one run",
            f"{table['where']}, quotient of two rows",
            f"{wanted:.2g}×",
            f"{found:.2f}× ({ns['2:4']:.2f} and {ns['4:8']:.2f} ns an element)",
            []
            if 1 / _ALIKE <= found / wanted <= _ALIKE
            else ["a group of 8 is ranked by 28 comparisons, one of 4 by 6: 2.3 times an element"],
        ),
    ]
