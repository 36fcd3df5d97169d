"""What there is, by kind, and everything about one of them: for ``nmsim list`` and ``show``."""

from pathlib import Path
from typing import Annotated

import typer

from nmsim.cli import completion
from nmsim.cli.console import show_facts, write
from nmsim.cli.listings import LISTINGS, OWN, module_of
from nmsim.cli.options import Plugins

__all__ = ["catalog", "describe", "list_", "schema", "show"]

Facts = list[tuple[str, str]]

_KIND = f"{' | '.join(OWN)}, or what some machines have: `nmsim list` names all."


def kinds() -> Facts:
    """Kinds of things, and how many there are of each."""
    return [(name, f"{len(list(one.names()))}") for name, one in LISTINGS.items()]


def catalog(kind: str) -> Facts:
    """Name and summary of everything of a kind."""
    found = LISTINGS.called(kind)
    return [(name, found.summary(name)) for name in found.names()]


def describe(kind: str, name: str) -> Facts:
    """Everything about one thing, as label and text."""
    return LISTINGS.called(kind).facts(name)


def schema(kind: str) -> str:
    """The JSON Schema of a kind's YAML file; of "hardware", one for every kind of machine."""
    found: str = module_of("schemas").schema(kind)
    return found


def _read_plugins(plugins: list[Path] | None) -> None:
    if plugins:
        module_of("pruners").read_plugins(plugins)


def list_(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help=_KIND, autocompletion=completion.kind)
    ] = "",
    plugins: Plugins = None,
) -> None:
    """List models, hardware, recipes, pruners, technologies, dataflows, engines, measured data.

    Without a kind, which kinds there are and how many of each.
    """
    _read_plugins(plugins)
    show_facts(catalog(kind) if kind else kinds())


def show(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help=f"schema | {_KIND}", autocompletion=completion.kind_or_schema
        ),
    ] = "",
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="For schema: which, `nmsim show schema` names all.",
            autocompletion=completion.name,
        ),
    ] = "",
    plugins: Plugins = None,
) -> None:
    """Show everything about one of them: fields, source, formula; or the schema of its YAML.

    Without a name, which there are; without a kind, which kinds.
    """
    _read_plugins(plugins)
    if kind == "schema":
        write(schema(name) if name else "\n".join((*module_of("schemas").SCHEMAS, "hardware")))
    elif not name:
        show_facts(catalog(kind) if kind else kinds())
    else:
        show_facts(describe(kind, name))
