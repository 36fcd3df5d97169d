"""Attention as a layer: its GEMMs against a loop over heads, and what cannot be."""

import numpy as np
import pytest

from nmsim.errors import SpecError
from nmsim.network.catalog import MODELS, Network, load_model
from nmsim.network.layer import AttentionLayer
from nmsim.network.scenario import SCENARIOS, Scenario
from nmsim.recipes.recipe import load_recipe
from nmsim.run.point import Point, rows
from nmsim.spec import validate

BATCH = 2
SIZES = {"heads": 6, "kv_heads": 2, "head_dim": 5, "v_head_dim": 3, "queries": 4, "keys": 7}


def attention(**fields):
    return AttentionLayer(name="attn", type="attention", **{**SIZES, **fields})


def softmax(scores):
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def tensors(rng):
    """Queries, keys, values and the gradient of the output, as [batch, heads, tokens, features]."""
    names = ("queries", "keys", "heads", "kv_heads", "head_dim", "v_head_dim")
    q, s, h, g, d, e = (SIZES[name] for name in names)
    shapes = {"q": (h, q, d), "k": (g, s, d), "v": (g, s, e), "do": (h, q, e)}
    return {name: rng.normal(size=(BATCH, *shape)) for name, shape in shapes.items()}


def by_head(t):
    """Every product of attention, head by head, gradients of shared keys and values added up."""
    share = SIZES["heads"] // SIZES["kv_heads"]
    found = {name: np.zeros_like(t[of]) for name, of in (("q", "q"), ("k", "k"), ("v", "v"))}
    q, s = SIZES["queries"], SIZES["keys"]
    found |= {name: np.zeros((BATCH, SIZES["heads"], q, s)) for name in ("qk", "prob", "p", "ds")}
    found["pv"] = np.zeros_like(t["do"])
    for b, h in np.ndindex(BATCH, SIZES["heads"]):
        k, v, do = t["k"][b, h // share], t["v"][b, h // share], t["do"][b, h]
        scores = t["q"][b, h] @ k.T
        p = softmax(scores)
        dp = do @ v.T
        ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True))
        found["qk"][b, h], found["prob"][b, h], found["p"][b, h] = scores, p, dp
        found["ds"][b, h], found["pv"][b, h] = ds, p @ v
        found["q"][b, h] = ds @ k
        found["k"][b, h // share] += ds.T @ t["q"][b, h]
        found["v"][b, h // share] += p.T @ do
    return found


def stacked(x):
    """Heads of a group one below the other: [batch x groups, rows, features]."""
    return x.reshape(BATCH * SIZES["kv_heads"], -1, x.shape[-1])


def test_gemms_of_a_group_are_its_heads_below_each_other():
    t = tensors(np.random.default_rng(5))
    expected = by_head(t)
    matrices = {
        "query": t["q"], "key": t["k"], "value": t["v"], "gradient": t["do"],
    }  # fmt: skip
    scores = {"q": "ds", "k": "ds"}
    for lowered in attention().lower(BATCH):
        g = lowered.gemm
        what = g.gradient_of or {"1/2": "qk", "2/2": "pv"}[g.part]
        weighs = expected[scores.get(what, "prob")]
        a, b = (
            np.swapaxes(
                stacked(
                    {**matrices, "probabilities": weighs, "score_gradient": weighs}[side.tensor]
                ),
                1,
                2,
            )
            if side.transposed
            else stacked(
                {**matrices, "probabilities": weighs, "score_gradient": weighs}[side.tensor]
            )
            for side in (lowered.a, lowered.b)
        )
        assert (a.shape, b.shape) == ((g.count, g.m, g.k), (g.count, g.n, g.k)), what
        found = a @ np.swapaxes(b, 1, 2)
        np.testing.assert_allclose(found, stacked(expected[what]), atol=1e-12, err_msg=what)


def test_shared_keys_change_no_mac_and_are_read_once():
    shared, own = attention(), attention(kv_heads=None)
    h, q, s = SIZES["heads"], SIZES["queries"], SIZES["keys"]
    square = BATCH * h * q * s * (SIZES["head_dim"] + SIZES["v_head_dim"])
    for layer in (shared, own):
        gemms = [one.gemm for one in layer.lower(BATCH)]
        macs = {p: sum(g.macs for g in gemms if g.phase == p) for p in ("forward", "backward")}
        assert macs == {"forward": square, "backward": 2 * square}
    scores = [layer.lower(BATCH)[0].gemm for layer in (shared, own)]
    assert [g.n * g.k * g.count for g in scores] == [s * 5 * BATCH * groups for groups in (2, h)]


def test_keys_follow_the_queries_unless_they_are_given():
    assert attention(keys=None).lower(1)[0].gemm.n == SIZES["queries"]
    assert attention().shape("key", 3) == (3, 7, 2 * 5)
    assert attention(windows=4).shape("value", 3) == (12, 7, 2 * 3)
    assert attention(windows=4).lower(3)[0].gemm.count == 12 * 2


def network(**fields):
    layer = {"name": "attn", "type": "attention", "heads": 4, "head_dim": 8, **fields}
    head = {"name": "head", "type": "linear", "in_features": 32, "out_features": 9,
            "tokens": "predicted"}  # fmt: skip
    return validate(Network, {"sequence": 64, "layers": [layer, head]}, "test")


def keys_of(model, *scenario):
    return model.gemms(1, *scenario)[0].n


def test_a_window_leaves_out_the_keys_that_no_query_sees():
    whole, near = network(), network(window=16, causal=True)
    assert keys_of(near) == keys_of(whole) == 64
    assert (keys_of(whole, "decode", None, 50), keys_of(near, "decode", None, 50)) == (51, 16)
    assert keys_of(near, "decode", None, 7) == 8


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kv_heads": 3}, r"layer 'attn': kv_heads is 3, expected a divisor of heads \(4\)"),
        ({"queries": "target"}, "'target' stands for no tokens of this network"),
        ({"queries": 0}, r"layers\[0\].queries is 0: expected an integer from 1"),
        ({"keys": "sorce"}, r"layers\[0\].keys is 'sorce': expected an integer from 1"),
        ({"keys": "predicted"}, "'predicted' stands for no tokens"),
        ({"window": 4}, "layer 'attn': window is 4, expected null where not causal"),
        ({"head_dim": 0}, r"layers\[0\].head_dim is 0"),
        ({"kv_head": 2}, "did you mean"),
        ({"queries": 9, "keys": 4, "causal": True}, "test: layer 'attn': keys is 4, expected 9 or"),
        ({"type": "atention"}, r"layers\[0\].type is 'atention': expected one of 'conv', "),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(fields, message):
    with pytest.raises(SpecError, match=message) as error:
        network(**fields)
    assert "\n" not in str(error.value)


def test_recipes_leave_attention_alone():
    point = {"fidelity": "analytical", "hardware": "a100-sxm4-80gb", "layers": "*.self_attn"}
    for recipe in ("transposable+mvue", "fst"):
        assert load_recipe(recipe).operands
        table = list(rows(Point("llama-3-8b", recipe=recipe, batch=1, **point)))
        assert len(table) == 2
        assert {(row["a_pattern"], row["b_pattern"], row["speedup"]) for row in table} == {
            ("dense", "dense", 1)
        }
        assert {row["kind"] for row in table} == {"attention"}
        identity = {(row["phase"], row["gradient_of"], row["part"]) for row in table}
        assert len(identity) == 2


def test_decoding_reads_keys_once_for_the_heads_that_share_them():
    """64 heads of llama-3-70b share 8 of keys: their bytes are an eighth of repeated ones."""
    (scores, values) = (
        g
        for g in load_model("llama-3-70b").gemms(16, "decode", context=2047)
        if g.kind == "attention"
    )
    assert (scores.m, scores.n, scores.k, scores.count) == (8, 2048, 128, 16 * 8)
    assert (values.m, values.n, values.k, values.count) == (8, 128, 2048, 16 * 8)
    assert scores.repeat == 80


ATTENDING = [
    (name, scenario)
    for name in MODELS
    for scenario in SCENARIOS
    if any(layer.type == "attention" for layer in load_model(name).declared)
    and (load_model(name).generates or scenario in ("train", "infer"))
]


@pytest.mark.parametrize(("name", "scenario"), ATTENDING)
def test_a_fused_kernel_gets_the_sizes_that_the_gemms_have(name, scenario):
    for layer in load_model(name).at(Scenario(scenario)):
        if layer.type != "attention":
            continue
        fused = layer.attention(3)
        scores, outputs = (one.gemm for one in layer.lower(3)[:2])
        assert (fused.layer, fused.repeat) == (scores.layer, scores.repeat)
        assert scores.m * scores.count == fused.batch * fused.heads * fused.queries
        assert (scores.n, scores.k, outputs.n) == (fused.keys, fused.head_dim, fused.v_head_dim)
        assert scores.count == fused.batch * fused.kv_heads
        square = fused.queries * fused.keys
        if not fused.causal:
            assert fused.macs("forward") == scores.macs + outputs.macs
        elif fused.queries == fused.keys:
            pairs = fused.queries * (fused.queries + 1) // 2
            assert fused.macs("forward") * square == (scores.macs + outputs.macs) * pairs


def test_a_window_is_the_fused_kernels_too():
    layer = network(window=16, causal=True).layers[0]
    assert (layer.attention(1).window, layer.attention(1).pairs) == (16, 16 * 17 // 2 + 48 * 16)
