"""The networks that ship: their parameters and MACs against what others print and closed forms."""

from math import prod

import pytest

from nmsim.errors import SpecError
from nmsim.network.catalog import MODELS, Network, load_model
from nmsim.network.layer import AttentionLayer, Conv, Embedding, Linear
from nmsim.network.layers.layer_fields import WeightedSpec
from nmsim.spec import validate


def forward(name, layers="", batch=1):
    gemms = load_model(name).gemms(batch)
    return sum(g.macs for g in gemms if g.phase == "forward" and g.layer.startswith(layers))


def attention(d, queries, keys):
    """MACs: four projections, and two products of a query with every key."""
    return 2 * d * d * (queries + keys) + 2 * queries * keys * d


def encoder(d, ff, tokens):
    return attention(d, tokens, tokens) + 2 * d * ff * tokens


def decoder(d, ff, tokens, memory):
    return encoder(d, ff, tokens) + attention(d, tokens, memory)


def encoder_decoder(d, ff, blocks, source, target, vocabulary):
    stacks = encoder(d, ff, source) + decoder(d, ff, target, source)
    return blocks * stacks + target * d * vocabulary


def vision(d, blocks, tokens, classes):
    return 196 * 16 * 16 * 3 * d + blocks * encoder(d, 4 * d, tokens) + d * classes


def decoder_only(d, heads, kv_heads, ff, tokens, width=128):
    """Heads that share keys, of a width of their own, and a gated MLP of three matrices."""
    q, kv = heads * width, kv_heads * width
    return tokens * (2 * d * (q + kv) + 2 * tokens * q + 3 * d * ff)


def latent(d, heads, tokens):
    """DeepSeek's attention: queries and keys of 128 + 64 features, values of 128, latents."""
    down = d * (1536 + 512 + 64)
    up = 1536 * heads * 192 + 512 * heads * (128 + 128)
    return tokens * (down + up + heads * 128 * d + tokens * heads * (192 + 128))


def experts(d, ff, chosen, of, tokens):
    return tokens * (d * of + chosen * 3 * d * ff)


def masks_of(detections):
    pixels, channels = 14 * 14, 256
    up = channels * channels * 2 * 2
    return detections * pixels * (4 * 9 * channels * channels + up + 4 * channels * 91)


CLOSED_FORMS = {
    "bert-large": 24 * encoder(1024, 4096, 128) + 1024 * 1024,
    "deepseek-v3": 61 * latent(7168, 128, 4096)
    + 4096 * (3 * 3 * 7168 * 18432 + 58 * 3 * 7168 * 2048 + 7168 * 129280)
    + 58 * experts(7168, 2048, 8, 256, 4096),
    "deit-tiny": vision(192, 12, 197, 1000),
    "encoder-decoder": encoder_decoder(1024, 4096, 6, 256, 256, 32000),
    "gpt-j-6b": 28 * encoder(4096, 16384, 2048) + 2048 * 4096 * 50400,
    "gpt2": 12 * encoder(768, 3072, 1024) + 1024 * 768 * 50257,
    # a gated MLP has three matrices
    "llama-2-7b": 32 * encoder(4096, 3 * 11008 // 2, 4096) + 4096 * 4096 * 32000,
    "llama-2-70b": 80 * decoder_only(8192, 64, 8, 28672, 4096) + 4096 * 8192 * 32000,
    "llama-3-70b": 80 * decoder_only(8192, 64, 8, 28672, 8192) + 8192 * 8192 * 128256,
    "llama-3-8b": 32 * decoder_only(4096, 32, 8, 14336, 8192) + 8192 * 4096 * 128256,
    "mask-rcnn-r50-fpn": 134_379_721_216 + masks_of(100),
    "mixtral-8x7b": 32 * (decoder_only(4096, 32, 8, 0, 4096) + experts(4096, 14336, 2, 8, 4096))
    + 4096 * 4096 * 32000,
    "qwen3-4b": 36 * decoder_only(2560, 32, 8, 9728, 4096) + 4096 * 2560 * 151936,
    "t5-base": encoder_decoder(768, 3072, 12, 512, 114, 32128),
    "transformer": encoder_decoder(512, 2048, 6, 128, 128, 37000),
    # halves on the way down, doubles on the way up, and loses two pixels a convolution
    "unet": sum(
        (n - 2) ** 2 * 9 * i * o + (n - 4) ** 2 * 9 * o * o
        for n, i, o in [(572, 1, 64), (284, 64, 128), (140, 128, 256), (68, 256, 512),
                        (32, 512, 1024), (56, 1024, 512), (104, 512, 256), (200, 256, 128),
                        (392, 128, 64)]
    )
    + sum(n * n * 4 * 2 * o * o for n, o in [(28, 512), (52, 256), (100, 128), (196, 64)])
    + 388 * 388 * 64 * 2,
    "vit-tiny": vision(192, 3, 196, 10),
    "wav2vec2-base": 512 * (31999 * 10 + 512 * 3 * (15999 + 7999 + 3999 + 1999))
    + 512 * 512 * 2 * (999 + 499)
    + 499 * 512 * 768
    + 500 * 128 * 48 * 768
    + 12 * encoder(768, 3072, 499),
    "whisper-small-encoder": 3 * 768 * (3000 * 80 + 1500 * 768) + 12 * encoder(768, 3072, 1500),
}  # fmt: skip
"""Forward MACs of one sample where nobody prints them."""


@pytest.mark.parametrize("name", list(MODELS))
def test_macs_are_the_published_ones_or_a_closed_forms(name):
    published = load_model(name).published
    if published is None or published.macs is None:
        assert forward(name) == CLOSED_FORMS[name]
    else:
        assert abs(forward(name) / published.macs - 1) <= published.macs_tolerance


PARAMETERS = {
    "encoder-decoder": 6 * (12 + 16) * 1024**2 + 32000 * 1024,
    "transformer": 6 * (12 + 16) * 512**2 + 37000 * 512,
    "vit-tiny": 3 * 12 * 192**2 + 16 * 16 * 3 * 192 + 192 * 10,
}
"""Elements of the weights where nobody prints the network's parameters."""


@pytest.mark.parametrize("name", list(MODELS))
def test_parameters_are_the_published_ones_or_a_closed_forms(name):
    network = load_model(name)
    if network.published is None:
        assert network.weights == PARAMETERS[name]
    else:
        elsewhere = sum(part.count for part in network.published.elsewhere)
        assert network.weights + elsewhere == network.published.parameters


RESIDUAL = ["resnet18", "resnet34", "resnet50", "resnet101", "resnext50"]


def batch_normalisation(network):
    (count,) = [p.count for p in network.published.elsewhere if "batch norm" in p.what]
    return count


@pytest.mark.parametrize("name", RESIDUAL)
def test_batch_normalisation_has_two_parameters_per_channel(name):
    network = load_model(name)
    channels = sum(x.out_channels for x in network.layers if isinstance(x, Conv))
    assert batch_normalisation(network) == 2 * channels


def test_densenet_normalises_what_its_convolutions_read():
    network = load_model("densenet121")
    first, *others, classifier = network.layers
    normalised = first.out_channels + sum(x.in_channels for x in others) + classifier.in_features
    assert batch_normalisation(network) == 2 * normalised


BIASED = {
    "bert-base": "", "bert-large": "", "convnext-tiny": "", "deit-tiny": "",
    "unet": "", "vgg11": "", "vgg16-ssd": "", "vit-b16": "", "vit-l16": "",
    "faster-rcnn-r50-fpn": ("backbone.fpn", "rpn", "roi_heads"),
    "gpt-j-6b": ("transformer.h.*.mlp", "lm_head"),
    "gpt2": "transformer.h.",
    "mobilenet-v2": "classifier",
    "r3d-18": "fc",
    "sam-vit-h": ("patch_embed", "blocks"),
    "swinv2-base": ("features.0", "head", *(
        f"features.{stage}.*.{name}" for stage in (1, 3, 5, 7)
        for name in ("attn.cpb_mlp.0", "attn.qkv", "attn.proj", "mlp")
    )),
    "wav2vec2-base": ("feature_projection", "encoder"),
    "whisper-small-encoder": ("conv", "layers.*.fc", "layers.*.self_attn.q",
                              "layers.*.self_attn.v", "layers.*.self_attn.o"),
}  # fmt: skip
"""Layers with a bias, by the beginning of their names."""


def outputs_of(layer):
    return layer.out_features if isinstance(layer, Linear) else layer.out_channels


@pytest.mark.parametrize("name", list(BIASED))
def test_a_bias_has_an_element_per_output(name):
    network = load_model(name)
    outputs = sum(
        outputs_of(x) * x.repeat
        for x in network.layers
        if isinstance(x, WeightedSpec) and x.weights and x.name.startswith(BIASED[name])
    )
    (biases,) = [p.count for p in network.published.elsewhere if p.what == "biases"]
    assert biases == outputs


def test_resnet18_convolutions():
    gemms = load_model("resnet18").gemms(batch=1)
    assert sum(g.macs for g in gemms if (g.kind, g.phase) == ("conv", "forward")) == 1_813_561_344


def test_swin_makes_its_position_bias_once_a_step():
    offsets = (2 * 8 - 1) ** 2
    hidden = 512
    blocks_and_heads = [(2, 4), (2, 8), (18, 16), (2, 32)]
    bias = sum(n * offsets * hidden * (2 + heads) for n, heads in blocks_and_heads)
    gemms = [load_model("swinv2-base").gemms(batch) for batch in (1, 32)]
    for of in gemms:
        own = [g for g in of if "cpb_mlp" in g.layer]
        assert sum(g.macs for g in own if g.phase == "forward") == bias == 48_844_800
        # offsets need no gradient, what is made of them does
        assert [g.layer[-1] for g in own if g.phase == "backward"] == ["2"] * 4


@pytest.mark.parametrize(
    ("density", "feed_forward", "total"),
    [
        (1, 22.19, 34.71),
        (1 / 2, 11.1, 23.61),
        (1 / 4, 5.55, 18.06),
        (1 / 8, 2.77, 15.29),
        (1 / 16, 1.39, 13.90),
        (1 / 32, 0.69, 13.20),
        (1 / 128, 0.17, 12.69),
    ],
)
def test_flops_of_vit_base_without_its_class_token(density, feed_forward, total):
    """Bambhaniya et al., arXiv:2402.04744, table 18: GFLOP, two a MAC, cut or rounded."""
    blocks = [
        at_196_tokens(x) for x in load_model("vit-b16").layers if x.name.startswith("encoder")
    ]
    flop = {
        x.name: 2e-9 * sum(y.gemm.macs for y in x.lower(1) if y.gemm.phase == "forward")
        for x in blocks
    }
    mlp = density * sum(value for name, value in flop.items() if ".mlp." in name)
    others = sum(value for name, value in flop.items() if ".mlp." not in name)
    assert others == pytest.approx(12.51, abs=0.01)
    assert mlp == pytest.approx(feed_forward, abs=0.01)
    assert others + mlp == pytest.approx(total, abs=0.01)


def at_196_tokens(layer):
    fields = ("tokens",) if isinstance(layer, Linear) else ("queries", "keys")
    return layer.model_copy(update={field: 196 for field in fields if getattr(layer, field) == 197})


def test_a_pyramid_of_five_levels_shares_the_weights_of_its_heads():
    network = load_model("faster-rcnn-r50-fpn")
    heads = [x for x in network.layers if x.name.startswith("rpn.")]
    assert len(heads) == 15
    assert sum(x.weights for x in heads) == 256 * (9 * 256 + 3 + 12)
    assert sum(prod(x.image) for x in heads if "conv" in x.name) == sum(
        size * size for size in (200, 100, 50, 25, 13)
    )


def shared(**fields):
    layers = [
        {"name": "a", "type": "linear", "in_features": 8, "out_features": 4},
        {"name": "b", "type": "linear", "in_features": 8, "out_features": 4, "tokens": 3,
         "weight_of": "a"},
    ]  # fmt: skip
    layers[1].update(fields)
    return validate(Network, {"layers": layers}, "test")


def test_a_shared_weight_is_counted_once_and_multiplied_twice():
    assert shared().weights == 32
    assert sum(g.macs for g in shared().gemms(1) if g.phase == "update") == 32 * 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight_of": "c"}, "layer 'b': unknown weight_of 'c'"),
        ({"out_features": 5}, "weight_of is 'a', expected a layer with a weight of its own"),
        ({"weight_of": "b"}, "weight_of is 'b', expected a layer with a weight of its own"),
    ],
)
def test_a_weight_is_shared_with_a_layer_that_has_one(fields, message):
    with pytest.raises(SpecError, match=message):
        shared(**fields)


def test_a_weight_is_not_shared_between_different_numbers_of_groups():
    conv = {"type": "conv", "out_channels": 4, "kernel": 1, "input_size": 3}
    layers = [
        {"name": "a", "in_channels": 8} | conv,
        {"name": "b", "in_channels": 16, "groups": 2, "weight_of": "a"} | conv,
    ]
    with pytest.raises(SpecError, match="of the same type and shape"):
        validate(Network, {"layers": layers}, "test")


def test_an_embedding_is_no_gemm_and_may_be_the_last_layers_weight():
    layers = [
        {"name": "table", "type": "embedding", "entries": 50, "features": 8},
        {"name": "head", "type": "linear", "in_features": 8, "out_features": 50,
         "weight_of": "table"},
    ]  # fmt: skip
    network = validate(Network, {"layers": layers}, "test")
    assert network.weights == 400
    assert {g.layer for g in network.gemms()} == {"head"}
    layers[1]["out_features"] = 49
    with pytest.raises(SpecError, match="or an embedding of that shape"):
        validate(Network, {"layers": layers}, "test")


TIED = {"gpt2": True, "qwen3-4b": True, "t5-base": True, "llama-3-8b": False, "gpt-j-6b": False}


@pytest.mark.parametrize(("name", "tied"), TIED.items())
def test_the_last_layer_is_the_embedding_where_it_is(name, tied):
    network = load_model(name)
    head = network.layers[-1]
    assert (head.weights == 0) is tied
    tables = [x for x in network.layers if isinstance(x, Embedding)]
    assert tables[0].shape("weight", 1) == head.shape("weight", 1)


@pytest.mark.parametrize("name", list(MODELS))
def test_names_of_blocks_are_those_of_a_checkpoint(name):
    layers = load_model(name).declared
    names = [own for layer in layers for own in layer.names]
    assert len(names) == len(set(names))
    folded = [layer for layer in layers if layer.repeat > 1]
    assert all(layer.name.count("*") == 1 and len(layer.names) == layer.repeat for layer in folded)


def test_blocks_are_numbered_from_where_they_begin():
    by_name = {layer.name: layer for layer in load_model("deepseek-v3").declared}
    dense = by_name["model.layers.*.mlp.gate_proj"].names
    routed = by_name["model.layers.*.mlp.experts.down_proj"].names
    assert (dense[0], dense[-1]) == (
        "model.layers.0.mlp.gate_proj", "model.layers.2.mlp.gate_proj"
    )  # fmt: skip
    assert routed[0] == "model.layers.3.mlp.experts.down_proj"
    assert routed[-1] == "model.layers.60.mlp.experts.down_proj"


ALIASES = {
    "mobilenet_v2": "mobilenet-v2",
    "resnext50_32x4d": "resnext50",
    "swin_v2_b": "swinv2-base",
    "meta-llama/Meta-Llama-3-8B": "llama-3-8b",
    "facebook/wav2vec2-base": "wav2vec2-base",
}


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_a_network_answers_to_what_libraries_call_it(alias, name):
    assert load_model(alias) == load_model(name)


def test_nothing_is_called_as_another_network():
    said = [*MODELS, *(alias for name in MODELS for alias in load_model(name).aliases)]
    assert len(said) == len(set(said))


def test_attention_is_one_layer_in_every_network_that_has_it():
    of = {name: load_model(name).declared for name in MODELS}
    assert not [name for name in of if any(x.type == "matmul" for x in of[name])]
    assert sum(any(isinstance(x, AttentionLayer) for x in of[name]) for name in of) >= 20
