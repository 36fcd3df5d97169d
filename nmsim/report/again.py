"""The command that runs one point of a sweep alone, from what the sweep's manifest says."""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from nmsim.errors import SpecError
from nmsim.report.notation import worded
from nmsim.report.summary import SWEPT
from nmsim.run.experiment.axes import values_by_field
from nmsim.run.experiment.fields import RUN
from nmsim.spec import parse_scalar

__all__ = ["commands", "out_of", "without_out"]

Point = Mapping[str, Any]


def commands(manifest: Mapping[str, Any]) -> Callable[[Point, int], str]:
    """What gives the command of each point, which runs what the sweep ran of it.

    It writes to folder ``points`` in that of the sweep, by the point's number, if the sweep's own
    command says which that is, and is meant for the folder in which that command was typed.

    Parameters
    ----------
    manifest
        Of the sweep. One of a version that did not tell how things were asked for names them as
        results do.

    Returns
    -------
    Callable
        From what a point is told by (every column that tells points apart) and its number.
    """
    said = {
        _plain(name): {worded(_cell(value)): value for value in values}
        for name, values in values_by_field(manifest.get("vary") or {}).items()
    }
    asked: Mapping[str, Any] = manifest.get("asked") or {}
    out = out_of(str(manifest.get("command", "")))

    def command(point: Point, number: int) -> str:
        exact = {
            name: said.get(_plain(name), {}).get(worded(value), value)
            for name, value in point.items()
        }
        target = ["--out", f"{out}/points/{number}"] if out else []
        return shlex.join([*_words(exact, manifest, asked), *target])

    return command


def out_of(command: str) -> str:
    """The folder that a command writes to, a sweep's its experiment's own unasked; "": none.

    Examples
    --------
    >>> out_of("nmsim simulate resnet50 --out r"), out_of("nmsim sweep a/e.yaml"), out_of("nmsim")
    ('r', 'a', '')
    """
    words = _split(command)
    if "--out" in words[:-1]:
        return words[words.index("--out") + 1]
    files = [word for word in words if word.endswith((".yaml", ".yml"))]
    return str(PurePath(files[0]).parent) if words[1:2] == ["sweep"] and files else ""


def without_out(command: str) -> list[str]:
    """The words of a command, but for where it writes to: what two runs of the same thing share."""
    words = _split(command)
    if "--out" in words:
        at = words.index("--out")
        del words[at : at + 2]
    return words


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command.replace("--out=", "--out "))
    except ValueError:
        return []


def _plain(name: str) -> str:
    """A field without whose it is, which a column says where rows have one of that name too."""
    return name.removeprefix("run.").removeprefix("hardware.")


def _cell(value: Any) -> Any:
    """A value as a table holds it: those of a list after each other, yes and no as numbers."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return int(value) if isinstance(value, bool) else value


def _words(point: Point, manifest: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    words = ["nmsim", "simulate", _as_asked("model", point["model"], asked)]
    for name in SWEPT[1:]:
        if point.get(name) is not None and asked.get(name) is not False:
            words += [f"--{name}", _as_asked(name, point[name], asked)]
    own = {name: value for name, value in point.items() if name not in SWEPT}
    run = {_plain(name): value for name, value in own.items() if _is_run(name)}
    shared = {name: asked.get(name, manifest.get(name)) for name in _SHARED if name not in run}
    for name, value in {**shared, **run}.items():
        words += _option(name, value)
    for name, value in own.items():
        if not _is_run(name):
            words += ["--set", f"{name.removeprefix('hardware.')}={_scalar(value)}"]
    return words


_SHARED = tuple(name for name, one in RUN.items() if not (one.keyword.apart or one.keyword.lists))
"""Keywords that have one value for all points unless they are varied."""


def _is_run(name: str) -> bool:
    return not name.startswith("hardware.") and _plain(name) in RUN


def _as_asked(name: str, value: Any, asked: Mapping[str, Any]) -> str:
    """What a point is told by as the experiment said it: the path of a file, not its name."""
    said = asked.get(name)
    return str(said.get(str(value), value) if isinstance(said, Mapping) else worded(value))


def _option(name: str, value: Any) -> list[str]:
    """A keyword as an option; none where it is what a run has unasked."""
    declared = RUN[name]
    option = f"--{declared.option}"
    if isinstance(declared.default, bool):
        if value is None or bool(value) == declared.default:
            return []
        return [option if value else f"--no-{declared.option}"]
    if isinstance(declared.default, tuple):
        several: Sequence[Any] = [value] if isinstance(value, str) else value or ()
        return [word for one in several for word in (option, str(one))]
    return [] if value in (None, declared.default) else [option, worded(value)]


def _scalar(value: Any) -> str:
    """The value of a machine's field as ``--set`` reads it."""
    if isinstance(value, str):
        return value if _reads_as(value) else json.dumps(value)
    return json.dumps(value)


def _reads_as(text: str) -> bool:
    try:
        return bool(parse_scalar(text) == text)
    except SpecError:
        return False
