"""Lowering: one convolution as the three GEMMs of a training step, to a logarithmic scale.

The sizes are those that nmsim's networks give; K is the last axis of A and of B in every phase.
"""

import math
from typing import Any

from drawn import COLOURS, INK, MARGIN, MUTED, WIDTH, canvas, styled, svg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nmsim import Gemm, load_model

__all__ = ["LAYER", "MODEL", "OPERANDS", "gemms", "lowering_svg"]

MODEL, LAYER = "vgg11", "features.6"
TITLE = "Lowering: a convolution as three GEMMs"
HEIGHT = 588
OPERANDS = {
    "forward": ("activation, in windows", "weight", "output"),
    "backward": ("gradient, in windows", "weight, by taps", "gradient of the input"),
    "update": ("gradient, transposed", "activation, in windows", "gradient of the weight"),
}
COLOUR = {"activation": COLOURS["sky"], "gradient": COLOURS["sand"], "weight": COLOURS["teal"],
          "output": COLOURS["grey"]}  # fmt: skip


def gemms() -> dict[str, Gemm]:
    """The layer's GEMM of each phase, one sample."""
    return {one.phase: one for one in load_model(MODEL).gemms(1) if one.layer == LAYER}


def _long(size: int) -> float:
    """The length that a size is drawn with, in points."""
    return 9.2 * math.log2(size)


def _matrix(figure: Figure, left: float, top: float, size: tuple[int, int], texts: Any) -> None:
    """A matrix with what it holds above it, its rows at its side and its columns below it."""
    name, rows, columns = texts
    high, wide = _long(size[0]), _long(size[1])
    place = (left / WIDTH, 1 - (top + high) / HEIGHT)
    colour = COLOUR[name.split(",")[0].split(" ")[0]]
    figure.add_artist(Rectangle(place, wide / WIDTH, high / HEIGHT, facecolor=colour, edgecolor=INK,
                                linewidth=1))  # fmt: skip
    middle = (left + wide / 2) / WIDTH
    figure.text(left / WIDTH, 1 - (top - 7) / HEIGHT, name)
    figure.text(middle, 1 - (top + high / 2 + 5) / HEIGHT, rows, ha="center", fontweight="bold")
    figure.text(middle, 1 - (top + high + 16) / HEIGHT, columns, ha="center", color=MUTED)


def _phase(figure: Figure, top: float, gemm: Gemm) -> None:
    a, b, c = OPERANDS[gemm.phase]
    figure.text(MARGIN / WIDTH, 1 - (top + 30) / HEIGHT, gemm.phase, fontweight="bold")
    said = (("M", gemm.m), ("N", gemm.n), ("K", gemm.k))
    for line, (letter, size) in enumerate(said):
        at = 1 - (top + 50 + 18 * line) / HEIGHT
        figure.text(MARGIN / WIDTH, at, f"{letter} = {size:,}", color=MUTED)
    _matrix(figure, 114, top + 20, (gemm.m, gemm.k), (a, "A", "K"))
    _matrix(figure, 292, top + 20, (gemm.n, gemm.k), (b, "B", "K"))
    _matrix(figure, 470, top + 20, (gemm.m, gemm.n), (c, "C", "N"))


def lowering_svg() -> str:
    """The whole drawing."""
    lines = ["C[M,N] = A[M,K] times B[N,K] transposed: groups of N:M lie along K, which is",
             f"another axis in each phase. {LAYER} of {MODEL}, one sample."]  # fmt: skip
    with styled():
        figure = canvas(HEIGHT, TITLE, lines)
        for number, gemm in enumerate(gemms().values()):
            _phase(figure, 96 + 162 * number, gemm)
        return svg(figure, TITLE)
