"""What the package promises to those who import it, install it and cite it."""

import subprocess
import sys
import types

import pytest

import nmsim

NAMES = [
    "Gemm",
    "NmsimError",
    "Pattern",
    "load_hardware",
    "load_model",
    "memory_footprint",
    "prune",
    "schedules",
    "simulate",
    "statistics",
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
