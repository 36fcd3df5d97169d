"""Fold periods by hand; drawn ones are held to the register-level oracle (test_systolic_oracle)."""

from itertools import pairwise

import pytest
from test_systolic_oracle import array

from nmsim.gemm import Gemm
from nmsim.machines import simulate_dense


@pytest.mark.parametrize(
    ("m", "n", "k", "cycles"),
    [
        (40, 8, 64, 7 * 40 + 8 + 40 + 8 + 8 - 1),  # eight folds of 40 rows, one tile of columns
        (5, 16, 64, 15 * 8 + 8 + 5 + 8 + 8 - 1),  # sixteen folds of 5 rows: weights take longer
    ],
)
def test_a_shadow_register_by_hand(m, n, k, cycles):
    """(folds - 1) max(T, R) + R + T + R + C - 1 on 8 x 8 PEs."""
    machine = array(8, 8, "ws", order="fixed", fold_period="back_to_back")
    assert simulate_dense(machine, Gemm(m, n, k)).cycles == cycles


def test_folds_take_less_the_less_they_wait_for_each_other():
    for sizes in ((5, 16, 64), (40, 16, 64), (300, 40, 9)):
        periods = ("exposed", "preload_hidden", "back_to_back")
        cycles = [
            simulate_dense(array(8, 8, "ws", order="fixed", fold_period=one), Gemm(*sizes)).cycles
            for one in periods
        ]
        assert all(later < before for before, later in pairwise(cycles))
