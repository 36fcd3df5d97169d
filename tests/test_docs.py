"""The examples in the docs are what they say they are."""

import inspect
import os
import re
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import nmsim
from nmsim.cli.listings.schemas import SCHEMAS
from nmsim.machines import KINDS, Kind, Machine, load_hardware
from nmsim.spec import validate

TEXT = (Path(__file__).parents[1] / "docs" / "files.md").read_text()
BLOCKS = [
    YAML(typ="safe", pure=True).load(block)
    for block in re.findall("```yaml\n(.*?)```", TEXT, re.DOTALL)
]

SWEEPS = [
    YAML(typ="safe", pure=True).load(block)
    for block in re.findall(
        "```yaml\n(.*?)```",
        (Path(__file__).parents[1] / "docs" / "sweeps.md").read_text(),
        re.DOTALL,
    )
]

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_readme_prints_what_its_main_job_prints(tmp_path):
    command = re.search(r"pip install \. && nmsim (simulate .*)$", README, re.MULTILINE)[1]
    (block,) = re.findall(r"```\n(training step.*?)```", README, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-m", "nmsim", *command.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    shown = [line.split() for line in done.stdout.splitlines()]  # rich 15 sets columns closer
    assert len(block.splitlines()) == 8
    assert [line for line in block.splitlines() if line.split() not in shown] == []
    assert (tmp_path / command.split()[-1] / "index.html").is_file()


def shipped(schema):
    """Whether a schema is nmsim's own; kinds in ``NMSIM_MACHINES`` have their pages elsewhere."""
    return Path(inspect.getfile(schema)).is_relative_to(Path(nmsim.__file__).parent)


SHIPPED = [name for name, schema in SCHEMAS.items() if shipped(schema)]
MACHINES = {block["kind"]: block for block in BLOCKS if block.get("kind") in KINDS}
OTHERS = [block for block in BLOCKS if block.get("kind") not in KINDS]
EXAMPLES = {**MACHINES, **dict(zip([s for s in SHIPPED if s not in KINDS], OTHERS, strict=True))}


def test_every_kind_of_yaml_has_an_example():
    assert set(EXAMPLES) == set(SHIPPED)


@pytest.mark.parametrize(("kind", "document"), list(EXAMPLES.items()))
def test_the_commented_examples_are_valid(kind, document):
    value = validate(SCHEMAS[kind], document, f"docs, {kind}")
    written = set(document) | {"name", "seed"}
    if kind == "experiment":  # what takes the place of lists has a page of its own
        for block in SWEEPS:
            validate(SCHEMAS[kind], block, "docs, sweeps")
            written |= set(block)
    if issubclass(SCHEMAS[kind], Machine):  # fields of every machine have a section of their own
        written |= set(Machine.model_fields)
    assert written >= {x.alias or name for name, x in SCHEMAS[kind].model_fields.items()}
    if kind == "model":
        forward = sum(gemm.macs for gemm in value.gemms(1) if gemm.phase == "forward")
        parts = sum(part.count for part in value.published.elsewhere)
        assert forward == value.published.macs
        assert value.weights + parts == value.published.parameters


PAGES = [ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "DESIGN", "CONTRIBUTING")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))


def anchors(page):
    """Names of a page's headings, as they are linked to."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_what_is_there(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        found = page.parent / file if file else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


PACKAGE = ROOT / "nmsim"
BASES = (PACKAGE, PACKAGE / "machines", PACKAGE / "machines" / "gpu")
NAMED = re.compile(r"`(?:nmsim[./])?([a-z_]+(?:[./]\w+)+)(?:\.py|/)?`")


def defined(path, parts):
    """Whether parts name a file below a folder, or something in a module there."""
    for depth, part in enumerate(parts):
        if (path / f"{part}.py").exists():
            left = parts[depth + 1 :]
            return not left or re.search(rf"\b{left[0]}\b", (path / f"{part}.py").read_text())
        if not (path / part).exists():
            return (path / "__init__.py").exists() and part in (path / "__init__.py").read_text()
        path /= part
    return True


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "CHANGELOG"])
def test_modules_that_pages_name_exist(page):
    """Written as ``systolic.memory`` or ``nmsim/files``: from the package, or from a kind."""
    for name in NAMED.findall(page.read_text()):
        first, *_ = parts = re.split(r"[./]", name.removesuffix(".py"))
        own = [base for base in BASES if (base / first).is_dir() or (base / f"{first}.py").exists()]
        placeholder = {"NAME", "KIND", "outer_product"} & set(parts)
        if own and not placeholder and not name.startswith("sm."):  # fields of a GPU
            assert any(defined(base, parts) for base in own), name


CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def test_the_example_of_a_pruner_keeps_its_promise(tmp_path):
    (example,) = re.findall("```python\n(.*?)```", CONTRIBUTING, re.DOTALL)
    check = """
import numpy as np
from nmsim import prune
values = np.arange(1.0, 23.0).reshape(2, 11)
for from_end, kept in ((False, [0, 1, 4, 5, 8, 9]), (True, [2, 3, 6, 7, 9, 10])):
    found = prune(values, "2:4", "first", from_end=from_end).mask
    assert [list(np.flatnonzero(row)) for row in found] == [kept, kept], found
"""
    (tmp_path / "example.py").write_text(example + check)
    subprocess.run([sys.executable, tmp_path / "example.py"], check=True)


def test_the_example_of_a_machine_is_one(tmp_path):
    (example,) = re.findall("```yaml\n(.*?)```", CONTRIBUTING, re.DOTALL)
    (tmp_path / "a100-half.yaml").write_text(example)
    machine = load_hardware(tmp_path / "a100-half.yaml")
    assert machine.sms == load_hardware(machine.based_on).sms / 2
    assert len(machine.source) > 100


def test_the_page_on_kinds_names_every_field_of_the_contract():
    text = (ROOT / "docs" / "kinds.md").read_text().partition("## The fields")[2]
    heads = re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE)
    named = [name for head in heads for name in re.findall(r"`(\w+)`", head)]
    assert named == [field.name for field in fields(Kind)]
    needed = [
        field.name
        for field in fields(Kind)
        if field.default is MISSING and field.default_factory is MISSING
    ]
    assert len(needed) == 9 == named.index("host")


def test_no_page_has_what_a_merge_left_open():
    pages = [ROOT / "README.md", *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    for page in pages:
        lines = page.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if line.startswith(("<<<<<<< ", ">>>>>>> "))], page
