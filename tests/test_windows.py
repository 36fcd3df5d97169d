"""How an operand is gathered from a tensor: counts and shapes, against positions one by one."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import residence

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
    inside = np.prod([len([p for p in positions(axis) if p is not None]) for axis in axes])
    assert windows.inside_reads == windows.images * inside
    assert windows.inside == (inside == np.prod([len(positions(axis)) for axis in axes]))
    assert windows.plain == all(positions(axis) == list(range(axis.size)) for axis in axes)
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
    gathers = 2 * (1 + 3 + 16)
    # Of windows of nine, a part of those that step by two has pixels of its own.
    spreads = 13 + 3 * 3
    assert len(with_windows) == gathers + spreads
    for one in with_windows:
        windows = one.a_windows or one.b_windows
        assert windows.along == ("k" if one.phase == "update" else "rows")
        assert hash(one) == hash(replace(one))
        assert json.loads(json.dumps(one.as_dict()))["m"] == one.m


def sliced(matrix, of_rows, start, stop):
    return matrix[start:stop] if of_rows else [row[start:stop] for row in matrix]


@pytest.mark.parametrize("seed", range(60))
def test_parts_of_windows_are_those_rows_or_columns(seed):
    """Element by element, but for what elements are called; a part that is none is no block."""
    rng = np.random.default_rng(seed)
    axes = tuple(drawn_axis(rng) for _ in range(rng.integers(1, 3)))
    along = str(rng.choice(["rows", "k"]))
    windows = Windows(int(rng.integers(1, 3)), axes, int(rng.integers(1, 4)), along)
    matrix = residence.addresses(windows)
    found = 0
    for of, size in (("pixels", windows.pixels), ("reads", windows.reads)):
        of_rows = (of == "pixels") == (along == "rows")
        for start, stop in {tuple(sorted(rng.integers(0, size + 1, 2))) for _ in range(40)}:
            part = windows.part(of, int(start), int(stop)) if start < stop else None
            if part is None:
                continue
            own, wanted = residence.addresses(part), sliced(matrix, of_rows, start, stop)
            assert part.shape == (len(wanted), len(wanted[0]))
            pairs = {
                pair for rows in zip(own, wanted, strict=True) for pair in zip(*rows, strict=True)
            } - {(None, None)}
            for side in zip(*pairs, strict=True):
                assert None not in side
                assert len(set(side)) == len(pairs)
            found += 1
        whole = windows.part(of, 0, size)
        assert whole == (windows if windows.elements else None)
    assert found or not windows.elements or windows.pixels == windows.reads == 1


def test_parts_end_at_images_lines_and_taps():
    both = Windows(2, (ROW, ROW), 16)
    assert both.part("pixels", 64, 128) == Windows(1, (ROW, ROW), 16)
    lines = both.part("pixels", 8, 24)
    assert lines.axes[0] == replace(ROW, windows=2, first=0)
    assert both.part("pixels", 32, 96) is None
    assert both.part("reads", 48, 96).axes[0] == replace(ROW, taps=1, first=0)
    assert both.part("reads", 0, 100) is None
    point = Axis(1, 1, 3, first=-1)
    assert Windows(1, (point,), 4).part("reads", 0, 4) is None, "padding alone"
