"""Tables 2 and A.3 of Hubara et al.: what the search of a transposable mask costs."""

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go

import nmsim
from nmsim.report.plots.theme import INK, MACHINE_COLOURS, MACHINE_SYMBOLS, apply_theme
from reports.claims import Verdict, judged
from reports.papers.bench import AS_IS
from reports.papers.measure_kernels import GROUPS, INTEGER_PROGRAM
from reports.papers.paper import Figures, Printed
from reports.papers.training_step import MACHINE, conditions, nanoseconds, one_pass, step

__all__ = [
    "draw_growth",
    "draw_searches",
    "judge_growth",
    "judge_searches",
    "measure_growth",
    "measure_searches",
    "overhead",
]

MODEL, BATCH = "resnet50", 32
"""The paper names no batch: 256 on 8 GPUs in the training of Zhou et al., which it follows."""

_SIDES = {"4:8": 8, "2:4": 4}
_FLOW, _APPROXIMATION = "min-cost flow", "2-approximation"
_METHODS = (INTEGER_PROGRAM, _FLOW, _APPROXIMATION)
_ALIKE, _POWER = 2.0, 0.5


def measure_searches() -> dict[str, Any]:
    """What a search takes on a core, a weight, and a training step on a GPU and on that core."""
    weights = nmsim.load_model(MODEL).weights
    return {
        "model": MODEL,
        "batch": BATCH,
        "weights": weights,
        "step": step(MODEL, BATCH),
        "nanoseconds": {
            pattern: {method: nanoseconds(f"{method}, {side}") for method in _METHODS}
            for pattern, side in _SIDES.items()
        },
        "gpu_pass_ms": one_pass([(1, weights)], "2:4", gpu=AS_IS.gpu(MACHINE))["ms"],
        "conditions": conditions(),
    }


def overhead(figures: Figures, pattern: str, method: str, refresh: int, where: str) -> float:
    """Time of a search on one core over that of the training between two searches.

    ``where`` the training runs: "gpu" or "core".
    """
    search = figures["nanoseconds"][pattern][method] * figures["weights"] / 1e6
    return float(search / refresh / figures["step"][f"{where}_ms"])


def judge_searches(printed: Printed, figures: Figures) -> list[Verdict]:
    """Every figure of the two tables; the ratios behind them; what the appendix adds."""
    table = printed["searches"]
    rows = [
        _cost(table, figures, pattern, method)
        for pattern, of in table["overhead_percent"].items()
        for method in of
    ]
    ratios = [
        _ratio(table, figures, pattern, method)
        for pattern in table["overhead_percent"]
        for method in (INTEGER_PROGRAM, _FLOW)
    ]
    return [*rows, *ratios, _larger_tiles(table, figures), _optimised(table, figures)]


def _short(value: float) -> str:
    """Three digits, without an exponent.

    Examples
    --------
    >>> _short(26723.4), _short(1.296)
    ('26,700', '1.3')
    """
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{float(f'{value:.3g}'):g}"


def _where(pattern: str) -> str:
    return "Table 2" if pattern == "4:8" else "Table A.3"


def _cost(table: Printed, figures: Figures, pattern: str, method: str) -> Verdict:
    said = table["overhead_percent"][pattern][method]
    gpu, core = (
        100 * overhead(figures, pattern, method, table["refresh"], w) for w in ("gpu", "core")
    )
    each = figures["nanoseconds"][pattern][method]
    times = gpu / said
    return judged(
        f"{pattern}, {method}: overhead of the search over training",
        _where(pattern),
        f"{said} %",
        f"{_short(gpu)} % (search on a core, training on the GPU); {_short(core)} % (both on the "
        f"core); {_short(each)} ns a weight",
        []
        if 1 / _ALIKE <= times <= _ALIKE
        else [f"{_short(times)} times the printed figure: {_reason(each * _SIDES[pattern] ** 2)}"],
    )


def _reason(tile_ns: float) -> str:
    return (
        f"another solver, which takes {tile_ns / 1e6:.2g} ms a tile here; the paper names none "
        "and says that its methods were not optimised"
    )


def _ratio(table: Printed, figures: Figures, pattern: str, method: str) -> Verdict:
    said, found = (
        of[pattern][method] / of[pattern][_APPROXIMATION]
        for of in (table["overhead_percent"], figures["nanoseconds"])
    )
    times = found / said
    tile = figures["nanoseconds"][pattern][method] * _SIDES[pattern] ** 2
    return judged(
        f"{pattern}: {method} over {_APPROXIMATION}, in one run",
        f"{_where(pattern)}, quotient of two rows",
        f"{said:.3g}×",
        f"{_short(found)}×",
        []
        if 1 / _ALIKE <= times <= _ALIKE
        else [f"{_short(times)} times as much: {_reason(tile)}"],
    )


def _larger_tiles(table: Printed, figures: Figures) -> Verdict:
    said, found = table["overhead_percent"], figures["nanoseconds"]
    wanted = all(said["2:4"][method] < said["4:8"][method] for method in said["4:8"])
    not_less = [method for method in _METHODS if found["2:4"][method] >= found["4:8"][method]]
    shown = ", ".join(
        f"{method} {_short(found['2:4'][method])} and {_short(found['4:8'][method])} ns a weight"
        for method in _METHODS
    )
    return judged(
        "2:4 masks cost less to find than 4:8 masks",
        "Appendix A.3",
        "less" if wanted else "not less",
        shown,
        [
            (
                f"{' and '.join(not_less)} do not: what a tile costs, whatever its side, "
                "weighs more, and a tile of 4:8 makes four of 2:4"
            )
        ]
        if wanted and not_less
        else ([] if wanted or not_less else ["they do for all three"]),
    )


def _optimised(table: Printed, figures: Figures) -> Verdict:
    said = min(of[_APPROXIMATION] for of in table["overhead_percent"].values())
    bound = 100 * figures["gpu_pass_ms"] / table["refresh"] / figures["step"]["gpu_ms"]
    core = 100 * min(
        overhead(figures, pattern, _APPROXIMATION, table["refresh"], "gpu") for pattern in _SIDES
    )
    return judged(
        "Optimised, the 2-approximation takes less than printed",
        "Appendix A.3, expected",
        f"less than {said} %",
        f"{core:.3g} % on a core; a GPU kernel that reads and writes every weight once takes "
        f"{bound:.2g} %",
        [] if max(core, bound) < said else [f"it takes {max(core, bound):.3g} %"],
    )


def measure_growth() -> dict[str, Any]:
    """Times of a tile by its side, half of it kept."""
    return {
        "sides": list(GROUPS),
        "tile_ns": {
            method: [nanoseconds(f"{method}, {side}") * side**2 for side in GROUPS]
            for method in (_FLOW, _APPROXIMATION, "greedy")
        },
        "conditions": conditions(),
    }


def _powers(figures: Figures) -> dict[str, float]:
    """Slope of log time over log side, by least squares."""
    sides = np.log(figures["sides"])
    return {
        method: float(np.polyfit(sides, np.log(times), 1)[0])
        for method, times in figures["tile_ns"].items()
    }


def judge_growth(printed: Printed, figures: Figures) -> list[Verdict]:
    """How times grow with the side of a tile."""
    table, found = printed["complexity"], _powers(figures)
    ends = figures["sides"][0], figures["sides"][-1]
    return [
        judged(
            f"{method}: time of a tile grows as a power of M",
            table["where"],
            f"Õ(M^{power})",
            f"M^{found[method]:.2f} from M = {ends[0]} to {ends[1]}",
            []
            if abs(found[method] - power) <= _POWER
            else [f"the power is {abs(found[method] - power):.2f} off, more than {_POWER}"],
        )
        for method, power in table["powers"].items()
    ]


def draw_searches(figures: Figures) -> go.Figure:
    """Time a weight of every search."""
    drawn = go.Figure()
    for pattern, colour in zip(_SIDES, MACHINE_COLOURS, strict=False):
        times = figures["nanoseconds"][pattern]
        drawn.add_bar(
            name=f"{pattern} transposable",
            x=list(times),
            y=list(times.values()),
            marker={"color": colour},
            text=[_short(ns) for ns in times.values()],
            textposition="outside",
            hovertemplate=f"{pattern}, %{{x}}: %{{y:.4g}} ns a weight<extra></extra>",
        )
    top = math.log10(max(max(of.values()) for of in figures["nanoseconds"].values()))
    drawn.update_yaxes(type="log", title="CPU time [ns a weight], log scale", range=[0, top + 0.5])
    held = figures["conditions"]
    return apply_theme(
        drawn,
        "What it takes to find a transposable mask",
        f"one run, median of warm runs · {held['cpu']}, {held['threads']} thread",
        430,
        112,
    )


def draw_growth(figures: Figures) -> go.Figure:
    """Time of a tile against its side, both axes logarithmic."""
    drawn, sides = go.Figure(), figures["sides"]
    powers = _powers(figures)
    for (method, times), colour, symbol in zip(
        figures["tile_ns"].items(), MACHINE_COLOURS, MACHINE_SYMBOLS, strict=False
    ):
        drawn.add_scatter(
            name=f"{method}: M^{powers[method]:.2f}",
            x=sides,
            y=times,
            mode="lines+markers",
            line={"color": colour, "width": 2},
            marker={"size": 9, "symbol": symbol},
            hovertemplate=f"{method}, M = %{{x}}: %{{y:,.4g}} ns a tile<extra></extra>",
        )
    drawn.update_xaxes(type="log", title="M, side of a tile", tickvals=sides, color=INK)
    drawn.update_yaxes(type="log", title="CPU time [ns a tile]", exponentformat="power", dtick=1)
    held = figures["conditions"]
    return apply_theme(
        drawn,
        "How the search grows with the tile",
        f"N = M/2 · {held['cpu']}, {held['threads']} thread",
        430,
        112,
    )
