"""Table 19 of Bambhaniya et al. (2024), CSR products on three GPUs, entry by entry.

The table gives speed-ups over 2:4 of the two feed-forward GEMMs of a ViT, both in CSR (CuPy's
``csr_matrix.dot``, which calls cuSPARSE), mean of the two. It does not say which ViT, batch or
number format. Taken here: ViT-Base, as in the tables beside it, 196 tokens (tables 17 and 18), one
image, fp32.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import plotly.graph_objects as go

from nmsim.machines.gpu.schema import Gpu
from nmsim.report.plots.theme import MACHINE_COLOURS, apply_theme
from nmsim.spec import read_yaml
from reports.claims import Found
from reports.papers.bench import AS_IS, Bench
from reports.papers.csr import CsrCosts, CsrTime, spmm_call_time
from reports.papers.paper import HERE, Figures, Printed
from reports.papers.stated import claims_of

__all__ = ["csr_entry", "draw_csr", "markdown", "measure_csr"]

DENSITIES = {
    "2:4": 1 / 2,
    "1:4": 1 / 4,
    "1:8": 1 / 8,
    "1:16": 1 / 16,
    "1:32": 1 / 32,
    "1:128": 1 / 128,
}

TOKENS = 196
GPUS: Mapping[str, tuple[str, dict[str, float]]] = {
    "V100": ("v100", {}),
    "A100": ("a100-sxm4-80gb-documented", {}),
    "GH200": ("h100-sxm", {"dram.gbps": 3470.0}),
}
"""GH200 has the H100's SMs and 4000 GB/s (96 GB model), 86.8% of which is reached."""


class Call(NamedTuple):
    """What the paper does not say of a product: widths of the layers, images, the host's part."""

    width: int = 768
    hidden: int = 3072
    images: int = 1
    host: bool = True


CALLS: Mapping[str, Call] = {
    "ViT-Base, 1 image": Call(),
    "kernels without the host": Call(host=False),
    "8 images": Call(images=8),
    "ViT-Large": Call(1024, 4096),
}
"""The first is what the tables beside it are of; the others differ from it as they say."""


def machines(bench: Bench = AS_IS) -> dict[str, Gpu]:
    """The GPUs of the table."""
    return {name: bench.gpu(called, **fields) for name, (called, fields) in GPUS.items()}


def calls(machine: Gpu, density: float, call: Call, costs: CsrCosts) -> list[CsrTime]:
    """Both feed-forward GEMMs: weights hidden x width and width x hidden."""
    own = costs if call.host else costs._replace(host_us=0.0)
    sizes = ((call.hidden, call.width), (call.width, call.hidden))
    return [
        spmm_call_time(machine, rows, TOKENS * call.images, k, density, costs=own)
        for rows, k in sizes
    ]


def _entry(machine: Gpu, density: float, call: Call, costs: CsrCosts) -> dict[str, float]:
    base, these = (calls(machine, of, call, costs) for of in (0.5, density))
    pairs = zip(base, these, strict=True)
    return {
        "speedup": sum(two.total_us / this.total_us for two, this in pairs) / 2,
        "total_us": sum(c.total_us for c in these) / 2,
        "fixed_us": sum(c.fixed_us for c in these) / 2,
    }


def measure_csr(bench: Bench = AS_IS) -> dict[str, Any]:
    """Speed-up over 2:4 and times of every GPU and pattern, for each way to call."""
    return {
        "tokens": TOKENS,
        "calls": {name: call._asdict() for name, call in CALLS.items()},
        "gpus": {
            name: {
                pattern: {
                    called: _entry(machine, density, call, bench.csr)
                    for called, call in CALLS.items()
                }
                for pattern, density in DENSITIES.items()
            }
            for name, machine in machines(bench).items()
        },
    }


def csr_entry(printed: Printed, figures: Figures, keys: tuple[str, ...]) -> Found:
    """Speed-up of one entry over 2:4, for each way to call."""
    gpu, pattern = keys
    of = figures["gpus"][gpu][pattern]
    usual, base = next(iter(of.values())), next(iter(figures["gpus"][gpu]["2:4"].values()))
    said = printed["csr"]["rows"][gpu][pattern]
    return Found(
        {called: one["speedup"] for called, one in of.items()},
        f"{usual['total_us']:.0f} us of {base['total_us']:.0f} at 2:4, {usual['fixed_us']:.0f} of "
        f"them fixed; the printed figure leaves {base['total_us'] / said:.0f}",
    )


def draw_csr(figures: Figures) -> go.Figure:
    """Printed and computed, by GPU."""
    drawn, usual = go.Figure(), next(iter(CALLS))
    table = read_yaml(HERE / "bambhaniya-2024.yaml")["tables"]["csr"]["rows"]
    for at, (gpu, row) in enumerate(table.items()):
        look = {"color": MACHINE_COLOURS[at]}
        found = [figures["gpus"][gpu][pattern][usual]["speedup"] for pattern in row]
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
        f"{usual}, {figures['tokens']} tokens each, fp32",
        450,
        130,
    )


def markdown() -> str:
    """The entries as the table of docs/gpus.md: each way to call, what is met in bold type."""
    document = read_yaml(HERE / "bambhaniya-2024.yaml")
    figures = measure_csr()
    lines = [
        f"| GPU | pattern | printed | {' | '.join(CALLS)} |",
        f"|{'---|' * (3 + len(CALLS))}",
    ]
    for claim in claims_of("bambhaniya-2024", document, "csr"):
        found = csr_entry(document["tables"], figures, claim.keys).cases.values()
        told = [
            f"**{value:.2f}**" if claim.within.met(claim.printed, value) else f"{value:.2f}"
            for value in found
        ]
        lines.append(f"| {' | '.join((*claim.keys, f'{claim.printed:.2f}', *told))} |")
    return "\n".join(lines)
