"""``nmsim list`` and ``nmsim show``."""

from typing import Annotated

import typer

from nmsim.cli.console import show_facts, write
from nmsim.cli.describe import LISTINGS, SCHEMAS, catalog, describe, schema

__all__ = ["list_", "show"]


def list_(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=" | ".join(LISTINGS))],
) -> None:
    """List models, hardware, recipes, pruners, dataflows, engines or measured files."""
    show_facts(catalog(kind))


def show(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=" | ".join((*LISTINGS, "schema")))],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help=f"For schema: {' | '.join(SCHEMAS)}.")
    ],
) -> None:
    """Show everything about one of them: fields, source, formula; or the schema of its YAML."""
    if kind == "schema":
        write(schema(name))
    else:
        show_facts(describe(kind, name))
