"""Learned residuals: what was learned, nothing where nothing was, and the same on both sides?"""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nmsim
from nmsim import cli
from nmsim.errors import MissingExtra, SpecError
from nmsim.extras import extra
from nmsim.gemm import Gemm
from nmsim.machines import HARDWARE, Call, kind_of, load_hardware, residual_path, with_residual
from nmsim.machines import simulate as simulate_gemm
from nmsim.machines.gpu.analytical import BLOCK
from nmsim.mask import SparseGemm
from nmsim.measured import residual
from nmsim.measured.predict import IN_TURN, predict
from nmsim.measured.residual import fit_residual
from nmsim.measured.tables import COLUMNS, read_measured, read_shipped
from nmsim.measured.weight_shapes import held_out
from nmsim.residual.file import read_residual, write_residual
from nmsim.residual.region import MARGIN, Region, sizes_in_octaves
from nmsim.residual.trees import Grown, Histograms, Trees, perfect, predicted

A100 = "a100-sxm4-80gb"
SHIPPED = [name for name in HARDWARE if residual_path(name).is_file()]
HEADER = ",".join(COLUMNS)
CALL = Call("bf16", library="cublas", in_turn=IN_TURN)


def corrected(name=A100):
    return with_residual(load_hardware(name), name)


def factors(name, sizes, call=CALL):
    machine = corrected(name)
    return kind_of(machine).learned.corrected(machine, call, np.array(sizes, float)).factors


def drawn_trees(draw, trees=5, depth=4, features=6):
    nodes = 2**depth - 1
    return Trees(
        draw.integers(0, features, (trees, nodes)).astype(np.uint8),
        draw.normal(size=(trees, nodes)).astype(np.float32),
        draw.normal(size=(trees, nodes + 1)).astype(np.float32),
    )


def walked(trees, row):
    """What all trees say of a row, node by node in plain Python."""
    said = 0.0
    for feature, threshold, leaf in zip(*trees, strict=True):
        at = 0
        while at < len(threshold):
            at = 2 * at + (2 if row[feature[at]] > threshold[at] else 1)
        said += float(leaf[at - len(threshold)])
    return said


@pytest.mark.parametrize(
    ("rows", "depth"), [(1, 4), (3, 4), (7, 4), (1030, 4), (40, 0), (40, 2), (40, 3), (40, 7)]
)
def test_the_kernel_walks_every_tree_as_python_does(rows, depth):
    draw = np.random.default_rng(rows)
    trees = drawn_trees(draw, depth=depth)
    features = draw.normal(size=(rows, 6)).astype(np.float32)
    own = range(0, rows, max(1, rows // 9))
    found = predicted(trees, features)
    assert found[own].tolist() == pytest.approx([walked(trees, features[i]) for i in own])
    assert found[-1] == pytest.approx(walked(trees, features[-1]))


def test_a_grown_tree_says_the_same_once_it_is_perfect():
    # 0: x0 <= 1 ? leaf -2 : (x1 <= 0.1 ? leaf 3 : leaf 5); 0.1 is no number of 32 bits.
    grown = Grown(
        *np.array([[1, -1, 3, -1, -1], [2, -1, 4, -1, -1], [0, -2, 1, -2, -2]]),
        np.array([1.0, -2, 0.1, -2, -2]),
        np.array([0.0, -2, 0, 3, 5]),
    )
    trees = perfect([grown], 3, 0.5)
    rows = np.array([[1, 9], [1.5, 0.1], [1.5, 0.0], [1.5, 0.2]], np.float32)
    # np.float32(0.1) is above 0.1 in 64 bits: on the right, as in the tree that was grown.
    assert predicted(trees, rows).tolist() == [-1.0, 2.5, 1.5, 2.5]


def test_many_gemms_are_told_as_each_of_them_alone():
    """Blocks of rows go to threads, each with its own part of what comes out."""
    draw = np.random.default_rng(1)
    sizes = np.ones((2 * BLOCK + 5, 4))
    sizes[:, :3] = 2 ** np.round(draw.uniform(6, 13, (len(sizes), 3)))
    machine = corrected()
    times, learned = kind_of(machine).routines.times, kind_of(machine).learned.corrected
    many = times(machine, CALL, sizes, "analytical"), *learned(machine, CALL, sizes)
    assert (many[0] == many[1]).all()  # the account's times are the closed form's to the last bit
    for i in (0, 1, BLOCK - 1, BLOCK, 2 * BLOCK, len(sizes) - 1):
        one = sizes[i : i + 1]
        alone = times(machine, CALL, one, "analytical"), *learned(machine, CALL, one)
        assert [found[i] for found in many] == [found[0] for found in alone]


def test_a_region_is_whole_within_its_rows_and_nothing_a_margin_beyond():
    rows = np.array([[m, n, 512, 1] for m in (1, 64, 4096) for n in (128, 1024)], float)
    rows = np.vstack([rows, [[4096, 8192, 64, 1]]])
    region = Region.of(sizes_in_octaves(rows))
    steps = np.linspace(0, 2 * MARGIN, 41)
    past = np.array([[4096 * 2**step, 128, 512, 1] for step in steps])
    weights = region.weight(sizes_in_octaves(past))
    assert (region.weight(sizes_in_octaves(rows)) == 1).all()
    assert (np.diff(weights) <= 0).all()
    assert weights[0] == 1
    assert np.abs(np.diff(weights)).max() < 0.1  # smooth: no step takes a tenth of it
    assert (weights[steps >= MARGIN] == 0).all()
    assert (weights[steps < 0.9 * MARGIN] > 0).all()
    # Within the box of M, N, K and yet beyond: no row is long, wide and deep at once.
    corner = sizes_in_octaves(np.array([[4096, 8192, 512, 1.0]]))
    assert region.weight(corner).tolist() == [0]


def test_a_file_holds_what_was_written_and_the_same_bytes(tmp_path):
    whole = read_residual(residual_path(A100))
    for name in ("one", "two"):
        write_residual(tmp_path / f"{name}.residual.npz", whole)
    one, two = (tmp_path / f"{name}.residual.npz" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    again = read_residual(one)
    assert again.report == whole.report
    assert again.features == whole.features
    for dtype, mine in again.corrections.items():
        for left, right in zip(mine.trees, whole.corrections[dtype].trees, strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda arrays: arrays.pop("bf16.leaf"),
        lambda arrays: arrays.pop("about"),
        lambda arrays: arrays.update({"bf16.leaf": arrays["bf16.leaf"][:, :-1]}),
        lambda arrays: arrays.update({"bf16.leaf": arrays["bf16.leaf"] * np.nan}),
        lambda arrays: arrays.update({"bf16.feature": arrays["bf16.feature"] + 200}),
        lambda arrays: arrays.update({"about": np.array([{}], object)}),
        lambda arrays: arrays.update({"about": np.array('{"schema": 9}')}),
    ],
)
def test_a_spoilt_file_is_one_line_that_names_it(tmp_path, spoil):
    arrays = dict(np.load(residual_path(A100)))
    spoil(arrays)
    path = tmp_path / "x.residual.npz"
    np.savez(path, **arrays)
    with pytest.raises(SpecError, match=r"x\.residual\.npz: expected a residual as") as caught:
        read_residual(path)
    assert "\n" not in str(caught.value)
    path.write_bytes(b"no archive")
    with pytest.raises(SpecError, match="expected a residual as"):
        read_residual(path)


def test_the_gpus_with_tables_of_many_dense_gemms_ship_one():
    assert SHIPPED == [A100, "h100-sxm", "h200", "l40s"]


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("most", [2_000, pytest.param(10**9, marks=pytest.mark.slow)])
def test_a_shipped_residual_is_small_and_does_what_its_report_says(name, most):
    path = residual_path(name)
    residual = read_residual(path)
    assert path.stat().st_size < 2**20
    assert residual.report["shapes"] == "calibration"
    machine = corrected(name)  # its probe holds: the physics is what it was fitted to
    for dtype, errors in residual.report["errors"].items():
        call = replace(CALL, dtype=dtype, library=residual.corrections[dtype].library)
        for one in (one for one in errors if one["rows"] < most):
            assert one["residual_mape"] < one["physics_mape"]
            with_it, without = judged(machine, call, one)
            assert with_it == pytest.approx(one["residual_mape"], rel=1e-3)
            assert without == pytest.approx(one["physics_mape"], rel=1e-3)


def judged(machine, call, one):
    """Mean errors of a table's dense rows of one side of the hold-out, with a residual and not."""
    kind, rows = kind_of(machine), read_shipped(one["file"].partition(".")[0])
    dense = [r.dtype_in == call.dtype and r.sparsity == "dense" for r in rows.routines]
    own = np.array(dense)[rows.routine_of]
    own &= held_out(*rows.sizes[:, 1:3].T) == (one["shapes"] == "held out")
    sizes = rows.sizes[own]
    ratio = kind.routines.times(machine, call, sizes, "analytical") / rows.time_us[own]
    with_it = ratio * kind.learned.corrected(machine, call, sizes).factors
    return (float(np.abs(both - 1).mean()) for both in (with_it, ratio))


def test_the_docs_have_the_figures_of_the_reports():
    text = Path(__file__).parents[1].joinpath("docs/residual.md").read_text(encoding="utf-8")
    for name in SHIPPED:
        for errors in read_residual(residual_path(name)).report["errors"].values():
            for one in errors:
                before, after = (
                    f"{100 * one[key]:.1f}" for key in ("physics_mape", "residual_mape")
                )
                table = one["file"].partition(".")[0]
                held = f"| {table} | {one['rows']:,} | {before} | {after} | "
                seen = rf"\| {table} \|.*\| {before} → {after} \|"
                assert held in text if one["shapes"] == "held out" else re.search(seen, text)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize(
    "size",
    [
        (10**6, 4096, 4096, 1),
        (8192, 2**18, 4096, 1),
        (512, 1024, 2**18, 1),
        (64, 64, 2, 1),
        (4096, 65536, 65536, 1),  # each size is in the data, their product is not
        (512, 1024, 1024, 8),  # several GEMMs in one launch
    ],
)
def test_beyond_the_data_there_is_the_physics(name, size):
    assert factors(name, [size]).tolist() == [1.0]


def test_nothing_is_corrected_that_was_not_learned():
    size = [(512, 4096, 4096, 1)]
    assert factors(A100, size)[0] != 1
    for other in (
        replace(CALL, dtype="fp16"),
        replace(CALL, pattern=nmsim.Pattern(2, 4), sparse_operand="b", library="cusparselt"),
        replace(CALL, kernel="128x128x32_5"),
        replace(CALL, pattern=nmsim.Pattern(4, 8), sparse_operand="b"),  # runs dense, by cublas
    ):
        assert factors(A100, size, other).tolist() == [1.0]


def test_a_convolution_is_not_corrected():
    gemm = Gemm(512, 4096, 4096, kind="conv")
    result = simulate_gemm(corrected(), SparseGemm.dense(gemm), "analytical")
    assert result.own["residual_factor"] == 1


def test_no_corrected_time_is_shorter_than_bytes_and_macs_allow(tmp_path):
    whole = read_residual(residual_path(A100))
    one = whole.corrections["bf16"]
    trees = one.trees._replace(leaf=np.full_like(one.trees.leaf, -0.1))  # e^-20 of the time
    path = tmp_path / "bold.residual.npz"
    write_residual(path, replace(whole, corrections={"bf16": replace(one, trees=trees)}))
    machine = load_hardware(A100)
    kind = kind_of(machine)
    bold = kind.learned.attach(machine, path)
    sizes = np.array([[4096, 4096, 4096, 1], [1, 4096, 4096, 1], [64, 128, 65536, 1.0]])
    times = kind.routines.times(machine, CALL, sizes, "analytical")
    found = times * kind.learned.corrected(bold, CALL, sizes).factors
    least = kind.routines.least(machine, CALL, sizes)
    assert found == pytest.approx(np.maximum(least, times * np.exp(-20)))
    assert (found < times).all()


def both(model="gemm:512x4096x4096", **said):
    run = {"hardware": A100, "fidelity": "analytical", "recipe": "asp", **said}
    return (nmsim.simulate(model, residual=on, **run) for on in (True, False))


def test_a_speedup_is_of_the_same_treatment_on_both_sides():
    with_it, without = both()
    row = with_it.iloc[0]
    assert row["residual"] == A100
    assert row["residual_factor"] != 1
    assert row["speedup"] == pytest.approx(without["speedup"][0], rel=1e-4)
    assert row["cycles"] == round(without["cycles"][0] * row["residual_factor"])
    assert row["dense_cycles"] == round(without["dense_cycles"][0] * row["residual_factor"])
    assert row["compute_cycles"] + row["stall_cycles"] == row["cycles"]
    assert without["residual"][0] == ""
    assert np.isnan(without["residual_factor"][0])


def test_dense_totals_do_not_depend_on_the_recipe():
    dense, masked = (next(both(recipe=recipe))["dense_cycles"][0] for recipe in ("dense", "asp"))
    assert dense == masked


def test_a_row_beyond_the_data_is_the_physics_and_names_the_residual():
    with_it, without = both("gemm:1000000x4096x4096", recipe="dense")
    assert with_it["cycles"][0] == without["cycles"][0]
    assert (with_it["residual"][0], with_it["residual_factor"][0]) == (A100, 1.0)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            {"fidelity": "cycle"},
            "a residual corrects the closed form, expected fidelity analytical",
        ),
        ({"hardware": "v100"}, r"v100: no learned residual of it \(v100.residual.npz\)"),
        ({"hardware": "systolic-128x128-2to4"}, "no learned residual of it"),
        (
            {"overrides": {"dram.gbps": 900}},
            "was fitted to other constants than a100-sxm4-80gb has",
        ),
    ],
)
def test_a_residual_that_does_not_fit_is_refused(said, why):
    with pytest.raises(SpecError, match=why):
        next(both(**said))


def test_a_residual_that_a_field_names_is_held_to_the_same():
    own = {"residual": str(residual_path(A100))}
    run = {"hardware": A100, "fidelity": "analytical", "recipe": "asp"}
    named = nmsim.simulate("gemm:512x4096x4096", overrides=own, **run)
    assert named["cycles"].tolist() == next(both())["cycles"].tolist()
    for change, why in (
        ({"dram.gbps": 900}, "was fitted to other constants"),
        ({"residual": str(residual_path("h200"))}, "fitted to other constants|does not have"),
    ):
        with pytest.raises(SpecError, match=why):
            nmsim.simulate("gemm:512x4096x4096", overrides={**own, **change}, **run)


def test_validate_tells_both_errors_and_writes_what_was_asked_for(monkeypatch, tmp_path, capsys):
    lines = [HEADER]
    lines += [
        f"me,A100,SXM4-80GB,cublas,dense,,bf16,fp32,{m},4096,4096,1,{time}"
        for m, time in ((64, 31.0), (512, 98.0), (10**6, 160000.0))
    ]
    lines.append("me,A100,SXM4-80GB,cusparselt,2:4,B,bf16,fp32,512,4096,4096,1,70")
    path, out = tmp_path / "t.csv", tmp_path / "p.csv"
    path.write_text("\n".join(lines) + "\n")
    shown = []
    for flag in ([], ["--residual"]):
        argv = [
            "nmsim",
            "validate",
            str(path),
            "--format",
            "json",
            "--predictions",
            str(out),
            *flag,
        ]
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code
        times = [float(line.rsplit(",", 1)[1]) for line in out.read_text().splitlines()[1:]]
        shown.append((json.loads(capsys.readouterr().out), np.array(times)))
    (plain, physics), (asked, learned) = shown
    own = factors(A100, [(64, 4096, 4096, 1), (512, 4096, 4096, 1), (10**6, 4096, 4096, 1)])
    assert learned[:3] == pytest.approx(physics[:3] * own)
    assert own[2] == 1
    assert own[0] != 1
    assert learned[3] == physics[3]
    measured = np.array([31.0, 98, 160000])
    assert plain["residual"] == asked["residual"]
    assert plain["residual"]["rows"] == 3
    ape = np.abs(learned[:3] / measured - 1).mean()
    assert plain["residual"]["mape"] == pytest.approx(ape)
    assert plain["residual"]["physics"]["mape"] == pytest.approx(
        np.abs(physics[:3] / measured - 1).mean()
    )
    assert plain["mape"] != asked["mape"]
    assert plain["speedup"] == asked["speedup"]  # physics on both sides
    dense = next(g for g in plain["groups"] if (g["by"], g["group"]) == ("sparsity", "dense"))
    assert dense["residual_mape"] == pytest.approx(ape)
    sparse = next(g for g in plain["groups"] if (g["by"], g["group"]) == ("sparsity", "2:4"))
    assert sparse["residual_mape"] is None


def test_validate_refuses_a_residual_where_none_corrects(tmp_path):
    files = [read_shipped("rtx3090-vnm-fp16")]
    with pytest.raises(SpecError, match="residual: expected dense rows of which one was learned"):
        predict(files, residual=True)
    path = tmp_path / "t.csv"
    path.write_text(f"{HEADER}\nme,A100,SXM4-80GB,cublas,dense,,bf16,fp32,64,64,64,1,3\n")
    with pytest.raises(SpecError, match="expected fidelity analytical, not cycle"):
        predict([read_measured(path)], fidelity="cycle", residual=True)


def test_a_residual_stands_beside_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "based_on: a100-sxm4-80gb\nsummary: mine\n"
        f"source: {'as the machine that it is based on, to be fitted anew ' * 3}\n"
    )
    with pytest.raises(SpecError, match=r"mine.residual.npz\), expected one beside its file"):
        next(both(hardware=path))
    (tmp_path / "mine.residual.npz").write_bytes(residual_path(A100).read_bytes())
    assert next(both(hardware=path))["residual"][0] == "mine"


# What needs scikit-learn: fits of a few rows, or slow.


@pytest.fixture
def sklearn(monkeypatch):
    """The library, and a seventh of the trees: what is asserted holds of few as of many."""
    found = pytest.importorskip("sklearn.tree")
    for name, trees, rate in (("ALONE", 60, 0.1), ("HALF", 30, 0.2), ("BEST", 30, 0.2)):
        fewer = getattr(residual, name)._replace(trees=trees, rate=rate)
        monkeypatch.setattr(residual, name, fewer)
    return found


def table(name="a100-dense-bf16", shuffle=None, keep=None):
    rows = read_shipped(name)
    times = rows.time_us
    if shuffle is not None:
        machine = load_hardware(A100)
        physics = kind_of(machine).routines.times(machine, CALL, rows.sizes, "analytical")
        left = np.log(times / physics)
        left -= np.median(left)  # a constant would be learned, and rightly so
        times = physics * np.exp(np.random.default_rng(shuffle).permutation(left))
    return replace(rows, time_us=times)


def test_without_the_library_a_fit_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "nmsim.measured.boosting", raising=False)
    monkeypatch.setitem(sys.modules, "sklearn.tree", None)
    with pytest.raises(MissingExtra, match=r"scikit-learn: pip install 'nmsim\[calibrate\]'"):
        fit_residual(load_hardware(A100), [table()])


@pytest.mark.slow
def test_trees_of_the_best_thresholds_say_what_the_library_says_of_them():
    ensemble = pytest.importorskip("sklearn.ensemble")
    boosting = extra("calibrate", "nmsim.measured.boosting")
    draw = np.random.default_rng(2)
    features = draw.normal(size=(300, 5)).astype(np.float32)
    target = features[:, 0] * features[:, 1] + 7
    growth = Histograms(trees=6, depth=4, leaves=9, rate=0.5, share=1.0, least=5, penalty=1.0)
    trees = perfect(boosting.grow_by_histograms(features, target, np.ones(300), growth, 3), 4, 0.5)
    own = ensemble.HistGradientBoostingRegressor(
        loss="absolute_error",
        max_iter=6,
        max_depth=4,
        learning_rate=0.5,
        max_leaf_nodes=9,
        min_samples_leaf=5,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=3,
    ).fit(features, target, sample_weight=np.ones(300))
    assert 2 * predicted(trees, features) == pytest.approx(own.predict(features), rel=1e-5)
    assert np.abs(own.predict(features) - target).mean() < np.abs(target - 7).mean()


def test_few_rows_are_too_few():
    with pytest.raises(SpecError, match=r"expected 100 dense rows or more .* found fp16"):
        fit_residual(load_hardware(A100), [read_shipped("a100-2to4-fp16")])


@pytest.mark.slow
@pytest.mark.usefixtures("sklearn")
@pytest.mark.parametrize("seed", [0, 1])
def test_shuffled_targets_give_no_gain(seed):
    with pytest.raises(SpecError, match="nothing was learned") as caught:
        fit_residual(load_hardware(A100), [table(shuffle=seed)])
    learned, physics = map(float, re.findall(r"([0-9.]+)%", str(caught.value)))
    assert learned > 0.98 * physics


@pytest.mark.slow
@pytest.mark.usefixtures("sklearn")
def test_a_fit_sees_no_row_of_a_held_out_weight_shape():
    rows = table()
    held = held_out(*rows.sizes[:, 1:3].T)
    other = replace(rows, time_us=np.where(held, rows.time_us * 0.99, rows.time_us))
    one, two = (fit_residual(load_hardware(A100), [t]).corrections["bf16"] for t in (rows, other))
    for left, right in zip(one.trees, two.trees, strict=True):
        np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(one.region.points, two.region.points)


@pytest.mark.slow
@pytest.mark.usefixtures("sklearn")
@pytest.mark.parametrize("way", residual.WAYS)
def test_trees_are_grown_in_the_way_that_misses_less_on_calibration_shapes(way, monkeypatch):
    monkeypatch.setattr(residual, "_missed", lambda *asked: float(asked[3] != way))
    found = fit_residual(load_hardware(A100), [table()])
    assert found.report["of"] == {"bf16": way}
    most = kind_of(load_hardware(A100)).learned.account
    assert (found.corrections["bf16"].trees.feature.max() < most) == (way == "account")


@pytest.mark.slow
@pytest.mark.usefixtures("sklearn")
def test_a_second_run_that_is_slower_does_not_slow_the_first():
    rows = table()
    slow = replace(rows, time_us=rows.time_us * 1.1, file="slow.csv")
    machine = load_hardware(A100)
    alone, beside = fit_residual(machine, [rows]), fit_residual(machine, [rows, slow])
    assert {one["run"] for one in beside.report["errors"]["bf16"]} == {0, 1}
    features, where, _ = kind_of(machine).learned.describe(machine, CALL, rows.sizes)
    one, two = (r.corrections["bf16"].factors(features, where) for r in (alone, beside))
    assert abs(np.log(two / one).mean()) < 0.01  # 10% slower rows, as many, would be 5%


@pytest.mark.slow
@pytest.mark.usefixtures("sklearn")
def test_calibrate_writes_a_residual_that_simulate_takes(monkeypatch, tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "based_on: a100-sxm4-80gb\nsummary: mine\n"
        f"source: {'as the machine that it is based on, to be fitted anew ' * 3}\n"
    )
    csv = Path(nmsim.measured.__file__).parent / "a100-dense-bf16.csv"
    argv = ["nmsim", "calibrate", str(csv), "--hardware", str(path), "--residual"]
    for again in (False, True):
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        shown = capsys.readouterr()
        assert bool(stop.value.code) == again, shown.err
    assert "expected --overwrite" in shown.err
    assert next(both(hardware=path))["residual_factor"][0] != 1
