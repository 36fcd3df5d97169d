"""Is what a step of PyTorch multiplies recorded right, in its phase and with its parameter?

Counts are worked out by hand from the sizes of small networks.
"""

from collections import Counter

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import nmsim  # noqa: E402
from nmsim.errors import SpecError  # noqa: E402
from nmsim.importers.recording.dispatch import watched  # noqa: E402


def recorded(step, model):
    """The products of a step."""
    with watched(model) as tape:
        step()
    return tape.joined()


def matrices(products):
    """How often each product of matrices is run, with its phase and its layer."""
    found = [p for p in products if p.window is None and p.heads is None]
    return Counter((p.phase, p.layer, p.m, p.n, p.k, p.count) for p in found)


def linear(layer, rows, out, into, *, times=1, data=False):
    """The products of a training step of a linear layer."""
    found = {
        ("forward", layer, rows, out, into, 1): times,
        ("backward", layer, rows, into, out, 1): 0 if data else times,
        ("update", layer, out, into, rows, 1): times,
    }
    return Counter({name: often for name, often in found.items() if often})


class TwoLayers(nn.Module):
    def __init__(self, bias=True):
        super().__init__()
        self.first, self.second = nn.Linear(12, 20, bias), nn.Linear(20, 28, bias)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_in_three_phases(device, bias):
    model = TwoLayers(bias).to(device)
    step = lambda: model(torch.zeros(3, 5, 12, device=device)).sum().backward()
    wanted = linear("first", 15, 20, 12, data=True) + linear("second", 15, 28, 20)
    found = recorded(step, model)
    assert matrices(found) == wanted
    assert [p.made_by for p in found if p.phase == "forward"] == ["data", "relu"]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_products_are_forward_alone(mode):
    model = TwoLayers()
    with mode():
        found = recorded(lambda: model(torch.zeros(3, 5, 12)), model)
    assert matrices(found) == {
        ("forward", "first", 15, 20, 12, 1): 1,
        ("forward", "second", 15, 28, 20, 1): 1,
    }


def test_a_copy_of_autocast_is_the_parameter_still():
    model = TwoLayers()

    def step():
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(torch.zeros(4, 12)).float().sum()
        loss.backward()

    wanted = linear("first", 4, 20, 12, data=True) + linear("second", 4, 28, 20)
    assert matrices(recorded(step, model)) == wanted


@pytest.mark.parametrize(("reentrant", "second"), [(True, 2), (False, 1)])
def test_checkpointing_runs_forward_again_until_nothing_more_is_needed(reentrant, second):
    model = TwoLayers(bias=False)
    x = torch.zeros(4, 12, requires_grad=True)
    step = lambda: checkpoint(model, x, use_reentrant=reentrant).sum().backward()
    found = recorded(step, model)
    again = [p.layer for p in found if p.again]
    assert again == ["first", "second"][: 2 if reentrant else 1]
    wanted = linear("first", 4, 20, 12) + linear("second", 4, 28, 20)
    wanted["forward", "first", 4, 20, 12, 1] = 2
    wanted["forward", "second", 4, 28, 20, 1] = second
    assert matrices(found) == wanted


@pytest.mark.parametrize("reentrant", [True, False])
def test_attention_that_is_computed_again_has_the_keys_that_were_projected(reentrant):
    class Attend(nn.Module):
        def forward(self, q, k):
            return F.scaled_dot_product_attention(q, k, k, enable_gqa=True)

    attend = Attend().to("meta")
    q, k = (torch.empty(2, heads, 6, 16, device="meta", requires_grad=True) for heads in (8, 2))
    step = lambda: checkpoint(attend, q, k, use_reentrant=reentrant).square().sum().backward()
    found = recorded(step, attend)
    assert [(p.phase, p.again) for p in found] == [
        *(("forward", False), ("forward", True), ("backward", False)),
    ]
    assert {(p.heads.kv_heads, p.heads.fused) for p in found} == {(2, True)}


def test_gradients_that_a_module_asks_for_within_its_forward():
    class Forces(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(12, 20, bias=False)

        def forward(self, x):
            return torch.autograd.grad(self.fc(x).square().sum(), x)[0]

    model = Forces()
    found = recorded(lambda: model(torch.zeros(4, 12, requires_grad=True)), model)
    assert matrices(found) == {
        ("forward", "fc", 4, 20, 12, 1): 1,
        ("backward", "fc", 4, 12, 20, 1): 1,
    }


def test_checkpointing_of_a_function_without_modules():
    model = TwoLayers(bias=False)
    again = lambda x: torch.relu(F.linear(x, model.first.weight)).square()
    x = torch.zeros(4, 12, requires_grad=True)
    found = recorded(lambda: checkpoint(again, x, use_reentrant=False).sum().backward(), model)
    wanted = linear("first", 4, 20, 12)
    wanted["forward", "first", 4, 20, 12, 1] = 2
    assert matrices(found) == wanted


def test_a_step_that_fails_leaves_nothing_behind():
    model, called = TwoLayers(), nn.Module.__call__

    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            self.inner(x)
            raise KeyError("of the user's own")

    outer = Fails()

    def step():
        with pytest.raises(KeyError):
            outer(torch.zeros(4, 12))
        model(torch.zeros(4, 12))

    found = recorded(step, outer)
    assert [p.module for p in found] == ["inner.first", "inner.second"] * 2
    with pytest.raises(KeyError, match="own"):
        recorded(lambda: outer(torch.zeros(4, 12)), outer)
    assert nn.Module.__call__ is called
    assert torch.ones(2, 2).mm(torch.ones(2, 2)).sum() == 8


def test_a_hook_may_replace_an_output():
    model = TwoLayers(bias=False)
    model.first.register_forward_hook(lambda module, args, output: output.repeat(2, 1))
    found = recorded(lambda: model(torch.zeros(4, 12)).sum().backward(), model)
    wanted = linear("first", 4, 20, 12, data=True) + linear("second", 8, 28, 20)
    assert matrices(found) == wanted


class Shared(nn.Module):
    """A weight by two names, as embeddings are tied."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(24, 12), nn.Linear(12, 24, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        return self.head(self.embed(ids))


def test_a_tied_weight_is_called_by_the_module_that_runs_it():
    model = Shared()
    found = recorded(lambda: model(torch.zeros(2, 5, dtype=torch.long)).sum().backward(), model)
    assert matrices(found) == linear("head", 10, 24, 12)
    assert found[0].made_by == "embedding"


@pytest.mark.parametrize("times", [2, 12])
def test_a_layer_that_is_called_often(times):
    layer = nn.Linear(16, 16)

    def step():
        x = torch.zeros(3, 16)
        for _ in range(times):
            x = layer(x).relu()
        x.sum().backward()

    wanted = linear("weight", 3, 16, 16, times=times)
    wanted["backward", "weight", 3, 16, 16, 1] -= 1
    assert matrices(recorded(step, layer)) == wanted


def test_two_backward_calls():
    model = TwoLayers()

    def step():
        for _ in range(2):
            model(torch.zeros(4, 12)).sum().backward()

    wanted = linear("first", 4, 20, 12, times=2, data=True) + linear("second", 4, 28, 20, times=2)
    assert matrices(recorded(step, model)) == wanted


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.left = nn.Parameter(torch.zeros(20, 12)), nn.Parameter(torch.zeros(7, 5))


def test_a_parameter_without_a_module_of_its_own():
    model = Own()
    step = lambda: F.linear(torch.zeros(4, 12), model.w).sum().backward()
    assert matrices(recorded(step, model)) == linear("w", 4, 20, 12, data=True)


def test_a_weight_on_the_left():
    model = Own()
    x = torch.zeros(5, 9, requires_grad=True)
    assert matrices(recorded(lambda: (model.left @ x).sum().backward(), model)) == (
        linear("left", 9, 7, 5)
    )


def test_einsum_with_a_weight():
    model, x = Own(), torch.zeros(2, 4, 12, requires_grad=True)
    step = lambda: torch.einsum("bti,oi->bto", x, model.w).sum().backward()
    assert matrices(recorded(step, model)) == linear("w", 8, 20, 12)


def test_a_frozen_layer_that_runs_as_copies_of_one_weight():
    model, x = Own(), torch.zeros(12, 6, 4, requires_grad=True)
    model.w.requires_grad_(False)
    found = recorded(lambda: (x.permute(2, 1, 0) @ model.w.T).sum().backward(), model)
    assert {p.operation for p in found} == {"aten.bmm"}
    wanted = linear("w", 24, 20, 12)
    del wanted["update", "w", 20, 12, 24, 1]
    assert matrices(found) == wanted


def test_a_masked_weight_is_the_weight():
    layer = nn.Linear(12, 20, bias=False)
    mask = torch.ones(20, 12)
    step = lambda: F.linear(torch.zeros(4, 12), layer.weight * mask).sum().backward()
    assert matrices(recorded(step, layer)) == linear("weight", 4, 20, 12, data=True)


def test_a_cast_whose_storage_is_used_again_is_another_tensor():
    model, seen = TwoLayers(bias=False), set()

    def step():
        x = torch.zeros(4, 12)
        for _ in range(30):
            seen.add(model.first.weight.double().data_ptr())
            y = torch.zeros(20, 12, dtype=torch.float64)  # as large as the cast that was freed
            seen.add(y.data_ptr())
            x.double() @ y.T

    found = recorded(step, model)
    assert len(seen) < 60, "no storage was used again"
    assert {p.weight for p in found} == {""}


def test_torch_compile_is_recorded_as_what_it_compiles():
    model = TwoLayers()
    compiled = torch.compile(model, backend="eager")
    found = recorded(lambda: compiled(torch.zeros(4, 12)).sum().backward(), model)
    wanted = linear("first", 4, 20, 12, data=True) + linear("second", 4, 28, 20)
    assert matrices(found) == wanted


class OwnProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x.mm(w.t())

    @staticmethod
    def backward(ctx, gradient):
        x, w = ctx.saved_tensors
        return gradient.mm(w), gradient.t().mm(x)


def test_an_own_function_around_a_product():
    model, x = Own(), torch.zeros(4, 12, requires_grad=True)
    step = lambda: OwnProduct.apply(x, model.w).sum().backward()
    assert matrices(recorded(step, model)) == linear("w", 4, 20, 12)


class TwoProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, v, w):
        ctx.save_for_backward(v, w)
        return x.mm(v.t()).mm(w.t())

    @staticmethod
    def backward(ctx, gradient):
        v, w = ctx.saved_tensors
        return gradient.mm(w).mm(v), None, None


def test_an_own_function_around_two_products_of_one_size():
    model = nn.ModuleList([nn.Linear(12, 12, bias=False), nn.Linear(12, 12, bias=False)])
    x = torch.zeros(4, 12, requires_grad=True)
    step = lambda: TwoProducts.apply(x, model[0].weight, model[1].weight).sum().backward()
    found = [(p.phase, p.layer) for p in recorded(step, model)]
    assert found == [("forward", "0"), ("forward", "1"), ("backward", "1"), ("backward", "0")]


class Surprise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(w)
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        (w,) = ctx.saved_tensors
        return gradient.mm(w.t()).mm(w), None


def test_products_on_the_way_back_of_none_are_refused():
    model, x = Own(), torch.zeros(4, 12, requires_grad=True)
    with pytest.raises(SpecError, match=r"aten\.mm multiplies on the way back what was not"):
        recorded(lambda: Surprise.apply(x, model.w).sum().backward(), model)


def test_an_own_operation_on_two_matrices_is_refused_by_name():
    @torch.library.custom_op("nmsim_tests::product", mutates_args=())
    def product(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return x @ w

    with pytest.raises(SpecError, match=r"nmsim_tests\.product has two matrices"):
        recorded(lambda: product(torch.zeros(4, 12), torch.zeros(12, 3)), TwoLayers())


def test_an_operation_that_multiplies_and_is_in_no_table_is_refused_by_name():
    with pytest.raises(SpecError, match=r"aten\._euclidean_dist has two matrices"):
        recorded(lambda: torch.cdist(torch.zeros(30, 12), torch.zeros(40, 12)), TwoLayers())


def test_a_tensor_on_meta_has_no_values():
    model = TwoLayers().to("meta")
    with pytest.raises(SpecError, match=r"Tensor\.item\(\) asks a tensor on meta .* pass sizes"):
        recorded(lambda: model(torch.zeros(4, 12, device="meta")).sum().item(), model)


CONVOLUTIONS = {
    "plain": (nn.Conv2d(8, 16, 3, padding=1), (10, 10)),
    "strided": (nn.Conv2d(8, 16, 3, stride=2), (4, 4)),
    "dilated": (nn.Conv2d(8, 16, 3, dilation=2), (6, 6)),
    "depthwise": (nn.Conv2d(8, 8, (3, 1), groups=8), (8, 10)),
    "transposed": (nn.ConvTranspose2d(8, 4, 2, stride=2, output_padding=1), (21, 21)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_convolutions(name, layout):
    layer, out = CONVOLUTIONS[name]
    image = torch.zeros(2, 8, 10, 10, requires_grad=True)
    step = lambda: layer(image.to(memory_format=layout)).sum().backward()
    found = recorded(step, layer)
    assert [p.phase for p in found] == ["forward", "backward", "update"]
    assert {p.layer for p in found} == {"weight"}
    (window,) = {p.window for p in found}
    assert (window.images, window.in_channels, window.groups) == (2, 8, layer.groups)
    assert (window.kernel, window.dilation) == (layer.kernel_size, layer.dilation)
    assert (window.in_size, window.out_size) == ((10, 10), out)
    assert window.transposed == (name == "transposed")


def attentions(found):
    return [p for p in found if p.kind == "attention"]


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("causal", [True, False])
def test_fused_attention_with_grouped_keys(device, causal):
    sizes = ((2, 8, 6, 16), (2, 2, 10, 16), (2, 2, 10, 16))
    q, k, v = (torch.zeros(one, device=device, requires_grad=True) for one in sizes)
    attend = F.scaled_dot_product_attention
    step = lambda: attend(q, k, v, is_causal=causal, enable_gqa=True).sum().backward()
    found = recorded(step, TwoLayers())
    assert [p.phase for p in found] == ["forward", "backward"]
    (heads,) = {p.heads for p in found}
    assert (heads.batch, heads.heads, heads.kv_heads) == (2, 8, 2)
    assert (heads.queries, heads.keys, heads.head_dim, heads.v_head_dim) == (6, 10, 16, 16)
    assert heads.fused
    assert heads.causal == causal


def test_keys_that_were_repeated_are_counted_once():
    q, k = torch.zeros(2, 8, 6, 16, requires_grad=True), torch.zeros(2, 2, 6, 16)

    def step():
        keys = k[:, :, None].expand(2, 2, 4, 6, 16).reshape(2, 8, 6, 16)
        F.scaled_dot_product_attention(q, keys, keys).sum().backward()

    assert {p.heads.kv_heads for p in recorded(step, TwoLayers())} == {2}


def test_attention_of_products_and_a_softmax_is_attention_that_is_not_fused():
    q, k, v = (torch.zeros(2, 4, 6, 16, requires_grad=True) for _ in range(3))

    def step():
        scores = q @ k.transpose(-2, -1) / 4 + torch.zeros(6, 6)
        (F.dropout(scores.softmax(-1), 0.1) @ v).sum().backward()

    found = recorded(step, TwoLayers())
    assert [p.phase for p in found] == ["forward", "backward"]
    (heads,) = {p.heads for p in found}
    assert (heads.batch, heads.heads, heads.queries, heads.fused) == (2, 4, 6, False)


def upper(size, like=0.0):
    return torch.full((size, size), like, device="meta")


MASKS = {
    "later keys forbidden, added": (lambda: upper(6, float("-inf")).triu(1), "causal"),
    "later keys forbidden, by the least number": (lambda: upper(6, -3e38).triu(1), "causal"),
    "earlier keys allowed": (lambda: upper(6, 1).tril().bool(), "causal"),
    "positions compared": (
        lambda: torch.arange(6, device="meta")[None] <= torch.arange(6, device="meta")[:, None],
        "causal",
    ),
    "a window of earlier keys": (
        lambda: (upper(6, 1).tril() - upper(6, 1).tril(-3)) != 0,
        "causal",
    ),
    "earlier keys forbidden": (lambda: upper(6, 1).triu(1).bool().flip(0), "none"),
    "all allowed": (lambda: upper(6, 1).bool(), "none"),
    "one more key is seen": (lambda: upper(6, 1).tril(1).bool(), "none"),
    "of values that are not known": (lambda: torch.empty(6, 6, device="meta") > 0, "unread"),
    "into which unknown ones were written": (
        lambda: upper(6, float("-inf")).triu(1).copy_(torch.empty(6, 6, device="meta")),
        "unread",
    ),
    "a view of one that was written into": (
        lambda: [one := upper(6), two := one[None], two.add_(torch.empty(6, device="meta")), one][
            -1
        ],
        "unread",
    ),
}


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", MASKS)
def test_a_mask_is_causal_if_it_forbids_later_keys(name, fused):
    mask, wanted = MASKS[name]
    q, k, v = (torch.empty(2, 4, 6, 16, device="meta", requires_grad=True) for _ in range(3))

    def step():
        forbids = mask()
        if fused:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=forbids)
        scores = q @ k.transpose(-2, -1)
        if forbids.dtype == torch.bool:
            forbids = torch.where(forbids, 0.0, float("-inf"))
        return (scores + forbids).softmax(-1) @ v

    (heads,) = [p.heads for p in recorded(lambda: step().sum().backward(), TwoLayers())][:1]
    assert (heads.causal, heads.unread) == (wanted == "causal", wanted == "unread")


def test_masked_fill_of_later_keys_with_values_is_causal_too():
    q, k = torch.zeros(2, 4, 6, 16), torch.zeros(2, 4, 6, 16)
    later = torch.ones(6, 6).triu(1).bool()
    step = lambda: (q @ k.transpose(-2, -1)).masked_fill(later, float("-inf")).softmax(-1) @ k
    assert recorded(step, TwoLayers())[0].heads.causal


def test_a_mask_whose_values_are_not_known_is_told():
    model = nn.Linear(8, 8, device="meta")
    model.register_buffer("mask", torch.empty(6, 6, device="meta").tril())

    def step():
        q = model(torch.empty(2, 1, 6, 8, device="meta"))
        F.scaled_dot_product_attention(q, q, q, attn_mask=model.mask)

    (told,) = nmsim.torch.record(step, model).told
    assert told.startswith("1 attention has a mask without values, taken to forbid nothing")


def test_values_that_follow_from_sizes_may_be_asked_for_on_meta():
    model, seen = TwoLayers().to("meta"), []

    def step():
        x = torch.empty(4, 12, device="meta")
        ends = torch.arange(x.shape[0], device="meta").cumsum(0)
        seen.append(int(ends[-1]))
        seen.append(bool((torch.ones_like(ends) == 1).all()))
        seen.append(tuple(ends.nonzero().shape))
        model(x)

    recorded(step, model)
    assert seen == [6, True, (3, 1)]


FUSED = [
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
]


@pytest.mark.parametrize("name", FUSED)
def test_forms_of_fused_attention_in_aten(name):
    device = "cpu" if "cpu" in name else "meta"
    q, k, v = (torch.zeros(2, 4, 6, 16, device=device) for _ in range(3))
    more = {"attn_bias": None, "compute_log_sumexp": False} if "efficient" in name else {}
    found = recorded(lambda: getattr(torch.ops.aten, name)(q, k, v, **more), TwoLayers())
    assert [(p.kind, p.heads.heads, p.heads.fused) for p in found] == [("attention", 4, True)]


def test_packed_projections_are_one_product():
    model = nn.MultiheadAttention(32, 4, batch_first=True)
    x = torch.zeros(2, 6, 32)
    found = recorded(lambda: model(x, x, x, need_weights=False)[0].sum().backward(), model)
    wanted = linear("in_proj_weight", 12, 96, 32, data=True) + linear("out_proj", 12, 32, 32)
    assert matrices(found) == wanted
    assert [p.phase for p in attentions(found)] == ["forward", "backward"]


def test_cross_attention_has_parts_of_a_packed_projection():
    model = nn.MultiheadAttention(32, 4, batch_first=True)
    q, k = torch.zeros(2, 6, 32), torch.zeros(2, 9, 32)
    with torch.no_grad():
        found = recorded(lambda: model(q, k, k, need_weights=False), model)
    assert matrices(found) == {
        ("forward", "in_proj_weight", 12, 32, 32, 1): 1,
        ("forward", "in_proj_weight", 18, 64, 32, 1): 1,
        ("forward", "out_proj", 12, 32, 32, 1): 1,
    }
    assert [p.heads.keys for p in attentions(found)] == [9]


def test_native_attention_is_its_projections_and_itself():
    model = nn.MultiheadAttention(32, 4, batch_first=True).eval()
    x = torch.zeros(2, 6, 32)
    weights = (model.in_proj_weight, model.in_proj_bias, model.out_proj.weight, model.out_proj.bias)
    with torch.no_grad():
        step = lambda: torch._native_multi_head_attention(x, x, x, 32, 4, *weights)
        found = recorded(step, model)
    assert matrices(found) == {
        ("forward", "in_proj_weight", 12, 96, 32, 1): 1,
        ("forward", "out_proj", 12, 32, 32, 1): 1,
    }
    assert [p.heads.heads for p in attentions(found)] == [4]


def test_an_encoder_layer_in_eval_mode():
    model = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval()
    with torch.inference_mode():
        found = recorded(lambda: model(torch.zeros(2, 6, 32)), model)
    assert sorted(p.macs for p in found) == sorted(
        [12 * 96 * 32, 12 * 32 * 32, 12 * 64 * 32, 12 * 32 * 64, 2 * 4 * 6 * 6 * 16]
    )


def test_experts_on_meta():
    weight = nn.Parameter(torch.empty(4, 16, 24, device="meta", dtype=torch.bfloat16))
    model = nn.Module()
    model.experts = weight
    x = torch.empty(64, 16, device="meta", dtype=torch.bfloat16, requires_grad=True)
    ends = torch.empty(4, device="meta", dtype=torch.int32)
    step = lambda: torch._grouped_mm(x, weight, ends).square().sum().backward()
    assert matrices(recorded(step, model)) == {
        ("forward", "experts", 64, 24, 16, 4): 1,
        ("backward", "experts", 64, 16, 24, 4): 1,
        ("update", "experts", 24, 16, 64, 4): 1,
    }


# ---- tensors and functions of other kinds


def sparse():
    return torch.sparse.mm(torch.eye(20).to_sparse(), torch.ones(20, 12))


def ragged():
    return torch.nested.nested_tensor([torch.ones(3, 12), torch.ones(5, 12)])


def flexible():
    attention = pytest.importorskip("torch.nn.attention.flex_attention")
    q = torch.zeros(2, 4, 16, 8)
    return attention.flex_attention(q, q, q)


REFUSED = {
    "sparse": (sparse, r"record: aten\._to_sparse has a tensor that is sparse"),
    "nested": (ragged, r"record: aten\._nested_\w+ has a tensor that is nested"),
    "flex_attention": (flexible, "record: flex_attention runs functions of its own"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_tensors_and_functions_that_are_refused_by_name(name):
    step, wrong = REFUSED[name]
    with pytest.raises(SpecError, match=wrong):
        recorded(step, TwoLayers())


def test_a_product_of_each_row_is_one_of_all_rows():
    model = Own()
    step = lambda: torch.func.vmap(lambda row: model.w @ row)(torch.zeros(4, 12))
    assert matrices(recorded(step, model)) == {("forward", "w", 4, 20, 12, 1): 1}


def test_gradients_by_a_function_of_a_module_s_parameters():
    layer = nn.Linear(12, 20)
    loss = lambda p: torch.func.functional_call(layer, p, torch.zeros(4, 12)).square().sum()
    found = recorded(lambda: torch.func.grad(loss)(dict(layer.named_parameters())), layer)
    assert [p.macs for p in found] == [4 * 20 * 12] * 2
