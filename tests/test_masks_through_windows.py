"""Masks of drawn convolutions, in every phase and lowering: the tensor's, gathered as values."""

import numpy as np
import pytest
from drawn_convolutions import drawn_fields, layer_of
from tiers import fast_first
from window_operands import operand

from nmsim.errors import RecipeError, SpecError
from nmsim.network.lowering import LOWERINGS, Lowering
from nmsim.network.tensors import Synthetic
from nmsim.pattern import Pattern
from nmsim.pruning import prune
from nmsim.recipes.masking import Setting, sparse_gemms
from nmsim.recipes.recipe import Recipe
from nmsim.spec import validate

BATCH = 2


def drawn(seed, transposed):
    """A drawn layer whose groups have 4 or 8 channels on either side."""
    rng = np.random.default_rng([seed, transposed, 7])
    while True:
        fields = drawn_fields(rng, transposed)
        for name in ("in_channels", "out_channels"):
            fields[name] = fields["groups"] * int(rng.choice([4, 8]))
        try:
            return layer_of(**fields)
        except SpecError:
            continue


def setting(lowering, *offers):
    recipe = validate(Recipe, {"summary": "s", "source": "t", "operands": list(offers)}, "test")
    return Setting(recipe, Pattern(2, 4), Synthetic(), BATCH, lowering=Lowering.parse(lowering))


def offer(role, *phases, pruner="magnitude", **fields):
    return {"role": role, "phases": list(phases), "pruner": pruner, **fields}


def tensor(layer, name):
    return np.concatenate(list(Synthetic().blocks(layer, name, BATCH)))


def as_matrix(layer, weight):
    """Copies x O x I of a weight as the layer lays it out."""
    return weight.reshape(layer.groups, weight.shape[0] // layer.groups, -1)


def seen(layer, chosen, masks, position):
    """The masks of one operand in all GEMMs that are offered it, against the tensor's."""
    lowered = {(x.gemm.phase, x.gemm.part): x for x in layer.lower(BATCH, chosen.lowering)}
    found = 0
    for work in sparse_gemms([layer], chosen):
        mask = getattr(work, position)
        if mask.is_dense:
            continue
        one = lowered[work.gemm.phase, work.gemm.part]
        windows = getattr(work.gemm, f"{position}_windows")
        expected = operand(layer, masks, getattr(one, position), windows)
        np.testing.assert_array_equal(mask.bits(), expected.reshape(mask.rows, mask.k))
        assert mask.kept == mask.bits().sum()
        assert not mask.fits or mask.broken_groups() == 0
        found += 1
    return found


DRAWN = fast_first([(seed, transposed) for seed in range(40) for transposed in (False, True)], 20)


@pytest.mark.parametrize(("seed", "transposed"), DRAWN)
@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_weights_are_one_mask_in_all_parts_of_a_phase(seed, transposed, lowering, phase):
    layer = drawn(seed, transposed)
    matrix = as_matrix(layer, tensor(layer, "weight"))
    turned = phase == "backward"
    along = np.ascontiguousarray(np.swapaxes(matrix, 1, 2)) if turned else matrix
    mask = prune(along, "2:4").mask
    mask = np.swapaxes(mask, 1, 2) if turned else mask
    chosen = setting(lowering, offer("weight", phase))
    parts = sum(x.gemm.phase == phase for x in layer.lower(BATCH, chosen.lowering))
    assert seen(layer, chosen, {"weight": mask}, "b") == parts


@pytest.mark.parametrize(("seed", "transposed"), DRAWN)
@pytest.mark.parametrize("lowering", LOWERINGS)
def test_a_transposable_mask_of_weights_is_offered_in_backward(seed, transposed, lowering):
    layer = drawn(seed, transposed)
    mask = prune(as_matrix(layer, tensor(layer, "weight")), "2:4", "transposable").mask
    chosen = setting(lowering, offer("weight", "forward", "backward", pruner="transposable"))
    weighted = [x for x in layer.lower(BATCH, chosen.lowering) if x.gemm.phase != "update"]
    assert seen(layer, chosen, {"weight": mask}, "b") == len(weighted)
    for work in sparse_gemms([layer], chosen, phases=["forward", "backward"]):
        assert work.b.fits, work.note


@pytest.mark.parametrize(("seed", "transposed"), DRAWN)
@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize(("role", "phase"), [("activation", "forward"), ("gradient", "backward")])
def test_an_image_is_pruned_per_pixel_and_then_gathered(seed, transposed, lowering, role, phase):
    layer = drawn(seed, transposed)
    mask = prune(tensor(layer, role), "2:4").mask
    chosen = setting(lowering, offer(role, phase))
    parts = sum(x.gemm.phase == phase for x in layer.lower(BATCH, chosen.lowering))
    assert seen(layer, chosen, {role: mask}, "a") == parts


@pytest.mark.parametrize("seed", range(20))
def test_a_mask_of_gradients_made_for_update_is_seen_through_windows_in_backward(seed):
    layer = drawn(seed, transposed=False)
    gradient = tensor(layer, "gradient")
    across = np.ascontiguousarray(gradient.reshape(-1, gradient.shape[-1]).T)
    own = across.reshape(layer.groups, -1, across.shape[1])
    mask = prune(own, "2:4", "transposable").mask.reshape(across.shape).T.reshape(gradient.shape)
    chosen = setting("implicit", offer("gradient", "update", "backward", pruner="transposable"))
    assert seen(layer, chosen, {"gradient": mask}, "a") == len(layer.lower(BATCH)) - 1
    assert all(work.a.fits for work in sparse_gemms([layer], chosen, phases=["backward", "update"]))


def test_a_mask_made_for_forward_is_refused_in_backward_or_its_share_is_said():
    layer = layer_of(
        type="conv", in_channels=8, out_channels=8, kernel=3, stride=2, padding=1, input_size=9
    )
    both = offer("weight", "forward", "backward")
    with pytest.raises(RecipeError, match="of its groups break 2:4"):
        list(sparse_gemms([layer], setting("implicit", both)))
    allowed = setting("implicit", {**both, "allow_unfit": True})
    mask = prune(as_matrix(layer, tensor(layer, "weight")), "2:4").mask
    assert seen(layer, allowed, {"weight": mask}, "b") == 1 + 4
    parts = list(sparse_gemms([layer], allowed, phases=["backward"]))
    assert all("of its groups break 2:4" in part.note for part in parts)


@pytest.mark.parametrize("role", ["weight", "gradient"])
def test_channels_that_groups_do_not_divide_are_padded_where_taps_follow_one_another(role):
    layer = layer_of(
        type="conv", in_channels=8, out_channels=6, kernel=3, stride=2, padding=1, input_size=9
    )
    works = list(
        sparse_gemms([layer], setting("implicit", offer(role, "backward")), phases=["backward"])
    )
    assert [work.k for work in works] == [6, 2 * 8, 2 * 8, 4 * 8]
    if role == "weight":
        mask = prune(
            np.ascontiguousarray(np.swapaxes(as_matrix(layer, tensor(layer, role)), 1, 2)), "2:4"
        ).mask
        mask = np.swapaxes(mask, 1, 2)
    else:
        mask = prune(tensor(layer, role), "2:4").mask
    for work, one in zip(works, layer.lower(BATCH)[1:-1], strict=True):
        found, other = (work.b, work.a) if role == "weight" else (work.a, work.b)
        side = one.b if role == "weight" else one.a
        windows = None if role == "weight" else work.gemm.a_windows
        taps = len(one.b.taps)
        expected = operand(layer, {role: mask}, side, windows).reshape(found.rows, taps, 6)
        padded = np.pad(expected, ((0, 0), (0, 0), (0, work.k // taps - 6)))
        np.testing.assert_array_equal(found.bits(), padded.reshape(found.rows, -1))
        assert found.broken_groups() == 0
        assert other.is_dense
        assert found.kept == found.bits().sum()
        assert ("every tap starts with a group" in work.note) == (taps > 1)
        assert work.macs_useful == found.kept * other.rows


def test_masks_of_both_operands_are_padded_alike():
    layer = layer_of(type="conv", in_channels=4, out_channels=6, kernel=3, padding=1, input_size=5)
    both = (offer("weight", "backward"), offer("gradient", "backward", pattern="1:8"))
    (work,) = sparse_gemms([layer], setting("implicit", *both), phases=["backward"])
    assert work.k == 9 * 8
    assert work.a.broken_groups() == work.b.broken_groups() == 0
    bits = work.a.bits().astype(int) @ work.b.bits().T.astype(int)
    assert work.macs_useful == bits.sum()


def test_groups_of_gradients_that_would_go_on_to_the_next_copy_run_dense():
    layer = layer_of(
        type="conv", in_channels=8, out_channels=12, kernel=3, groups=2, padding=1, input_size=5
    )
    (work,) = sparse_gemms(
        [layer], setting("implicit", offer("gradient", "backward")), phases=["backward"]
    )
    assert work.a.is_dense
    assert "groups of 4 do not divide its channels" in work.note
