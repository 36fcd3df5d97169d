"""Masks of what attention multiplies: against loops over heads, their cost, and who uses them."""

import json

import numpy as np
import pandas as pd
import pytest

import nmsim
from nmsim.errors import RecipeError, SpecError
from nmsim.machines import FIDELITIES, load_hardware
from nmsim.network.catalog import Network
from nmsim.network.operand import ATTENTION_ROLES
from nmsim.network.tensors import Synthetic
from nmsim.pattern import Pattern
from nmsim.recipes.masking import sparse_gemms
from nmsim.recipes.recipe import Recipe, load_recipe
from nmsim.recipes.setting import Setting, mask_seed
from nmsim.run.point import Point, rows
from nmsim.spec import validate
from nmsim.step.masks import mask_steps, once_us

BATCH = 2
SIZES = {"heads": 4, "kv_heads": 2, "head_dim": 8, "v_head_dim": 12, "queries": 5, "keys": 16}
OPERAND = {  # A or B of which product, by role and phase, and the axis of K: features or rows
    ("query", "forward"): ("1/2", "a", "features"),
    ("key", "forward"): ("1/2", "b", "features"),
    ("probabilities", "forward"): ("2/2", "a", "features"),
    ("value", "forward"): ("2/2", "b", "rows"),
    ("value", "backward"): ("1/4", "b", "features"),
    ("probabilities", "backward"): ("2/4", "a", "rows"),
    ("key", "backward"): ("3/4", "b", "rows"),
    ("query", "backward"): ("4/4", "b", "rows"),
}


def network(**more):
    layer = {"name": "core", "type": "attention", **SIZES, **more}
    return Network(source="s", layers=(layer,))


def recipe(*offers):
    return Recipe(summary="s", source="s", operands=offers)


def offer(role="probabilities", phases=("forward",), **more):
    return {"role": role, "phases": phases, "pruner": "magnitude", **more}


def works(chosen, net=None, pattern="2:4"):
    setting = Setting(chosen, Pattern.parse(pattern), Synthetic(), BATCH)
    found = sparse_gemms((net or network()).layers, setting)
    return {work.gemm.part: work for work in found}


def matrices(net, role):
    """Every group's heads one below the other, by loops: [group of a sample, rows, features]."""
    (layer,) = net.layers
    tensor = np.concatenate(list(Synthetic().blocks(layer, role, BATCH)))
    share = SIZES["heads"] // SIZES["kv_heads"]
    found = []
    for sample in tensor:
        for group in range(SIZES["kv_heads"]):
            heads = range(group * share, (group + 1) * share)
            if role == "probabilities":
                found.append(np.concatenate([sample[head] for head in heads]))
                continue
            width = SIZES["v_head_dim"] if role == "value" else SIZES["head_dim"]
            own = heads if role == "query" else [group]
            parts = [sample[:, head * width : (head + 1) * width] for head in own]
            found.append(np.concatenate(parts))
    return found


@pytest.mark.parametrize(("role", "phase"), OPERAND)
@pytest.mark.parametrize("pattern", ["2:4", "1:2"])
def test_a_mask_is_made_along_k_of_its_product(role, phase, pattern):
    part, side, axis = OPERAND[role, phase]
    net = network()
    work = works(recipe(offer(role, (phase,))), net, pattern)[part]
    whole = [m if axis == "features" else m.T for m in matrices(net, role)]
    expected = np.concatenate([nmsim.prune(m, pattern, "magnitude").mask for m in whole])
    mask = getattr(work, side)
    assert np.array_equal(mask.bits(), expected)
    assert mask.fits
    assert mask.pattern == Pattern.parse(pattern)
    other = work.b if side == "a" else work.a
    assert other.is_dense


def test_every_role_is_an_operand_of_two_products():
    assert {role for role, _ in OPERAND} == set(ATTENTION_ROLES)


@pytest.mark.parametrize("role", ATTENTION_ROLES)
def test_no_other_product_is_offered_the_mask(role):
    found = works(recipe(offer(role)))
    masked = {part for part, work in found.items() if not (work.a.is_dense and work.b.is_dense)}
    assert masked == {OPERAND[role, "forward"][0]}


def test_backward_takes_a_mask_along_both_axes_alone():
    both = ("forward", "backward")
    plain = works(recipe(offer(phases=both)))
    assert plain["2/4"].a.is_dense
    assert "probabilities runs dense: its magnitude mask is made along K of forward" in (
        plain["2/4"].note
    )
    assert not plain["2/2"].note
    assert not plain["3/4"].note
    square = network(queries=8)  # 16 rows of two heads: whole tiles
    turned = works(recipe(offer(phases=both, pruner="transposable")), square)
    rows, k = turned["2/2"].a.bits(), turned["2/4"].a.bits()
    copies = BATCH * SIZES["kv_heads"]
    for of_rows, of_keys in zip(np.split(rows, copies), np.split(k, copies), strict=True):
        assert np.array_equal(of_rows.T, of_keys)
        for bits in (of_rows, of_keys):
            assert (bits.reshape(len(bits), -1, 4).sum(2) <= 2).all()
    assert rows.any()
    assert not rows.all()
    unfit = works(recipe(offer(phases=both, allow_unfit=True)))
    assert not unfit["2/4"].a.is_dense
    assert not unfit["2/4"].a.fits


def test_a_pruner_that_draws_is_seeded_by_role_and_layer():
    net = network()
    work = works(recipe(offer(pruner="random")), net)["2/2"]
    seed = mask_seed(0, "core", "probabilities", "forward")
    whole = np.concatenate(matrices(net, "probabilities"))
    expected = nmsim.prune(whole, "2:4", "random", seed=seed).mask
    assert np.array_equal(work.a.bits(), expected)


def test_probabilities_are_a_softmax_and_the_others_are_not():
    (layer,) = network().layers
    drawn = {
        role: np.concatenate(list(Synthetic().blocks(layer, role, BATCH)))
        for role in ATTENTION_ROLES
    }
    np.testing.assert_allclose(drawn["probabilities"].sum(-1), 1, rtol=1e-5)
    for role in ("query", "key", "value"):
        assert (drawn[role] < 0).any()


@pytest.mark.parametrize("hardware", ["ideal", "systolic-128x128-2to4", "a100-sxm4-80gb"])
def test_dfss_gains_in_one_product(hardware, tmp_path):
    path = tmp_path / "long.yaml"
    path.write_text(
        "sequence: 2048\nlayers: [{name: core, type: attention, heads: 8, head_dim: 64}]"
    )
    products = {"fused_attention": False} if hardware == "a100-sxm4-80gb" else {}
    df = nmsim.simulate(
        path,
        hardware=hardware,
        recipe="dfss",
        batch=1,
        fidelity="analytical",
        overrides=products,  # held against the same products, dense
    )
    rows = {row["part"]: row for row in df.to_dict("records")}
    assert {part for part, row in rows.items() if row["a_pattern"] != "dense"} == {"2/2"}
    assert set(df["b_pattern"]) == {"dense"}
    pv = rows.pop("2/2")
    assert pv["speedup"] > 1
    assert pv["macs_useful"] * 2 == pv["macs_dense"]
    assert pv["compressed"] == "a" or hardware == "ideal"
    if hardware == "ideal":
        assert pv["speedup"] == 2
    assert {row["speedup"] for row in rows.values()} == {1}
    assert [part for part, row in rows.items() if "runs dense" in row["note"]] == ["2/4"]


def test_an_epilogue_is_charged_its_comparisons_and_no_pass():
    machine = load_hardware("a100-sxm4-80gb", masks="always")
    net = network(queries=64, keys=64)
    elements = BATCH * SIZES["heads"] * 64 * 64
    chosen = recipe(offer(epilogue=True))
    (step,) = mask_steps(machine, chosen, works(chosen, net)["2/2"])
    compared = elements * 3  # of a group of four, three pairs an element
    assert (step.work.read_bytes, step.work.written_bytes) == (0, 0)
    assert step.work.operations == compared
    assert once_us(machine, [step]) == pytest.approx([compared / (108 * 64 * 1410)])
    apart = recipe(offer())
    (step,) = mask_steps(machine, apart, works(apart, net)["2/2"])
    assert step.work.read_bytes == 2 * elements
    assert step.work.written_bytes == elements * (1 + 2 / 16)  # half, and two bits beside each
    assert once_us(machine, [step])[0] > machine.timing.launch_us
    assert not list(mask_steps(machine, apart, works(apart, net)["1/2"]))


def test_cost_is_told_with_activations():
    (row,) = (
        row
        for row in nmsim.simulate(
            "vit-tiny", hardware="a100-sxm4-80gb", recipe="dfss", batch=8, fidelity="analytical"
        ).to_dict("records")
        if row["part"] == "2/2"
    )
    assert row["mask_us"] == row["mask_activation_us"] > 0
    assert row["mask_work"].startswith("probabilities: magnitude in the epilogue")


@pytest.mark.parametrize("name", ["asp", "transposable+mvue", "activations", "fst"])
def test_other_recipes_leave_attention_as_it_is(name):
    dense, pruned = (
        nmsim.simulate("vit-tiny", recipe=one, hardware="a100-sxm4-80gb", batch=8,
                       fidelity="analytical")
        for one in ("dense", name)
    )  # fmt: skip
    ours, theirs = (df[df["kind"] == "attention"] for df in (dense, pruned))
    assert not ours.empty
    assert ours.to_csv(index=False) == theirs.to_csv(index=False)


def test_decode_prunes_along_the_keys_of_the_cache():
    df = nmsim.simulate(
        "gpt2", scenario="decode", context=99, recipe="dfss", hardware="ideal", batch=1
    )
    (row,) = (row for row in df.to_dict("records") if row["part"] == "2/2")
    assert (row["m"], row["k"], row["a_pattern"]) == (1, 100, "2:4")
    assert row["macs_useful"] * 2 == row["macs_dense"]


def test_a_role_that_there_is_not_names_those_that_there_are():
    document = {"summary": "s", "source": "t"}
    offer = {"role": "keys", "phases": ["forward"], "pruner": "magnitude"}
    with pytest.raises(
        SpecError, match=r"operands\[0\].role is 'keys', expected .*'query', 'key', 'value'"
    ):
        validate(Recipe, document | {"operands": [offer]}, "mine.yaml")


def test_a_network_without_attention_runs_dense():
    df = nmsim.simulate("resnet18", recipe="dfss", hardware="ideal", batch=1, phases=["forward"])
    assert set(df["a_pattern"]) == set(df["b_pattern"]) == {"dense"}


def test_layers_left_dense_are_left():
    left = recipe(offer()).model_copy(
        update={
            "leave_dense": load_recipe("dense").leave_dense.model_copy(update={"layers": "core"})
        }
    )
    assert works(left)["2/2"].a.is_dense


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{role: scores, phases: [forward], pruner: magnitude}", "operands[0].role"),
        ("{role: probabilities, phases: [update], pruner: magnitude}", "no operand of the update"),
        (
            "{role: weight, phases: [forward], pruner: magnitude, epilogue: true}",
            "epilogue is true",
        ),
        (
            "{role: key, phases: [forward], pruner: transposable, epilogue: true}",
            "epilogue is true",
        ),
        ("{role: query, phases: [forward], pruner: magnitude, relu: true}", "relu is for"),
    ],
)
def test_a_mistake_is_one_line(command, tmp_path, line, said):
    path = tmp_path / "own.yaml"
    path.write_text(f"summary: s\nsource: s\noperands:\n  - {line}\n")
    code, _, err = command("simulate", "vit-tiny", "--recipe", path, "--hardware", "ideal")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert said in err
    assert "own.yaml" in err


def test_masks_without_a_pattern_are_refused():
    with pytest.raises(RecipeError, match="the probabilities obeys no pattern"):
        works(recipe(offer(pruner="unstructured")))


def test_json_of_a_run_holds_it(command):
    code, out, _ = command("simulate", "vit-tiny", "--recipe", "dfss", "--pattern", "1:2",
                           "--hardware", "ideal", "--format", "json", "--batch", "1")  # fmt: skip
    assert code == 0
    rows = json.loads(out)["rows"]
    assert {row["a_pattern"] for row in rows if row["part"] == "2/2"} == {"1:2"}


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_the_dense_run_is_the_fused_one_whatever_the_recipe(fidelity):
    """A mask keeps a layer's products apart; what it is held against runs as one kernel."""
    given = {"model": "bert-base", "hardware": "a100-sxm4-80gb", "batch": 8, "fidelity": fidelity}
    pruned, plain = (
        pd.DataFrame(rows(Point(recipe=recipe, **given))) for recipe in ("dfss", "dense")
    )
    assert len(pruned) > len(plain)
    for phase in ("forward", "backward", "update"):
        totals = [one[one.phase == phase].dense_cycles.sum() for one in (pruned, plain)]
        assert totals[0] == totals[1] > 0
    assert (pruned.speedup == pruned.dense_cycles / pruned.cycles).all()
