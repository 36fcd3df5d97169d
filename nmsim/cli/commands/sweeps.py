"""The commands ``nmsim sweep`` and ``nmsim report``: many points, and their page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import Exit

from nmsim import report as reports
from nmsim.cli.completion import COMPLETED
from nmsim.cli.console import show_facts, tell
from nmsim.cli.images import Image, Images, check_images
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
    Done,
    run_grid,
    run_search,
    searched_line,
)
from nmsim.cli.swept import show_swept, write_swept
from nmsim.errors import SpecError
from nmsim.extras import extra
from nmsim.importing import told_of
from nmsim.report.files import PAGE
from nmsim.run.experiment import Experiment, Planner, read_experiment
from nmsim.run.manifest import sweep_manifest
from nmsim.run.store import Counts, Store

__all__ = ["report", "sweep"]

_FAILED = 20
"""Points that failed whose reasons are printed, where none has anything else to show."""


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
    if not crew.is_here:  # a worker elsewhere has another working folder
        experiment, given = experiment.absolute(), _absolute(given)
    found = _read(experiment, given)
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
        if found.search:
            done = run_search(store, planner, plan, about, crew, fresh=fresh)
        else:
            done = run_grid(store, plan, about, crew)
        about, failures = _described(store, about, done)
    if write_swept(folder, about, changed=bool(done.computed)):
        show_swept(folder, about, chosen, images)
    elif images is not None:
        tell(f"no images: of {about['results_rows']:,} rows nothing is drawn")
    if failures:
        tell(failures)
        if not found.search:
            raise Exit(1)


def _described(store: Store, about: dict[str, Any], done: Done) -> tuple[dict[str, Any], str]:
    """Write down what became of a sweep: its manifest, and a line of what failed, if any did."""
    counts, rows = store.counts(), store.kept()
    points = _points(done.computed, counts)
    about = {**about, "points": points, "results_rows": rows, "results_key": store.digest()}
    searched = "search" in about
    if searched:
        about |= {"search": {**about["search"], "front": done.front}}
        tell(searched_line(points, done.front))
    store.describe(about)
    failed, first = store.failures()
    if failed and not rows:
        show_facts([(f"point {at}", why) for at, why in store.failed(_FAILED)])
    of, why = "cannot be" if searched else "failed", " ".join(first.split())
    return about, f"{failed} of {counts.total} points {of}, the first: {why}" if failed else ""


def _chosen(
    experiment: Experiment, folder: Path, chosen: reports.Selection, images: Image | None
) -> reports.Selection:
    """Which points are shown; what cannot be shown of an experiment is refused before it runs."""
    check_images(images, folder)
    return selection(Output.TABLE, _columns(experiment), chosen)


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


def _points(computed: int, counts: Counts) -> dict[str, int]:
    """Points by what became of them: they add up to the total."""
    reused = counts.done - computed
    of = {"total": counts.total, "reused": reused, "computed": computed}
    return {**of, "failed": counts.failed}


def _columns(experiment: Experiment) -> list[str]:
    """What points may be sorted by: what tells them apart, and their sums."""
    sums = reports.phase_summary([])["all"]
    plain = [name for name, value in sums.items() if not isinstance(value, dict | list)]
    varied = [*experiment.vary, *experiment.derive]
    return [*reports.SWEPT, *varied, *plain]


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
        table, about = reports.read_shown(folder)
        tell(f"wrote {', '.join(reports.write_images(folder, table, about, look))} in {folder}")
        return
    if (folder / reports.RUN).is_file():
        reports.write_training(folder, reports.read_training(folder))
    else:
        table, about = reports.read_shown(folder)
        if about["kind"] == "sweep" and not len(table):
            raise SpecError(f"{folder}: holds no rows, expected some to draw")
        reports.write_report(folder, table, about)
    tell(f"wrote {folder / PAGE}")
