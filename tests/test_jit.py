"""The compile cache follows the sources and finds a place that can be written."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from nmsim import jit


@pytest.fixture
def package(tmp_path, monkeypatch):
    copy = tmp_path / "nmsim"
    shutil.copytree(
        Path(jit.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__", "models")
    )
    monkeypatch.setattr(jit, "_PACKAGE", copy)
    monkeypatch.setattr(jit._CONFIG, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return copy


def test_an_edit_anywhere_is_another_cache(package):
    before = jit.cache_folder()
    assert before.parent == package / "__pycache__"
    source = package / "pattern.py"
    source.write_text(source.read_text() + "\n")
    assert jit.cache_folder() != before


def test_a_read_only_package_caches_for_the_user(package, monkeypatch, tmp_path):
    writable = jit._writable
    monkeypatch.setattr(
        jit, "_writable", lambda folder: package not in folder.parents and writable(folder)
    )
    assert jit.cache_folder().parent == tmp_path / "user" / "nmsim"


def test_nowhere_to_write_is_no_error(package, monkeypatch):
    monkeypatch.setattr(jit, "_writable", lambda folder: False)
    assert jit.cache_folder() is None
    monkeypatch.setattr(jit, "_CACHE", None)
    assert jit.kernel(lambda x: x + 1)(2) == 3


def test_blocks_cover_all_rows_once_on_any_number_of_threads(monkeypatch):
    for threads in (1, 3):
        monkeypatch.setattr(jit._CONFIG, "NUMBA_NUM_THREADS", threads)
        seen = np.zeros(103, int)

        def work(start, stop, seen=seen):
            seen[start:stop] += 1

        jit.map_blocks(work, 103, 10)
        assert (seen == 1).all()
