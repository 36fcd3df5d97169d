"""Notebooks of the handbook: scripts in cells, run from top to bottom, shown with what they give.

``docs/notebooks/NAME.py`` is a script whose cells begin with ``# %%`` (code) or ``# %% [markdown]``
(text, as comments), which Jupyter (by jupytext), VS Code and Spyder open as a notebook. Every build
runs them anew; none of their results is committed.
"""

import ast
import contextlib
import io
import json
import linecache
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import plotly

__all__ = ["NOTEBOOKS", "Cell", "cells", "run", "write_notebooks"]

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"

Outputs = dict[str, str]
"""What a cell gave: ``stream`` that it printed, and its value as ``text/plain``, ``text/html``."""


class Cell(NamedTuple):
    """A cell: text in Markdown, or code."""

    text: str
    code: bool


def cells(script: str) -> list[Cell]:
    """The cells of a script; what stands before the first is its docstring, left out."""
    found = []
    for head, body in re.findall(r"^# %%(.*)\n((?:(?!^# %%).*\n?)*)", script, re.MULTILINE):
        code = "[markdown]" not in head
        lines = body.strip("\n").splitlines()
        text = body.strip("\n") if code else "\n".join(line[2:] for line in lines)
        found.append(Cell(text, code))
    return found


def run(name: str, found: list[Cell]) -> list[Outputs]:
    """Run the cells of code one after another in one namespace; what each gave.

    They run in an empty folder of their own, so that what they write is written nowhere else.
    """
    space: dict[str, Any] = {"__name__": "__main__"}
    gave = []
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for number, cell in enumerate(found):
                place = f"{name}, cell {number}"
                gave.append(_run_cell(cell.text, place, space) if cell.code else {})
        finally:
            os.chdir(here)
    return gave


def _run_cell(text: str, place: str, space: dict[str, Any]) -> Outputs:
    linecache.cache[place] = (len(text), None, text.splitlines(keepends=True), place)
    tree = ast.parse(text, place)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, place, "exec"), space)  # noqa: S102  code of this repository
        value = (
            None
            if last is None
            else eval(  # noqa: S307
                compile(ast.Expression(last.value), place, "eval"), space
            )
        )
    outputs = {"stream": printed.getvalue()} if printed.getvalue() else {}
    return outputs if value is None else {**outputs, **_shown(value)}


def _shown(value: Any) -> Outputs:
    """A value as a notebook shows it."""
    if hasattr(value, "to_plotly_json"):
        html = value.to_html(full_html=False, include_plotlyjs=False, config={"responsive": True})
        return {"text/html": html, "text/plain": "a figure"}
    shown = {"text/plain": repr(value)}
    if hasattr(value, "_repr_html_"):
        shown["text/html"] = value._repr_html_()  # Jupyter's name for it
    return shown


def write_notebooks(folder: Path) -> None:
    """Run all notebooks and write each to a folder as a page, and as a file of Jupyter's."""
    folder.mkdir(parents=True, exist_ok=True)
    for script in sorted(NOTEBOOKS.glob("*.py")):
        found = cells(script.read_text(encoding="utf-8"))
        gave = run(script.stem, found)
        (folder / f"{script.stem}.ipynb").write_text(_jupyter(found, gave), encoding="utf-8")
        (folder / f"{script.stem}.md").write_text(_page(script.stem, found, gave), encoding="utf-8")
    source = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    shutil.copyfile(source, folder.parent / "static" / "plotly.min.js")


def _page(name: str, found: list[Cell], gave: list[Outputs]) -> str:
    parts = []
    for cell, outputs in zip(found, gave, strict=True):
        parts.append(f"```python\n{cell.text}\n```" if cell.code else cell.text)
        if "stream" in outputs:
            parts.append(f"```text\n{outputs['stream'].rstrip()}\n```")
        if "text/html" in outputs:
            parts.append(
                f'```{{raw}} html\n<div class="cell-output">{outputs["text/html"]}</div>\n```'
            )
        elif "text/plain" in outputs:
            parts.append(f"```text\n{outputs['text/plain']}\n```")
    script = '```{raw} html\n<script src="../_static/plotly.min.js"></script>\n```'
    drawn = any("plotly-graph-div" in outputs.get("text/html", "") for outputs in gave)
    last = (
        "This page is a notebook that was run when the site was built: "
        f"[{name}.ipynb]({name}.ipynb)."
    )
    head, *rest = parts
    return "\n\n".join([head, *([script] if drawn else []), *rest, last]) + "\n"


def _jupyter(found: list[Cell], gave: list[Outputs]) -> str:
    """The notebook in version 4 of Jupyter's format."""
    written = []
    for number, (cell, outputs) in enumerate(zip(found, gave, strict=True)):
        one: dict[str, Any] = {
            "cell_type": "code" if cell.code else "markdown",
            "id": f"cell-{number}",
            "metadata": {},
            "source": cell.text,
        }
        if cell.code:
            one |= {"execution_count": None, "outputs": _records(outputs)}
        written.append(one)
    about = {"language_info": {"name": "python"}, "kernelspec": {
        "name": "python3", "display_name": "Python 3", "language": "python"}}  # fmt: skip
    book = {"nbformat": 4, "nbformat_minor": 5, "metadata": about, "cells": written}
    return json.dumps(book, indent=1)


def _records(outputs: Outputs) -> list[dict[str, Any]]:
    values = {kind: text for kind, text in outputs.items() if kind != "stream"}
    found: list[dict[str, Any]] = []
    if "stream" in outputs:
        found.append({"output_type": "stream", "name": "stdout", "text": outputs["stream"]})
    if values:
        found.append({"output_type": "execute_result", "execution_count": None, "metadata": {},
                      "data": values})  # fmt: skip
    return found


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        run(path.stem, cells(path.read_text(encoding="utf-8")))
