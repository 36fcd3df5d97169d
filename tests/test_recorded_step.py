"""Does a recorded step become a network whose sizes follow batch and length as the step's do?"""

import json
import re
from collections import Counter

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import nmsim  # noqa: E402
from nmsim.errors import NmsimError  # noqa: E402
from nmsim.importing import import_document  # noqa: E402


class Block(nn.Module):
    """A transformer's block: four heads of queries, two of keys and values."""

    def __init__(self):
        super().__init__()
        self.q, self.kv, self.out = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 32)
        self.up, self.down, self.norm = nn.Linear(32, 96), nn.Linear(96, 32), nn.LayerNorm(32)

    def forward(self, x):
        y = self.norm(x)
        heads = lambda z: z.unflatten(-1, (-1, 8)).transpose(1, 2)
        q, (k, v) = self.q(y), self.kv(y).chunk(2, -1)
        q, k, v = heads(q), heads(k), heads(v)
        z = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.out(z.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Net(nn.Module):
    def __init__(self, blocks=3):
        super().__init__()
        self.embed, self.layers = (
            nn.Embedding(50, 32),
            nn.ModuleList(Block() for _ in range(blocks)),
        )
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 50)

    def forward(self, ids):
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


@pytest.fixture(scope="module")
def net():
    with torch.device("meta"):
        return Net()


def step_of(net):
    def step(batch, tokens):
        net(torch.empty(batch, tokens, dtype=torch.long, device="meta")).sum().backward()

    return step


@pytest.fixture(scope="module")
def recording(net):
    return nmsim.torch.record(step_of(net), net)


def gemms(network, **asked):
    found = Counter()
    for g in network.gemms(**asked):
        found[g.phase, g.layer, g.m, g.n, g.k, g.count] += g.repeat
    return found


def test_identical_blocks_are_one_layer_that_is_repeated(recording):
    names = [(one.name, one.repeat) for one in recording.network.declared]
    block = ["q", "kv", "attention", "out", "up", "down"]
    blocks = [(f"layers.*.{one}", 3) for one in block]
    assert names == [("embed", 1), *blocks, ("head", 1)]


@pytest.mark.parametrize(("batch", "tokens"), [(1, 7), (5, 128)])
def test_another_batch_and_length_multiply_what_a_step_of_them_does(recording, net, batch, tokens):
    other = nmsim.torch.record(step_of(net), net, batches=[batch], lengths=[tokens])
    wanted = Counter((p.phase, p.m, p.n, p.k) for p in other.products if p.kind == "linear")
    found = Counter()
    for g in recording.network.gemms(batch=batch, tokens=tokens):
        if g.kind == "linear":
            found[g.phase, g.m, g.n, g.k] += g.repeat
    assert found == wanted
    (heads,) = {p.heads for p in other.products if p.heads is not None}
    (layer,) = [one for one in recording.network.at() if one.type == "attention"]
    assert (heads.batch, heads.queries, heads.keys) == (batch, tokens, tokens)
    assert (layer.heads, layer.groups, layer.head_dim, layer.causal) == (4, 2, 8, True)


def test_what_reads_one_input_and_what_made_it(recording):
    layers = {one.name: one for one in recording.network.declared}
    assert layers["layers.*.kv"].input_of == "layers.*.q"
    made = {name: layers[f"layers.*.{name}"].input for name in ("q", "out", "up", "down")}
    assert made == {"q": "norm", "out": "linear", "up": "norm", "down": "gelu"}


def test_a_saved_network_is_simulated_and_names_its_versions(recording, tmp_path):
    recording.save(tmp_path / "net.yaml")
    network = nmsim.load_model(tmp_path / "net.yaml")
    assert network.implementation == f"torch {torch.__version__}"
    assert gemms(network) == gemms(recording.network)
    table = nmsim.simulate(tmp_path / "net.yaml", scenario="infer", batch=2, tokens=16)
    assert set(table["phase"]) == {"forward"}


def test_what_follows_neither_is_of_fixed_size_and_refused_by_name(tmp_path):
    class Squares(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(16, 16)

        def forward(self, x):
            return self.fc(x) @ self.fc(x).transpose(-1, -2)  # tokens by tokens, without a softmax

    model = Squares().to("meta")

    def step(batch, tokens):
        model(torch.empty(batch, tokens, 16, device="meta")).sum().backward()

    recording = nmsim.torch.record(step, model)
    assert "1 product follows neither batch nor length" in recording.told[0]
    network = recording.network
    (fixed,) = [g for g in network.gemms(batch=2) if g.kind == "matmul" and g.phase == "forward"]
    assert (fixed.m, fixed.n, fixed.k, fixed.count) == (64, 64, 16, 2)
    with pytest.raises(NmsimError, match=r"bmm.*batch is 3, expected 2: a product of fixed size"):
        network.gemms(batch=3)
    with pytest.raises(NmsimError, match=r"bmm.*tokens is 65, expected 64: a product of fixed"):
        network.gemms(batch=2, tokens=65)


def test_rows_that_are_no_word_s_are_of_fixed_size_too():
    model = nn.Linear(8, 8, device="meta")

    def step(batch, tokens):
        model(torch.empty(batch, 2 * tokens, 8, device="meta"))

    (layer,) = nmsim.torch.record(step, model).network.declared
    assert (layer.type, layer.m, layer.batch, layer.tokens) == ("gemm", 256, 2, 64)


def test_a_step_that_multiplies_other_things_at_another_size_is_refused():
    model = nn.Linear(8, 8, device="meta")

    def step(batch):
        for _ in range(batch):
            model(torch.empty(batch, 8, device="meta"))

    with pytest.raises(NmsimError, match="multiplies other things at batch 3"):
        _ = nmsim.torch.record(step, model).document


def test_a_step_without_products_and_a_mode_that_is_none():
    model = nn.Linear(8, 8)
    with pytest.raises(NmsimError, match="the step multiplies no matrices"):
        _ = nmsim.torch.record(lambda: None, model).document
    with pytest.raises(NmsimError, match="mode is 'shape', expected shapes or tensors"):
        nmsim.torch.record(lambda: None, model, mode="shape")


def test_layers_called_twice_share_a_weight():
    model = nn.Linear(8, 8, device="meta")

    def step(batch):
        model(model(torch.empty(batch, 8, device="meta"))).sum().backward()

    first, second = nmsim.torch.record(step, model).network.declared
    assert (first.name, second.name, second.weight_of) == ("weight", "weight#2", "weight")


def test_a_convolutional_network():
    with torch.device("meta"):
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2, 2, groups=2)
        )

    def step(batch):
        model(torch.empty(batch, 3, 16, 16, device="meta")).sum().backward()

    found = nmsim.torch.record(step, model).network.gemms(batch=5, lowering="columns")
    assert [(g.phase, g.m, g.n, g.k, g.count) for g in found] == [
        ("forward", 5 * 64, 8, 27, 1),
        ("update", 8, 27, 5 * 64, 1),
        ("forward", 5 * 64, 8, 4, 2),
        ("backward", 5 * 64, 4, 8, 2),
        ("update", 8, 4, 5 * 64, 2),
    ]


# ---- a decoder behind an encoder


class Translator(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Embedding(50, 32)
        self.between = nn.Transformer(32, 4, 2, 2, 64, batch_first=True)
        self.head = nn.Linear(32, 50)

    def forward(self, source, target):
        later = nn.Transformer.generate_square_subsequent_mask(target.shape[1], device="meta")
        return self.head(self.between(self.shared(source), self.shared(target), tgt_mask=later))


@pytest.fixture(scope="module")
def translator():
    with torch.device("meta"):
        return Translator()


def step_behind(model):
    def step(batch, tokens, target):
        read = [
            torch.empty(batch, size, dtype=torch.long, device="meta") for size in (tokens, target)
        ]
        model(*read).sum().backward()

    return step


@pytest.fixture(scope="module")
def translation(translator):
    return nmsim.torch.record(step_behind(translator), translator)


def test_two_lengths_are_told_apart(translation):
    layers = {one.name: one for one in translation.network.declared}
    block = "between.decoder.layers.1"
    cross = layers[f"{block}.multihead_attn"]
    assert (cross.queries, cross.keys, cross.causal) == ("target", "source", False)
    own = layers[f"{block}.self_attn"]
    assert (own.queries, own.keys, own.causal, own.repeat) == ("target", None, True, 1)
    assert layers["between.encoder.layers.1.linear1"].tokens == "source"
    assert layers[f"{block}.linear1"].tokens == "target"
    assert layers["head"].tokens == "predicted"
    assert translation.told == (
        "2 layers have the name of one before: the second of a name is called NAME#2",
    )


def test_another_source_and_target_multiply_what_a_step_of_them_does(translation, translator):
    step = step_behind(translator)
    other = nmsim.torch.record(step, translator, batches=[5], lengths=[30], targets=[7])
    network = translation.network
    other_sizes = network.model_copy(update={"sequence": other.network.sequence})
    found, wanted = Counter(), Counter((p.phase, p.m, p.n, p.k) for p in other.products if p.m)
    for g in other_sizes.gemms(batch=5):
        if g.kind == "linear":
            found[g.phase, g.m, g.n, g.k] += g.repeat
    assert found == wanted


def test_a_decoder_decodes_after_a_context_and_its_encoder_does_not_run(translation):
    asked = {"scenario": "decode", "batch": 3, "tokens": 20, "context": 9}
    found = {(g.layer, g.n, g.k) for g in translation.network.gemms(**asked)}
    block = "between.decoder.layers.1"
    assert {(n, k) for layer, n, k in found if layer == f"{block}.self_attn"} == {(10, 8), (8, 10)}
    assert {(n, k) for layer, n, k in found if layer == f"{block}.multihead_attn"} == {
        *((20, 8), (8, 20))
    }
    assert not any("encoder.layers" in layer for layer, _, _ in found)


@pytest.mark.parametrize(
    ("lengths", "targets", "wrong"),
    [
        ([64, 96], [40], r"targets are \[40\], expected another number for each of the lengths"),
        ([64, 96], [40, 96], r"targets are \[40, 96\], expected another number"),
    ],
)
def test_targets_that_cannot_be_told_from_lengths(translator, lengths, targets, wrong):
    step = step_behind(translator)
    with pytest.raises(NmsimError, match=wrong):
        nmsim.torch.record(step, translator, lengths=lengths, targets=targets)


def test_a_target_without_a_source():
    with pytest.raises(NmsimError, match="the step takes target and no tokens"):
        nmsim.torch.record(lambda target: None, nn.Linear(8, 8))


def test_a_product_of_fixed_size_behind_an_encoder_names_the_length_that_it_is_of():
    model = nn.Linear(16, 16, device="meta")

    def step(batch, tokens, target):
        read = [torch.empty(batch, size, 16, device="meta") for size in (tokens, target)]
        model(read[0]) @ model(read[1]).transpose(-1, -2)

    network = nmsim.torch.record(step, model).network
    network.gemms(batch=2)
    with pytest.raises(NmsimError, match="tokens is 65, expected 64: a product of fixed size"):
        network.gemms(batch=2, tokens=65)
    with pytest.raises(NmsimError, match="target is 1, expected 40: a product of fixed size"):
        network.gemms(batch=2, scenario="prefill", tokens=64)


# ---- configurations of Hugging Face


TINY = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 128,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "config.json").write_text(json.dumps(TINY))
    return folder


@pytest.mark.parametrize("name", ["", "config.json"])
def test_a_configuration_is_a_network_with_words_for_its_tokens(tiny, name):
    gives, found = import_document(tiny / name, "hf", {})
    layers = {one["name"]: one for one in found.content["layers"]}
    assert (gives, found.content["sequence"]) == ("network", 128)
    assert layers["lm_head"]["tokens"] == "predicted"
    assert layers["model.layers.*.self_attn"]["kv_heads"] == 2
    assert {one.get("repeat", 1) for one in layers.values()} == {1, 3}
    assert "transformers" in found.content["implementation"]


def test_a_configuration_decodes_on_machines_that_share_it(tiny):
    network = nmsim.load_model(tiny / "config.json")
    whole = {g.layer: g for g in network.gemms(scenario="decode", batch=4, context=20)}
    scores = whole["model.layers.*.self_attn"]
    assert (scores.k, scores.count) == (21, 8)
    assert network.tensor_parallel["model.layers.*.mlp.down_proj"] == "rows"
    assert network.tensor_parallel["model.layers.*.self_attn.k_proj"] == "key_value"
    assert network.tensor_parallel["lm_head"] == "vocabulary"
    parts = {one.name: one for one in network.shared(network.at(), 2)}
    assert parts["model.layers.*.self_attn.q_proj"].out_features == 32
    assert parts["model.layers.*.self_attn.o_proj"].in_features == 32
    assert parts["lm_head"].out_features == 50


T5 = {
    "architectures": ["T5ForConditionalGeneration"],
    "model_type": "t5",
    "d_model": 768,
    "d_kv": 64,
    "d_ff": 3072,
    "num_layers": 12,
    "num_heads": 12,
    "n_positions": 512,
}


@pytest.mark.slow
def test_t5_base_multiplies_what_the_catalog_says(tmp_path):
    pytest.importorskip("transformers")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(T5))
    network, catalog = nmsim.load_model(path), nmsim.load_model("t5-base")
    assert (network.sequence.tokens, network.sequence.target) == (512, 512)
    catalog = catalog.model_copy(update={"sequence": network.sequence})
    for scenario in ("train", "infer", "prefill", "decode"):
        asked = {"scenario": scenario, "batch": 2, "tokens": 96}
        assert blocks(gemms(network, **asked)) == blocks(gemms(catalog, **asked))


def blocks(found):
    """GEMMs of all blocks together: the last one of a stack has other things behind it."""
    together = Counter()
    for (phase, layer, *sizes), often in found.items():
        together[phase, re.sub(r"block\.\d+", "block.*", layer), *sizes] += often
    return together


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["train", "prefill", "decode"])
def test_llama_3_8b_multiplies_what_the_catalog_says(tmp_path, scenario):
    pytest.importorskip("transformers")
    sizes = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**TINY, **sizes, **heads, "max_position_embeddings": 8192}))
    network, catalog = nmsim.load_model(path), nmsim.load_model("llama-3-8b")
    found, wanted = (gemms(one, scenario=scenario, batch=2) for one in (network, catalog))
    assert found == wanted
    if scenario == "train":
        assert found.total() == 867
