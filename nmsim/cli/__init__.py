"""The command line: what it takes, and how a mistake or an interruption ends it.

Status 0 is success; 2 a mistake that the user can mend, told in one line on stderr; 130 an
interruption. Progress goes to stderr, and only to a terminal. One module per family of commands.
"""

import io
import os
import sys
from concurrent.futures import BrokenExecutor
from importlib.metadata import version
from typing import Annotated

import typer
from typer.exceptions import Exit, TyperException

from nmsim.cli import traces
from nmsim.cli.console import tell, write
from nmsim.cli.describe import list_, show
from nmsim.cli.explanation import explain_gemms
from nmsim.cli.fitting import calibrate_machine, measure_gemms
from nmsim.cli.memory import memory
from nmsim.cli.simulation import simulate
from nmsim.cli.sweeps import report, sweep
from nmsim.cli.timeline import tile_timeline
from nmsim.cli.training import train
from nmsim.cli.validation import validate
from nmsim.errors import NmsimError
from nmsim.spec import reason

__all__ = ["app", "main"]

app = typer.Typer(
    name="nmsim",
    help="Simulate N:M-sparse matrix multiplication on systolic arrays and GPUs.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
trace_app = typer.Typer(help="Record, describe and check traces.")

app.command()(simulate)
app.command("explain")(explain_gemms)
app.command()(memory)
app.command()(sweep)
app.command()(train)
app.command()(report)
app.command()(validate)
app.command("calibrate")(calibrate_machine)
app.command("measure")(measure_gemms)
app.command("timeline")(tile_timeline)
app.add_typer(trace_app, name="trace")
trace_app.command()(traces.record)
trace_app.command()(traces.info)
trace_app.command()(traces.check)
app.command("list")(list_)
app.command()(show)


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
