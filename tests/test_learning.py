"""A step of training as it is run: what learns, runs twice, carries adapters, comes in passes."""

import json
import sys
from collections import Counter

import pytest
from swept import points_of

import nmsim
from nmsim import cli, load_model
from nmsim.errors import NmsimError
from nmsim.network.catalog import Network
from nmsim.network.learning import Learning
from nmsim.run.experiment import Experiment
from nmsim.run.memory import memory_footprint
from nmsim.run.point import Point, rows
from nmsim.spec import validate

BLOCKS, WIDTH, INNER, TOKENS = 3, 32, 96, 24
LORA = {"adapters": "4:*.q,*.v"}


def block(prefix, **more):
    """An attention whose Q, K and V read one norm, and an MLP, as YAML has them."""

    def linear(name, into, out, **said):
        sizes = {"in_features": into, "out_features": out}
        return {"name": f"{prefix}.{name}", "type": "linear", **sizes, **more, **said}

    q = f"{prefix}.q"
    attention = {"name": f"{prefix}.attn", "type": "attention", "heads": 2, "head_dim": 16}
    return [
        linear("q", WIDTH, WIDTH, input="norm"),
        linear("k", WIDTH, WIDTH, input="norm", input_of=q),
        linear("v", WIDTH, WIDTH, input="norm", input_of=q),
        {**attention, "causal": True, **more},
        linear("o", WIDTH, WIDTH),
        linear("up", WIDTH, INNER, input="norm"),
        linear("down", INNER, WIDTH, input="gelu"),
    ]


def network(blocks):
    ends = [
        {"name": "embed", "type": "embedding", "entries": 64, "features": WIDTH},
        {"name": "head", "type": "linear", "in_features": WIDTH, "out_features": 64},
    ]
    layers = [ends[0], *blocks, ends[1]]
    return validate(Network, {"name": "own", "sequence": TOKENS, "layers": layers}, "own")


FOLDED = network(block("h.*", repeat=BLOCKS))
UNROLLED = network([layer for number in range(BLOCKS) for layer in block(f"h.{number}")])


def counted(model, **step):
    """Launches of each GEMM of a step."""
    found = Counter()
    for g in model.gemms(2, **step):
        found[g.phase, g.m, g.n, g.k, g.count] += g.repeat
    return found


def launches(model, **step):
    found = Counter(dict.fromkeys(("forward", "backward", "update"), 0))
    for g in model.gemms(2, **step):
        if g.kind == "linear":
            found[g.phase] += g.repeat
    return tuple(found.values())


STEPS = (
    {},
    {"learn": "h.1.*"},
    {"learn": "h.[12].*,head"},
    {"learn": "h.1.o"},
    {"learn": "h.0.k"},
    {"learn": "embed"},
    {"learn": "head"},
    {"recompute": "h.*"},
    {"recompute": "h.[02].*", "reentrant": True},
    {"recompute": "*.up,*.down,*.attn"},
    {"recompute": "h.*", "learn": "h.1.*"},
    LORA,
    {"adapters": ("4:h.[12].q", "2:*.down"), "learn": "head"},
    {**LORA, "recompute": "h.*", "micro_batches": 2},
)


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_blocks_that_are_one_layer_run_what_they_do_one_by_one(step):
    """Adapters, too, stand behind their layers in every block."""
    assert counted(FOLDED, **step) == counted(UNROLLED, **step)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ({}, (19, 19, 19)),
        # Two of three blocks learn, the first of them its norms too, so that all of it hands on.
        ({"learn": "h.[12].*"}, (19, 13, 12)),
        # Without its norm, what reads the same input as the first that learns hands nothing on.
        ({"learn": "h.1.q"}, (19, 3 + 6 + 1, 1)),
        ({"learn": "h.1.v"}, (19, 3 + 6 + 1, 1)),
        ({"learn": "h.1.o"}, (19, 2 + 6 + 1, 1)),
        ({"learn": "head"}, (19, 0, 1)),
        ({"learn": "embed"}, (19, 19, 0)),
        # A and B of Q and V: twelve more; none of Q, K, V and of both A of the first block.
        (LORA, (19 + 12, 19 - 3 + 12 - 2, 12)),
        ({**LORA, "learn": "head"}, (31, 26, 13)),
        # The last linear layer of a block is left out, unless something behind it keeps its output.
        ({"recompute": "h.*"}, (19 + 3 * 5, 19, 19)),
        ({"recompute": "h.*", "reentrant": True}, (19 + 3 * 6, 19, 19)),
        ({"recompute": "h.0.*"}, (19 + 5, 19, 19)),
        # No gradient comes back to blocks before the first that learns.
        ({"recompute": "h.*", "learn": "h.2.*"}, (19 + 5, 7, 6)),
        ({"micro_batches": 2}, (38, 38, 38)),
    ],
    ids=str,
)
def test_linear_layers_by_hand(step, expected):
    assert launches(FOLDED, **step) == expected


@pytest.mark.parametrize("name", ["resnet18", "vit-b16", "bert-base", "gpt2", "t5-base"])
def test_a_network_that_learns_by_name_is_one_that_learns(name):
    model = load_model(name)
    assert counted(model, learn="*") == counted(model)


def test_a_block_whose_output_is_kept_is_computed_to_its_end():
    again = {
        name: launches(load_model(name), recompute=blocks)[0] - launches(load_model(name))[0]
        for name, blocks in (("bert-base", "encoder.layer.*"), ("qwen3-4b", "model.layers.*"))
    }
    assert again == {"bert-base": 12 * 6, "qwen3-4b": 36 * 6}


def test_shared_weights_learn_together():
    """The head of GPT-2 is its table of words: where it learns, all blocks hand gradients on."""
    model = load_model("gpt2")
    phases = Counter(g.phase for g in model.gemms(1, learn="lm_head"))
    assert phases["update"] == 1
    assert phases["backward"] == Counter(g.phase for g in model.gemms(1))["backward"]


def test_micro_batches_are_as_many_macs_of_smaller_gemms():
    whole, halves = (
        [(g.phase, g.macs) for g in load_model("resnet18").gemms(4, micro_batches=n)]
        for n in (1, 2)
    )
    assert whole == halves
    assert {g.repeat for g in load_model("resnet18").gemms(4, micro_batches=2)} == {2}


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"learn": "nothing"}, "learn: 'nothing' matches no layer (they are embed, h.*.q, h.*.k"),
        ({"learn": "*.attn"}, "learn: '*.attn' matches no layer"),
        ({"learn": "h.3.*"}, "learn: 'h.3.*' matches no layer"),
        ({"learn": ""}, "learn is '', expected globs"),
        ({"recompute": "x"}, "recompute: 'x' matches no layer"),
        ({"recompute": "*.q"}, "no block has anything to compute again"),
        ({"reentrant": True}, "reentrant is true, expected recompute beside it"),
        ({"adapters": "0:*.q"}, "adapters is '0:*.q', expected RANK:GLOB with a rank of 1 or more"),
        ({"adapters": "*.q"}, "expected RANK:GLOB"),
        ({"adapters": "4:x"}, "adapters: 'x' matches no layer"),
        ({"adapters": "4:*.attn"}, "adapters: '*.attn' matches no layer"),
        ({"adapters": "4:embed"}, "layer 'embed' is embedding, expected linear layers alone"),
        ({"adapters": ["4:*.q", "8:h.*.q"]}, "two of them match one layer"),
        ({"adapters": "4:h.[02].q"}, "matches blocks 0, 2 of 'h.*.q', expected blocks without"),
        ({**LORA, "learn": "h.1.q"}, "learn is 'h.1.q': 'h.1.q' carries an adapter"),
        ({"micro_batches": 3}, "micro_batches is 3, expected a divisor of the batch, 2"),
        ({"micro_batches": 0}, "micro_batches is 0, expected an integer of 1 or more"),
        (
            {"scenario": "infer", "micro_batches": 2},
            "micro_batches is 2, expected none in scenario",
        ),
        ({"scenario": "infer", "learn": "head"}, "learn is head, expected none in scenario infer"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_in_one_line(step, message):
    with pytest.raises(NmsimError) as refused:
        FOLDED.gemms(2, **step)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_convolutions_carry_no_adapters_and_given_gemms_learn_nothing():
    with pytest.raises(NmsimError, match="layer 'conv1' is conv, expected linear layers alone"):
        load_model("resnet18").gemms(adapters="4:*")
    with pytest.raises(NmsimError, match="gemm:8x8x8: micro_batches is 2, expected none"):
        next(rows(Point("gemm:8x8x8", micro_batches=2, batch=2, hardware="ideal")))


def test_a_frozen_network_decodes_with_its_adapters():
    gemms = load_model("llama-3-8b").gemms(16, "decode", adapters="8:*.q_proj")
    assert [g.n for g in gemms if "lora" in g.layer] == [8, 4096]


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "own.yaml"
    layers = [layer.model_dump(exclude_unset=True) for layer in FOLDED.declared]
    file.write_text(json.dumps({"sequence": TOKENS, "layers": layers}))
    return file


def summed(path, recipe, **step):
    """Microseconds of a step beside its GEMMs, by role and by phase."""
    run = {"hardware": "a100-sxm4-80gb", "fidelity": "analytical", "overrides": {"masks": "always"}}
    point = Point(path, recipe=recipe, batch=4, compare=False, elementwise=True, **run, **step)
    table = list(rows(point))
    masks = {role: sum(row[f"mask_{role}_us"] for row in table) for role in ("weight", "gradient")}
    update = sum(row["elementwise_us"] for row in table if row["phase"] == "update")
    return masks["weight"], masks["gradient"], update


def test_masks_of_weights_and_the_optimizer_come_once_a_step(path):
    once, twice = (summed(path, "transposable+mvue", micro_batches=n) for n in (1, 2))
    assert twice[0] == pytest.approx(once[0])
    assert twice[2] == pytest.approx(once[2])
    assert twice[1] > 1.5 * once[1]  # every micro-batch has gradients of its own


def test_what_is_no_gemm_runs_as_often_as_its_gemm(path):
    def forward(**step):
        run = {"hardware": "a100-sxm4-80gb", "fidelity": "analytical", "layers": "*up"}
        (row,) = rows(Point(path, batch=4, compare=False, phases=("forward",), **run, **step))
        return row["repeat"], row["elementwise_bytes"], row["elementwise_launches"]

    once, again = forward(), forward(recompute="*")
    assert again[0] == 2 * once[0]
    assert again[1:] == tuple(2 * one for one in once[1:])
    assert all(once)


def test_a_frozen_weight_has_no_optimizer_and_its_mask_is_made_once_for_all(path):
    whole, head = (summed(path, "transposable+mvue", **step) for step in ({}, {"learn": "head"}))
    # It hands no gradient on, so that nothing is packed for its backward.
    alone = summed(path, "transposable+mvue", layers="head", phases=("forward", "update"))
    assert head == pytest.approx(alone)
    assert all(0 < part < of for part, of in zip(head, whole, strict=True))


def test_memory_of_what_learns(path):
    def kept(**step):
        return memory_footprint(path, hardware="ideal", batch=4, **step).total()["dense"]

    whole, head, half = kept(), kept(learn="head"), kept(micro_batches=2)
    assert head["gradients"] == 2 * 64 * WIDTH
    assert head["activations"] == 2 * 4 * TOKENS * WIDTH
    assert head["weights"] == whole["weights"]
    assert half["activations"] == whole["activations"] / 2
    assert half["gradients"] == whole["gradients"]


@pytest.mark.parametrize("step", [{}, LORA], ids=str)
def test_memory_of_what_is_computed_again(path, step):
    """A block keeps its input; while it is computed again, the other inputs of one block stand.

    Those are none of layers whose weight is frozen.
    """
    footprints = [
        memory_footprint(path, hardware="ideal", batch=4, recompute=globs, **step).dense
        for globs in ((), "h.*")
    ]
    whole, again = ({one.layer: one for one in found} for found in footprints)
    ends = {"embed", "h.*.q", "head"}
    assert {name for name, one in again.items() if one.activations} <= ends
    assert again["h.*.q"].activations == 2 * BLOCKS * 4 * TOKENS * WIDTH
    one_block = sum(one.activations // BLOCKS for name, one in whole.items() if name not in ends)
    assert again["h.*.up"].workspace == whole["h.*.up"].workspace + one_block > 0


def test_what_is_packed_anew_is_a_weight_that_changes_once_a_step():
    found = {
        (g.layer, g.phase): (g.repeat, g.renewed)
        for g in FOLDED.gemms(2, learn="*.q", micro_batches=2)
    }
    # Without its norm the first block's Q hands no gradient on.
    assert found["h.*.q", "forward"] == (6, 3)
    assert found["h.*.q", "backward"] == (4, 2)
    assert found["h.*.q", "update"] == (6, 3)
    assert found["h.*.o", "backward"] == (6, 0)


def test_attention_in_one_kernel_is_launched_as_often_as_blocks_run_it():
    step = {"learn": "model.layers.3[01].*", "recompute": "model.layers.31.*"}
    run = {"hardware": "a100-sxm4-80gb", "fidelity": "analytical", "compare": False}
    given = Point("llama-3-8b", batch=1, tokens=512, layers="*.self_attn", **run, **step)
    forward, backward = rows(given)
    assert (forward["repeat"], backward["repeat"]) == (32 + 1, 2)
    assert "1 of 33 launches on the way back, again" in forward["note"]
    assert "again" not in backward["note"]


def test_commands_and_experiments_take_them(path, monkeypatch, capsys):
    given = ["--batch", "4", "--hardware", "ideal", "--adapters", "4:*.q", "--recompute", "h.*",
             "--micro-batches", "2", "--format", "json"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["nmsim", "simulate", str(path), *given])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    found = json.loads(capsys.readouterr().out)
    step = {"adapters": ["4:*.q"], "recompute": ["h.*"], "micro_batches": 2, "reentrant": False}
    assert {name: found["manifest"][name] for name in step} == step
    updates = [row["layer"] for row in found["rows"] if row["phase"] == "update"]
    assert updates == ["h.*.q.lora_A", "h.*.q.lora_B"]
    fields = {"title": "t", "models": [str(path)], "hardware": ["ideal"], "patterns": ["2:4"],
              "fidelities": ["cycle"]}  # fmt: skip
    (point,) = points_of(validate(Experiment, {**fields, "learn": ["head"], "batches": [4]}, "e"))
    assert {row["layer"] for row in rows(point) if row["phase"] == "update"} == {"head"}


def test_a_training_run_ends_with_the_network_that_is_used(path):
    run = {"batch": 4, "hardware": "ideal", "steps": 2, "fidelity": "analytical"}
    plain, again = (nmsim.train(path, **run, **one) for one in ({}, {"recompute": "h.*"}))
    assert plain.inference == again.inference
    assert again.dense.time_us > plain.dense.time_us


def test_globs_are_a_list_or_one_text():
    assert Learning.of(learn="a, b") == Learning.of(learn=["a", "b"]) == Learning(("a", "b"))


def test_adapters_of_a_shared_weight_are_weights_of_their_own():
    """The head of GPT-2 has its table's weight; A and B beside it have theirs."""
    found = memory_footprint("gpt2", hardware="ideal", batch=1, adapters="4:lm_head").total()
    assert found["dense"]["gradients"] == 2 * 4 * (768 + 50257)
