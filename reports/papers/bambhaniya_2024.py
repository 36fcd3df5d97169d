"""Bambhaniya et al., arXiv:2402.04744: progressive gradient flow, on a page of their own."""

from reports.papers.bambhaniya_flops import (
    draw_savings,
    judge_flops,
    judge_savings,
    measure_flops,
    measure_savings,
)
from reports.papers.bambhaniya_inference import draw_inference, inference_gain, measure_inference
from reports.papers.bambhaniya_mixes import draw_mixes, measure_mixes
from reports.papers.bambhaniya_training import (
    draw_training,
    judge_training,
    measure_run,
    measure_training,
    run_hours,
)
from reports.papers.csr_kernels import csr_entry, draw_csr, measure_csr
from reports.papers.paper import KEPT, Paper, Part

__all__ = ["BAMBHANIYA"]

BAMBHANIYA = Paper(
    slug="bambhaniya-2024",
    lead="Accuracies (Tables 2 to 7 and 9 to 12) are not compared, nor the variances of Figure 3 "
    "and the profiles of Figure 9.",
    parts=(
        Part(
            name="flops",
            title="Operations of ViT-Base",
            where="Tables 1, 17 and 18",
            n_is=KEPT,
            caption="Source: vit-b16 lowered at 196 tokens, twelve blocks without patch embedding "
            "and classifier; two FLOPs a MAC, one image. A figure is met to its last printed "
            "digit, cut or rounded.",
            measure=measure_flops,
            judge=judge_flops,
        ),
        Part(
            name="savings",
            title="What a sparser pattern saves",
            where="Figures 4a and 5, sections 5.1 and 7",
            n_is=KEPT,
            caption="The axes of the figures bear no numbers in the text; the patterns' FLOPs and "
            "weights are drawn here, and the two savings that the text names are judged within "
            "one point.",
            measure=measure_savings,
            judge=judge_savings,
            draw=draw_savings,
        ),
        Part(
            name="training",
            title="Training FLOPs of the schedules",
            where="section 1 and Figure 4b",
            n_is=KEPT,
            caption="Recipes sr-ste, mdgf-linear, mdgf-exponential, sdgf-stepwise and "
            "sdgf-geometric on feed-forward weights, integrated over the run by nmsim.train on "
            "the machine ideal, which counts MACs alone. A mask that decays saves nothing until it "
            "is binary, after 70 % of the run, as section 3 recommends. The paper compares runs of "
            "different lengths at the same accuracy; here they have the same length. At 1:128 "
            "sdgf-geometric starts from 16:2048, of which rows of 768 keep 16: more than 1:128.",
            measure=measure_training,
            judge=judge_training,
            draw=draw_training,
        ),
        Part(
            name="mixes",
            title="Two patterns by layer",
            where="Tables 2 to 4 and 12",
            n_is=KEPT,
            caption="The tables print accuracies alone: what each mix gains is ours, beside no "
            "figure of theirs. T5-Base has layers of its own for queries and keys; the ViT and "
            "Swin that ship with nmsim make them with the values by one matrix, where a mask of Q "
            "and K alone is refused. ideal is the ratio of MACs; the A100 runs 1:4 and 1:8 as 2:4.",
            measure=measure_mixes,
            draw=draw_mixes,
        ),
        Part(
            name="run",
            title="Time of a training run",
            where="appendix C.2 and Tables 13 to 16",
            n_is=KEPT,
            caption="Estimates: dense steps, what is no GEMM included, bf16, analytical, every "
            "device alone. ImageNet-1K has 1,281,167 images; T5X has 512 and 114 "
            "tokens, the encoder-"
            "decoder 256 each. A batch of 16 of 256 is what a device has if the batch is of all. "
            "Met within a factor of two. While GEMMs alone were counted, ViT-Base took 5.0 h and "
            "3.7 h here; no verdict moved when all else of a step joined them.",
            measure=measure_run,
            formulas={"run_hours": run_hours},
            runs_on=("gpu", "systolic"),
        ),
        Part(
            name="inference",
            title="Speed-up of inference",
            where="Table 8",
            n_is=KEPT,
            caption="The paper names cuSPARSE, but neither batch nor number format; here 1 and 64 "
            "images. CSR: csr in fp32 without the host, the rest of the network and "
            "the dense run in fp32 on CUDA cores. Sparse cores: bf16, the dense run too; patterns "
            "sparser than 2:4 run as 2:4. Met within 15 %; nothing is fitted to the table.",
            measure=measure_inference,
            formulas={"inference_gain": inference_gain},
            runs_on=("gpu", "csr"),
            draw=draw_inference,
        ),
        Part(
            name="csr",
            title="CSR products",
            where="Table 19",
            n_is=KEPT,
            caption="csr, nothing fitted; docs/gpus.md says what is counted and "
            "assumed. The paper names neither sizes nor number format (fp32 is taken) nor what the "
            "host adds. The first case is one image of ViT-Base, of which the tables beside it "
            "are; each of the others differs from it in one of these.",
            measure=measure_csr,
            formulas={"csr_entry": csr_entry},
            runs_on=("gpu", "csr"),
            draw=draw_csr,
        ),
    ),
)
