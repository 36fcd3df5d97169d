"""Pruners of one's own: from a file, a folder, a notebook's cell, an installed package."""

import hashlib
import json
import re
import sys
from importlib.metadata import EntryPoint
from pickle import dumps, loads

import numpy as np
import pytest
from swept import points_of
from typer.testing import CliRunner

import nmsim
from nmsim import registry
from nmsim.cli import app
from nmsim.errors import NmsimError, SpecError, UnknownName
from nmsim.mask.words import unpack
from nmsim.network.tensors import Synthetic
from nmsim.pruning import PRUNERS, prune, read_plugins
from nmsim.recipes.recipe import load_recipe
from nmsim.run import trace
from nmsim.run.experiment import read_experiment
from nmsim.run.point import Point, rows

WANDA = '''"""Wanda: the largest |weight| times the norm of its input."""

import numpy as np

from nmsim.pruning import Block, pruner
from nmsim.pruning.magnitude import keep_largest


@pruner(
    "my-wanda",
    summary="keeps the N largest |weight| times the norm of its input",
    source="Sun et al., ICLR 2024, Eq. 1",
    regular=True,
)
def wanda(block: Block, *, norms: np.ndarray) -> None:
    """Keep the N largest |w| times |x| of every group; ties keep the lowest index."""
    keep_largest(block, np.abs(block.values) * norms)
'''

PRUNER = """
import numpy as np
from nmsim.pruning import pruner
from nmsim.pruning.magnitude import magnitude
@pruner("own", summary="s", source="s", {traits})
def own(block{asks}):
    {body}
"""
EVERY = "block.keep(np.ones(block.values.shape, bool))"
NONE = "block.keep(np.zeros(block.values.shape, bool))"
LEFT = "magnitude(block); block.out_values[...] = block.values"


@pytest.mark.parametrize(
    ("traits", "asks", "body", "why"),
    [
        (
            "regular=False",
            "",
            EVERY,
            "'own' keeps 2 more of a group than 2:4 allows",
        ),
        ("regular=True", "", EVERY, "'own' keeps 2 more of a group than 2:4 allows"),
        ("regular=True", "", NONE, "'own' keeps 2 fewer of a group than 2:4 has, .* regular"),
        ("regular=True", "", LEFT, "'own' leaves values where it prunes, expected zeros"),
        ("regular=True, transposable=True", "", "magnitude(block)", "more of a group than 2:4"),
        ("regular=True", ", *, layer", "{}[layer]", r"'own' failed \(KeyError: 'fc'\)"),
        (
            "regular=True",
            "",
            "block.keep(np.ones((1, 3)))",
            r"'own' failed \(ValueError: could",
        ),
        ("regular=True, unit='bogus'", "", "magnitude(block)", "unit is 'bogus', expected one of"),
    ],
)
@pytest.mark.parametrize("hardware", ["ideal", "systolic-128x128-2to4"])
def test_a_pruner_is_held_to_what_it_says_before_it_is_believed(
    tmp_path, hardware, traits, asks, body, why
):
    (tmp_path / "own.py").write_text(PRUNER.format(traits=traits, asks=asks, body=body))
    (tmp_path / "r.yaml").write_text(
        "operands: [{role: weight, phases: [forward], pruner: ./own.py}]"
    )
    (tmp_path / "m.yaml").write_text(
        "layers: [{name: fc, type: linear, in_features: 16, out_features: 32}]"
    )
    with pytest.raises(NmsimError) as refused:
        nmsim.simulate(tmp_path / "m.yaml", recipe=tmp_path / "r.yaml", hardware=hardware)
    assert re.search(why, str(refused.value))
    assert "\n" not in str(refused.value)


RECIPE = """
summary: weights by a pruner of one's own
source: a test, of this very file
operands:
  - {role: weight, phases: [forward], pruner: ./wanda.py}
"""

FIRST = '''
from nmsim.pruning import pruner
@pruner("{name}", summary="s", source="s", regular=True)
def one(block):
    """Keep the first."""
    block.keep((np.arange(block.values.shape[1]) % block.pattern.group) {kept}
                + np.zeros(block.values.shape, bool))
import numpy as np
'''


@pytest.fixture(autouse=True)
def _only_here(monkeypatch):
    """What a test registers is not there for the next one."""
    assert len(PRUNERS)  # those of the package are there to stay
    for name in ("_things", "_makers", "_files"):
        monkeypatch.setattr(PRUNERS, name, dict(getattr(PRUNERS, name)))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "wanda.py").write_text(WANDA)
    (tmp_path / "own.yaml").write_text(RECIPE)
    return tmp_path


def nmsim_(*command):
    """What a command prints; its one line if it fails."""
    result = CliRunner().invoke(app, list(map(str, command)))
    if result.exception and not isinstance(result.exception, SystemExit):
        return str(result.exception)
    return result.output


def synthetic(layer, *, tensor, batch):
    """A tensor of a network's layer as the run draws it."""
    blocks = list(Synthetic(0).blocks(layer, tensor, batch))
    return np.concatenate(blocks)


def test_wanda_is_a_file_of_20_lines():
    assert WANDA.count("\n") <= 20


def test_a_recipe_names_a_file_and_a_run_reads_norms_and_says_so(folder):
    table = nmsim.simulate("gemm:24x8x64", recipe=folder / "own.yaml", hardware="systolic-16x16")
    assert "my-wanda mask of the weight by synthetic activations, seed 0" in table["note"][0]
    about = table.manifest["plugins"]
    sha256 = hashlib.sha256(WANDA.encode()).hexdigest()
    assert about == [{"pruner": "my-wanda", "file": str(folder / "wanda.py"), "sha256": sha256}]


def test_the_mask_of_a_run_is_that_of_its_synthetic_activations(folder):
    point = Point("vit-tiny", recipe=folder / "own.yaml", layers="*fc1", batch=2)
    (work,) = (work for work in point.sparse_gemms() if work.gemm.phase == "forward")
    layer = next(one for one in point.workload.layers if one.name == work.gemm.layer)
    weight = synthetic(layer, tensor="weight", batch=2)
    norms = np.linalg.norm(synthetic(layer, tensor="activation", batch=2).astype(float), axis=0)
    scores = np.abs(weight) * norms
    groups = scores.reshape(len(weight), -1, 4)
    expected = (groups >= np.sort(groups, -1)[..., 2:3]).reshape(weight.shape)
    assert (unpack(work.b.words, work.k) == expected).all()
    assert (expected != prune(weight, "2:4").mask).mean() > 0.01


def test_commands_simulate_trace_and_draw_it(folder):
    own = ("--recipe", folder / "own.yaml", "--hardware", "systolic-16x16")
    nmsim_("simulate", "gemm:8x8x16", *own, "--out", folder / "one")
    about = json.loads((folder / "one" / "manifest.json").read_text())
    assert about["plugins"][0]["pruner"] == "my-wanda"
    page = (folder / "one" / "index.html").read_text()
    assert "pruner my-wanda" in page
    assert "synthetic activations" in page
    recorded = folder / "t.safetensors"
    nmsim_("trace", "record", "gemm:8x8x16", "--recipe", folder / "own.yaml", "--out", recorded)
    assert trace.load(recorded).provenance["plugins"] == about["plugins"]
    assert "digests" in nmsim_("trace", "check", recorded)


@pytest.mark.slow
def test_workers_of_a_sweep_see_it(folder):
    (folder / "named.yaml").write_text(RECIPE.replace("./wanda.py", "my-wanda"))
    (folder / "sweep.yaml").write_text(
        "title: own\nmodels: ['gemm:8x8x16']\nrecipes: [own.yaml, named.yaml]\npatterns: ['2:4']\n"
        "hardware: [systolic-16x16]\nfidelities: [cycle]\nplugins: [wanda.py]\n"
    )
    nmsim_("sweep", folder / "sweep.yaml", "--out", folder / "out", "--workers", "2")
    about = json.loads((folder / "out" / "manifest.json").read_text())
    assert [one["pruner"] for one in about["plugins"]] == ["my-wanda"]
    results = (folder / "out" / "results.csv").read_text()
    assert results.count("my-wanda mask of the weight by synthetic activations") == 2
    assert "pruner my-wanda" in (folder / "out" / "index.html").read_text()


def test_a_point_brings_its_files_to_another_process(folder):
    (folder / "named.yaml").write_text(RECIPE.replace("./wanda.py", "my-wanda"))
    recipe = load_recipe(folder / "own.yaml")
    named = dumps(Point("gemm:8x8x16", recipe=folder / "named.yaml", plugins=folder / "wanda.py"))
    whole = dumps(recipe)
    PRUNERS._things.pop("my-wanda"), PRUNERS._files.clear()  # as in a process that has read nothing
    with pytest.raises(UnknownName):
        PRUNERS["my-wanda"]
    assert loads(named).setting.recipe.operands[0].pruner == "my-wanda"
    PRUNERS._things.pop("my-wanda"), PRUNERS._files.clear()
    load_recipe(loads(whole))
    assert PRUNERS["my-wanda"].wants == ("norms",)


def test_an_experiment_names_files_from_its_own_folder(folder):
    (folder / "named.yaml").write_text(RECIPE.replace("./wanda.py", "my-wanda"))
    (folder / "sweep.yaml").write_text(
        "title: own\nmodels: ['gemm:8x8x16']\nrecipes: [named.yaml]\npatterns: ['2:4']\n"
        "hardware: [systolic-16x16]\nfidelities: [cycle]\nplugins: [wanda.py]\n"
    )
    (point,) = points_of(read_experiment(folder / "sweep.yaml"))
    assert "my-wanda" in next(rows(point))["note"]


def test_plugins_are_listed_and_shown(folder):
    assert "my-wanda" in nmsim_("list", "pruners", "--plugins", folder)
    shown = nmsim_("show", "pruners", "my-wanda", "--plugins", folder / "wanda.py")
    assert "wanda.py" in "".join(shown.split())
    assert "norms" in shown


def test_an_edited_file_replaces_what_it_had(tmp_path):
    path, values = tmp_path / "p.py", np.arange(1.0, 5.0)[None]
    path.write_text(FIRST.format(name="edited", kept="< 2"))
    assert read_plugins([path]) == ("edited",)
    assert prune(values, "2:4", "edited").mask.tolist() == [[True, True, False, False]]
    path.write_text(FIRST.format(name="edited", kept=">= 2"))  # of the same length, at once
    assert prune(values, "2:4", str(path)).mask.tolist() == [[False, False, True, True]]
    assert prune(values, "2:4", "edited").mask.tolist() == [[False, False, True, True]]
    path.write_text(FIRST.format(name="renamed", kept="< 2"))
    assert read_plugins([path]) == ("renamed",)
    with pytest.raises(UnknownName, match="'edited'"):
        prune(values, "2:4", "edited")
    path.write_text("broken(")
    with pytest.raises(SpecError, match=r"p.py: cannot be imported"):
        read_plugins([path])
    assert "renamed" in list(PRUNERS)  # as it was before the edit that cannot be read


def test_a_recipe_that_was_read_sees_the_edit(folder):
    values = np.array([[1.0, 2.0, 3.0, 4.0]])
    assert load_recipe(folder / "own.yaml").operands[0].pruner == "my-wanda"
    (folder / "wanda.py").write_text(FIRST.format(name="my-wanda", kept="< 2"))
    load_recipe(folder / "own.yaml")
    assert prune(values, "2:4", "my-wanda").mask.tolist() == [[True, True, False, False]]


def test_a_cell_that_is_run_again_replaces(tmp_path):
    def cell(kept):
        code = compile(FIRST.format(name="of-a-cell", kept=kept), "<cell>", "exec")
        exec(code, {"__name__": "__main__"})

    cell("< 2")
    cell(">= 2")
    assert prune([[1.0, 2, 3, 4]], "2:4", "of-a-cell").mask.tolist() == [[False, False, True, True]]
    assert PRUNERS.origin("of-a-cell").file == "<cell>"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_module", "line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1\n1 / 0", "line 2: ZeroDivisionError: division by zero"),
        ("def (", "line 1: SyntaxError: "),
        ("import sys\nsys.exit(3)", "line 2: SystemExit: 3"),
        ("x = 1", "defines no pruner, expected one under @pruner"),
        (FIRST.format(name="magnitude", kept="< 2"), "pruner 'magnitude' is taken"),
        (WANDA.replace("regular=True", "reglar=True"), "pruner 'my-wanda': .*'reglar'"),
        (WANDA.replace("norms:", "norm:"), "option 'norm': expected a default, or one of layer,"),
    ],
)
def test_what_is_no_plugin_is_refused_in_one_line_that_names_the_file(tmp_path, text, said):
    path = tmp_path / "mine.py"
    path.write_text(text)
    before = list(PRUNERS)
    with pytest.raises(SpecError, match=f"^{path}: .*{said}") as refused:
        read_plugins([path])
    assert "\n" not in str(refused.value)
    assert list(PRUNERS) == before
    (tmp_path / "r.yaml").write_text(RECIPE.replace("./wanda.py", "./mine.py"))
    with pytest.raises(SpecError, match=f"{tmp_path / 'r.yaml'}: operands.*{path}: "):
        load_recipe(tmp_path / "r.yaml")


def test_a_name_of_another_file_is_taken(folder):
    (folder / "other.py").write_text(WANDA + "\n")
    read_plugins([folder / "wanda.py"])
    with pytest.raises(SpecError, match=r"other.py: pruner 'my-wanda' is taken"):
        read_plugins([folder / "other.py"])
    (folder / "copy.py").write_text(WANDA)
    assert read_plugins([folder / "copy.py"]) == ("my-wanda",)


@pytest.mark.parametrize("wrong", ["none.py", "", "empty"])
def test_what_is_not_there_is_refused(tmp_path, wrong):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NmsimError, match=f"{wrong}: (cannot be read|expected a folder that holds)"):
        read_plugins([tmp_path / wrong])


def offered(monkeypatch, tmp_path, text, name="packaged"):
    """An installed package with a pruner as an entry point."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"{name}_module.py").write_text(text)
    point = EntryPoint(name, f"{name}_module", "nmsim.pruners")
    found = {"nmsim.pruners": [point]}
    monkeypatch.setattr(registry, "entry_points", lambda group: found[group])
    monkeypatch.delitem(sys.modules, f"{name}_module", raising=False)


def test_an_installed_package_offers_a_pruner(monkeypatch, tmp_path):
    offered(monkeypatch, tmp_path, FIRST.format(name="packaged", kept="< 2"))
    assert "packaged" not in PRUNERS._things  # loaded when it is asked for
    assert prune([[1.0, 2, 3, 4]], "2:4", "packaged").mask.tolist() == [[True, True, False, False]]
    assert "packaged" in list(PRUNERS)
    file, sha256 = PRUNERS.origin("packaged")
    assert file == str(tmp_path / "packaged_module.py")
    assert sha256 == hashlib.sha256((tmp_path / "packaged_module.py").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_module", "cannot be imported .*no_such_module"),
        (FIRST.format(name="else", kept="< 2"), "registers no pruner 'packaged'"),
        (FIRST.format(name="magnitude", kept="< 2"), "pruner 'magnitude' is taken"),
    ],
)
def test_a_package_that_breaks_is_named_and_hinders_no_other(monkeypatch, tmp_path, text, said):
    offered(monkeypatch, tmp_path, text)
    assert prune([[1.0, 2, 3, 4]], "2:4").mask.sum() == 2
    with pytest.raises(SpecError, match=f"entry point 'packaged' of .*packaged_module.*{said}"):
        PRUNERS["packaged"]
