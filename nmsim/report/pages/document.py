"""A page as one file: parts in the look of every page, with what draws, sorts and prints them."""

from functools import cache
from pathlib import Path

from plotly.offline import get_plotlyjs

from nmsim.report.pages.markup import Safe, el, script

__all__ = ["PLOTLY", "document", "plotly_js"]

PLOTLY = "plotly.min.js"
"""The file that pages of one folder may share, in place of a copy in each."""

_ASSETS = Path(__file__).with_name("assets")
_SCRIPTS = ("theme", "figures", "tables", "space", "start")


def document(
    title: str, *parts: Safe, drawn: bool = True, grids: bool = False, shared: str = ""
) -> str:
    """A page of parts, which needs no network.

    Parameters
    ----------
    drawn
        There are figures: the page needs plotly.js.
    grids
        There are tables of many rows (`nmsim.report.pages.grid`): it needs Tabulator.
    shared
        Where plotly.js stands that several pages share (``PLOTLY``); "": in the page itself, which
        then needs no other file.
    """
    head = el(
        "head",
        Safe('<meta charset="utf-8">'),
        Safe('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        el("title", f"nmsim: {title}"),
        Safe(f"<style>{_asset('tabulator.min.css') if grids else ''}{_asset('page.css')}</style>"),
        *([_plotly(shared)] if drawn else []),
        *([script(_licensed("tabulator"))] if grids else []),
        script("".join(_asset(f"{name}.js") for name in _SCRIPTS)),
    )
    body = el("body", el("main", el("button", "Dark", id="theme", type="button"), *parts))
    return f'<!DOCTYPE html>\n<html lang="en">{head}{body}</html>\n'


def plotly_js() -> str:
    """What plotly's own package ships for a browser."""
    text: str = get_plotlyjs()
    return text


def _plotly(shared: str) -> Safe:
    return el("script", src=shared) if shared else script(plotly_js())


@cache
def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _licensed(name: str) -> str:
    """A library for the browser, with the licence that asks to stand beside it."""
    return f"/*!\n{_asset(f'{name}.LICENSE')}*/\n{_asset(f'{name}.min.js')}"
