"""The handbook: figures as they were measured, commands that there are, pages that follow."""

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import measure_figures
import pytest
from catalog_pages import SORTS
from figures import read_figures, restated, stating
from measure_figures import fitted, of_table
from notebook_pages import NOTEBOOKS, Cell, cells, run
from ruamel.yaml import YAML
from staging import DOCS, ROOT, pages, stage
from tiers import fast_first
from typer.main import get_command

import nmsim
from nmsim.cli import app
from nmsim.cli.listings import LISTINGS
from nmsim.cli.listings.schemas import SCHEMAS
from nmsim.measured.tables import MEASURED
from nmsim.spec import validate

PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
FIGURES = read_figures()


def titled(path):
    return path.relative_to(ROOT).as_posix()


# ---- figures


@pytest.mark.parametrize("page", list(stating()), ids=titled)
def test_a_page_states_the_figures_that_were_measured(page):
    text = page.read_text(encoding="utf-8")
    assert restated(text, FIGURES) == text, "run `make figures`"


def test_an_old_figure_is_found():
    text = "off by 9.9<!--tables.a100-dense-bf16.mape--> %, by Two<!--fitted.h100-sxm.timing-->"
    now = restated(text, FIGURES)
    assert "9.9" not in now
    assert "Seven<!--" in now
    with pytest.raises(KeyError):
        restated("5.6<!--tables.a100-dense-bf17.mape-->", FIGURES)


def test_every_page_on_accuracy_states_its_figures_by_name():
    stated = {page.stem for page in stating()}
    named = {
        "attention",
        "calibration",
        "evidence",
        "gpus",
        "residual",
        "step",
        "tensor-core",
        "trust",
    }
    assert stated >= {*named, "validation", "README", "overview"}


# Cheap ones of each GPU, so that a change of any closed form is seen at once.
TABLES = sorted(MEASURED, key=lambda name: (FIGURES["tables"][name]["rows"], name))


@pytest.mark.parametrize("name", fast_first(TABLES, 7))
def test_the_figures_are_what_predictions_give(name):
    assert of_table(name) == FIGURES["tables"][name]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["attention", "evidence", "steps"])
def test_figures_of_all_else_are_what_predictions_give(what):
    assert getattr(measure_figures, what)() == FIGURES[what]


def test_counts_of_constants_are_those_of_the_files():
    assert fitted() == FIGURES["fitted"]
    assert set(FIGURES["tables"]) == set(MEASURED)


# ---- commands


def commands(page):
    """Lines of a page's shell blocks that call nmsim: its words."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for line in re.split(r"\n|&&|;", "\n".join(blocks).replace("\\\n", " ")):
        words = shlex.split(line, comments=True)
        words = words[next((at for at, word in enumerate(words) if "=" not in word), 0) :]
        if words[:1] == ["nmsim"] and len(words) > 1 and not words[1].startswith("--"):
            yield words[1:]


COMMANDS = [
    pytest.param(words, id=f"{titled(page)}: {' '.join(words)}")
    for page in PAGES
    for words in commands(page)
]


def parse(words):
    """Have the command line read words as it would, and run nothing."""
    command, context, name, left = get_command(app), None, "nmsim", list(words)
    while True:
        context = command.make_context(name, left, parent=context)
        if not hasattr(command, "resolve_command"):
            return name
        name, command, left = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_of_a_page_is_one(words):
    assert parse(words)


PLAIN = re.compile(r"(list|show) [a-z0-9 .+-]+")
LISTED = sorted(
    {line for one in COMMANDS for line in [" ".join(one.values[0])] if PLAIN.fullmatch(line)}
)


@pytest.mark.slow
@pytest.mark.parametrize("line", LISTED)
def test_what_a_page_lists_or_shows_is_there(line, command):
    if line.endswith(".yaml") or "outer" in line:
        pytest.skip("a file, or a kind of machine, of the reader's own")
    status, shown, told = command(*line.split())
    assert (status, told) == (0, "")
    assert shown


def test_a_command_that_there_is_not_is_found():
    with pytest.raises(Exception, match="No such option"):
        parse(["simulate", "resnet18", "--speed", "2"])
    assert len(COMMANDS) > 90


SCRIPTS = sorted(
    {
        script
        for page in PAGES
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        for script in re.findall(r"python ((?:reports|docs|traces|tests)/[\w/-]+\.py)", block)
        + [
            f"{name.replace('.', '/')}.py"
            for name in re.findall(r"python -m ((?:reports|traces)[.\w]+)", block)
        ]
    }
)
DISTRIBUTIONS = {"ruamel": "ruamel.yaml", "sklearn": "scikit-learn", "dask": "distributed"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_of_a_page_needs_no_more_than_an_extra_has(script):
    """What a script and the modules beside it import is nmsim's, or stands in an extra."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = told["optional-dependencies"]
    has = {re.split(r"[>=\[]", one)[0] for each in extras.values() for one in each}
    has |= {re.split(r"[>=\[]", one)[0] for one in told["dependencies"]}
    path = ROOT / script
    own = {module.stem for module in ROOT.rglob("*.py")} | {
        folder.name for folder in ROOT.iterdir()
    }
    for module in (path, *path.parent.glob("*.py")):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in {name.partition(".")[0] for name in names}:
                known = name in sys.stdlib_module_names or name in own
                assert known or DISTRIBUTIONS.get(name, name) in has, f"{module.name}: {name}"


def test_experiments_of_guides_are_valid():
    read = YAML(typ="safe", pure=True).load
    for guide in (DOCS / "guides").glob("*.md"):
        for block in re.findall(r"```yaml\n(title:.*?)```", guide.read_text(), re.DOTALL):
            assert validate(SCHEMAS["experiment"], read(block), guide.stem).title


def test_the_tutorial_prints_what_the_readme_prints():
    told = re.compile(r"```(?:text)?\n(training step.*?)```", re.DOTALL)
    (own,) = told.findall((DOCS / "guides" / "tutorial.md").read_text(encoding="utf-8"))
    (readme,) = told.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert set(own.splitlines()) <= set(readme.splitlines())


# ---- guides, as a new user follows them

LONG = ("--fidelity cycle", "explain resnet50", "simulate resnet50 --recipe asp", "--images",
        "bert", "llama", "nmsim measure", "nmsim validate", "nmsim calibrate", "nmsim import",
        "python reports", "pip install", "python3 -m venv")  # fmt: skip
GUIDES = ("design-an-array", "my-pruning-algorithm")
SAVED = re.compile(r"[Ss]ave this as `([\w./-]+)`(?:(?!```).)*?\n\n```\w+\n(.*?)```", re.DOTALL)
RUN = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)


def steps(text, saved):
    """What a guide says to run, in its order: words of a command, or a block of Python."""
    for kind, block in RUN.findall(text):
        if kind == "python" and block not in saved.values():
            yield block
        elif kind == "sh":
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                if words and not any(each in line for each in LONG):
                    yield words[1:]


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_can_be_followed(guide, tmp_path, monkeypatch, command):
    """What a guide says to save is saved, and what it says to run is run, but for what is long."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    text = (DOCS / "guides" / f"{guide}.md").read_text(encoding="utf-8")
    saved = dict(SAVED.findall(text))
    for name, content in saved.items():
        Path(name).write_text(content)
    asked = list(steps(text, saved))
    for step in asked:
        if isinstance(step, str):
            subprocess.run([sys.executable, "-c", step], capture_output=True, check=True)
        else:
            status, _, told = command(*step)
            assert status == 0, f"{step}: {told}"
    assert len(asked) >= 6


# ---- notebooks


def test_cells_are_told_apart():
    script = '"""About."""\n# %% [markdown]\n# # Title\n#\n# text\n\n# %%\nx = 1\n\nx + 1\n'
    found = cells(script)
    assert found == [Cell("# Title\n\ntext", False), Cell("x = 1\n\nx + 1", True)]
    assert run("one", found) == [{}, {"text/plain": "2"}]


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(NOTEBOOKS.glob("*.py")), ids=lambda path: path.stem)
def test_a_notebook_runs(script):
    found = cells(script.read_text(encoding="utf-8"))
    gave = run(script.stem, found)
    assert found[0].text.startswith("# ")
    assert sum(bool(outputs) for outputs in gave) >= 2


# ---- the site


def test_the_reference_has_every_public_name():
    text = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    for name in nmsim.__all__:
        assert re.search(rf":: nmsim\.{name}$", text, re.MULTILINE), name


def test_links_hold_where_pages_are_moved_to(tmp_path):
    stage(tmp_path)
    placed = pages()
    assert "(../tensor-core.md#" in (tmp_path / placed["CHANGELOG.md"]).read_text(encoding="utf-8")
    for name, place in placed.items():
        text = re.sub(
            r"```.*?```", "", (tmp_path / place).read_text(encoding="utf-8"), flags=re.DOTALL
        )
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if "://" not in target:
                assert ((tmp_path / place).parent / target).exists(), f"{name}: {target}"


ANSWERS = ("From where", "What it was measured against", "What it is not good for")


NAMES = {place: tuple(sort.listing.names()) for place, sort in SORTS.items()}
"""What ships; other tests add pruners of their own, which stay."""


@pytest.mark.parametrize("place", SORTS)
def test_pages_of_a_catalog_say_what_from_where_how_near_and_what_not_for(place):
    sort = SORTS[place]
    for name in NAMES[place]:
        text = "\n\n".join(sort.page(name))
        parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
        said = dict(zip(parts[1::2], parts[2::2], strict=True))
        assert all(len(said[answer].strip()) > 5 for answer in ANSWERS), name
        assert len(parts[0]) > 20, name


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="extra docs")
    pytest.importorskip("myst_parser", reason="extra docs")
    pytest.importorskip("furo", reason="extra docs")
    done = subprocess.run(
        [sys.executable, DOCS / "site" / "build_site.py", "--out", tmp_path],
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    html = tmp_path / "html"
    for sort, listed in (("machines", "hardware"), ("networks", "models"), ("recipes", "recipes")):
        for name in LISTINGS[listed].names():
            assert (html / "catalog" / sort / f"{name}.html").is_file(), name
    assert 'class="cell-output"' in (html / "notebooks" / "gpu.html").read_text(encoding="utf-8")
