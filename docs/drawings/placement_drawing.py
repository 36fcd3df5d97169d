"""A GEMM cut into folds on a weight-stationary array, and the cycles of one of them.

Folds and cycles are those of the array's own placement and of its cycle model; a test holds them.
"""

from typing import Any

from drawn import COLOURS, GRID, INK, MARGIN, MUTED, WIDTH, bars, canvas, styled, svg
from drawn import axes as axes_at
from matplotlib.patches import Rectangle

from nmsim import Gemm, load_hardware

__all__ = ["FIELDS", "GEMM", "MACHINE", "parts", "placement_svg"]

GEMM = Gemm(48, 40, 56)
FIELDS: dict[str, Any] = {"dataflow": "ws", "order": "fixed", "fold_period": "exposed"}
MACHINE = load_hardware("systolic-16x16", **FIELDS)
TITLE = "Folds: a GEMM on a weight-stationary array"
HEIGHT = 470
UNIT = 4.4


def parts() -> dict[str, int]:
    """Cycles of one fold, stall-free: shifting the weights in, streaming, and what follows."""
    return {"preload": MACHINE.rows, "stream": GEMM.m, "drain": MACHINE.rows + MACHINE.cols - 2}


def _weight(drawn: Any) -> None:
    """The weight, K down and N to the right, in pieces of the array's size."""
    rows, cols = MACHINE.rows, MACHINE.cols
    number = 0
    for top in range(0, GEMM.k, rows):
        for left in range(0, GEMM.n, cols):
            number += 1
            size = (min(cols, GEMM.n - left), min(rows, GEMM.k - top))
            drawn.add_patch(Rectangle((left, top), cols, rows, facecolor="#EEF1F4", edgecolor=GRID,
                                      linestyle=(0, (3, 3))))  # fmt: skip
            drawn.add_patch(Rectangle((left, top), *size, facecolor=COLOURS["teal"],
                                      edgecolor="#FFFFFF", linewidth=1.2))  # fmt: skip
            drawn.text(left + size[0] / 2, top + size[1] / 2 + 1.3, str(number), color="#FFFFFF",
                       ha="center", fontweight="bold")  # fmt: skip


def _array(drawn: Any) -> None:
    """The array that holds one piece: activations from the left, sums leave below."""
    side = MACHINE.rows
    drawn.add_patch(Rectangle((0, 0), side, side, facecolor=COLOURS["teal"], edgecolor=INK))
    for at in range(2, side, 4):
        arrow: dict[str, Any] = {"arrowstyle": "-|>", "color": MUTED, "linewidth": 1.3}
        drawn.annotate("", (0, at), (-5, at), arrowprops=arrow)
        drawn.annotate("", (at, side + 5), (at, side), arrowprops=arrow)
    drawn.text(-6, -1.0, "A, row by row,\none cycle later\nin each row", ha="right", va="top",
               color=MUTED)  # fmt: skip
    drawn.text(side / 2, side / 2 + 0.8, f"{side}×{side}\nweights\nheld", ha="center", va="center",
               color="#FFFFFF", fontweight="bold")  # fmt: skip
    drawn.text(side / 2, side + 8.6, "sums of C", ha="center", color=MUTED)


def placement_svg() -> str:
    """The whole drawing."""
    down, across = -(-GEMM.k // MACHINE.rows), -(-GEMM.n // MACHINE.cols)
    with styled():
        cut = f"the weight is cut along K and N into {down} × {across} folds."
        size = f"{GEMM.m}×{GEMM.n}×{GEMM.k} on a {MACHINE.rows}×{MACHINE.cols} array"
        idle = "A fold at the edge leaves lanes idle (dashed), and takes as long as a full one."
        figure = canvas(HEIGHT, TITLE, [f"{size}: {cut}", idle])
        wide, high = across * MACHINE.cols, down * MACHINE.rows
        left = axes_at(figure, 62, 112, UNIT * wide * 0.95, UNIT * high * 0.95)
        left.set(xlim=(-0.5, wide + 0.5), ylim=(high + 0.5, -0.5))
        left.set_axis_off()
        _weight(left)
        figure.text(62 / WIDTH, 1 - 104 / HEIGHT, "N", color=MUTED)
        figure.text(40 / WIDTH, 1 - 126 / HEIGHT, "K", color=MUTED)
        right = axes_at(figure, 320, 112, 290, UNIT * high * 0.95)
        right.set(xlim=(-20, 19), ylim=(28, -4), aspect="equal")
        right.set_axis_off()
        _array(right)
        _cycles(figure)
        return svg(figure, TITLE)


def _cycles(figure: Any) -> None:
    drawn = axes_at(figure, MARGIN + 6, 408, WIDTH - 2 * MARGIN - 12, 30)
    colours = {"preload": "indigo", "stream": "teal", "drain": "sand"}
    at = 0
    for name, long in parts().items():
        bars(drawn, [(at, long)], 0.5, 1.0, COLOURS[colours[name]])
        colour = INK if name == "drain" else "#FFFFFF"
        drawn.text(at + long / 2, 0.5, f"{name}, {long}", ha="center", va="center", color=colour)
        at += long
    drawn.set(xlim=(0, at), ylim=(0, 1), xticks=[0, at])
    drawn.set_yticks([])
    figure.text(MARGIN / WIDTH, 1 - 398 / HEIGHT, "Cycles of one fold")
