"""Pages in headless Chromium, as a reader sees them: what the tests of pages share.

Chromium is the system's; without one, or without Playwright's client, these tests are skipped.
"""

import shutil
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)

# Without a GPU, WebGL (parallel coordinates) is drawn by the processor.
ARGUMENTS = ["--no-sandbox", "--enable-unsafe-swiftshader", "--use-angle=swiftshader"]

OVERLAPS = (Path(__file__).parent / "overlaps.js").read_text(encoding="utf-8")
"""How many texts a page shows, and pairs of them that are printed over each other."""

_GRIDS = "[...document.querySelectorAll('section[data-grid]')].every((one) => one.dataset.built)"
_FIGURES = "[...document.querySelectorAll('.figure')].every((one) => one.matches('.drawn'))"
_DRAW = "for (const name of Object.keys(FIGURES)) if (!room(name).matches('.drawn')) redraw(name)"


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


def opened(browser, path, width=1400, **context):
    """A page that has drawn all its figures and tables, and the complaints of its console."""
    page = browser.new_page(viewport={"width": width, "height": 900}, **context)
    said = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda one: said.append(one.text) if one.type == "error" else None)
    page.goto(Path(path).as_uri())
    page.wait_for_function(_GRIDS)
    page.evaluate(_DRAW)
    page.wait_for_function(_FIGURES)
    return page, said
