"""The kernels against the PE-by-PE oracle: cycles, and C itself."""

import numpy as np
import oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from nmsim import engine
from nmsim.engine.product import multiply
from nmsim.gemm import Gemm
from nmsim.hardware import load_hardware
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import Pattern
from nmsim.pruning import prune

NATIVE = Pattern(2, 4)
EXPOSURES = ("exposed", "overlapped", "uncounted")


def array(rows, cols, dataflow, **fields):
    """An array of the given size with 2:4 selectors and memory that never stalls."""
    return load_hardware(
        "systolic-128x128-2to4",
        rows=rows,
        cols=cols,
        dataflow=dataflow,
        **{"dram.gbps": None, "dram.latency_ns": 0.0},
        **fields,
    )


@st.composite
def cases(draw):
    m, n, k = draw(st.tuples(st.integers(1, 14), st.integers(1, 14), st.integers(1, 21)))
    return {
        "dataflow": draw(st.sampled_from(["os", "ws", "is"])),
        "rows": draw(st.integers(1, 7)),
        "cols": draw(st.integers(1, 7)),
        "m": m,
        "n": n,
        "k": k,
        "selected": draw(st.sampled_from(["", "a", "b"])),
        "pattern": draw(st.sampled_from(["2:4", "1:4", "4:8", "3:4", "2:8", "1:2", "3:5"])),
        "preload": draw(st.sampled_from(EXPOSURES)),
        "drain": draw(st.sampled_from(EXPOSURES)),
        "seed": draw(st.integers(0, 1000)),
    }


def operands(case):
    rng = np.random.default_rng(case["seed"])
    a = rng.integers(-9, 10, (case["m"], case["k"])).astype(float)
    b = rng.integers(-9, 10, (case["n"], case["k"])).astype(float)
    return a, b


def work_of(case, a, b):
    gemm = Gemm(case["m"], case["n"], case["k"])
    work = SparseGemm.dense(gemm)
    if not case["selected"]:
        return work, None
    pattern = Pattern.parse(case["pattern"])
    bits = prune(a if case["selected"] == "a" else b, pattern, "random", seed=case["seed"]).mask
    mask = Mask.of(bits, pattern)
    pair = (mask, work.b) if case["selected"] == "a" else (work.a, mask)
    return SparseGemm(gemm, *pair), bits


def expected(case, machine, a, b, bits):
    if bits is None:
        return oracle.simulate(case["dataflow"], machine.rows, machine.cols, a, b)
    return oracle.simulate(
        case["dataflow"],
        machine.rows,
        machine.cols,
        a,
        b,
        selected=case["selected"],
        mask=bits,
        native=(NATIVE.keep, NATIVE.group),
    )


@settings(max_examples=300)
@given(cases())
def test_cycles_and_product_are_the_oracles(case):
    machine = array(
        case["rows"],
        case["cols"],
        case["dataflow"],
        sparse_operand="either",
        preload=case["preload"],
        drain=case["drain"],
    )
    a, b = operands(case)
    work, bits = work_of(case, a, b)
    truth = expected(case, machine, a, b, bits)
    result = engine.run(machine, work)
    assert result.compute_cycles == truth.cycles(case["preload"], case["drain"])
    assert result.stall_cycles == 0
    np.testing.assert_array_equal(multiply(machine, work, a, b), truth.c)


@settings(max_examples=100)
@given(cases())
def test_a_transposing_array_runs_the_oracles_transposed_gemm(case):
    case["selected"] = "a"
    machine = array(case["rows"], case["cols"], case["dataflow"], sparse_operand="b")
    a, b = operands(case)
    work, bits = work_of(case, a, b)
    truth = oracle.simulate(
        case["dataflow"],
        machine.rows,
        machine.cols,
        b,
        a,
        selected="b",
        mask=bits,
        native=(NATIVE.keep, NATIVE.group),
    )
    result = engine.run(machine, work)
    np.testing.assert_array_equal(multiply(machine, work, a * bits, b), (a * bits) @ b.T)
    if not result.transposed:  # it would have been slower than running dense
        assert result.compute_cycles <= truth.cycles()
        return
    assert result.kernel == {"ws": "is", "is": "ws", "os": "os"}[case["dataflow"]]
    assert result.compute_cycles == truth.cycles()
    np.testing.assert_array_equal(truth.c.T, (a * bits) @ b.T)


def test_copies_are_products_of_their_own():
    machine = array(3, 4, "ws")
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2 * 5, 11)), rng.normal(size=(2 * 7, 11))
    bits = prune(b, NATIVE).mask
    work = SparseGemm(Gemm(5, 7, 11, count=2), Mask.dense(10, 11), Mask.of(bits, NATIVE))
    product = multiply(machine, work, a, b)
    np.testing.assert_allclose(product[:5], a[:5] @ (b * bits)[:7].T)
    np.testing.assert_allclose(product[5:], a[5:] @ (b * bits)[7:].T)
    alone = engine.run(machine, SparseGemm.dense(Gemm(5, 7, 11)))
    assert (
        engine.run(machine, SparseGemm.dense(Gemm(5, 7, 11, count=2))).compute_cycles
        == 2 * alone.compute_cycles
    )
