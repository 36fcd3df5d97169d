"""Figures as images, which a Chrome without a window draws (extra ``images``: kaleido)."""

from collections.abc import Mapping

import kaleido
import plotly.graph_objects as go
from choreographer.errors import ChromeNotFoundError

from nmsim.errors import SpecError

__all__ = ["images"]

_DOTS = 300 / 96
"""Dots of a PNG for every pixel of a figure."""


def images(figures: Mapping[str, go.Figure], form: str) -> dict[str, bytes]:
    """Every figure as an image, by its name; all by one Chrome.

    Raises
    ------
    SpecError
        if no Chrome or Chromium is installed.
    """
    scale = _DOTS if form == "png" else 1.0
    try:
        kaleido.start_sync_server(silence_warnings=True)
    except ChromeNotFoundError as error:
        raise SpecError("--images: no Chrome or Chromium is installed, which draws them") from error
    try:
        return {
            name: kaleido.calc_fig_sync(figure, opts={"format": form, "scale": scale})
            for name, figure in figures.items()
        }
    finally:
        kaleido.stop_sync_server(silence_warnings=True)
