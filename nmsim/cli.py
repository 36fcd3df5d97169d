"""The command line: what it takes, and how a mistake or an interruption ends it.

Status 0 is success; 2 a mistake that the user can mend, told in one line on stderr; 130 an
interruption. Progress goes to stderr, and only to a terminal.
"""

import io
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager
from enum import StrEnum
from importlib.metadata import version
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from typer.exceptions import Exit, TyperException

from nmsim import trace as traces
from nmsim.console import progress, show_facts, show_tables, steps, tell, width, write
from nmsim.describe import KINDS, SCHEMAS, catalog, describe, schema
from nmsim.errors import NmsimError, SpecError
from nmsim.experiment import Point, manifest, read_experiment, rows, run, sweep_manifest
from nmsim.report import (
    frame,
    read_results,
    records,
    render,
    render_sweep,
    to_csv,
    to_json,
    write_report,
)
from nmsim.result import totals
from nmsim.spec import parse_scalar, reason

__all__ = ["app", "main"]

app = typer.Typer(
    name="nmsim",
    help="Simulate N:M-sparse matrix multiplication on systolic arrays.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
trace_app = typer.Typer(help="Record, describe and check traces.")
app.add_typer(trace_app, name="trace")


class Format(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


class Fidelity(StrEnum):
    """Which of a machine's two models runs."""

    CYCLE = "cycle"
    ANALYTICAL = "analytical"


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A network (`nmsim list models`), a YAML file, a trace (.safetensors), a CSV of GEMMs "
        "(layer,m,n,k[,count]) or gemm:MxNxK.",
    ),
]
Hardware = Annotated[
    str, typer.Option(metavar="H", help="A machine (`nmsim list hardware`) or a YAML file.")
]
Recipe = Annotated[
    str, typer.Option(metavar="R", help="A recipe (`nmsim list recipes`) or a YAML file.")
]
Pattern = Annotated[
    str, typer.Option(metavar="N:M", help="At most N kept of every M along K, or `dense`.")
]
Batch = Annotated[int, typer.Option(help="Samples in a training step.")]
Phases = Annotated[
    list[str] | None,
    typer.Option("--phase", metavar="PHASE", help="forward, backward or update; may be repeated."),
]
Layers = Annotated[str, typer.Option("--layer", metavar="GLOB", help="Layers by name.")]
Seed = Annotated[int, typer.Option(help="Of synthetic tensors and of pruners that draw.")]
Tensors = Annotated[
    Path | None,
    typer.Option(help="Read values from this safetensors or npz file: <layer>.weight and so on."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="A field of the machine; may be repeated."),
]
Out = Annotated[
    Path | None, typer.Option(help="Write results.csv, manifest.json and index.html here.")
]


def _command() -> str:
    return shlex.join(["nmsim", *sys.argv[1:]])


def _overrides(settings: list[str] | None) -> dict[str, Any]:
    fields = {}
    for setting in settings or ():
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise SpecError(f"--set {setting!r}: expected FIELD=VALUE, such as rows=32")
        try:
            fields[name] = parse_scalar(value)
        except SpecError as error:
            raise SpecError(f"--set {name}: {error}") from error
    return fields


def _refuse_file(folder: Path | None) -> None:
    """What cannot be a folder to write to is told before hours of work, not after."""
    if folder is not None and folder.exists() and not folder.is_dir():
        raise SpecError(f"--out {folder}: expected a folder, found a file")


@app.command()
def simulate(
    model: Model,
    hardware: Hardware = "systolic-128x128-2to4",
    recipe: Recipe = "dense",
    pattern: Pattern = "2:4",
    batch: Batch = 1,
    fidelity: Annotated[Fidelity, typer.Option(help="Which model runs.")] = Fidelity.CYCLE,
    phase: Phases = None,
    layer: Layers = "*",
    settings: Settings = None,
    seed: Seed = 0,
    tensors: Tensors = None,
    compare: Annotated[
        bool, typer.Option(help="Simulate each row's dense twin too, for the speed-up.")
    ] = True,
    sample: Annotated[
        int | None,
        typer.Option(
            metavar="FOLDS",
            help="On an intersecting array, run about so many folds of each GEMM instead of all, "
            "and say the confidence interval.",
        ),
    ] = None,
    out: Out = None,
    form: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
) -> None:
    """Simulate MODEL: one row per GEMM of forward, backward and update."""
    _refuse_file(out)
    point = Point(
        model=model,
        hardware=hardware,
        recipe=recipe,
        pattern=pattern,
        batch=batch,
        fidelity=fidelity.value,
        phases=tuple(phase or ()),
        layers=layer,
        seed=seed,
        tensors=tensors,
        overrides=_overrides(settings),
        compare=compare,
        sample=sample,
    )
    about = manifest(point, _command())
    table = frame(steps(rows(point), "simulating"))
    if out is not None:
        write_report(out, table, about)
    _print_result(table, about, form)
    if out is not None:
        tell(f"wrote {out / 'index.html'}, results.csv and manifest.json")


def _print_result(table: pd.DataFrame, about: dict[str, Any], form: Format) -> None:
    sums = totals(records(table))
    if form is Format.JSON:
        write(to_json(about, table, sums))
    elif form is Format.CSV:
        write(to_csv(table))
    else:
        write(
            f"{about['model']} on {about['hardware']}, recipe {about['recipe']}, "
            f"pattern {about['pattern']}, batch {about['batch']}, {about['fidelity']} model, "
            f"tensors {about['tensors']}"
        )
        show_tables(render(table, sums, width()))


@app.command()
def sweep(
    experiment: Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="What to sweep.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write; default: the experiment's own folder.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; default: one per core.")
    ] = None,
) -> None:
    """Simulate every combination that EXPERIMENT.yaml lists, and write one report."""
    _refuse_file(out)
    plan = read_experiment(experiment)
    about = sweep_manifest(plan, _command())
    points = plan.points()
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
    tell(f"wrote {folder / 'index.html'}, results.csv and manifest.json")


@contextmanager
def _submitted(
    points: Sequence[Point], workers: int
) -> Iterator[Iterator[tuple[Point, list[dict[str, Any]]]]]:
    """Run points in processes of their own, which end without a word when this one is stopped."""
    spawn = get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(points)), mp_context=spawn) as pool:
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


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Holds results and manifest.")],
) -> None:
    """Draw index.html again from the results that are stored in DIR."""
    table, about = read_results(folder)
    write_report(folder, table, about)
    tell(f"wrote {folder / 'index.html'}")


@trace_app.command("record")
def trace_record(
    model: Model,
    out: Annotated[Path, typer.Option(metavar="F.safetensors", help="Where to write.")],
    recipe: Recipe = "asp",
    pattern: Pattern = "2:4",
    batch: Batch = 1,
    seed: Seed = 0,
    phase: Phases = None,
    layer: Layers = "*",
    tensors: Tensors = None,
) -> None:
    """Record MODEL's GEMMs and masks."""
    if out.suffix != ".safetensors":
        raise SpecError(f"--out {str(out)!r}: expected a name that ends in .safetensors")
    point = Point(
        model=model,
        recipe=recipe,
        pattern=pattern,
        batch=batch,
        phases=tuple(phase or ()),
        layers=layer,
        seed=seed,
        tensors=tensors,
    )
    about = manifest(point, _command())
    dropped = ("kind", "schema", "hardware", "machine", "fidelity")
    provenance = {name: value for name, value in about.items() if name not in dropped}
    count = traces.record(out, steps(point.sparse_gemms(), "recording"), provenance)
    tell(f"wrote {out}: {count} GEMMs")


@trace_app.command("info")
def trace_info(
    file: Annotated[Path, typer.Argument(metavar="F.safetensors")],
) -> None:
    """Say what a trace holds and where it comes from; masks are not read."""
    trace = traces.load(file)
    masked = [m for work in trace.gemms for m in (work.a, work.b) if not m.is_dense]
    bits = sum(mask.rows * mask.k for mask in masked)
    facts = [(str(name), str(value)) for name, value in trace.provenance.items()]
    facts += [
        ("GEMMs", str(len(trace.gemms))),
        ("masked operands", f"{len(masked)}, {bits:,} bits"),
    ]
    show_facts(facts)


@trace_app.command("check")
def trace_check(
    file: Annotated[Path, typer.Argument(metavar="F.safetensors")],
) -> None:
    """Read all of a trace: every digest, shape and group."""
    trace = traces.check(file)
    write(f"{file}: {len(trace.gemms)} GEMMs, digests, shapes and patterns hold")


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=" | ".join(KINDS))],
) -> None:
    """List models, hardware, recipes, pruners, dataflows or engines."""
    show_facts(catalog(kind))


@app.command()
def show(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=" | ".join((*KINDS, "schema")))],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help=f"For schema: {' | '.join(SCHEMAS)}.")
    ],
) -> None:
    """Show everything about one of them: fields, source, formula; or the schema of its YAML."""
    if kind == "schema":
        write(schema(name))
    else:
        show_facts(describe(kind, name))


def _version(wanted: bool) -> None:
    if wanted:
        write(version("nmsim"))
        raise Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; a user's mistake becomes one line and status 2."""
    _open_streams()
    try:
        status = _run(sys.argv[1:])
        sys.stdout.flush()
    except NmsimError as error:
        status = _fail(str(error))
    except TyperException as error:
        status = _fail(_usage(error))
    except Exit as stop:
        status = stop.exit_code
    except KeyboardInterrupt:
        tell("nmsim: interrupted")
        status = 130
    except BrokenPipeError:
        _discard_stdout()
        status = 0
    except OSError as error:
        _discard_stdout()
        status = _fail(f"cannot write the output ({reason(error)})")
    except BrokenExecutor:
        status = _fail("a worker process was killed, perhaps out of memory: try fewer --workers")
    except MemoryError:
        status = _fail("out of memory: try a smaller batch, fewer layers or --fidelity analytical")
    sys.exit(status)


def _run(arguments: list[str]) -> int:
    # Not by way of app(), which would answer an interruption and a closed pipe in its own manner.
    command = typer.main.get_command(app)
    with command.make_context("nmsim", arguments) as context:
        command.invoke(context)
    return 0


def _open_streams() -> None:
    """Print anything in UTF-8; what no encoding has (a file's name may) is escaped.

    A stream that the caller has closed is None.
    """
    if sys.stdout is None:
        sys.stdout = io.StringIO()
    if sys.stderr is None:
        sys.stderr = io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _discard_stdout() -> None:
    """What is buffered for a reader that has gone, or for a full disk, is not tried again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: TyperException) -> str:
    format_message = getattr(error, "format_message", None)
    text = str(format_message() if format_message else error)
    return text.replace(": Value error, ", ": ").rstrip(".") + "; see --help"


def _fail(why: str) -> int:
    tell(f"nmsim: {' '.join(why.split())}")
    return 2
