"""Images of figures, for papers: the option that asks for them, and who draws them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from nmsim import report
from nmsim.cli.panels import OUTPUT
from nmsim.cli.streams import tell
from nmsim.errors import SpecError
from nmsim.extras import extra

__all__ = ["Image", "Images", "check_images", "draw_images"]


class Image(StrEnum):
    """The forms of images."""

    SVG = "svg"
    PDF = "pdf"
    PNG = "png"


Images = Annotated[
    Image | None,
    typer.Option(
        metavar="svg|pdf|png",
        help="Write every figure for a paper, too, beside the page; `nmsim report` has their size.",
        rich_help_panel=OUTPUT,
    ),
]


def check_images(images: Image | None, folder: Path | None) -> None:
    """Refuse images that cannot be, before anything runs.

    Raises
    ------
    SpecError, MissingExtra
        if there is no folder for them; if kaleido is not installed.
    """
    if images is None:
        return
    if folder is None:
        raise SpecError("--images: expected --out too, the folder to write them to")
    extra("images", "nmsim.report.plots.chrome")


def draw_images(folder: Path, table: Any, about: dict[str, Any], images: Image | None) -> None:
    """Write images of a result's figures into its folder, as `nmsim report --images` does."""
    if images is not None:
        names = report.write_images(folder, table, about, report.Look(images.value))
        tell(f"wrote {', '.join(names)} in {folder}")
