"""A kind of machine is one folder: one can be added without an edit elsewhere, or taken away."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nmsim
from nmsim.cli.commands.describe import schema
from nmsim.errors import NmsimError
from nmsim.machines import KINDS, load_hardware

HERE = Path(__file__).parent
PACKAGE = Path(nmsim.__file__).parent


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A folder outside the package that holds a kind of machine."""
    folder = tmp_path_factory.mktemp("elsewhere")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(HERE / "kinds" / "outer_product", folder / "outer_product", ignore=ignored)
    return folder


@pytest.fixture(scope="module")
def with_it(elsewhere, tmp_path_factory):
    """Run a module of Python where the package finds that kind too."""
    where = tmp_path_factory.mktemp("work")

    def run(*arguments, cwd=where, code=0):
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=cwd,
            env={
                **os.environ,
                "NMSIM_MACHINES": str(elsewhere),
                "PYTHONPATH": str(PACKAGE.parent),
            },
            capture_output=True,
            check=False,
            text=True,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    run.where = where
    return run


@pytest.mark.slow
def test_it_is_listed_and_shown(with_it):
    assert "outer-32x16" in with_it("nmsim", "list", "hardware")
    assert "outer-product-cycle" in with_it("nmsim", "list", "engines")
    assert "products along M of one cycle" in with_it("nmsim", "show", "hardware", "outer-32x16")
    document = json.loads(with_it("nmsim", "show", "schema", "outer-product"))
    assert "dram_gbps" in json.dumps(document)


def test_it_simulates_with_columns_of_its_own(with_it):
    run = ("nmsim", "simulate", "resnet18", "--recipe", "fst", "--hardware", "outer-32x16")
    only = ("--layer", "layer1.0.conv1", "--set", "rows=16")
    document = json.loads(with_it(*run, *only, "--format", "json"))
    rows = {row["phase"]: row for row in document["rows"]}
    assert (rows["update"]["compressed"], rows["forward"]["compressed"]) == ("b", "")
    assert rows["update"]["speedup"] > 1.5 > rows["forward"]["speedup"] == 1
    assert int(rows["update"]["columns_skipped"]) == rows["update"]["k"] / 2


@pytest.mark.slow
def test_its_page_has_its_columns(with_it):
    run = ("nmsim", "simulate", "resnet18", "--recipe", "fst", "--hardware", "outer-32x16")
    with_it(*run, "--layer", "layer1.0.conv1", "--set", "rows=16", "--out", "page")
    assert "outer-32x16" in (with_it.where / "page" / "index.html").read_text(encoding="utf-8")
    assert "columns_skipped" in (with_it.where / "page" / "results.csv").read_text()


@pytest.mark.slow
def test_it_sweeps_keeps_memory_and_trains(with_it):
    experiment = with_it.where / "sweep.yaml"
    experiment.write_text(
        "title: two kinds\nmodels: [vit-tiny]\nrecipes: [fst]\n"
        "hardware: [outer-32x16, ideal]\npatterns: [1:2, 2:4]\n"
    )
    with_it("nmsim", "sweep", str(experiment), "--out", "swept", "--workers", "2")
    with_it("nmsim", "report", "swept")
    table = (with_it.where / "swept" / "results.csv").read_text()
    assert table.count("outer-32x16") == table.count(",ideal,")
    found = with_it("nmsim", "memory", "resnet18", "--recipe", "fst", "--hardware", "outer-32x16")
    assert "activations" in found
    train = ("nmsim", "train", "vit-tiny", "--recipe", "fst", "--hardware", "outer-32x16")
    assert "speed-up" in with_it(*train, "--steps", "100")


@pytest.mark.slow
def test_it_passes_the_conformance_suite(with_it):
    told = with_it(
        "pytest", "-v", "-v", "-p", "no:cacheprovider", "-n0", "-k", "outer or engines",
        "-m", "slow or not slow",
        "tests/test_conformance.py", cwd=PACKAGE.parent,
    )  # fmt: skip
    passed = {line.partition("::")[2].partition(" ")[0] for line in told.splitlines()
              if " PASSED" in line}  # fmt: skip
    for test in ("runs_gemms[outer-32x16-cycle]", "contract[outer-product]",
                 "every_kind_of_machine[resnet18-outer-product]"):  # fmt: skip
        assert any(name.endswith(test) for name in passed), told
    assert "FAILED" not in told


def test_what_the_package_lacks_is_a_miss():
    with pytest.raises(NmsimError, match="unknown kind 'outer-product'"):
        load_hardware(HERE / "kinds" / "outer_product" / "catalog" / "outer-32x16.yaml")
    with pytest.raises(NmsimError, match="schema 'outer-product'"):
        schema("outer-product")


@pytest.mark.slow
@pytest.mark.parametrize("gone", list(KINDS))
def test_the_other_kinds_stand_without_one(gone, tmp_path):
    """Whatever one kind's folder holds, the tests of the others do not need it.

    All of the others' where a neighbour with tests of its own is gone, else some of each.
    """
    root = PACKAGE.parent
    for name in ("nmsim", "models", "tests"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    kernels = Path("nmsim", "__pycache__", "kernels")  # of sources that are the same
    if (root / kernels).is_dir():
        shutil.copytree(root / kernels, tmp_path / kernels)
    shutil.rmtree(tmp_path / "nmsim" / "machines" / gone)
    suites = {
        "systolic": ["test_systolic.py", "test_systolic_oracle.py", "test_intersect.py"],
        "gpu": ["test_sm.py", "test_sm_oracle.py", "test_waves.py", "test_tensor_core.py"],
        "ideal": [],
    }
    some = None if suites[gone] else 1
    others = [file for kind, files in suites.items() if kind != gone for file in files[:some]]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-x",
         *(f"tests/{file}" for file in ("test_conformance.py", *others))],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        check=False,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]


# ---- folders that hold no kind, or one of a name that is taken


def started(folders, *command):
    """Status and what is said of a command where kinds are looked for in folders."""
    done = subprocess.run(
        [sys.executable, "-m", "nmsim", *(command or ("list", "hardware"))],
        env={**os.environ, "NMSIM_MACHINES": str(folders), "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        check=False,
        text=True,
    )
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("lacking", ["nowhere", "a file", "scripts alone", "a name too long"])
def test_a_folder_without_kinds_is_told_in_one_line(tmp_path, lacking):
    folder = tmp_path / "mine"
    if lacking == "a file":
        folder.write_text("no folder")
    elif lacking == "scripts alone":
        folder.mkdir()
        (folder / "script.py").write_text("raise SystemExit('was run')")
    elif lacking == "a name too long":
        folder = "n" * 5000
    status, said = started(folder)
    shown = re.escape(str(folder)) if len(str(folder)) < 500 else r"n+\.\.\.n+"  # by its ends
    expected = "expected a folder that holds a package for each kind"
    assert re.fullmatch(f"nmsim: NMSIM_MACHINES: {shown}: {expected}\n", said)
    assert (status, len(said) < 700) == (2, True)


@pytest.mark.slow
def test_a_kind_does_not_take_the_name_of_another(tmp_path):
    (tmp_path / "gpu").mkdir()
    (tmp_path / "gpu" / "__init__.py").write_text("")
    said = f"nmsim: NMSIM_MACHINES: {tmp_path}: 'gpu' is taken, expected another name\n"
    assert started(tmp_path) == (2, said)


def test_a_package_that_registers_no_kind_is_told(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("")
    said = "nmsim: nmsim.machines.mine: its folder registers no kind of machine in KINDS\n"
    assert started(tmp_path) == (2, said)


@pytest.mark.slow
def test_a_machine_does_not_take_the_name_of_another(elsewhere, tmp_path):
    shutil.copytree(elsewhere / "outer_product", tmp_path / "outer_product")
    catalog = tmp_path / "outer_product" / "catalog"
    (catalog / "outer-32x16.yaml").rename(catalog / "ideal.yaml")
    status, said = started(tmp_path)
    assert status == 2
    assert said.count("\n") == 1
    assert "ideal.yaml has that name too, expected another" in said


@pytest.mark.slow
def test_a_kind_may_ship_no_machines(elsewhere, tmp_path):
    shutil.copytree(elsewhere / "outer_product", tmp_path / "outer_product")
    shutil.rmtree(tmp_path / "outer_product" / "catalog")
    assert started(tmp_path) == (0, "")
