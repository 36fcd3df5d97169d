"""How an array chooses: the fastest of all ways to run a GEMM, by the clock of who asks.

And what follows for tables: one dense run for all rows, so that speed-ups are ratios of cycles.
"""

import itertools
import math
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import fast_first

from nmsim import machines
from nmsim.errors import CapacityError
from nmsim.gemm import PHASES, Gemm
from nmsim.machines import FIDELITIES, HARDWARE, load_hardware
from nmsim.machines.systolic import cycle, mapper
from nmsim.machines.systolic.analytical import estimate
from nmsim.machines.systolic.mapper import BEYOND
from nmsim.machines.systolic.placement import with_masks, without_masks
from nmsim.mask import Mask, SparseGemm
from nmsim.mask.words import pack
from nmsim.pattern import DENSE, Pattern
from nmsim.pruning import prune
from nmsim.recipes.recipe import RECIPES, load_recipe
from nmsim.result import totals
from nmsim.run.point import Job, Point, rows
from nmsim.run.store import COLUMNS_OF
from nmsim.run.sweep import outcomes
from nmsim.run.training import run_training

CLOCKS = {"cycle": cycle.run, "analytical": estimate}
ARRAYS = [name for name in HARDWARE if load_hardware(name).kind == "systolic"]
PATTERNS = ["1:2", "2:4", "1:4", "3:4", "4:8", "2:8", "7:8", "3:5", "8:16"]


def mask(rng, rows, k, pattern, how):
    """A mask drawn at random: known by its pattern, by its bits, or made along another axis."""
    if pattern is None:
        return Mask.dense(rows, k)
    if how == "unfit":
        turned = prune(rng.normal(size=(k, rows)), pattern, "random").mask.T
        bits = np.ascontiguousarray(turned)
        return Mask.promising(
            pattern, rows, k, regular=False, source=lambda: pack(bits), fits=False
        )
    bits = prune(rng.normal(size=(rows, k)), pattern, "random", seed=int(rng.integers(99))).mask
    if how == "fewer":
        bits = bits & (rng.random(bits.shape) < 0.6)
    return Mask.promising(pattern, rows, k, regular=how == "regular", source=lambda: pack(bits))


def masked_gemm(rng, gemm, which=("", "a", "b", "ab"), patterns=PATTERNS):
    """A GEMM with masks of neither operand, one or both."""
    masked = str(rng.choice(which))
    hows = ["regular", "fewer", "unfit"]
    a, b = (
        mask(
            rng,
            rows * gemm.count,
            gemm.k,
            Pattern.parse(str(rng.choice(patterns))) if position in masked else None,
            str(rng.choice(hows)),
        )
        for position, rows in (("a", gemm.m), ("b", gemm.n))
    )
    return SparseGemm(gemm, a, b)


def sizes(rng, most):
    return (int(math.exp(rng.uniform(0, math.log(most)))) for _ in range(3))


def drawn_array(rng):
    """An array of the catalog with some of its fields drawn."""
    names = [name for name in ARRAYS if load_hardware(name).intersecting is None]
    name = str(rng.choice([*names, "systolic-128x128-2to4", "systolic-128x128-2to4"]))
    base = load_hardware(name)
    fields = {"order": str(rng.choice(["best", "best", "fixed"]))}
    fields["masks"] = str(rng.choice(["where_they_pay", "where_they_pay", "always"]))
    if rng.random() < 0.7:
        fields |= {"rows": int(rng.integers(1, 65)), "cols": int(rng.integers(1, 65))}
        fields |= {f"sram.{one}_kib": float(2 ** rng.uniform(0, 8)) for one in "abc"}
        fields["dram.gbps"] = [None, *np.exp(rng.uniform(-1, 7, 2)).tolist()][rng.integers(3)]
        fields["dram.latency_ns"] = float(rng.choice([0, 100, 2000]))
    if base.native or base.flexible_group:
        fields["sparse_operand"] = str(rng.choice(["a", "b", "either"]))
    if base.feed == "skewed":
        fields["dataflow"] = str(rng.choice(["os", "ws", "is"]))
    return load_hardware(name, arrays=1, **fields)


def ways(machine, work):
    """All placements that the fields of an array leave open for a GEMM."""
    masked = with_masks(machine, work)
    if machine.masks == "always" and masked:
        return masked
    return [*masked, *without_masks(machine, work.gemm)]


def open_ways(machine, placements):
    """Placements but for those that a buffer is too small for, in either fidelity."""
    found = []
    for one in placements:
        with suppress(CapacityError):
            estimate(machine, one)
            cycle.run(machine, one)
            found.append(one)
    return found


@settings(max_examples=2000)
@given(st.integers(0, 2**32))
def test_nothing_that_was_passed_over_is_faster(seed):
    """Every placement of 2,000 drawn GEMMs is run, those too that the cycle model does not try."""
    rng = np.random.default_rng(seed)
    machine = drawn_array(rng)
    work = masked_gemm(rng, Gemm(*sizes(rng, 1000), count=int(rng.choice([1, 1, 3]))))
    if not open_ways(machine, without_masks(machine, work.gemm)):
        with pytest.raises(CapacityError):
            machines.simulate_dense(machine, work.gemm)
        return
    for fidelity, clock in CLOCKS.items():
        all_ways = [(way, clock(machine, way)) for way in open_ways(machine, ways(machine, work))]
        if not all_ways:
            return
        found = machines.simulate(machine, work, fidelity)
        least = min(run.cycles for _, run in all_ways)
        assert found.cycles == least, (fidelity, found.chosen)
        # The choice is one of them, not a mixture; of those as fast the one of fewest bytes, but
        # for those that the cycle model has not tried.
        bytes_of = [
            run.dram_read_bytes + run.dram_write_bytes for _, run in all_ways if run.cycles == least
        ]
        moved = found.dram_read_bytes + found.dram_write_bytes
        assert moved == min(bytes_of) if fidelity == "analytical" else moved in bytes_of
        masked = [run.cycles for way, run in all_ways if way.uses_masks]
        assert found.mask_cycles == min(masked, default=None)
    dense = machines.simulate_dense(machine, work.gemm)
    if machine.masks == "where_they_pay":
        assert machines.simulate(machine, work).cycles <= dense.cycles
    for placement in open_ways(machine, without_masks(machine, work.gemm)):
        assert dense.cycles <= cycle.run(machine, placement).cycles


@pytest.mark.parametrize("draws", fast_first([12, 40], 1))
def test_arrays_that_intersect_choose_too(draws):
    rng = np.random.default_rng(0)
    for _ in range(draws):
        fields = {"rows": int(rng.integers(1, 20)), "cols": int(rng.integers(1, 20))}
        if rng.random() < 0.5:
            fields["cols"] = fields["rows"]  # one order's folds are those of the other, turned
        fields["dram.gbps"] = float(np.exp(rng.uniform(0, 6)))
        machine = load_hardware("systolic-128x128-intersecting", **fields)
        work = masked_gemm(rng, Gemm(*sizes(rng, 200), count=int(rng.choice([1, 2]))))
        for fidelity, clock in CLOCKS.items():
            least = min(clock(machine, way).cycles for way in ways(machine, work))
            assert machines.simulate(machine, work, fidelity).cycles == least
        for straight, turned in itertools.pairwise(with_masks(machine, work)):
            # Folds that are counted once for both orders are those of the GEMM given turned.
            (own,) = with_masks(load_hardware(machine, order="fixed"), work.swapped())
            assert (straight.transposed, turned.transposed, own.transposed) == (False, True, False)
            assert cycle.run(machine, straight).macs_issued == work.macs_useful
            found, counted = (cycle.run(machine, way) for way in (turned, own))
            assert (found.cycles, found.compute_cycles) == (counted.cycles, counted.compute_cycles)


@settings(max_examples=400)
@given(st.integers(0, 2**32))
def test_nothing_that_was_not_tried_is_faster(seed):
    """The same where the cycle model does pass over: many bits of regular masks, many folds."""
    rng = np.random.default_rng(seed)
    rows, cols = (int(rng.integers(4, 33)) for _ in range(2))
    machine = load_hardware(
        str(rng.choice(["systolic-128x128-2to4", "vegeta-like-32x16"])),
        rows=rows,
        cols=cols,
        dataflow=str(rng.choice(["os", "ws", "is"])) if rows % 2 else "ws",
        dot_width=int(rng.integers(1, 4)),
        feed="skewed",
        sparse_operand=str(rng.choice(["a", "b", "either"])),
        **{"dram.gbps": float(rng.choice([10, 1000])), "sram.c_kib": float(rng.choice([1, 64]))},
    )
    m, n, _ = sizes(rng, 600)
    k = int(rng.integers(8 * rows, 12 * rows + 200))
    pattern = Pattern.parse(str(rng.choice(["4:8", "3:4", "3:5", "8:16", "5:8"])))
    masks = [mask(rng, lanes, k, pattern, "regular") for lanes in (m, n)]
    if rng.random() < 0.7:
        masks[int(rng.random() < 0.5)] = None
    a, b = (one or Mask.dense(lanes, k) for one, lanes in zip(masks, (m, n), strict=True))
    work = SparseGemm(Gemm(m, n, k), a, b)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapper, "MANY", 1 << 13)
        found = machines.simulate(machine, work)
    least = min(cycle.run(machine, way).cycles for way in ways(machine, work))
    assert found.cycles == least


def test_a_placement_far_beyond_the_closed_forms_best_is_not_run(monkeypatch):
    """The cycle model reads many bits only where closed forms give the mask some hope."""
    tried = []
    original = cycle.tile_slots

    def spy(mask, *rest):
        tried.append(mask)
        return original(mask, *rest)

    monkeypatch.setattr(cycle, "tile_slots", spy)
    machine = load_hardware("systolic-128x128-2to4")
    rng = np.random.default_rng(0)
    gemm = Gemm(16384, 512, 2048)
    pruned = mask(rng, 512, 2048, Pattern(4, 8), "regular")
    work = SparseGemm(gemm, Mask.dense(16384, 2048), pruned)
    beyond = [
        estimate(machine, way).cycles > BEYOND * machines.simulate_dense(machine, gemm).cycles
        for way in with_masks(machine, work)
    ]
    assert sorted(beyond) == [False, True]
    machines.simulate(machine, work)
    assert sum(one is work.b for one in tried) == 1


@pytest.mark.parametrize(("expected", "kept"), [(100, [100, 130]), (50, [100]), (200, None)])
def test_what_takes_long_to_run_is_tried_if_it_is_foreseen_near(expected, kept, monkeypatch):
    """Up to 1.3 times the dense run's cycles, and in any case the fastest of them."""
    monkeypatch.setattr(mapper, "_is_long", lambda *_: True)
    foreseen = [mapper.Timed(cycles, cycles, None) for cycles in (100, 130, 131)]
    tried = mapper._worth_a_try(None, foreseen, mapper.Timed(None, expected, None))
    assert tried == (kept or [100, 130, 131])
    monkeypatch.setattr(mapper, "_is_long", lambda _, cycles: cycles == 100)
    assert mapper._worth_a_try(None, foreseen, foreseen[0]) == [100, 130, 131]


def without_words(result):
    return replace(result, note="", chosen="", mask_cycles=None, misfit_share=None)


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("name", [*ARRAYS, "systolic-128x128-2to4 as given"])
def test_a_mask_that_the_array_cannot_use_changes_nothing_but_words(name, fidelity):
    machine = load_hardware(name.removesuffix(" as given"))
    if name != machine.name:  # selectors that nothing brings a mask of A to
        machine = load_hardware(machine, order="fixed", sparse_operand="b")
    rng = np.random.default_rng(1)
    unusable = 0
    for text, k in itertools.product(PATTERNS, (37, 400)):
        gemm = Gemm(200, 96, k)
        a = mask(rng, 200, k, Pattern.parse(text), "regular")
        work = SparseGemm(gemm, a, Mask.dense(96, k))
        if with_masks(machine, work):
            continue
        unusable += 1
        run, dense = (
            machines.simulate(machine, one, fidelity) for one in (work, SparseGemm.dense(gemm))
        )
        assert without_words(run) == without_words(dense)
        assert (run.chosen, run.mask_cycles) == (dense.chosen, None)
        assert "dense" in run.note or "no selectors" in run.note
    selects = bool(machine.native or machine.flexible_group or machine.intersecting)
    assert unusable if name != machine.name or not selects else True


# ---- one dense run


LAYER2_AND_FC = "*[fr][2c]*"


@pytest.fixture(scope="module", params=[LAYER2_AND_FC, pytest.param("*", marks=pytest.mark.slow)])
def tables(request):
    """Rows of resnet18 under every recipe that has no layers of its own, by recipe and batch."""
    found = {}
    of_any_network = [
        name
        for name in RECIPES
        if not load_recipe(name).brought
        and all(one.layers == "*" for one in load_recipe(name).operands)
    ]
    for recipe, batch in itertools.product(of_any_network, (1, 4)):
        chosen = {"recipe": recipe, "batch": batch, "layers": request.param}
        found[recipe, batch] = list(rows(Point("resnet18", fidelity="analytical", **chosen)))
    return found


def test_the_dense_run_does_not_depend_on_the_recipe(tables):
    for batch in (1, 4):
        dense = [
            [(row["layer"], row["phase"], row["dense_cycles"]) for row in table]
            for (_, of), table in tables.items()
            if of == batch
        ]
        assert all(one == dense[0] for one in dense)
        assert all(row["cycles"] == row["dense_cycles"] for row in tables["dense", batch])


def test_every_speedup_is_a_ratio_of_cycles(tables):
    for (_, batch), table in tables.items():
        for row, dense in zip(table, tables["dense", batch], strict=True):
            assert row["speedup"] == dense["cycles"] / row["cycles"]
            if row["number_format"] == dense["number_format"]:
                assert row["speedup"] >= 1


def test_recipes_are_ordered_by_speedup_as_by_time(tables):
    for batch, phase in itertools.product((1, 4), (*PHASES, "all")):
        found = [totals(table)[phase] for (_, of), table in tables.items() if of == batch]
        for time, speedup in (("cycles", "speedup"), ("step_us", "step_speedup")):
            by_time = sorted(found, key=lambda one: one[time])
            speedups = [one[speedup] for one in by_time]
            assert speedups == sorted(speedups, reverse=True)
        assert len({one["cycles"] for one in found}) > 2 or phase == "update"


@pytest.mark.parametrize("model", ["vit-tiny", pytest.param("resnet18", marks=pytest.mark.slow)])
@pytest.mark.parametrize("recipe", ["asp", "transposable", "fst", "mvue", "transposable+mvue-8bit"])
def test_simulating_sweeping_and_training_tell_the_same(recipe, model, tmp_path):
    """Of one state of the masks: steps of one stage, at the recipe's last patterns."""
    point = Point(
        model=model,
        recipe=recipe,
        batch=2,
        hardware="systolic-128x128-2to4",
        fidelity="analytical",
    )
    simulated = totals(rows(point))["all"]
    ((_, swept),) = outcomes([(0, point)], "totals")
    _, *own = swept.rows["total"][-1]
    assert dict(zip(COLUMNS_OF["total"][1:], own, strict=True)) == simulated
    own = {name: getattr(point, name) for name in ("model", "recipe", "batch", "hardware")}
    trained = run_training(Job(**own, fidelity="analytical"), 1000, "")
    dense_us = trained.dense.time_us
    assert dense_us == pytest.approx(simulated["dense_step_us"])
    last = trained.segments[-1].step if recipe != "fst" else trained.segments[0].step
    assert last.time_us == pytest.approx(simulated["step_us"])
    assert dense_us / last.time_us == pytest.approx(simulated["step_speedup"])


# ---- gains and what they come from


@settings(max_examples=300)
@given(st.integers(0, 2**32))
def test_a_gain_above_the_ratio_of_macs_comes_from_fewer_folds_or_bytes(seed):
    rng = np.random.default_rng(seed)
    machine = drawn_array(rng)
    work = masked_gemm(rng, Gemm(*sizes(rng, 1000)), which=("a", "b", "ab"))
    placed = {way.transposed: way for way in open_ways(machine, without_masks(machine, work.gemm))}
    for way in open_ways(machine, with_masks(machine, work)):
        if way.transposed not in placed:
            continue
        run, dense = (cycle.run(machine, one) for one in (way, placed[way.transposed]))
        if run.dram_read_bytes < dense.dram_read_bytes:
            continue  # explained
        whole, slots = (work.k * one.macs_issued / work.gemm.macs for one in (dense, run))
        together = machine.depth if way.dataflow.rows == "k" else machine.dot_width
        folds = math.ceil(whole / together) / math.ceil(slots / together)
        if machine.holds_groups:  # all groups of a fold stay for as many beats, short ones too
            folds = math.ceil(machine.group / machine.pe.macs_per_group)
        ratio = max(1, whole / slots, folds)  # folds, and steps of dot products, are whole
        if way.selected and not way.selected_mask.obeys(way.native):  # tiles differ in slots
            ratio = max(ratio, dense.compute_cycles / run.compute_cycles)
        assert dense.cycles <= ratio * run.cycles + 1


# ---- counts that can be


@settings(max_examples=1500)
@given(st.integers(0, 2**32), st.sampled_from(list(HARDWARE)), st.sampled_from(FIDELITIES))
def test_useful_macs_are_issued_and_issued_macs_fit_the_cycles(seed, name, fidelity):
    rng = np.random.default_rng(seed)
    machine = load_hardware(name)
    if machine.kind == "systolic" and rng.random() < 0.5:
        fields = {"rows": int(rng.integers(1, 10)), "cols": int(rng.integers(1, 10))}
        machine = load_hardware(name, masks=str(rng.choice(["always", "where_they_pay"])), **fields)
    group = int(rng.integers(2, 33))
    pattern = f"{rng.integers(1, group)}:{group}"
    gemm = Gemm(*sizes(rng, 150), count=int(rng.choice([1, 1, 2])), repeat=int(rng.choice([1, 3])))
    work = masked_gemm(rng, gemm, patterns=[pattern, "2:4", "3:4", "1:2"])
    run = machines.simulate(machine, work, fidelity)
    assert work.macs_useful <= run.macs_issued <= run.cycles * run.peak_macs


@pytest.mark.parametrize("seed", range(40))
def test_a_single_pe_that_intersects_takes_a_cycle_for_every_product(seed):
    """Closed forms expect so many products; masks that leave more take as many cycles."""
    rng = np.random.default_rng(seed)
    memory = {"dram.gbps": None, "dram.latency_ns": 0.0}
    machine = load_hardware("systolic-128x128-intersecting", rows=1, cols=1, **memory)
    work = masked_gemm(rng, Gemm(*sizes(rng, 40), repeat=2), which=("ab",))
    for fidelity in FIDELITIES:
        run = machines.simulate(machine, work, fidelity)
        assert work.macs_useful <= run.macs_issued <= run.cycles


def test_a_short_last_group_takes_what_it_keeps():
    """3:4 under 1:4 selectors: three slots a group, and all of the last three elements of 147."""
    machine = load_hardware("vegeta-like-32x16", masks="always")
    stem = Gemm(12544, 64, 147)
    pruned = Mask.promising(
        Pattern(3, 4), 64, 147, regular=True, source=lambda: pytest.fail("no bits")
    )
    work = SparseGemm(stem, Mask.dense(12544, 147), pruned)
    run = machines.simulate(machine, work, "analytical")
    assert run.macs_issued == work.macs_useful == 12544 * 64 * (36 * 3 + 3)
    assert DENSE.stored(147) == 147
