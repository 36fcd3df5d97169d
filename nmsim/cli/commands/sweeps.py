"""The commands ``nmsim sweep`` and ``nmsim report``: many points, and their page."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import Exit

from nmsim import report as reports
from nmsim.cli.completion import COMPLETED
from nmsim.cli.console import room, say, show_tables, tell
from nmsim.cli.images import Image, Images, check_images, draw_images
from nmsim.cli.options import (
    Output,
    Plugins,
    Sort,
    Top,
    command_line,
    refuse_file,
    selection,
)
from nmsim.cli.panels import HARDWARE, OUTPUT, WORKERS
from nmsim.cli.sweeping import (
    ClusterKind,
    Crew,
    run_grid,
    run_search,
    searched_line,
)
from nmsim.errors import SpecError
from nmsim.extras import extra
from nmsim.files import write_file, write_folder
from nmsim.importing import told_of
from nmsim.report.files import MANIFEST, PAGE, RESULTS
from nmsim.report.rows import document_json
from nmsim.run.experiment import Experiment, Planner, read_experiment
from nmsim.run.manifest import sweep_manifest
from nmsim.run.store import Counts, Store

__all__ = ["report", "sweep"]

_MOST = 100_000
"""Rows of a sweep that are written as CSV and drawn as a page; beyond, ``nmsim export``."""


_SHOWN = 20_000
"""Rows of a sweep whose points are printed, too."""


def sweep(
    experiment: Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="What to sweep.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where to write; default: the experiment's own folder.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    stack: Annotated[
        str | None,
        typer.Option(
            metavar="S",
            help="In place of the experiment's: a GPU's stack.",
            rich_help_panel=HARDWARE,
            autocompletion=COMPLETED["stack"],
        ),
    ] = None,
    library: Annotated[
        str | None,
        typer.Option(
            metavar="L",
            help="In place of the experiment's: a GPU's library.",
            rich_help_panel=HARDWARE,
        ),
    ] = None,
    kernel: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="In place of the experiment's: a kernel.",
            rich_help_panel=HARDWARE,
        ),
    ] = None,
    plugins: Plugins = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="W",
            help="Processes; default: one per core.",
            rich_help_panel=WORKERS,
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run on a Dask cluster: tcp://HOST:PORT.",
            rich_help_panel=WORKERS,
        ),
    ] = None,
    cluster: Annotated[
        ClusterKind | None,
        typer.Option(
            help="Start a Dask cluster, here or of jobs (extra cluster).", rich_help_panel=WORKERS
        ),
    ] = None,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh",
            help="Forget what is stored in the folder, and run it all.",
            rich_help_panel=WORKERS,
        ),
    ] = False,
    top: Top = None,
    sort: Sort = "",
    images: Images = None,
) -> None:
    """Simulate every combination that EXPERIMENT.yaml lists or varies, and write one report.

    Points are stored in results.sqlite as they finish. The same command goes on where one was
    ended, by whatever it was; a longer experiment runs what is new; --fresh runs all of it.
    Where EXPERIMENT.yaml says `search:`, a sampler chooses which combinations are run.
    """
    refuse_file(out)
    folder = out or experiment.parent
    said = {"stack": stack, "library": library, "kernel": kernel, "plugins": tuple(plugins or ())}
    given = {name: value for name, value in said.items() if value not in (None, ())}
    crew = Crew.asked(workers, scheduler, cluster)
    # A worker elsewhere has another working folder.
    found = _read(experiment if crew.is_here else experiment.absolute(), given)
    chosen = _chosen(found, folder, reports.Selection(top=top, sort=sort), images)
    if found.search:
        extra("search", "nmsim.run.search.study")
    planner = Planner(found, experiment)
    plan = planner.covering() if found.search else planner.plan(planner.grid)
    about = sweep_manifest(plan, command_line()).document()
    for line in told_of(dict.fromkeys(o for p in plan.examples for o in (p.model, p.hardware))):
        tell(line)
    with Store.opened(folder, fresh=fresh) as store:
        if store.told:
            tell(store.told)
        before = store.manifest()
        if found.search:
            done = run_search(store, planner, plan, about, crew, fresh=fresh)
        else:
            done = run_grid(store, plan, about, crew)
        counts, rows = store.counts(), store.kept()
        points = _points(done.computed, counts)
        about = {**about, "points": points, "results_rows": rows}
        if found.search:
            about |= {"search": {**about["search"], "front": done.front}}
            tell(searched_line(points, done.front))
        store.describe(about)
        failed, first = store.failures()
    changed = bool(done.computed) or _asked(before) != _asked(about)
    if _write(folder, about, rows, changed=changed):
        _show(folder, about, chosen, images, rows)
    elif images is not None:
        tell(f"no images: of {rows:,} rows nothing is drawn")
    if failed:
        of = "cannot be" if found.search else "failed"
        tell(f"{failed} of {counts.total} points {of}, the first: {' '.join(first.split())}")
        if not found.search:
            raise Exit(1)


def _chosen(
    experiment: Experiment, folder: Path, chosen: reports.Selection, images: Image | None
) -> reports.Selection:
    """Which points are shown; what cannot be shown of an experiment is refused before it runs."""
    check_images(images, folder)
    if images is not None and experiment.keep != "rows":
        raise SpecError(f"--images: keep is {experiment.keep}, expected rows, which are drawn")
    return selection(Output.TABLE, _columns(experiment), chosen)


def _read(path: Path, given: dict[str, Any]) -> Experiment:
    found = read_experiment(path)
    for name in given:
        if name in found.vary or name in found.derive:
            raise SpecError(f"--{name}: {path} varies {name}, expected one of the two")
    return found.model_copy(update=given)


def _asked(about: dict[str, Any]) -> dict[str, Any]:
    """What of a manifest a page and a table follow from."""
    apart = ("command", "points")
    return {name: value for name, value in about.items() if name not in apart}


def _points(computed: int, counts: Counts) -> dict[str, int]:
    """Points by what became of them: they add up to the total."""
    reused = counts.total - counts.failed - computed
    of = {"total": counts.total, "reused": reused, "computed": computed}
    return {**of, "failed": counts.failed}


def _write(folder: Path, about: dict[str, Any], rows: int, *, changed: bool) -> bool:
    """Write what people read: CSV and page, as far as there are not too many rows for them.

    Returns
    -------
    bool
        Whether there is a page.
    """
    drawn: bool = about["keep"] == "rows" and rows <= _MOST
    names = [RESULTS] * (rows <= _MOST) + [PAGE] * drawn
    if not changed and all((folder / name).is_file() for name in names):
        _write_manifest(folder, about, rows)
        tell(f"nothing to do: {', '.join([*names, MANIFEST])} in {folder} are of these points")
    elif drawn:
        reports.write_report(folder, reports.read_results(folder)[0], about)
        tell(f"wrote {folder / PAGE}, {RESULTS} and {MANIFEST}")
    else:
        _write_alone(folder, about, rows)
    return drawn


def _show(
    folder: Path,
    about: dict[str, Any],
    chosen: reports.Selection,
    images: Image | None,
    rows: int,
) -> None:
    """Print points, as far as there are not too many, and draw images where they are asked for."""
    if rows > _SHOWN and images is None:
        return
    table = reports.read_results(folder)[0]
    draw_images(folder, table, about, images)
    if rows <= _SHOWN:
        show_tables(reports.render_sweep(table, room(), chosen))
        if about["choices"]:
            say(about["choices"])


def _columns(experiment: Experiment) -> list[str]:
    """What points may be sorted by: what tells them apart, and their sums."""
    sums = reports.phase_summary([])["all"]
    plain = [name for name, value in sums.items() if not isinstance(value, dict | list)]
    varied = [*experiment.vary, *experiment.derive]
    return [*reports.SWEPT, *varied, *plain]


def _write_alone(folder: Path, about: dict[str, Any], rows: int) -> None:
    """Write what there is without a page."""
    _write_manifest(folder, about, rows)
    for old in (folder / RESULTS, folder / PAGE):
        old.unlink(missing_ok=True)
    if rows <= _MOST:
        write_file(folder / RESULTS, partial(reports.write_csv, folder))
        tell(f"wrote {folder / RESULTS} and {MANIFEST}; a page is drawn of `keep: rows` alone")
    else:
        tell(
            f"wrote {folder / MANIFEST}; {rows:,} rows are in the store alone: "
            f"`nmsim export {folder} --format csv --out FILE` writes them, or --format parquet"
        )


def _write_manifest(folder: Path, about: dict[str, Any], rows: int) -> None:
    write_folder(folder, {MANIFEST: document_json({**about, "rows": rows}) + "\n"})


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Holds results and manifest.")],
    images: Annotated[
        Image | None,
        typer.Option(
            metavar="svg|pdf|png",
            help="Write every figure for a paper instead.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    width: Annotated[
        float | None,
        typer.Option(
            min=20,
            max=1000,
            metavar="MM",
            help="Of an image; default: a column of two, or both.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    font: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Of an image; default: sans-serif.", rich_help_panel=OUTPUT
        ),
    ] = None,
    points: Annotated[
        float,
        typer.Option(
            min=4, max=72, metavar="PT", help="Size of an image's type.", rich_help_panel=OUTPUT
        ),
    ] = 8.0,
) -> None:
    """Draw index.html again from the results that are stored in DIR, or images of its figures."""
    if images is not None:
        chosen = {} if font is None else {"font": font}
        look = reports.Look(images.value, width, points=points, **chosen)
        table, about = reports.read_results(folder)
        tell(f"wrote {', '.join(reports.write_images(folder, table, about, look))} in {folder}")
        return
    if (folder / reports.RUN).is_file():
        reports.write_training(folder, reports.read_training(folder))
    else:
        table, about = reports.read_results(folder)
        reports.write_report(folder, table, about)
    tell(f"wrote {folder / PAGE}")
