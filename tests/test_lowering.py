"""Convolutions as GEMMs: values by direct loops, MACs by the formula."""

from itertools import product
from math import prod

import numpy as np
import oracle_convolution as oracle
import pytest
from drawn_convolutions import drawn_layer, geometry, layer_of
from tiers import fast_first
from window_operands import operand, weight_matrix

from nmsim.errors import NmsimError
from nmsim.network.lowering import LOWERINGS, Lowering

DRAWN = fast_first([(seed, transposed) for seed in range(150) for transposed in (False, True)], 100)


def tensors(layer, batch, seed):
    """Whole numbers of activation, weight (narrow channels first) and gradient."""
    rng = np.random.default_rng(seed)
    g = geometry(layer)
    transposed = g.transposed
    narrow, wide = (layer.inputs, layer.outputs) if transposed else (layer.outputs, layer.inputs)
    images = layer.samples(batch)
    weight = rng.integers(-4, 5, (narrow * layer.groups, *g.kernel, wide))
    wide_image = rng.integers(-4, 5, (images, *g.wide, wide * layer.groups))
    narrow_image = rng.integers(-4, 5, (images, *g.narrow, narrow * layer.groups))
    x, dy = (narrow_image, wide_image) if transposed else (wide_image, narrow_image)
    return x, weight, dy


def products(layer, lowered, matrix_of):
    g = lowered.gemm
    a = operand(layer, matrix_of, lowered.a, g.a_windows)
    b = operand(layer, matrix_of, lowered.b, g.b_windows)
    assert a.shape == (g.count, g.m, g.k)
    assert b.shape == (g.count, g.n, g.k)
    return a @ np.swapaxes(b, 1, 2)


def as_image(copies, images, size):
    """Copies x images.pixels x channels as an image."""
    return copies.transpose(1, 0, 2).reshape(images, *size, -1)


def spread(layer, lowered, matrix_of, size):
    """The wide image that parts or columns make, and how often each element is made by a part."""
    g, images = geometry(layer), len(matrix_of["activation"])
    channels = layer.windows(1).channels
    out = np.zeros((images, *size, layer.groups * channels), int)
    made = np.zeros_like(out)
    for one in lowered:
        found = products(layer, one, matrix_of)
        if one.gemm.scatter_elements:
            parted = found.reshape(layer.groups, images, *g.narrow, *g.kernel, channels)
            for place, tap, pixel in oracle.meetings(g):
                for group in range(layer.groups):
                    own = slice(group * channels, (group + 1) * channels)
                    out[(slice(None), *pixel, own)] += parted[(group, slice(None), *place, *tap)]
            continue
        pixels = one.pixels or tuple(map(range, size))
        where = np.ix_(range(images), *pixels, range(out.shape[-1]))
        out[where] += as_image(found, images, [len(p) for p in pixels])
        made[where] += 1
    return out, made


@pytest.mark.parametrize(("seed", "transposed"), DRAWN)
@pytest.mark.parametrize("lowering", LOWERINGS)
def test_values_of_all_phases_are_those_of_direct_loops(seed, transposed, lowering):
    layer = drawn_layer(seed, transposed)
    g, batch = geometry(layer), 1 + seed % 2
    x, weight, dy = tensors(layer, batch, seed)
    matrix_of = {"activation": x, "gradient": dy, "weight": weight_matrix(layer, weight)}
    phases = {"forward": [], "backward": [], "update": []}
    for one in layer.lower(batch, Lowering.parse(lowering)):
        phases[one.gemm.phase].append(one)
    y, dx = oracle.forward(g, x, weight), oracle.backward(g, dy, weight)
    assert y.shape == layer.shape("gradient", batch)
    gathers, spreads = ("backward", "forward") if transposed else ("forward", "backward")
    narrow, wide = (dx, y) if transposed else (y, dx)
    (one,) = phases[gathers]
    assert (as_image(products(layer, one, matrix_of), len(x), g.narrow) == narrow).all()
    out, made = spread(layer, phases[spreads], matrix_of, g.wide)
    assert (out == wide).all()
    if lowering == "implicit":
        assert made.max(initial=0) <= 1
        zeroed = sum(p.gemm.zeroed_elements for p in phases[spreads])
        assert not phases[spreads] or (made == 0).sum() == zeroed * layer.groups
    (one,) = phases["update"]
    dw = oracle.update(g, x, dy, weight.shape)
    assert (products(layer, one, matrix_of) == weight_matrix(layer, dw)).all()


def formula(g, images, wide, narrow):
    """(M, N, K) of every part, by which pixels and taps leave one rest by the stride."""
    axes = []
    for size, k, s, p, d in zip(g.wide, g.kernel, g.stride, g.before, g.dilation, strict=True):
        rest = [
            (sum((y + p) % s == r for y in range(size)), sum(t * d % s == r for t in range(k)))
            for r in range(s)
        ]
        axes.append([(pixels, taps) for pixels, taps in rest if pixels and taps])
    return sorted(
        (images * prod(x for x, _ in combo), wide, narrow * prod(t for _, t in combo))
        for combo in product(*axes)
    )


@pytest.mark.parametrize(("seed", "transposed"), DRAWN)
def test_parts_are_the_phases_of_the_stride(seed, transposed):
    layer = drawn_layer(seed, transposed)
    g = geometry(layer)
    phase = "forward" if transposed else "backward"
    parts = [x.gemm for x in layer.lower(2) if x.gemm.phase == phase]
    narrow, wide = (layer.inputs, layer.outputs) if transposed else (layer.outputs, layer.inputs)
    assert sorted((x.m, x.n, x.k) for x in parts) == formula(g, layer.samples(2), wide, narrow)
    names = [f"{n}/{len(parts)}" for n in range(1, len(parts) + 1)] if len(parts) > 1 else [""]
    assert [x.part for x in parts] == (names if parts else [])
    assert sum(x.launches for x in parts) == bool(parts)


def test_backward_has_forward_s_macs_where_windows_fit_evenly():
    even = layer_of(
        type="conv", in_channels=64, out_channels=128, kernel=3, stride=1, padding=1, input_size=56
    )
    forward, backward, _ = (x.gemm for x in even.lower(4))
    assert backward.macs == forward.macs
    uneven = layer_of(
        type="conv", in_channels=64, out_channels=128, kernel=3, stride=2, padding=1, input_size=56
    )
    macs = {}
    for one in uneven.lower(4):
        macs[one.gemm.phase] = macs.get(one.gemm.phase, 0) + one.gemm.macs
    assert 1.0 <= macs["backward"] / macs["forward"] < 1.15


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("collumns", "'collumns'"),
        ("backwards=columns", "'backwards'"),
        ("backward=col", "'col'"),
        ("backward=columns,backward=implicit", "once"),
    ],
)
def test_a_lowering_that_does_not_exist_is_one_line(text, said):
    with pytest.raises(NmsimError, match=said) as caught:
        Lowering.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["implicit", "columns", "backward=columns", "forward=columns, update=columns"]
)
def test_a_lowering_reads_what_it_says(text):
    assert Lowering.parse(str(Lowering.parse(text))) == Lowering.parse(text)
