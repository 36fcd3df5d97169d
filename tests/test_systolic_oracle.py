"""The kernels against the PE-by-PE oracle: cycles, and C itself."""

import numpy as np
import oracle
import oracle_back_to_back
from hypothesis import given, settings
from hypothesis import strategies as st
from product import multiply

from nmsim import machines
from nmsim.gemm import Gemm
from nmsim.machines import load_hardware
from nmsim.machines.systolic import analytical, cycle
from nmsim.machines.systolic.placement import with_masks, without_masks
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import Pattern
from nmsim.pruning import prune

NATIVE = Pattern(2, 4)
EXPOSURES = ("exposed", "overlapped", "uncounted")
PERIODS = {"exposed": "exposed", "overlapped": "preload_hidden", "uncounted": "uncounted"}


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


@st.composite
def bus_cases(draw):
    """Arrays fed along buses, with dot products of several elements."""
    case = draw(cases())
    return {**case, "dataflow": "os", "dot": draw(st.integers(1, 5))}


@settings(max_examples=200)
@given(bus_cases())
def test_arrays_with_buses_and_dot_products_are_the_oracles(case):
    machine = array(
        case["rows"],
        case["cols"],
        "os",
        sparse_operand="either",
        drain=case["drain"],
        feed="broadcast",
        dot_width=case["dot"],
    )
    a, b = operands(case)
    work, bits = work_of(case, a, b)
    for placement, truth in truths(case, machine, work, a, b, bits, dot=case["dot"]):
        cycles = truth.cycles("exposed", case["drain"])
        assert cycle.run(machine, placement).compute_cycles == cycles
        if not placement.selected or case["pattern"] in ("2:4", "1:4", "1:2"):
            assert analytical.estimate(machine, placement).compute_cycles == cycles


@st.composite
def intersections(draw):
    """Two masks, of patterns or scattered, and an array that intersects them."""
    case = draw(cases())
    case |= {"group": draw(st.sampled_from([1, 2, 3, 4, 8])), "dataflow": "os"}
    case["lookahead"] = draw(st.sampled_from([0, 1, 2, 5, 40, None]))
    case["patterns"] = draw(
        st.tuples(*[st.sampled_from(["2:4", "1:4", "4:8", "1:2", "dense", "scattered"])] * 2)
    )
    return case


def two_masks(case, a, b):
    rng = np.random.default_rng(case["seed"])
    masks, bits = [], []
    for values, name in zip((a, b), case["patterns"], strict=True):
        if name == "scattered":
            kept, pattern = rng.random(values.shape) < rng.random(), Pattern(8, 9)
        else:
            pattern = Pattern.parse(name)
            kept = prune(values, pattern, "random", seed=case["seed"]).mask
        bits.append(kept)
        masks.append(Mask.dense(*kept.shape) if name == "dense" else Mask.of(kept, pattern))
    return masks, bits


@settings(max_examples=400)
@given(intersections())
def test_arrays_that_intersect_are_the_oracles(case):
    machine = array(
        case["rows"],
        case["cols"],
        "os",
        feed="broadcast",
        order="fixed",
        drain=case["drain"],
        native=[],
        intersecting={"group": case["group"], "lookahead": case["lookahead"]},
    )
    a, b = operands(case)
    masks, bits = two_masks(case, a, b)
    work = SparseGemm(Gemm(case["m"], case["n"], case["k"]), *masks)
    truth = oracle.simulate_intersecting(
        case["rows"], case["cols"], a, b, bits, case["group"], case["lookahead"]
    )
    np.testing.assert_array_equal(truth.c, (a * bits[0]) @ (b * bits[1]).T)
    result = machines.simulate(machine, work)
    assert result.compute_cycles == truth.cycles("exposed", case["drain"])
    assert result.macs_issued == work.macs_useful


@settings(max_examples=200)
@given(
    st.tuples(*[st.integers(1, 9)] * 3),
    st.floats(0.5, 200).map(lambda x: round(x, 2)),
    st.sampled_from([8, 16]),
)
def test_a_narrow_path_slows_a_fold_as_the_oracle_says(sizes, words, width):
    """One fold: every step takes a lane's element of each of M rows and N columns."""
    m, n, k = sizes
    machine = array(
        m,
        n,
        "os",
        feed="broadcast",
        drain="uncounted",
        operand_bits=width,
        delivery={"words_per_cycle": words, "word_bits": 4},
    )
    result = machines.simulate(machine, SparseGemm.dense(Gemm(m, n, k)))
    assert result.compute_cycles == oracle.carried([(m + n) * width] * k, 4 * words)
    assert result.delivery_cycles == max(0, result.compute_cycles - k)
    assert (result.a_bits_per_cycle, result.b_bits_per_cycle) == (m * width, n * width)


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


def truths(case, machine, work, a, b, bits, dot=None):
    """Every way in which the array may run the GEMM, and the oracle's run of it; C is checked."""
    ways = [*with_masks(machine, work), *without_masks(machine, work.gemm)]
    assert {way.transposed for way in ways} == {False, True}
    assert any(way.selected for way in ways) == (bits is not None)
    pruned = {"a": a, "b": b}
    if bits is not None:
        pruned[case["selected"]] = pruned[case["selected"]] * bits
    product = pruned["a"] @ pruned["b"].T
    for way in ways:
        operands = (b, a) if way.transposed else (a, b)
        fields = {}
        if way.selected:
            fields = {"mask": bits, "native": (NATIVE.keep, NATIVE.group)}
            fields["selected"] = way.selected
        else:
            operands = (pruned["b"], pruned["a"]) if way.transposed else (pruned["a"], pruned["b"])
        truth = oracle.simulate(
            case["dataflow"], machine.rows, machine.cols, *operands, dot=dot, **fields
        )
        np.testing.assert_array_equal(truth.c.T if way.transposed else truth.c, product)
        np.testing.assert_array_equal(multiply(machine, way, pruned["a"], pruned["b"]), product)
        yield way, truth


@settings(max_examples=300)
@given(cases())
def test_cycles_and_product_are_the_oracles(case):
    machine = array(
        case["rows"],
        case["cols"],
        case["dataflow"],
        sparse_operand="either",
        fold_period=PERIODS[case["preload"]],
        drain=case["drain"],
    )
    a, b = operands(case)
    work, bits = work_of(case, a, b)
    for placement, truth in truths(case, machine, work, a, b, bits):
        result = cycle.run(machine, placement)
        assert result.compute_cycles == truth.cycles(case["preload"], case["drain"])
        assert result.stall_cycles == 0
        turned = {"ws": "is", "is": "ws", "os": "os"}[case["dataflow"]]
        assert result.kernel == (turned if placement.transposed else case["dataflow"])


@settings(max_examples=2000)
@given(cases(), st.sampled_from([0.0625, 0.25, 64]))
def test_folds_back_to_back_are_the_oracles(case, kib):
    """Registers that stand behind those in use, chunks and ragged folds: cycles and product."""
    machine = array(
        case["rows"],
        case["cols"],
        case["dataflow"],
        sparse_operand="either",
        fold_period="back_to_back",
        drain="back_to_back",
        **{"sram.c_kib": kib},
    )
    a, b = operands(case)
    work, bits = work_of(case, a, b)
    pruned = {"a": a, "b": b}
    if bits is not None:
        pruned[case["selected"]] = pruned[case["selected"]] * bits
    for way in [*with_masks(machine, work), *without_masks(machine, work.gemm)]:
        fields = {}
        if way.selected:
            fields = {"mask": bits, "native": (NATIVE.keep, NATIVE.group)}
            fields["selected"] = way.selected
        given_operands = (b, a) if way.transposed else (a, b)
        if not way.selected:
            given_operands = (pruned["b"], pruned["a"])
            given_operands = given_operands if way.transposed else given_operands[::-1]
        cut = cycle.count(machine, way)[0].cut
        truth = oracle_back_to_back.simulate(
            case["dataflow"],
            machine.rows,
            machine.cols,
            *given_operands,
            chunk=cut.rows or None,
            **fields,
        )
        product = pruned["a"] @ pruned["b"].T
        np.testing.assert_array_equal(truth.c.T if way.transposed else truth.c, product)
        result = cycle.run(machine, way)
        assert (result.compute_cycles, result.stall_cycles) == (truth.cycles, 0)
        if not way.selected or way.selected_mask.obeys(NATIVE):
            assert analytical.estimate(machine, way, cut).cycles == truth.cycles


@settings(max_examples=100)
@given(cases())
def test_an_array_whose_selectors_stand_at_b_runs_the_oracles_fastest_order(case):
    case["selected"] = case["selected"] or "a"
    machine = array(case["rows"], case["cols"], case["dataflow"], sparse_operand="b")
    a, b = operands(case)
    work, bits = work_of(case, a, b)
    runs = [
        (placement, truth.cycles()) for placement, truth in truths(case, machine, work, a, b, bits)
    ]
    # Selectors at B meet a mask of A where the GEMM is turned, and one of B where it is not.
    assert {one.transposed for one, _ in runs if one.selected} == {case["selected"] == "a"}
    assert machines.simulate(machine, work).cycles == min(cycles for _, cycles in runs)


def test_copies_are_products_of_their_own():
    machine = array(3, 4, "ws")
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2 * 5, 11)), rng.normal(size=(2 * 7, 11))
    bits = prune(b, NATIVE).mask
    work = SparseGemm(Gemm(5, 7, 11, count=2), Mask.dense(10, 11), Mask.of(bits, NATIVE))
    ways = with_masks(machine, work)
    assert [way.transposed for way in ways if way.selected] == [False, True]
    for way in ways:
        product = multiply(machine, way, a, b * bits)
        np.testing.assert_allclose(product[:5], a[:5] @ (b * bits)[:7].T)
        np.testing.assert_allclose(product[5:], a[5:] @ (b * bits)[7:].T)
    alone = machines.simulate(machine, SparseGemm.dense(Gemm(5, 7, 11)))
    assert (
        machines.simulate(machine, SparseGemm.dense(Gemm(5, 7, 11, count=2))).compute_cycles
        == 2 * alone.compute_cycles
    )
