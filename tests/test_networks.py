"""The networks that ship: their parameters and MACs against what others print and closed forms."""

from math import prod

import pytest

from nmsim.errors import SpecError
from nmsim.network.catalog import MODELS, Network, load_model
from nmsim.network.layer import Conv, Linear, Matmul
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


def masks_of(detections):
    pixels, channels = 14 * 14, 256
    up = channels * channels * 2 * 2
    return detections * pixels * (4 * 9 * channels * channels + up + 4 * channels * 91)


CLOSED_FORMS = {
    "bert-large": 24 * encoder(1024, 4096, 128) + 1024 * 1024,
    "deit-tiny": vision(192, 12, 197, 1000),
    "encoder-decoder": encoder_decoder(1024, 4096, 6, 256, 256, 32000),
    "gpt2": 12 * encoder(768, 3072, 1024) + 1024 * 768 * 50257,
    # a gated MLP has three matrices
    "llama-2-7b": 32 * encoder(4096, 3 * 11008 // 2, 4096) + 4096 * 4096 * 32000,
    "mask-rcnn-r50-fpn": 134_379_721_216 + masks_of(100),
    "t5-base": encoder_decoder(768, 3072, 12, 512, 114, 32128),
    "transformer": encoder_decoder(512, 2048, 6, 128, 128, 37000),
    "vit-tiny": vision(192, 3, 196, 10),
}
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
    "vgg11": "", "vgg16-ssd": "", "vit-l16": "", "vit-b16": "", "deit-tiny": "", "gpt2": "h.",
    "bert-base": "", "bert-large": "", "swinv2-base": ("features.0", "features.1", "features.3",
    "features.5", "features.7", "head"),
    "faster-rcnn-r50-fpn": ("backbone.fpn", "rpn", "roi_heads"),
}  # fmt: skip
"""Layers with a bias, by the beginning of their names."""


@pytest.mark.parametrize("name", list(BIASED))
def test_a_bias_has_an_element_per_output(name):
    network = load_model(name)
    outputs = sum(
        x.shape("weight", 1)[0] * x.repeat
        for x in network.layers
        if not isinstance(x, Matmul) and x.weights and x.name.startswith(BIASED[name])
    )
    (biases,) = [p.count for p in network.published.elsewhere if p.what == "biases"]
    assert biases == outputs


def test_resnet18_convolutions():
    gemms = load_model("resnet18").gemms(batch=1)
    assert sum(g.macs for g in gemms if (g.kind, g.phase) == ("conv", "forward")) == 1_813_561_344


def test_swin_misses_the_printed_macs_by_the_networks_of_its_position_bias():
    offsets = (2 * 8 - 1) ** 2
    hidden = 512
    blocks_and_heads = [(2, 4), (2, 8), (18, 16), (2, 32)]
    bias = sum(n * offsets * hidden * (2 + heads) for n, heads in blocks_and_heads)
    assert bias == 48_844_800
    assert round((forward("swinv2-base") + bias) / 1e6) == 20_325


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
    flop = {x.name: 2e-9 * x.lower(1)[0].gemm.macs for x in blocks}
    mlp = density * sum(value for name, value in flop.items() if ".mlp." in name)
    others = sum(value for name, value in flop.items() if ".mlp." not in name)
    assert others == pytest.approx(12.51, abs=0.01)
    assert mlp == pytest.approx(feed_forward, abs=0.01)
    assert others + mlp == pytest.approx(total, abs=0.01)


def at_196_tokens(layer):
    fields = ("tokens",) if isinstance(layer, Linear) else ("m", "n", "k")
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
