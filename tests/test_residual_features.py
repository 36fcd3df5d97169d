"""What a learned residual of a GPU sees of a GEMM: worked out from the run and its tile."""

from math import ceil, log2

import numpy as np
import pytest

from nmsim.machines import Call, load_hardware
from nmsim.machines.gpu.analytical import SHARES, estimates, times
from nmsim.machines.gpu.call import resolve
from nmsim.machines.gpu.chip import TK, TM, TN
from nmsim.machines.gpu.launch import BOUNDS
from nmsim.machines.gpu.learned.features import FEATURES, describe

A100, CALL = load_hardware("a100-sxm4-80gb"), Call("bf16", library="cublas")


def told(*size):
    """Features by name, and the closed form's run of it."""
    sizes = np.array([size], float)
    features = describe(A100, CALL, sizes).features
    run = estimates(A100, CALL, sizes, shares=True)[0]
    return dict(zip(FEATURES, features[0].tolist(), strict=True)), run


@pytest.mark.parametrize("size", [(2048, 384, 1000, 1), (640, 96, 4095, 3), (200, 80, 8192, 1)])
def test_features_of_a_gemm_by_hand(size):
    m, n, k, copies = size
    found, run = told(*size)
    clocks, kernel, split, tiles, waves = run[:5]
    row = resolve(A100, CALL).table[int(kernel)]
    down, across = ceil(m / row[TM]), ceil(n / row[TN])
    assert tiles == down * across * split * copies
    wanted = {
        "log m": log2(m),
        "log n": log2(n),
        "log k": log2(k),
        "log us": log2(clocks / A100.clock_mhz),
        "kernel": kernel,
        "tile m": row[TM],
        "tile n": row[TN],
        "log split": log2(split),
        "log waves": log2(waves),
        "fill of the last wave": waves / ceil(waves),
        "fill of tiles down": m / (down * row[TM]),
        "fill of tiles across": n / (across * row[TN]),
        "log depth": log2(ceil(ceil(k / row[TK]) / split) * row[TK]),
        "log tiles": log2(tiles),
        "log mn": log2(m * n),
        "log nk": log2(n * k),
        "log mk": log2(m * k),
        "log intensity": -log2(1 / k + 1 / m + 1 / n),
    }
    shares = {name: run[SHARES + place] / clocks for place, name in enumerate(BOUNDS)}
    alignment = {name: found[name] for name in found.keys() - wanted.keys() - shares.keys()}
    assert {**wanted, **shares, **alignment} == pytest.approx(found, rel=1e-5, abs=1e-6)


def test_features_of_sizes_alone_by_hand():
    """Nine tiles of 256 x 128 on 108 SMs, three quarters of 128 columns; K of 4095 in 64 slices."""
    m, n, k = 640, 96, 4095
    found, _ = told(m, n, k, 3)
    wanted = {
        "log waves of 256 x 128": log2(9 / 108),
        "fill of 256 x 128": 9 / 108,
        "log operands over l2": log2((m * k * 2 + n * k * 2) / (40 * 2**20)),
        "log elements": log2(m * k + n * k + m * n),
        "log slices of 64": 6,
        "fill of 64 down": 1,
        "fill of 16 down": 1,
        "fill of 128 across": 0.75,
        "log n over k": log2(n / k),
        "log m over n": log2(m / n),
        "log m over k": log2(m / k),
    }
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-5)


def test_alignment_is_the_twos_of_a_size_up_to_ten():
    found, _ = told(8192, 96, 125, 1)
    assert [found[f"alignment of {side}"] for side in "mnk"] == [10, 5, 0]


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("a100-sxm4-80gb", CALL),
        ("h200", Call("fp8", library="cublas", in_turn=5)),  # its passes that cast A included
        ("l40s", Call("bf16", library="cublas", in_turn=5)),
    ],
)
def test_the_time_of_the_account_is_that_of_the_closed_form(name, call):
    machine = load_hardware(name)
    sizes = np.array([[1, 4096, 4096, 1], [64, 512, 8192, 1], [4096, 14336, 4096, 1]], float)
    assert describe(machine, call, sizes).us == pytest.approx(
        times(machine, call, sizes), rel=1e-12
    )
