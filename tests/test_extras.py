"""Does a library that is not there, or not whole, end in one line that says what to install?"""

import sys
import tomllib
from pathlib import Path

import pytest

from nmsim.errors import MissingExtra
from nmsim.extras import NEEDS, extra


def test_a_library_that_is_there_is_returned():
    assert extra("calibrate", "cmaes") is sys.modules["cmaes"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise ImportError('too old\\n')", "too old"),
        ("raise OSError('libcudart.so.12: cannot open\\nat 0')", "libcudart.so.12: cannot open"),
        ("raise OSError", "OSError"),
    ],
)
def test_a_library_that_does_not_load_is_one_line(tmp_path, monkeypatch, text, reason):
    (tmp_path / "broken.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtra) as caught:
        extra("torch", "broken")
    needs = "measuring, recording, or reading a file of torch.save, needs PyTorch"
    assert str(caught.value) == f"{needs}: pip install 'nmsim[torch]' ({reason})"


def test_every_extra_that_is_asked_for_is_declared():
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())
    assert set(NEEDS) <= set(project["project"]["optional-dependencies"])
