"""A user's script, type-checked against the installed wheel."""

import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import nmsim

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent

RIGHT = """
from pathlib import Path
from typing import assert_type

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import nmsim
from nmsim import Gemm, NmsimError, load_model
from nmsim.pruning import pruner

table = nmsim.simulate("resnet18", recipe="asp", pattern="2:4", batch=8, phases=["forward"])
frame: pd.DataFrame = table
assert_type(table.answer, str)
other: pd.DataFrame = nmsim.simulate([Gemm(64, 64, 128, layer="mine")], compare=False)

array = nmsim.load_hardware(Path("mine.yaml"), rows=32, **{"dram.gbps": 100})
nmsim.simulate("bert-base", hardware=array)

assert_type(load_model("resnet18").gemms(batch=4), list[Gemm])
gemm = Gemm(m=64, n=64, k=128, count=2)
assert_type(gemm.macs, int)

pruned = nmsim.prune(np.ones((4, 8)), nmsim.Pattern.parse("2:4"), "transposable", exact=True)
assert_type(pruned.mask, NDArray[np.bool_])
values, mask = nmsim.prune([3.0, -1.0, 0.5, 2.0], "2:4", seed=1)

kept = nmsim.memory_footprint("resnet18", recipe="asp", optimizer="adam", hardware=array)
print(kept.total()["weights"]["ratio"])

trained = nmsim.train("resnet18", steps=100, recipe="asp", batch=32)
print(len(trained.segments), trained.dense)

try:
    load_model("resnet81")
except NmsimError as error:
    print(error, nmsim.__version__, nmsim.schedules, nmsim.statistics, pruner)
"""

# Each line is wrong, and says how mypy calls that.
WRONG = """
import nmsim
nmsim.simulate()  # call-arg
nmsim.simulate(3)  # arg-type
nmsim.simulate("resnet18", batch="8")  # arg-type
nmsim.simulate("resnet18", batches=8)  # call-arg
nmsim.simulates("resnet18")  # attr-defined
nmsim.load_hardware()  # call-arg
nmsim.load_hardware(128)  # arg-type
nmsim.load_model(18)  # arg-type
nmsim.load_model("resnet18").gemms(batch="1")  # arg-type
nmsim.load_model("resnet18").gems()  # attr-defined
nmsim.prune([1.0, 2.0])  # call-arg
nmsim.prune([1.0, 2.0], 2)  # arg-type
nmsim.prune([1.0, 2.0], "1:2").weights  # attr-defined
nmsim.Gemm(1, 2)  # call-arg
nmsim.Gemm("1", 2, 3)  # arg-type
nmsim.Gemm(1, 2, 3).m = 4  # misc
nmsim.memory_footprint("resnet18", optimizer=2)  # arg-type
nmsim.memory_footprint("resnet18").totals()  # attr-defined
nmsim.train("resnet18")  # call-arg
nmsim.train("resnet18", steps="10")  # arg-type
nmsim.train("resnet18", steps=10).rows  # attr-defined
nmsim.import_module("os")  # attr-defined
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An interpreter of its own with the wheel alone, beside what it depends on."""
    for library in ("hatchling", "mypy"):
        pytest.importorskip(library, reason=f"{library} comes with the extra lint")
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory"]
    subprocess.run([*build, str(folder)], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", symlinks=True)
    interpreter = folder / "venv" / "bin" / "python"
    site_packages = next((folder / "venv").glob("lib/python*/site-packages"))
    # A path file inside a folder that is named here is not read: an editable nmsim stays out.
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    install = [sys.executable, "-m", "pip", "--python", str(interpreter), "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "--no-index", str(wheel)], check=True)
    return interpreter


@pytest.fixture(scope="module")
def types_of(python):
    """What mypy --strict says of a script, away from the sources."""
    folder = python.parents[2]

    def check(script):
        (folder / "user.py").write_text(script, "utf-8")
        command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python)]
        command += ["--config-file", "", "--no-pretty", "user.py"]
        command += ["--cache-dir", str(folder / "mypy")]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        return run.stdout

    return check


def test_the_wheel_is_what_is_imported(python):
    command = [str(python), "-I", "-c", "import nmsim; print(nmsim.__file__, nmsim.__version__)"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert Path(found[0]).is_relative_to(python.parents[1])
    assert found[1] in (ROOT / "CITATION.cff").read_text("utf-8")


def test_a_script_that_is_right_has_no_errors(types_of):
    assert types_of(RIGHT) == "Success: no issues found in 1 source file\n"


def test_every_wrong_use_is_reported_where_it_is(types_of):
    said = types_of(WRONG)
    found = re.findall(r"^user\.py:(\d+): error: .*\[([a-z-]+)\]$", said, re.MULTILINE)
    lines = enumerate(WRONG.splitlines(), 1)
    wanted = [(str(n), line.split("  # ")[1]) for n, line in lines if "  # " in line]
    assert found == wanted, said


def test_every_public_name_has_a_type(types_of):
    said = types_of("import nmsim\n" + "".join(f"reveal_type(nmsim.{n})\n" for n in nmsim.__all__))
    revealed = re.findall(r'Revealed type is "(.*)"', said)
    assert len(revealed) == len(nmsim.__all__), said
    assert "Any" not in revealed
