"""Table 19 of Bambhaniya et al. (2024), CSR products on three GPUs, entry by entry; run to print.

The table gives speed-ups over 2:4 of the two feed-forward GEMMs of a ViT, both in CSR (CuPy's
``csr_matrix.dot``, which calls cuSPARSE), mean of the two. It does not say which ViT, batch or
number format. Taken here: ViT-Base, as in the tables beside it, 196 tokens (tables 17 and 18), one
image, fp32.
"""

import sys
from typing import NamedTuple

from nmsim.engine.csr import CsrTime, spmm_call_time
from nmsim.hardware import Gpu, load_hardware

PATTERNS = ("1:4", "1:8", "1:16", "1:32", "1:128")

PRINTED = {
    "V100": (1.83, 3.05, 5.25, 7.64, 8.62),
    "A100": (1.85, 2.96, 4.01, 4.82, 5.87),
    "GH200": (1.80, 2.58, 3.22, 3.65, 4.16),
}

TOLERANCE = 0.15
"""An entry is reproduced if the prediction is this close."""

TOKENS = 196
BASE = (768, 3072)
LARGE = (1024, 4096)


class Entry(NamedTuple):
    """One entry: printed and predicted speed-up over 2:4, and what the model says binds it."""

    gpu: str
    pattern: str
    printed: float
    predicted: float
    verdict: str


def machines() -> dict[str, Gpu]:
    """The GPUs; GH200 has the H100's SMs and 4000 GB/s (96 GB model), 86.8% of which is reached."""
    return {
        "V100": load_hardware("v100"),
        "A100": load_hardware("a100-sxm4-80gb-documented"),
        "GH200": load_hardware("h100-sxm", **{"dram.gbps": 3470.0}),
    }


def calls(machine: Gpu, density: float, widths=BASE, tokens=TOKENS, **host) -> list[CsrTime]:
    """Both feed-forward GEMMs: weights hidden x width and width x hidden."""
    width, hidden = widths
    return [
        spmm_call_time(machine, hidden, tokens, width, density, **host),
        spmm_call_time(machine, width, tokens, hidden, density, **host),
    ]


def speedup(machine: Gpu, density: float, **given) -> float:
    """Over 2:4, mean of both GEMMs."""
    pairs = zip(calls(machine, 0.5, **given), calls(machine, density, **given), strict=True)
    return sum(base.total_us / this.total_us for base, this in pairs) / 2


def verdict(machine: Gpu, density: float, printed: float) -> str:
    """Whether an entry is reproduced, and if not, what would have to be otherwise."""
    ratio = speedup(machine, density) / printed - 1
    if abs(ratio) <= TOLERANCE:
        return f"reproduced within {abs(ratio):.0%}"
    base, this = (sum(c.total_us for c in calls(machine, d)) / 2 for d in (0.5, density))
    fixed = sum(c.fixed_us for c in calls(machine, density)) / 2
    return (
        f"differs by {ratio:+.0%}: {this:.0f} us of {base:.0f} at 2:4, {fixed:.0f} of them fixed; "
        f"the printed figure leaves {base / printed:.0f}"
    )


def entries() -> list[Entry]:
    """All of them, row by row."""
    found = []
    for gpu, machine in machines().items():
        for pattern, printed in zip(PATTERNS, PRINTED[gpu], strict=True):
            density = 1 / int(pattern.partition(":")[2])
            found.append(
                Entry(
                    gpu,
                    pattern,
                    printed,
                    speedup(machine, density),
                    verdict(machine, density, printed),
                )
            )
    return found


def markdown() -> str:
    """The entries as a table."""
    lines = ["| GPU | pattern | printed | predicted | verdict |", "|---|---|---|---|---|"]
    lines += [
        f"| {e.gpu} | {e.pattern} | {e.printed:.2f} | {e.predicted:.2f} | {e.verdict} |"
        for e in entries()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(markdown() + "\n")
