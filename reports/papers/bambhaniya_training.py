"""Training FLOPs of Bambhaniya et al.: what the schedules of mask and structure decay save."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from nmsim.report.plots.theme import MACHINE_COLOURS, MACHINE_SYMBOLS, apply_theme
from nmsim.run.point import Point
from nmsim.run.training import TrainingRun, train, training_step
from nmsim.spec import read_yaml
from reports.claims import Found, Verdict, judged
from reports.papers.bambhaniya_flops import MODEL
from reports.papers.bambhaniya_inference import feed_forward_alone
from reports.papers.bench import AS_IS, Bench
from reports.papers.paper import HERE, Figures, Printed

__all__ = [
    "draw_training",
    "judge_training",
    "measure_run",
    "measure_training",
    "run_hours",
]

EPOCHS = 350
PATTERNS = ("2:4", "1:4", "1:8", "1:16", "1:32", "1:128")
DECAYING = ("mdgf-linear", "mdgf-exponential", "sdgf-stepwise", "sdgf-geometric")
BASELINE = "sr-ste"
A100, TPU = "a100-sxm4-80gb", "tpu-v3-core"

IMAGES = 1_281_167
"""Training images of ImageNet-1K (Russakovsky et al., IJCV 2015)."""


def measure_training() -> dict[str, Any]:
    """FLOPs over those of a dense run, of every recipe and pattern in feed-forward layers."""
    runs = {
        recipe: {pattern: _run(recipe, pattern) for pattern in PATTERNS}
        for recipe in (BASELINE, *DECAYING)
    }
    return {
        "model": MODEL,
        "epochs": EPOCHS,
        "shares": {
            recipe: {
                pattern: run.total("flops") / (run.dense.flops * run.steps)
                for pattern, run in of.items()
            }
            for recipe, of in runs.items()
        },
        "least": _share_beyond_reach(),
    }


def _run(recipe: str, pattern: str) -> TrainingRun:
    return train(
        MODEL,
        steps=EPOCHS,
        hardware="ideal",
        recipe=feed_forward_alone(recipe),
        pattern=pattern,
        batch=1,
        fidelity="analytical",
        elementwise=False,
    )


def _share_beyond_reach() -> float:
    """Share of a step's MACs that no mask of feed-forward weights in forward can save."""
    work = list(Point(model=MODEL, recipe=feed_forward_alone(BASELINE), batch=1).sparse_gemms())
    masked = sum(one.gemm.macs for one in work if not one.b.pattern.is_dense)
    return 1 - masked / sum(one.gemm.macs for one in work)


def judge_training(printed: Printed, figures: Figures) -> list[Verdict]:
    """The two savings that the text states."""
    table, shares = printed["training"], figures["shares"]
    return [
        _saving(table, "over_dense_percent", "dense training", 1.0, figures),
        _saving(
            table,
            "over_sr_ste_percent",
            "SR-STE at 2:4",
            shares[BASELINE]["2:4"],
            figures,
        ),
    ]


def _saving(table: Printed, field: str, than: str, share: float, figures: Figures) -> Verdict:
    said = table[field]
    found = {
        (recipe, pattern): figures["shares"][recipe][pattern] / share
        for recipe in DECAYING
        for pattern in PATTERNS
    }
    best = min(found, key=lambda at: found[at])
    saved = 100 * (1 - found[best])
    mask = 100 * (1 - found["mdgf-exponential", "1:16"])
    return judged(
        f"Training FLOPs that decaying recipes save over {than}, at the same number of steps",
        table["where"],
        f"{said} % at the same accuracy",
        f"at most {saved:.1f} % ({best[0]}, {best[1]}); mdgf-exponential at 1:16 saves "
        f"{mask:.1f} %",
        []
        if saved >= said
        else [
            (
                f"masks in forward alone leave {100 * figures['least']:.1f} % of a dense step's "
                f"FLOPs whatever the pattern: to save {said} % takes a run of "
                f"{(100 - said) / found[best]:.0f} % of the steps"
            )
        ],
    )


def draw_training(figures: Figures) -> go.Figure:
    """Training FLOPs by recipe and pattern."""
    drawn = go.Figure()
    # The recipes of mask decay lie on each other: the first has the larger marker.
    sizes = (9, 12, 8, 9, 9)
    for (recipe, of), colour, symbol, size in zip(
        figures["shares"].items(), MACHINE_COLOURS, MACHINE_SYMBOLS, sizes, strict=False
    ):
        drawn.add_scatter(
            name=recipe,
            x=list(of),
            y=[100 * share for share in of.values()],
            mode="lines+markers",
            line={"color": colour},
            marker={"symbol": symbol, "size": size},
            hovertemplate=f"{recipe}, %{{x}}: %{{y:.2f}} %<extra></extra>",
        )
    drawn.add_hline(y=100 * figures["least"], line={"color": "#1F2933", "width": 1, "dash": "dot"})
    drawn.update_xaxes(title="target pattern of the feed-forward weights", type="category")
    drawn.update_yaxes(title="training FLOPs, of dense [%]", range=[75, 101])
    return apply_theme(
        drawn,
        "Training FLOPs of each schedule",
        f"{figures['model']}, {figures['epochs']} epochs · dotted: feed-forward at no FLOPs in "
        "forward",
        450,
        112,
    )


def measure_run(bench: Bench = AS_IS) -> dict[str, Any]:
    """Time of a dense step of a device's share of the batch, and of the whole batch, on each."""
    table = read_yaml(HERE / "bambhaniya-2024.yaml")["tables"]["run"]["rows"]
    return {"images": IMAGES, "rows": {name: _steps(row, bench) for name, row in table.items()}}


def _steps(row: Mapping[str, Any], bench: Bench) -> dict[str, Any]:
    name = A100 if "epochs" in row else TPU
    machine = bench.machine(name)
    return {
        "hardware": name,
        "step_us": {
            str(samples): training_step(
                Point(
                    model=row["model"],
                    hardware=machine,
                    batch=samples,
                    fidelity="analytical",
                    compare=False,
                    elementwise=True,
                )
            ).time_us
            for samples in (row["batch"] // row["devices"], row["batch"])
        },
    }


def run_hours(printed: Printed, figures: Figures, keys: tuple[str, ...]) -> Found:
    """Hours of the run's steps, where the batch is of all devices and where it is of each."""
    row, of = printed["run"]["rows"][keys[0]], figures["rows"][keys[0]]
    devices = row["devices"]
    step = of["step_us"]

    def hours(samples: int) -> float:
        """A step takes the same wherever samples come from; an epoch has as many as it needs."""
        passes = row["epochs"] * figures["images"] if "epochs" in row else row["steps"] * samples
        whole = samples * (devices if "epochs" in row else 1)
        return float(passes / whole * step[str(samples)] / 3.6e9)

    found = {f"{samples} samples a device and step": hours(int(samples)) for samples in step}
    least, most = (100 * end(found.values()) / row["hours"] for end in (min, max))
    length = f"{row['epochs']} epochs" if "epochs" in row else f"{row['steps']:,} steps"
    return Found(
        found,
        f"dense steps are {least:.0f} or {most:.0f} % of the printed time; data, communication, "
        "evaluation and all else are not modelled",
        f"{length} on {devices} of {of['hardware']}, batch {row['batch']}",
    )
