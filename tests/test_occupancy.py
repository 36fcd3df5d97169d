"""Threadblocks on a multiprocessor, against figures of the CUDA occupancy calculator."""

import pytest
from occupancy import (
    Residency,
    ctas_per_sm,
    registers_of,
    shared_bytes_of,
    tile_ctas_per_sm,
)

from nmsim.errors import ShapeError
from nmsim.machines.gpu.sm.program import Instruction, Tile

A100 = Residency()
# CUDA C++ Programming Guide, compute capability 8.6: 1536 threads, 16 threadblocks, 100 KB.
RTX3090 = Residency(100 * 1024, threads=1536, ctas=16, shared_per_cta=99 * 1024)


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "ctas"),
    [
        (1024, 32, 0, 2),  # 2048 threads
        (32, 32, 0, 32),  # 32 threadblocks
        (256, 32, 0, 8),
        (256, 64, 0, 4),  # 65536 / (256 x 64)
        (256, 65, 0, 3),  # 72 a thread: 2304 a warp, 7 warps on a sub-core, 28 in all
        (128, 255, 0, 2),
        (224, 96, 0, 2),  # 3072 a warp: 5 on a sub-core, 20 in all, not 21
        (384, 168, 0, 1),  # 12 warps of 5376: 3 on a sub-core
        (416, 168, 0, 0),
        (128, 32, 48 * 1024, 3),  # 49 KB each with what is reserved
        (128, 32, 81 * 1024, 2),
        (128, 32, 81 * 1024 + 1, 1),
        (128, 32, 163 * 1024, 1),
        (128, 32, 163 * 1024 + 1, 0),
        (33, 32, 0, 32),
        (128, 256, 0, 0),
    ],
)
def test_an_a100_holds(threads, registers, shared, ctas):
    assert ctas_per_sm(A100, threads=threads, registers=registers, shared_bytes=shared) == ctas


def test_an_rtx_3090_holds_less():
    assert ctas_per_sm(RTX3090, threads=32, registers=32, shared_bytes=0) == 16
    assert ctas_per_sm(RTX3090, threads=512, registers=32, shared_bytes=0) == 3
    assert ctas_per_sm(RTX3090, threads=128, registers=32, shared_bytes=48 * 1024) == 2


def test_a_tile_needs_its_stages():
    """CUTLASS's 128 x 128 x 32 with 4 stages of fp16: 64 KB, two of them on an A100."""
    tile = Tile(128, 128, 32, 2, 2, 4, Instruction(16, 8, 16, 16, 8, 33))
    assert shared_bytes_of(tile) == 64 * 1024
    assert registers_of(tile) == 128 + 2 * (4 * 4 + 8 * 2) + 40
    assert tile_ctas_per_sm(A100, tile) == 2
    assert tile_ctas_per_sm(A100, tile._replace(stages=6)) == 1
    assert tile_ctas_per_sm(A100, tile, registers=255) == 2
    assert tile_ctas_per_sm(A100, tile._replace(warps_m=1, warps_n=2)) == 2


def test_compressed_stages_are_smaller():
    dense = Tile(128, 128, 64, 2, 2, 3, Instruction(16, 8, 16, 16, 8, 33))
    sparse = dense._replace(instruction=Instruction(16, 8, 32, 16, 8, 33, 2, 4, 64))
    assert shared_bytes_of(dense) == 3 * (16 + 16) * 1024
    assert shared_bytes_of(sparse) == 3 * (8 + 16 + 1) * 1024


def test_nonsense_is_refused():
    with pytest.raises(ShapeError, match="0 threads"):
        ctas_per_sm(A100, threads=0, registers=1, shared_bytes=0)
