"""Tables 2 and 6 of Xu et al.: what making the masks costs, and what is left to gain."""

from typing import Any

import plotly.graph_objects as go

import nmsim
from nmsim.report.pages.claims import Verdict, judged
from nmsim.report.plots.theme import MACHINE_COLOURS, apply_theme
from nmsim.spec import read_yaml
from reports.papers.paper import HERE, Figures, Printed
from reports.papers.phase_gains import network_rows
from reports.papers.training_step import machine, one_pass, passing
from reports.papers.xu_layers import A100, BATCH, MODEL, PATTERN

__all__ = ["draw_overheads", "judge_overheads", "measure_overheads"]

DOCUMENTED = "a100-sxm4-80gb-documented"
"""For kernels that move matrices: no fitted constant, as in docs/gpus.md."""

_SIDES = {"weight": ("n", "k"), "gradient": ("m", "n"), "activation": ("m", "k")}
_ALIKE, _ALIKE_FACTOR = 2.0, 0.05
_POINT, _POINTS = 1.0, 10.0


def measure_overheads() -> dict[str, Any]:
    """Times of making each operand sparse, and of the GEMMs of a step, ms."""
    gpu = machine(DOCUMENTED)
    gemms = [g for g in nmsim.load_model(MODEL).gemms(BATCH) if g.phase == "forward"]
    cells = {
        operand: [
            (getattr(g, sides[0]), getattr(g, sides[1]))
            for g in gemms
            if g.kind == "conv"
            for _ in range(g.repeat)
        ]
        for operand, sides in _SIDES.items()
    }
    sparse = network_rows(MODEL, "fst", PATTERN, BATCH, A100)
    tensor = machine(A100)
    lanes = tensor.sms * tensor.format("fp32").macs_per_clk * tensor.clock_mhz
    return {
        "hardware": {"kernels": DOCUMENTED, "gemms": A100},
        "batch": BATCH,
        "fused": {name: one_pass(some, PATTERN, gpu=gpu) for name, some in cells.items()},
        "operators": {
            name: one_pass(some, PATTERN, fused=False, gpu=gpu) for name, some in cells.items()
        },
        "shift_ms": passing(cells["gradient"], gpu),
        "gemms_ms": {
            "dense bf16": sum(row["dense_cycles"] for row in sparse) / tensor.clock_mhz / 1e3,
            "FST bf16": sum(row["time_us"] for row in sparse) / 1e3,
            "fp32 lanes": sum(row["macs_dense"] for row in sparse) / lanes / 1e3,
        },
    }


def judge_overheads(printed: Printed, figures: Figures) -> list[Verdict]:
    """Every printed time, and the shares that the paper draws from them."""
    sorting, extra = printed["sorting"], printed["extra"]
    return [
        *(_sorting(sorting, operand, figures) for operand in sorting["operands"]),
        *(_longer(sorting, operand, figures) for operand in ("gradient", "activation")),
        *(_extra(extra, part, figures) for part in extra["parts"]),
        _total(extra),
        _share(extra),
        *_training(printed, figures),
    ]


def _sorting(table: Printed, operand: str, figures: Figures) -> Verdict:
    said = table["operands"][operand]
    operators, fused = (figures[kind][operand]["ms"] for kind in ("operators", "fused"))
    ratio = operators / said / 1e3
    return judged(
        f"S({operand}): time of sorting every group of four, batch {figures['batch']}",
        table["where"],
        f"{said} s",
        f"{operators / 1e3:.4f} s for the bytes of a framework's operators, {fused / 1e3:.4f} s "
        "for one kernel",
        []
        if 1 / _ALIKE <= ratio <= _ALIKE
        else [
            (f"the bytes explain {100 * ratio:.0f} %; what took the rest the paper does not say")
        ],
    )


def _longer(table: Printed, operand: str, figures: Figures) -> Verdict:
    said, step = table["operands"][operand], table["training"]
    fused = figures["fused"][operand]["ms"] / 1e3
    return judged(
        f"Making the {operand} 2:4 by magnitude takes longer than the training step",
        f"section 4 and {table['where']}",
        f"{said} s of {step} s: {'longer' if said > step else 'not longer'}",
        f"{fused:.4f} s for one kernel that reads and writes it once",
        []
        if (said > step) == (fused > step)
        else [
            (
                f"one kernel takes {100 * fused / step:.0f} % of the step: the time is of sorting "
                "in a framework, not of 2:4 by magnitude"
            )
        ],
    )


def _least(part: str, figures: Figures) -> float:
    """The shortest time of a part of Table 6, s."""
    ms = figures["shift_ms"] if part == "shift" else figures["fused"]["weight"]["ms"]
    return float(ms / 1e3)


def _extra(table: Printed, part: str, figures: Figures) -> Verdict:
    said, least = table["parts"][part], _least(part, figures)
    return judged(
        f"{part}: overhead, at least a pass over every element",
        table["where"],
        f"{said} s",
        f"{least:.4f} s for one kernel that reads and writes fp32 once",
        []
        if said >= least
        else [
            (
                f"{said / least:.2f} of what reading and writing every gradient takes, "
                f"{said / least * 2:.2f} of it in 16 bits: a new index moves no gradient, but "
                "Eq. 10 adds the shifted one to the gradient, which moves both"
            )
        ],
    )


def _total(table: Printed) -> Verdict:
    found = sum(table["parts"].values())
    return judged(
        "The extra time of FST is the sum of its parts",
        table["where"],
        f"{table['total']} s",
        f"{found:.4f} s",
        [] if abs(found - table["total"]) < 5e-5 else ["the table's parts add up to another"],
    )


def _share(table: Printed) -> Verdict:
    found = 100 * table["total"] / table["training"]
    return judged(
        "Share of the extra time in a step",
        f"section 7.5 and {table['where']}",
        f"about {table['percent']} %",
        f"{found:.1f} % of the printed {table['training']} s",
        [] if abs(found - table["percent"]) < _POINT / 2 else ["the table says otherwise"],
    )


def _training(printed: Printed, figures: Figures) -> list[Verdict]:
    step, extra = printed["extra"]["training"], printed["extra"]["total"]
    table, ms = printed["training"], figures["gemms_ms"]
    said, share, lanes = (
        table["multiplications_percent"],
        ms["dense bf16"] / step / 10,
        ms["fp32 lanes"],
    )
    gain = step / (step - (ms["dense bf16"] - ms["FST bf16"]) / 1e3 + extra)
    # Half of what TF32 takes is what bf16 takes.
    most = step / (step - ms["dense bf16"] / 1e3 + extra)
    return [
        judged(
            f"Share of matrix multiplications in a step of {step} s",
            f"{table['where']}; step of Table 6",
            f"up to {said} %",
            f"{share:.0f} % on tensor cores, bf16",
            []
            if abs(share - said) <= _POINTS
            else [
                (
                    f"they take {ms['dense bf16']:.0f} ms there; fp32 at the full rate of CUDA "
                    f"cores, which have no 2:4, takes {lanes:.0f} ms, {lanes / step / 10:.0f} %"
                )
            ],
        ),
        judged(
            f"Training acceleration by FST on the A100: step of {step} s, overhead of {extra} s",
            "abstract, section 8 and Table 6",
            f"{table['factor']}×",
            f"{gain:.2f}× with the modelled GEMMs, bf16; {most:.2f}× if in TF32, at half that "
            "rate, they took half their time",
            []
            if abs(gain - table["factor"]) <= _ALIKE_FACTOR
            else [
                (
                    f"dense GEMMs on tensor cores take {ms['dense bf16']:.0f} ms of the step, "
                    f"{ms['FST bf16']:.0f} with FST; the rest stays"
                )
            ],
        ),
    ]


def draw_overheads(figures: Figures) -> go.Figure:
    """Modelled time of making every operand sparse."""
    drawn = go.Figure()
    operands = list(figures["fused"])
    printed = read_yaml(HERE / "xu-2022.yaml")["tables"]["sorting"]["operands"]
    for name, values, colour in (
        ("printed: sorting", [1e3 * printed[one] for one in operands], MACHINE_COLOURS[4]),
        *(
            (name, [figures[kind][one]["ms"] for one in operands], colour)
            for name, kind, colour in (
                ("one fused kernel", "fused", MACHINE_COLOURS[0]),
                ("operators of a framework", "operators", MACHINE_COLOURS[1]),
            )
        ),
    ):
        drawn.add_bar(
            name=name,
            x=[f"S({operand})" for operand in operands],
            y=values,
            marker={"color": colour},
            text=[f"{value:.3g}" for value in values],
            textposition="outside",
            cliponaxis=False,
            hovertemplate=f"%{{x}}, {name}: %{{y:.4g}} ms<extra></extra>",
        )
    dense = figures["gemms_ms"]["dense bf16"]
    drawn.add_hline(y=dense, line={"color": "#1F2933", "width": 1, "dash": "dot"})
    drawn.update_yaxes(title="ms", type="log", dtick=1, range=[-2, 3.2])
    return apply_theme(
        drawn,
        "What making an operand 2:4 takes",
        f"convolutions of ResNet-18, batch {figures['batch']}, fp32 operands · modelled on "
        f"{figures['hardware']['kernels']}, lower bounds · dotted: GEMMs of a dense step, bf16, "
        f"{dense:.0f} ms",
        430,
        112,
    )
