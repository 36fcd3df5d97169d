"""Section 7 of Chmiel et al.: a mask of activations shortens the way back before it."""

from typing import Any

import nmsim
from reports.claims import Verdict, judged
from reports.papers.bench import AS_IS
from reports.papers.paper import Figures, Printed

__all__ = ["judge_norm", "measure_norm"]

GPU, PATTERNS, BITS = "a100-sxm4-80gb", ("2:4", "4:8"), 16

GRADIENT_READS = 2
"""A batch norm reads its output's gradient for its two sums and again for the result."""


def measure_norm() -> dict[str, Any]:
    """Bytes an element of a batch norm's backward, with a dense gradient and a packed one.

    The gradient of what is pruned is 0 where the activation is, so that it may be stored packed:
    what is kept and where it stood. The input of the norm and the result stay dense.
    """
    norm = AS_IS.gpu(GPU).elementwise.operation("batch_norm")
    assert norm is not None  # noqa: S101
    reads, writes = norm.backward.reads, norm.backward.writes
    dense = (reads + writes) * BITS / 8
    return {
        "hardware": GPU,
        "reads": reads,
        "writes": writes,
        "dense": dense,
        "masked": {text: dense - _saved(nmsim.Pattern.parse(text)) for text in PATTERNS},
    }


def _saved(pattern: nmsim.Pattern) -> float:
    packed = pattern.density * (BITS + (pattern.group - 1).bit_length())
    return GRADIENT_READS * (BITS - packed) / 8


def judge_norm(printed: Printed, figures: Figures) -> list[Verdict]:
    """Whether fewer bytes are moved."""
    table, dense = printed["norm"], figures["dense"]
    gains = {text: dense / masked for text, masked in figures["masked"].items()}
    faster = min(gains.values()) > 1
    return [
        judged(
            "N:M activations shorten the backward of the batch norm before them",
            table["where"],
            "yes" if table["accelerates"] else "no",
            "; ".join(
                f"{text}: {figures['masked'][text]:.2f} bytes an element of {dense:g}: {gain:.2f}×"
                for text, gain in gains.items()
            ),
            ["the bytes say otherwise" for _ in [0] if faster != table["accelerates"]],
        )
    ]
