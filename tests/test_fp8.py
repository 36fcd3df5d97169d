"""fp8 on Hopper: passes that cast A, kernels by size, clusters, and the errors that docs state."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nmsim
from nmsim.errors import SpecError
from nmsim.gemm import Gemm
from nmsim.machines import FIDELITIES, Call, load_hardware
from nmsim.machines.gpu import analytical
from nmsim.machines.gpu.call import resolve
from nmsim.machines.gpu.chip import ACROSS, DOWN, Size
from nmsim.machines.gpu.choice import choose, rules_of
from nmsim.machines.gpu.kernels import KernelSet, load_kernels
from nmsim.machines.gpu.launch import cast_clocks, kernel_name, launch_of
from nmsim.machines.gpu.preparation import cast_us
from nmsim.machines.gpu.routines import call_times
from nmsim.mask import SparseGemm
from nmsim.measured.accuracy import errors
from nmsim.measured.predict import predict
from nmsim.measured.tables import read_shipped
from nmsim.spec import validate

SET = "cutlass-fp8-sm90"
H100 = load_hardware("h100-sxm")
FP8 = Call("fp8", in_turn=5)
CASTING = resolve(H100, FP8).library.casts
DOCS = (Path(__file__).parents[1] / "docs" / "gpus.md").read_text(encoding="utf-8")
DOCS = re.sub("<!--.*?-->", "", DOCS)  # where a figure comes from
STATED = re.findall(r"^\| (\w+-dense-fp8)" + r" \| (\S+)" * 7 + r" \|$", DOCS, re.MULTILINE)


def cast(m, k, copies=1, casting=CASTING):
    (found,) = cast_us(H100, casting, "fp8", np.array([[m, 1, k, copies]], float))
    return found


def test_a_cast_of_one_row_is_two_launches_and_its_bytes_from_l2():
    moved = (2 + 2 + 1) * 512 / 9941e3
    assert cast(1, 512) == pytest.approx(2 * CASTING.launch_us + moved, rel=1e-3)


def test_rows_beyond_the_sms_wait_until_threadblocks_take_turns():
    waiting = [
        cast(m, 1) - 2 * CASTING.launch_us - 5 * m / 9941e3 for m in (132, 133, 512, 1024, 20000)
    ]
    turns = [0, 1, 3, 7, 7]
    assert waiting == pytest.approx([2 * one * CASTING.threadblock_us for one in turns], abs=1e-3)


def test_what_l2_does_not_hold_is_read_twice_and_written_at_memorys_share():
    """A of 4 GiB: 16 bits read by both passes, 8 written."""
    elements = 32768 * 65536
    launches = 2 * (CASTING.launch_us + 7 * CASTING.threadblock_us)
    assert cast(32768, 65536) == pytest.approx(
        launches + 5 * elements / (2900e3 * CASTING.dram_share)
    )
    assert cast(16384, 65536, copies=2) == cast(32768, 65536)
    half = 25 * 2**20  # A that fills half of L2
    rate = 0.5 / (2900e3 * CASTING.dram_share) + 0.5 / 9941e3
    assert cast(1024, half / 2048) == pytest.approx(launches + 2.5 * half * rate)


def test_a_library_that_takes_a_as_it_comes_casts_nothing():
    assert cast(4096, 4096, casting=None) == 0
    assert resolve(H100, Call("bf16")).library.casts is None


def test_rows_of_all_copies_share_the_threadblocks():
    assert cast(1, 512, copies=300) == cast(300, 512)


def chosen(m, n, k, kernel=""):
    found = resolve(H100, replace(FP8, kernel=kernel))
    row, split, clocks = choose(
        found.chip,
        found.form,
        found.table,
        found.splits,
        rules_of(found),
        Size(float(m), float(n), float(k), 1.0),
    )
    assert np.isfinite(clocks)
    return kernel_name(found.table[row]).rsplit("_", 1)[0], split


@pytest.mark.parametrize(
    ("size", "tile"),
    [
        ((1, 65536, 512), "16x64x256"),
        ((16, 1281, 4096), "16x64x256"),
        ((17, 1280, 4096), "16x64x256"),
        ((17, 1281, 4096), "64x64x256"),
        ((64, 8192, 4096), "64x64x256"),
        ((65, 32, 65536), "64x128x128"),
        ((129, 128, 65536), "128x128x128"),
        ((8191, 8192, 8192), "128x128x128"),
        ((8192, 8192, 6143), "128x128x128"),
        ((8192, 8192, 6144), "256x128x128"),
    ],
)
def test_the_kernel_goes_by_size_and_k_is_not_split(size, tile):
    assert chosen(*size) == (tile, 1)


def test_a_named_kernel_runs_whatever_the_size():
    assert chosen(4096, 4096, 4096, "16x64x256_10") == ("16x64x256", 1)


@pytest.mark.parametrize(
    ("limits", "size"),
    [
        ([{"most": [16, None]}, {"least": [18, 1, 1]}], "17 x 1 x 1"),
        ([{"most": [None, 128]}], "1 x 129 x 1"),
        ([{"least": [1, 1, 64]}], "1 x 1 x 1"),
    ],
)
def test_a_set_without_a_kernel_for_some_size_is_refused(limits, size):
    shape = {"tile": [64, 64, 64], "warp": [64, 64], "stages": 4, "ctas_per_sm": 1}
    kernels = [{**shape, **one} for one in limits]
    with pytest.raises(SpecError, match=f"no kernel takes a GEMM of {size}"):
        validate(KernelSet, {"summary": "s", "source": "s", "kernels": kernels}, "mine.yaml")


def test_a_long_k_of_few_rows_takes_what_one_threadblock_takes():
    """129 x 128 x 65536: 512 slices, measured 160.8 us; split, it was 9."""
    (time,) = analytical.times(H100, FP8, np.array([[129.0, 128, 65536, 1]]))
    assert time == pytest.approx(160.8, rel=0.25)


def test_a_cluster_along_rows_loads_b_once():
    found = resolve(H100, FP8)
    row = next(one for one in found.table if one[DOWN] == 2).copy()
    size = Size(4096.0, 4096.0, 8192.0, 1.0)
    together = analytical.estimate(found.chip, found.form, row, 1.0, size).shares
    row[[DOWN, ACROSS]] = 1
    alone = analytical.estimate(found.chip, found.form, row, 1.0, size).shares
    l2, port = (analytical.BOUNDS.index(name) for name in ("l2 bandwidth", "sm port"))
    a, b = row[0], row[1]
    assert together[l2] / alone[l2] == pytest.approx((a + b / 2) / (a + b))
    assert together[port] / alone[port] == pytest.approx((a + b / 2) / (a + b))


def test_a_tile_alone_shares_nothing_with_its_cluster():
    found = resolve(H100, FP8)
    row = next(one for one in found.table if one[DOWN] == 2).copy()
    size = Size(row[0], 4096.0, 8192.0, 1.0)
    together = analytical.estimate(found.chip, found.form, row, 1.0, size).shares
    row[DOWN] = 1
    alone = analytical.estimate(found.chip, found.form, row, 1.0, size).shares
    assert together.tolist() == alone.tolist()


GEMM = Gemm(4096, 4096, 4096, layer="mine", kind="linear")


def simulated(recipe="dense", **overrides):
    table = nmsim.simulate(
        [GEMM],
        recipe=recipe,
        hardware=H100,
        fidelity="analytical",
        overrides={"dtype": "fp8", **overrides},
    )
    return table.iloc[0]


def test_a_simulated_gemm_casts_its_a_with_masks_or_without():
    for recipe in ("dense", "asp"):
        row = simulated(recipe)
        bare = simulated(recipe, **{f"libraries.{SET}.casts": None})
        assert "A is scaled and cast to fp8 first" in row.note
        assert "cast" not in bare.note
        clocks = cast(4096, 4096) * H100.clock_mhz
        assert row.cycles - bare.cycles == pytest.approx(clocks, abs=1)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_call_takes_its_cast_and_its_gemm(fidelity):
    bare = load_hardware(H100, **{f"libraries.{SET}.casts": None})
    sizes = np.array([[4096, 1024, 2048, 1]], np.float64)
    own, without = (call_times(machine, FP8, sizes, fidelity) for machine in (H100, bare))
    assert own - without == pytest.approx(cast(4096, 2048))


@pytest.mark.parametrize(("kind", "casts"), [("linear", 1), ("conv", 1), ("matmul", 0)])
def test_products_of_activations_take_what_is_written_before_them(kind, casts):
    """Softmax and projections write in 8 bits; what layers read comes in 16."""
    launch = launch_of(
        H100.model_copy(update={"dtype": "fp8"}), SparseGemm.dense(replace(GEMM, kind=kind))
    )
    assert (cast_clocks(H100, launch) > 0) == casts
    assert ("cast" in launch.note) == casts


def test_the_set_is_the_one_that_serves_fp8():
    assert resolve(H100, FP8).kernels == load_kernels(SET)
    assert resolve(load_hardware("h200"), FP8).library == resolve(H100, FP8).library


@pytest.mark.parametrize("stated", STATED, ids=[row[0] for row in STATED])
def test_the_docs_state_the_errors_that_there_are(stated):
    name, rows, *percent = stated
    table = predict([read_shipped(name)]).table
    every = errors(table["ratio"].to_numpy())
    sides = [
        errors(table.loc[table["shapes"] == side, "ratio"].to_numpy())["mape"]
        for side in ("calibration", "held out")
    ]
    found = [every["mape"], *sides, every["median_ape"], every["bias"]]
    assert [float(text) for text in percent[:5]] == [round(100 * one, 1) for one in found]
    assert f"{every['rows']:,}" == rows


def test_the_docs_state_errors():
    assert len(STATED) == 2
