"""What a run keeps against what its machine has: closed forms by scenario, and who says so."""

import json

import pytest

from nmsim.gemm import Gemm
from nmsim.machines import HARDWARE, kind_of, load_hardware, stored
from nmsim.mask import Mask, SparseGemm
from nmsim.network.catalog import load_model
from nmsim.pattern import Pattern
from nmsim.report.capacity import headline, memory_said
from nmsim.run.memory import Keeping, footprint_of, held, memory_footprint
from nmsim.run.point import Point, Subject

A100, H200 = "a100-sxm4-80gb", "h200"


def parts(model, scenario, **more):
    """Bytes of every part of a dense run on a GPU of 16-bit operands."""
    own = {"hardware": A100, "batch": 1, **more}
    return memory_footprint(model, scenario=scenario, **own).total()["recipe"]


def test_weights_of_llama_3_70b_are_141_gb():
    found = parts("llama-3-70b", "decode")
    norms = 1318912  # of its published parameters, which no layer here holds
    assert found["weights"] == 2 * (70553706496 - norms)
    assert round(found["weights"] / 1e9, 1) == 141.1
    assert round(found["weights"] / 2**30, 1) == 131.4


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize(
    ("model", "values", "blocks"),
    [
        ("llama-3-70b", 8 * (128 + 128), 80),
        ("llama-2-7b", 32 * (128 + 128), 32),
        ("gpt2", 12 * (64 + 64), 12),
        ("mixtral-8x7b", 8 * (128 + 128), 32),
        ("deepseek-v3", 512 + 64, 61),  # the latent vector, and the key that all heads share
    ],
)
def test_the_cache_is_of_every_token_read(model, values, blocks, batch):
    decoded = parts(model, "decode", context=99, batch=batch)["cache"]
    assert decoded == 2 * batch * (99 + 1) * values * blocks
    assert (
        parts(model, "prefill", tokens=50, batch=batch)["cache"] == 2 * batch * 50 * values * blocks
    )
    assert parts(model, "infer", tokens=50)["cache"] == 0


def test_keys_of_a_source_are_cached_and_its_encoder_stays():
    """T5's decoder: its own tokens, and the source that 12 more attentions read."""
    found = parts("t5-base", "decode", tokens=300, context=20)
    assert found["cache"] == 2 * 12 * 2 * 768 * ((20 + 1) + 300)
    assert found["weights"] == 2 * load_model("t5-base").weights  # shared embedding once
    prompt = parts("t5-base", "prefill", tokens=300)
    assert prompt["cache"] == 2 * 12 * 2 * 768 * (1 + 300)  # encoders of no later token cache none


@pytest.mark.parametrize(
    "model", ["bert-base", "mixtral-8x7b", "deepseek-v3", "resnet50", "t5-base"]
)
def test_weights_are_whole_and_once(model):
    """Experts that no token is sent to, tables of embeddings, weights that two layers share."""
    assert parts(model, "infer")["weights"] == 2 * load_model(model).weights


def test_bert_infers_in_its_weights_and_its_widest_layer():
    found = parts("bert-base", "infer", batch=4, hardware="ideal")
    wide = 4 * 128 * (768 + 3072)
    scores = 4 * (128 * 768 * 4 + 12 * 128 * 128)
    assert found["workspace"] == 2 * max(wide, scores)
    assert found["all"] == found["weights"] + found["workspace"]


def test_what_is_cached_has_no_second_copy():
    found = parts("llama-2-7b", "decode", context=2047, batch=16, hardware="ideal")
    attention = 16 * (4096 + 32 * 2048 + 4096)  # queries, scores, outputs
    logits = 16 * (4096 + 32000)
    assert found["workspace"] == 2 * max(attention, logits)
    fused = parts("llama-2-7b", "decode", context=2047, batch=16)  # scores stay on chip
    assert fused["workspace"] == 2 * logits


def test_pruned_weights_are_held_as_forward_reads_them():
    dense, pruned = (parts("llama-2-7b", "decode", recipe=one) for one in ("dense", "asp"))
    table = 2 * 32000 * 4096
    packed = (dense["weights"] - table) / 2
    assert pruned["weights"] == table + packed
    assert pruned["metadata"] == packed / 8
    assert pruned["cache"] == dense["cache"]


def test_a_training_run_keeps_what_memory_says():
    subject = Subject("bert-base", recipe="transposable", batch=8, hardware=A100)
    kept = footprint_of(Keeping("bert-base", recipe="transposable", batch=8, hardware=A100))
    assert held(subject).memory_bytes == kept.total()["recipe"]["all"]
    assert held(subject).capacity_bytes == 80 * 2**30


def test_gemms_without_a_network_do_not_say():
    assert held(Subject("gemm:64x64x64", hardware=A100)) == (None, 80 * 2**30)
    assert held(Subject("bert-base")).capacity_bytes is None


def test_no_bit_of_a_mask_is_made(monkeypatch, tmp_path):
    recipe = tmp_path / "unfit.yaml"
    recipe.write_text(
        "summary: s\nsource: s\noperands:\n  - {role: weight, phases: [forward, backward], "
        "pruner: magnitude, allow_unfit: true}\n"
    )

    def never(_mask):
        raise AssertionError("bits were asked for")

    monkeypatch.setattr(Mask, "words", property(never))
    for hardware in (A100, "systolic-128x128-2to4", "systolic-128x128-intersecting", "ideal"):
        assert held(Subject("vit-tiny", recipe=recipe, hardware=hardware)).memory_bytes


def test_what_is_refused_elsewhere_is_not_known(tmp_path):
    recipe = tmp_path / "unfit.yaml"
    recipe.write_text(
        "summary: s\nsource: s\noperands:\n  - {role: weight, phases: [forward, backward], "
        "pruner: magnitude}\n"
    )
    assert held(Subject("vit-tiny", recipe=recipe)).memory_bytes is None


@pytest.mark.parametrize("name", list(HARDWARE))
def test_like_masks_are_stored_alike(name):
    """The answer that is kept is that of the machine's kind, dense operands' too."""
    machine, gemm = load_hardware(name), Gemm(256, 128, 512)
    dense = Mask.dense(128, 512)
    for pattern in ("2:4", "1:4", "4:8"):
        for fits in (True, False):
            mask = Mask.promising(
                Pattern.parse(pattern), 256, 512, regular=True, source=None, fits=fits
            )
            work = SparseGemm(gemm, mask, dense)
            assert stored(machine, work) == kind_of(machine).stored(machine, work)
    whole = SparseGemm.dense(gemm)
    assert stored(machine, whole) == kind_of(machine).stored(machine, whole)


def test_capacities_of_the_catalog():
    """GiB as drivers report them, which are not the GB that cards are sold by."""
    known = {name: load_hardware(name).capacity_gib for name in HARDWARE}
    assert (known[A100], known["a100-sxm4-40gb"], known["a100-pcie-80gb"]) == (80, 40, 80)
    assert known["h100-sxm"] * 1024 == pytest.approx(81559, rel=1e-4)
    assert known[H200] * 1024 == pytest.approx(143771, rel=1e-4)
    assert (known["rtx3090"], known["v100"], known["tpu-v1"], known["tpu-v3-core"]) == (
        24,
        16,
        8,
        16,
    )
    assert known["rtx3070"] == 8  # not that of rtx3090, on which it is based
    assert known["systolic-128x128-2to4"] is None
    assert known["ideal"] is None


def test_the_first_line_says_what_does_not_fit(command, tmp_path):
    run = ("llama-3-70b", "--hardware", A100, "--scenario", "decode", "--batch", "1")
    code, out, _ = command("memory", *run)
    assert code == 0
    assert out.splitlines()[0].startswith("does not fit: 132.0 of 80 GiB of memory; llama-3-70b on")
    code, out, _ = command("simulate", *run, "--fidelity", "analytical", "--out", str(tmp_path))
    assert code == 0  # said, never refused
    assert out.splitlines()[0].startswith("does not fit: 132.0 of 80 GiB of memory; llama-3-70b on")
    assert "does not fit: 132.0 of 80 GiB of memory" in (tmp_path / "index.html").read_text()
    about = json.loads((tmp_path / "manifest.json").read_text())
    found = parts("llama-3-70b", "decode")
    assert about["memory_bytes"] == found["all"]
    assert about["capacity_bytes"] == 80 * 2**30
    code, out, _ = command("memory", *run, "--set", "capacity_gib=141", "--format", "json")
    assert code == 0
    total = json.loads(out)["total"]
    assert (total["memory_bytes"], total["capacity_bytes"]) == (found["all"], 141 * 2**30)
    assert total["memory_bytes"] < total["capacity_bytes"]


def test_a_training_run_says_it_too(command):
    run = ("--steps", "10", "--fidelity", "analytical", "--hardware", A100)
    code, out, _ = command("train", "vit-tiny", *run, "--set", "capacity_gib=0.01")
    assert code == 0
    assert out.startswith("does not fit: ")
    code, out, _ = command("train", "vit-tiny", *run, "--format", "json")
    assert code == 0
    total = json.loads(out)["total"]
    assert 0 < total["memory_bytes"] < total["capacity_bytes"] == 80 * 2**30


def test_a_schedule_keeps_the_most_of_its_states(command):
    run = ("--steps", "10", "--fidelity", "analytical", "--hardware", A100, "--format", "json")
    code, out, _ = command("train", "vit-tiny", "--recipe", "mdgf-linear", *run)
    assert code == 0
    both = [
        held(Point("vit-tiny", hardware=A100, recipe=one)).memory_bytes
        for one in ("dense", "mdgf-linear")
    ]
    assert json.loads(out)["total"]["memory_bytes"] == max(both)


def test_json_of_a_run_says_both(command):
    code, out, _ = command("simulate", "vit-tiny", "--hardware", A100, "--format", "json",
                           "--fidelity", "analytical", "--phase", "forward")  # fmt: skip
    assert code == 0
    whole = json.loads(out)
    whole["total"] = whole["total"]["all"]
    needed = held(Point("vit-tiny", hardware=A100)).memory_bytes  # of the step, not of a phase
    for said in (whole["total"], whole["manifest"]):
        assert (said["memory_bytes"], said["capacity_bytes"]) == (needed, 80 * 2**30)


def test_words_of_the_headline():
    fits = {"memory_bytes": 79 << 30, "capacity_bytes": 80 << 30}
    assert headline("a on b", fits) == "a on b, 79.0 of 80 GiB of memory"
    equal = {"memory_bytes": 80 << 30, "capacity_bytes": 80 << 30}
    assert not memory_said(equal).startswith("does not fit")
    assert headline("a on b", {}) == "a on b"


def test_a_capacity_is_more_than_nothing(command):
    code, _, err = command("memory", "vit-tiny", "--set", "capacity_gib=0")
    assert code == 2
    assert "capacity_gib" in err
    assert len(err.splitlines()) == 1
