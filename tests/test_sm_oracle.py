"""The core's kernels against the warp-by-warp oracle: cycles, waits, and C itself."""

import numpy as np
import oracle_sm
from hypothesis import given, settings
from hypothesis import strategies as st

from nmsim.machines.gpu.sm.multiprocessor import Feed, Sm, time_tile
from nmsim.machines.gpu.sm.program import Instruction, Tile

DENSE = (1, 1)


@st.composite
def instructions(draw):
    """Small ones of many shapes, dense or compressed, out of registers or shared memory."""
    keep, group = draw(st.sampled_from([DENSE, DENSE, (2, 4), (1, 4), (1, 2)]))
    k = draw(st.sampled_from([4, 8, 16]))
    m, n = draw(st.sampled_from([(8, 8), (16, 8), (8, 16)]))
    return Instruction(
        m=m,
        n=n,
        k=k,
        bits=draw(st.sampled_from([8, 16, 32])),
        cycles=draw(st.integers(1, 9)),
        latency=draw(st.integers(1, 40)),
        keep=keep,
        group=group,
        metadata_bytes=0 if keep == group else draw(st.sampled_from([16, 48, 64, 200])),
        sharers=(sharers := draw(st.sampled_from([0, 0, 1, 3, 4]))),
        # What reads shared memory itself finds no packed operand there.
        a_packed=1.0 if sharers else draw(st.sampled_from([1.0, 1.0, 0.25, 0.375])),
        b_packed=1.0 if sharers else draw(st.sampled_from([1.0, 1.0, 0.25, 0.375])),
    )


@st.composite
def tiles(draw):
    shape = draw(instructions())
    warps_m, warps_n = draw(st.sampled_from([(1, 1), (2, 1), (1, 2), (2, 2), (1, 3), (3, 2)]))
    return Tile(
        m=shape.m * warps_m * draw(st.integers(1, 3)),
        n=shape.n * warps_n * draw(st.integers(1, 3)),
        k=shape.k * draw(st.integers(1, 4)),
        warps_m=warps_m,
        warps_n=warps_n,
        stages=draw(st.integers(2, 4)),
        instruction=shape,
        load_bytes=draw(st.sampled_from([128, 256, 512])),
        output_bits=draw(st.sampled_from([16, 32])),
        others=draw(st.integers(0, 3)),
    )


@st.composite
def machines(draw):
    return Sm(
        sub_cores=draw(st.sampled_from([1, 2, 4])),
        shared_bytes=draw(st.sampled_from([32, 128])),
        shared_interval=draw(st.integers(1, 3)),
        shared_latency=draw(st.integers(0, 25)),
        shared_queue=draw(st.sampled_from([1, 8, 64])),
        register_reads=draw(st.integers(1, 3)),
        selection_cycles=draw(st.sampled_from([0.0, 2.0, 1.3])),
        barrier_latency=draw(st.integers(1, 12)),
        in_flight=draw(st.sampled_from([256, 1024, 65536])),
        store_queue=draw(st.sampled_from([128, 4096])),
    )


@st.composite
def feeds(draw):
    return Feed(
        draw(st.sampled_from([0, 5, 60])),
        draw(st.sampled_from([19.0, 64.0, 48.5])),
        draw(st.sampled_from([24.0, 64.0])),
    )


def operands(tile, slices, seed):
    """A as stored, B, and where in its group each element of A belongs; then the product."""
    shape, rng = tile.instruction, np.random.default_rng(seed)
    stored = tile.k * shape.keep // shape.group
    a = rng.integers(-9, 10, (slices, tile.m, stored))
    b = rng.integers(-9, 10, (slices, tile.n, tile.k))
    places = rng.random((slices, tile.m, stored // shape.keep, shape.group)).argsort(-1)
    where = np.sort(places[..., : shape.keep], axis=-1)
    dense = np.zeros((slices, tile.m, stored // shape.keep, shape.group))
    np.put_along_axis(dense, where, a.reshape(where.shape), axis=-1)
    c = np.einsum("smk,snk->mn", dense.reshape(slices, tile.m, tile.k), b)
    return (a, b, where.reshape(a.shape)), c


@settings(max_examples=250, deadline=None)
@given(machines(), tiles(), feeds(), st.integers(1, 5), st.integers(1, 2), st.integers(0, 99))
def test_cycles_waits_and_product_are_the_oracles(sm, tile, feed, slices, ctas, seed):
    work = [operands(tile, slices, seed + i) for i in range(ctas)]
    truth, cycles = oracle_sm.simulate(sm, tile, feed, slices, [parts for parts, _ in work])
    result = time_tile(sm, tile, feed, slices, ctas=ctas)
    for threadblock, (_, c) in zip(truth.ctas, work, strict=True):
        np.testing.assert_array_equal(threadblock.c, c)
    assert result.cycles == cycles
    assert (result.prologue, result.prologue + result.main) == (truth.begun, truth.ended)
    assert result.prologue_waits._asdict() == waits(truth, "prologue")
    assert result.main_waits._asdict() == waits(truth, "slices")
    assert result.epilogue_waits._asdict() == waits(truth, "epilogue")
    assert result.tensor_cycles == truth.tensor_busy
    assert result.shared_cycles == truth.shared.busy
    assert result.memory_cycles == truth.loads.busy
    assert result.instructions == truth.issued


def waits(truth, phase):
    causes = ("issue", "tensor", "shared", "memory", "barrier", "dependence", "store")
    return {cause: truth.waits[phase][cause] for cause in causes}
