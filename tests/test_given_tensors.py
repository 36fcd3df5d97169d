"""Weights that were pruned elsewhere keep the mask that they have; checkpoints by public names."""

import numpy as np
import pytest
from safetensors.numpy import save_file

import nmsim
from nmsim.errors import NmsimError, PatternError
from nmsim.pruning import prune
from nmsim.run.point import Point

RNG = np.random.default_rng(0)
KEPT = 16_317
"""Of 128 x 256 at 2:4 with 67 of the 16,384 that may be kept pruned, too."""


def pruned(rows=128, k=256, fewer=16_384 - KEPT, seed=0):
    """Weights at 2:4 of which some groups keep fewer."""
    rng = np.random.default_rng(seed)
    values = prune(rng.normal(size=(rows, k)).astype(np.float32), "2:4").values
    places = np.flatnonzero(values)
    values.reshape(-1)[rng.choice(places, fewer, replace=False)] = 0
    return values


def network(tmp_path, rows=128, k=256, repeat=1):
    path = tmp_path / "one.yaml"
    name = "h.*.fc" if repeat > 1 else "fc"
    path.write_text(
        f"layers: [{{name: {name}, type: linear, in_features: {k}, out_features: {rows}, "
        f"repeat: {repeat}}}]"
    )
    return path


def works(model, **options):
    return list(Point(model, batch=1, **options).sparse_gemms())


def forward(model, tensors, **options):
    return works(model, tensors=tensors, phases=("forward",), recipe="given", **options)[0]


def test_a_mask_that_keeps_fewer_is_not_filled_up(tmp_path):
    values = pruned()
    save_file({"fc.weight": values}, tmp_path / "w.safetensors")
    model = network(tmp_path)
    found = forward(model, tmp_path / "w.safetensors")
    assert found.b.kept == KEPT
    assert (found.b.bits() == (values != 0)).all()
    ran = nmsim.simulate(
        model, tensors=tmp_path / "w.safetensors", recipe="given", phases=("forward",), batch=8
    )
    assert ran.macs_useful.sum() == 8 * KEPT
    filled = works(model, tensors=tmp_path / "w.safetensors", recipe="asp", phases=("forward",))
    assert filled[0].b.kept == 16_384


@pytest.mark.parametrize("name", ["fc.mask", "fc.weight_mask", "fc.__weight_mma_mask"])
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.float32])
def test_a_mask_beside_a_weight_is_taken_before_its_non_zeros(tmp_path, name, dtype):
    mask = pruned(seed=1) != 0
    stored = {"fc.weight": np.ones((128, 256), np.float32), name: mask.astype(dtype)}
    for held in (stored, {name: stored[name]}):
        save_file(held, tmp_path / "w.safetensors")
        found = forward(network(tmp_path), tmp_path / "w.safetensors")
        assert (found.b.bits() == mask).all()


def test_the_first_group_that_breaks_the_pattern_is_named(tmp_path):
    values = pruned()
    values[77, 8:12] = [1, 0, 1, 1]
    values[90, 0:4] = 1
    save_file({"fc.weight": values}, tmp_path / "w.safetensors")
    with pytest.raises(PatternError) as refused:
        forward(network(tmp_path), tmp_path / "w.safetensors").b.words  # noqa: B018
    assert str(refused.value) == (
        f"{tmp_path}/w.safetensors: weight of fc: row 77 keeps 3 of columns 8 to 11, expected at "
        "most 2 (2:4 along K)"
    )
    assert forward(network(tmp_path), tmp_path / "w.safetensors", pattern="4:4").b.is_dense


def test_every_block_has_the_mask_of_its_own_tensor(tmp_path):
    weights = {f"h.{block}.fc.weight": pruned(8, 16, 3 * block, block) for block in range(3)}
    path, model = tmp_path / "w.safetensors", network(tmp_path, 8, 16, 3)
    save_file(weights, path)
    found = works(model, tensors=path, phases=("forward",), recipe="given")
    assert [(one.gemm.layer, one.gemm.repeat, one.note) for one in found] == [
        ("h.0.fc", 1, ""),
        ("h.1.fc", 1, ""),
        ("h.2.fc", 1, ""),
    ]
    for work, values in zip(found, weights.values(), strict=True):
        assert (work.b.bits() == (values != 0)).all()
    ran = nmsim.simulate(model, tensors=path, recipe="given", phases="forward", batch=5)
    assert list(ran["macs_useful"]) == [5 * kept for kept in (64, 61, 58)]
    weights["h.2.fc.weight"][5, 4:8] = 1
    save_file(weights, path)
    with pytest.raises(PatternError, match=r"weight of h\.2\.fc: row 5 keeps 4 of"):
        works(model, tensors=path, phases=("forward",), recipe="given")[2].b.words  # noqa: B018
    del weights["h.1.fc.weight"]
    save_file(weights, path)
    with pytest.raises(NmsimError, match=r"unknown tensor 'h\.1\.fc\.weight'"):
        works(model, tensors=path, recipe="given")


def test_masks_are_given_by_a_file(tmp_path):
    with pytest.raises(NmsimError, match=r"recipe 'given': masks are given, expected tensors$"):
        works(network(tmp_path), recipe="given")


@pytest.mark.parametrize(
    ("pattern", "bits", "said"),
    [
        ("2:4", [[1, 1, 0, 1]], r"row 0 keeps 3 of columns 0 to 3, expected at most 2 \(2:4"),
        ("1:4", [[0] * 4, [0, 0, 0, 2], [3, 0, 0, 1]], "row 2 keeps 2 of columns 0 to 3"),
        ("dense", [[1, 0, 2, 3]], "row 0 keeps 0 of columns 1 to 1, expected all"),
        ("2:2:8", [[1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0, 0, 0]], "row 1 keeps 3"),
        ("2:3:6", [[1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 0, 0]], "anything of more than 4 columns"),
    ],
)
def test_values_that_break_their_pattern_are_refused(pattern, bits, said):
    with pytest.raises(PatternError, match=said):
        prune(bits, pattern, "given")


@pytest.mark.parametrize("pattern", ["2:4", "3:5", "4:8"])
def test_nothing_is_changed(pattern):
    values = prune(RNG.normal(size=(3, 40, 30)), pattern).values
    values[values > 1] = 0
    found = prune(values, pattern, "given")
    assert (found.values == values).all()
    assert (found.mask == (values != 0)).all()
    with pytest.raises(PatternError, match="row 119 keeps"):
        prune(np.concatenate([values.reshape(-1, 30)[:-1], np.ones((1, 30))]), pattern, "given")


def test_a_mask_may_be_offered_in_both_directions_each_checked_along_its_own_axis(tmp_path):
    offers = "\n".join(
        f"  - {{role: weight, phases: [{phase}], pruner: given}}"
        for phase in ("forward", "backward")
    )
    recipe = tmp_path / "both.yaml"
    recipe.write_text(f"summary: x\nsource: x\noperands:\n{offers}\n")
    values = prune(RNG.normal(size=(64, 32)), "2:4", "transposable").values.astype(np.float32)
    save_file({"fc.weight": values}, tmp_path / "w.safetensors")
    model = network(tmp_path, 64, 32)
    options = {"tensors": tmp_path / "w.safetensors", "recipe": recipe}
    found = {work.gemm.phase: work for work in works(model, **options)}
    assert (found["forward"].b.bits() == (values != 0)).all()
    assert (found["backward"].b.bits() == (values != 0).T).all()
    save_file({"fc.weight": pruned(64, 32, 0)}, tmp_path / "w.safetensors")
    with pytest.raises(PatternError, match="weight of fc: row"):
        [work.b.words for work in works(model, **options)]


def test_a_convolution_is_pruned_along_its_channels_as_pytorch_lays_them_out(tmp_path):
    path = tmp_path / "conv.yaml"
    path.write_text(
        "layers: [{name: c, type: conv, in_channels: 16, out_channels: 8, kernel: 3, "
        "input_size: 12}]"
    )
    along = pruned(8 * 9, 16, 7).reshape(8, 3, 3, 16)
    stored = np.ascontiguousarray(np.moveaxis(along, -1, 1))
    save_file({"c.weight": stored}, tmp_path / "w.safetensors")
    found = forward(path, tmp_path / "w.safetensors")
    assert found.b.kept == 8 * 9 * 8 - 7
    assert (found.b.bits() == (along != 0).reshape(8, 9 * 16)).all()
    stored[2, :3, 1, 0] = 1
    save_file({"c.weight": stored}, tmp_path / "w.safetensors")
    with pytest.raises(PatternError, match=r"weight of c: row 2 keeps [34] of columns 48 to 51"):
        forward(path, tmp_path / "w.safetensors").b.words  # noqa: B018


def test_memory_asks_for_no_mask(tmp_path):
    model = network(tmp_path)
    weights = {
        recipe: nmsim.memory_footprint(model, recipe=recipe, hardware="ideal").layers[-1]
        for recipe in ("given", "asp")
    }
    assert weights["given"].weights == weights["asp"].weights
