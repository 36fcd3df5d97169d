"""Which weight shapes are held out: the same in every table, and whole."""

import numpy as np

from nmsim.measured.tables import read_shipped
from nmsim.measured.weight_shapes import HELD_OUT_OF, dealt, held_out, shape_hash


def test_a_share_of_shapes_is_held_out_whatever_else_there_is():
    n, k = (one.ravel() for one in np.meshgrid(np.arange(8, 2048, 8), np.arange(8, 2048, 8)))
    out = held_out(n, k)
    assert abs(out.mean() - 1 / HELD_OUT_OF) < 0.005
    some = np.random.default_rng(0).permutation(len(n))[:100]
    assert np.array_equal(held_out(n[some].astype(float), k[some]), out[some])
    assert np.any(held_out(n, k) != held_out(k, n))


def test_the_hash_is_splitmix64():
    """First outputs of the generator that starts at 0 and at 1 (Vigna's splitmix64.c)."""
    assert shape_hash(np.array([0]), np.array([0]))[0] == 0xE220A8397B1DCDAF
    assert shape_hash(np.array([0]), np.array([1]))[0] == 0x910A2DEC89025CC1
    assert shape_hash(np.array([0]), np.array([0]), seed=1)[0] == 0x6E789E6AA1B965F4


def test_parts_are_as_equal_as_can_be_and_shapes_stay_whole():
    n, k = np.repeat(np.arange(1, 24) * 64, 3), np.full(69, 512)
    parts = dealt(n, k, 5)
    assert sorted(np.bincount(parts[::3])) == [4, 4, 5, 5, 5]
    assert np.array_equal(parts.reshape(-1, 3).min(1), parts.reshape(-1, 3).max(1))
    assert np.any(parts != dealt(n, k, 5, seed=1))


def test_tables_of_one_gpu_hold_out_the_same_shapes():
    tables = [read_shipped(f"a100-{name}-bf16") for name in ("new-shapes", "second-run")]
    shapes = [
        {(*shape, held) for *shape, held in zip(n, k, held_out(n, k), strict=True)}
        for n, k in (table.sizes[:, 1:3].T for table in tables)
    ]
    both = {shape[:2] for shape in shapes[0]} & {shape[:2] for shape in shapes[1]}
    assert len(both) > 100
    assert len(shapes[0] | shapes[1]) == sum(map(len, shapes)) - len(both)
