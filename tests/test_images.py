"""Figures for papers: of the width and type that are asked for, whole, drawn by a Chrome."""

import re

import pytest
from browser import CHROMIUM
from fabricated import MANIFEST, network
from typer.testing import CliRunner

from nmsim import cli, report
from nmsim.errors import MissingExtra, SpecError
from nmsim.report.images import COLUMN_MM, PAGE_MM, Look, fitted, write_images
from nmsim.run.rows.frame import frame


@pytest.fixture(scope="module")
def figures():
    return report.figures(frame(network()), MANIFEST)


def millimetres(figure):
    return figure.layout.width / 96 * 25.4


def test_a_figure_is_a_column_wide_and_one_of_panels_both(figures):
    look = Look("svg")
    assert millimetres(fitted(figures["waterfall"], look)) == pytest.approx(COLUMN_MM, abs=0.3)
    assert millimetres(fitted(figures["speedup"], look)) == pytest.approx(PAGE_MM, abs=0.3)
    assert millimetres(fitted(figures["speedup"], Look("svg", 120))) == pytest.approx(120, abs=0.3)


def test_its_type_is_what_was_asked_for_and_its_title_is_the_captions(figures):
    made = fitted(figures["speedup"], Look("svg", font="Times", points=9))
    assert (made.layout.font.family, made.layout.font.size) == ("Times", 12)
    assert made.layout.title.text is None
    assert made.layout.yaxis.ticktext == figures["speedup"].layout.yaxis.ticktext
    assert figures["speedup"].layout.title.text is not None


def test_what_is_not_shown_is_not_named(figures):
    assert any(trace.visible == "legendonly" for trace in figures["roofline"].data)
    made = fitted(figures["roofline"], Look("svg"))
    assert {trace.visible for trace in made.data} <= {True, None}


def test_nothing_to_draw_is_said(tmp_path):
    with pytest.raises(SpecError, match="no rows, expected some to draw"):
        write_images(tmp_path, frame([]), MANIFEST, Look("svg"))


def test_without_kaleido_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "nmsim.report.plots.chrome", None)
    with pytest.raises(
        MissingExtra, match=r"images of figures need kaleido: pip install 'nmsim\[i"
    ):
        write_images(tmp_path, frame(network()[:3]), MANIFEST, Look("svg"))


@pytest.mark.slow
def test_without_a_chrome_one_line_says_so(tmp_path, monkeypatch):
    pytest.importorskip("kaleido")
    chrome = __import__("nmsim.report.plots.chrome", fromlist=["images"])

    def none_there(**_):
        raise chrome.ChromeNotFoundError

    monkeypatch.setattr(chrome.kaleido, "start_sync_server", none_there)
    with pytest.raises(SpecError, match="--images: no Chrome or Chromium is installed"):
        write_images(tmp_path, frame(network()[:3]), MANIFEST, Look("svg"))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize(
    ("form", "begins"), [("svg", b"<svg"), ("pdf", b"%PDF"), ("png", b"\x89PNG")]
)
def test_images_of_a_stored_run(tmp_path, form, begins):
    pytest.importorskip("kaleido")
    report.write_report(tmp_path, frame(network()[:6]), MANIFEST)
    done = CliRunner().invoke(cli.app, ["report", str(tmp_path), "--images", form, "--width", "90"])
    assert done.exit_code == 0, done.output
    found = sorted(path.name for path in tmp_path.glob(f"*.{form}"))
    assert f"waterfall.{form}" in found
    assert f"roofline.{form}" in found
    content = (tmp_path / f"waterfall.{form}").read_bytes()
    assert content[:5].startswith(begins[:5])
    if form == "svg":
        assert re.search(r'width="340(\.\d+)?"', content.decode()[:400])
        assert "promised" in content.decode()
