"""The drawings of the docs are what their code draws from what nmsim computes."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"

build = pytest.importorskip("build_drawings", reason="matplotlib: extra reports")


def texts(drawing):
    return re.findall(r"<text[^>]*>([^<]+)</text>", drawing)


@pytest.mark.parametrize("name", list(build.DRAWINGS))
def test_the_committed_drawing_is_what_the_code_draws(name):
    drawn = build.DRAWINGS[name]()
    assert texts(drawn) == texts((DOCS / name).read_text(encoding="utf-8"))
    assert len(texts(drawn)) > 10


@pytest.mark.parametrize("name", list(build.DRAWINGS))
def test_a_page_shows_the_drawing(name):
    pages = [DOCS.parent / "README.md", DOCS.parent / "DESIGN.md", *DOCS.glob("*.md")]
    assert any(name in page.read_text(encoding="utf-8") for page in pages)
