"""Tables 3 and 4 of Xu et al.: speed-ups as MACs that are left, and on the GPU they name."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import plotly.graph_objects as go

from nmsim.network.operand import OPERANDS
from nmsim.report.plots.theme import MACHINE_COLOURS, apply_theme
from nmsim.spec import read_yaml
from reports.claims import Found, Verdict, judged
from reports.papers.bench import AS_IS, Bench
from reports.papers.paper import HERE, Figures, Printed
from reports.papers.phase_gains import network_rows, paces, phase_gains, slower
from reports.papers.xu_layers import A100, BATCH, MODEL, PATTERN

__all__ = [
    "draw_speedups",
    "judge_strategies",
    "measure_speedups",
    "measure_strategies",
    "step_gain",
    "strategy_gain",
]

DETECTION_BATCH = 16
"""Of detectors: Table 4 names none; MMDetection's schedules take two images on each of 8 GPUs."""

_PHASES = ("backward", "update")
_ALIKE = 0.05
"""What a strategy leaves of the MACs is a half, to this."""


@cache
def _rows() -> Mapping[str, Mapping[str, Any]]:
    rows: Mapping[str, Any] = read_yaml(HERE / "xu-2022.yaml")["tables"]["speedups"]["rows"]
    return rows


def measure_speedups(
    printed: Mapping[str, Mapping[str, Any]] | None = None,
    layers: str = "*",
    bench: Bench = AS_IS,
) -> dict[str, Any]:
    """MAC ratios and speed-ups of these rows, or of all."""
    found, gpu = {}, bench.machine(A100)
    for name, row in (printed or _rows()).items():
        batch = BATCH if row["model"].startswith("resnet") else DETECTION_BATCH
        rows = network_rows(row["model"], row["recipe"], row["pattern"], batch, gpu, layers)
        offered = sorted({r["phase"] for r in rows if "2:4" in (r["a_pattern"], r["b_pattern"])})
        found[name] = {
            "batch": batch,
            "phases": phase_gains(rows),
            "paces": {phase: paces(rows, phase) for phase in offered},
        }
    return {"hardware": A100, "rows": found}


def step_gain(_: Printed, figures: Figures, keys: tuple[str, ...]) -> Found:
    """Speed-up of all GEMMs of a training step, beside the MACs that the masks leave."""
    of = figures["rows"][keys[0]]
    reasons = [f"{phase}: {slower(pace)}" for phase, pace in of["paces"].items()]
    ideal = of["phases"]["all"]["ideal"]
    return Found(
        {f"{figures['hardware']}, batch {of['batch']}": of["phases"]["all"]["speedup"]},
        "; ".join(reasons) or "no GEMM has a 2:4 operand",
        f"MACs allow {ideal:.3f}×: {3 / ideal:.2f} of three GEMMs are left",
    )


def draw_speedups(figures: Figures) -> go.Figure:
    """Work and time of every row."""
    drawn = go.Figure()
    names = [name.partition(", ")[2] for name in figures["rows"]]
    printed = [row["factor"] for row in _rows().values()]
    gains = [of["phases"]["all"] for of in figures["rows"].values()]
    for name, values, colour in (
        ("printed", printed, MACHINE_COLOURS[4]),
        ("dense MACs over those left", [of["ideal"] for of in gains], MACHINE_COLOURS[0]),
        ("speed-up on the A100", [of["speedup"] for of in gains], MACHINE_COLOURS[1]),
    ):
        drawn.add_bar(
            name=name,
            x=names,
            y=values,
            marker={"color": colour},
            hovertemplate=f"%{{x}}, {name}: %{{y:.3f}}×<extra></extra>",
        )
    drawn.add_hline(y=1, line={"color": "#1F2933", "width": 1})
    drawn.update_yaxes(title="over dense", rangemode="tozero")
    drawn.update_xaxes(tickangle=-30)
    return apply_theme(
        drawn,
        "Printed speed-ups, MACs and time",
        f"all GEMMs of a training step · {figures['hardware']}, analytical",
        470,
        112,
    )


def measure_strategies(layers: str = "*", bench: Bench = AS_IS) -> dict[str, Any]:
    """Whose mask each strategy offers in each phase, and what that gains.

    The MACs that are left are those of the paper's matrices (``columns``), which have no padding
    for a mask of gradients to leave out.
    """
    found, gpu, ideal = {}, bench.machine(A100), AS_IS.machine("ideal")
    for strategy in ("WG", "WX", "GG", "GX"):
        rows = network_rows(MODEL, strategy.lower(), PATTERN, BATCH, gpu, layers)
        plain = network_rows(MODEL, strategy.lower(), PATTERN, BATCH, ideal, layers, "columns")
        found[strategy] = {
            "masks": {phase: _masked(rows, phase) for phase in _PHASES},
            "phases": phase_gains(rows),
            "left": {phase: gain["ideal"] for phase, gain in phase_gains(plain).items()},
            "paces": {phase: paces(rows, phase) for phase in _PHASES},
        }
    return {"hardware": A100, "model": MODEL, "batch": BATCH, "strategies": found}


def _masked(rows: list[dict[str, Any]], phase: str) -> list[str]:
    """Tensors whose mask some GEMM of the phase has."""
    a, b = OPERANDS[phase]  # type: ignore[index]
    sides = ((a.tensor, "a_pattern"), (b.tensor, "b_pattern"))
    return sorted(
        {
            tensor
            for row in rows
            for tensor, side in sides
            if row["phase"] == phase and row[side] != "dense"
        }
    )


def judge_strategies(printed: Printed, figures: Figures) -> list[Verdict]:
    """Whose mask each strategy puts in which phase, and the MACs that it leaves."""
    table = printed["strategies"]
    return [_halves(table, strategy, masks, figures) for strategy, masks in table["masks"].items()]


def _halves(table: Printed, strategy: str, masks: Mapping[str, str], figures: Figures) -> Verdict:
    of = figures["strategies"][strategy]
    wrong = [
        f"{p} masks {', '.join(of['masks'][p])}" for p in _PHASES if of["masks"][p] != [masks[p]]
    ]
    ideal = {phase: of["left"][phase] for phase in _PHASES}
    wrong += [
        f"{phase} leaves 1/{gain:.3f} of the MACs"
        for phase, gain in ideal.items()
        if abs(gain - 2) > _ALIKE
    ]
    return judged(
        f"{strategy}: one operand of Eq. 2 and Eq. 3 is 2:4, which saves half the MACs",
        table["where"],
        f"{', '.join(f'{p}: {m}' for p, m in masks.items())}; half",
        "; ".join(f"{p}: {', '.join(of['masks'][p])}, {ideal[p]:.3f}×" for p in _PHASES),
        wrong,
    )


def strategy_gain(_: Printed, figures: Figures, __: tuple[str, ...]) -> Found:
    """Speed-up in time of the two phases with a mask, by each strategy."""
    strategies = figures["strategies"]
    return Found(
        {
            f"{name} {phase}": of["phases"][phase]["speedup"]
            for name, of in strategies.items()
            for phase in _PHASES
        },
        "; ".join(
            f"{name} {phase}: {slower(of['paces'][phase])}"
            for name, of in strategies.items()
            for phase in _PHASES
        ),
        f"{figures['hardware']}, batch {figures['batch']}",
    )
