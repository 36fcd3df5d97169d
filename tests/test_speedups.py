"""Which speed-up is meant: of GEMMs or of the step, over one dense run that no recipe changes."""

from concurrent.futures import ThreadPoolExecutor

import pytest

import nmsim
from nmsim.machines import load_hardware
from nmsim.recipes.recipe import load_recipe
from nmsim.result import totals
from nmsim.run.point import Point, rows
from nmsim.run.training import training_document

GPU, ARRAY = "a100-sxm4-80gb", "systolic-128x128-2to4"
RECIPES = ("dense", "asp", "transposable+mvue", "transposable+mvue-8bit", "fst")
DENSE = ("dense_cycles", "dense_time_us", "dense_step_us", "dense_elementwise_us")


@pytest.fixture
def network(tmp_path):
    """A convolution and a linear layer, both large enough for masks to gain on an array."""
    path = tmp_path / "network.yaml"
    path.write_text(
        "layers: [{name: c, type: conv, in_channels: 64, out_channels: 96, kernel: 3, padding: 1, "
        "input_size: 14, input: relu}, {name: l, type: linear, in_features: 512, "
        "out_features: 1024, tokens: 64, input: gelu}]"
    )
    return path


def summed(network, recipe, hardware=ARRAY, **more):
    point = Point(network, recipe=recipe, hardware=hardware, fidelity="analytical", **more)
    return totals(rows(point))


@pytest.mark.parametrize("hardware", [GPU, ARRAY, "ideal"])
def test_the_dense_run_is_the_same_for_all_recipes(network, hardware):
    of_dense = summed(network, "dense", hardware, elementwise=True)
    for recipe in RECIPES:
        found = summed(network, recipe, hardware, elementwise=True)
        assert found.keys() == of_dense.keys()
        for phase, total in found.items():
            for name in DENSE[:3]:
                assert total[name] == of_dense[phase][name] is not None, (recipe, phase, name)


@pytest.mark.parametrize("hardware", [GPU, ARRAY, "ideal"])
def test_speedups_of_totals_are_ratios_of_what_is_printed(network, hardware):
    by_cycles, by_speedup = [], []
    for recipe in RECIPES:
        for total in summed(network, recipe, hardware, elementwise=True).values():
            assert total["speedup"] == total["dense_cycles"] / total["cycles"]
            assert total["step_speedup"] == total["dense_step_us"] / total["step_us"]
            beside = total["mask_us"] + total["elementwise_us"]
            assert total["step_us"] == pytest.approx(total["time_us"] + beside)
        by_cycles.append((total["cycles"], recipe))
        by_speedup.append((1 / total["speedup"], recipe))
    # The last total of a recipe is of all phases: speed-ups order recipes as their cycles do.
    assert [recipe for _, recipe in sorted(by_cycles)] == [r for _, r in sorted(by_speedup)]


def test_the_share_of_a_format_is_told_apart_from_that_of_masks(network):
    both, masks = (
        list(rows(Point(network, recipe=recipe, hardware=GPU, fidelity="analytical")))
        for recipe in ("transposable+mvue-8bit", "transposable+mvue")
    )
    alone = load_recipe("transposable+mvue-8bit").model_copy(update={"operands": ()})
    narrow = list(rows(Point(network, recipe=alone, hardware=GPU, fidelity="analytical")))
    assert {row["format_speedup"] for row in masks} == {None}
    for row, own in zip(both, narrow, strict=True):
        if row["number_format"] == "bf16":
            assert row["format_speedup"] is None
        else:
            assert row["format_speedup"] == own["speedup"] == row["dense_cycles"] / own["cycles"]
    assert {row["number_format"] for row in both} == {"int8", "bf16"}
    assert totals(masks)["all"]["format_speedup"] is None
    total, unmasked = totals(both)["all"], totals(narrow)["all"]
    assert total["format_speedup"] == pytest.approx(unmasked["speedup"])
    assert total["speedup"] != pytest.approx(total["format_speedup"], rel=0.01)


def test_elementwise_work_of_a_dense_step_is_in_the_machines_own_format(network):
    narrow = load_recipe("asp").model_copy(
        update={"operands": (), "formats": {"forward": "int8", "update": "int8"}}
    )
    found = summed(network, narrow, GPU, elementwise=True)["all"]
    own = summed(network, "dense", GPU, elementwise=True)["all"]
    assert found["elementwise_us"] < own["elementwise_us"]
    assert found["dense_step_us"] == own["step_us"]


def test_one_state_gains_as_much_in_every_command(network):
    point = Point(network, recipe="sr-ste", hardware=ARRAY, batch=4)
    alone = totals(rows(point))["all"]
    with ThreadPoolExecutor(1) as pool:
        swept = list(*pool.map(rows, [point]))
    run = nmsim.train(network, recipe="sr-ste", hardware=ARRAY, batch=4, steps=7)
    trained = training_document(run)["total"]
    assert totals(swept)["all"] == alone
    assert trained["speedup"] == pytest.approx(alone["step_speedup"], rel=1e-12)
    assert alone["step_speedup"] < alone["speedup"]
    assert run.dense.time_us == pytest.approx(alone["dense_step_us"], rel=1e-12)


@pytest.mark.parametrize("masks", ["always", "where_they_pay"])
def test_the_masks_own_time_is_told_whether_they_run_or_not(network, masks):
    """4:8 on selectors of 2:4: nearly every group takes all its slots, and metadata beside."""
    machine = load_hardware(ARRAY, masks=masks)
    point = Point(network, recipe="sr-ste", pattern="4:8", hardware=machine, phases=["forward"])
    found = list(rows(point))
    total = totals(found)["all"]
    assert total["mask_cycles"] == sum(row["mask_cycles"] for row in found)
    assert total["mask_speedup"] == total["dense_cycles"] / total["mask_cycles"]
    used = totals(rows(Point(network, recipe="sr-ste", hardware=machine)))
    assert used["forward"]["mask_cycles"] == used["forward"]["cycles"]
    assert used["backward"]["mask_cycles"] is used["backward"]["mask_speedup"] is None
    # Phases without masks count as they run.
    assert used["all"]["mask_cycles"] == used["all"]["cycles"]
    if masks == "always":
        assert total["mask_cycles"] == total["cycles"]
    else:
        assert total["cycles"] <= min(total["mask_cycles"], total["dense_cycles"])


def test_without_a_dense_run_there_is_no_speedup(network):
    total = summed(network, "asp", compare=False)["all"]
    names = ("speedup", "format_speedup", "mask_speedup", "step_speedup", *DENSE)
    assert {total.get(name) for name in names} == {None}
    assert total["mask_cycles"] == total["cycles"]
    assert total["step_us"] > total["time_us"]


def test_nothing_has_no_speedup():
    total = totals([])["all"]
    assert total["dense_cycles"] is total["speedup"] is total["dense_step_us"] is None
