"""What is kept of texts is what would be made of them, and commands can do without it."""

import datetime as dt
import errno
import os
from pathlib import Path

import pytest

from nmsim.errors import SpecError
from nmsim.files import kept
from nmsim.spec import read_yaml


@pytest.fixture
def folder(tmp_path, monkeypatch):
    place = tmp_path / "texts"
    place.mkdir()
    monkeypatch.setattr(kept, "_folder", lambda: place)
    return place


class Made:
    """A function that counts its calls."""

    def __init__(self, result):
        self.result, self.calls = result, 0

    def __call__(self):
        self.calls += 1
        return self.result


DOCUMENT = {
    "pattern": "2:4",
    "sizes": [1, 2.5, None, True],
    "name": "\u00d7\ud800",
    "deep": {"a": {}},
}


def test_a_text_is_worked_out_once(folder):
    make = Made(DOCUMENT)
    found = [kept.kept("how", b"text", make) for _ in range(3)]
    assert found == [DOCUMENT] * 3
    assert [type(one) for one in found[2]["sizes"]] == [int, float, type(None), bool]
    assert make.calls == 1


def test_another_text_or_another_way_is_worked_out_anew(folder):
    kept.kept("how", b"text", Made(1))
    assert kept.kept("how", b"other", Made(2)) == 2
    assert kept.kept("another", b"text", Made(3)) == 3
    assert kept.kept("howt", b"ext", Made(4)) == 4
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize(
    "made",
    [{8: "eight"}, dt.date(2026, 1, 1), float("nan"), float("inf"), (1, 2), {1}, b"bytes"],
    ids=str,
)
def test_what_json_gives_back_otherwise_is_not_kept(folder, made):
    make = Made(made)
    assert [kept.kept("how", b"text", make) for _ in range(2)] == [made] * 2
    assert make.calls == 2
    assert not list(folder.iterdir())


def test_what_goes_round_in_a_circle_is_not_kept(folder):
    circle = []
    circle.append(circle)
    assert kept.kept("how", b"text", lambda: circle) is circle
    assert not list(folder.iterdir())


def test_aliases_of_aliases_are_not_written_out(folder):
    """Each list stands twice in the next: 2^60 items, if they were."""
    made = ["x"]
    for _ in range(60):
        made = [made, made]
    assert kept.kept("how", b"text", lambda: made) is made
    assert not list(folder.glob("*.json"))


def test_an_error_is_raised_each_time(folder):
    def refuse():
        raise SpecError("no")

    for _ in range(2):
        with pytest.raises(SpecError, match="no"):
            kept.kept("how", b"text", refuse)
    assert not list(folder.iterdir())


DAMAGES = {
    "empty": lambda old: b"",
    "truncated": lambda old: old[: len(old) // 2],
    "garbage": lambda old: bytes(range(256)) * 9,
    "one bit": lambda old: old[:-5] + bytes([old[-5] ^ 1]) + old[-4:],
    "no digest": lambda old: old.partition(b"\n")[2],
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_file_is_replaced(folder, kind, capsys):
    kept.kept("how", b"text", Made(DOCUMENT))
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(DAMAGES[kind](whole))
    make = Made(DOCUMENT)
    assert kept.kept("how", b"text", make) == DOCUMENT
    assert (make.calls, file.read_bytes()) == (1, whole)
    assert capsys.readouterr() == ("", "")


def test_something_else_in_its_place_is_left_alone(folder):
    kept.kept("how", b"text", Made(DOCUMENT))
    (file,) = folder.iterdir()
    file.unlink()
    file.mkdir()
    assert kept.kept("how", b"text", Made(DOCUMENT)) == DOCUMENT
    assert list(folder.iterdir()) == [file]


def test_a_full_disk_leaves_nothing(folder, monkeypatch, capsys):
    def full(path, data):
        with path.open("wb") as file:
            file.write(data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert kept.kept("how", b"text", Made(DOCUMENT)) == DOCUMENT
    assert not list(folder.iterdir())
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("gone", ["no place", "removed under a running process"])
def test_without_a_folder_all_is_worked_out(folder, gone, monkeypatch):
    folder.rmdir()
    if gone == "no place":
        monkeypatch.setattr(kept, "_folder", lambda: None)
    assert kept.kept("how", b"text", Made(DOCUMENT)) == DOCUMENT


def test_what_was_used_longest_ago_makes_room(folder, monkeypatch):
    monkeypatch.setattr(kept, "_MOST", 8)
    for number in range(9):
        kept.kept("how", bytes([number]), Made(number))
        for file in folder.iterdir():
            at = file.stat().st_mtime_ns - 10**9  # as if a second had passed since
            os.utime(file, ns=(at, at))
        kept.kept("how", bytes(1), Made(0))
    make = Made(None)
    assert kept.kept("how", bytes(1), make) == 0, "it is used all the time"
    assert len(list(folder.iterdir())) == 7, "a quarter of eight has gone"
    assert kept.kept("how", bytes([1]), make) is None


def test_it_stands_where_kernels_do(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "_PACKAGE", tmp_path / "nmsim")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    kept._folder.cache_clear()
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert kept._folder() == tmp_path / "nmsim" / "__pycache__" / "texts"
    kept._folder.cache_clear()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "told"))
    assert kept._folder() == tmp_path / "told" / "nmsim" / "texts"
    kept._folder.cache_clear()


def test_yaml_from_disk_is_what_the_parser_says(folder, tmp_path):
    first, second = (tmp_path / name for name in ("first.yaml", "second.yaml"))
    for file in (first, second):
        file.write_text("pattern: 2:4\nsizes: [1, 2.5, 0x10, 1e3, ~, yes, true]\n")
    parsed, stored = read_yaml(first), read_yaml(second)
    assert len(list(folder.iterdir())) == 1
    assert parsed == stored
    assert stored["sizes"] == [1, 2.5, 16, 1000.0, None, "yes", True]
    assert [*map(type, stored["sizes"])] == [*map(type, parsed["sizes"])]
    second.write_text("pattern: 4:8\n")
    assert read_yaml(second) == {"pattern": "4:8"}
