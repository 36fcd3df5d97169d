"""The command ``nmsim serve``: requests, from the prompt to the last token."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from nmsim.cli.console import say, show_tables, write
from nmsim.cli.keywords import of_keywords
from nmsim.cli.options import command_line
from nmsim.cli.panels import OUTPUT
from nmsim.report import headline, render_serving
from nmsim.run.keyword import keywords
from nmsim.run.serving import Requests, served

__all__ = ["serve"]


class _Format(StrEnum):
    TABLE = "table"
    JSON = "json"


_TAKEN = [one.name for one in keywords(Requests) if one.name not in ("scenario", "context")]


@of_keywords(Requests, only=_TAKEN)
def serve(
    requests: Requests,
    form: Annotated[
        _Format, typer.Option("--format", help="How to print.", rich_help_panel=OUTPUT)
    ] = _Format.TABLE,
) -> None:
    """Serve requests to MODEL: read a prompt of --tokens, then generate tokens one by one."""
    found = served(requests, command_line()).document()
    if form is _Format.JSON:
        write(json.dumps(found, indent=2, allow_nan=False))
        return
    about = found["manifest"]
    title = (
        f"recipe {about['recipe']}, pattern {about['pattern']}, batch {about['batch']}, "
        f"{about['fidelity']} model, tensors {about['tensors']}"
    )
    say(headline(f"{found['answer']}\n{title}", about))
    show_tables([render_serving(found)])
    write("a static batch: all requests start together and end together")
