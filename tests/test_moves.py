"""What moves on an array: closed forms against moves that the PE-by-PE oracle makes."""

from collections import Counter
from math import ceil

import numpy as np
import oracle
import pytest
from test_monotone import cases

from nmsim import machines
from nmsim.errors import CapacityError
from nmsim.gemm import Gemm
from nmsim.machines import load_hardware
from nmsim.machines.systolic import cycle
from nmsim.machines.systolic.analytical import estimate
from nmsim.machines.systolic.closed_form.given import resources_of
from nmsim.machines.systolic.placement import with_masks, without_masks
from nmsim.machines.systolic.traffic import moves
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import Pattern

SIZES = [(7, 5, 9), (3, 11, 4), (13, 6, 17), (1, 1, 1), (4, 8, 12)]
ARRAYS = [(3, 4), (5, 2), (1, 6), (4, 1)]


def array(rows, cols, dataflow, **fields):
    given = {"order": "fixed", "dram": {"gbps": None}, "operand_bits": 8, "accumulator_bits": 8}
    machine = {"rows": rows, "cols": cols, "dataflow": dataflow, "sparse_operand": "either"}
    return load_hardware("systolic-128x128-2to4", **{**given, **machine, **fields})


@pytest.fixture
def seen(monkeypatch):
    """Words and sums that PEs of the oracle hand on; what enters at its edges; sums made."""
    counted = Counter()

    def real(word):
        """Not a bubble, and not padding: all values that an operand has are positive here."""
        if word is None:
            return False
        if isinstance(word, oracle.Bundle):
            return sum(map(real, word.words))
        if isinstance(word, oracle.Slot):
            return word.value != 0
        return any(word) if isinstance(word, tuple) else word != 0

    def sort(word):
        return "words" if isinstance(word, oracle.Slot | oracle.Bundle | tuple) else "sums"

    def watch(name):
        plain = getattr(oracle, name)

        def handed_on(entering, register):
            rows = [row[:-1] for row in register] if name == "from_left" else register[:-1]
            for word in (word for row in rows for word in row if word is not None):
                counted[sort(word)] += real(word)
                counted[name] += real(word) if sort(word) == "words" else 0
            for word in (word for word in entering if word is not None):
                counted["entered"] += real(word) if sort(word) == "words" else 0
            return plain(entering, register)

        monkeypatch.setattr(oracle, name, handed_on)

    def add(c, results, top, left, plain=oracle.add):
        counted["made"] += sum(len(row[: len(c[0]) - left]) for row in results[: len(c) - top])
        plain(c, results, top, left)

    watch("from_left")
    watch("from_above")
    monkeypatch.setattr(oracle, "add", add)
    return counted


def values(rng, *shape):
    return rng.integers(1, 9, shape)


def columns(machine, placement):
    """The columns of both fidelities, which are one: the closed form is cut as the folds were."""
    found = cycle.run(machine, placement).own
    cut = cycle.count(machine, placement)[0].cut
    assert estimate(machine, placement, cut).own == found
    return found


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("shape", ARRAYS)
@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_dense_moves_are_those_of_the_oracle(seen, dataflow, shape, sizes):
    m, n, k = sizes
    rng = np.random.default_rng(sizes)
    machine = array(*shape, dataflow)
    found = columns(machine, without_masks(machine, Gemm(m, n, k))[0])
    oracle.simulate(dataflow, *shape, values(rng, m, k), values(rng, n, k))
    assert (found["passed_words"], found["passed_sums"]) == (seen["words"], seen["sums"])
    assert found["sram_a_read_bytes"] + found["sram_b_read_bytes"] == seen["entered"]
    assert found["passed_bits"] == 8 * seen["words"]
    # A fold's sums are written; before, those it adds to are read; and all of C once to leave.
    assert found["sram_c_write_bytes"] == seen["made"]
    assert found["sram_c_read_bytes"] == seen["made"] - m * n + m * n
    assert (found["sram_a_write_bytes"], found["sram_b_write_bytes"]) == (m * k, n * k)
    assert found["spilled_sums"] == found["sram_metadata_read_bytes"] == 0


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("dot", "share"), [(2, 1), (3, 1), (2, 2), (4, 2)])
@pytest.mark.parametrize("dataflow", ["ws", "is"])
def test_pes_of_several_products_pass_on_a_word_for_those_that_share_it(
    seen, dataflow, dot, share, sizes
):
    m, n, k = sizes
    rng = np.random.default_rng(sizes)
    pe = {"macs_per_group": share}
    machine = array(3, 4, dataflow, dot_width=dot, pe=pe, native=["2:4"])
    found = columns(machine, without_masks(machine, Gemm(m, n, k))[0])
    a, b = values(rng, m, k), values(rng, n, k)
    held = {"ws": "b", "is": "a"}[dataflow]  # slots are held, and groups pass by
    every = np.ones({"a": a, "b": b}[held].shape, bool)
    pes = {"dot": dot, "share": share, "native": (share, share)}
    oracle.simulate(dataflow, 3, 4, a, b, selected=held, mask=every, **pes)
    assert (found["passed_words"], found["passed_sums"]) == (seen["words"], seen["sums"])
    assert found["sram_c_write_bytes"] == seen["made"]


@pytest.mark.parametrize("selected", ["a", "b"])
@pytest.mark.parametrize("shape", [(3, 4), (5, 2), (2, 3)])
@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_moves_with_selectors_are_those_of_the_oracle(seen, dataflow, shape, selected):
    """2:4 of one operand, every group with two: words of the other are groups of four."""
    m, n, k = 7, 6, 20
    rng = np.random.default_rng(3)
    kept = np.tile([True, False, True, False], ({"a": m, "b": n}[selected], k // 4))
    masks = {"a": Mask.dense(m, k), "b": Mask.dense(n, k)}
    masks[selected] = Mask.promising(Pattern(2, 4), len(kept), k, regular=True, source=lambda: kept)
    machine = array(*shape, dataflow)
    work = SparseGemm(Gemm(m, n, k), masks["a"], masks["b"])
    (placement,) = [one for one in with_masks(machine, work) if one.selected == selected]
    found = columns(machine, placement)
    oracle.simulate(dataflow, *shape, values(rng, m, k), values(rng, n, k),
                    selected=selected, mask=kept, native=(2, 4))  # fmt: skip
    assert (found["passed_words"], found["passed_sums"]) == (seen["words"], seen["sums"])
    assert found["sram_c_write_bytes"] == seen["made"]
    # Words from the left are of what streams, or of A; groups of four for slots and their indices.
    bits = {"a": 8 + 2, "b": 4 * 8} if selected == "a" else {"a": 4 * 8, "b": 8 + 2}
    left, above = ("b", "a") if dataflow == "is" else ("a", "b")
    passed_bits = seen["from_left"] * bits[left] + seen["from_above"] * bits[above]
    assert found["passed_bits"] == passed_bits
    # Of two bits for every slot, each time that the operand is read.
    held = dataflow in ("ws", "is")
    again = ceil(n / shape[1]) if dataflow == "ws" else ceil(m / shape[1])
    tiles = {"a": ceil(n / shape[1]), "b": ceil(m / shape[0])}[selected]
    still = selected == ("b" if dataflow == "ws" else "a")
    times = (1 if still else again) if held else tiles
    assert found["sram_metadata_read_bytes"] == -(-times * len(kept) * k // 2 * 2 // 8)


def test_chunks_hold_the_stationary_operand_anew(seen):
    """Half of the C buffer holds the sums of 4 rows of 4 columns: K is held anew for each 4."""
    m, n, k, rng = 14, 6, 9, np.random.default_rng(4)
    machine = array(3, 4, "ws", **{"sram.c_kib": 2 * 16 / 1024})
    placement = without_masks(machine, Gemm(m, n, k))[0]
    rows = cycle.count(machine, placement)[0].cut.rows
    assert rows <= 4
    found = columns(machine, placement)
    a, b = values(rng, m, k), values(rng, n, k)
    for first in range(0, m, rows):
        oracle.simulate("ws", 3, 4, a[first : first + rows], b)
    assert (found["passed_words"], found["passed_sums"]) == (seen["words"], seen["sums"])
    assert found["sram_c_write_bytes"] == seen["made"]
    assert found["sram_a_read_bytes"] + found["sram_b_read_bytes"] == seen["entered"]


def test_spilled_sums_pass_the_buffer_twice_more():
    fields = {"sram.c_kib": 2 * 16 / 1024, "partial_sums": "spill"}
    work = Gemm(14, 4, 9)
    few, all_of = (array(3, 4, "ws", **one) for one in (fields, {}))
    found, held = (columns(one, without_masks(one, work)[0]) for one in (few, all_of))
    spilled = 2 * (14 * 4 - 16)  # two of three folds leave what half of the buffer cannot hold
    assert found["spilled_sums"] == spilled
    for name in ("sram_c_read_bytes", "sram_c_write_bytes"):
        assert found[name] == held[name] + spilled
    assert found["passed_sums"] == held["passed_sums"]


def test_buses_pass_no_operand_on():
    machine = array(3, 4, "os", feed="broadcast")
    found = columns(machine, without_masks(machine, Gemm(7, 5, 9))[0])
    assert found["passed_words"] == 0 < found["passed_sums"]


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
def test_bytes_are_conserved(fidelity):
    """What DRAM sends is written to buffers; what they send is what rows have told before."""
    for _, work, machine, *_ in cases(range(80)):
        try:
            run = machines.simulate(machine, work, fidelity)
        except CapacityError:
            continue
        own = run.own
        assert set(own) == {column.name for column in moves.COLUMNS}
        sums = -(-own["spilled_sums"] * machine.accumulator_bits // 8)
        written = own["sram_a_write_bytes"] + own["sram_b_write_bytes"]
        assert abs(written + sums - run.dram_read_bytes) <= 3
        read = own["sram_a_read_bytes"] + own["sram_b_read_bytes"]
        assert 0 <= read - run.sram_read_bytes <= 1
        assert own["sram_metadata_read_bytes"] <= read
        if machine.im2col == "implicit" and work.b.is_dense:
            assert own["sram_metadata_read_bytes"] == 0


def test_tiles_alike_are_told_together():
    """As one by one, from slots that differ by tile and copy."""
    machine = array(3, 4, "ws")
    work = SparseGemm(Gemm(7, 10, 20, count=2), Mask.dense(14, 20), Mask.dense(20, 20))
    placement = without_masks(machine, work.gemm)[0]
    slots = np.full((2, 1), 20)
    assert moves.tiles_of(machine, placement, slots) == [(4, 4, 7, 20, 20), (2, 2, 7, 20, 20)]
    bits = np.ones((20, 20), bool)
    mask = Mask.promising(Pattern(4, 8), 20, 20, regular=False, source=lambda: bits)
    masked = SparseGemm(work.gemm, work.a, mask)
    (one,) = [way for way in with_masks(machine, masked) if way.selected == "b"]
    found = moves.tiles_of(machine, one, np.array([[20, 18, 20], [20, 18, 16]]))
    assert found == [
        (1, 2, 7, 16, 16),
        (1, 2, 7, 20, 20),
        (2, 4, 7, 18, 18),
        (2, 4, 7, 20, 20),
    ]
    resources = resources_of(machine)
    each = [moves.passed(resources, [tile._replace(alike=1)] * tile.alike) for tile in found]
    assert tuple(map(sum, zip(*each, strict=True))) == moves.passed(resources, found)
