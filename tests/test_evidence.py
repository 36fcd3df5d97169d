"""Where answers stand: near measured GEMMs, within them or beyond, and is the word earned?"""

import json
import re
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nmsim
from nmsim import cli
from nmsim.errors import SpecError
from nmsim.evidence.file import beside, differing, read_evidence, write_evidence
from nmsim.evidence.standing import (
    BEYOND,
    ELSEWHERE,
    FEW,
    NEAR,
    NEAR_SIZE,
    OUTSIDE,
    SIZE,
    STANDINGS,
    Places,
    worst,
)
from nmsim.gemm import Gemm
from nmsim.machines import HARDWARE, Call, kind_of, load_hardware
from nmsim.machines import simulate as simulate_gemm
from nmsim.machines.attention import AttentionCalls
from nmsim.machines.gpu import evidence as of_gpus
from nmsim.machines.gpu.routines import call_times
from nmsim.mask import SparseGemm
from nmsim.measured.evidence.earned import earned, order
from nmsim.measured.evidence.gather import evidence_of, gather
from nmsim.measured.predict import IN_TURN, shipped
from nmsim.measured.tables import COLUMNS, read_measured, read_shipped, shipped_path
from nmsim.report.evidence import evidence_said
from nmsim.result import totals

A100, H100 = "a100-sxm4-80gb", "h100-sxm"
SHIPPED = [name for name in HARDWARE if beside(HARDWARE.path(name)).is_file()]
CALL = Call("bf16", library="cublas")


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command, and give what it printed on standard output, or on error."""

    def run(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["nmsim", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        shown = capsys.readouterr()
        assert (stop.value.code or 0) == code, shown.err
        return shown.err if code else shown.out

    return run


def tables_of(name):
    """The shipped tables of a machine; of one that has a single table, without the others."""
    return [read_shipped("rtx3090-vnm-fp16")] if name == "rtx3090" else shipped(name)[0]


def words(name, sizes, call=CALL, **fields):
    machine = load_hardware(name, **fields)
    return evidence_of(machine).standings(machine, call, np.array(sizes, float)).tolist()


def row(name, gemm="gemm:4096x4096x4096", *, recipe="dense", **given):
    table = nmsim.simulate(gemm, hardware=name, recipe=recipe, fidelity="analytical", **given)
    return table.iloc[0]


def drawn(draw, count, copies=0):
    """Places in a room where near, within and beyond all come up."""
    sizes = np.column_stack([draw.integers(0, 12, (count, 3)) / 2, np.full(count, copies)])
    shares = draw.dirichlet(np.ones(3), count)
    return Places(sizes.astype(float), np.column_stack([draw.uniform(0, 4, count), shares]))


def plainly(known, asked):
    """The standing of one place, by the definition, in plain Python."""
    near = sized = within = False
    for sizes, spent in zip(known.sizes.tolist(), known.spent.tolist(), strict=True):
        apart = (spent[0] - asked.spent[0, 0]) ** 2
        for one, other in zip(spent[1:], asked.spent[0, 1:].tolist(), strict=True):
            apart += (ELSEWHERE * (one - other)) ** 2
        steps = [abs(one - other) for one, other in zip(sizes[:3], asked.sizes[0, :3], strict=True)]
        apart += sum((SIZE * step) ** 2 for step in steps)
        near |= apart**0.5 <= NEAR
        within |= apart**0.5 <= BEYOND
        sized |= max(steps) <= NEAR_SIZE
    allowance = OUTSIDE if len(known) >= FEW else 0.0
    for axis in range(3):
        column = known.sizes[:, axis]
        low, high = min(column) - allowance, max(column) + allowance
        within &= bool(low <= asked.sizes[0, axis] <= high)
    if asked.sizes[0, 3] > max(known.sizes[:, 3]):
        return 2
    return 0 if near and sized else 1 if within else 2


@given(st.integers(0, 2**32), st.sampled_from([1, 3, FEW - 1, FEW, 60]))
def test_the_kernel_says_what_the_definition_says(seed, count):
    draw = np.random.default_rng(seed)
    known, asked = drawn(draw, count), drawn(draw, 12)
    found = known.standing(asked)
    assert found.tolist() == [plainly(known, asked.of(np.array([i]))) for i in range(12)]


def test_the_draw_of_places_has_all_words():
    draw = np.random.default_rng(0)
    found = [drawn(draw, n).standing(drawn(draw, 40)) for n in (3, 60, 200)]
    assert set(np.concatenate(found).tolist()) == {0, 1, 2}


@given(st.integers(0, 2**32))
def test_more_measured_gemms_never_make_an_answer_stand_farther(seed):
    draw = np.random.default_rng(seed)
    some, more, asked = drawn(draw, 10), drawn(draw, 15), drawn(draw, 20)
    assert (Places.joined([some, more]).standing(asked) <= some.standing(asked)).all()


def test_what_was_measured_is_near_and_nothing_is_near_nothing():
    known = drawn(np.random.default_rng(1), 50)
    assert (known.standing(known) == 0).all()
    assert (known.of(np.zeros(50, bool)).standing(known) == 2).all()


def test_sizes_alike_are_not_near_where_the_time_goes_elsewhere():
    known = Places(np.array([[5.0, 6, 7, 0]]), np.array([[3.0, 0.8, 0.2]]))
    elsewhere = Places(known.sizes, np.array([[3.0, 0.4, 0.6]]))
    slower = Places(known.sizes, np.array([[3.5, 0.8, 0.2]]))
    assert [known.standing(one)[0] for one in (known, slower, elsewhere)] == [0, 1, 2]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_an_octave_in_each_size_is_near_and_beside_a_few_nothing_else_is_within(axis):
    one = Places(np.array([[5.0, 6, 7, 0]]), np.array([[3.0, 0.8, 0.2]]))
    many = Places.joined([one] * FEW)

    def moved(octaves):
        sizes = one.sizes.copy()
        sizes[0, axis] += octaves
        return Places(sizes, one.spent)

    steps = (0.5, -0.5, 0.6, OUTSIDE, OUTSIDE + 0.1)
    assert [one.standing(moved(step))[0] for step in steps] == [0, 0, 2, 2, 2]
    assert [many.standing(moved(step))[0] for step in steps] == [0, 0, 1, 1, 2]


# On machines.


def test_a_measured_size_is_near_and_a_size_without_like_is_beyond():
    sizes = [[1024, 4096, 4096, 1], [2**24, 2**17, 2**17, 1], [1024, 4096, 4096, 2]]
    assert words(A100, sizes) == ["near", "beyond", "beyond"]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_file_is_of_its_machine_as_it_is(name):
    """Once a constant moves, ``make evidence`` has to be run again."""
    machine, found = load_hardware(name), read_evidence(beside(HARDWARE.path(name)))
    assert differing(dict(evidence_of(machine).fields(machine)), found.fields) == []
    assert found.name == name
    assert not machine.unfitted
    for record in found.records:
        one = record.routines[0]
        call = Call(one.dtype, nmsim.Pattern.parse(one.pattern), one.sparse_operand, record.library)
        call = replace(call, accumulator=one.accumulator, vector_length=one.vector_length)
        rests_on = evidence_of(machine).constants(machine, call)
        assert (rests_on.key, differing(rests_on.fields, record.fields)) == (record.key, [])
        assert set(record.ranges) == {"m", "n", "k", "tiles", "waves"}
        assert record.rows >= len(record.sizes)
        assert record.bounds


@pytest.mark.parametrize(
    "name", ["rtx3090", *(pytest.param(n, marks=pytest.mark.slow) for n in SHIPPED)]
)
def test_shipped_files_are_what_the_shipped_tables_give(name, tmp_path):
    from nmsim.measured.attention.tables import shipped_attention  # noqa: PLC0415

    attention = () if name == "rtx3090" else shipped_attention()
    found = gather(load_hardware(name), tables_of(name), attention)
    write_evidence(tmp_path / "own.evidence.npz", found)
    # By content: headers of a zip are written another way by other versions of Python.
    with np.load(tmp_path / "own.evidence.npz") as own, np.load(beside(HARDWARE.path(name))) as its:
        assert own.files == its.files
        for part in own.files:
            assert own[part].dtype == its[part].dtype
            assert own[part].tobytes() == its[part].tobytes()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"dram.gbps": 1000}, "dram.gbps is 1000.0, measured with 1769.0"),
        ({"timing.launch_us": 1}, "timing.launch_us is 1.0, measured with 3.03"),
        ({"sms": 54}, "sms is 54, measured with 108"),
        ({"libraries.cublas-sm80.efficiency": 0.5}, "efficiency is 0.5, measured with 1.0"),
        ({"formats.bf16.macs_per_clk": 512}, "formats.macs_per_clk is 512.0, measured with 1024.0"),
    ],
)
def test_a_gpu_with_another_field_is_not_the_one_that_was_measured(fields, why):
    before, after = row(A100), row(A100, overrides=fields)
    assert (before["evidence"], after["evidence"]) == ("near", "beyond")
    assert after["evidence_why"].startswith(f"not the {A100} that was measured: ")
    assert why in after["evidence_why"]


@pytest.mark.parametrize(
    "fields", [{"capacity_gib": 40}, {"summary": "mine"}, {"stack": "pytorch"}]
)
def test_what_no_time_rests_on_leaves_it_the_same_gpu(fields):
    assert row(A100, overrides=fields)["evidence"] == "near"


def test_another_librarys_constants_are_not_asked_for():
    other = {"libraries.cutlass-int8-sm80.efficiency": 0.5}
    assert words(A100, [[1024, 4096, 4096, 1]], **other) == ["near"]


def test_a_machine_from_a_data_sheet_is_beyond_with_its_band_named():
    found = row("a6000")
    assert found["evidence"] == "beyond"
    assert "missed by 20%, at worst 32%" in found["evidence_why"]
    assert row("a100-sxm4-80gb-documented")["evidence"] == "beyond"


def test_a_file_based_on_a_measured_gpu_is_another(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"based_on: {A100}\nsummary: mine\nsource: mine\nsms: 60\ncarried_over: null\n")
    found = row(str(mine))
    assert (found["evidence"], "sms is 60" in found["evidence_why"]) == ("beyond", True)
    same = tmp_path / "same.yaml"
    same.write_text(f"based_on: {A100}\nsummary: its twin\nsource: it\ncarried_over: null\n")
    assert row(str(same))["evidence"] == "near"
    copy = tmp_path / f"{A100}.yaml"  # the name alone is no evidence
    copy.write_text(f"based_on: {A100}\nsummary: mine\nsource: mine\nclock_mhz: 2000\n")
    assert row(str(copy))["evidence"] == "beyond"


def test_a_masked_gemm_stands_as_the_worse_of_its_own_run_and_the_dense_one(monkeypatch):
    known = {"dense": "near", "2:4": "beyond"}
    said = lambda ran: [(known[str(one.resolved.native)], "") for _, one in ran]  # noqa: E731
    monkeypatch.setattr(of_gpus, "_of_launches", said)
    for dense, masked in product(STANDINGS, STANDINGS):
        known |= {"dense": dense, "2:4": masked}
        assert row(A100, recipe="asp")["evidence"] == worst([dense, masked])


def test_two_figures_are_no_region():
    """On an H100 two 2:4 GEMMs of cuSPARSELt are known: what is not near them is beyond."""
    call = Call("bf16", nmsim.Pattern.parse("2:4"), "b", "cusparselt")
    sizes = [[8192, 8192, 8192, 1], [8192, 7168, 8192, 1], [2048, 14336, 4096, 1]]
    assert words(H100, sizes, call) == ["near", "near", "beyond"]
    assert words(H100, sizes, replace(call, library="vllm-cutlass")) == ["beyond"] * 3


def test_a_run_says_on_how_many_measured_gemms_its_speed_ups_rest():
    told = kind_of(load_hardware(H100)).evidence.told(load_hardware(H100))
    assert "2:4 on this GPU: 3 measured GEMMs (cusparselt 2, " in told
    bare = load_hardware("l40s")
    assert "2:4 on this GPU: no measured GEMM in bf16" in kind_of(bare).evidence.told(bare)
    assert kind_of(bare).evidence.told(load_hardware("a6000")) == ""  # the headline says it


def test_what_no_table_has_is_beyond():
    conv = nmsim.simulate("resnet18", hardware=A100, layers="layer1.0.conv1", fidelity="analytical")
    assert set(conv["evidence"]) == {"beyond"}
    assert set(conv["evidence_why"]) == {"no convolution was measured on it"}


def test_fused_attention_stands_among_measured_attention():
    given = {"layers": "*self_attn", "fidelity": "analytical", "batch": 1, "scenario": "prefill"}
    some, far = (
        nmsim.simulate("llama-3-8b", hardware=A100, tokens=tokens, **given)
        for tokens in (2048, 3_000_000)
    )
    assert some["evidence"].tolist() in (["near"], ["within"])
    assert far["evidence"].tolist() == ["beyond"]
    machine = load_hardware(A100)
    record = max(read_evidence(beside(HARDWARE.path(A100))).attention, key=lambda one: one.rows)
    own = AttentionCalls(record.shapes[:9].astype(np.int64), record.phase, record.library)
    places = evidence_of(machine).attention(machine, own)
    assert (places.standing(places) == 0).all()
    wider = AttentionCalls(own.shapes.copy(), record.phase, record.library)
    wider.shapes[:, 5:7] //= 2  # another head_dim is another kernel
    assert (places.standing(evidence_of(machine).attention(machine, wider)) == 2).all()


@pytest.mark.parametrize("name", ["systolic-128x128-2to4", "ideal"])
def test_arrays_and_ideals_have_no_such_evidence(name):
    found = nmsim.simulate("gemm:64x64x64", hardware=name, recipe="asp")
    assert found["evidence"].tolist() == [""]
    assert totals(found.to_dict("records"))["all"]["beyond_share"] is None


# Shuffled, altered, damaged.


@pytest.fixture
def another(tmp_path, monkeypatch):
    """Give the A100 other evidence, for as long as a test runs."""
    remembered = [one for one in vars(of_gpus).values() if hasattr(one, "cache_clear")]

    def forget():
        for one in remembered:
            one.cache_clear()

    def put(change):
        whole = read_evidence(beside(HARDWARE.path(A100)))
        records = [replace(one, sizes=change(one.sizes.copy())) for one in whole.records]
        write_evidence(tmp_path / f"{A100}.evidence.npz", replace(whole, records=tuple(records)))
        monkeypatch.setattr(of_gpus, "CATALOG", tmp_path)
        forget()

    yield put
    forget()


def shuffled(sizes):
    draw = np.random.default_rng(0)
    return np.column_stack([draw.permutation(column) for column in sizes[:, :4].T] + [sizes[:, 4]])


def larger(sizes):
    sizes[:, :3] *= 64
    return sizes


def test_an_altered_region_changes_the_word(another):
    asked = [[m, 4096, k, 1] for m in (1, 32, 1024, 8192) for k in (512, 4096, 14336)]
    asked += [[n, 7168, 2304, 1] for n in (1, 64, 4096)]
    before = words(A100, asked)
    another(lambda sizes: sizes)
    assert words(A100, asked) == before
    another(larger)
    assert words(A100, asked).count("near") < before.count("near")
    few = lambda sizes: sizes[:: max(1, len(sizes) // 40)]  # noqa: E731
    another(few)
    assert sum(map(STANDINGS.index, words(A100, asked))) > sum(map(STANDINGS.index, before))


def test_files_hold_what_was_written(tmp_path):
    whole = read_evidence(beside(HARDWARE.path(H100)))
    write_evidence(tmp_path / "one.npz", whole)
    again = read_evidence(tmp_path / "one.npz")
    for one, other in zip(whole.records, again.records, strict=True):
        assert replace(one, sizes=0) == replace(other, sizes=0) or one.key == other.key
        assert np.array_equal(one.sizes, other.sizes)
    assert (whole.fields, whole.name) == (again.fields, again.name)
    assert [one.rows for one in whole.attention] == [one.rows for one in again.attention]


@pytest.mark.parametrize("how", ["cut", "schema", "zero", "routine"])
def test_a_damaged_file_is_refused_in_one_line(how, tmp_path):
    path = tmp_path / "mine.evidence.npz"
    whole = read_evidence(beside(HARDWARE.path("rtx3090")))
    if how in ("zero", "routine"):
        sizes = whole.records[0].sizes.copy()
        sizes[0, 0 if how == "zero" else 4] = 0 if how == "zero" else 99
        whole = replace(whole, records=(replace(whole.records[0], sizes=sizes),))
    write_evidence(path, whole)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:300])
    if how == "schema":
        with np.load(path) as arrays:
            kept = dict(arrays)
        about = json.loads(str(kept["about"])) | {"schema": 99}
        np.savez(path, **(kept | {"about": np.array(json.dumps(about))}))
    with pytest.raises(SpecError, match=re.escape(f"{path}: expected evidence as")) as caught:
        read_evidence(path)
    assert "\n" not in str(caught.value)


# Told in tables, pages and totals.


def test_totals_say_what_share_of_the_time_lies_beyond():
    table = nmsim.simulate("bert-base", hardware=A100, recipe="asp", fidelity="analytical")
    rows = table.to_dict("records")
    for phase, total in totals(rows).items():
        own = [r for r in rows if phase in ("all", r["phase"])]
        beyond = sum(r["time_us"] for r in own if r["evidence"] == "beyond")
        assert total["beyond_share"] == pytest.approx(beyond / sum(r["time_us"] for r in own))
    assert 0 < totals(rows)["all"]["beyond_share"] < 1
    share = 100 * totals(rows)["all"]["beyond_share"]
    assert evidence_said(rows).startswith(f"{share:.1f} % of the time of GEMMs lies beyond")


def test_the_command_says_it_in_every_form(run, tmp_path):
    own = ("simulate", "gemm:512x4096x4096", "--hardware", H100, "--recipe", "asp")
    own += ("--fidelity", "analytical")
    document = json.loads(run(*own, "--format", "json"))
    assert document["rows"][0]["evidence"] in STANDINGS
    assert 0 <= document["total"]["all"]["beyond_share"] <= 1
    assert "3 measured GEMMs" in document["manifest"]["evidence"]
    shown = run(*own, "--out", tmp_path)
    assert "evidence: dense on this GPU" in shown
    assert "beyond what was measured" in shown
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "Beyond what was measured" in page
    assert "3 measured GEMMs" in page


def test_a_training_run_says_it():
    run = nmsim.train("gemm:512x4096x4096", hardware=A100, fidelity="analytical", steps=3)
    assert run.beyond_share == 0
    assert nmsim.train("gemm:64x64x64", steps=3).beyond_share is None


# Gathered and earned.

HEADER = ",".join(COLUMNS)


def table_of(path, rows, gpu="A100", library="cublas"):
    head = f"mine,{gpu},SXM4-80GB,{library},dense,,bf16,fp32"
    lines = [f"{head},{m:.0f},{n:.0f},{k:.0f},1,{t}" for m, n, k, t in rows]
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def test_evidence_is_gathered_beside_a_machine_of_ones_own(tmp_path, run):
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"based_on: {A100}\nsummary: mine\nsource: mine\ncarried_over: null\n")
    rows = [(512, 1024, 1024, 8.0), (1024, 1024, 1024, 12.0)]
    table = table_of(tmp_path / "t.csv", rows, gpu="My GPU")
    own = ("calibrate", table, "--hardware", mine, "--evidence")
    run(*own)
    found = read_evidence(tmp_path / "mine.evidence.npz")
    assert [(one.library, one.rows) for one in found.records] == [("cublas", 2)]
    assert "is there, expected --overwrite" in run(*own, code=2)
    assert "expected neither --out nor --residual" in run(*own, "--residual", code=2)


def test_rows_of_other_gpus_and_of_stand_ins_are_no_evidence(tmp_path):
    machine = load_hardware(A100)
    rows = [(512, 1024, 1024, 8.0)]
    of_h100 = read_measured(table_of(tmp_path / "h.csv", rows, gpu="H100"))
    stand_in = read_measured(table_of(tmp_path / "s.csv", rows, library="cutedsl"))
    own = read_measured(table_of(tmp_path / "o.csv", rows))
    found = gather(machine, [of_h100, stand_in, own], figures=None)
    assert [(one.key, one.rows) for one in found.records] == [
        ("cublas, cublas-sm80, dense, 16 bits", 1)
    ]
    with pytest.raises(SpecError, match="expected measured rows"):
        gather(machine, [of_h100, stand_in], figures=None)
    with pytest.raises(SpecError, match="expected its own constants"):
        gather(load_hardware("a6000"), [own])


def test_an_order_holds_is_broken_or_cannot_be_told():
    mean = lambda mape, rows=100, error=0.001: {"rows": rows, "mape": mape, "error": error}  # noqa: E731
    said = lambda *means: order(dict(zip(STANDINGS, means, strict=True)))  # noqa: E731
    assert said(mean(0.04), mean(0.05), mean(0.06)) == "holds"
    assert said(mean(0.06), mean(0.05), mean(0.06)) == "broken"
    assert said(mean(0.04), mean(0.05), mean(0.0495)) == "cannot be told"
    assert said(mean(0.04), mean(0.05), mean(0.01, rows=3)) == "holds"
    assert said(mean(0.04, rows=3), mean(None, rows=0, error=None), mean(0.01)) == "cannot be told"


def test_a_standard_error_is_over_weight_shapes_as_their_rows_are_missed_alike(tmp_path):
    """Every row of a shape missed by the same: as many draws as shapes, however many rows."""
    machine, call = load_hardware(A100), Call("bf16", library="cublas", in_turn=IN_TURN)
    sizes = np.array([(2**m, 512 * n, 1024) for m in range(6, 12) for n in range(1, 9)], float)
    times = call_times(machine, call, np.column_stack([sizes, np.ones(len(sizes))]))
    pace = np.where(sizes[:, 1] > 2048, 1.1, 1.0)
    paced = {"exact": times, "paced": times * pace}
    tables = [
        read_measured(table_of(tmp_path / f"{name}.csv", np.column_stack([sizes, us])))
        for name, us in paced.items()
    ]
    near = next(one["near"] for one in earned(machine, tables) if "paced" in one["left_out"])
    off = np.abs(np.exp(np.log(pace).mean()) / pace - 1)
    assert near["rows"] == len(sizes)
    assert near["error"] == pytest.approx(off.std() / np.sqrt(8), rel=0.05)  # of 8 shapes


def test_a_run_that_was_slow_as_a_whole_is_held_to_its_own_pace(tmp_path):
    """Each is missed by what its GEMMs differ in, not by how slow a day it was."""
    machine, call = load_hardware(A100), Call("bf16", library="cublas", in_turn=IN_TURN)
    sizes = np.array([(2**m, 512 * n, 1024) for m in range(6, 12) for n in range(1, 8)], float)
    times = call_times(machine, call, np.column_stack([sizes, np.ones(len(sizes))]))
    paces = {"a": np.ones(len(sizes)), "b": np.where(np.arange(len(sizes)) % 2, 1.16, 1.24)}
    tables = [
        read_measured(table_of(tmp_path / f"{name}.csv", np.column_stack([sizes, times * pace])))
        for name, pace in paces.items()
    ]
    first, second = (one["near"] for one in earned(machine, tables))
    assert first["mape"] < 1e-3
    assert second["mape"] == pytest.approx(0.04 / 1.2, rel=0.05)


def test_errors_grow_with_the_distance_from_what_was_measured_on_an_rtx3090():
    machine = load_hardware("rtx3090")
    found = {one["constants"]: one for one in earned(machine, tables_of("rtx3090"))}
    spatha = found["spatha, spatha-sm86, 2:4, 16 bits"]
    assert spatha["order"] == "holds"
    assert sum(spatha[word]["rows"] for word in STANDINGS) == 65


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_orders_of_gemms_on_what_is_left_out_are_those_that_the_page_states(name):
    found = earned(load_hardware(name), tables_of(name))
    assert "broken" not in [one["order"] for one in found]
    holds = [one["order"] for one in found].count("holds")
    assert holds >= {A100: 2, H100: 2, "h200": 3, "l40s": 0, "rtx3090": 1}[name]


@pytest.mark.slow
def test_the_page_on_evidence_states_what_is_left_out(run):
    text = (Path(__file__).parents[1] / "docs" / "evidence.md").read_text(encoding="utf-8")
    stated = re.findall(r"^\| .* \| (?:holds|broken|cannot be told) \|$", text, re.MULTILINE)
    found = json.loads(run("validate", "--evidence", "--format", "json"))["left_out"]
    assert stated == [_line(one) for one in found]


def _line(one):
    cells = [one["machine"], one["constants"], re.sub(r"\.csv(\.gz)?", "", one["left_out"])]
    for word in STANDINGS:
        rows, mape, error = (one[word][name] for name in ("rows", "mape", "error"))
        cells.append(f"{rows:,}: {100 * mape:.1f} ± {100 * error:.1f}" if rows else "–")
    return f"| {' | '.join([*cells, one['order']])} |"


@pytest.mark.slow
def test_the_order_does_not_come_of_itself(monkeypatch):
    """Where a region's places are dealt to other GEMMs, what is near is not missed the least."""
    honest = Places.standing

    def dealt(self, others):
        draw = np.random.default_rng(0)
        known = Places(draw.permuted(self.sizes, axis=0), draw.permuted(self.spent, axis=0))
        return honest(known, others)

    monkeypatch.setattr(Places, "standing", dealt)
    found = earned(load_hardware("h200"), shipped("h200")[0])
    assert [one["order"] for one in found].count("holds") < 3


def test_validate_groups_by_the_word_and_leaves_out(run, tmp_path):
    own = ("validate", shipped_path("rtx3090-vnm-fp16"), "--evidence")
    found = json.loads(run(*own, "--format", "json"))
    assert {g["group"] for g in found["groups"] if g["by"] == "evidence"} == {"near"}
    assert any("rtx3090-vnm-fp16.csv, folds" in one["left_out"] for one in found["left_out"])
    table = table_of(tmp_path / "t.csv", [(512, 1024, 1024, 8.0), (2**20, 64, 65536, 12000.0)])
    groups = json.loads(run("validate", table, "--by", "evidence", "--format", "json"))["groups"]
    assert {g["group"]: g["rows"] for g in groups} == {"near": 1, "beyond": 1}


def test_a_page_draws_where_it_was_measured_and_what_was_left_out(run, tmp_path):
    rows = [(2**m, 1024, 64 * k, 5.0 + m) for m in range(3, 9) for k in range(1, 8)]
    table = table_of(tmp_path / "t.csv", rows)
    shown = run("validate", table, "--evidence", "--out", tmp_path / "page")
    assert "errors of what is left out, by where it stands" in shown
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "Whether standings are earned" in page
    assert 'draw("region"' in page
    assert 'draw("sources"' in page
    again = tmp_path / "page" / "index.html"
    again.unlink()
    run("report", tmp_path / "page")
    assert again.read_text(encoding="utf-8") == page


def test_a_gemm_of_nothing_stands_nowhere():
    machine = load_hardware(A100)
    work = SparseGemm.dense(Gemm(64, 64, 64))
    found = simulate_gemm(machine, work, "analytical")
    nothing = replace(found, compute_cycles=0, stall_cycles=0)
    columns = of_gpus.columns(machine, [work, work], [nothing, found])
    none, some = columns["evidence"]
    assert (none, columns["evidence_why"][0]) == (None, None)
    assert some in STANDINGS
