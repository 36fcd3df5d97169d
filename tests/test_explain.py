"""``nmsim explain``: numbers that add up, and advice that does what it says."""

import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiers import fast_every, fast_first

import nmsim
from nmsim import cli, machines
from nmsim.cli.options import overrides
from nmsim.errors import NmsimError, UnknownName
from nmsim.gemm import Gemm
from nmsim.machines import HARDWARE, kind_of, load_hardware
from nmsim.machines.explanation import Effort, Mend, busy_and_idle, whole
from nmsim.machines.gpu.explained import parts as gpu_parts
from nmsim.machines.gpu.explained.mends import EXPLAIN as OF_GPUS
from nmsim.machines.systolic.mends import PARTS as OF_ARRAYS
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import Pattern
from nmsim.report.terminal.explanation import explanation_text
from nmsim.run import explanation
from nmsim.run.explanation import explain
from nmsim.run.point import Point

LAYERS = ("conv1", "layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv2", "fc")
HARDWARE_PAIRS = {
    "systolic-128x128-2to4": {},
    "systolic-16x16": {"dram.gbps": 2},
    "systolic-128x128-flexible": {"dram.gbps": 60},
    "gemmini": {},
    "tpu-v1": {},
    "tpu-v3-core": {"dram.gbps": 100},
    "eyeriss": {},
    "vegeta-like-32x16": {},
    "sparseloop-stc-flexible": {},
    "scale-sim": {},
    "a100-sxm4-80gb": {},
    "rtx3090": {},
    "h100-sxm": {"l2.gbps": 2000},
}


def point(model="resnet18", **fields):
    return Point(model=model, **{"recipe": "asp", "phases": ("forward",), "batch": 2, **fields})


def weights(m, n, k, pattern="2:4"):
    mask = Mask.promising(
        Pattern.parse(pattern), n, k, regular=True, source=lambda: pytest.fail("no bits")
    )
    return SparseGemm(Gemm(m, n, k), Mask.dense(m, k), mask)


def adds_up(one):
    """The waterfall from what is promised to the cycles of the GEMM, step by step."""
    assert sum(step.cycles for step in one.steps) == one.result.cycles
    assert sum(step.promised for step in one.steps) == one.promised
    assert min(step.cycles for step in one.steps) >= 0
    assert one.promised == round(one.dense.cycles / one.promise)
    cycles = one.promised
    for step in one.steps:
        cycles += step.lost
        assert step.left == pytest.approx(one.dense.cycles / cycles)
    assert cycles == one.result.cycles
    assert one.steps[-1].left == pytest.approx(one.speedup)


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
@pytest.mark.parametrize("hardware", fast_every(list(HARDWARE), 5))
def test_every_machine_explains_in_numbers_that_add_up(hardware, fidelity):
    (one,) = explain(point(hardware=hardware, layers="layer2.0.conv1", fidelity=fidelity))
    adds_up(one)
    assert one.steps[0].name == "useful products"
    useful = one.work.macs_useful / one.machine.peak_macs
    assert abs(one.steps[0].cycles - useful) <= 1
    document = json.loads(json.dumps(one.document(), allow_nan=False))
    text = explanation_text(document)
    assert f"{one.result.cycles:,}" in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("phase", ["forward", "backward", "update"])
@pytest.mark.parametrize("recipe", fast_first(["fst", "transposable+mvue", "mdgf-linear"], 1))
def test_recipes_with_more_masks_and_other_formats_add_up(recipe, phase):
    for hardware in ("systolic-128x128-2to4", "a100-sxm4-80gb", "systolic-128x128-intersecting"):
        fields = {"recipe": recipe, "phases": (phase,), "hardware": hardware}
        for one in explain(point(layers="layer3.0.conv2", **fields)):
            adds_up(one)


def again(given, tried):
    """Cycles of the GEMM of a point, with options of an advice typed beside it."""
    words, fields, sets = iter(shlex.split(tried.options)), {}, []
    for option in words:
        value = next(words)
        if option == "--set":
            sets.append(value)
        else:
            fields[option.removeprefix("--")] = value
    samples = int(fields.pop("batch", given.batch))
    other = replace(
        given, batch=samples, overrides={**given.overrides, **overrides(sets)}, **fields
    )
    names = ("model", "recipe", "pattern", "hardware", "overrides", "batch", "phases", "layers")
    table = nmsim.simulate(**{name: getattr(other, name) for name in names})
    return round(int(table["cycles"].iloc[0]) * given.batch / samples)


@pytest.mark.parametrize(
    ("layers", "least", "kinds"),
    [(LAYERS[2:3], 8, 5), pytest.param(LAYERS, 40, 8, marks=pytest.mark.slow)],
    ids=["a layer", "every layer"],
)
def test_advice_takes_away_half_of_the_loss_that_it_is_for(layers, least, kinds):
    """Of a layer on every machine, each advice run anew from what is typed for it."""
    advised, efforts = 0, set()
    for hardware, fields in HARDWARE_PAIRS.items():
        for layer in layers:
            given = point(hardware=hardware, overrides=fields, layers=layer)
            (one,) = explain(given)
            adds_up(one)
            for loss in one.losses:
                step = next(step for step in one.steps if step.name == loss.name)
                lost = {"promise": step.lost, "peak": step.cycles}[loss.against]
                assert loss.cycles == lost > 0
                assert all(not tried.enough for tried in loss.tried[:-1])
                best = loss.advice
                if best is not None:
                    assert again(given, best) == best.cycles
                    assert 2 * (one.result.cycles - best.cycles) >= lost
                    advised += 1
                    efforts.add(best.options.split("=")[0])
            for loss in one.losses[:-1]:  # those before the last have none, or none that gains more
                assert loss.advice is None or loss.advice.speedup <= 1.005 * one.speedup
    assert advised >= least
    assert len(efforts) >= kinds


def test_what_is_tried_first_is_cheaper_and_does_not_do():
    given = point(hardware="systolic-16x16", overrides={"dram.gbps": 2}, layers="layer2.0.conv1")
    (one,) = explain(given)
    loss = one.losses[0]
    assert (loss.name, loss.advice.options) == ("DRAM wait", "--set sram.a_kib=256")
    assert [again(given, tried) for tried in loss.tried] == [tried.cycles for tried in loss.tried]
    assert [2 * (one.result.cycles - tried.cycles) >= loss.cycles for tried in loss.tried] == [
        *[False] * (len(loss.tried) - 1),
        True,
    ]


def test_the_part_must_fall_and_the_cycles_too(monkeypatch):
    """Fill is 254 cycles a fold, a preload 128: half of the fill is gained, none mended."""

    def mends(machine, work, part):
        others = {"fold_period": "uncounted", "dram.latency_ns": 0.0}
        yield Mend("of others", Effort.SETTING, fields=others)
        slow = {"fold_period": "back_to_back", "dram.gbps": 0.5}
        yield Mend("to others", Effort.SETTING, fields=slow)
        yield Mend("cannot be", Effort.SETTING, fields={"rows": 0})

    given = point("gemm:512x512x512", recipe="dense", batch=1)
    (before,) = explain(given)
    kind = kind_of(before.machine)
    offer = replace(kind.explain, mends=mends)
    monkeypatch.setattr(explanation, "kind_of", lambda _: replace(kind, explain=offer))
    (loss, *_) = next(explain(given)).losses
    assert (loss.name, len(loss.tried), loss.advice) == ("fill", 2, None)
    assert 2 * (before.result.cycles - loss.tried[0].cycles) >= loss.cycles
    assert loss.tried[1].cycles > before.result.cycles


def test_what_the_dense_run_gains_as_much_is_not_the_last_word():
    """Other sides of an array speed the dense run up too; selectors do not."""
    (one,) = explain(point(hardware="tpu-v3-core", layers="conv1", recipe="sr-ste"))
    ragged, misfit = one.losses
    assert ragged.advice.speedup == pytest.approx(1)
    assert (misfit.name, "native" in misfit.advice.options) == ("misfit", True)
    assert misfit.advice.speedup > 1.3


def test_masks_that_cost_time_are_left_away():
    """Where masks are always followed, a packed operand runs although dense is faster."""
    given = point(
        hardware="a100-sxm4-80gb",
        layers="conv1",
        batch=32,
        library="xformers-cutlass",
        recipe="sr-ste",
        overrides={"masks": "always"},
    )
    (one,) = explain(given)
    assert one.speedup < 0.9
    assert "--pattern dense" in {tried.options for loss in one.losses for tried in loss.tried}


def test_of_a_network_the_slowest_gemm_is_explained():
    given = point(phases=(), fidelity="analytical")
    (one,) = explain(given)
    slowest = max(nmsim.simulate("resnet18", recipe="asp", batch=2, fidelity="analytical").time_us)
    assert one.result.time_us == slowest
    every = list(explain(replace(given, layers="layer1.0.conv1")))
    assert [one.work.gemm.phase for one in every] == ["forward", "backward", "update"]


def test_the_cost_of_masks_stands_beside():
    (one,) = explain(point(layers="fc"))
    table = nmsim.simulate("resnet18", recipe="asp", batch=2, layers="fc", phases=("forward",))
    assert one.masks_us == table["mask_us"].iloc[0] > 0
    masks = round(one.masks_us * one.machine.clock_mhz)
    assert f"{one.result.cycles + masks:,}" in explanation_text(one.document())


@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_a_product_that_a_mask_keeps_apart_is_held_against_its_share_of_the_kernel(phase):
    """As its row is; without masks it is no GEMM, so that this advice is the dense run."""
    fields = {"recipe": "dfss", "hardware": "a100-sxm4-80gb", "fidelity": "analytical"}
    given = point("bert-base", layers="*.attention.self", phases=(phase,), **fields)
    rows = nmsim.simulate(
        "bert-base", batch=2, layers="*.attention.self", phases=(phase,), **fields
    )
    found = list(explain(given))
    assert [one.dense.cycles for one in found] == list(rows["dense_cycles"])
    (kernel,) = explain(replace(given, recipe="dense"))
    assert sum(one.dense.cycles for one in found) == kernel.result.cycles
    for one in found:
        adds_up(one)
        launch = next(step for step in one.steps if step.name == "launch")
        share = one.dense.cycles / one.promise / kernel.result.cycles
        of_kernel = next(step.cycles for step in kernel.steps if step.name == "launch")
        assert launch.promised == pytest.approx(share * of_kernel, abs=1)
        assert "its share of the kernel" in explanation_text(one.document())
        left_away = [one for loss in one.losses for one in loss.tried if "--pattern" in one.options]
        assert bool(left_away) == (one.result.cycles > one.dense.cycles)
        assert {tried.cycles for tried in left_away} <= {one.dense.cycles}


def test_a_step_of_inference_is_explained(run):
    text = shown(run, "llama-3-8b", "--scenario", "decode", "--context", 64, "--hardware", "ideal")
    rows = nmsim.simulate("llama-3-8b", scenario="decode", context=64, hardware="ideal")
    share = rows["time_us"].max() / rows["time_us"].sum()
    assert f"of {len(rows)} GEMMs the one that takes most time, {share:.1%} of it" in text
    text = shown(
        run, "resnet18", "--layer", "layer2.0.conv1", "--phase", "backward", "--lowering", "columns"
    )
    assert "x 576 x 128" in text


def test_a_gemm_without_masks_is_told_without_a_promise():
    (one,) = explain(point("gemm:256x256x256", recipe="dense", batch=1))
    text = explanation_text(one.document())
    assert "promised" not in text.split("largest loss")[0].replace("nothing is promised", "")
    assert f"{one.result.cycles:,}         100.0" in text


def test_nothing_promised_is_held_against_the_peak():
    (one,) = explain(point("gemm:256x256x256", recipe="dense", batch=1))
    assert one.promise == 1
    assert {loss.against for loss in one.losses} == {"peak"}
    assert "no mask is offered" in explanation_text(one.document())


def test_the_least_that_a_gpu_may_take_is_told_beside_the_parts():
    """Products at 1024 a cycle of 108 SMs; three matrices of 16 bits, each moved once."""
    machine, work = load_hardware("a100-sxm4-80gb"), SparseGemm.dense(Gemm(512, 768, 1024))
    result = machines.simulate(machine, work, "analytical")
    facts = dict(OF_GPUS.facts(machine, work, result, "analytical"))
    assert facts["least by peak"].startswith(f"{512 * 768 * 1024 / (108 * 1024):,.0f} cycles")
    moved = 2 * (512 * 1024 + 768 * 1024 + 512 * 768)
    cycles = moved * 1410 / (machine.dram.gbps * 1e3)
    assert facts["least by DRAM"].startswith(f"{cycles:,.0f} cycles: {moved:,} bytes")


# ---- why a mask is not used


def shown(run, *arguments):
    status, out, err = run(*arguments)
    assert (status, err) == (0, "")
    return " ".join(out.split())


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command; status, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["nmsim", "explain", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        found = capsys.readouterr()
        return stop.value.code or 0, found.out, found.err

    return run


def test_a_mask_that_would_cost_time_is_told(run):
    """Selectors of A alone: with the mask of B the GEMM would run in the slower order."""
    options = ("--recipe", "asp", "--pattern", "4:8", "--set", "sparse_operand=a")
    text = shown(run, "gemm:512x128x2048", *options)
    table = nmsim.simulate(
        "gemm:512x128x2048", recipe="asp", pattern="4:8", overrides={"sparse_operand": "a"}
    )
    ratio = table["mask_cycles"].iloc[0] / table["dense_cycles"].iloc[0]
    assert ratio > 2
    assert f"4:8 is not used: with it the GEMM would take {ratio:.2f} times the dense" in text
    assert "speed-up 1.00x of 2.00x that the masks promise" in text


def test_a_machine_without_selectors_says_so_and_how_it_would_gain(run):
    text = shown(run, "gemm:512x512x512", "--recipe", "asp", "--hardware", "gemmini")
    assert "2:4 is not used" in text
    assert "the array has no selectors" in text
    assert "change: --set native='[\"2:4\"]'" in text


# ---- the command


def test_the_command_prints_one_json_document(run):
    status, out, err = run("resnet18", "--layer", "fc", "--recipe", "asp", "--format", "json")
    assert (status, err) == (0, "")
    found = json.loads(out)["gemms"]
    assert [one["phase"] for one in found] == ["forward", "backward", "update"]
    for one in found:
        lost = sum(step["lost"] for step in one["steps"])
        assert one["promised_cycles"] + lost == one["cycles"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nothing",), "unknown model 'nothing'"),
        (("resnet18", "--layer", "no"), "unknown layer 'no'"),
        (("resnet18", "--phase", "sideways"), "sideways"),
        (("resnet18", "--set", "rows"), "FIELD=VALUE"),
    ],
)
def test_a_mistake_is_one_line(run, arguments, says):
    status, out, err = run(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert says in err


def test_a_loss_that_nothing_mends_is_said(run):
    text = shown(run, "resnet18", "--batch", 2, "--layer", "conv1", "--phase", "forward",
                 "--hardware", "sparseloop-stc", "--recipe", "sr-ste")  # fmt: skip
    assert "largest loss: empty slots" in text
    assert "changes that were tried takes away half of it; the nearest:" in text
    assert "change: --" not in text


# ---- what kinds offer


@pytest.mark.parametrize("hardware", fast_every(list(HARDWARE), 5))
def test_mends_name_fields_that_there_are(hardware):
    """A value may be one that the machine cannot have; a field may not be unknown."""
    machine, work = load_hardware(hardware), weights(64, 48, 96)
    offer = kind_of(machine).explain
    result = machines.simulate(machine, work)
    for part in offer.parts(machine, work, result, "cycle")[1:]:
        for mend in offer.mends(machine, work, part.name):
            assert mend.says
            assert mend.fields or mend.pattern
            try:
                load_hardware(machine, **mend.fields)
            except UnknownName:
                raise
            except NmsimError:
                continue


def test_parts_of_arrays_are_the_columns_of_a_row():
    table = nmsim.simulate("resnet18", recipe="asp", batch=2, layers="fc", phases=("forward",))
    (one,) = explain(point(layers="fc"))
    columns = [int(table[f"{stem}_cycles"].iloc[0]) for stem in OF_ARRAYS]
    assert [step.cycles for step in one.steps] == columns


def test_a_kind_that_offers_nothing_tells_work_and_waiting(monkeypatch):
    work = weights(64, 48, 96)
    machine = load_hardware("systolic-16x16")
    result = machines.simulate(machine, work)
    parts = busy_and_idle(machine, work, result, "cycle")
    assert sum(part.cycles for part in parts) == result.cycles
    assert parts[-1].cycles == result.stall_cycles > 0
    kind = kind_of(machine)
    monkeypatch.setattr(explanation, "kind_of", lambda _: replace(kind, explain=None))
    (one,) = explain(point("gemm:64x48x96", hardware="systolic-16x16", batch=1))
    adds_up(one)
    assert all(not loss.tried for loss in one.losses)
    assert "nothing that could be tried mends it" in explanation_text(one.document())


# ---- GPUs


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
@pytest.mark.parametrize(
    "hardware", fast_first(["a100-sxm4-80gb", "h100-sxm", "rtx3090", "v100"], 2)
)
def test_parts_of_a_gpu_add_up_before_they_are_rounded(hardware, fidelity, monkeypatch):
    """What rounding gives to a part is less than a cycle: no part takes what nobody counted."""
    shared = []

    def spy(shares, total):
        shares = list(shares)
        shared.append((shares, total))
        return whole(shares, total)

    monkeypatch.setattr(gpu_parts, "whole", spy)
    machine, rng = load_hardware(hardware), np.random.default_rng(1)
    sizes = [(1, 4096, 4096), (8192, 8192, 512), (64, 64, 65536), (128, 128, 64)]
    sizes += [tuple(int(2 ** rng.uniform(0, 12)) for _ in range(3)) for _ in range(30)]
    found = set()
    for m, n, k in sizes:
        for work in (SparseGemm.dense(Gemm(m, n, k)), weights(m, n, k)):
            result = machines.simulate(machine, work, fidelity)
            launch = gpu_parts.parts_of(machine, work, result, fidelity)
            assert sum(part.cycles for part in launch) == result.cycles
            found |= {part.name for part in launch if part.cycles}
    for shares, total in shared:
        assert min(shares) > -1e-6 * total
        assert sum(shares) == pytest.approx(total, abs=1e-3)
    assert found >= {"useful products", "tile overhang", "prologue", "epilogue"}
    assert found >= {"wave tail", "launch"}
    assert found >= {"split-k reduction", "clock"} if hardware != "v100" else True


def test_parts_of_a_gpu_are_where_they_arise():
    def told(work, **fields):
        machine = load_hardware("a100-sxm4-80gb", **fields)
        result = machines.simulate(machine, work)
        parts = OF_GPUS.parts(machine, work, result, "cycle")
        return {part.name: part.cycles for part in parts}

    small, large = SparseGemm.dense(Gemm(128, 128, 64)), SparseGemm.dense(Gemm(8192, 8192, 4096))
    assert max(told(small), key=told(small).get) == "launch"
    fields = {"cycle.launch_us": 5.0}
    later = told(small, **fields)["launch"] - told(small)["launch"]
    assert later == pytest.approx(
        (5.0 - load_hardware("a100-sxm4-80gb").cycle.launch_us) * 1410, abs=2
    )
    assert max(told(large), key=told(large).get) == "useful products"
    useful = 8192 * 8192 * 4096 / (108 * 1024)
    assert told(large)["useful products"] == pytest.approx(useful, abs=1)
    starved = told(large, **{"dram.gbps": 20})
    assert max(starved, key=starved.get) == "dram bandwidth"
    # Memory that is less busy than the SMs still comes late to some of them.
    assert told(large)["dram bandwidth"] + told(large)["l2 bandwidth"] < 0.05 * sum(
        told(large).values()
    )
    assert told(large, **{"timing.throttle": 0.0})["clock"] == 0 < told(large)["clock"]
    # Of 130 columns a tile of 128 and one of 2 are computed.
    wide, ragged = (
        told(SparseGemm.dense(Gemm(65536, n, 4096)), kernel="128x128x32_5")["tile overhang"]
        for n in (256, 130)
    )
    assert wide == 0 < ragged
    # 16 threadblocks on 3 SMs: in the sixth round two SMs have none, a ninth of the time.
    sixth = told(SparseGemm.dense(Gemm(16 * 256, 128, 4096)), sms=3, kernel="256x128x32_3")
    assert sixth["split-k reduction"] == 0
    assert 0.1 < sixth["wave tail"] / sum(sixth.values()) < 0.12
    masked = told(weights(8192, 8192, 4096))
    assert masked["instruction rate"] > 0.03 * masked["useful products"]


def test_the_page_prints_what_the_command_prints(run):
    page = (Path(__file__).parents[1] / "docs" / "explain.md").read_text()
    ((command, printed),) = re.findall(r"```\n\$ nmsim explain (.*?)\n(.*?)```", page, re.DOTALL)
    status, out, _ = run(*command.split())
    assert (status, out) == (0, printed)


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
@pytest.mark.parametrize("hardware", ["systolic-128x128-2to4", "a100-sxm4-80gb"])
def test_each_part_of_a_launch_is_explained_and_mended_by_itself(hardware, fidelity):
    own = point(
        hardware=hardware,
        fidelity=fidelity,
        recipe="transposable",
        layers="layer2.0.conv1",
        phases=("backward",),
    )
    found = list(explain(own))
    assert [one.document()["part"] for one in found] == ["1/4", "2/4", "3/4", "4/4"]
    for one in found:
        adds_up(one)
        assert one.document()["part"] in explanation_text(one.document()).splitlines()[0]
        run = explanation._Run(one.machine, one.work, one.result, (), one.result, ())
        larger, _ = explanation._mended(own, run, Mend("a larger batch", Effort.SETTING, batch=4))
        assert (larger.work.gemm.part, larger.work.gemm.k) == (one.work.gemm.part, one.work.k)
