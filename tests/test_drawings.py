"""The drawings of the docs: what their code draws, from what nmsim computes, and legible."""

import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import fold_drawing
import lowering_drawing
import nm_drawing
import placement_drawing
import pytest
import tile_drawing
from build_drawings import DOCS, DRAWINGS
from drawn import WIDTH
from flow_drawing import ARROWS, BOXES

from nmsim.machines import simulate
from nmsim.machines.gpu.sm.program import Kind
from nmsim.mask import SparseGemm

SPACE = "{http://www.w3.org/2000/svg}"
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", params=sorted(DRAWINGS))
def drawing(request):
    """A drawing as it is committed, and as its code draws it now."""
    return (DOCS / request.param).read_text(encoding="utf-8"), DRAWINGS[request.param]()


def texts(svg):
    return [element.text for element in ET.fromstring(svg).iter(f"{SPACE}text")]


def shapes(svg):
    return sum(1 for _ in ET.fromstring(svg).iter(f"{SPACE}path"))


def test_the_committed_drawing_is_the_one_that_the_code_draws(drawing):
    committed, drawn = drawing
    assert texts(committed) == texts(drawn)
    assert shapes(committed) == shapes(drawn)


def test_text_is_legible_at_the_width_of_a_page_and_of_a_telephone(drawing):
    committed, _ = drawing
    _, _, width, _ = map(float, ET.fromstring(committed).get("viewBox").split())
    sizes = [float(size) for size in re.findall(r"font(?:-size)?: (?:\w+ )?([\d.]+)px", committed)]
    assert len(sizes) == len(texts(committed)) > 10
    assert min(sizes) * 820 / width >= 11
    assert min(sizes) * 390 / width >= 8
    assert width == WIDTH


def test_a_drawing_stands_on_a_ground_of_its_own(drawing):
    committed, _ = drawing
    ground = next(ET.fromstring(committed).iter(f"{SPACE}path"))
    assert "fill: #ffffff" in ground.get("style")


def test_every_drawing_is_shown_by_a_page():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    shown = set(re.findall(r"([\w-]+\.svg)\)", "".join(page.read_text() for page in pages)))
    assert shown >= set(DRAWINGS)


# ---- the flow


def test_the_flow_names_folders_that_there_are():
    for box in BOXES.values():
        for name in box.where.split(", "):
            path, _, file = name.replace("KIND", "gpu").rpartition("/")
            homes = (ROOT / "nmsim", ROOT / "nmsim" / "machines", ROOT)
            assert any(list((home / path).glob(file or "*.py")) for home in homes), name


def test_arrows_of_the_flow_lead_down_or_to_the_right():
    for one, other in ((BOXES[a], BOXES[b]) for a, b in ARROWS):
        assert other.top > one.top + one.height or other.left > one.left + one.width
    assert {name for arrow in ARROWS for name in arrow} == set(BOXES)


# ---- the fold


def test_the_drawn_folds_take_as_long_as_the_simulated_ones():
    found = fold_drawing.folds()
    result = simulate(fold_drawing.MACHINE, SparseGemm.dense(fold_drawing.GEMM))
    assert math.ceil(max(found[-1].work[1], found[-1].stores[-1][1])) == result.cycles
    assert sum(one.work[1] - one.work[0] for one in found) >= result.compute_cycles


def test_the_channel_of_the_drawing_carries_one_thing_at_a_time():
    spans = sorted(span for one in fold_drawing.folds() for span in (*one.loads, *one.stores))
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    bytes_moved = sum(end - start for start, end in spans) * fold_drawing.MACHINE.dram.gbps
    assert bytes_moved == pytest.approx(5 * (256 + 1024 + 1024), abs=5)


def test_folds_wait_for_what_they_need():
    found = fold_drawing.folds()
    latency = fold_drawing.MACHINE.dram.latency_ns
    for one, after, last in zip(found, found[1:], found[2:], strict=False):
        assert after.work[0] >= one.work[1]
        assert last.streams[0][0] >= one.stores[-1][1]
        for before, now in ((one, after), (after, last)):
            for piece, load in enumerate(now.loads):
                assert load[0] >= before.streams[piece][0]
                assert now.streams[piece][1] >= load[1] + latency


# ---- the tile


def test_the_drawn_tile_ends_when_the_simulated_one_does():
    one = tile_drawing.ran()
    time = one.time
    assert max(event.done for event in one.events) == time.cycles
    assert time.prologue + time.main + time.epilogue == time.cycles
    assert one.slices * 64 == tile_drawing.GEMM.k
    products = sum(event.kind is Kind.MMA for event in one.events)
    assert products * 16 * 8 * 16 == 64 * 64 * tile_drawing.GEMM.k


def test_joined_bars_cover_what_they_join():
    one = tile_drawing.ran()
    loose = tile_drawing.joined(one.events, tile_drawing.PRODUCTS, 0)
    close = tile_drawing.joined(one.events, tile_drawing.PRODUCTS, 0, tile_drawing.CLOSE)
    assert len(close) <= one.slices < len(loose)
    assert sum(long for _, long in loose) <= sum(long for _, long in close)
    assert (close[0][0], sum(close[-1])) == (loose[0][0], sum(loose[-1]))


# ---- masks in two phases, lowering, folds of an array


def test_groups_that_are_drawn_as_misfits_are():
    for name, mask in nm_drawing.MASKS.items():
        assert not nm_drawing.misfits(mask, "forward").any()
        down = [mask[top : top + 4, column].sum() > 2 for column in range(8) for top in (0, 4)]
        assert list(nm_drawing.misfits(mask, "backward").ravel()) == down
        assert any(down) == (name == "magnitude")


def test_the_drawn_gemms_are_the_layers_and_unlike_each_other():
    drawn = lowering_drawing.gemms()
    assert list(drawn) == list(lowering_drawing.OPERANDS) == ["forward", "backward", "update"]
    assert len({(one.m, one.n, one.k) for one in drawn.values()}) == 3
    assert drawn["update"].k == drawn["forward"].m


def test_the_drawn_fold_takes_the_cycles_of_the_array():
    gemm, machine = placement_drawing.GEMM, placement_drawing.MACHINE
    counted = simulate(machine, SparseGemm.dense(gemm))
    folds = math.ceil(gemm.k / machine.rows) * math.ceil(gemm.n / machine.cols)
    assert counted.compute_cycles == folds * sum(placement_drawing.parts().values())
