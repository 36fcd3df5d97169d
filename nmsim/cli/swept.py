"""What is written and printed of a sweep that has ended: table, page, images and points."""

from functools import partial
from pathlib import Path
from typing import Any

from nmsim import report as reports
from nmsim.cli.console import room, say, show_tables, tell
from nmsim.cli.images import Image, draw_images
from nmsim.files import write_file, write_folder
from nmsim.report.files import MANIFEST, PAGE, RESULTS, manifest_there
from nmsim.report.rows import document_json

__all__ = ["show_swept", "write_swept"]

_MOST = 100_000
"""Rows of a sweep that are written as CSV and drawn as a page; beyond, ``nmsim export``."""


_SHOWN = 20_000
"""Rows of a sweep whose points are printed, too."""


def _asked(about: dict[str, Any]) -> dict[str, Any]:
    """What of a manifest a page and a table follow from."""
    apart = ("command", "points", "rows")
    return {name: value for name, value in about.items() if name not in apart}


def write_swept(folder: Path, about: dict[str, Any], *, changed: bool) -> bool:
    """Write what people read: CSV and page, as far as there are not too many rows for them.

    Returns
    -------
    bool
        Whether there is a page.
    """
    rows: int = about["results_rows"]
    changed = changed or _asked(manifest_there(folder)) != _asked(about)
    drawn = 0 < rows <= _MOST
    names = [RESULTS] * (rows <= _MOST) + [PAGE] * drawn
    if not changed and all((folder / name).is_file() for name in names):
        _write_manifest(folder, about, rows)
        tell(f"nothing to do: {', '.join([*names, MANIFEST])} in {folder} are of these points")
    elif drawn and about["keep"] == "rows":
        reports.write_report(folder, reports.read_sweep(folder)[0], about)
        tell(f"wrote {folder / PAGE}, {RESULTS} and {MANIFEST}")
    else:
        _write_alone(folder, about, rows)
    return drawn


def show_swept(
    folder: Path, about: dict[str, Any], chosen: reports.Selection, images: Image | None
) -> None:
    """Print points, as far as there are not too many, and draw images where they are asked for."""
    printed = about["keep"] == "rows" and about["results_rows"] <= _SHOWN
    if not printed and images is None:
        return
    table = reports.read_sweep(folder)[0]
    draw_images(folder, table, about, images)
    if printed:
        show_tables(reports.render_sweep(table, room(), chosen))
        if about["choices"]:
            say(about["choices"])


def _write_alone(folder: Path, about: dict[str, Any], rows: int) -> None:
    """Write what there is where rows of GEMMs were not kept, or are too many."""
    _write_manifest(folder, about, rows)
    for old in (folder / RESULTS, folder / PAGE):
        old.unlink(missing_ok=True)
    if rows <= _MOST:
        write_file(folder / RESULTS, partial(reports.write_csv, folder))
        told = f"{RESULTS} and {MANIFEST}; no point has a row to draw"
        if rows:
            reports.write_report(folder, *reports.read_sweep(folder))
            told = f"{PAGE}, {RESULTS} and {MANIFEST}; no rows of GEMMs were kept"
        tell(f"wrote in {folder}: {told}")
    else:
        tell(
            f"wrote {folder / MANIFEST}; {rows:,} rows are in the store alone: "
            f"`nmsim export {folder} --format csv --out FILE` writes them, or --format parquet"
        )


def _write_manifest(folder: Path, about: dict[str, Any], rows: int) -> None:
    write_folder(folder, {MANIFEST: document_json({**about, "rows": rows}) + "\n"})
