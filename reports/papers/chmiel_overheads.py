"""Tables 3 and 10 of Chmiel et al.: what it costs to prune gradients and activations."""

from typing import Any

import plotly.graph_objects as go

from nmsim.report.plots.theme import MACHINE_COLOURS, apply_theme
from reports.claims import Found, Verdict, judged
from reports.papers.bench import AS_IS, Bench
from reports.papers.measure_kernels import ACTIVATIONS, ESTIMATORS
from reports.papers.paper import Figures, Printed
from reports.papers.training_step import (
    MACHINE,
    conditions,
    forward_outputs,
    nanoseconds,
    one_pass,
    passing,
    step,
)

__all__ = [
    "activation_overhead",
    "draw_estimators",
    "estimator_overhead",
    "judge_activations",
    "judge_estimators_cost",
    "measure_activations",
    "measure_estimators_cost",
]

BATCH = 32
"""Of a GPU: 256 on 8 of them (Appendix A.4)."""

_ALIKE = 2.0
_KERNEL, _OPERATORS = "one kernel of its own", "operators of a framework"
_EXACT, _APPROXIMATE = "MVUE 2:4", "approx-MVUE 2:4"


def measure_estimators_cost(bench: Bench = AS_IS) -> dict[str, Any]:
    """Times of the estimators on a core; a pass over all gradients on the GPU; a training step."""
    cells, gpu = forward_outputs("resnet50", BATCH, inner=True), bench.gpu(MACHINE)
    return {
        "model": "resnet50",
        "batch": BATCH,
        "step": step("resnet50", BATCH, bench),
        "fused": one_pass(cells, "2:4", gpu=gpu),
        "operators": one_pass(cells, "2:4", gpu=gpu, fused=False),
        "nanoseconds": {name: nanoseconds(name) for name in ESTIMATORS},
        "conditions": conditions(),
    }


def _percent(figures: Figures, kind: str) -> float:
    return float(100 * figures[kind]["ms"] / figures["step"]["gpu_ms"])


def judge_estimators_cost(printed: Printed, figures: Figures) -> list[Verdict]:
    """Quotients of rows of Table 3 against kernels, and the table against the text."""
    table, ns = printed["estimators"], figures["nanoseconds"]
    return [_quotient(table, _EXACT, ns), _quotient(table, "MVUE 1:2", ns), _reduction(table)]


def estimator_overhead(printed: Printed, figures: Figures, keys: tuple[str, ...]) -> Found:
    """Percent of a step's GEMMs that a pass over every gradient takes, however it is written."""
    said = printed["estimators"]["overhead_percent"][keys[0]]
    least = _percent(figures, "fused")
    return Found(
        {_KERNEL: least, _OPERATORS: _percent(figures, "operators")},
        f"a pass of its own takes {figures['fused']['ms']:.1f} ms beside "
        f"{figures['step']['gpu_ms']:.0f} of GEMMs, {least:.1f} %; the printed figure is "
        f"{said / least:.2g} times that",
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
        "definition",
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


def measure_activations(bench: Bench = AS_IS) -> dict[str, Any]:
    """What pruning adds to a ReLU: a kernel on the GPU, and times on a core."""
    cells, gpu = forward_outputs("resnet18", BATCH, inner=True), bench.gpu(MACHINE)
    return {
        "model": "resnet18",
        "batch": BATCH,
        "step": step("resnet18", BATCH, bench),
        "relu_ms": passing(cells, gpu),
        "fused": {p: one_pass(cells, p, gpu=gpu) for p in ACTIVATIONS},
        "operators": {p: one_pass(cells, p, gpu=gpu, fused=False) for p in ACTIVATIONS},
        "nanoseconds": {
            "relu": nanoseconds("relu"),
            **{p: nanoseconds(f"activations {p}") for p in ACTIVATIONS},
        },
        "conditions": conditions(),
    }


def activation_overhead(_: Printed, figures: Figures, keys: tuple[str, ...]) -> Found:
    """Percent of a step's GEMMs that pruning adds to a ReLU: in its kernel, or after it."""
    own, gpu = figures["fused"][keys[0]]["ms"], figures["step"]["gpu_ms"]
    inside, after = 100 * abs(own - figures["relu_ms"]) / gpu, 100 * own / gpu
    return Found(
        {"in the ReLU's kernel": inside, _KERNEL: after},
        f"bytes of the ReLU hide the comparisons, and a kernel of its own takes {after:.1f} %",
    )


def judge_activations(printed: Printed, figures: Figures) -> list[Verdict]:
    """4:8 against 2:4, by times of kernels."""
    table, ns = printed["activations"], figures["nanoseconds"]
    said = table["overhead_percent"]
    wanted, found = said["4:8"] / said["2:4"], ns["4:8"] / ns["2:4"]
    return [
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
