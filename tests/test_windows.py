"""How an operand is gathered from a tensor: counts and shapes, against positions one by one."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from nmsim import load_model
from nmsim.errors import ShapeError
from nmsim.gemm import Gemm
from nmsim.windows import Axis, Windows

ROW = Axis(size=8, windows=8, taps=3, first=-1)


def drawn_axis(rng):
    return Axis(
        size=int(rng.integers(1, 12)),
        windows=int(rng.integers(1, 8)),
        taps=int(rng.integers(1, 5)),
        stride=int(rng.integers(1, 4)),
        step=int(rng.choice([1, 1, 2, 3, -1, -2])),
        first=int(rng.integers(-4, 5)),
    )


def positions(axis):
    """Positions of every tap of every window; None in the padding."""
    places = (axis.first + w * axis.stride + t * axis.step for w, t in
              product(range(axis.windows), range(axis.taps)))  # fmt: skip
    return [place if 0 <= place < axis.size else None for place in places]


@pytest.mark.parametrize("seed", range(200))
def test_elements_are_those_that_some_tap_is_at(seed):
    rng = np.random.default_rng(seed)
    axes = tuple(drawn_axis(rng) for _ in range(rng.integers(1, 4)))
    windows = Windows(int(rng.integers(1, 4)), axes, int(rng.integers(1, 5)))
    seen = np.prod([len(set(positions(axis)) - {None}) for axis in axes])
    assert windows.elements == windows.images * seen * windows.channels
    assert windows.shape == replace(windows, along="k").shape[::-1]
    assert windows.pixels * windows.reads == windows.images * windows.channels * np.prod(
        [len(positions(axis)) for axis in axes]
    )


def test_a_gemm_counts_the_elements_of_its_windows():
    windows = Windows(2, (ROW, ROW), 16)
    gemm = Gemm(128, 5, 144, a_windows=windows)
    assert gemm.a_elements == windows.elements == 2 * 64 * 16
    assert replace(gemm, layer="other").a_windows is windows
    assert Gemm(5, 144, 128, b_windows=replace(windows, along="k")).b_elements == 2048


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda w: Gemm(128, 5, 143, a_windows=w), "a_windows make 128 x 144, expected 128 x 143"),
        (lambda w: Gemm(5, 128, 143, b_windows=w), "b_windows make 128 x 144, expected 128 x 143"),
        (lambda w: Gemm(128, 5, 144, a_windows=w, a_elements=7), "a_elements is 7, expected the"),
        (lambda w: replace(w, images=0), "images is 0, expected an integer from 1"),
        (lambda w: replace(w, axes=()), "axes are 0, expected 1 to 3"),
        (lambda w: replace(w, along="m"), "along is 'm', expected rows or k"),
        (lambda _: Axis(8, 8, 3, stride=0), "stride is 0, expected an integer from 1"),
        (lambda _: Axis(8, 8, 3, step=1.5), "step is 1.5, expected an integer"),
    ],
)
def test_windows_that_cannot_be_are_refused(make, named):
    with pytest.raises(ShapeError, match=named):
        make(Windows(2, (ROW, ROW), 16))


def test_every_convolution_with_windows_says_how_it_is_gathered():
    gemms = load_model("resnet50").gemms(batch=2)
    with_windows = [one for one in gemms if one.a_windows or one.b_windows]
    # The first layer, three strided shortcuts and a window of nine in every block; two phases each.
    assert len(with_windows) == 2 * (1 + 3 + 16)
    for one in with_windows:
        windows = one.a_windows or one.b_windows
        assert windows.along == {"forward": "rows", "update": "k"}[one.phase]
        assert hash(one) == hash(replace(one))
        assert json.loads(json.dumps(one.as_dict()))["m"] == one.m
