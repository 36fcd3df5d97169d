"""The commands ``nmsim sweep`` and ``nmsim report``: many points, and their page."""

import json
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import Exit

from nmsim import report as reports
from nmsim.cli.console import show_facts, show_tables, tell, width, write
from nmsim.cli.options import Plugins, command_line, refuse_file
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
from nmsim.report.images import Look, write_images
from nmsim.report.rows import document_json
from nmsim.run.experiment import Experiment, Planner, read_experiment
from nmsim.run.manifest import sweep_manifest
from nmsim.run.store import Counts, Store

__all__ = ["report", "sweep"]

_MOST = 100_000
"""Rows of a sweep that are written as CSV and drawn as a page; beyond, ``nmsim export``."""


_SHOWN = 20_000
"""Rows of a sweep whose points are printed, too."""

_FAILED = 20
"""Points that failed whose reasons are printed, where none has anything else to show."""


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
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Run on a Dask cluster: tcp://HOST:PORT."),
    ] = None,
    cluster: Annotated[
        ClusterKind | None,
        typer.Option(help="Start a Dask cluster, here or of jobs (extra cluster)."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget what is stored in the folder, and run it all.")
    ] = False,
) -> None:
    """Simulate every combination that EXPERIMENT.yaml lists or varies, and write one report.

    Points are stored in results.sqlite as they finish. The same command goes on where one was
    ended, by whatever it was; a longer experiment runs what is new; --fresh runs all of it.
    Where EXPERIMENT.yaml says `search:`, a sampler chooses which combinations are run.
    """
    refuse_file(out)
    said = {"stack": stack, "library": library, "kernel": kernel, "plugins": tuple(plugins or ())}
    given = {name: value for name, value in said.items() if value not in (None, ())}
    crew = Crew.asked(workers, scheduler, cluster)
    if not crew.is_here:  # a worker elsewhere has another working folder
        experiment, given = experiment.absolute(), _absolute(given)
    found = _read(experiment, given)
    if found.search:
        extra("search", "nmsim.run.search.study")
    planner = Planner(found, experiment)
    plan = planner.covering() if found.search else planner.plan(planner.grid)
    about = sweep_manifest(plan, command_line()).document()
    for line in told_of(dict.fromkeys(o for p in plan.examples for o in (p.model, p.hardware))):
        tell(line)
    folder = out or experiment.parent
    with Store.opened(folder, fresh=fresh) as store:
        if store.told:
            tell(store.told)
        if found.search:
            done = run_search(store, planner, plan, about, crew, fresh=fresh)
        else:
            done = run_grid(store, plan, about, crew)
        counts, rows = store.counts(), store.kept()
        points = _points(done.computed, counts)
        about = {**about, "points": points, "results_rows": rows, "results_key": store.digest()}
        if found.search:
            about |= {"search": {**about["search"], "front": done.front}}
            tell(searched_line(points, done.front))
        store.describe(about)
        failed, first = store.failures()
        if failed and not rows:
            show_facts([(f"point {at}", why) for at, why in store.failed(_FAILED)])
    changed = bool(done.computed) or _asked(_written(folder)) != _asked(about)
    _write(folder, about, rows, changed=changed)
    if failed and found.search:
        tell(f"{failed} of {counts.total} points cannot be, the first: {' '.join(first.split())}")
    elif failed:
        tell(f"{failed} of {counts.total} points failed, the first: {' '.join(first.split())}")
        raise Exit(1)


def _read(path: Path, given: dict[str, Any]) -> Experiment:
    found = read_experiment(path)
    for name in given:
        if name in found.vary or name in found.derive:
            raise SpecError(f"--{name}: {path} varies {name}, expected one of the two")
    return found.model_copy(update=given)


def _absolute(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was typed, its paths from the root."""

    def there(said: Any) -> Any:
        return str(Path(said).absolute()) if Path(said).exists() else said

    return {
        name: tuple(map(there, said)) if isinstance(said, tuple) else there(said)
        for name, said in given.items()
    }


def _asked(about: dict[str, Any]) -> dict[str, Any]:
    """What of a manifest a page and a table follow from."""
    apart = ("command", "points", "rows")
    return {name: value for name, value in about.items() if name not in apart}


def _written(folder: Path) -> dict[str, Any]:
    """The manifest that stands in a folder; empty if there is none, or it cannot be read."""
    with suppress(OSError, ValueError):
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def _points(computed: int, counts: Counts) -> dict[str, int]:
    """Points by what became of them: they add up to the total."""
    reused = counts.done - computed
    of = {"total": counts.total, "reused": reused, "computed": computed}
    return {**of, "failed": counts.failed}


def _write(folder: Path, about: dict[str, Any], rows: int, *, changed: bool) -> None:
    """Write what people read: CSV and page, as far as there are not too many rows for them."""
    small = rows <= _MOST
    drawn = about["keep"] == "rows" and 0 < rows <= _MOST
    names = [RESULTS] * small + [PAGE] * (small and rows > 0)
    if not changed and all((folder / name).is_file() for name in names):
        _write_manifest(folder, about, rows)
        tell(f"nothing to do: {', '.join([*names, MANIFEST])} in {folder} are of these points")
    elif drawn:
        reports.write_report(folder, reports.read_sweep(folder)[0], about)
        tell(f"wrote {folder / PAGE}, {RESULTS} and {MANIFEST}")
    else:
        _write_alone(folder, about, rows)
    if drawn and rows <= _SHOWN:
        show_tables(reports.render_sweep(reports.read_sweep(folder)[0], width()))
        if about["choices"]:
            write(about["choices"])


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
        table, about = reports.read_shown(folder)
        tell(f"wrote {', '.join(write_images(folder, table, about, look))} in {folder}")
        return
    if (folder / reports.RUN).is_file():
        reports.write_training(folder, reports.read_training(folder))
    else:
        table, about = reports.read_shown(folder)
        if about["kind"] == "sweep" and not len(table):
            raise SpecError(f"{folder}: holds no rows, expected some to draw")
        reports.write_report(folder, table, about)
    tell(f"wrote {folder / PAGE}")
