"""Hubara et al., NeurIPS 2021: transposable masks, on a page of their own."""

from functools import partial

from reports.papers.mask_search import (
    draw_growth,
    draw_searches,
    judge_growth,
    judge_searches,
    measure_growth,
    measure_searches,
)
from reports.papers.measured_pairs import draw_pairs, judging_pairs, measure_pairs
from reports.papers.paper import HALF, Borrowed, Paper, Part
from reports.papers.utilisation import (
    draw_machines,
    draw_utilisation,
    judge_transposed,
    judge_utilisation,
    measure_machines,
    measure_transposed,
    measure_utilisation,
    training_share,
    weights_gain,
)

__all__ = ["HUBARA"]

HUBARA = Paper(
    slug="hubara-2021",
    lead="Tables of accuracy alone are not compared, nor Figures 3a and 5b.",
    parts=(
        Part(
            name="utilisation",
            title="Utilisation of sparse cores",
            where="Tables 3, 4 and A.4",
            n_is=HALF,
            caption="Recipes: asp (a mask in forward, but for layers that NVIDIA's code passes "
            "over), sr-ste (the table's SS: in forward, all layers) and transposable (in forward "
            "and backward, all layers). Source: MACs of the lowered networks. Forward and backward "
            "are not exactly two thirds: a network's first convolution has no backward GEMM, and "
            "attention's products (sequences of 128) have no weights. A printed percent is met "
            "within one point.",
            measure=measure_utilisation,
            judge=judge_utilisation,
            formulas={"training_share": training_share},
            draw=draw_utilisation,
        ),
        Part(
            name="machines",
            title="The same masks on machines",
            where="Tables 3, 4 and A.4; abstract",
            n_is=HALF,
            caption="Machines: a100-sxm4-80gb has sparse cores for 2:4, hypothetical-4to8 is the "
            "same GPU with cores for 4:8, systolic-128x128-flexible takes any N:M. Source: "
            "speed-ups of phases, analytical; a 4:8 mask on cores for 2:4 runs dense unless all of "
            "its halves hold two. Dense GEMMs count in a phase as they are. Pace: MACs spent a "
            "cycle, over those of the dense run.",
            measure=measure_machines,
            formulas={
                "forward_gain": partial(weights_gain, phase="forward"),
                "backward_gain": partial(weights_gain, phase="backward"),
            },
            runs_on=("gpu", "systolic"),
            draw=draw_machines,
        ),
        Part(
            name="measured",
            title="Twice the speed, as timed on an A100",
            where="section 1",
            n_is=HALF,
            caption="2:4 against dense on the same A100, as two posts print it (sources beside "
            "the file); sizes of linear layers, host-side timers. Met if all of them double. "
            "Chmiel et al. (abstract) and Xu et al. (section 4) say the same of a product.",
            measure=measure_pairs,
            judge=judging_pairs("sparse_cores", "factor"),
            kind="measurement",
            draw=draw_pairs,
        ),
        Part(
            name="searches",
            title="Overhead of finding the mask",
            where="Tables 2 and A.3",
            n_is=HALF,
            caption="Searches: nmsim's own kernels and HiGHS, measured on one core "
            "(measurements.json, with conditions). Training: GEMMs of a dense fp32 step of "
            "ResNet-50, batch 32, modelled on an RTX 2080 Ti (rtx-2080-ti.yaml, no measured GEMM "
            "behind it), the GPU that A.4 names, and at the measured rate of matrix products on "
            "that core. The paper ran all of it on one GPU and names neither solver nor batch. A "
            "printed figure is met within a factor of two.",
            measure=measure_searches,
            judge=judge_searches,
            kind="measurement",
            draw=draw_searches,
        ),
        Part(
            name="growth",
            title="How the search grows with the tile",
            where="Appendix A.3",
            n_is=HALF,
            caption="The paper's complexities are of algorithms it cites; nmsim solves the flow by "
            "successive shortest paths, and counts instead of sorting in the 2-approximation. "
            "The greedy is what the paper's code does. A power is met within a half.",
            measure=measure_growth,
            judge=judge_growth,
            kind="measurement",
            draw=draw_growth,
        ),
        Part(
            name="transposed",
            title="A mask and its transpose",
            where="Eq. 1 and Figure 2",
            n_is=HALF,
            caption="Masks of the trained weights in traces/digits.safetensors.",
            measure=measure_transposed,
            judge=judge_transposed,
            kind="algorithm",
        ),
        Borrowed("pruning", "diversity", "Mask diversity, by formula and by count"),
        Borrowed("pruning", "violations", "How often an unstructured mask fits"),
        Borrowed("pruning", "retained", "What structure costs in magnitude"),
        Borrowed("pruning", "bounds", "Bounds of the approximations"),
        Borrowed("bandwidth", "selectors", "What a larger group costs"),
    ),
)
