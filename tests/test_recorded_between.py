"""Is what a step does between its products said of the layers that it stands beside?"""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import nmsim  # noqa: E402
from nmsim.network.catalog import load_model  # noqa: E402


def recording_of(model, *shape, loss=False):
    """Of a training step of a model on data of a shape behind the batch."""
    model = model.to("meta")

    def step(batch):
        made = model(torch.empty(batch, *shape, device="meta"))
        if loss:
            made = F.cross_entropy(made, torch.empty(batch, dtype=torch.long, device="meta"))
        made.sum().backward()

    return nmsim.torch.record(step, model)


def chains(recording):
    """What stands before and behind each layer."""
    layers = recording.network.declared
    return {layer.name: (list(layer.before), list(layer.then)) for layer in layers}


class Residual(nn.Module):
    """Two convolutions with a shortcut, as it is or through one of its own, then a classifier."""

    def __init__(self, shortcut):
        super().__init__()
        self.first, self.second = (nn.Conv2d(8, 8, 3, padding=1, bias=False) for _ in range(2))
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(3))
        self.shortcut = nn.Conv2d(8, 8, 1, bias=False) if shortcut else nn.Identity()
        self.fc = nn.Linear(8, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norms[0](self.stem(x))), 2)
        y = self.norms[2](self.second(F.relu_(self.norms[1](self.first(x)))))
        y = y + self.shortcut(x)
        return self.fc(F.adaptive_avg_pool2d(F.relu(y), 1).flatten(1))


def test_convolutions_with_norms_pooling_and_a_shortcut():
    recording = recording_of(Residual(shortcut=False), 3, 8, 8, loss=True)
    assert chains(recording) == {
        "stem": ([], ["conv_bias", "batch_norm", "relu", "max_pool/4"]),
        "first": ([], ["batch_norm", "relu"]),
        "second": ([], ["batch_norm", "residual", "relu", "mean/16"]),
        "fc": ([], ["bias", "loss"]),
    }
    assert recording.told == ()


def test_a_sum_of_two_layers_is_behind_the_later_one_and_both_read_one_input():
    recording = recording_of(Residual(shortcut=True), 3, 8, 8)
    found = chains(recording)
    assert found["second"] == ([], ["batch_norm"])
    assert found["shortcut"] == ([], ["sum", "relu", "mean/16"])
    layers = {layer.name: layer for layer in recording.network.declared}
    assert layers["shortcut"].input_of == "first"


class RootMean(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = {"gate": (16, 24), "up": (16, 24), "down": (24, 16), "head": (16, 4)}
        self.norm, self.last = RootMean(16), RootMean(16)
        self.layers = nn.ModuleDict({n: nn.Linear(*s, bias=False) for n, s in sizes.items()})

    def forward(self, x):
        y, layers = self.norm(x), self.layers
        y = layers["down"](F.silu(layers["gate"](y)) * layers["up"](y))
        return layers["head"](self.last(x + y))


def test_a_norm_of_roots_and_a_gate_are_one_operation_each():
    model = nn.Sequential(nn.Linear(16, 16), Gated())
    recording = recording_of(model, 5, 16)
    assert chains(recording) == {
        "0": ([], ["bias", "rms_norm"]),
        "1.layers.gate": ([], []),
        "1.layers.up": ([], []),
        "1.layers.down": (["swiglu"], ["residual", "rms_norm"]),
        "1.layers.head": ([], []),
    }
    made = {layer.name: layer.input for layer in recording.network.declared}
    assert made["1.layers.down"] == "swiglu"
    assert made["1.layers.head"] == "norm"


def test_a_gelu_of_powers_and_what_a_block_keeps():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.start, self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 32), nn.Linear(32, 16)

        def forward(self, x):
            x = self.start(x)
            y = self.up(x)
            y = 0.5 * y * (1 + torch.tanh(0.8 * (y + 0.04 * y.pow(3))))
            return x + F.dropout(self.down(y), 0.1)

    recording = recording_of(Block(), 8)
    assert chains(recording) == {
        "start": ([], ["bias"]),
        "up": ([], ["bias", "gelu"]),
        "down": ([], ["bias", "dropout", "residual"]),
    }
    layers = {layer.name: layer for layer in recording.network.declared}
    assert (layers["down"].input, layers["down"].kept) == ("gelu", True)


def test_a_branch_is_before_the_layer_that_reads_it():
    class Squeeze(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide, self.narrow = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
            self.less, self.more = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)

        def forward(self, x):
            x = F.relu(self.wide(x))
            scale = self.more(F.relu(self.less(x.mean((2, 3), keepdim=True))))
            return self.narrow(x * scale.sigmoid())

    assert chains(recording_of(Squeeze(), 3, 8, 8)) == {
        "wide": ([], ["conv_bias", "relu"]),
        "less": (["mean/36"], ["conv_bias", "relu"]),
        "more": ([], ["conv_bias", "silu"]),
        "narrow": (["gate"], ["conv_bias"]),
    }


def test_images_side_by_side_are_before_the_layer_that_reads_them():
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.both = (
                nn.Conv2d(3, 4, 1),
                nn.Conv2d(4, 4, 1),
                nn.Conv2d(8, 2, 1),
            )

        def forward(self, x):
            one = self.one(x)
            return self.both(F.relu(torch.cat([one, self.two(one)], 1)))

    found = chains(recording_of(Joined(), 3, 8, 8))
    assert found["two"] == ([], ["conv_bias"])
    assert found["both"] == (["concat", "relu"], ["conv_bias"])


class Attending(nn.Module):
    """A decoder of one layer with its words' table as its last layer, rotary queries and keys."""

    def __init__(self, fused):
        super().__init__()
        self.words, self.places = nn.Embedding(50, 16), nn.Embedding(128, 16)
        self.q, self.k, self.v = (nn.Linear(16, 16, bias=False) for _ in range(3))
        self.out, self.head = nn.Linear(16, 16, bias=False), nn.Linear(16, 50, bias=False)
        self.head.weight, self.norm, self.fused = self.words.weight, nn.LayerNorm(16), fused

    def rotated(self, x, turned):
        half = torch.cat([-x[..., 4:], x[..., :4]], -1)
        return x * turned.cos() + half * turned.sin()

    def forward(self, ids):
        tokens = torch.arange(ids.shape[1], device="meta")
        x = self.norm(self.words(ids) + self.places(tokens))
        heads = lambda y: y.unflatten(-1, (2, 8)).transpose(1, 2)
        angles = tokens[:, None] * torch.arange(8, device="meta")
        q, k = (self.rotated(heads(layer(x)), angles) for layer in (self.q, self.k))
        v, later = heads(self.v(x)), torch.ones(len(tokens), len(tokens), device="meta").triu(1)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=0.1)
        else:
            scores = (q @ k.transpose(-1, -2) / 8).masked_fill(later.bool(), float("-inf"))
            y = F.dropout(scores.softmax(-1), 0.1) @ v
        return self.head(x + self.out(y.transpose(1, 2).flatten(2)))


@pytest.mark.parametrize("fused", [True, False])
def test_attention_with_tables_rotary_positions_and_what_is_done_to_scores(fused):
    with torch.device("meta"):
        model = Attending(fused)

    def step(batch, tokens):
        ids = torch.empty(batch, tokens, dtype=torch.long, device="meta")
        F.cross_entropy(model(ids).flatten(0, 1), ids.flatten()).backward()

    recording = nmsim.torch.record(step, model)
    scores = ["scaling", "score_bias", "softmax", "dropout"]
    attention = "attention" if fused else "bmm"
    found = chains(recording)
    named = next(name for name in found if name not in dict(model.named_modules()))
    assert {**found, attention: found[named]} == {
        "words": ([], ["sum", "layer_norm"]),
        "places": ([], []),
        "q": ([], ["rotary"]),
        "k": ([], ["rotary"]),
        "v": ([], []),
        named: (scores, []),
        attention: (scores, []),
        "out": ([], ["residual"]),
        "head": ([], ["loss"]),
    }
    layers = {layer.name: layer for layer in recording.network.declared}
    assert layers[named].causal
    assert layers["head"].weight_of == "words"
    assert (layers["words"].entries, layers["words"].features) == (50, 16)
    assert recording.network.weights == 50 * 16 + 128 * 16 + 4 * 16 * 16
    assert recording.told == ()


def test_what_no_word_stands_for_is_told():
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            return self.two(self.one(x).sort(-1).values)

    (told,) = recording_of(Sorted(), 8).told
    assert told == "operations that no word stands for are not charged: sort"


@pytest.mark.slow
def test_llama_3_8b_has_beside_its_layers_what_the_catalog_says():
    from public_networks import ids, network  # noqa: PLC0415 (an extra may be missing)

    model, catalog = network("llama-3-8b"), load_model("llama-3-8b")

    def step(batch, tokens):
        made = model(input_ids=ids(batch, tokens))["logits"]
        F.cross_entropy(made.flatten(0, 1), ids(batch, tokens).flatten()).backward()

    recording = nmsim.torch.record(step, model)
    wanted = {one.name: (list(one.before), list(one.then)) for one in catalog.declared}
    assert chains(recording) == wanted
    assert recording.network.weights == catalog.weights
