"""Xu et al., AAAI 2022: fully sparse training, on a page of their own."""

from reports.papers.paper import HALF, Paper, Part
from reports.papers.xu_layers import draw_layers, judge_layers, measure_layers, time_share
from reports.papers.xu_overheads import (
    draw_overheads,
    judge_overheads,
    measure_overheads,
    multiplications_share,
    part_seconds,
    sorting_seconds,
    training_factor,
)
from reports.papers.xu_rivals import channel_gain, judge_rivals, measure_rivals
from reports.papers.xu_speedups import (
    draw_speedups,
    judge_strategies,
    measure_speedups,
    measure_strategies,
    step_gain,
    strategy_gain,
)

__all__ = ["XU"]

XU = Paper(
    slug="xu-2022",
    lead="Accuracies (Tables 1, 5 and columns of 3 and 4) are not compared, nor the rows of "
    "Table 3 that print no ratio (PruneT, ClickT, SparseT), nor the entropies of Figure 4.",
    parts=(
        Part(
            name="layers",
            title="Where the work is",
            where="Figure 2 and section 4",
            n_is=HALF,
            caption="Source: the lowered network; the figure's bars bear no numbers, so they are "
            "drawn here and only the text that refers to them is judged. A share of time is met "
            "within five points.",
            measure=measure_layers,
            judge=judge_layers,
            formulas={"time_share": time_share},
            draw=draw_layers,
        ),
        Part(
            name="strategies",
            title="Four choices of what to prune",
            where="Eq. 4 and section 4",
            n_is=HALF,
            caption="Recipes wg, wx, gg and gx, which all prune weights in forward. Pace: MACs "
            "spent a cycle, over those of the dense run; analytical.",
            measure=measure_strategies,
            judge=judge_strategies,
            formulas={"strategy_gain": strategy_gain},
        ),
        Part(
            name="speedups",
            title="Speed-ups",
            where="Tables 3 and 4",
            n_is=HALF,
            caption="Recipes: sr-ste (SR-STE), transposable (TSM), bidirectional (FST ×2) and fst "
            "(FST ×3). A step's MACs are of all layers, all masked; batch 256 as in section 7, 16 "
            "for detectors, whose batch is not printed. A masked GEMM runs as 2:4 even where the "
            "dense kernel is faster; making masks and all that is no GEMM is left out here. A "
            "factor is met within 0.05.",
            measure=measure_speedups,
            formulas={"step_gain": step_gain},
            draw=draw_speedups,
        ),
        Part(
            name="rivals",
            title="Channel and unstructured pruning",
            where="Table 3",
            n_is=HALF,
            caption="Channels: every convolution of the forward without 30 % of its filters, in "
            "eights; backward and update are dense, as the table prunes one object. Unstructured: "
            "masks of half of the elements that promise hardware nothing. All GEMMs of a step, "
            "batch 256. A factor is met within 0.05.",
            measure=measure_rivals,
            judge=judge_rivals,
            formulas={"channel_gain": channel_gain},
        ),
        Part(
            name="overheads",
            title="Time of making the masks",
            where="Tables 2 and 6",
            n_is=HALF,
            caption="nmsim.machines.gpu.preparation: bytes of every kernel over the bandwidth of a "
            "documented A100, all convolutions, fp32 (the paper names no number format): lower "
            "bounds. A printed time of sorting is met within a factor of two.",
            measure=measure_overheads,
            judge=judge_overheads,
            formulas={
                "sorting_seconds": sorting_seconds,
                "part_seconds": part_seconds,
                "multiplications_share": multiplications_share,
                "training_factor": training_factor,
            },
            draw=draw_overheads,
        ),
    ),
)
