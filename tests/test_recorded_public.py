"""Does a recorded step of a public network multiply what the table of it says, row by row?"""

from collections import Counter

import pytest

torch = pytest.importorskip("torch")

from public_networks import network, step_of  # noqa: E402
from test_recorded_networks import RECORDED, numbers  # noqa: E402

from nmsim.importers.recording.dispatch import watched  # noqa: E402

FAST = {
    ("unet", "train"),
    ("unet", "infer"),
    ("resnet18", "train"),
    ("resnet50", "train-frozen"),
    ("mobilenet_v2", "infer"),
    ("deeplabv3_resnet50", "infer"),
    ("vit_b_16", "infer"),
    ("gpt2", "decode"),
}
"""Networks whose step is recorded in less than a second."""

CASES = [
    pytest.param(*case, marks=() if case in FAST else pytest.mark.slow, id="-".join(case))
    for case in RECORDED
]


def sizes(row, *columns):
    return tuple(tuple(map(int, row[column].split("x"))) for column in columns)


def told(row):
    """A row of the table as a value."""
    phase, kind = row["phase"], row["kind"]
    if kind == "linear":
        return (phase, kind, *numbers(row, "m", "n", "k", "count"))
    if kind == "conv":
        return (
            *(phase, kind, *numbers(row, "instances", "in_channels", "out_channels", "groups")),
            *sizes(row, "kernel", "stride", "padding", "dilation", "in_size", "out_size"),
            row["transposed"] == "1",
        )
    squares = numbers(row, "instances", "heads", "kv_heads", "q_tokens", "kv_tokens")
    return (phase, kind, *squares, *numbers(row, "head_dim", "v_head_dim"), row["causal"] == "1")


def multiplied(product):
    """A recorded product as the same value."""
    phase, w, h = product.phase, product.window, product.heads
    if w is not None:
        return (
            *(phase, "conv", w.images, w.in_channels, w.out_channels, w.groups),
            *(w.kernel, w.stride, w.padding, w.dilation, w.in_size, w.out_size, w.transposed),
        )
    if h is not None:
        squares = (h.batch, h.heads, h.kv_heads, h.queries, h.keys, h.head_dim, h.v_head_dim)
        return (phase, "attention", *squares, h.causal)
    return (phase, product.kind, product.m, product.n, product.k, product.count)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # names of transformers 5 that 6 drops
@pytest.mark.parametrize(("name", "scenario"), CASES)
def test_a_public_network_is_recorded_as_its_table_says(name, scenario):
    rows = RECORDED[name, scenario]
    wanted = Counter()
    for row in rows:
        wanted[told(row)] += int(row["times"])
    model = network(name)
    step = step_of(model, scenario, int(rows[0]["batch"]), rows[0]["tokens_or_size"])
    with watched(model) as tape:
        step()
    assert Counter(map(multiplied, tape.joined())) == wanted
