"""The command line: what it takes, and how a mistake or an interruption ends it.

Status 0 is success; 1 that points of a sweep failed; 2 a mistake that the user can mend, told in
one line on stderr; 130 an interruption, 129 the end of a terminal, 143 a request to end. Progress
goes to stderr, and only to a terminal. One module per family of commands, loaded when one of them
is called: all together take a second and more to load.
"""

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup
from typer.exceptions import Exit, TyperException

import nmsim
from nmsim.cli.streams import discard_stdout, open_streams, tell_if_possible, write
from nmsim.cli.usage import Grouped
from nmsim.errors import NmsimError, reason, shortened

__all__ = ["app", "main"]


class _Home(NamedTuple):
    """Where a command is defined, and the line that stands for it in the list of commands."""

    module: str
    function: str
    summary: str


_COMMANDS = {
    "simulate": _Home(
        "simulation",
        "simulate",
        "Simulate MODEL: one row per GEMM of forward, backward and update.",
    ),
    "explain": _Home(
        "inspection",
        "explain_gemms",
        "Explain the speed-up of GEMMs of MODEL: where the cycles go, and what would mend it.",
    ),
    "memory": _Home(
        "memory",
        "memory",
        "What a step of MODEL keeps in memory, against the dense step and what the machine has.",
    ),
    "cost": _Home(
        "cost",
        "cost",
        "What MACHINE takes in hardware: components, area and delay; its PEs as Verilog.",
    ),
    "serve": _Home(
        "serving",
        "serve",
        "Serve requests to MODEL: read a prompt of --tokens, then generate tokens one by one.",
    ),
    "sweep": _Home(
        "sweeps",
        "sweep",
        "Simulate every combination that EXPERIMENT.yaml lists or varies, and write one report.",
    ),
    "train": _Home(
        "training",
        "train",
        "Simulate a training run of MODEL: the recipe's schedule over all steps, against dense.",
    ),
    "report": _Home(
        "sweeps",
        "report",
        "Draw index.html again from the results that are stored in DIR, or images of its figures.",
    ),
    "validate": _Home(
        "validation",
        "validate",
        "Hold predicted against measured times of GEMMs, of fused attention, of whole steps.",
    ),
    "compare": _Home(
        "comparison",
        "compare_kernels",
        "Lay a profiler's EXPORT beside the prediction of MODEL, kernel by kernel.",
    ),
    "calibrate": _Home(
        "fitting",
        "calibrate_machine",
        "Fit a GPU's fields marked fitted to measured times, with a hold-out (extra `calibrate`).",
    ),
    "measure": _Home(
        "fitting",
        "measure_gemms",
        "Time dense and 2:4 GEMMs on the GPU of this machine (extra `torch`).",
    ),
    "import": _Home(
        "importing",
        "import_file",
        "Write FILE of another tool as YAML: ONNX, topologies of SCALE-Sim, tables of GEMMs.",
    ),
    "export": _Home(
        "importing",
        "export_results",
        "Write the results that are stored in DIR as files of another tool.",
    ),
    "timeline": _Home(
        "inspection", "tile_timeline", "Write what a machine does for one GEMM, and when."
    ),
    "list": _Home(
        "describe",
        "list_",
        "List models, hardware, recipes, pruners, technologies, dataflows, engines, measured data.",
    ),
    "show": _Home(
        "describe",
        "show",
        "Show everything about one of them: fields, source, formula; or the schema of its YAML.",
    ),
    "trace": _Home("traces", "app", "Record, describe and check traces."),
}


class _Commands(TyperGroup):
    """The commands by name: the table says what there is, a command's module what it does."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002, as typer's
        """Load a command; None if there is none of that name."""
        if cmd_name not in _COMMANDS:
            return None
        home = _COMMANDS[cmd_name]
        found = getattr(import_module(f"nmsim.cli.commands.{home.module}"), home.function)
        _collect_garbage()
        return typer.main.get_command(found if isinstance(found, typer.Typer) else _alone(found))

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """List the commands by their lines, none of which is cut."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.help) for name, one in self.commands.items()])


def _collect_garbage() -> None:
    """Look for garbage from now on, if the start of the command did not: not in what it loaded."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _alone(function: Callable[..., None]) -> typer.Typer:
    one = typer.Typer(**_PLAIN)
    one.command(cls=Grouped)(function)
    return one


_TO_COMPLETE = "_NMSIM_COMPLETE"
"""Set in the environment of a command by a shell whose line is to be completed."""

_PLAIN: Any = {
    "add_completion": False,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
}

app = typer.Typer(
    name="nmsim",
    cls=_Commands,
    help="Simulate N:M-sparse matrix multiplication on systolic arrays and GPUs.",
    epilog="`nmsim COMMAND --help` has the options of a command, in groups, and examples.",
    **{**_PLAIN, "add_completion": True},
)

for _name, _home in _COMMANDS.items():
    app.command(_name, help=_home.summary)(lambda: None)


def _version(wanted: bool) -> None:
    if wanted:
        write(nmsim.__version__)
        raise Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


class _EndedError(KeyboardInterrupt):
    """A signal that ends a command, as Ctrl-C does."""


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP end what runs as Ctrl-C does, unless somebody has them ignored."""

    def end(number: int, _: Any) -> None:
        raise _EndedError(number)

    wanted = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
    held = threading.current_thread() is threading.main_thread()
    taken = [one for one in wanted if held and one and signal.getsignal(one) is signal.SIG_DFL]
    for one in taken:
        signal.signal(one, end)
    try:
        yield
    finally:
        for one in taken:
            signal.signal(one, signal.SIG_DFL)


def main() -> None:
    """Run the command line; a user's mistake becomes one line and status 2."""
    open_streams()
    try:
        with _signals_interrupt():
            status = _run(sys.argv[1:])
        sys.stdout.flush()
    except NmsimError as error:
        status = _fail(str(error))
    except TyperException as error:
        status = _fail(_usage(error))
    except Exit as stop:
        status = stop.exit_code
    except KeyboardInterrupt as stop:
        tell_if_possible("nmsim: interrupted")
        status = 128 + (stop.args[0] if isinstance(stop, _EndedError) else signal.SIGINT)
    except BrokenPipeError:
        discard_stdout()
        status = 0
    except OSError as error:
        discard_stdout()
        # A file that could not even be asked for has a name, the streams have none.
        status = _fail(
            f"{error.filename}: cannot be read or written ({reason(error)})"
            if error.filename
            else f"cannot write the output ({reason(error)})"
        )
    except BrokenExecutor:
        status = _fail("a worker process was killed, perhaps out of memory: try fewer --workers")
    except MemoryError:
        status = _fail("out of memory: try a smaller batch, fewer layers or --fidelity analytical")
    sys.exit(status)


def _run(arguments: list[str]) -> int:
    # Not by way of app(), which would answer an interruption and a closed pipe in its own manner.
    command = typer.main.get_command(app)
    if _TO_COMPLETE in os.environ:
        command.main(prog_name="nmsim")
    with command.make_context("nmsim", arguments) as context:
        command.invoke(context)
    return 0


def _usage(error: TyperException) -> str:
    format_message = getattr(error, "format_message", None)
    text = str(format_message() if format_message else error)
    return text.replace(": Value error, ", ": ").rstrip(".") + "; see --help"


def _fail(why: str) -> int:
    tell_if_possible(f"nmsim: {shortened(' '.join(why.split()))}")
    return 2
