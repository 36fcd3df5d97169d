"""Chmiel et al., ICLR 2023: sparse activations and gradients, on a page of their own."""

from functools import partial

from reports.papers.chmiel_norm import judge_norm, measure_norm
from reports.papers.chmiel_overheads import (
    activation_overhead,
    draw_estimators,
    estimator_overhead,
    judge_activations,
    judge_estimators_cost,
    measure_activations,
    measure_estimators_cost,
)
from reports.papers.chmiel_phases import (
    draw_phases,
    judge_criteria,
    judge_phases,
    judge_throughput,
    measure_criteria,
    measure_phases,
    measure_throughput,
    training_gain,
)
from reports.papers.chmiel_products import (
    draw_products,
    judge_bit_operations,
    judge_products,
    measure_bit_operations,
    measure_products,
)
from reports.papers.paper import HALF, KEPT, Borrowed, Paper, Part

__all__ = ["CHMIEL"]

CHMIEL = Paper(
    slug="chmiel-2023",
    lead="Tables 4 to 9 and 11 and Figure 3 are accuracies alone and are not compared.",
    parts=(
        Part(
            name="phases",
            title="Which phases a method accelerates",
            where="Table 1",
            n_is=HALF,
            caption="Recipes, in the order of the bars: sr-ste, transposable, "
            "activations.yaml, mvue, reports/bandwidth/both.yaml, transposable+mvue. Source: "
            "speed-ups of phases, all layers, synthetic tensors; an array that takes N:M masks on "
            "either operand. A phase is accelerated if it takes fewer cycles than dense.",
            measure=measure_phases,
            judge=judge_phases,
            draw=draw_phases,
        ),
        Part(
            name="criteria",
            title="By which criterion elements are kept",
            where="Table 1, brackets",
            n_is=HALF,
            caption="MVUE: what pruning makes of a tensor is right on average (bias 0, exact, not "
            "sampled); MSE: it is not, and errs least. Shares of sum |a| and of sum a².",
            measure=measure_criteria,
            judge=judge_criteria,
            kind="algorithm",
        ),
        Part(
            name="throughput",
            title="Twice the throughput",
            where="abstract, sections 1 and 2",
            n_is=HALF,
            caption="Recipe transposable+mvue, 2:4, fidelity analytical. The paper had no machine "
            "to try it on and says potentially. Pace: MACs spent a cycle, over those of the dense "
            "run; a K that shrinks fills the rows of an array less. What binds is a column of the "
            "result.",
            measure=measure_throughput,
            judge=judge_throughput,
            formulas={
                "gemm_gain": partial(training_gain, phase="forward"),
                "training_gain": training_gain,
            },
            runs_on=("gpu", "systolic"),
        ),
        Part(
            name="products",
            title="MACs of two pruned operands",
            where="Eq. 18 and section 6",
            n_is=KEPT,
            caption="Section 6 prunes weights 2:4 and activations 4:8. Exact: every mask equally "
            "likely. Kept zeros are in the mask and cost a slot, but an engine that tests for zero "
            "skips them too.",
            measure=measure_products,
            judge=judge_products,
            kind="algorithm",
            draw=draw_products,
        ),
        Part(
            name="bit-operations",
            title="4 bits with two masks, or 2 bits",
            where="section 6, Tables 7 and 9",
            n_is=HALF,
            caption="Bit operations: MACs that are left times the bits of both operands. ResNet-18 "
            "as lowered; the first layer keeps 4 bits (2 in the comparison) and no mask.",
            measure=measure_bit_operations,
            judge=judge_bit_operations,
        ),
        Part(
            name="estimators",
            title="Overhead of drawing gradients",
            where="Table 3",
            n_is=HALF,
            caption="Passes and training: RTX 2080 Ti (rtx-2080-ti.yaml, no measured GEMM behind "
            "it), fp32, batch 256 on 8 GPUs as A.4 has it; the step is its GEMMs alone, so the "
            "overhead over a whole step is less. Kernels: nmsim's, measured on one core "
            "(measurements.json, with conditions). Gradients of all layers but the first and the "
            "last. The paper calls its implementation non-optimised.",
            measure=measure_estimators_cost,
            judge=judge_estimators_cost,
            kind="measurement",
            formulas={"estimator_overhead": estimator_overhead},
            draw=draw_estimators,
        ),
        Part(
            name="activations",
            title="Overhead of pruning activations",
            where="Table 10",
            n_is=HALF,
            caption="Machine and kernels as for gradients. Pruning may be done by the kernel "
            "that applies the ReLU, or by one of its own afterwards: a case each.",
            measure=measure_activations,
            judge=judge_activations,
            kind="measurement",
            formulas={"activation_overhead": activation_overhead},
        ),
        Part(
            name="norm",
            title="The batch norm before pruned activations",
            where="section 7",
            n_is=HALF,
            caption="Bytes of an estimate of the norm's backward (docs/step.md): its output's "
            "gradient is read twice, packed as the mask of the activations has it; its input is "
            "read twice and the result written, dense. 16 bits. The paper prints no figure.",
            measure=measure_norm,
            judge=judge_norm,
        ),
        Borrowed(
            "digits", "survivors", "Products that are left, on real activations and gradients"
        ),
        Borrowed("digits", "estimators", "Unbiased against greedy gradients, on small networks"),
        Borrowed("bandwidth", "words", "Bandwidth of one pruned operand and of two"),
        Borrowed("bandwidth", "delivery", "What the bandwidth of dense is worth"),
        Borrowed("bandwidth", "products", "MACs of two pruned operands, for any N:M and on arrays"),
        Borrowed("pruning", "estimators", "Unbiased estimators of the gradients"),
        Borrowed("pruning", "approximation", "The approximation is within a factor of two"),
    ),
)
