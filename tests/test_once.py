"""What files say is read once for each content, and what takes long to load is loaded when used."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from nmsim import cli, load_hardware, load_model
from nmsim.files import once_per_content, remembered, rests_on
from nmsim.gemm import Gemm
from nmsim.machines import HARDWARE, simulate_dense
from nmsim.machines.gpu.kernels import KERNELS
from nmsim.network.catalog import MODELS
from nmsim.recipes.recipe import load_recipe

LONG_AGO = 10**18


def write(path, text, changed_ns=LONG_AGO):
    """Write a file in place, as if at a given time."""
    path.write_text(text)
    os.utime(path, ns=(changed_ns, changed_ns))
    return path


def replace(path, text, changed_ns=LONG_AGO):
    """Write a file beside another and rename it there, as editors do."""
    write(path.with_suffix(".aside"), text, changed_ns).replace(path)


@pytest.fixture
def read():
    """Texts of files, and how often one was read."""
    seen = []

    @once_per_content
    def text_of(path):
        rests_on(path)
        seen.append(path)
        return path.read_text() if path.exists() else ""

    text_of.seen = seen
    return text_of


def test_a_file_is_read_once(read, tmp_path):
    file = write(tmp_path / "a", "one")
    assert [read(file) for _ in range(3)] == ["one"] * 3
    assert read.seen == [file]


@pytest.mark.parametrize(
    ("put", "text", "changed_ns"),
    [
        pytest.param(write, "three", LONG_AGO, id="size"),
        pytest.param(write, "two", LONG_AGO + 1, id="time"),
        pytest.param(replace, "two", LONG_AGO, id="inode"),
    ],
)
def test_a_file_is_read_again_once_one_thing_of_it_differs(read, tmp_path, put, text, changed_ns):
    file = write(tmp_path / "a", "one")
    read(file)
    put(file, text, changed_ns)
    assert [read(file), read(file)] == [text, text]
    assert len(read.seen) == 2


def test_what_was_written_just_now_is_not_known_by_its_time(read, tmp_path):
    file = tmp_path / "a"
    for text in ("one", "two", "six"):
        stat = file.stat() if file.exists() else None
        file.write_text(text)
        if stat:
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert read(file) == text


def test_a_file_that_appears_is_read(read, tmp_path):
    assert read(tmp_path / "a") == ""
    write(tmp_path / "a", "one")
    assert read(tmp_path / "a") == "one"


def test_what_rests_on_what_rests_on_a_file_follows_it(read, tmp_path):
    file = write(tmp_path / "a", "one")
    twice = once_per_content(lambda path: 2 * read(path))
    asked = []
    remember = remembered(8)(lambda key: asked.append(key) or key)
    assert [twice(file), twice(file), remember(1), remember(1)] == ["oneone", "oneone", 1, 1]
    write(file, "three")
    assert [twice(file), remember(1)] == ["threethree", 1]
    assert asked == [1, 1], "what was remembered is forgotten with the file"


def test_an_exception_is_not_remembered(tmp_path):
    @once_per_content
    def strict(path):
        rests_on(path)
        return path.read_text()

    with pytest.raises(FileNotFoundError):
        strict(tmp_path / "a")
    assert strict(write(tmp_path / "a", "one")) == "one"


@pytest.fixture
def narrow(tmp_path):
    """A machine of one's own, based on another of one's own."""
    write(tmp_path / "base.yaml", "based_on: scale-sim\nsummary: a base\nsource: s\nrows: 16\n")
    return write(
        tmp_path / "own.yaml", "based_on: ./base.yaml\nsummary: own\nsource: s\ncols: 16\n"
    )


def test_equal_machines_are_one_object(narrow):
    assert load_hardware("scale-sim") is load_hardware(Path("scale-sim"))
    assert load_hardware("scale-sim", rows=8) is load_hardware("scale-sim", rows=8)
    assert load_hardware("scale-sim", rows=8) is not load_hardware("scale-sim")
    assert load_hardware(load_hardware(narrow)) is load_hardware(narrow)
    machine = load_hardware(narrow)
    assert pickle.loads(pickle.dumps(machine)) == machine
    assert machine.model_copy(update={"rows": 8}) != machine


def test_a_value_of_another_type_is_another_value():
    assert load_hardware("scale-sim", rows=1).rows == 1
    with pytest.raises(ValueError, match="rows is True"):
        load_hardware("scale-sim", rows=True)
    with pytest.raises(ValueError, match=r"rows is 1\.0"):
        load_hardware("scale-sim", rows=1.0)


def test_an_edited_machine_is_read_again_and_so_is_its_base(narrow):
    assert load_hardware(narrow).rows == 16
    write(narrow, narrow.read_text().replace("cols: 16", "cols: 256"))
    assert load_hardware(narrow).cols == 256
    base = narrow.with_name("base.yaml")
    replace(base, base.read_text().replace("rows: 16", "rows: 32"))
    assert (load_hardware(narrow).rows, load_hardware(narrow, cols=8).rows) == (32, 32)


def test_a_document_is_not_changed_by_who_reads_it():
    before = repr(HARDWARE.document("a100-sxm4-80gb"))
    load_hardware("a100-sxm4-80gb", **{"timing.wave_us": 9.0, "libraries.0.dtypes": ()})
    assert repr(HARDWARE.document("a100-sxm4-80gb")) == before


def test_an_edited_kernel_set_is_run_anew(tmp_path):
    text = KERNELS.path("cublas-sm80").read_text()
    kernels = write(tmp_path / "kernels.yaml", text)
    libraries = [
        {**one, "kernels": str(kernels)} if one["kernels"] == "cublas-sm80" else one
        for one in HARDWARE.document("a100-sxm4-80gb")["libraries"]
    ]

    def run():
        machine = load_hardware("a100-sxm4-80gb", libraries=libraries)
        return simulate_dense(machine, Gemm(4096, 4096, 4096), "analytical")

    before = run()
    assert run() is before
    assert "256x128" in before.kernel
    write(kernels, "".join(line for line in text.splitlines(True) if "[256,128," not in line))
    assert "256x128" not in run().kernel
    write(kernels, text, LONG_AGO + 1)
    assert run() == before


def test_networks_and_recipes_are_one_object_until_they_are_edited(tmp_path):
    assert load_model("resnet18") is load_model("resnet18")
    assert load_recipe("asp") is load_recipe("asp")
    file = write(tmp_path / "mine.yaml", KERNELS.path("cublas-sm80").read_text())
    with pytest.raises(ValueError, match="mine"):
        load_model(file)
    write(file, MODELS.path("resnet18").read_text())
    assert load_model(file).layers == load_model("resnet18").layers


HEAVY = ("numba", "pandas", "plotly", "scipy.optimize")


def test_what_takes_long_to_load_is_loaded_when_it_is_used():
    steps = (
        ("nmsim.cli", ("numpy", "pydantic", "ruamel.yaml", "rich", *HEAVY)),
        ("nmsim.cli.commands.describe", ("numpy", "rich", *HEAVY)),
        ("nmsim.cli.commands.memory", ("pandas", "plotly", "numba")),
        ("nmsim.cli.commands.simulation", ("plotly", "numba", "pandas")),
    )
    check = "import importlib, sys\n" + "".join(
        f"importlib.import_module({module!r})\n"
        f"print({module!r}, *[one for one in {heavy!r} if one in sys.modules])\n"
        for module, heavy in steps
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [module for module, _ in steps]


KINDS = ("nmsim.machines.gpu", "nmsim.machines.systolic")
PRUNERS = ("nmsim.pruning.magnitude", "nmsim.pruning.transposable")
TABLES = ("pandas", "plotly")
LOADED = {
    ("--version",): ("numpy", "pydantic", "rich.table", "numba", "scipy.linalg", *TABLES),
    ("--help",): ("numpy", "pydantic", "rich.table", "numba", "scipy.linalg", *TABLES),
    ("list", "models"): ("nmsim.machines", "nmsim.pruning", "nmsim.run", "numba", *TABLES),
    ("list", "hardware"): ("nmsim.network.layer", "nmsim.run", "numba", *KINDS, *TABLES),
    ("list", "pruners"): ("nmsim.machines", "nmsim.run", "numba", *TABLES),
    ("show", "hardware", "a100-sxm4-80gb"): (KINDS[1], "numba", "scipy.linalg", *TABLES),
    ("simulate", "nosuch"): ("rich", "numba", "scipy.linalg", *KINDS, *PRUNERS, *TABLES),
    ("simulate", "gemm:64x64x64", "--hardware", "ideal"): ("scipy.linalg", *KINDS, *TABLES),
    ("simulate", "gemm:64x64x64", "--format", "json"): ("numba", KINDS[0], *PRUNERS, *TABLES),
    ("simulate", "gemm:64x64x64", "--format", "csv", "--hardware", "a100-sxm4-80gb"): (
        "scipy.linalg",
        KINDS[1],
        *TABLES,
    ),
}
"""What commands do without, of what takes long to load."""

COMMANDS = """
import contextlib, io, os, sys
from nmsim.__main__ import main
for arguments, heavy in {commands!r}:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        continue
    sys.argv = ["nmsim", *arguments]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main()
        except SystemExit as stop:
            status = stop.code
    print(*arguments, status or 0, *[one for one in heavy if one in sys.modules], flush=True)
    os._exit(0)
"""


@pytest.mark.slow
def test_a_command_loads_what_it_uses():
    check = COMMANDS.format(commands=list(LOADED.items()))
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    statuses = [2 if "nosuch" in arguments else 0 for arguments in LOADED]
    assert done.stdout.splitlines() == [
        " ".join([*arguments, str(status)])
        for arguments, status in zip(LOADED, statuses, strict=True)
    ]


def test_the_list_of_commands_says_what_each_says_of_itself():
    group = typer.main.get_command(cli.app)
    context = typer.Context(group)
    for name, stand_in in group.commands.items():
        command = group.get_command(context, name)
        assert " ".join((command.help or "").split("\n\n")[0].split()) == stand_in.help, name
    assert group.get_command(context, "simulat") is None
