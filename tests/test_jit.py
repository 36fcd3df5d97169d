"""Compiled kernels follow the sources that they come from, and can do without the cache."""

import errno
import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import nmsim
from nmsim import jit
from nmsim.files import kept
from nmsim.jit import cache, closure

TOY = {
    "toy/__init__.py": "",
    "toy/sizes/__init__.py": "",
    "toy/sizes/constants.py": "FACTOR = 3\n",
    "toy/deep/__init__.py": "",
    "toy/deep/inner.py": """
from nmsim.jit import compiled
from ..sizes import constants
FACTOR = constants.FACTOR

@compiled
def scaled(x, by):
    return x * FACTOR * by
""",
    "toy/outer.py": """
from nmsim.jit import compiled
from toy.deep.inner import scaled

@compiled
def twice(x):
    return scaled(x, 1) + scaled(x, x // x) + scaled(x, 0)
""",
    "toy/page.py": "import toy.outer\n",
}


class Toy:
    """A package with kernels in a temporary folder, and a cache in another."""

    def __init__(self, root, patch):
        self.root, self.patch = root, patch
        for name, text in TOY.items():
            self.write(name, text)
        self.folder = root / "cache" / "kernels"

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def start(self):
        """Import it and find the cache as a new process would."""
        self.forget()
        importlib.invalidate_caches()
        for remembered in (closure._source, closure._imports, closure._hash):
            remembered.cache_clear()
        store = cache.Store(self.folder)
        self.patch.setattr(cache, "shared_store", lambda: store)

    def forget(self):
        for name in [name for name in sys.modules if name.partition(".")[0] == "toy"]:
            del sys.modules[name]

    def run(self, x=5):
        """The result of a new process, and whether it compiled anything."""
        self.start()
        outer = importlib.import_module("toy.outer")
        result = outer.twice(x)
        return result, bool(outer.twice.dispatcher.stats.cache_misses)

    def files(self):
        return sorted(path.relative_to(self.folder) for path in self.folder.rglob("*.kernel*"))


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(closure, "_STARTED_NS", 2**63)
    package = Toy(tmp_path, monkeypatch)
    yield package
    package.forget()


def test_a_second_process_compiles_nothing(toy):
    assert toy.run() == (30, True)
    assert toy.run() == (30, False)


def test_an_edit_of_what_a_kernel_inlines_compiles_anew(toy):
    toy.run()
    toy.write("toy/sizes/constants.py", "FACTOR = 7\n")
    assert toy.run() == (70, True)
    toy.write("toy/deep/inner.py", TOY["toy/deep/inner.py"].replace("* by", "+ by"))
    assert toy.run() == (107, True)


def test_an_edit_elsewhere_compiles_nothing(toy):
    toy.run()
    toy.write("toy/page.py", "import toy.outer  # a comment\n")
    assert toy.run() == (30, False)


def test_modules_in_a_folder_elsewhere_are_followed(toy):
    moved = Path("elsewhere/constants.py")
    extends = f"__path__.insert(0, {str(toy.root / moved.parent)!r})\n"
    toy.write("toy/sizes/__init__.py", extends)
    toy.write(moved, "FACTOR = 11\n")
    assert toy.run() == (110, True)
    toy.write(moved, "FACTOR = 13\n")
    assert toy.run() == (130, True)


def test_a_source_edited_under_a_running_process_is_not_trusted(toy, capsys):
    toy.patch.setattr(closure, "_STARTED_NS", 0)
    assert toy.run() == (30, True)
    assert not toy.files()
    assert capsys.readouterr().err == ""


def test_functions_made_by_functions_are_not_kept(toy):
    toy.start()
    kernels = [jit.compiled(lambda x, by=by: x + by) for by in (1, 2)]
    assert [kernel(2) for kernel in kernels] == [3, 4]
    assert not toy.files()


def damages():
    whole = cache._packed((1, 2, 3))
    return {
        "empty": lambda old: b"",
        "truncated": lambda old: old[: len(old) // 2],
        "garbage": lambda old: bytes(range(256)) * 9,
        "one bit": lambda old: old[:-100] + bytes([old[-100] ^ 1]) + old[-99:],
        "another's": lambda old: whole,
    }


@pytest.mark.parametrize("kind", damages())
def test_a_damaged_file_is_told_in_a_line_and_replaced(toy, kind, capsys):
    toy.run()
    for name in toy.files():
        path = toy.folder / name
        path.write_bytes(damages()[kind](path.read_bytes()))
    assert toy.run() == (30, True)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("nmsim: compiled kernel")
    assert "is damaged" in told
    assert toy.run() == (30, False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("what", ["folder", "module folder", "kernel"])
def test_something_else_in_its_place_is_told_in_a_line(toy, what, capsys):
    toy.run()
    places = {"folder": [toy.folder], "module folder": list(toy.folder.iterdir())}
    for place in places.get(what, [toy.folder / name for name in toy.files()]):
        place.rename(toy.root / f"moved-{place.name}")
        if what == "kernel":
            place.mkdir()
        else:
            place.write_text("")
    assert toy.run() == (30, True)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("nmsim: ")


def test_a_full_disk_is_told_in_a_line_and_leaves_nothing(toy, capsys):
    def full(path, data):
        with path.open("wb") as file:
            file.write(data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    toy.patch.setattr(Path, "write_bytes", full)
    assert toy.run() == (30, True)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "not kept" in told
    assert os.strerror(errno.ENOSPC) in told
    assert not toy.files()


def test_no_place_to_write_is_told_in_a_line(toy, capsys):
    toy.folder = None
    assert toy.run() == (30, True)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "none of" in told


def test_without_stderr_nothing_is_told(toy, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    toy.folder = None
    assert toy.run() == (30, True)


def test_a_module_keeps_the_folders_used_last(toy):
    old = toy.folder.parent / "kernels-0123456789abcdef"
    old.mkdir(parents=True)
    for factor in range(1, cache._KEPT + 3):
        toy.write("toy/sizes/constants.py", f"FACTOR = {factor}\n")
        toy.run()
        for folder in toy.folder.iterdir():
            at = folder.stat().st_mtime_ns - 10**9  # as if a second had passed since
            os.utime(folder, ns=(at, at))
        if factor > 1:
            toy.write("toy/sizes/constants.py", "FACTOR = 1\n")
            assert toy.run()[1] is False, "it is used all the time"
    groups = [folder.name.rpartition("-")[0] for folder in toy.folder.iterdir()]
    assert len(groups) == 2 * cache._KEPT
    assert len(set(groups)) == 2
    assert not old.exists()


def test_other_flags_of_numba_are_other_code(toy):
    toy.run()
    toy.patch.setenv("NUMBA_BOUNDSCHECK", "1")
    assert toy.run()[1]
    toy.patch.setenv("NUMBA_NUM_THREADS", "1")
    assert not toy.run()[1]


def test_a_kernel_called_by_kernels_is_compiled_once_for_all_constants(toy):
    toy.run()
    inner = sys.modules["toy.deep.inner"].scaled
    (overload,) = inner.dispatcher._called.overloads.values()
    assert [str(arg) for arg in overload.signature.args] == ["int64", "int64"]
    assert not inner.dispatcher.overloads, "nothing for Python"
    assert inner(5, 2) == 30, "but Python may call it"


EXTRAS = ("nmsim.importers.recording.", "nmsim.cost.synthesis.")


def every_kernel():
    """A kernel of each module that defines some."""
    kernels = {}
    for found in pkgutil.walk_packages(nmsim.__path__, "nmsim."):
        if found.name.startswith(EXTRAS):
            continue  # of extras that tests do without
        if not found.name.endswith("__main__"):
            values = vars(importlib.import_module(found.name)).values()
            kernels |= {value.__module__: value for value in values if type(value) is jit.Kernel}
    return kernels


def test_no_kernel_depends_on_pages_or_commands():
    kernels = every_kernel()
    assert len(kernels) > 10
    for module, kernel in kernels.items():
        function = kernel.__wrapped__
        package = function.__globals__["__package__"]
        files = closure.files_of(module, function.__code__.co_filename, package)
        assert "nmsim.jit.dispatch" in files, "flags are part of it"
        assert not [name for name in files if name.split(".")[1] in ("cli", "report")], module


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "_PACKAGE", tmp_path / "nmsim")
    monkeypatch.setattr(cache._CONFIG, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return tmp_path


def test_the_cache_is_where_numba_is_told_or_beside_the_package(places, monkeypatch):
    assert cache.cache_folder() == places / "nmsim" / "__pycache__" / "kernels"
    monkeypatch.setattr(cache._CONFIG, "CACHE_DIR", str(places / "told"))
    assert cache.cache_folder() == places / "told" / "nmsim" / "kernels"


def test_a_read_only_package_caches_for_the_user(places):
    (places / "nmsim").write_text("a file, where there should be a folder")
    assert cache.cache_folder() == places / "user" / "nmsim" / "kernels"
    (places / "user").rename(places / "gone")
    (places / "user").write_text("")
    assert cache.cache_folder() is None


def test_blocks_cover_all_rows_once_on_any_number_of_threads(monkeypatch):
    for threads in (1, 3):
        monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", threads)
        seen = np.zeros(103, int)

        def work(start, stop, seen=seen):
            seen[start:stop] += 1

        jit.map_blocks(work, 103, 10)
        assert (seen == 1).all()


LINEAR = """
import gc, sys
import numpy as np
from nmsim.jit import compiled

@compiled
def doubled(x):
    return 2 * x

def product(a, b):
    return np.dot(a, b)

assert doubled(3) == 6
assert "numba" in sys.modules and gc.isenabled()
assert not {"scipy.linalg", "scipy.linalg.cython_blas"} & set(sys.modules)
print(compiled(product)(np.eye(2), np.array([[1.0, 2.0], [3.0, 4.0]])).tolist())
print(hasattr(sys.modules["scipy.linalg.cython_blas"], "__pyx_capi__"))
"""


@pytest.mark.slow
def test_linear_algebra_is_loaded_by_the_kernel_that_uses_it(tmp_path):
    program = tmp_path / "linear.py"
    program.write_text(LINEAR)
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[[1.0, 2.0], [3.0, 4.0]]\nTrue\n", "")


BRIEF = """
import sys
import numpy as np
from nmsim import Gemm, SparseGemm, load_hardware
from nmsim.jit import brief
from nmsim.machines import simulate

found = []
for dataflow in ("os", "ws", "is"):
    for sizes in ((70, 33, 95), (300, 130, 61), (17, 200, 520)):
        for gbps in (1.0, 100.0):
            machine = load_hardware(
                "systolic-128x128-2to4", dataflow=dataflow, rows=16, cols=24, **{"dram.gbps": gbps}
            )
            result = simulate(machine, SparseGemm.dense(Gemm(*sizes)), "cycle")
            found.append((result.cycles, result.stall_cycles, result.dram_read_bytes))
    print("numba" in sys.modules, found)
    brief._patience.calls = int(sys.argv[1])
"""
"""GEMMs of a few folds; an argument says how many calls of kernels may run as Python later on."""


def test_a_brief_kernel_gives_as_python_what_it_gives_compiled():
    def told(calls):
        run = [sys.executable, "-c", BRIEF, str(calls)]
        done = subprocess.run(run, capture_output=True, text=True, check=True)
        return [line.partition(" ") for line in done.stdout.splitlines()]

    python, compiled = told(10**9), told(3)
    assert [line[0] for line in python] == ["False"] * 3, "numba is not loaded"
    assert [line[0] for line in compiled] == ["False", "True", "True"], "too long: begun again"
    assert [line[2] for line in python] == [line[2] for line in compiled]
