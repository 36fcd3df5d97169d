"""Dense and 2:4 products that people timed on an A100, against twice the speed."""

from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go

from nmsim.measured.accuracy import speedups
from nmsim.measured.predict import predict
from nmsim.measured.tables import MEASURED, read_measured
from nmsim.report.plots.theme import MACHINE_COLOURS, MACHINE_SYMBOLS, apply_theme
from reports.claims import Verdict, judged
from reports.papers.paper import Figures, Printed

__all__ = ["draw_pairs", "judging_pairs", "measure_pairs"]

FILE = "a100-2to4-fp16"
_ALIKE = 0.05


def measure_pairs() -> dict[str, Any]:
    """Measured and predicted speed-up of every 2:4 product that has a dense run."""
    pairs = speedups(predict([read_measured(MEASURED.folder / f"{FILE}.csv")]).table)
    return {
        "file": f"nmsim/measured/{FILE}.csv",
        "pairs": [
            {
                "library": row["library"],
                "size": [row["m"], row["n"], row["k"]],
                "measured": row["measured_speedup"],
                "predicted": row["predicted_speedup"],
            }
            for row in pairs.to_dict("records")
        ],
    }


def _spread(values: list[float]) -> str:
    ranked = sorted(values)
    return f"{ranked[0]:.2f} to {ranked[-1]:.2f}×, median {ranked[len(ranked) // 2]:.2f}"


def judging_pairs(table: str, field: str) -> Callable[[Printed, Figures], list[Verdict]]:
    """A judge of what a field of a printed table says of the speed of 2:4."""

    def judge(printed: Printed, figures: Figures) -> list[Verdict]:
        wanted, pairs = printed[table][field], figures["pairs"]
        measured, predicted = ([pair[name] for pair in pairs] for name in ("measured", "predicted"))
        near = sum(abs(gain - wanted) <= _ALIKE for gain in measured)
        return [
            judged(
                f"2:4 on sparse cores multiplies this much faster: {len(pairs)} products timed",
                printed[table]["where"],
                f"{wanted}×",
                f"measured {_spread(measured)}; nmsim's A100 {_spread(predicted)}",
                []
                if near == len(pairs)
                else [
                    (
                        f"{near} of {len(pairs)} come within {_ALIKE}: one operand's bytes "
                        "shrink, the other's and the results' do not"
                    )
                ],
            )
        ]

    return judge


def draw_pairs(figures: Figures) -> go.Figure:
    """Speed-up against the work of the dense product."""
    drawn = go.Figure()
    pairs = figures["pairs"]
    macs = [pair["size"][0] * pair["size"][1] * pair["size"][2] for pair in pairs]
    for kind, colour, symbol in zip(
        ("measured", "predicted"), MACHINE_COLOURS, MACHINE_SYMBOLS, strict=False
    ):
        drawn.add_scatter(
            name=kind,
            x=macs,
            y=[pair[kind] for pair in pairs],
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 9},
            hovertext=[
                f"{kind}: {pair['library']}, {'×'.join(map(str, pair['size']))}, {pair[kind]:.2f}×"
                for pair in pairs
            ],
            hoverinfo="text",
        )
    drawn.add_hline(y=2, line={"color": "#1F2933", "width": 1, "dash": "dot"})
    drawn.update_xaxes(
        type="log", title="MACs of the dense product", exponentformat="power", dtick=1
    )
    drawn.update_yaxes(title="speed-up of 2:4 over dense", range=[0.9, 2.1])
    return apply_theme(
        drawn,
        "What 2:4 gains on an A100",
        f"{figures['file']}: fp16, cuSPARSELt and CUTLASS over cuBLAS · predicted: analytical",
        430,
        112,
    )
