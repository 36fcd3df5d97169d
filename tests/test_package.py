"""What the package promises to those who import it, install it and cite it."""

import re
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import nmsim

ROOT = Path(__file__).parent.parent

NAMES = [
    "Gemm",
    "Mask",
    "NmsimError",
    "Pattern",
    "SparseGemm",
    "Trace",
    "load_hardware",
    "load_model",
    "load_results",
    "memory_footprint",
    "prune",
    "schedules",
    "serve",
    "simulate",
    "statistics",
    "torch",
    "train",
]


def in_a_fresh_interpreter(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_the_public_names_are_these():
    assert sorted(nmsim.__all__) == NAMES


def test_dir_lists_the_public_names_and_the_version_and_nothing_else():
    wanted = sorted([*NAMES, "__version__"])
    assert dir(nmsim) == wanted
    assert in_a_fresh_interpreter("import nmsim; print(*dir(nmsim))") == wanted
    used = "import nmsim, nmsim.pruning; nmsim.train, nmsim.simulate; print(*dir(nmsim))"
    assert in_a_fresh_interpreter(used) == wanted


def test_a_star_import_brings_every_public_name():
    star = "own = {*globals(), 'own'}; from nmsim import *; print(*sorted({*globals()} - own))"
    assert in_a_fresh_interpreter(star) == NAMES


def test_prune_is_a_function_and_pruning_a_package():
    asked = "import nmsim, nmsim.pruning; print(*(type(nmsim.prune), type(nmsim.pruning)))"
    assert in_a_fresh_interpreter(asked) == ["<class", "'function'>", "<class", "'module'>"]
    assert isinstance(nmsim.schedules, types.ModuleType)
    assert isinstance(nmsim.statistics, types.ModuleType)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'nmsim' has no attribute 'prunes'"):
        _ = nmsim.prunes


def test_importing_the_package_imports_none_of_what_takes_time():
    loaded = "import sys, nmsim; print(*({'numba', 'numpy', 'pandas'} & set(sys.modules)), '.')"
    assert in_a_fresh_interpreter(loaded) == ["."]


def test_version_and_date_are_the_same_in_every_place():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    newest = re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    cited = YAML(typ="safe", pure=True).load(ROOT / "CITATION.cff")
    assert cited["version"] == version
    assert newest[1] == f"{version} ({cited['date-released'].isoformat()})"


def test_the_citation_holds_what_its_format_asks_for():
    cited = YAML(typ="safe", pure=True).load(ROOT / "CITATION.cff")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= cited.keys()
    assert all({"name"} == author.keys() for author in cited["authors"])
    assert (cited["title"], cited["license"]) == (project["name"], project["license"])
    assert set(cited["keywords"]) == set(project["keywords"])


def test_python_versions_are_declared_from_the_lowest_on():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = re.findall(r"Python :: 3\.(\d+)", " ".join(project["classifiers"]))
    lowest = int(project["requires-python"].removeprefix(">=3."))
    assert [int(minor) for minor in declared] == list(range(lowest, lowest + len(declared)))
