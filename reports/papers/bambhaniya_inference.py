"""Table 8 of Bambhaniya et al.: inference of ViT-Large with N:M in its feed-forward layers."""

from dataclasses import replace
from typing import Any

import plotly.graph_objects as go

from nmsim.machines.gpu.schema import Gpu
from nmsim.recipes.recipe import Recipe, load_recipe
from nmsim.report.plots.theme import DENSE_COLOUR, MACHINE_COLOURS, apply_theme
from nmsim.result import totals
from nmsim.run.point import Point, rows
from nmsim.spec import read_yaml
from reports.claims import Found
from reports.papers.bambhaniya_flops import FEED_FORWARD, operators
from reports.papers.bench import AS_IS, Bench
from reports.papers.csr import CsrCosts, csr_time
from reports.papers.csr_kernels import DENSITIES
from reports.papers.paper import HERE, Figures, Printed

__all__ = ["draw_inference", "feed_forward_alone", "inference_gain", "measure_inference"]

MODEL, BATCHES = "vit-l16", (1, 64)
GPUS = ("v100", "a100-sxm4-80gb")


def feed_forward_alone(name: str) -> Recipe:
    """A recipe whose masks are of feed-forward layers alone."""
    recipe = load_recipe(name)
    layers = load_recipe("mdgf-exponential-ff").operands[0].layers
    masks = tuple(offer.model_copy(update={"layers": layers}) for offer in recipe.operands)
    return recipe.model_copy(update={"operands": masks})


def measure_inference(bench: Bench = AS_IS) -> dict[str, Any]:
    """FLOPs that are left; times with CSR kernels on CUDA cores; 2:4 on sparse cores if any."""
    of = operators(MODEL)
    dense = sum(of[name]["flops"] for name in FEED_FORWARD)
    whole = sum(one["flops"] for one in of.values())
    return {
        "model": MODEL,
        "batches": list(BATCHES),
        "feed_forward_share": dense / whole,
        "ideal": {
            pattern: whole / (whole - dense + density * dense)
            for pattern, density in DENSITIES.items()
        },
        "gpus": {
            gpu: {
                str(batch): {
                    "CSR": _csr(bench.gpu(gpu), batch, bench.csr),
                    "sparse cores": _sparse_cores(bench.gpu(gpu), batch),
                }
                for batch in BATCHES
            }
            for gpu in GPUS
        },
    }


def _csr(gpu: Gpu, batch: int, costs: CsrCosts) -> dict[str, float]:
    """Speed-up in fp32: feed-forward layers by CSR kernels, the rest dense; over the dense run."""
    fp32 = Point(
        model=MODEL,
        hardware=gpu,
        batch=batch,
        phases=("forward",),
        fidelity="analytical",
        compare=False,
        overrides={"dtype": "fp32"},
    )
    table = list(rows(fp32))
    inner = [row for row in table if row["layer"].endswith(FEED_FORWARD)]
    total, dense = (sum(row["time_us"] for row in some) for some in (table, inner))
    return {
        pattern: total
        / (
            total
            - dense
            + sum(
                row["repeat"]
                * csr_time(gpu, row["n"], row["m"], row["k"], density, costs=costs).total_us
                for row in inner
            )
        )
        for pattern, density in DENSITIES.items()
    }


def _sparse_cores(gpu: Gpu, batch: int) -> dict[str, float]:
    """Speed-up in the GPU's own number format, if it has sparse cores; 1:4 runs as 2:4 there."""
    point = Point(
        model=MODEL,
        hardware=gpu,
        batch=batch,
        phases=("forward",),
        fidelity="analytical",
        recipe=feed_forward_alone("asp"),
    )
    return {
        pattern: totals(rows(replace(point, pattern=pattern)))["all"]["speedup"]
        for pattern in DENSITIES
        if gpu.native
    }


def inference_gain(printed: Printed, figures: Figures, keys: tuple[str, ...]) -> Found:
    """Speed-up of one entry by every way to run it, beside what the FLOPs allow."""
    gpu, pattern = keys
    said = printed["inference"]["rows"][gpu][pattern]
    ideal, share = figures["ideal"][pattern], figures["feed_forward_share"]
    ways = {
        f"{way}, {batch} image{'s' * (batch != '1')}": of[way][pattern]
        for batch, of in figures["gpus"][gpu].items()
        for way in of
        if pattern in of[way]
    }
    beyond = (
        f"more than the FLOPs allow: feed-forward is {100 * share:.1f} % of them, {pattern} there "
        f"saves {ideal:.3f}×"
    )
    if said > 1 / (1 - share):
        beyond += f", no feed-forward at all {1 / (1 - share):.3f}×"
    short = "less than the FLOPs allow, but no other way of running it comes near"
    return Found(ways, beyond if said > ideal else short, f"FLOPs allow {ideal:.3f}×")


def draw_inference(figures: Figures) -> go.Figure:
    """Printed and computed speed-ups by pattern."""
    drawn = go.Figure()
    table = read_yaml(HERE / "bambhaniya-2024.yaml")["tables"]["inference"]["rows"]
    patterns = list(figures["ideal"])
    for gpu, colour in zip(GPUS, MACHINE_COLOURS, strict=False):
        for name, values, dash in (
            ("printed", table[gpu], "dot"),
            *(
                (f"CSR, batch {batch}", of["CSR"], dash)
                for (batch, of), dash in zip(
                    figures["gpus"][gpu].items(), ("solid", "dash"), strict=True
                )
            ),
        ):
            drawn.add_scatter(
                name=f"{gpu}, {name}",
                x=patterns,
                y=[values[pattern] for pattern in patterns],
                mode="lines+markers",
                line={"color": colour, "dash": dash},
                hovertemplate=f"{gpu}, {name}, %{{x}}: %{{y:.3f}}×<extra></extra>",
            )
    drawn.add_scatter(
        name="FLOPs over those left",
        x=patterns,
        y=list(figures["ideal"].values()),
        mode="lines+markers",
        line={"color": DENSE_COLOUR, "width": 3},
        hovertemplate="FLOPs, %{x}: %{y:.3f}×<extra></extra>",
    )
    drawn.update_xaxes(title="pattern of the feed-forward weights", type="category")
    drawn.update_yaxes(title="speed-up over dense", rangemode="tozero")
    return apply_theme(
        drawn,
        "Inference with patterns in feed-forward layers",
        f"{figures['model']} · CSR: fp32 on CUDA cores, the rest dense",
        470,
        130,
    )
