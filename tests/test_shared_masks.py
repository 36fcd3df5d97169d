"""Masks that runs share: what is kept of them, what is let go, and when all is forgotten."""

import linecache

import numpy as np
import pytest

import nmsim
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import Pattern
from nmsim.pruning import Block, pruner
from nmsim.pruning.magnitude import keep_largest
from nmsim.recipes.made import MADE, Made
from nmsim.run.point import Point, tables
from nmsim.run.rows.runs import Runs

ARRAY = "systolic-128x128-2to4"

CELL = """
@pruner("of-a-cell", summary="of a cell", source="here", regular=False)
def of_a_cell(block: Block) -> None:
    keep_largest(block, np.abs(block.values))
    drop = np.arange(block.values.shape[-1]) % {period} == 0
    block.out_mask[..., drop] = False
    block.out_values[..., drop] = 0
"""

RECIPE = """
summary: s
source: s
operands:
  - {role: weight, pruner: of-a-cell, phases: [forward]}
"""


def run_cell(period):
    """Define the pruner as a cell of a notebook does."""
    name, text = f"<ipython-input-{period}-of-a-cell>", CELL.format(period=period)
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    known = {"np": np, "keep_largest": keep_largest, "pruner": pruner, "Block": Block}
    exec(compile(text, name, "exec"), {**known, "__name__": "__main__"})


def test_a_cell_that_is_run_again_makes_other_masks(tmp_path):
    (tmp_path / "mine.yaml").write_text(RECIPE)
    found = []
    for period in (8, 2, 8):
        run_cell(period)
        run = nmsim.simulate(
            "vit-tiny",
            recipe=tmp_path / "mine.yaml",
            phases="forward",
            fidelity="analytical",
            batch=1,
        )
        found.append(run["macs_useful"].sum())
    assert found[1] < found[0] == found[2]


def masks_of(point):
    """The masks of a point's GEMMs, as its runs have them."""
    works = point.workload.shared(point.setting, point.wanted)
    return [mask for work in works for mask in (work.a, work.b)]


@pytest.mark.parametrize("fidelity", ["analytical", "cycle"])
def test_runs_share_counts_and_keep_no_bits(fidelity):
    point = Point("vit-tiny", recipe="transposable", fidelity=fidelity, hardware=ARRAY, batch=2)
    for _ in tables(point):
        pass
    works, again = masks_of(point), masks_of(point)
    assert all(a is b for a, b in zip(works, again, strict=True))
    counted = [mask for mask in works if not mask.is_dense and not mask.regular]
    assert counted
    assert all("kept" in vars(mask) and "words" not in vars(mask) for mask in counted)


def test_made_masks_fit_in_so_many_bytes():
    made, asked = Made(3 * 800), []

    def of(name):
        return made.of(name, lambda: asked.append(name) or np.zeros(100, np.uint64))

    for name in "abcab":
        of(name)
    assert asked == ["a", "b", "c"]
    of("d")  # c is the one that was not asked for longest
    assert made.bytes == 2400
    of("a")
    of("c")
    assert asked == ["a", "b", "c", "d", "c"]
    large = made.of("large", lambda: np.zeros(1000, np.uint64))
    assert made.bytes == large.nbytes == 8000
    assert made.of("large", list) is large


def test_a_sweep_over_batches_keeps_no_more_masks_than_fit():
    for batch in (64, 72):
        for _ in tables(Point("resnet18", recipe="fst", hardware=ARRAY, batch=batch,
                              fidelity="analytical", layers="layer1*")):  # fmt: skip
            pass
    assert 0 < MADE.bytes <= 1 << 27


def test_gemms_run_together_as_far_as_their_bits_fit():
    def work(rows, regular):
        mask = Mask.promising(Pattern(2, 4), rows, 1 << 20, regular=regular, source=list)
        dense = Mask.dense(1, 1 << 20)
        return SparseGemm(nmsim.Gemm(rows, 1, 1 << 20), mask, dense)

    runs = Runs(Point("gemm:1x1x1", hardware=ARRAY).machine, "analytical")
    large, small = work(600, regular=False), work(600, regular=True)
    told = [len(some) for some in runs.some([small, large, small, large, large, small])]
    assert told == [3, 1, 2]
    one_by_one = Runs(runs.machine, "cycle")
    assert [len(some) for some in one_by_one.some([small, small])] == [1, 1]
    assert list(runs.some([])) == []
