"""What an array loads of a convolution's pixels, against sets of addresses, fold by fold."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from residence import addresses, folds, loaded, passes
from test_windows import drawn_axis
from tiers import fast_first

import nmsim
from nmsim import load_model, machines
from nmsim.errors import CapacityError
from nmsim.gemm import Gemm
from nmsim.machines import load_hardware
from nmsim.machines.systolic import analytical, cycle
from nmsim.machines.systolic.placement import without_masks
from nmsim.machines.systolic.traffic import gathering, residence
from nmsim.machines.systolic.traffic.gathering import geometry_of
from nmsim.machines.systolic.traffic.residence import BUDGET, Walk, loads
from nmsim.mask import SparseGemm
from nmsim.run import trace
from nmsim.windows import Axis, Windows

ALL = 1 << 40
OLD_TRACE = Path(__file__).parents[1] / "traces" / "digits-cnn-step.safetensors"


def drawn_windows(rng, most):
    """Windows with a pixel somewhere, along the rows or K: few enough to be taken one by one."""
    while True:
        axes = tuple(drawn_axis(rng) for _ in range(rng.integers(1, 4)))
        along = str(rng.choice(["rows", "k"]))
        windows = Windows(int(rng.integers(1, 4)), axes, int(rng.integers(1, 9)), along)
        if windows.elements and windows.pixels * windows.reads <= most:
            return windows


def kernel_geometry(windows):
    rows, k = windows.shape
    gemm = Gemm(rows, 3, k, a_windows=windows)
    machine = load_hardware("gemmini")
    return geometry_of(machine, without_masks(machine, gemm)[0], "a")


@pytest.mark.parametrize("by_block", [True, False])
def test_the_kernel_loads_what_sets_of_addresses_do(by_block):
    rng, partly = np.random.default_rng(int(by_block)), 0
    for _ in range(250):
        windows = drawn_windows(rng, 1000)
        rows, k = windows.shape
        block, part = int(rng.integers(1, rows + 3)), int(rng.integers(1, k + 3))
        room = max(1, int(windows.elements * 2 ** rng.uniform(-4, 0.3)))
        matrix = addresses(windows)
        touched = sum(one is not None for row in matrix for one in row)
        if windows.elements == rows * k:
            continue
        found = loads(kernel_geometry(windows), Walk(block, part, room, by_block, False), ALL)
        truth = loaded(passes(folds(matrix, block, part), 3, by_block), room)
        assert found == (truth[0], truth[1]) == (truth[0], truth[2]), (windows, block, part, room)
        partly += windows.elements < found[0] < touched
    assert partly > 30


@pytest.mark.parametrize("along", ["rows", "k"])
def test_a_pass_in_order_over_many_images_loads_each_element_once_or_as_sets_do(along):
    """Half of a buffer that holds some images of many: windows between two of one element fit."""
    rng, finds = np.random.default_rng(7), 0
    for _ in range(150):
        windows = replace(drawn_windows(rng, 100), images=int(rng.integers(6, 12)), along=along)
        if windows.elements == windows.pixels * windows.reads:
            continue
        few = int(rng.integers(1, 2 + windows.pixels // windows.images))
        reads = int(rng.choice([rng.integers(1, windows.reads + 3), windows.reads]))
        block, part = (few, reads) if along == "rows" else (reads, few)
        room = int(windows.elements * rng.uniform(0.5, 0.99))
        once, by_block = (bool(rng.integers(2)) for _ in range(2))
        found = loads(kernel_geometry(windows), Walk(block, part, room, by_block, once), ALL)
        if once:  # of passes that do not come, nothing is asked
            found = found[0], found[0]
        each = passes(folds(addresses(windows), block, part), 1 if once else 2, by_block)
        truth = loaded(each, room)
        assert found == (truth[0], truth[0 if once else 1]), (windows, block, part, room)
        finds += windows.elements == found[0]
    assert finds > 50


def placed_loads(machine, placement, rows):
    """Elements that both operands load, as the placement's folds come: one copy, by addresses."""
    gemm, held = placement.work.gemm, placement.dataflow.preloads
    sizes = {"a": gemm.m, "b": gemm.n}
    tiles = {placement.x: machine.cols, placement.y: rows if held else machine.rows}
    total = 0
    for side, other in (("a", "b"), ("b", "a")):
        windows = gemm.a_windows if side == "a" else gemm.b_windows
        matrix = [[r * gemm.k + k for k in range(gemm.k)] for r in range(sizes[side])]
        matrix = addresses(windows) if windows else matrix
        room = int(getattr(machine.sram, f"{side}_kib") * 512)
        times = -(-sizes[other] // tiles[other])
        # What is held, or lies along the rows under os, is passed over block by block.
        by_block = (side == placement.x) == held
        blocks = folds(matrix, tiles[side], machine.rows)
        total += sum(loaded(passes(blocks, times, by_block), room).values())
    return total * gemm.count


def drawn_run(rng):
    machine = load_hardware(
        "gemmini",
        rows=int(rng.integers(1, 9)),
        cols=int(rng.integers(1, 9)),
        dataflow=str(rng.choice(["ws", "is", "os"])),
        **{f"sram.{buffer}_kib": float(2 ** rng.uniform(-6, 0)) for buffer in "abc"},
    )
    windows, other = drawn_windows(rng, 400), int(rng.integers(1, 20))
    rows, k = windows.shape
    count = int(rng.choice([1, 1, 2]))
    if windows.along == "rows":
        return machine, Gemm(rows, other, k, count, a_windows=windows)
    return machine, Gemm(other, rows, k, count, b_windows=windows)


@pytest.mark.parametrize("drawn", fast_first([100, 500], 1))
def test_arrays_load_what_sets_of_addresses_do(drawn):
    """Of drawn convolutions, in both orders: what the folds of both fidelities load."""
    rng, ran, again = np.random.default_rng(5), 0, 0
    for _ in range(drawn):
        machine, gemm = drawn_run(rng)
        for placement in without_masks(machine, gemm):
            try:
                sums, *_ = cycle.count(machine, placement)
            except CapacityError:
                continue
            truth = placed_loads(machine, placement, sums.cut.rows)
            run = cycle.run(machine, placement)
            closed = analytical.estimate(machine, placement, sums.cut)
            assert run.dram_read_bytes == closed.dram_read_bytes == truth, (machine, gemm)
            plain = placement.work.gemm.a_windows is None
            least = (gemm.b_elements or 0) + (gemm.a_elements or 0)
            ran += 1
            again += truth > gemm.count * (least + (gemm.n if plain else gemm.m) * gemm.k)
    assert ran > 1.2 * drawn
    assert again > 0.4 * drawn


def resnet(layer, phase, batch):
    return next(
        gemm
        for gemm in load_model("resnet50").gemms(batch=batch)
        if (gemm.layer, gemm.phase) == (layer, phase)
    )


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
@pytest.mark.parametrize("name", ["systolic-16x16", "gemmini"])
def test_a_window_whose_taps_do_not_fit_loads_each_of_them(name, fidelity):
    """512 pixels of 256 channels are twice what half of 128 KiB holds: nine taps, no padding."""
    gemm = resnet("layer3.1.conv2", "forward", 2)
    run = machines.simulate_dense(load_hardware(name), gemm, fidelity)
    taps = (3 * 14 - 2) ** 2  # of every row and column of 14 pixels, those inside
    pixels, tiles = 2 * taps * 256, 256 // 16
    assert pixels / gemm.a_elements == pytest.approx(8.163, abs=1e-3)
    assert run.dram_read_bytes == tiles * pixels + 256 * gemm.k


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
@pytest.mark.parametrize(("layer", "phase"), [("conv1", "forward"), ("layer3.1.conv2", "update")])
def test_a_large_buffer_loads_every_pixel_once(layer, phase, fidelity):
    gemm = resnet(layer, phase, 2)
    run = machines.simulate_dense(load_hardware("systolic-128x128"), gemm, fidelity)
    sides = [gemm.a_elements or gemm.m * gemm.k, gemm.b_elements or gemm.n * gemm.k]
    assert run.dram_read_bytes == 2 * sum(sides)


def walks(windows):
    """Walks of arrays of 16 x 16 and of 128 x 128, over what streams and over what is held."""
    rows = windows.shape[0]
    yield Walk(min(448, rows), 16, 1 << 16, False, False)
    yield Walk(16, 16, 1 << 16, True, False)
    yield Walk(min(4096, rows), 128, 1 << 21, False, False)
    yield Walk(128, 128, 1 << 20, True, False)


def test_what_is_counted_in_part_is_near_what_is_counted_whole():
    """ResNet-50 at batch 8: within 2.5 %, but where the buffer just misses all of the tensor."""
    seen = {gemm.a_windows or gemm.b_windows for gemm in load_model("resnet50").gemms(batch=8)}
    far = []
    for windows in sorted((one for one in seen if one and one.taps > 1), key=str):
        geometry = kernel_geometry(windows)
        for walk in walks(windows):
            part, whole = loads(geometry, walk, BUDGET), loads(geometry, walk, ALL)
            assert part[0] >= windows.elements
            far += [
                (windows, walk, ours, theirs)
                for ours, theirs in zip(part, whole, strict=True)
                if abs(ours - theirs) > 0.025 * theirs
            ]
    # What the buffer nearly holds is told apart by one image more or less.
    assert all(walk.room / windows.elements > 0.8 for windows, walk, _, _ in far), far
    assert len(far) <= 1


def test_blocks_of_a_line_stand_for_those_that_follow():
    """200 windows of three taps, ten a fold: twelve elements each, of which a buffer holds five.

    30 touches are ten windows, fewer than two blocks: one until it settles, and one for the rest.
    """
    geometry = kernel_geometry(Windows(1, (Axis(202, 200, 3),), 1, "rows"))
    walk = Walk(10, 3, 5, False, False)
    plan = residence._plan(geometry, walk, 30)
    assert (plan.settled, plan.counted, plan.whole) == (10, 20, False)
    assert loads(geometry, walk, 30) == loads(geometry, walk, ALL) == (240, 240)


def test_of_an_image_four_rows_of_windows_are_counted_at_least():
    """Fifty rows of eight windows of 3 x 3: 32 windows are more than 90 touches and two blocks."""
    geometry = kernel_geometry(Windows(1, (Axis(52, 50, 3), Axis(10, 8, 3)), 1, "rows"))
    plan = residence._plan(geometry, Walk(10, 9, 5, False, False), 90)
    assert (plan.settled, plan.counted) == (20, 40)


def test_an_axis_of_two_windows_is_the_outermost_that_rows_are_counted_along():
    """Four rows of 200 are more than the two there are: all is counted."""
    geometry = kernel_geometry(Windows(1, (Axis(4, 2, 3), Axis(202, 200, 3)), 1, "rows"))
    plan = residence._plan(geometry, Walk(10, 9, 5, False, False), 90)
    assert (plan.settled, plan.counted) == (0, 400)


def test_whole_images_stand_for_all_where_windows_are_along_k():
    """Eight images of ten windows; 45 touches by three taps are fifteen windows: two images."""
    geometry = kernel_geometry(Windows(8, (Axis(12, 10, 3),), 1, "k"))
    plan = residence._plan(geometry, Walk(3, 5, 4, False, False), 45)
    assert (plan.images, plan.counted, plan.whole) == (2, 20, False)


def test_blocks_that_stand_for_all_end_where_an_image_does():
    """Of images of ten windows five blocks of four are two, whatever of them is wanted."""
    assert [residence._blocks(10, 4, least, 100) for least in (1, 20, 21, 40)] == [5, 5, 10, 10]
    assert residence._blocks(10, 4, 9, 19) == 3  # five are too many


def test_a_fold_of_whole_pixels_stands_for_those_of_a_channel_each():
    """Three windows of two taps, then one; a buffer that holds eleven of fifteen elements.

    Of three folds of a channel each, those before have touched theirs of the others' pixels.
    """
    geometry = kernel_geometry(Windows(1, (Axis(5, 4, 2),), 3, "rows"))
    walk = Walk(3, 1, 11, False, False)
    assert residence._plan(geometry, walk, 1).reads == 3
    assert loads(geometry, walk, 1) == loads(geometry, walk, ALL) == (15, 15)


def test_a_larger_buffer_never_loads_more():
    rng = np.random.default_rng(8)
    for _ in range(60):
        windows = drawn_windows(rng, 20_000)
        geometry = kernel_geometry(windows)
        rows, k = windows.shape
        block, part = int(rng.integers(1, rows + 1)), int(rng.integers(1, k + 1))
        by_block, budget = bool(rng.integers(2)), int(rng.choice([1, 50, 500, ALL]))
        rooms = sorted(int(windows.elements * 2 ** rng.uniform(-6, 0.5)) for _ in range(12))
        found = [loads(geometry, Walk(block, part, r, by_block, False), budget) for r in rooms]
        for smaller, larger in pairwise(found):
            assert larger[0] <= smaller[0]
            assert larger[1] <= smaller[1]


def faster(rng, machine):
    """The machine with more of one buffer or more bandwidth."""
    field = str(rng.choice(["sram.a_kib", "sram.b_kib", "sram.c_kib", "dram.gbps"]))
    group, name = field.split(".")
    more = getattr(getattr(machine, group), name) * float(rng.choice([1.05, 1.5, 3, 20]))
    return load_hardware(machine, **{field: more})


@pytest.mark.parametrize("drawn", fast_first([100, 400], 1))
@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
def test_more_of_a_buffer_never_costs_a_convolution_time(fidelity, drawn):
    rng, ran = np.random.default_rng(3), 0
    for _ in range(drawn):
        machine, gemm = drawn_run(rng)
        machine = load_hardware(
            machine,
            **{
                "dram.gbps": float(2 ** rng.uniform(-3, 6)),
                "dram.latency_ns": float(rng.choice([0, 30, 300])),
                "fold_period": str(rng.choice(["exposed", "preload_hidden", "back_to_back"])),
            },
        )
        try:
            before = machines.simulate_dense(machine, gemm, fidelity).cycles
        except CapacityError:
            continue
        more = faster(rng, machine)
        assert machines.simulate_dense(more, gemm, fidelity).cycles <= before, (machine, more, gemm)
        ran += 1
    assert ran > drawn / 2


@pytest.mark.parametrize("dataflow", ["ws", "is", "os"])
@pytest.mark.parametrize(("along", "kib"), [("rows", 0.25), ("k", 1.0), ("k", 0.25)])
@pytest.mark.parametrize("others", [20, 50])
def test_a_slow_channel_takes_as_long_as_what_it_moves(dataflow, along, kib, others):
    """A first pass loads other pixels than later ones: each takes its own time, 20 cycles a byte.

    Beside the channel only the last fold takes time, and the first byte's way in.
    """
    axis = Axis(size=9, windows=7, taps=3)
    windows = Windows(1, (axis, axis), 8, along)
    rows, k = windows.shape
    gemm = (
        Gemm(rows, others, k, a_windows=windows)
        if along == "rows"
        else Gemm(others, rows, k, b_windows=windows)
    )
    slow = {"dram.gbps": 0.05, "dram.latency_ns": 0.0}
    small = {"sram.a_kib": kib, "sram.b_kib": kib, "sram.c_kib": 1.0}
    machine = load_hardware("gemmini", rows=8, cols=8, dataflow=dataflow, **slow, **small)
    for placement in without_masks(machine, gemm):
        run = cycle.run(machine, placement)
        taken = 20 * (run.dram_read_bytes + run.dram_write_bytes)
        assert taken <= run.cycles + 1
        assert run.cycles < taken + 200


def test_a_trace_of_before_loads_each_pixel_once_a_pass_and_says_so():
    rows = nmsim.simulate(OLD_TRACE, hardware="systolic-16x16", compare=False)
    convolved = rows[(rows.kind == "conv") & (rows.phase == "forward")]
    assert len(convolved)
    assert all("A: each pixel is loaded once a pass, for want of its windows" in note
               for note in convolved.note)  # fmt: skip


def test_a_trace_keeps_windows(tmp_path):
    path = tmp_path / "t.safetensors"
    gemm = next(one for one in load_model("resnet18").gemms(batch=1) if one.a_windows)
    trace.record(path, [SparseGemm.dense(gemm)], {})
    assert trace.load(path).gemms[0].gemm == gemm
    run = nmsim.simulate(path, hardware="systolic-16x16", compare=False).iloc[0]
    assert "windows" not in run.note


def test_padding_on_one_side_is_no_pixel():
    """`same` padding of a window of 2: one zero behind each row, none before."""
    axis = Axis(size=6, windows=6, taps=2)
    windows = Windows(1, (axis, axis), 4)
    gemm = Gemm(36, 8, 16, a_windows=windows)
    machine = load_hardware("gemmini", rows=4, cols=8, **{"sram.a_kib": 2**-6})
    run = machines.simulate_dense(load_hardware(machine, order="fixed"), gemm)
    assert run.dram_read_bytes <= 4 * (6 * 2 - 1) ** 2 + 8 * 16
    before = replace(windows, axes=(replace(axis, first=-1),) * 2)
    mirrored = machines.simulate_dense(machine, replace(gemm, a_windows=before))
    assert mirrored.dram_read_bytes <= 4 * (6 * 2 - 1) ** 2 + 8 * 16


def test_what_is_between_two_buffers_that_load_the_same_is_not_counted(monkeypatch):
    """And is what counting gives; what lies between two that differ is counted."""
    rng, counted, told = np.random.default_rng(21), [], 0
    monkeypatch.setattr(
        gathering,
        "loads_of_each",
        lambda *args: counted.append(len(args[1])) or residence.loads_of_each(*args),
    )
    for _ in range(20):
        windows = drawn_windows(rng, 2000)
        geometry, (rows, k) = gathering._geometry(windows), windows.shape
        walk = Walk(1, int(rng.integers(1, k + 1)), 0, bool(rng.integers(2)), False)
        block = int(rng.integers(1, rows + 1))
        for room in (int(windows.elements * 2 ** rng.uniform(-4, 0.5)) for _ in range(8)):
            one = gathering.Asked(windows, walk._replace(room=room), {}, block)
            before = sum(counted)
            gathering.find_out([(one, block)])
            told += sum(counted) == before
            own = walk._replace(block=block, room=room)
            assert one.found == {block: loads(geometry, own, BUDGET)}
    assert 20 < told == 20 * 8 - sum(counted)


@pytest.mark.parametrize("along", ["rows", "k"])
def test_images_that_folds_touch_whole_are_counted_as_sets_are(along):
    """Folds of one to three images and some windows more: one image stands for those in between."""
    rng, compared = np.random.default_rng(22), 0
    for _ in range(120):
        windows = replace(drawn_windows(rng, 60), images=int(rng.integers(3, 9)), along=along)
        if windows.elements == windows.pixels * windows.reads:
            continue
        one = windows.pixels // windows.images
        many = one * int(rng.integers(1, 4)) + int(rng.choice([0, rng.integers(0, one)]))
        reads = int(rng.integers(1, windows.reads + 1))
        block, part = (many, reads) if along == "rows" else (reads, many)
        room = int(windows.elements * rng.uniform(0.05, 0.99))
        by_block = bool(rng.integers(2))
        found = loads(kernel_geometry(windows), Walk(block, part, room, by_block, False), ALL)
        truth = loaded(passes(folds(addresses(windows), block, part), 2, by_block), room)
        assert found == (truth[0], truth[1]), (windows, block, part, room)
        compared += windows.elements < found[1]
    assert compared > 3
