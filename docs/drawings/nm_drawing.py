"""N:M along K in the phases of training: which groups of one weight's mask fit where.

Two masks of the same drawn weight, by nmsim's own pruners. Forward multiplies along inputs, so its
groups lie in rows; backward along outputs, so its groups lie in columns.
"""

from typing import Any

import numpy as np
from drawn import COLOURS, INK, MARGIN, MUTED, WIDTH, canvas, styled, svg
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from nmsim import prune

__all__ = ["MASKS", "VALUES", "misfits", "nm_svg"]

TITLE = "2:4 along K: one weight, two phases"
HEIGHT = 656
SIZE, GROUP, KEEP = 8, 4, 2
SIDE = 212
VALUES = np.random.default_rng(2).normal(size=(SIZE, SIZE))
"""A weight: outputs x inputs."""

MASKS = {name: prune(VALUES, "2:4", name).mask for name in ("magnitude", "transposable")}
PHASES = {"forward": "K = inputs: groups in rows", "backward": "K = outputs: in columns"}


def misfits(mask: NDArray[np.bool_], phase: str) -> NDArray[np.bool_]:
    """Which groups of a phase keep more than the pattern allows: rows (columns) x groups."""
    lanes = mask if phase == "forward" else mask.T
    kept = lanes.reshape(SIZE, SIZE // GROUP, GROUP).sum(axis=2)
    return np.asarray(kept > KEEP)


def _panel(drawn: Axes, name: str, phase: str) -> None:
    mask, wrong = MASKS[name], misfits(MASKS[name], phase)
    for row, column in np.ndindex(SIZE, SIZE):
        colour = COLOURS["teal"] if mask[row, column] else "#EEF1F4"
        drawn.add_patch(Rectangle((column + 0.08, row + 0.08), 0.84, 0.84, facecolor=colour))
    for lane, group in np.ndindex(SIZE, SIZE // GROUP):
        bad = wrong[lane, group]
        how: dict[str, Any] = {"facecolor": "none", "linewidth": 2.4 if bad else 1.0,
                               "edgecolor": COLOURS["rose"] if bad else MUTED,
                               "zorder": 3 if bad else 2}  # fmt: skip
        along = phase == "forward"
        corner = (GROUP * group, lane) if along else (lane, GROUP * group)
        size = (GROUP, 1) if along else (1, GROUP)
        drawn.add_patch(Rectangle(corner, *size, **how))
    drawn.set(xlim=(-0.1, SIZE + 0.1), ylim=(SIZE + 0.1, -0.1), aspect="equal")
    drawn.set_axis_off()


def _text(figure: Figure, x: float, y: float, text: str, **how: Any) -> None:
    figure.text(x / WIDTH, 1 - y / HEIGHT, text, **how)


def nm_svg() -> str:
    """The whole drawing."""
    lines = ["Full: kept. A frame is a group of four along K; a red one keeps more than two,",
             "so hardware for 2:4 cannot use the mask there."]  # fmt: skip
    with styled():
        figure = canvas(HEIGHT, TITLE, lines)
        for at, (phase, said) in enumerate(PHASES.items()):
            left = 130 + 256 * at
            _text(figure, left, 104, phase, fontweight="bold")
            _text(figure, left, 122, said, color=MUTED)
        for row, name in enumerate(MASKS):
            top = 134 + 240 * row
            _text(figure, MARGIN, top + 88, name, fontweight="bold", color=INK)
            _text(
                figure, MARGIN, top + 106, "in rows alone" if not row else "both ways", color=MUTED
            )
            for at, phase in enumerate(PHASES):
                place = (
                    (130 + 256 * at) / WIDTH,
                    1 - (top + SIDE) / HEIGHT,
                    SIDE / WIDTH,
                    SIDE / HEIGHT,
                )
                _panel(figure.add_axes(place), name, phase)
                count = int(misfits(MASKS[name], phase).sum())
                said = f"{count} of {SIZE * SIZE // GROUP} groups do not fit"
                _text(figure, 130 + 256 * at, top + SIDE + 16, said, color=INK if count else MUTED)
        _text(figure, MARGIN, 634, "Update multiplies gradients by activations along samples: no "
              "weight is in it.", color=MUTED)  # fmt: skip
        return svg(figure, TITLE)
