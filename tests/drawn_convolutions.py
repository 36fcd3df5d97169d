"""Convolutions drawn at random: one to three dimensions, of every kind that a file can say."""

import numpy as np
from oracle_convolution import Geometry

from nmsim.errors import SpecError
from nmsim.network.catalog import Network
from nmsim.spec import validate


def layer_of(**fields):
    return validate(Network, {"layers": [{"name": "c", **fields}]}, "test").layers[0]


def drawn_fields(rng, transposed):
    """Fields of a layer, not all of which fit together."""
    spatial = int(rng.integers(1, 4))
    most = (14, 7, 4)[spatial - 1]

    def each(low, high):
        values = [int(v) for v in rng.integers(low, high, spatial)]
        return values[0] if rng.random() < 0.4 else values

    groups = int(rng.choice([1, 1, 2, 3]))
    fields = {
        "type": "conv_transposed" if transposed else "conv",
        "dimensions": spatial,
        "in_channels": groups * int(rng.integers(1, 5)),
        "out_channels": groups * int(rng.integers(1, 5)),
        "groups": groups,
        "input_size": each(1, most),
        "kernel": each(1, 5),
        "stride": each(1, 4),
        "dilation": each(1, 3),
        "images": int(rng.integers(1, 3)),
        "input": "norm",
    }
    kind = rng.random()
    if kind < 0.2:
        fields["padding"] = "same"
    elif kind < 0.5:
        fields["padding"] = [[int(v) for v in rng.integers(0, 3, 2)] for _ in range(spatial)]
    else:
        fields["padding"] = each(0, 3)
    if transposed and fields["padding"] != "same":
        fields["output_padding"] = each(0, 2)
    return fields


def drawn_layer(seed, transposed):
    """The first layer of a seed whose fields fit together."""
    rng = np.random.default_rng([seed, transposed])
    while True:
        try:
            return layer_of(**drawn_fields(rng, transposed))
        except SpecError:
            continue


def geometry(layer):
    """What the oracle must know, from the layer's fields alone."""
    transposed = layer.type == "conv_transposed"
    each = {name: layer.each(name) for name in ("kernel", "stride", "dilation", "padding")}
    wide, narrow = layer.image, layer.output_size
    if transposed:
        wide, narrow = narrow, wide
    before = tuple(
        padding[0] if isinstance(padding, tuple) else padding for padding in each["padding"]
    )
    if layer.padding == "same":
        # The reach of all windows beyond the wide image is halved, an odd pixel after it.
        steps = zip(wide, narrow, each["kernel"], each["stride"], each["dilation"], strict=True)
        before = tuple(
            max(0, (o - 1) * s + d * (k - 1) + 1 - size) // 2 for size, o, k, s, d in steps
        )
    return Geometry(
        wide,
        narrow,
        each["kernel"],
        each["stride"],
        each["dilation"],
        before,
        layer.groups,
        transposed,
    )
