"""Do fits find the constants that made the times, and say how well they do?"""

import sys
from importlib.resources import files
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import differential_evolution

from nmsim import cli
from nmsim.cli.commands import fitting
from nmsim.errors import MissingExtra, SpecError
from nmsim.machines import HARDWARE, Call, load_hardware
from nmsim.machines.fit import Calibration
from nmsim.machines.gpu.routines import call_times
from nmsim.measured.calibrate import MeasuredRoutine, calibrate, write_machine
from nmsim.measured.minimiser import least
from nmsim.measured.tables import COLUMNS
from nmsim.pattern import Pattern
from nmsim.spec import edit_yaml, field_keys, override, read_yaml

A100 = "a100-sxm4-80gb"
SHAPES = [(n, k) for n, k in product((96, 512, 1536, 4096, 8192), (128, 1024, 5120, 16384))]
SIZES = np.array([(m, n, k, 1) for n, k in SHAPES for m in (1, 24, 250, 1100, 4000)], float)
DENSE = Call("bf16", library="cublas")


EIGHT = tuple(
    f"timing.{name}"
    for name in (
        "launch_us",
        "load_us",
        "wave_us",
        "reduce_us",
        "overlap",
        "store_bytes_per_clk",
        "write_gbps",
        "throttle",
    )
)


def a100(**fields):
    """The A100 with the constants of its dense 16-bit GEMMs marked as fitted."""
    return load_hardware(A100, **{"fitted": EIGHT, **fields})


def synthetic(machine, call=DENSE, sizes=SIZES, noise=0.0):
    times = call_times(machine, call, sizes)
    return MeasuredRoutine(
        call, sizes, times * np.exp(noise * np.random.default_rng(5).normal(size=len(sizes)))
    )


def rosenbrock(x):
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def staircase(x):
    return float(np.ceil(20 * np.abs(x - 0.7)).sum())


def search(function, start, **options):
    usual = {"step": 0.5, "generations": 400, "tolerance": 1e-9, "seed": 1}
    return least(function, np.array(start, float), **(usual | options))


def test_search_finds_the_bottom_of_a_curved_valley():
    found = search(rosenbrock, [-1.2, 1, -1, 0.5])
    assert np.allclose(found.point, 1, atol=1e-4)


def test_search_learns_how_coordinates_go_together():
    # A valley 1000 times longer than wide, along no axis: without learning it takes ages.
    axes = np.linalg.qr(np.random.default_rng(3).normal(size=(8, 8)))[0]
    stiffness = np.logspace(0, 6, 8)
    found = search(lambda x: float(stiffness @ (axes @ x) ** 2), np.ones(8), generations=600)
    assert found.value < 1e-9


def test_search_finds_the_bottom_of_stairs_as_scipy_does():
    found = search(staircase, [3.0, -2.0, 1.0])
    other = differential_evolution(staircase, [(-4, 4)] * 3, rng=1, polish=False)
    assert found.value == other.fun


def test_search_repeats_itself_and_counts_its_evaluations():
    seen = []
    first = search(lambda x: seen.append(x) or rosenbrock(x), [0, 0], generations=30)
    second = search(rosenbrock, [0, 0], generations=30)
    assert np.array_equal(first.point, second.point)
    assert first.evaluations == len(seen)
    assert not np.array_equal(first.point, search(rosenbrock, [0, 0], generations=30, seed=2).point)


def test_search_stops_once_it_no_longer_spreads():
    assert search(rosenbrock, [0.0], tolerance=1e-3).evaluations < 400
    assert search(lambda x: float(x @ x), [1.0], tolerance=1e-3).value < 1e-4


def test_any_seed_is_a_seed_of_its_own():
    # The library's generator takes 32 bits: no seed may be refused, or fall onto another.
    seeds = (0, 1, 2**32, 2**32 + 1, 2**70)
    found = [search(rosenbrock, [0, 0], generations=5, seed=seed).point for seed in seeds]
    assert len(np.unique(found, axis=0)) == len(seeds)


def test_search_never_ends_above_its_start():
    assert search(lambda x: float(np.any(x != 1)), [1.0, 1.0], generations=3).value == 0


@pytest.fixture
def no_cmaes(monkeypatch):
    monkeypatch.delitem(sys.modules, "nmsim.measured.minimiser")
    monkeypatch.setitem(sys.modules, "cmaes", None)


@pytest.mark.usefixtures("no_cmaes")
def test_a_fit_without_the_library_says_what_to_install():
    with pytest.raises(MissingExtra, match=r"pip install 'nmsim\[calibrate\]'") as caught:
        calibrate(a100(), [synthetic(a100())], source="made", holdouts=2)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_fit_recovers_known_constants_from_any_start(seed):
    true = a100()
    shifts = np.random.default_rng(seed).normal(0, 0.4, len(true.fitted))
    start = load_hardware(true, **{
        path: float(true.timing.model_dump()[path.partition(".")[2]] * np.exp(shift))
        for path, shift in zip(true.fitted, shifts, strict=True)
    })  # fmt: skip
    fitted = calibrate(start, [synthetic(true)], source="made", holdouts=2, seed=seed)
    for path in ("launch_us", "load_us", "reduce_us", "overlap", "store_bytes_per_clk"):
        assert getattr(fitted.timing, path) == pytest.approx(getattr(true.timing, path), rel=0.03)
    overall = fitted.calibration.errors[0]
    assert overall.mape < 0.003
    assert overall.held_out_mape < 0.02
    assert fitted.timing.throttle_us == true.timing.throttle_us  # not listed


@pytest.fixture(scope="module")
def fitted():
    noisy = synthetic(a100(**{"timing.launch_us": 4.0}), noise=0.05)
    return calibrate(a100(), [noisy], source="made", holdouts=2, generations=20)


def test_report_adds_up(fitted):
    report = fitted.calibration
    overall, *classes = report.errors
    assert overall.time == "all"
    assert overall.rows == report.rows == len(SIZES) == sum(one.rows for one in classes)
    mean = sum(one.rows * one.held_out_mape for one in classes) / overall.rows
    assert overall.held_out_mape == pytest.approx(mean, rel=1e-3)
    assert overall.mape == pytest.approx(0.04, abs=0.01)  # mean size of 5% noise
    assert report.weight_shapes == len(SHAPES)
    assert [one.path for one in report.constants] == list(fitted.fitted)
    launch = report.constants[0]
    assert launch.start == 3.03
    assert launch.value == fitted.timing.launch_us == pytest.approx(4.0, rel=0.05)
    assert launch.low <= launch.value * 1.05
    assert launch.high >= launch.value * 0.95


def test_held_out_rows_are_not_fitted():
    # Matrix-vector rows of one weight shape alone know the constant: held out, it stays as it was.
    path = "libraries.cutlass-int8-sm80.timing.gemv_gbps"
    true = a100(**{path: 1700.0})  # device memory has 1769
    start = a100(**{"fitted": (path,), path: 1300.0})
    call = Call("int8", library="cutlass")
    vector = (SIZES[:, 0] == 1) & (SIZES[:, 1] == 4096) & (SIZES[:, 2] == 5120)
    sizes = np.concatenate([SIZES[SIZES[:, 0] > 1], SIZES[vector], SIZES[vector]])  # timed twice
    fitted = calibrate(start, [synthetic(true, call, sizes)], source="made", generations=30)
    (constant,) = fitted.calibration.constants
    assert constant.value == pytest.approx(1700, rel=0.01)
    assert constant.low == pytest.approx(1300, rel=0.01)
    assert constant.high == pytest.approx(1700, rel=0.01)
    late = call_times(start, call, SIZES[vector]) / call_times(true, call, SIZES[vector]) - 1
    assert late[0] > 0.1
    overall = fitted.calibration.errors[0]
    assert overall.mape < 1e-4
    assert overall.held_out_mape == pytest.approx(2 * late[0] / len(sizes), rel=0.05)


@pytest.mark.slow
def test_weight_shapes_are_held_out_whole():
    # One weight shape takes ten times as long: only its own fold may not know.
    rows = synthetic(a100())
    odd = (SIZES[:, 1] == 8192) & (SIZES[:, 2] == 16384)
    times = np.where(odd, rows.times_us * 10, rows.times_us)
    report = calibrate(
        a100(), [MeasuredRoutine(DENSE, SIZES, times)], source="made", holdouts=20, generations=2
    ).calibration
    assert report.errors[0].held_out_mape == pytest.approx(0.9 * odd.mean(), rel=0.1)


@pytest.mark.slow
def test_fit_repeats_itself(fitted):
    noisy = synthetic(a100(**{"timing.launch_us": 4.0}), noise=0.05)
    halves = [
        MeasuredRoutine(DENSE, noisy.sizes[part], noisy.times_us[part])
        for part in (slice(40), slice(40, None))
    ]
    again = calibrate(a100(), halves, source="made", holdouts=2, generations=20)
    assert again == fitted


def test_constants_of_a_library_are_fitted_by_its_name():
    true = load_hardware(
        A100,
        **{
            "libraries.cusparselt-sm80.timing.load_us": 1.5,
            "libraries.cusparselt-sm80.efficiency": 0.8,
        },
    )
    start = load_hardware(
        A100,
        fitted=(
            "timing.gemv_gbps",
            "libraries.cusparselt-sm80.timing.load_us",
            "libraries.1.efficiency",
        ),
    )
    call = Call("fp16", Pattern(2, 4), "b", "cusparselt")
    sizes = SIZES[SIZES[:, 0] > 1]
    found = calibrate(
        start, [synthetic(true, call, sizes)], source="made", holdouts=2, generations=40
    )
    assert found.calibration.idle == ("timing.gemv_gbps",)
    assert found.timing == start.timing
    assert found.libraries[1].timing.load_us == pytest.approx(1.5, rel=0.02)
    assert found.libraries[1].efficiency == pytest.approx(0.8, rel=0.02)
    assert found.calibration.constants[0].start == start.timing.load_us  # null in the file


def test_file_keeps_its_comments_and_gains_values_and_report(fitted, tmp_path):
    original = HARDWARE.path(A100)
    out = tmp_path / "mine.yaml"
    write_machine(original, fitted, out)
    old, new = original.read_text().splitlines(), out.read_text().splitlines()
    changed = [line for line in old if line not in new]
    assert len(changed) <= len(fitted.fitted)
    assert all(line.startswith("  ") for line in changed)
    again = load_hardware(out)
    assert again.timing == fitted.timing
    assert again.calibration == fitted.calibration
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
    write_machine(out, fitted, out, overwrite=True)
    assert out.read_text().splitlines() == new


def test_file_gains_a_field_that_it_left_out(tmp_path, fitted):
    constant = fitted.calibration.constants[0].model_copy(
        update={"path": "libraries.cublas-sm80.timing.load_us", "value": 0.5}
    )
    report = fitted.calibration.model_copy(update={"constants": (constant,)})
    machine = fitted.model_copy(update={"calibration": report})
    write_machine(HARDWARE.path(A100), machine, tmp_path / "mine.yaml")
    assert load_hardware(tmp_path / "mine.yaml").libraries[0].timing.load_us == 0.5


def test_file_of_the_start_is_not_overwritten(fitted, tmp_path):
    original = tmp_path / "a.yaml"
    original.write_text(HARDWARE.path(A100).read_text())
    (tmp_path / "link.yaml").symlink_to(original)
    for out in (original, tmp_path / "link.yaml"):
        with pytest.raises(SpecError, match="expected another file"):
            write_machine(original, fitted, out)
    assert original.read_text() == HARDWARE.path(A100).read_text()
    with pytest.raises(SpecError, match="nothing to write"):
        write_machine(original, a100(), tmp_path / "new.yaml")


@pytest.mark.parametrize(
    ("hardware", "fields", "message"),
    [
        ("systolic-128x128", {}, "marks no field as fitted"),
        (A100, {"fitted": ()}, "marks no field as fitted"),
        (A100, {"fitted": ("timing.lunch_us",)}, "did you mean 'launch_us'"),
        (A100, {"fitted": ("libraries.cublas.efficiency",)}, "are called 'cublas'"),
        (A100, {"fitted": ("libraries.99.efficiency",)}, "unknown entry '99'"),
        (A100, {"fitted": ("sms",)}, "expected a number that may vary"),
        (A100, {"fitted": ("summary",)}, "expected a number that may vary"),
        (A100, {"fitted": ("timing.load_us", "timing.load_us")}, "twice"),
        (A100, {"fitted": ("timing.load_us",), "timing.load_us": 0.0}, "expected a start above 0"),
        (
            A100,
            {"fitted": ("libraries.cusparselt-sm80.timing.load_us",)},
            "no measured row depends",
        ),
    ],
)
def test_machine_that_cannot_be_fitted_is_refused_in_one_line(hardware, fields, message):
    rows = synthetic(a100())
    with pytest.raises(SpecError, match=message) as caught:
        calibrate(load_hardware(hardware, **fields), [rows], source="made")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("report", [7, ["folds"], "as before"])
def test_a_report_that_is_none_is_refused_in_one_line(report):
    with pytest.raises(SpecError, match=r"calibration is .*, expected fields and their values"):
        load_hardware(A100, calibration=report)


def test_a_report_may_call_its_holdouts_folds():
    """Earlier versions did."""
    counts = {"rows": 40, "weight_shapes": 8, "seed": 0, "evaluations": 1}
    lists = {"constants": (), "errors": ()}
    report = {"measured": "m", "method": "m", "folds": 4, **counts, **lists}
    assert Calibration.model_validate(report).holdouts == 4


def test_too_few_rows_are_refused():
    def fit(kept, **options):
        rows = synthetic(a100(), sizes=SIZES[kept])
        calibrate(a100(), [rows], source="made", **options)

    with pytest.raises(SpecError, match="expected 40 or more for 8 fitted fields"):
        fit(slice(0, 45))
    with pytest.raises(SpecError, match=r"expected 5 weight shapes \(n, k\) or more"):
        fit(slice(0, 20))
    with pytest.raises(SpecError, match="holdouts is 1"):
        fit(slice(None), holdouts=1)
    for rows in ([], [MeasuredRoutine(DENSE, SIZES, np.zeros(len(SIZES)))]):
        with pytest.raises(SpecError, match="expected measured rows with times above 0"):
            calibrate(a100(), rows, source="made")


DOCUMENT = {
    "list": [{"name": "x", "kind": "same"}, {"name": "y", "kind": "same", "at": {"deep": 1}}],
    "plain": [1, 2],
}


def test_entry_of_a_list_stands_under_position_or_text():
    assert field_keys(DOCUMENT, "list.y.at.deep") == field_keys(DOCUMENT, "list.1.at.deep")
    assert override(DOCUMENT, "list.y.at.deep", 2)["list"][1]["at"] == {"deep": 2}
    assert override(DOCUMENT, "list.x.at.deep", 2)["list"][0]["at"] == {"deep": 2}
    assert override(DOCUMENT, "plain.1", 5)["plain"] == [1, 5]
    assert DOCUMENT["list"][1]["at"] == {"deep": 1}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("list.same.name", "entries 0, 1 are called 'same', expected a position"),
        ("list.z.name", "unknown entry 'z'"),
        ("plain.2", "unknown entry '2'"),
        ("list..name", "single dots"),
    ],
)
def test_entry_that_is_not_there_is_refused(path, message):
    for read in (lambda: field_keys(DOCUMENT, path), lambda: override(DOCUMENT, path, 1)):
        with pytest.raises(SpecError, match=message):
            read()


def test_edit_keeps_quotes_and_comments(tmp_path):
    file = Path(tmp_path / "a.yaml")
    file.write_text('# why\nnative: ["2:4"]  # two\nlist:\n  - {a: 1}\n')
    edited = edit_yaml(file, lambda document: document.update(list=[]))
    assert edited == '# why\nnative: ["2:4"]  # two\nlist: []\n'
    assert read_yaml(file)["list"] == [{"a": 1}]


@pytest.mark.parametrize("option", [("--generations", 0), ("--holdouts", 1), ("--seed", -1)])
def test_a_search_of_nothing_is_refused(option, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ("m.csv", "--hardware", "a100-sxm4-80gb", "--out", "o.yaml", *map(str, option))
    monkeypatch.setattr(sys, "argv", ["nmsim", "calibrate", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert option[0] in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("all_shapes", [False, True])
def test_the_command_fits_to_possible_rows_of_calibration_shapes(tmp_path, capsys, all_shapes):
    row = "me,A100,SXM4-80GB,cublas,dense,,bf16,fp32,4096,1024,{},1,{},{},{}"
    rows = [row.format(512, 50, "free", ""), row.format(512, 70, "sustained", 20)]
    rows += [row.format(768, 60, "free", ""), row.format(512, 1, "free", "")]
    path = tmp_path / "t.csv"
    path.write_text("\n".join([",".join([*COLUMNS, "conditions", "host_us"]), *rows, ""]))
    found = fitting._measured(a100(), [path], all_shapes=all_shapes)
    told = capsys.readouterr().err
    assert "line 5: time_us is 1, but at the peak rate" in told
    assert "left out" in told
    assert [(rows.conditions, rows.times_us.tolist()) for rows in found] == [
        ("free", [50.0, 60.0] if all_shapes else [50.0]),
        ("sustained", [50.0]),
    ]


def test_rows_under_sustained_load_are_fitted_at_the_clock_that_they_had():
    true = a100(**{"timing.sustained_throttle": 0.2})
    sizes = SIZES[SIZES[:, 0] > 1]
    times = call_times(true.under("sustained"), DENSE, sizes)
    start = load_hardware(true, fitted=("timing.sustained_throttle",))
    start = load_hardware(start, **{"timing.sustained_throttle": 0.05})
    rows = MeasuredRoutine(DENSE, sizes, times, "sustained")
    fitted = calibrate(start, [rows], source="made", holdouts=2, generations=30)
    assert fitted.timing.sustained_throttle == pytest.approx(0.2, rel=0.02)


@pytest.mark.usefixtures("no_cmaes")
def test_the_command_without_the_library_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table = files("nmsim") / "measured" / "a100-dense-bf16.csv"
    arguments = (str(table), "--hardware", A100, "--out", "o.yaml")
    monkeypatch.setattr(sys, "argv", ["nmsim", "calibrate", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "pip install 'nmsim[calibrate]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
