"""The kernel's fold periods are those of registers: the oracle that runs folds back to back."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle_back_to_back import simulate
from test_systolic_oracle import NATIVE, array, cases, operands, work_of

from nmsim.gemm import Gemm
from nmsim.machines import simulate_dense
from nmsim.machines.systolic import analytical, cycle
from nmsim.machines.systolic.pipeline.capacity import room, row_counts
from nmsim.machines.systolic.placement import with_masks, without_masks

PERIODS = {
    "back_to_back": {},
    "preload_hidden": {"turned": True, "waits": True},
}
DRAINS = {"back_to_back": {}, "overlapped": {"waits": True}}


@settings(max_examples=2000)
@given(cases(), st.booleans(), st.integers(1, 14))
def test_periods_and_product_are_the_oracles(case, back_to_back, sums):
    """Whatever the C buffer makes of the stream: a fold passes as many rows as it can sum."""
    if case["dataflow"] == "os":
        field = {"drain": "back_to_back" if back_to_back else "overlapped"}
        how = DRAINS[field["drain"]]
    else:
        field = {"fold_period": "back_to_back" if back_to_back else "preload_hidden"}
        how = PERIODS[field["fold_period"]]
    kib = 2 * sums * case["cols"] * 32 / 8 / 1024
    machine = array(
        case["rows"], case["cols"], case["dataflow"], sparse_operand="either",
        accumulator_bits=32, **{"sram.c_kib": kib}, **field,
    )  # fmt: skip
    a, b = operands(case)
    work, bits = work_of(case, a, b)
    pruned = {"a": a, "b": b}
    if bits is not None:
        pruned[case["selected"]] = pruned[case["selected"]] * bits
    product = pruned["a"] @ pruned["b"].T
    for way in [*with_masks(machine, work), *without_masks(machine, work.gemm)]:
        fields, one = {}, pruned
        if way.selected:
            native = (NATIVE.keep, NATIVE.group)
            fields = {"selected": way.selected, "mask": bits, "native": native}
            one = {"a": a, "b": b}
        pair = (one["b"], one["a"]) if way.transposed else (one["a"], one["b"])
        chunks = [None]
        if case["dataflow"] != "os":
            slots = way.k  # of no consequence for how many rows the C buffer sums
            chunks = list(row_counts(machine, way, room(machine, way, (slots, slots))))
        runs = [
            simulate(
                case["dataflow"], machine.rows, machine.cols, *pair, chunk=chunk, **fields, **how
            )
            for chunk in chunks
        ]
        for truth in runs:
            np.testing.assert_array_equal(truth.c.T if way.transposed else truth.c, product)
        found = cycle.run(machine, way)
        assert found.compute_cycles == min(truth.cycles for truth in runs)
        assert found.stall_cycles == 0
        if not way.selected or case["pattern"] in ("2:4", "1:4", "1:2"):
            assert analytical.estimate(machine, way).compute_cycles == found.compute_cycles


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


def test_a_fold_never_takes_longer_the_less_it_waits_for_the_one_before():
    for sizes in ((5, 16, 64), (40, 16, 64), (300, 40, 9)):
        periods = ("exposed", "preload_hidden", "back_to_back")
        cycles = [
            simulate_dense(array(8, 8, "ws", order="fixed", fold_period=one), Gemm(*sizes)).cycles
            for one in periods
        ]
        assert all(later <= before for before, later in pairwise(cycles))
