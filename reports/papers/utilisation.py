"""Tables 3, 4 and A.4 of Hubara et al.: how much of training the sparse cores do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from safetensors.numpy import load_file

import nmsim
from nmsim.recipes.statistics import violations
from nmsim.report.pages.claims import Verdict, judged
from nmsim.report.plots.theme import DENSE_COLOUR, MACHINE_COLOURS, apply_theme
from nmsim.spec import read_yaml
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
    "judge_machines",
    "judge_transposed",
    "judge_utilisation",
    "measure_machines",
    "measure_transposed",
    "measure_utilisation",
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
_POINT, _ALIKE = 1.0, 0.05
_WITH_WEIGHTS = ("forward", "backward")


def measure_utilisation() -> dict[str, Any]:
    """Share of a training step's MACs in GEMMs with a mask, of every row of the tables."""
    rows = read_yaml(HERE / "hubara-2021.yaml")["tables"]["utilisation"]["rows"]
    return {
        "shares": {
            name: offered_share(row["model"], row["recipe"], row["pattern"])
            for name, row in rows.items()
        }
    }


def judge_utilisation(printed: Printed, figures: Figures) -> list[Verdict]:
    """Every printed utilisation, and the gain over masks of the forward phase alone."""
    table, shares = printed["utilisation"], figures["shares"]
    rows = [
        _utilisation(name, row["model"], row["percent"], shares[name])
        for name, row in table["rows"].items()
    ]
    ours, theirs = (shares[f"Table 4, {name}"]["offered"] for name in ("ours 4:8-T", "4:8-SS"))
    gain = ours / theirs
    first = 100 * shares["Table 4, ours 4:8-T"]["no_backward"]
    return [
        *rows,
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


def _utilisation(name: str, model: str, percent: float, share: Mapping[str, float]) -> Verdict:
    found, attention = 100 * share["offered"], 100 * share["attention"]
    away = abs(found - percent)
    reasons = [
        f"products of attention, {attention:.1f} % of the MACs, have no weights to prune",
        (
            f"layers without a backward GEMM, {100 * share['no_backward']:.1f} % of the MACs, "
            "change what a third is"
        ),
    ]
    present = (attention, share["no_backward"])
    because = [reason for reason, there in zip(reasons, present, strict=True) if there]
    return judged(
        f"Share of a training step on sparse cores, {model}",
        name,
        f"{percent} %",
        f"{found:.1f} % of the MACs have a mask",
        [] if away <= _POINT else because or [f"the share is {away:.1f} points off"],
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


def measure_machines(layers: str = "*") -> dict[str, Any]:
    """What machines make of the masks: share of MACs that ran sparse, speed-ups by phase."""
    found: dict[str, Any] = {}
    for machine in MACHINES:
        found[machine] = {}
        for method, (recipe, pattern) in METHODS.items():
            rows = network_rows(MODEL, recipe, pattern, BATCH, machine, layers)
            found[machine][method] = {
                "native": [str(p) for p in nmsim.load_hardware(machine).native],
                "ran": ran_share(rows),
                "misfit": misfit_share(rows),
                "paces": {phase: paces(rows, phase) for phase in _WITH_WEIGHTS},
                "phases": phase_gains(rows),
            }
    return {"model": MODEL, "batch": BATCH, "machines": found}


def judge_machines(printed: Printed, figures: Figures) -> list[Verdict]:
    """What becomes of the utilisation and of twice the speed on real and imagined machines."""
    rows = printed["utilisation"]["rows"]
    said = {name.partition(", ")[2].removeprefix("ours "): row for name, row in rows.items()}
    found = figures["machines"]
    ran = [
        _ran(machine, method, said[method]["percent"], of)
        for machine in MACHINES[:2]
        for method, of in found[machine].items()
    ]
    faster = [
        _faster(printed["acceleration"], machine, phase, found[machine][method])
        for machine, method in zip(MACHINES, ("2:4-T", "4:8-T", "4:8-T"), strict=True)
        for phase in _WITH_WEIGHTS
    ]
    return [_ideal(printed["acceleration"], found[MACHINES[0]]["4:8-T"]), *ran, *faster]


def _ran(machine: str, method: str, percent: float, of: Mapping[str, Any]) -> Verdict:
    share, pattern = 100 * of["ran"], METHODS[method][1]
    native = ", ".join(of["native"])
    return judged(
        f"{method} on {machine}: share of training that ran sparse",
        "Tables 3, 4 and A.4",
        f"{percent} %",
        f"{share:.1f} % of the MACs",
        []
        if abs(share - percent) <= _POINT
        else [
            f"its sparse cores take {native}, which {100 * of['misfit']:.1f} % of the groups break"
            if pattern not in of["native"]
            else f"the share is {abs(share - percent):.1f} points off"
        ],
    )


def _ideal(table: Printed, of: Mapping[str, Any]) -> Verdict:
    gains = {phase: of["phases"][phase]["ideal"] for phase in _WITH_WEIGHTS}
    off = [
        f"{phase} {gain:.3f}×"
        for phase, gain in gains.items()
        if abs(gain - table["factor"]) > _ALIKE
    ]
    return judged(
        "Transposable 4:8 masks: MACs that are left of both GEMMs with weights",
        table["where"],
        f"{table['factor']}×",
        ", ".join(f"{phase} {gain:.3f}×" for phase, gain in gains.items()),
        off,
    )


def _faster(table: Printed, machine: str, phase: str, of: Mapping[str, Any]) -> Verdict:
    gain = of["phases"][phase]["speedup"]
    return judged(
        f"The {phase} GEMMs are twice as fast: {machine}, {MODEL}, batch {BATCH}",
        table["where"],
        f"{table['factor']}×",
        f"{gain:.2f}×",
        [] if abs(gain - table["factor"]) <= _ALIKE else [slower(of["paces"][phase])],
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
            for way, turned in (("weights", lambda m: m), ("transposed", lambda m: m.T))
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
