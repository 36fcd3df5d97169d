"""Public networks on meta, as torchvision and transformers build them, and their steps."""

import pytest
import torch
from torch import nn

__all__ = ["network", "step_of"]


class DoubleConvolution(nn.Sequential):
    def __init__(self, inputs, outputs):
        first, second = nn.Conv2d(inputs, outputs, 3), nn.Conv2d(outputs, outputs, 3)
        super().__init__(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True))


class UNet(nn.Module):
    """Ronneberger et al., MICCAI 2015, figure 1: copies are cropped, nothing is padded."""

    def __init__(self):
        super().__init__()
        widths = [64, 128, 256, 512, 1024]
        up = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.down = nn.ModuleList(map(DoubleConvolution, [1, *widths], widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, 2) for i, o in up)
        self.joined = nn.ModuleList(DoubleConvolution(i, o) for i, o in up)
        self.head = nn.Conv2d(64, 2, 1)

    def forward(self, x):
        kept = []
        for down in self.down[:-1]:
            kept.append(down(x))
            x = nn.functional.max_pool2d(kept[-1], 2)
        x = self.down[-1](x)
        for up, joined, copy in zip(self.up, self.joined, kept[::-1], strict=True):
            x = up(x)
            cut = (copy.shape[-1] - x.shape[-1]) // 2
            x = joined(torch.cat([copy[..., cut:-cut, cut:-cut], x], 1))
        return self.head(x)


LLAMA_2 = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
}

LLAMA_3 = {
    **LLAMA_2,
    "vocab_size": 128256,
    "intermediate_size": 14336,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
}

T5 = {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12}

WHISPER = {
    "d_model": 768,
    "encoder_layers": 12,
    "encoder_attention_heads": 12,
    "encoder_ffn_dim": 3072,
}

TEXT = {
    "bert-base": ("BertModel", "BertConfig", {}),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {}),
    "llama-2-7b": ("LlamaForCausalLM", "LlamaConfig", LLAMA_2),
    "llama-3-8b": ("LlamaForCausalLM", "LlamaConfig", LLAMA_3),
    "t5-base": ("T5ForConditionalGeneration", "T5Config", T5),
    "whisper-small-encoder": ("WhisperModel", "WhisperConfig", WHISPER),
}


def network(name):
    """A network without values; skips the test where its library is not installed."""
    with torch.device("meta"):
        if name == "unet":
            return UNet()
        if name not in TEXT:
            models = pytest.importorskip("torchvision").models
            if name == "deeplabv3_resnet50":
                return models.segmentation.deeplabv3_resnet50(
                    weights=None, weights_backbone=None, num_classes=21, aux_loss=True
                )
            return getattr(models, name)()
        library = pytest.importorskip("transformers")
        of, config, sizes = TEXT[name]
        made = getattr(library, of)(getattr(library, config)(**sizes))
        return made.encoder if name.endswith("encoder") else made


def ids(batch, tokens):
    return torch.empty(batch, tokens, dtype=torch.long, device="meta")


def inputs(batch, size):
    """What a network reads of a size as the tables print it: 3x224x224, 512, 512/114."""
    if "x" in size:
        return (torch.empty(batch, *map(int, size.split("x")), device="meta"),), {}
    source, _, target = size.partition("/")
    if not target:
        return (ids(batch, int(source)),), {}
    return (), {
        "input_ids": ids(batch, int(source)),
        "decoder_input_ids": ids(batch, int(target)),
    }


def losses(found):
    if isinstance(found, torch.Tensor):
        return [found]
    if "logits" in found:
        return [found["logits"]]
    return [one for one in found.values() if isinstance(one, torch.Tensor) and one.requires_grad]


class Adapted(nn.Module):
    """A layer with a product of rank 16 beside it."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.a = nn.Parameter(torch.empty(layer.in_features, 16, device="meta"))
        self.b = nn.Parameter(torch.empty(16, layer.out_features, device="meta"))

    def forward(self, x):
        return self.layer(x) + (x @ self.a) @ self.b


def adapt(model):
    model.requires_grad_(requires_grad=False)
    for module in list(model.modules()):
        for name in ("q_proj", "v_proj"):
            if hasattr(module, name):
                setattr(module, name, Adapted(getattr(module, name)))


def prepare(model, scenario, more):
    """Make a model train as a scenario says."""
    model.train()
    if scenario.startswith("train-checkpoint"):
        reentrant = scenario.endswith("reentrant")
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        more["use_cache"] = False
        if reentrant:
            model.enable_input_require_grads()
    elif scenario == "train-frozen":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(("layer4", "fc")))
    elif scenario == "train-lora16-qv":
        adapt(model)


def cache(batch, layers, heads, features, tokens):
    from transformers import DynamicCache  # noqa: PLC0415 (where it is installed)

    found = DynamicCache()
    for layer in range(layers):
        one = torch.empty(batch, heads, tokens, features, device="meta")
        found.update(one, one.clone(), layer)
    return found


def decoding(model, batch, size):
    """What a model reads to decode one more token of each sample: 1023+1, 2048/128+1."""
    from transformers import EncoderDecoderCache  # noqa: PLC0415
    from transformers.modeling_outputs import BaseModelOutput  # noqa: PLC0415

    config, (source, _, target) = model.config, size.partition("+")[0].partition("/")
    if not target:
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        features = config.hidden_size // config.num_attention_heads
        kept = cache(batch, config.num_hidden_layers, heads, features, int(source))
        return (ids(batch, 1),), {"past_key_values": kept, "logits_to_keep": 1}
    own, cross = (cache(batch, 12, 12, 64, int(one)) for one in (target, source))
    read = torch.empty(batch, int(source), config.d_model, device="meta")
    return (), {
        "encoder_outputs": BaseModelOutput(last_hidden_state=read),
        "decoder_input_ids": ids(batch, 1),
        "past_key_values": EncoderDecoderCache(own, cross),
    }


def step_of(model, scenario, batch, size):
    """One step of a scenario, as a function."""
    found = decoding(model, batch, size) if scenario == "decode" else inputs(batch, size)
    given, more = found
    if scenario == "prefill" and "input_ids" not in more:
        more["logits_to_keep"] = 1
    if not scenario.startswith("train"):
        model.eval()

        def read():
            with torch.no_grad():
                model(*given, **more)

        return read
    prepare(model, scenario, more)

    def train():
        for _ in range(2 if scenario == "train-2x4" else 1):
            sum(one.sum() for one in losses(model(*given, **more))).backward()

    return train
