"""Residuals of fused attention: those that ship, where they hold, how they are learned."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nmsim.attention import Attention
from nmsim.cli import app
from nmsim.errors import SpecError
from nmsim.machines import kind_of, load_hardware, residual_path, with_residual
from nmsim.machines.attention import AttentionCalls, shapes_of
from nmsim.machines.gpu.attention.learned import describe, factors
from nmsim.measured.attention.predict import predict_attention, summarize_attention
from nmsim.measured.attention.residual import fit_attention_residual
from nmsim.measured.attention.tables import ATTENTION_TABLES, read_attention
from nmsim.residual.file import of_attention, read_residual
from nmsim.run.point import Point, rows

MACHINES = ("a100-sxm4-80gb", "h100-sxm", "h200")


def corrected(name):
    machine = load_hardware(name)
    return with_residual(machine, machine)


def shipped(name):
    return read_residual(of_attention(residual_path(name)))


def table_of(name):
    short = name.partition("-")[0]
    return read_attention(ATTENTION_TABLES.folder / f"attention-{short}.csv.gz")


@pytest.fixture(scope="module")
def tables():
    return {name: table_of(name) for name in MACHINES}


def reported(residual, **wanted):
    return [
        one
        for errors in residual.report["errors"].values()
        for one in errors
        if all(one[key] == value for key, value in wanted.items())
    ]


@pytest.mark.parametrize("name", MACHINES)
def test_a_shipped_residual_is_small_and_near_on_heads_that_it_has_not_seen(name):
    """Wanted of fused attention with a residual: prefill within 6 %, decode within 10 %."""
    both = (residual_path(name), of_attention(residual_path(name)))
    assert sum(path.stat().st_size for path in both) < 2**20
    for kind, most in (("prefill", 0.04), ("decode", 0.03)):
        for one in reported(shipped(name), file=kind, shapes="held out"):
            assert one["residual_mape"] < most < one["physics_mape"] + 0.02
            assert one["residual_mape"] < 0.6 * one["physics_mape"]


@pytest.mark.parametrize("name", MACHINES)
def test_it_does_what_its_report_says(name, tables):
    found = predict_attention([tables[name]]).table
    judged = found[found["judged"] & found["residual_us"].notna()]
    off = (judged["residual_us"] / judged["measured_us"] - 1).abs()
    parts = {"seen": "calibration", "held out": "held out"}
    means = off.groupby([judged["library"], judged["kind"], judged["part"]]).mean()
    errors = shipped(name).report["errors"]
    for (library, kind, part), mean in means.items():
        one = next(e for e in errors[library] if (e["file"], e["shapes"]) == (kind, parts[part]))
        assert mean == pytest.approx(one["residual_mape"], abs=2e-5)
    for one in summarize_attention(replace(predict_attention([tables[name]])))["tables"]:
        if one["residual_mape"] is not None:
            assert one["residual_mape"] < one["mape"]


def calls(*attentions, library="vllm", phase="forward"):
    return AttentionCalls(shapes_of(attentions), phase, library)


DECODE = Attention(batch=16, heads=32, queries=1, keys=4096, head_dim=128, kv_heads=8, causal=True)


@pytest.mark.parametrize(
    "change",
    [
        {"head_dim": 96},  # between measured ones: another kernel
        {"head_dim": 256},
        {"batch": 2**20},
        {"keys": 2**24},
        {"causal": False},
        {"window": 1024},
        {"heads": 2048, "kv_heads": 2048},
    ],
)
def test_beyond_the_data_there_is_the_physics(change):
    machine = corrected("h100-sxm")
    assert abs(factors(machine, calls(DECODE))[0] - 1) > 1e-3
    assert factors(machine, calls(replace(DECODE, **change)))[0] == pytest.approx(1, abs=1e-6)


def test_nothing_is_corrected_that_was_not_learned():
    machine = corrected("h100-sxm")
    training = replace(DECODE, queries=4096)
    assert factors(machine, calls(training, library="flash-attention-3")) is None
    assert factors(machine, calls(training, library="vllm", phase="backward")) is None
    assert factors(load_hardware("h100-sxm"), calls(DECODE)) is None


def test_many_calls_are_corrected_as_each_alone(tables):
    machine = corrected("h200")
    shapes = tables["h200"].shapes[::157]
    of_all = factors(machine, AttentionCalls(shapes, library="tensorrt-llm"))
    alone = [
        factors(machine, AttentionCalls(shapes[[i]], library="tensorrt-llm"))[0] for i in (0, 9)
    ]
    assert of_all[[0, 9]].tolist() == alone


def test_what_l2_holds_does_not_change_the_account():
    machine = load_hardware("h100-sxm")
    small = calls(replace(DECODE, keys=1024))
    cold, warm = (describe(machine, small._replace(replayed=one)) for one in (False, True))
    assert np.array_equal(cold.features, warm.features)


@pytest.mark.parametrize("name", ["a100-sxm4-80gb", "h100-sxm"])
def test_a_row_is_corrected_and_its_parts_add_up(name):
    point = Point("llama-3-8b", scenario="decode", hardware=name, context=4096, batch=16)
    point = replace(point, fidelity="analytical", layers="*attn*")
    plain, learned = (
        next(one for one in rows(replace(point, residual=asked)) if one["kind"] == "attention")
        for asked in (False, True)
    )
    factor = learned["residual_factor"]
    assert learned["residual"] == name
    assert 0.8 < factor < 1.25
    assert factor != 1
    assert learned["cycles"] == pytest.approx(plain["cycles"] * factor, rel=1e-4)
    parts = [v for key, v in learned.items() if key.endswith("_cycles") and "mask" not in key]
    kinds = kind_of(load_hardware(name))
    assert kinds.attention.learned is not None
    named = ("compute_cycles", "stall_cycles", "dense_cycles")
    spent = sum(v or 0 for v in parts) - sum(learned[key] or 0 for key in named)
    assert spent == learned["cycles"]
    assert min(v or 0 for v in parts) >= 0
    assert abs(learned["useful_cycles"] - plain["useful_cycles"]) <= 1


def test_a_residual_of_other_constants_is_refused(tmp_path):
    """Its probes are timed again where the machine's own times have moved."""
    source = Path(residual_path("h200"))
    for path in (source, of_attention(source)):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    machine = corrected("h200")
    moved = machine.model_copy(update={"residual": str(tmp_path / source.name), "sms": 100})
    with pytest.raises(SpecError, match=r"attention\.residual\.npz: was fitted to other constants"):
        factors(moved, calls(DECODE, library="tensorrt-llm"))


def test_a_machine_whose_attention_nobody_measured_has_none():
    assert fit_attention_residual(load_hardware("rtx3090"), [table_of("h200")]) is None


def test_shuffled_times_give_no_gain(tables):
    pytest.importorskip("sklearn")
    table = tables["h200"]
    order = np.random.default_rng(0).permutation(len(table))
    machine = load_hardware("h200")
    account = kind_of(machine).attention.account
    shapes = AttentionCalls(table.shapes, library="tensorrt-llm", replayed=True)
    told = account(machine, shapes)["time_us"]
    ratio = (table.time_us / told)[order]
    with pytest.raises(SpecError, match="nothing was learned"):
        fit_attention_residual(machine, [replace(table, time_us=told * ratio)])


def test_a_fit_gives_what_ships(tables):
    """The same each time here; what ships, but for what last digits of another processor make."""
    pytest.importorskip("sklearn")
    fits = [
        fit_attention_residual(load_hardware("a100-sxm4-80gb"), [tables["a100-sxm4-80gb"]])
        for _ in range(2)
    ]
    first, second, old = *(fit.report for fit in fits), shipped("a100-sxm4-80gb").report
    assert first == second
    assert {**first, "errors": 0} == {**old, "errors": 0}
    for library, errors in old["errors"].items():
        for one, again in zip(errors, first["errors"][library], strict=True):
            assert again == {**one, "residual_mape": pytest.approx(one["residual_mape"], rel=0.1)}


def test_validate_predicts_corrected_times_where_they_are_asked_for(tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text(
        "gpu,library,phase,batch,query_len,kv_len,heads,kv_heads,head_dim,time_us\n"
        "NVIDIA H100,VLLM 0.19.0,decode,16,1,4096,32,8,128,60.5\n"
    )
    told = []
    for options in ((), ("--residual",)):
        out = tmp_path / f"{len(options)}.csv"
        done = CliRunner().invoke(
            app, ["validate", str(table), "--predictions", str(out), *options]
        )
        assert done.exit_code == 0, done.output
        told.append(float(out.read_text().split(",")[-1]))
    replayed = calls(DECODE)._replace(replayed=True)
    assert told[1] / told[0] == pytest.approx(factors(corrected("h100-sxm"), replayed)[0])
