"""The commands ``nmsim sweep`` and ``nmsim report``: many points, and their page."""

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from enum import StrEnum
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import typer

from nmsim.cli.console import progress, show_tables, tell, width, write
from nmsim.cli.options import Plugins, command_line, refuse_file
from nmsim.importing import told_of
from nmsim.report import (
    RUN,
    read_results,
    read_training,
    render_sweep,
    write_report,
    write_training,
)
from nmsim.report.images import Look, write_images
from nmsim.run.experiment import read_experiment, run
from nmsim.run.manifest import sweep_manifest
from nmsim.run.point import Point
from nmsim.run.rows.frame import frame

__all__ = ["report", "sweep"]


def sweep(
    experiment: Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="What to sweep.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write; default: the experiment's own folder.")
    ] = None,
    stack: Annotated[
        str | None, typer.Option(metavar="S", help="In place of the experiment's: a GPU's stack.")
    ] = None,
    library: Annotated[
        str | None, typer.Option(metavar="L", help="In place of the experiment's: a GPU's library.")
    ] = None,
    kernel: Annotated[
        str | None, typer.Option(metavar="NAME", help="In place of the experiment's: a kernel.")
    ] = None,
    plugins: Plugins = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; default: one per core.")
    ] = None,
) -> None:
    """Simulate every combination that EXPERIMENT.yaml lists, and write one report."""
    refuse_file(out)
    said = {"stack": stack, "library": library, "kernel": kernel, "plugins": tuple(plugins or ())}
    plan = read_experiment(experiment).model_copy(
        update={name: value for name, value in said.items() if value not in (None, ())}
    )
    about = sweep_manifest(plan, command_line()).document()
    points = plan.points()
    for line in told_of(dict.fromkeys(one for p in points for one in (p.model, p.hardware))):
        tell(line)
    order = {point: index for index, point in enumerate(map(str, points))}
    found: list[tuple[int, list[dict[str, Any]]]] = []
    with (
        _submitted(points, workers or os.cpu_count() or 1) as finished,
        progress("sweeping", len(points)) as step,
    ):
        for point, results in finished:
            found.append((order[str(point)], results))
            step()
    table = frame(row for _, results in sorted(found, key=lambda f: f[0]) for row in results)
    folder = out or experiment.parent
    write_report(folder, table, about)
    show_tables(render_sweep(table, width()))
    if about["choices"]:
        write(about["choices"])
    tell(f"wrote {folder / 'index.html'}, results.csv and manifest.json")


@contextmanager
def _submitted(
    points: Sequence[Point], workers: int
) -> Iterator[Iterator[tuple[Point, list[dict[str, Any]]]]]:
    """Run points in processes of their own, which end without a word when this one is stopped."""
    pool = ProcessPoolExecutor(
        min(workers, len(points)), mp_context=get_context("spawn"), initializer=_end_with_parent
    )
    with pool:
        # Ctrl-C goes to a terminal's whole process group. The workers inherit that it is ignored,
        # so that none prints a traceback; whatever stops this process stops them below.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            finished = run(points, pool)
        finally:
            signal.signal(signal.SIGINT, before)
        try:
            yield finished
        except BaseException:
            for worker in active_children():
                worker.terminate()
            raise


def _end_with_parent() -> None:
    """Have this process end when the one that started it does, killed or not."""
    parent = parent_process()
    if parent is not None:
        Thread(target=_end_behind, args=(parent.sentinel,), daemon=True).start()


def _end_behind(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)  # whatever the main thread is at


class Image(StrEnum):
    """The forms of images."""

    SVG = "svg"
    PDF = "pdf"
    PNG = "png"


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Holds results and manifest.")],
    images: Annotated[
        Image | None,
        typer.Option(metavar="svg|pdf|png", help="Write every figure for a paper instead."),
    ] = None,
    width: Annotated[
        float | None,
        typer.Option(
            min=20, max=1000, metavar="MM", help="Of an image; default: a column of two, or both."
        ),
    ] = None,
    font: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of an image; default: sans-serif.")
    ] = None,
    points: Annotated[
        float, typer.Option(min=4, max=72, metavar="PT", help="Size of an image's type.")
    ] = 8.0,
) -> None:
    """Draw index.html again from the results that are stored in DIR, or images of its figures."""
    if images is not None:
        chosen = {} if font is None else {"font": font}
        look = Look(images.value, width, points=points, **chosen)
        tell(f"wrote {', '.join(write_images(folder, *read_results(folder), look))} in {folder}")
        return
    if (folder / RUN).is_file():
        write_training(folder, read_training(folder))
    else:
        table, about = read_results(folder)
        write_report(folder, table, about)
    tell(f"wrote {folder / 'index.html'}")
