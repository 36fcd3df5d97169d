"""Tables 3, 4 and A.4 of Hubara et al.: how much of training the sparse cores do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from safetensors.numpy import load_file

import nmsim
from nmsim.recipes.statistics import violations
from nmsim.report.plots.theme import DENSE_COLOUR, MACHINE_COLOURS, apply_theme
from nmsim.spec import read_yaml
from reports.claims import Found, Verdict, judged
from reports.papers.bench import AS_IS, Bench
from reports.papers.paper import HERE, Figures, Printed
from reports.papers.phase_gains import (
    misfit_share,
    network_rows,
    offered_share,
    paces,
    phase_gains,
    ran_share,
    slower,
)

__all__ = [
    "draw_machines",
    "draw_utilisation",
    "judge_transposed",
    "judge_utilisation",
    "measure_machines",
    "measure_transposed",
    "measure_utilisation",
    "training_share",
    "weights_gain",
]

MODEL, BATCH = "resnet50", 32
MACHINES = ("a100-sxm4-80gb", "hypothetical-4to8", "systolic-128x128-flexible")
METHODS = {
    "ASP 2:4": ("asp", "2:4"),
    "2:4-T": ("transposable", "2:4"),
    "4:8-SS": ("sr-ste", "4:8"),
    "4:8-T": ("transposable", "4:8"),
}
"""Recipe and pattern of the methods of the tables; SS is SR-STE."""

_WEIGHTS = HERE.parents[1] / "traces" / "digits.safetensors"
_ALIKE = 0.05
_WITH_WEIGHTS = ("forward", "backward")


def measure_utilisation(bench: Bench = AS_IS) -> dict[str, Any]:
    """Share of a step's MACs in GEMMs with a mask, of every row; what machines run sparse of it."""
    rows = read_yaml(HERE / "hubara-2021.yaml")["tables"]["utilisation"]["rows"]
    return {
        "shares": {
            name: offered_share(row["model"], row["recipe"], row["pattern"])
            for name, row in rows.items()
        },
        "ran": {
            name: {machine: _ran(bench, machine, row) for machine in MACHINES[:2]}
            for name, row in rows.items()
            if row["model"] == MODEL and row["recipe"] != "dense"
        },
    }


def _ran(bench: Bench, machine: str, row: Mapping[str, Any]) -> dict[str, float]:
    """Share of the MACs that ran sparse, and of the groups that the sparse cores do not take."""
    on = bench.machine(machine)
    rows = network_rows(MODEL, row["recipe"], row["pattern"], BATCH, on)
    return {"share": ran_share(rows), "misfit": misfit_share(rows)}


def judge_utilisation(printed: Printed, figures: Figures) -> list[Verdict]:
    """The gain over masks of the forward phase alone."""
    table, shares = printed["utilisation"], figures["shares"]
    ours, theirs = (shares[f"Table 4, {name}"]["offered"] for name in ("ours 4:8-T", "4:8-SS"))
    gain = ours / theirs
    first = 100 * shares["Table 4, ours 4:8-T"]["no_backward"]
    return [
        judged(
            "Transposable masks use the sparse cores twice as much as masks of forward alone",
            "section 4.1, Tables 3 and 4",
            f"{table['gain']}×",
            f"{gain:.3f}× (ResNet-18)",
            []
            if abs(gain - table["gain"]) <= _ALIKE
            else [f"the first convolution, {first:.1f} % of the MACs, has no backward GEMM"],
        ),
    ]


def training_share(_: Printed, figures: Figures, keys: tuple[str, ...]) -> Found:
    """Percent of a step's MACs on sparse cores: with a mask, and as machines run them."""
    row = keys[0]
    share, ran = figures["shares"][row], figures["ran"].get(row, {})
    reasons = {
        "products of attention, {:.1f} % of the MACs, have no weights to prune": share["attention"],
        "layers without a backward GEMM, {:.1f} % of the MACs, change what a third is": share[
            "no_backward"
        ],
        **{
            f"{machine} takes another pattern, which {{:.1f}} % of the groups break": of["misfit"]
            for machine, of in ran.items()
        },
    }
    because = [text.format(100 * value) for text, value in reasons.items() if value]
    return Found(
        {
            "MACs that have a mask": 100 * share["offered"],
            **{
                f"MACs that {machine} runs sparse": 100 * of["share"] for machine, of in ran.items()
            },
        },
        "; ".join(because) or "other layers have a mask",
    )


def draw_utilisation(figures: Figures) -> go.Figure:
    """Shares of every row."""
    shares = figures["shares"]
    drawn = go.Figure()
    for name, colour, values in (
        ("has a mask", MACHINE_COLOURS[0], [of["offered"] for of in shares.values()]),
        (
            "dense: weights",
            DENSE_COLOUR,
            [1 - of["offered"] - of["attention"] for of in shares.values()],
        ),
        ("dense: attention", MACHINE_COLOURS[4], [of["attention"] for of in shares.values()]),
    ):
        drawn.add_bar(
            name=name,
            y=list(shares),
            x=[100 * value for value in values],
            orientation="h",
            marker={"color": colour},
            hovertemplate=f"%{{y}}: {name}, %{{x:.2f}} %<extra></extra>",
        )
    drawn.update_layout(barmode="stack")
    drawn.update_xaxes(title="MACs of a training step [%]", range=[0, 100])
    drawn.update_yaxes(autorange="reversed", automargin=True)
    return apply_theme(drawn, "Where masks are offered", "all three phases, batch 1", 470, 112)


def measure_machines(layers: str = "*", bench: Bench = AS_IS) -> dict[str, Any]:
    """What machines make of the masks: speed-ups by phase."""
    found: dict[str, Any] = {}
    for machine in MACHINES:
        found[machine] = {}
        for method, (recipe, pattern) in METHODS.items():
            rows = network_rows(MODEL, recipe, pattern, BATCH, bench.machine(machine), layers)
            found[machine][method] = {
                "paces": {phase: paces(rows, phase) for phase in _WITH_WEIGHTS},
                "phases": phase_gains(rows),
            }
    return {"model": MODEL, "batch": BATCH, "machines": found}


_MASKS = dict(zip(MACHINES, ("2:4-T", "4:8-T", "4:8-T"), strict=True))
"""Transposable masks that each machine takes."""


def weights_gain(
    _: Printed, figures: Figures, __: tuple[str, ...], phase: str = "forward"
) -> Found:
    """Speed-up of a phase with transposable weights, on every machine by masks that it takes."""
    found = {machine: figures["machines"][machine][method] for machine, method in _MASKS.items()}
    ideal = found[MACHINES[0]]["phases"][phase]["ideal"]
    return Found(
        {f"{m}, {_MASKS[m]}": of["phases"][phase]["speedup"] for m, of in found.items()},
        "; ".join(f"{m}: {slower(of['paces'][phase])}" for m, of in found.items()),
        f"MACs allow {ideal:.3f}× ({figures['model']}, batch {figures['batch']})",
    )


def draw_machines(figures: Figures) -> go.Figure:
    """Speed-up by phase, machine and method."""
    drawn = go.Figure()
    for method, colour in zip(METHODS, MACHINE_COLOURS, strict=False):
        places, gains = [], []
        for machine, of in figures["machines"].items():
            for phase in ("forward", "backward", "all"):
                places.append((machine, phase))
                gains.append(of[method]["phases"][phase]["speedup"])
        drawn.add_bar(
            name=method,
            x=[list(part) for part in zip(*places, strict=True)],
            y=gains,
            marker={"color": colour},
            hovertemplate=f"{method}, %{{x}}: %{{y:.3f}}×<extra></extra>",
        )
    drawn.add_hline(y=1, line={"color": "#1F2933", "width": 1})
    drawn.add_hline(y=2, line={"color": "#1F2933", "width": 1, "dash": "dot"})
    drawn.update_yaxes(title="speed-up over dense, same machine", rangemode="tozero")
    return apply_theme(
        drawn,
        "What the masks gain on machines",
        f"{figures['model']}, batch {figures['batch']} · analytical · dotted: half the MACs",
        470,
        112,
    )


def measure_transposed(weights: Path = _WEIGHTS) -> dict[str, Any]:
    """Share of the transposed weights' groups that break the pattern which the weights obey."""
    layers = load_file(weights)
    found: dict[str, Any] = {}
    for method, (recipe, pattern) in METHODS.items():
        pruner = "magnitude" if recipe != "transposable" else "transposable"
        masks = [nmsim.prune(values, pattern, pruner).mask for values in layers.values()]
        groups = [mask.T.size for mask in masks]
        found[method] = {
            way: sum(
                violations(turned(mask), pattern) * size
                for mask, size in zip(masks, groups, strict=True)
            )
            / sum(groups)
            for way, turned in (("weights", np.asarray), ("transposed", np.transpose))
        }
    return {"weights": weights.name, "broken": found}


def judge_transposed(printed: Printed, figures: Figures) -> list[Verdict]:
    """Eq. 1 and Figure 2: a mask along one axis is none along the other."""
    table, broken = printed["transposed"], figures["broken"]
    return [
        judged(
            f"{method}: the mask of W obeys {METHODS[method][1]} in Wᵀ too",
            table["where"],
            "yes" if said else "not in general",
            f"{100 * broken[method]['transposed']:.1f} % of the groups of Wᵀ break it",
            [] if (broken[method]["transposed"] == 0) == said else ["the groups say otherwise"],
        )
        for method, said in table["holds"].items()
    ]
