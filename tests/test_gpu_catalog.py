"""The GPUs that ship: printed rates, names, formats, and what stands behind their constants."""

import contextlib
import csv
import json
import re
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from swept import points_of
from tiers import fast_every

from nmsim import cli
from nmsim.errors import SpecError, UnknownName
from nmsim.machines import HARDWARE, Call, load_hardware
from nmsim.machines.fit import Calibration
from nmsim.machines.gpu.call import resolve
from nmsim.machines.gpu.routines import call_times
from nmsim.measured.predict import call_of, machine_of
from nmsim.measured.tables import MEASURED, read_shipped
from nmsim.pattern import DENSE, Pattern
from nmsim.report.capacity import headline, unfitted
from nmsim.run.experiment import read_experiment
from nmsim.spec import read_yaml

GPUS = [name for name in HARDWARE if load_hardware(name).kind == "gpu"]
RATES = list(
    csv.DictReader(StringIO((Path(__file__).parent / "golden" / "gpu_rates.csv").read_text()))
)
BASED = [name for name in GPUS if load_hardware(name).based_on]
FITTED = {"a100-sxm4-80gb", "h100-sxm", "h200", "l40s", "rtx3090"}
"""GPUs with measured dense GEMMs of their own."""


def printed(name):
    """The rows of the printed rates of a GPU, by format and sums."""
    return {(row["dtype"], row["accumulator"]): row for row in RATES if name in row["gpus"].split()}


@pytest.mark.parametrize("name", GPUS)
def test_multiprocessors_times_clock_times_rate_is_the_printed_rate(name):
    machine, rows = load_hardware(name), printed(name)
    tensor = [form for form in machine.formats if form.dtype != "fp32"]
    assert {(form.dtype, form.accumulator) for form in tensor} == set(rows)
    for form in tensor:
        row = rows[form.dtype, form.accumulator]
        tops = machine.sms * float(row["clock_mhz"]) * 2 * form.macs_per_clk / 1e6
        assert tops == pytest.approx(float(row["dense_tops"]), rel=0.01), form.dtype
        share = row["sparse_share"]
        twice = 2 * form.macs_per_clk * float(share or 0)  # empty: no sparse instruction
        assert (form.sparse_macs_per_clk or 0) == pytest.approx(twice, rel=1e-3), form.dtype


@pytest.mark.parametrize("name", GPUS)
def test_a_gpu_says_its_own_memory(name):
    """Another card's would be wrong: it is never taken over from a base."""
    machine = load_hardware(name)
    assert machine.capacity_gib
    assert "capacity_gib" in read_yaml(HARDWARE.path(name))
    assert machine.dram.gbps <= machine.dram.sheet_gbps
    assert machine.timing.write_gbps <= 1.07 * machine.dram.gbps


# ---- names


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("L40S", "l40s"),
        ("NVIDIA L40S", "l40s"),
        ("RTX 4090", "rtx4090"),
        ("GeForce RTX 3060", "rtx3060"),
        ("rtx-a6000", "a6000"),
        ("A100-SXM4-80GB", "a100-sxm4-80gb"),
        ("h100-pcie-80gb", "h100-pcie"),
        ("B200 SXM", "b200"),
        ("a10", "a10"),
        ("a30", "a30"),
        ("l4", "l4"),
    ],
)
def test_a_machine_is_found_as_people_type_it(said, name):
    assert load_hardware(said).name == name


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("a100", {"a100-pcie-80gb", "a100-sxm4-40gb", "a100-sxm4-80gb"}),
        ("A100", {"a100-pcie-80gb", "a100-sxm4-40gb", "a100-sxm4-80gb"}),
        ("a100-80gb", {"a100-pcie-80gb", "a100-sxm4-80gb"}),
        ("h100", {"h100-pcie", "h100-sxm"}),
        ("h100-s", {"h100-sxm"}),
        ("rtx", {"rtx3060", "rtx3070", "rtx3090", "rtx4090"}),
        ("tpu", {"tpu-v1", "tpu-v3-core"}),
    ],
)
def test_a_part_of_a_name_is_asked_back(said, meant):
    with pytest.raises(UnknownName) as caught:
        load_hardware(said)
    told = str(caught.value)
    start = f"unknown hardware {said!r}, expected one of "
    assert told.startswith(start)
    names = set(told.removeprefix(start).split(", "))
    assert meant <= names <= {*meant, "a100-sxm4-80gb-documented"}
    assert "v100" not in names


def test_no_two_machines_share_a_name():
    names = [name for _, own in HARDWARE.called() for name in own]
    assert len(names) == len(set(names))


def test_an_experiment_asks_back_too(tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text(
        "title: t\nquestion: q\nmodels: [gemm:64x64x64]\nhardware: [a100]\nrecipes: [dense]\n"
        "patterns: [dense]\n"
    )
    with pytest.raises(SpecError, match="'a100', expected one of a100-pcie-80gb"):
        points_of(read_experiment(path))


# ---- formats


@pytest.mark.parametrize(
    ("name", "lacks"),
    [
        ("v100", ("tf32", "int8", "fp8", "fp4")),
        ("a100-sxm4-80gb", ("fp8", "fp4")),
        ("rtx3060", ("fp8", "fp4")),
        ("l40s", ("fp4",)),
        ("h100-sxm", ("int4", "fp4")),
        ("b200", ("int4",)),
    ],
)
def test_a_format_that_the_chip_has_not_is_refused_in_one_line(name, lacks):
    for dtype in lacks:
        with pytest.raises(SpecError) as caught:
            load_hardware(name, dtype=dtype).peak_macs  # noqa: B018
        told = str(caught.value)
        assert told.startswith(f"{name}: number format {dtype!r}, expected one of ")
        assert "\n" not in told


@pytest.mark.parametrize("name", [name for name in GPUS if load_hardware(name).native])
def test_tf32_is_packed_one_of_two(name):
    """2:4 of 16 bits is 1:2 of tf32: the instruction picks words of 32 bits."""
    machine = load_hardware(name)
    one_of_two, two_of_four = (
        resolve(machine, Call("tf32", pattern, "b")) for pattern in (Pattern(1, 2), Pattern(2, 4))
    )
    assert one_of_two.native == Pattern(1, 2)
    assert one_of_two.chip.macs > 1.9 * resolve(machine, Call("tf32")).chip.macs * min(
        1.0, one_of_two.library.efficiency / resolve(machine, Call("tf32")).library.efficiency
    )
    assert one_of_two.form.b == pytest.approx((4 + 1 / 8) / 2)
    assert two_of_four.native == DENSE
    assert "runs dense" in two_of_four.note


def test_pairs_of_four_bits_are_no_pattern_of_elements():
    for name, dtype in (("a100-sxm4-80gb", "int4"), ("b200", "fp4")):
        machine = load_hardware(name)
        assert machine.natives(dtype) == ()
        assert machine.format(dtype).sparse_macs_per_clk
        assert resolve(machine, Call(dtype, Pattern(2, 4), "b")).native == DENSE


# ---- what stands behind a machine


def test_a_machine_with_the_constants_of_another_says_so():
    for name in GPUS:
        said = load_hardware(name).unfitted
        if name in FITTED:
            assert not said
        elif name in BASED:
            assert said.startswith("unfitted: constants of ")
            assert "such constants missed by " in said


def test_a_calibrated_machine_is_not_unfitted():
    machine = load_hardware("l4")
    report = Calibration(
        measured="t.csv",
        method="least squares",
        rows=1,
        weight_shapes=1,
        holdouts=2,
        seed=0,
        evaluations=1,
        constants=(),
        errors=(),
    )
    assert machine.unfitted
    assert not machine.model_copy(update={"calibration": report}).unfitted


def test_the_head_of_a_result_names_what_is_unfitted():
    said = load_hardware("l4").unfitted
    assert headline("x on l4", {"unfitted": said}) == f"x on l4\n{said}"
    assert unfitted({"unfitted": {"l4": said, "l40s": ""}}) == f"l4 {said}"
    assert headline("x on l40s", {"unfitted": ""}) == "x on l40s"


# ---- what constants of another GPU are worth, as docs/gpus.md says

DOCS = Path(__file__).parents[1] / "docs"
PAIR = re.compile(
    r"^\| `([^`]+)` \| [\d.]+ % \| `([^`]+)`(.*?) \| ([\d.]+) % \| ([-+][\d.]+) % \|$", re.MULTILINE
)
PAIRS = PAIR.findall((DOCS / "gpus.md").read_text())
"""Of the table: machine, whose constants, what is said of that, error and bias in percent."""


def with_constants_of(name, source):
    """A machine as its file would stand if nobody had measured it, on that of another."""
    machine, other = load_hardware(name), load_hardware(source)
    dram = machine.dram.sheet_gbps * other.dram.gbps / other.dram.sheet_gbps
    timing = other.timing.model_dump()
    for field in ("write_gbps", "gemv_gbps"):
        timing[field] *= dram / other.dram.gbps
    efficiency = other.libraries[0].efficiency
    taken = {"timing": timing, "libraries.0.efficiency": efficiency, "dram.gbps": dram}
    return load_hardware(machine, **taken, **{"l2.kept_share": other.l2.kept_share})


def dense_ratios(machine):
    """Predicted over measured time of the dense 16-bit GEMMs of a machine that ship."""
    found = []
    for name in MEASURED:
        rows = read_shipped(name)
        for index, routine in enumerate(rows.routines):
            kind = (routine.sparsity, routine.library, routine.dtype_in)
            of = machine_of(routine.gpu, routine.variant)
            if of == machine.name and kind in SIXTEEN and name not in SPARSE_BESIDE:
                own = rows.routine_of == index
                call, _ = call_of(machine, routine)
                found.append(call_times(machine, call, rows.sizes[own]) / rows.time_us[own])
    return np.concatenate(found) if found else np.array([])


SIXTEEN = {("dense", "cublas", dtype) for dtype in ("bf16", "fp16")}
SPARSE_BESIDE = {"a100-2to4-fp16"}
"""Timed from a host, at another clock."""


@pytest.mark.parametrize(("name", "source", "_said", "error", "bias"), fast_every(PAIRS, 3))
def test_the_error_with_constants_of_another_gpu_is_the_documented_one(
    name, source, _said, error, bias
):
    ratio = dense_ratios(with_constants_of(name, source))
    if not len(ratio):
        pytest.skip(f"no table of {name} ships")
    assert 100 * np.abs(ratio - 1).mean() == pytest.approx(float(error), abs=0.1)
    assert 100 * (np.exp(np.log(ratio).mean()) - 1) == pytest.approx(float(bias), abs=0.1)


def test_what_a_machine_says_of_carried_constants_is_the_mean_of_the_documented_errors():
    before = [float(error) / 100 for *_, said, error, _ in PAIRS if "before" in said]
    own = [(name, float(error) / 100) for name, _, said, error, _ in PAIRS if not said]
    warps = [error for name, error in own if not name.startswith("h")]
    groups = [error for name, error in own if name.startswith("h")]
    said = {"b200": before, "h100-pcie": groups}
    for name in BASED:
        carried = load_hardware(name).carried_over
        errors = said.get(name, warps)
        if carried:
            assert carried.missed_by == pytest.approx(np.mean(errors), abs=0.005), name
            assert carried.worst == pytest.approx(max(errors), abs=0.005), name


# ---- the walk-through of docs/calibration.md


FENCES = ("yaml", "sh")
MS = (1, 16, 128, 1000, 4000, 8000)


def of_a_table(machine):
    """A small table as a GPU with other constants than the file's would give it."""
    true = load_hardware(machine, **{"timing.launch_us": 7.0, "timing.overlap": 0.1})
    sizes = np.array(
        [(m, n, 1024, 1) for n in (256, 512, 1024, 2048, 4096, 8192) for m in MS], float
    )
    times = call_times(true, Call("fp16", library="cublas"), sizes)
    head = (
        "source,gpu,variant,library,sparsity,sparse_operand,dtype_in,dtype_acc,m,n,k,batch,time_us"
    )
    lines = [
        f"mine,RTX 3080,,cublas,dense,,fp16,fp32,{m:.0f},{n:.0f},{k:.0f},1,{time}"
        for (m, n, k, _), time in zip(sizes, times, strict=True)
    ]
    return "\n".join([head + ",in_turn", *(f"{line},0" for line in lines)]) + "\n"


def test_a_new_gpu_is_calibrated_as_the_docs_say(tmp_path, monkeypatch, capsys):
    text = (DOCS / "calibration.md").read_text().partition("## A new GPU in a minute")[2]
    example, commands = (re.search(f"```{kind}\n(.*?)```", text, re.DOTALL)[1] for kind in FENCES)
    monkeypatch.chdir(tmp_path)
    Path("rtx3080.yaml").write_text(example)
    machine = load_hardware("rtx3080.yaml")
    assert machine.unfitted.startswith("unfitted: constants of rtx3090's generation")
    Path("mine.csv").write_text(of_a_table(machine))
    errors = []
    for line in commands.strip().splitlines():
        words = line.partition("#")[0].split()
        more = (
            ["--generations", "5", "--holdouts", "3"]
            if "calibrate" in words
            else ["--format", "json"]
        )
        monkeypatch.setattr(sys, "argv", [*words, *more])
        with contextlib.suppress(SystemExit):
            cli.main()
        said = capsys.readouterr()
        if "validate" in words:
            assert said.out, said.err
            errors.append(json.loads(said.out)["mape"])
    assert errors[1] < 0.5 * errors[0]
    fitted = load_hardware("rtx3080-fitted.yaml")
    assert fitted.calibration.errors[0].held_out_mape < errors[0]
    assert not fitted.unfitted
