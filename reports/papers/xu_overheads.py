"""Tables 2 and 6 of Xu et al.: what making the masks costs, and what is left to gain."""

from typing import Any

import plotly.graph_objects as go

import nmsim
from nmsim.report.plots.theme import MACHINE_COLOURS, apply_theme
from nmsim.spec import read_yaml
from reports.claims import Found, Verdict, judged
from reports.papers.bench import AS_IS, Bench
from reports.papers.paper import HERE, Figures, Printed
from reports.papers.phase_gains import network_rows
from reports.papers.training_step import one_pass, passing
from reports.papers.xu_layers import A100, BATCH, MODEL, PATTERN

__all__ = [
    "draw_overheads",
    "judge_overheads",
    "measure_overheads",
    "multiplications_share",
    "part_seconds",
    "sorting_seconds",
    "training_factor",
]

DOCUMENTED = "a100-sxm4-80gb-documented"
"""For kernels that move matrices: no fitted constant, as in docs/gpus.md."""

_SIDES = {"weight": ("n", "k"), "gradient": ("m", "n"), "activation": ("m", "k")}
_POINT = 1.0
_KERNEL, _OPERATORS = "one kernel", "operators of a framework"


def measure_overheads(bench: Bench = AS_IS) -> dict[str, Any]:
    """Times of making each operand sparse, and of the GEMMs of a step, ms."""
    gpu, tensor = bench.gpu(DOCUMENTED), bench.gpu(A100)
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
    sparse = network_rows(MODEL, "fst", PATTERN, BATCH, tensor)
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


def judge_overheads(printed: Printed, _: Figures) -> list[Verdict]:
    """What the paper draws from its own times."""
    return [_total(printed["extra"]), _share(printed["extra"])]


def sorting_seconds(printed: Printed, figures: Figures, keys: tuple[str, ...]) -> Found:
    """Seconds of sorting every group of four of an operand, however it is written."""
    operand = keys[-1]
    table = printed["sorting"]
    said = table["operands"][operand]
    operators, fused = (figures[kind][operand]["ms"] / 1e3 for kind in ("operators", "fused"))
    step = table["training"]
    return Found(
        {_OPERATORS: operators, _KERNEL: fused},
        f"the bytes of operators explain {100 * operators / said:.0f} %; what took the rest the "
        f"paper does not say. Printed, it takes {100 * said / step:.0f} % of the step of {step} s; "
        f"one kernel takes {100 * fused / step:.1f} %",
    )


def part_seconds(_: Printed, figures: Figures, keys: tuple[str, ...]) -> Found:
    """Seconds of a part of Table 6, as kernels that read and write every element once."""
    if keys[-1] != "shift":
        fused, operators = (figures[kind]["weight"]["ms"] / 1e3 for kind in ("fused", "operators"))
        reason = "weights are few: what took the rest the paper does not say"
        return Found({_OPERATORS: operators, _KERNEL: fused}, reason)
    return Found(
        {_KERNEL: figures["shift_ms"] / 1e3, f"{_KERNEL}, 16 bits": figures["shift_ms"] / 2e3},
        "a new index moves no gradient, but Eq. 10 adds the shifted one to the gradient, which "
        "moves both",
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


def multiplications_share(printed: Printed, figures: Figures, _: tuple[str, ...]) -> Found:
    """Percent of a step's printed time that its dense GEMMs take, by number format."""
    step, ms = printed["extra"]["training"], figures["gemms_ms"]
    shares = {name: ms[name] / step / 10 for name in ("dense bf16", "fp32 lanes")}
    return Found(
        shares,
        f"dense GEMMs take {ms['dense bf16']:.0f} ms on tensor cores, {ms['fp32 lanes']:.0f} in "
        "fp32 at the full rate of CUDA cores, which have no 2:4",
        f"of the {step} s of Table 6",
    )


def training_factor(printed: Printed, figures: Figures, _: tuple[str, ...]) -> Found:
    """Speed-up of a whole step whose GEMMs alone gain, with the overhead of Table 6."""
    step, extra = printed["extra"]["training"], printed["extra"]["total"]
    ms = figures["gemms_ms"]
    saved = (ms["dense bf16"] - ms["FST bf16"]) / 1e3
    # Half of what TF32 takes is what bf16 takes.
    most = ms["dense bf16"] / 1e3
    return Found(
        {
            "GEMMs in bf16": step / (step - saved + extra),
            "in TF32, half their time saved": step / (step - most + extra),
        },
        f"dense GEMMs on tensor cores take {ms['dense bf16']:.0f} ms of the step, "
        f"{ms['FST bf16']:.0f} with FST; the rest stays",
        f"step of {step} s, overhead of {extra} s",
    )


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
