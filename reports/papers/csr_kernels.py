"""Table 19 of Bambhaniya et al. (2024), CSR products on three GPUs, entry by entry.

The table gives speed-ups over 2:4 of the two feed-forward GEMMs of a ViT, both in CSR (CuPy's
``csr_matrix.dot``, which calls cuSPARSE), mean of the two. It does not say which ViT, batch or
number format. Taken here: ViT-Base, as in the tables beside it, 196 tokens (tables 17 and 18), one
image, fp32.
"""

from typing import Any

import plotly.graph_objects as go

from nmsim.machines import load_hardware
from nmsim.machines.gpu.schema import Gpu
from nmsim.report.pages.claims import Verdict, judged
from nmsim.report.plots.theme import MACHINE_COLOURS, apply_theme
from nmsim.spec import read_yaml
from reports.papers.csr import CsrTime, spmm_call_time
from reports.papers.paper import HERE, Figures, Printed

__all__ = ["draw_csr", "judge_csr", "markdown", "measure_csr"]

DENSITIES = {
    "2:4": 1 / 2,
    "1:4": 1 / 4,
    "1:8": 1 / 8,
    "1:16": 1 / 16,
    "1:32": 1 / 32,
    "1:128": 1 / 128,
}

TOLERANCE = 0.15
"""An entry is reproduced if the prediction is this close."""

TOKENS = 196
WIDTH, HIDDEN = 768, 3072


def machines() -> dict[str, Gpu]:
    """The GPUs; GH200 has the H100's SMs and 4000 GB/s (96 GB model), 86.8% of which is reached."""
    return {
        "V100": load_hardware("v100"),
        "A100": load_hardware("a100-sxm4-80gb-documented"),
        "GH200": load_hardware("h100-sxm", **{"dram.gbps": 3470.0}),
    }


def calls(machine: Gpu, density: float) -> list[CsrTime]:
    """Both feed-forward GEMMs: weights hidden x width and width x hidden."""
    return [
        spmm_call_time(machine, HIDDEN, TOKENS, WIDTH, density),
        spmm_call_time(machine, WIDTH, TOKENS, HIDDEN, density),
    ]


def speedup(machine: Gpu, density: float) -> float:
    """Over 2:4, mean of both GEMMs."""
    pairs = zip(calls(machine, 0.5), calls(machine, density), strict=True)
    return sum(base.total_us / this.total_us for base, this in pairs) / 2


def measure_csr() -> dict[str, Any]:
    """Speed-up over 2:4 and times of every GPU and pattern."""
    return {
        "tokens": TOKENS,
        "widths": [WIDTH, HIDDEN],
        "gpus": {
            name: {
                pattern: {
                    "speedup": speedup(machine, density),
                    "total_us": sum(c.total_us for c in calls(machine, density)) / 2,
                    "fixed_us": sum(c.fixed_us for c in calls(machine, density)) / 2,
                }
                for pattern, density in DENSITIES.items()
            }
            for name, machine in machines().items()
        },
    }


def judge_csr(printed: Printed, figures: Figures) -> list[Verdict]:
    """Every entry of the table."""
    table = printed["csr"]
    return [
        judged(
            f"{gpu}, {pattern} over 2:4, CSR",
            table["where"],
            f"{said:.2f}×",
            f"{figures['gpus'][gpu][pattern]['speedup']:.2f}×",
            _failures(said, figures["gpus"][gpu], pattern),
        )
        for gpu, row in table["rows"].items()
        for pattern, said in row.items()
    ]


def _failures(printed: float, gpu: Figures, pattern: str) -> list[str]:
    """Where an entry is not reproduced, what would have to be otherwise."""
    this, base = gpu[pattern], gpu["2:4"]["total_us"]
    ratio = this["speedup"] / printed - 1
    if abs(ratio) <= TOLERANCE:
        return []
    return [
        (
            f"{ratio:+.0%}: {this['total_us']:.0f} us of {base:.0f} at 2:4, "
            f"{this['fixed_us']:.0f} of them fixed; the printed figure leaves {base / printed:.0f}"
        )
    ]


def draw_csr(figures: Figures) -> go.Figure:
    """Printed and computed, by GPU."""
    drawn = go.Figure()
    table = read_yaml(HERE / "bambhaniya-2024.yaml")["tables"]["csr"]["rows"]
    for at, (gpu, row) in enumerate(table.items()):
        look = {"color": MACHINE_COLOURS[at]}
        found = [figures["gpus"][gpu][pattern]["speedup"] for pattern in row]
        for name, values, line, symbol in (
            (f"{gpu}, printed", list(row.values()), "dot", "circle-open"),
            (f"{gpu}, nmsim", found, "solid", "circle"),
        ):
            drawn.add_scatter(
                name=name,
                x=list(row),
                y=values,
                mode="lines+markers",
                line={**look, "dash": line},
                marker={"symbol": symbol, "size": 8},
                hovertemplate=f"{name}, %{{x}}: %{{y:.2f}}×<extra></extra>",
            )
    drawn.update_xaxes(title="pattern", type="category")
    drawn.update_yaxes(title="speed-up over 2:4, CSR", rangemode="tozero")
    return apply_theme(
        drawn,
        "CSR products by pattern",
        f"{figures['widths'][0]} and {figures['widths'][1]} features, {figures['tokens']} tokens, "
        "one image, fp32",
        450,
        130,
    )


def markdown() -> str:
    """The entries as the table of docs/gpus.md."""
    printed = read_yaml(HERE / "bambhaniya-2024.yaml")["tables"]["csr"]["rows"]
    gpus = measure_csr()["gpus"]
    lines = ["| GPU | pattern | printed | predicted | verdict |", "|---|---|---|---|---|"]
    for gpu, row in printed.items():
        for pattern, said in row.items():
            found = gpus[gpu][pattern]["speedup"]
            within = f"reproduced within {abs(found / said - 1):.0%}"
            told = "".join(f"differs by {why}" for why in _failures(said, gpus[gpu], pattern))
            lines.append(f"| {gpu} | {pattern} | {said:.2f} | {found:.2f} | {told or within} |")
    return "\n".join(lines)
