"""Random tensors of one step of a network, as a training library would leave them."""

import numpy as np

from nmsim.network.im2col import column_values
from nmsim.network.layer import Conv, Linear


def random_step(layers, batch, seed):
    """Tensors of every layer with a weight; a third of activations and gradients is zero."""
    rng = np.random.default_rng(seed)

    def drawn(*shape):
        values = rng.normal(size=shape).astype(np.float32)
        return np.where(rng.random(shape) < 1 / 3, np.float32(0), values)

    found = {}
    for layer in layers:
        if not isinstance(layer, Conv | Linear):
            continue
        outputs, *window = layer.shape("weight", batch)
        rows = batch * layer.columns
        weight = rng.normal(size=(outputs, int(np.prod(window)))).astype(np.float32)
        image = drawn(*layer.shape("activation", batch))
        columns = image
        if isinstance(layer, Conv):
            turned = np.empty((weight.shape[1], rows), np.float32)
            pixels = image.reshape(-1, layer.in_channels)
            column_values(pixels, layer.windows(batch), layer.groups, 0, turned)
            columns, image = turned.T, np.moveaxis(image, -1, 1)
        found[layer.name] = {
            "weight": weight,
            "gradient": drawn(rows, outputs),
            "activation": np.ascontiguousarray(image),
            "columns": np.ascontiguousarray(columns),
        }
    return found
