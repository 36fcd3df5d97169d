"""Tables 3 and 4 of Xu et al.: speed-ups as MACs that are left, and on the GPU they name."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import plotly.graph_objects as go

from nmsim.network.operand import OPERANDS
from nmsim.report.pages.claims import Verdict, judged
from nmsim.report.plots.theme import MACHINE_COLOURS, apply_theme
from nmsim.spec import read_yaml
from reports.papers.paper import HERE, Figures, Printed
from reports.papers.phase_gains import network_rows, paces, phase_gains, slower
from reports.papers.xu_layers import A100, BATCH, MODEL, PATTERN

__all__ = [
    "draw_speedups",
    "judge_speedups",
    "judge_strategies",
    "measure_speedups",
    "measure_strategies",
]

DETECTION_BATCH = 16
"""Of detectors: Table 4 names none; MMDetection's schedules take two images on each of 8 GPUs."""

_PHASES = ("backward", "update")
_ALIKE = 0.05


@cache
def _rows() -> Mapping[str, Mapping[str, Any]]:
    rows: Mapping[str, Any] = read_yaml(HERE / "xu-2022.yaml")["tables"]["speedups"]["rows"]
    return rows


def measure_speedups(
    printed: Mapping[str, Mapping[str, Any]] | None = None, layers: str = "*"
) -> dict[str, Any]:
    """MAC ratios and speed-ups of these rows, or of all."""
    found = {}
    for name, row in (printed or _rows()).items():
        batch = BATCH if row["model"].startswith("resnet") else DETECTION_BATCH
        rows = network_rows(row["model"], row["recipe"], row["pattern"], batch, A100, layers)
        offered = sorted({r["phase"] for r in rows if "2:4" in (r["a_pattern"], r["b_pattern"])})
        found[name] = {
            "batch": batch,
            "phases": phase_gains(rows),
            "paces": {phase: paces(rows, phase) for phase in offered},
        }
    return {"hardware": A100, "rows": found}


def judge_speedups(printed: Printed, figures: Figures) -> list[Verdict]:
    """Every row twice: work and time."""
    rows = printed["speedups"]["rows"]
    return [
        verdict
        for judge in (_work, _time)
        for name, row in rows.items()
        for verdict in [judge(name, row["factor"], figures)]
    ]


def _work(name: str, factor: float, figures: Figures) -> Verdict:
    place, _, what = name.partition(", ")
    found = figures["rows"][name]["phases"]["all"]["ideal"]
    return judged(
        f"{what}: dense MACs over those that are left",
        place,
        f"{factor}×",
        f"{found:.3f}×: {3 / found:.2f} of three GEMMs are left",
        [] if abs(found - factor) <= _ALIKE else [f"the masks leave 1/{found:.3f} of the MACs"],
    )


def _time(name: str, factor: float, figures: Figures) -> Verdict:
    place, _, what = name.partition(", ")
    of = figures["rows"][name]
    found = of["phases"]["all"]["speedup"]
    reasons = [f"{phase}: {slower(pace)}" for phase, pace in of["paces"].items()]
    return judged(
        f"{what}: speed-up of all GEMMs of a step, {figures['hardware']}, batch {of['batch']}",
        place,
        f"{factor}×",
        f"{found:.3f}×",
        [] if abs(found - factor) <= _ALIKE else reasons or ["no GEMM has a 2:4 operand"],
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


def measure_strategies(layers: str = "*") -> dict[str, Any]:
    """Whose mask each strategy offers in each phase, and what that gains.

    The MACs that are left are those of the paper's matrices (``columns``), which have no padding
    for a mask of gradients to leave out.
    """
    found = {}
    for strategy in ("WG", "WX", "GG", "GX"):
        rows = network_rows(MODEL, strategy.lower(), PATTERN, BATCH, A100, layers)
        plain = network_rows(MODEL, strategy.lower(), PATTERN, BATCH, "ideal", layers, "columns")
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
    """Each strategy: its masks and MACs, and its time."""
    table = printed["strategies"]
    return [
        judge(table, strategy, masks, figures)
        for judge in (_halves, _twice)
        for strategy, masks in table["masks"].items()
    ]


def _halves(table: Printed, strategy: str, masks: Mapping[str, str], figures: Figures) -> Verdict:
    of = figures["strategies"][strategy]
    wrong = [
        f"{p} masks {', '.join(of['masks'][p])}" for p in _PHASES if of["masks"][p] != [masks[p]]
    ]
    ideal = {phase: of["left"][phase] for phase in _PHASES}
    wrong += [
        f"{phase} leaves 1/{gain:.3f} of the MACs"
        for phase, gain in ideal.items()
        if abs(gain - table["factor"]) > _ALIKE
    ]
    return judged(
        f"{strategy}: one operand of Eq. 2 and Eq. 3 is 2:4, which saves half the MACs",
        table["where"],
        f"{', '.join(f'{p}: {m}' for p, m in masks.items())}; {table['factor']}×",
        "; ".join(f"{p}: {', '.join(of['masks'][p])}, {ideal[p]:.3f}×" for p in _PHASES),
        wrong,
    )


def _twice(table: Printed, strategy: str, masks: Mapping[str, str], figures: Figures) -> Verdict:
    of = figures["strategies"][strategy]
    gains = {phase: of["phases"][phase]["speedup"] for phase in masks}
    return judged(
        f"{strategy}: those GEMMs are faster, {figures['hardware']}, batch {figures['batch']}",
        table["where"],
        f"{table['factor']}×",
        ", ".join(f"{phase} {gain:.2f}×" for phase, gain in gains.items()),
        [
            f"{phase}: {slower(of['paces'][phase])}"
            for phase, gain in gains.items()
            if abs(gain - table["factor"]) > _ALIKE
        ],
    )
