"""Pruners that look at samples of the inputs, against plain references."""

import inspect

import numpy as np
import pytest

import nmsim
from nmsim.errors import RecipeError, ShapeError, SpecError
from nmsim.mask.words import unpack
from nmsim.network.layer import Conv, Linear
from nmsim.network.tensors import Synthetic
from nmsim.network.tensors.files import TensorFile
from nmsim.pattern import Pattern
from nmsim.pruning import PRUNERS, Context, Samples, prune, pruner
from nmsim.pruning.magnitude import keep_largest
from nmsim.pruning.permuted import column_order, permute
from nmsim.recipes.masking import sparse_gemms
from nmsim.recipes.recipe import Recipe
from nmsim.recipes.setting import Setting
from nmsim.run.point import Point


def drawn(rows, k, samples, seed=0):
    """Weights, and inputs of which some are loud and all are alike."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((samples, k)) * np.exp(rng.standard_normal(k))
    return rng.standard_normal((rows, k)), inputs + rng.standard_normal((samples, 1))


def by_sorting(scores, keep, group):
    """The largest of every group, the lowest index first among equals."""
    mask = np.zeros(scores.shape, bool)
    for row, kept in zip(scores, mask, strict=True):
        for start in range(0, len(row), group):
            of = range(start, min(start + group, len(row)))
            kept[sorted(of, key=lambda i: -row[i])[:keep]] = True
    return mask


def surgeon(weights, inputs, keep, group, damping=0.01):
    """SparseGPT by the book: the inverse of what is left is computed anew for every column."""
    values, k = weights.copy(), weights.shape[1]
    hessian = inputs.T @ inputs
    hessian += damping * np.diagonal(hessian).mean() * np.eye(k)
    inverses = [np.linalg.inv(hessian[i:, i:]) for i in range(k)]
    mask = np.zeros(values.shape, bool)
    for i in range(k):
        if i % group == 0:
            of = range(i, min(i + group, k))
            cost = np.stack([values[:, j] ** 2 / inverses[j][0, 0] for j in of], axis=1)
            mask[:, of] = by_sorting(cost, keep, group)
        for row, kept in zip(values, mask, strict=True):
            if not kept[i]:
                row[i:] -= row[i] / inverses[i][0, 0] * inverses[i][0]
                row[i] = 0.0
    return values, mask


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "4:8"])
def test_wanda_keeps_the_largest_weight_times_norm(pattern):
    weights, inputs = drawn(7, 22, 40)
    keep, group = map(int, pattern.split(":"))
    found = prune(weights, pattern, "wanda", activations=inputs)
    expected = by_sorting(np.abs(weights) * np.sqrt((inputs**2).sum(0)), keep, group)
    assert (found.mask == expected).all()
    assert (found.values == np.where(expected, weights, 0)).all()
    assert (found.mask != prune(weights, pattern).mask).any()


@pytest.mark.parametrize(("pattern", "columns"), [("2:4", 8), ("1:4", 128), ("4:8", 1)])
def test_sparsegpt_is_the_surgeon_column_by_column(pattern, columns):
    weights, inputs = drawn(5, 26, 60)
    keep, group = map(int, pattern.split(":"))
    found = prune(weights, pattern, "sparsegpt", activations=inputs, columns=columns)
    values, mask = surgeon(weights, inputs, keep, group)
    assert (found.mask == mask).all()
    assert found.values == pytest.approx(values, rel=1e-9, abs=1e-12)
    plain = prune(weights, pattern).values
    errors = [(((weights - v) @ inputs.T) ** 2).sum() for v in (found.values, plain)]
    assert errors[0] < 0.8 * errors[1]


def test_sparsegpt_prunes_inputs_that_are_never_active_first():
    weights, inputs = drawn(6, 16, 50)
    inputs[:, 1::4] = 0
    found = prune(weights, "3:4", "sparsegpt", activations=inputs)
    assert np.isfinite(found.values).all()
    assert (found.mask.sum(1) == 12).all()


@pytest.mark.parametrize("samples", [pytest.param(900, marks=pytest.mark.slow), 120])
def test_adaprune_of_many_columns_is_the_exact_fit(samples, monkeypatch):
    """Of so many columns all rows are fitted together; of 120 samples, no fit is the only one."""
    monkeypatch.delattr("nmsim.pruning.adaprune._one_by_one")
    weights, inputs = drawn(5, 300, samples)
    if samples < 300:
        inputs = np.random.default_rng(1).standard_normal((samples, 300))
    found = prune(weights, "2:4", "adaprune", activations=inputs)
    plain = prune(weights, "2:4").values
    for w, out, kept, was in zip(weights, *found, plain, strict=True):
        change = np.linalg.lstsq(inputs[:, kept], inputs @ (w - was), rcond=1e-13)[0]
        assert out[kept] == pytest.approx(was[kept] + change, rel=1e-6, abs=1e-9)


def test_rows_that_do_not_come_near_are_solved_one_by_one(monkeypatch):
    weights, inputs = drawn(2, 300, 400)
    near = prune(weights, "2:4", "adaprune", activations=inputs).values
    monkeypatch.setattr("nmsim.pruning.adaprune._ROUNDS", 1)
    far = prune(weights, "2:4", "adaprune", activations=inputs).values
    assert (near != far).any()
    assert near == pytest.approx(far, rel=1e-7, abs=1e-12)


def test_samples_are_summed_as_they_come():
    _, inputs = drawn(1, 12, 50)
    streamed = Samples(lambda: iter(np.array_split(inputs, 7)))
    assert streamed.gram == pytest.approx(inputs.T @ inputs)
    assert streamed.norms == pytest.approx(np.linalg.norm(inputs, axis=0))
    assert (streamed.samples == inputs).all()
    weights, context = np.ones((2, 12)), Context(activations=streamed)
    by_name = prune(weights, "2:4", "wanda", norms=np.linalg.norm(inputs, axis=0))
    assert (prune(weights, "2:4", "wanda", context=context).mask == by_name.mask).all()


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("wanda", {"norms": np.ones(4)}, "norms of shape .4,.: expected 8"),
        ("wanda", {"activations": np.ones((3, 4))}, "norms of shape .4,.: expected 8"),
        ("sparsegpt", {"gram": np.eye(4)}, "expected 8 x 8"),
        ("wanda", {"activations": np.ones(8)}, "expected samples x K"),
    ],
)
def test_samples_of_other_shapes_are_refused(name, given, said):
    with pytest.raises(ShapeError, match=said):
        prune(np.ones((2, 8)), "2:4", name, **given)
    with pytest.raises(SpecError, match="expected float"):
        prune(np.ones((2, 8)), "2:4", "sparsegpt", damping="much")


def layer_of(kind, **fields):
    return kind(name="l", type=kind.__name__.lower(), input="relu", **fields)


LAYERS = {
    "linear": layer_of(Linear, in_features=20, out_features=6, tokens=3),
    "conv": layer_of(
        Conv, in_channels=8, out_channels=6, kernel=3, input_size=5, padding=1, groups=2
    ),
}


def works(layer, **offer):
    recipe = Recipe(
        name="r", summary="s", source="s", operands=[{"role": "weight", "pruner": "wanda", **offer}]
    )
    setting = Setting(recipe, Pattern(2, 4), Synthetic(3), batch=4, seed=3)
    return {one.gemm.phase: one for one in sparse_gemms([layer], setting)}


def inputs_of(layer, copy):
    """What one copy of a layer multiplies its weight with: samples x K, window by window."""
    (image,) = Synthetic(3).blocks(layer, "activation", 4)
    if layer.type == "linear":
        return image
    padded = np.pad(image[..., 4 * copy : 4 * copy + 4], ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    return np.moveaxis(windows, 3, -1).reshape(-1, 36)


@pytest.mark.parametrize("name", LAYERS)
def test_a_run_tells_of_what_meets_the_weight(name):
    layer = LAYERS[name]
    work = works(layer, phases=["forward"])["forward"]
    assert "wanda mask of the weight by synthetic activations, seed 3" in work.note
    weight = np.concatenate(list(Synthetic(3).blocks(layer, "weight", 4))).reshape(6, -1)
    parts = np.split(weight, layer.copies)
    expected = np.concatenate(
        [
            by_sorting(np.abs(part) * np.linalg.norm(inputs_of(layer, copy), axis=0), 2, 4)
            for copy, part in enumerate(parts)
        ]
    )
    assert (unpack(work.b.words, work.k) == expected).all()


def test_a_mask_made_in_backward_is_told_of_gradients():
    layer = LAYERS["linear"].model_copy(update={"out_features": 8})
    work = works(layer, phases=["backward"])["backward"]
    assert "by synthetic gradients" in work.note
    weight = np.concatenate(list(Synthetic(3).blocks(layer, "weight", 4)))
    (gradient,) = Synthetic(3).blocks(layer, "gradient", 4)
    expected = by_sorting(np.abs(weight.T) * np.linalg.norm(gradient.astype(float), axis=0), 2, 4)
    assert (unpack(work.b.words, work.k) == expected).all()


def test_what_is_no_weight_is_met_by_no_samples():
    layer = LAYERS["linear"]
    with pytest.raises(RecipeError, match="asks for norms, expected a mask of the weight"):
        _ = works(layer, role="activation", phases=["forward"])["forward"].a.words


def test_swaps_part_large_columns_that_stand_together():
    values = np.ones((3, 8))
    values[:, :4] = 10  # in one group two of the four are lost
    order = column_order(values, Pattern(2, 4))
    assert sorted(order) == list(range(8))
    assert prune(values[:, order], "2:4").values.sum() == 3 * 4 * 10
    found = prune(values, "2:4", "permuted")
    assert found.mask[:, :4].all()
    assert not found.mask[:, 4:].any()


def test_the_order_keeps_more_and_leaves_a_short_group():
    values = np.random.default_rng(6).standard_normal((40, 66))
    plain, better = (
        np.abs(prune(values, "2:4", n).values).sum() for n in ("magnitude", "permuted")
    )
    assert better > 1.02 * plain
    assert column_order(values, Pattern(2, 4))[64:].tolist() == [64, 65]


def test_two_layers_permuted_together_compute_what_they_did():
    rng = np.random.default_rng(7)
    before, after, inputs = (rng.standard_normal(s) for s in ((32, 9), (6, 32), (9, 5)))
    changed = permute(before, after, "2:4")
    assert (changed.order != np.arange(32)).any()
    outputs = after @ np.maximum(before @ inputs, 0)
    assert changed.after @ np.maximum(changed.before @ inputs, 0) == pytest.approx(outputs)
    with pytest.raises(ShapeError, match="9 inputs: expected as many"):
        permute(after, before, "2:4")


def test_a_run_gets_the_mask_in_its_order_and_says_so():
    work = works(LAYERS["linear"], pruner="permuted", phases=["forward"])["forward"]
    assert not work.b.broken_groups()
    assert work.note == (
        "K in another order: what makes its input, for it alone, with its outputs permuted"
    )
    weight = np.concatenate(list(Synthetic(3).blocks(LAYERS["linear"], "weight", 4)))
    ordered = weight[:, column_order(weight, Pattern(2, 4))]
    assert (unpack(work.b.words, work.k) == prune(ordered, "2:4").mask).all()
    with pytest.raises(RecipeError, match="expected the only mask, of the weight of a linear"):
        works(LAYERS["conv"], pruner="permuted", phases=["forward"])


GLU = ("gate", "up")


@pytest.mark.parametrize(
    ("model", "layer", "said"),
    [
        ("llama-3-8b", "*.down_proj", " and ".join(f"model.layers.*.mlp.{x}_proj" for x in GLU)),
        ("bert-base", "*layer.[*].output.dense", "encoder.layer.*.intermediate.dense"),
        ("vit-b16", "*.mlp.3", "encoder.layers.encoder_layer_*.mlp.0"),
    ],
)
def test_a_layer_that_one_other_feeds_is_permuted_with_it(model, layer, said):
    permuted = recipe_of("permuted", layer)
    (work,) = Point(
        model, recipe=permuted, phases=("forward",), layers=layer, batch=1
    ).sparse_gemms()
    assert work.note == f"K in another order: {said} with its outputs permuted"


@pytest.mark.parametrize(
    ("model", "layer", "why"),
    [
        ("llama-3-8b", "*.q_proj", "other layers read the same input"),
        ("llama-3-8b", "*.up_proj", "other layers read the same input"),
        ("llama-3-8b", "*.o_proj", "no linear layer makes its input"),
        ("llama-3-8b", "lm_head", r"its input comes from model\.layers.*, outside of its block"),
        ("vit-b16", "*.mlp.0", "behind .*out_proj stands residual, which others share"),
        ("resnet50", "fc", "no linear layer makes its input"),
    ],
)
def test_channels_that_others_share_keep_their_order(model, layer, why):
    permuted = recipe_of("permuted", layer)
    point = Point(model, recipe=permuted, phases=("forward",), layers=layer, batch=1)
    with pytest.raises(RecipeError, match=f"puts K in another order, but {why}: expected an input"):
        list(point.sparse_gemms())


def recipe_of(name, layers):
    offer = {"role": "weight", "pruner": name, "phases": ["forward"], "where": {"names": layers}}
    return Recipe(name="r", summary="s", source="s", operands=[offer])


def test_options_are_given_by_layer():
    layer = LAYERS["linear"]
    few, many = ({"rows": 1, "passes": 1}, {"rows": 0, "passes": 9})
    weight = np.concatenate(list(Synthetic(3).blocks(layer, "weight", 4)))
    for by_layer, options in (({"l": many}, many), ({"l": many, "*": few}, few)):
        offer = {"pruner": "permuted", "phases": ["forward"], "options": few, "by_layer": by_layer}
        words = works(layer, **offer)["forward"].b.words
        order = column_order(weight, Pattern(2, 4), **options)
        assert (unpack(words, 20) == prune(weight[:, order], "2:4").mask).all()
    orders = [column_order(weight, Pattern(2, 4), **one) for one in (few, many)]
    assert (orders[0] != orders[1]).any()
    with pytest.raises(RecipeError, match=r"operands\[0\].by_layer: fc\* matches no layer"):
        works(layer, phases=["forward"], by_layer={"fc*": {}})
    with pytest.raises(ValueError, match="unknown option 'norm'"):
        works(layer, phases=["forward"], by_layer={"l": {"norm": 2}})


@pytest.fixture
def asking(monkeypatch):
    """A pruner that keeps what it was told in a list."""
    assert len(PRUNERS)  # those of the package are there to stay
    for name in ("_things", "_makers"):
        monkeypatch.setattr(PRUNERS, name, dict(getattr(PRUNERS, name)))
    told = []

    @pruner("asking", summary="s", source="s", regular=True)
    def _(block, *, layer, role, gradients, step=None, previous=None):
        told.append((layer, role, step, gradients.copy(), previous))
        keep_largest(block, np.abs(block.values * gradients))

    return told


def test_a_fitted_mask_is_magnitudes_and_the_row_says_what_its_values_are_of():
    fitted = works(LAYERS["linear"], pruner="adaprune", phases=["forward"])["forward"]
    plain = works(LAYERS["linear"], pruner="magnitude", phases=["forward"])["forward"]
    assert (fitted.b.words == plain.b.words).all()
    assert fitted.note == (
        "adaprune mask of the weight: magnitude's, its values by synthetic activations, seed 3"
    )


@pytest.mark.parametrize("name", LAYERS)
def test_a_pruner_gets_what_it_names(name, asking):
    layer = LAYERS[name]
    work = works(layer, pruner="asking", phases=["forward"])["forward"]
    assert work.b.words.any()
    (gradient,) = Synthetic(3).blocks(layer, "gradient", 4)
    parts = np.split(gradient.reshape(-1, 6), layer.copies, axis=1)
    expected = [dy.T.astype(float) @ inputs_of(layer, copy) for copy, dy in enumerate(parts)]
    tried, *asking = asking  # on a small matrix, before it is believed
    assert tried[:3] == ("l", "weight", 0)
    assert [one[:3] for one in asking] == [("l", "weight", None)] * len(asking)
    assert [one[4] for one in asking] == [None] * len(asking)
    found = np.concatenate([one[3].reshape(-1, parts[0].shape[1]) for one in asking]).ravel()
    assert found == pytest.approx(np.concatenate(expected).ravel(), rel=1e-3, abs=1e-4)


def test_what_is_not_known_is_asked_for_in_one_line(asking):
    with pytest.raises(SpecError, match="'asking' asks for gradients: expected gradients beside"):
        prune(np.ones((2, 8)), "2:4", "asking")
    with pytest.raises(ShapeError, match=r"gradients of shape .2, 4.: expected 2 x 8"):
        prune(np.ones((2, 8)), "2:4", "asking", gradients=np.ones((2, 4)))


def needing(monkeypatch, argument):
    """A pruner of irregular masks that does not run without an argument; what it was told."""
    assert len(PRUNERS)  # those of the package are there to stay
    for name in ("_things", "_makers"):
        monkeypatch.setattr(PRUNERS, name, dict(getattr(PRUNERS, name)))
    told = []

    def fill(block, **asked):
        told.append(asked[argument])
        block.keep(np.zeros(block.values.shape, np.bool_))

    only = inspect.Parameter(argument, inspect.Parameter.KEYWORD_ONLY)
    first = inspect.Parameter("block", inspect.Parameter.POSITIONAL_ONLY)
    fill.__signature__ = inspect.Signature([first, only])
    pruner("needing", summary="s", source="s", regular=False)(fill)
    return told


@pytest.mark.parametrize(
    ("argument", "why"),
    [
        ("step", "step, expected a default, or nmsim train: a step alone has no number"),
        ("scores", "scores, expected a default: a run does not know what every value is worth"),
        (
            "previous",
            "previous, expected a default: a run does not know the mask before this one",
        ),
    ],
)
def test_what_a_run_cannot_tell_is_refused_by_name_before_it_runs(monkeypatch, argument, why):
    needing(monkeypatch, argument)
    with pytest.raises(RecipeError) as refused:
        works(LAYERS["linear"], pruner="needing", phases=["forward"])
    assert str(refused.value) == f"recipe 'r', layer 'l': pruner 'needing' asks for {why}"


def test_a_training_run_tells_each_segments_first_step(monkeypatch, tmp_path):
    told = needing(monkeypatch, "step")
    (tmp_path / "m.yaml").write_text(
        "layers: [{name: l, type: linear, in_features: 64, out_features: 32}]"
    )
    offer = {"role": "weight", "pruner": "needing", "phases": ["forward"]}
    recipe = Recipe(
        name="r", summary="s", source="s", operands=[offer],
        schedule={"dense": 0.2, "sparsify": "sdgf-stepwise", "finetune": 0.4},
    )  # fmt: skip
    nmsim.train(tmp_path / "m.yaml", recipe=recipe, pattern="1:8", steps=100, hardware="ideal")
    assert sorted({*told}) == [20, 30, 40, 50, 99]


def test_activations_of_a_file_are_read_and_nothing_is_synthetic(tmp_path):
    layer, rng = LAYERS["linear"], np.random.default_rng(9)
    tensors = {"l.weight": rng.standard_normal((6, 20))}
    np.savez(tmp_path / "weights.npz", **tensors)
    tensors["l.activation"] = inputs = rng.standard_normal((12, 20)) * rng.random(20)
    np.savez(tmp_path / "both.npz", **tensors)

    def run(file):
        recipe = Recipe(
            name="r", summary="s", source="s",
            operands=[{"role": "weight", "pruner": "wanda", "phases": ["forward"]}],
        )  # fmt: skip
        setting = Setting(recipe, Pattern(2, 4), TensorFile(tmp_path / file), batch=4)
        return next(iter(sparse_gemms([layer], setting, phases=["forward"])))

    assert "synthetic" in run("weights.npz").note
    work = run("both.npz")
    assert work.note == ""
    scores = np.abs(tensors["l.weight"]) * np.linalg.norm(inputs, axis=0)
    assert (unpack(work.b.words, 20) == by_sorting(scores, 2, 4)).all()
