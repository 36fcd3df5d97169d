"""Pages in a browser: does a reader see, find, sort, choose, save and print what they hold?"""

import csv
import io
import json
import os
import re
import shutil
import subprocess

import pytest
from browser import OVERLAPS, chromium, opened  # noqa: F401  (a fixture)
from fabricated import MANIFEST, SWEEP_MANIFEST, network, sweep
from test_space import (
    EXPERIMENTS,
    ONE_MACHINE,
    three_numbers,
)
from typer.testing import CliRunner

from nmsim import cli, report
from nmsim.run.rows.frame import frame

pytestmark = pytest.mark.slow

COUNT = len(network())
COMMANDS = {
    "training": [
        "train",
        "resnet18",
        "--recipe",
        "asp",
        "--steps",
        "100",
        "--fidelity",
        "analytical",
    ],
    "validation": ["validate", "--hardware", "a100-sxm4-80gb"],
}
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def written(folder, df, manifest):
    report.write_report(folder, df, manifest)
    return folder / "index.html"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page of every kind that has tables and figures, by name."""
    folder = tmp_path_factory.mktemp("pages")
    made = {
        "run": (frame(network()), MANIFEST),
        "sweep": (frame(sweep(4)), SWEEP_MANIFEST),
        **{make.__name__: (make(), ONE_MACHINE) for make, *_ in EXPERIMENTS},
    }
    paths = {name: written(folder / name, *parts) for name, parts in made.items()}
    for name, arguments in COMMANDS.items():
        done = CliRunner().invoke(cli.app, [*arguments, "--out", str(folder / name)])
        assert done.exit_code == 0, done.output
        paths[name] = folder / name / "index.html"
    return paths


@pytest.fixture(scope="module")
def run(chromium, pages):  # noqa: F811
    page, said = opened(chromium, pages["run"], accept_downloads=True)
    yield page
    assert said == []


KINDS = ["run", "sweep", *COMMANDS, *(make.__name__ for make, *_ in EXPERIMENTS)]


EVERY = os.environ.get("NMSIM_PAGES") == "all"
"""Whether every page is read at every width, in light and in dark; else the usual ones are."""

USUAL = ("run", "sweep")
NARROW = (*USUAL, *COMMANDS, "three_numbers", "two_numbers")


@pytest.mark.parametrize(
    ("name", "width"),
    [
        (n, w)
        for w in (1400, 768, 390)
        for n in KINDS
        if EVERY or n in (NARROW if w == 390 else USUAL)
    ],
)
def test_no_text_is_printed_over_another(chromium, pages, name, width):  # noqa: F811
    page, said = opened(chromium, pages[name], width)
    seen = page.evaluate(OVERLAPS)
    assert seen["texts"] > 50
    assert seen["found"] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    empty = page.evaluate("Object.keys(FIGURES).filter((name) => numbers(name).length < 2)")
    assert empty == []
    assert said == []
    page.close()


def test_texts_that_overlap_are_found(chromium, pages):  # noqa: F811
    page, _ = opened(chromium, pages["run"])
    page.evaluate("document.querySelector('.tile .much').style.marginTop = '-22px'")
    assert page.evaluate(OVERLAPS)["found"]
    page.close()


READ = ("run", "sweep", *COMMANDS, "three_numbers", "two_numbers", "one_point")


@pytest.mark.parametrize(
    ("name", "scheme"),
    [(n, s) for s in ("light", "dark") for n in READ if EVERY or n in USUAL],
)
def test_axe_finds_nothing_of_level_a_or_aa(chromium, pages, name, scheme):  # noqa: F811
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page, _ = opened(chromium, pages[name], color_scheme=scheme)
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    found = axe.run(page, options={"runOnly": {"type": "tag", "values": LEVELS}}).response
    told = [(one["id"], one["nodes"][0]["html"][:200]) for one in found["violations"]]
    assert told == []
    assert len(found["passes"]) > 10
    page.close()


@pytest.mark.parametrize("name", ["run", "ten_thousand"])
def test_a_page_is_small_and_there_at_once(chromium, pages, name):  # noqa: F811
    """Its bytes, and seconds of its main thread up to the first frame after ``load``."""
    assert pages[name].stat().st_size < 8e6
    spent = []
    for _ in range(3):
        page = chromium.new_page()
        client = page.context.new_cdp_session(page)
        client.send("Performance.enable", {"timeDomain": "threadTicks"})
        page.goto(pages[name].as_uri())
        page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        metrics = client.send("Performance.getMetrics")["metrics"]
        spent.append(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))
        page.close()
    assert min(spent) < 3.0


def test_the_height_of_a_page_does_not_grow_with_its_points(chromium, pages):  # noqa: F811
    heights = {}
    for name in ("three_numbers", "ten_thousand"):
        page, _ = opened(chromium, pages[name])
        heights[name] = page.evaluate("document.documentElement.scrollHeight")
        page.close()
    assert heights["ten_thousand"] < 8000
    assert abs(heights["ten_thousand"] - heights["three_numbers"]) < 400


# ---- the table


def status(page, name="rows"):
    return page.inner_text(f"section[data-grid={name}] .status")


def column(page, field, name="rows"):
    """The values of the rows that are left, in the order of the table."""
    return page.evaluate(
        f"GRIDS['{name}'].table.getRows('active').map((row) => row.getData()[{json.dumps(field)}])"
    )


def loosened(page):
    page.evaluate("loosen(GRIDS.rows)")


def test_rows_are_found_and_chosen(run):
    assert status(run) == f"{COUNT} rows"
    run.select_option("section[data-grid=rows] select[name=phase]", label="backward")
    expected = sum(made["phase"] == "backward" for made in network())
    assert status(run) == f"{expected} of {COUNT} rows"
    assert set(column(run, "phase")) == {"backward"}
    run.fill("section[data-grid=rows] input[type=search]", "layer3.0")
    assert status(run) == f"4 of {COUNT} rows"
    assert all("layer3.0" in name for name in column(run, "layer"))
    run.fill("section[data-grid=rows] input[type=search]", "no such layer")
    assert status(run) == f"0 of {COUNT} rows"
    loosened(run)
    run.select_option("section[data-grid=rows] select[name=layer]", label="conv1")
    assert column(run, "phase") == ["forward", "update"]
    loosened(run)
    assert status(run) == f"{COUNT} rows"


def test_a_heading_sorts_by_mouse_and_by_key(run):
    heading = run.locator("section[data-grid=rows] .tabulator-col[tabulator-field=time_us]")
    heading.click()
    times = column(run, "time_us")
    assert times == sorted(times, reverse=True)
    heading.press("Enter")
    times = column(run, "time_us")
    assert times == sorted(times)
    assert heading.get_attribute("aria-sort") == "ascending"
    run.evaluate("GRIDS.rows.table.clearSort()")


def test_few_columns_are_shown_and_all_can_be(run):
    heads = "section[data-grid=rows] .tabulator-col:visible"
    before = run.locator(heads).count()
    assert before <= 14
    assert run.locator(f"{heads}[tabulator-field=macs_useful]").count() == 0
    run.click("section[data-grid=rows] .columns summary")
    run.locator("section[data-grid=rows] .columns label", has_text="macs_useful").click()
    assert run.locator(f"{heads}[tabulator-field=macs_useful]").count() == 1
    run.locator("section[data-grid=rows] .columns label", has_text="macs_useful").click()
    run.click("section[data-grid=rows] .columns summary")
    assert run.locator(heads).count() == before


def test_rows_that_are_not_seen_are_not_drawn(run):
    assert run.locator("section[data-grid=rows] .tabulator-row").count() < COUNT


def test_a_bar_shows_its_row_and_a_row_its_bars(run):
    number = run.evaluate(
        """() => {
          const place = room('layer-time');
          const trace = place.data.findIndex((one) => one.customdata);
          place.emit('plotly_click', { points: [{ customdata: place.data[trace].customdata[3] }] });
          return place.data[trace].customdata[3];
        }"""
    )
    run.wait_for_selector("section[data-grid=rows] .tabulator-row.tabulator-selected")
    selected = "GRIDS.rows.table.getSelectedRows().map((row) => row.getIndex())"
    assert run.evaluate(selected) == [number]
    run.focus("section[data-grid=rows] .tabulator-tableholder")
    run.keyboard.press("ArrowDown")
    (chosen,) = run.evaluate(selected)
    assert chosen == number + 1
    marked = run.evaluate(
        """(row) => Object.keys(FIGURES).filter((name) => room(name).data.some(
          ({ selectedpoints, customdata }) =>
            selectedpoints && selectedpoints.some((at) => customdata[at] === row)))""",
        chosen,
    )
    assert "roofline" in marked
    run.evaluate("GRIDS.rows.table.deselectRow()")
    assert not run.evaluate("room('roofline').data.some((trace) => trace.selectedpoints)")


def test_a_click_on_a_mark_is_a_click_on_its_row(chromium, pages):  # noqa: F811
    """With a mouse, where the mark is: the test above goes through plotly's own event."""
    page, said = opened(chromium, pages["run"])  # its own: rows that others filter cannot be seen
    page.evaluate("room('roofline').scrollIntoView({ block: 'center', behavior: 'instant' })")
    point = page.locator("#figure-roofline .scatterlayer .points path:visible").last
    chosen = page.locator("section[data-grid=rows] .tabulator-row.tabulator-selected")
    for _ in range(10):  # plotly finds what the mouse is over some time after it has moved
        page.wait_for_timeout(500)
        box = point.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_timeout(300)
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        if chosen.count():
            break
    chosen.first.wait_for()
    assert said == []
    page.close()


def downloaded(page, selector):
    with page.expect_download() as waited:
        page.click(selector)
    path = waited.value.path()
    return waited.value.suggested_filename, path.read_bytes()


def test_what_is_left_of_the_rows_is_saved(run):
    run.select_option("section[data-grid=rows] select[name=phase]", label="update")
    name, content = downloaded(run, "section[data-grid=rows] button:has-text('CSV')")
    loosened(run)
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    expected = [made for made in network() if made["phase"] == "update"]
    assert name == "nmsim-rows.csv"
    assert [line["layer"] for line in rows] == [made["layer"] for made in expected]
    assert [float(line["speedup"]) for line in rows] == pytest.approx(
        [made["speedup"] for made in expected], rel=1e-6
    )


def test_figures_are_saved_as_pictures_and_numbers(run):
    name, svg = downloaded(run, "#tools-speedup button:has-text('SVG')")
    assert name == "nmsim-speedup.svg"
    assert b"<svg" in svg[:200]
    assert b"conv1" in svg
    assert downloaded(run, "#tools-speedup button:has-text('PNG')")[1][:4] == b"\x89PNG"
    lines = downloaded(run, "#tools-phase-time button:has-text('CSV')")[1].decode().splitlines()
    assert lines[0].startswith("series,")
    assert len(lines) > 8


def test_a_figure_has_its_numbers_as_a_table(run):
    run.click("#tools-waterfall summary")
    text = run.inner_text("#tools-waterfall table")
    assert "promised" in text
    assert "step" in text or "GEMMs" in text
    run.click("#tools-waterfall summary")


def test_the_roofline_shows_what_is_chosen(run):
    select = run.locator("#tools-roofline select")
    select.select_option(label="ideal")
    shown = "room('roofline').data.filter((one) => one.visible === true).map((one) => one.name)"
    assert {name.rpartition(", ")[2] for name in run.evaluate(shown)[1:]} == {"ideal"}
    select.select_option(label="cycle")
    assert {name.rpartition(", ")[2] for name in run.evaluate(shown)[1:]} == {"cycle"}


# ---- light, dark, paper


def test_dark_is_the_systems_or_the_readers(chromium, pages):  # noqa: F811
    ground = "getComputedStyle(document.body).backgroundColor"
    figure = "room('speedup')._fullLayout.paper_bgcolor"
    page, said = opened(chromium, pages["run"], color_scheme="dark")
    dark = page.evaluate(ground)
    assert page.evaluate(figure).upper() == "#14181D"
    page.click("#theme")
    assert page.evaluate(ground) == "rgb(255, 255, 255)" != dark
    assert page.evaluate(figure).upper() == "#FFFFFF"
    page.click("#theme")
    assert page.evaluate(ground) == dark
    assert said == []
    page.close()


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no pdftotext is installed")
@pytest.mark.parametrize("name", ["run", "sweep", "ten_thousand"])
def test_paper_has_every_column_to_the_last(chromium, pages, tmp_path, name):  # noqa: F811
    page, said = opened(chromium, pages[name], color_scheme="dark")
    page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    command = ["pdftotext", "-bbox", tmp_path / "page.pdf", "-"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    sizes = {(round(float(w)), round(float(h))) for w, h in re.findall(_PAGE, found)}
    assert sizes == {(842, 595)}
    words = re.findall(_WORD, found)
    assert all(float(right) <= 842 for right, _ in words)
    text = " ".join(word for _, word in words)
    assert "bound by" in text
    assert text.count("compute") > 20
    assert page.evaluate("document.querySelectorAll('table.printed').length") == 0
    assert said == []
    page.close()


_PAGE = r'<page width="([\d.]+)" height="([\d.]+)"'
_WORD = r'xMax="([\d.]+)" yMax="[\d.]+">([^<]+)</word>'


def test_figures_fit_the_paper(chromium, pages):  # noqa: F811
    page, _ = opened(chromium, pages["run"])
    page.evaluate("ontoPaper()")
    widths = page.evaluate(
        "[...document.querySelectorAll('.figure .main-svg')].map((one) => one.clientWidth)"
    )
    assert max(widths) <= 1030
    page.evaluate("offPaper()")
    page.close()


# ---- a design space


def test_a_brush_chooses_points_lines_and_rows(chromium, pages):  # noqa: F811
    page, said = opened(chromium, pages["ten_thousand"])
    drawn = "room('speedup').data[0].dimensions[0].values.length"
    assert page.evaluate(drawn) <= 1000
    brush = "Plotly.restyle(room('speedup'), {'dimensions[1].constraintrange': [%s]})"
    page.evaluate(brush % "[150, 250]")
    page.wait_for_function("GRIDS.points.table.getRows('active').length === 1000")
    assert set(column(page, "dram.gbps", "points")) == {200}
    assert status(page, "points") == "1,000 of 10,000 rows"
    lines = "Array.from(room('speedup').data[0].dimensions[1].values)"
    page.wait_for_function(f"new Set({lines}).size === 1")
    assert page.evaluate(drawn) > 500
    page.evaluate("redrawAll()")
    assert page.evaluate("room('speedup').data[0].dimensions[1].constraintrange") == [150, 250]
    assert page.evaluate(f"new Set({lines}).size") == 1
    told = page.evaluate("numbers('speedup')")
    assert told[0][:2] == ["sram.a_kib", "dram.gbps"]
    assert {line[1] for line in told[1:]} == {"200"}
    page.evaluate("choose(17, false)")
    wanted = page.evaluate("GRIDS.points.rows.find((one) => one._number === 17).command")
    assert page.inner_text("#chosen code") == wanted
    page.evaluate(brush % "null")
    page.wait_for_function("GRIDS.points.table.getRows('active').length === 10000")
    assert said == []
    page.close()


def test_the_front_is_of_the_measures_that_are_chosen(chromium, pages):  # noqa: F811
    page, said = opened(chromium, pages["three_numbers"])
    page.select_option(".axes select[name=across]", label="dram.gbps, less is better")
    assert page.evaluate("room('front').layout.xaxis.title.text") == "dram.gbps"
    front = page.evaluate("room('front').data[1].customdata")
    df = three_numbers()
    points = list(zip(df["dram.gbps"], df["speedup"], strict=True))
    for number in front:
        x, y = points[number]
        assert not any(a <= x and b >= y and (a, b) != (x, y) for a, b in points)
    assert len(front) == 3
    hover = page.evaluate("room('front').data[1].hovertext[0]")
    assert "rows " in hover
    assert "recipe" not in hover
    assert said == []
    page.close()


def test_ten_thousand_rows_of_a_run_fit(chromium, tmp_path):  # noqa: F811
    rows = [{**made, "layer": f"block{n}.{made['layer']}"} for n in range(63) for made in network()]
    df = frame(rows[:10_000])
    path = written(tmp_path, df, MANIFEST)
    assert path.stat().st_size < 8e6
    page, said = opened(chromium, path)
    assert status(page) == "10,000 rows"
    page.fill("section[data-grid=rows] input[type=search]", "block61.")
    assert status(page).startswith("161 of") or status(page).startswith("160 of")
    assert said == []
    page.close()
