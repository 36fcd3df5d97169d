"""V:N:M: what such a pattern says, masks of it, and machines that can use them."""

import itertools

import numpy as np
import pytest

import nmsim
from nmsim.errors import PatternError, ShapeError
from nmsim.gemm import Gemm
from nmsim.machines import FIDELITIES, load_hardware, simulate
from nmsim.machines.gpu.routines import call_times
from nmsim.machines.kind import Call
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import Pattern
from nmsim.pruning import mask_words, prune
from nmsim.recipes.schedules import schedule


def oracle(values, vector, keep, group):
    """The mask by the letter: every set of four columns is tried, and every set of N of a row."""
    rows, k = values.shape
    mask = np.zeros(values.shape, bool)
    for top, left in itertools.product(range(0, rows, vector), range(0, k, group)):
        block = np.abs(values[top : top + vector, left : left + group])
        width = block.shape[1]
        # Of equals the set that comes first: the lowest indices.
        columns = max(
            itertools.combinations(range(width), min(4, width)),
            key=lambda some: (block[:, some].sum(), [-column for column in some]),
        )
        for i, row in enumerate(block):
            kept = max(
                itertools.combinations(columns, min(keep, len(columns))),
                key=lambda some: (row[list(some)].sum(), [-column for column in some]),
            )
            mask[top + i, [left + column for column in kept]] = True
    return mask


CASES = [(1, 2, 5), (2, 2, 5), (2, 1, 6), (3, 2, 6), (4, 3, 7), (2, 2, 4), (5, 2, 8), (3, 2, 9)]


@pytest.mark.parametrize(("vector", "keep", "group"), CASES)
def test_masks_are_the_oracles(vector, keep, group):
    """Small integers, so that ties are common; short last rows and groups; zeros."""
    rng = np.random.default_rng([vector, keep, group])
    pattern = f"{vector}:{keep}:{group}"
    for _ in range(25):
        rows, k = int(rng.integers(1, 3 * vector)), int(rng.integers(1, 3 * group))
        values = rng.integers(-3, 4, (rows, k)).astype(float)
        found = prune(values, pattern)
        assert (found.mask == oracle(values, vector, keep, group)).all()
        assert (found.values == np.where(found.mask, values, 0)).all()
        mask = Mask.of(found.mask, Pattern.parse(pattern))
        assert mask.broken_groups() == 0
        assert mask.kept == rows * Pattern.parse(pattern).stored(k)


def test_every_small_block_is_the_oracles():
    """All blocks of two rows and five columns of 0, 1 and 2: 59,049, sixteen at a time."""
    digits = np.array(list(itertools.product(range(3), repeat=5)), float)
    pairs = np.concatenate([np.stack(np.broadcast_arrays(one, digits), 1) for one in digits[::9]])
    found = prune(pairs, "2:2:5").mask
    assert len(pairs) == 27 * 243
    for pair, mask in zip(pairs[::7], found[::7], strict=True):
        assert (mask == oracle(pair, 2, 2, 5)).all()
    # What rows share, of all of them at once.
    assert (found.any(1).sum(1) <= 4).all()
    assert (found.sum(2) == 2).all()


def test_rows_restart_at_every_matrix_and_blocks_make_no_difference():
    values = np.random.default_rng(0).normal(size=(3, 5, 16))
    whole = prune(values, "2:2:8").mask
    assert all((whole[i] == prune(values[i], "2:2:8").mask).all() for i in range(3))
    flat = np.random.default_rng(1).normal(size=(70, 16))
    words = mask_words(iter(np.split(flat, [3, 11, 40])), 70, 16, Pattern(2, 8, 4), "magnitude", 0)
    assert (
        Mask.promising(Pattern(2, 8, 4), 70, 16, True, lambda: words).bits()
        == prune(flat, "4:2:8").mask
    ).all()
    large = np.random.default_rng(2).normal(size=(2048, 512))
    assert (prune(large, "64:2:8").mask[64:128] == prune(large[64:128], "64:2:8").mask).all()
    assert prune(flat.astype(np.float32), "4:2:8", "venom").values.dtype == np.float32
    assert np.isfinite(prune(np.full((8, 8), 1.7e308), "8:2:8").values).all()


def test_a_mask_that_spreads_over_more_columns_is_told():
    bits = np.zeros((4, 8), bool)
    bits[0, [0, 1]] = bits[1, [2, 3]] = bits[2, [4, 5]] = bits[3, [6, 7]] = True
    assert Mask.of(bits, Pattern(2, 8)).broken_groups() == 0
    assert Mask.of(bits, Pattern(2, 8, 2)).broken_groups() == 0
    assert Mask.of(bits, Pattern(2, 8, 4)).broken_groups() == 4
    bits[0, 2] = True
    assert Mask.of(bits, Pattern(2, 8, 2)).broken_groups() == 1


def test_a_pattern_says_what_it_is():
    pattern = Pattern.parse("64:2:8")
    assert (pattern.keep, pattern.group, pattern.vector, str(pattern)) == (2, 8, 64, "64:2:8")
    assert Pattern.parse(pattern) == pattern != Pattern(2, 8) == pattern.plain
    assert (pattern.density, pattern.metadata_bits, pattern.shrink) == (0.25, 2, 0.5)
    assert pattern.inner == Pattern(2, 4)
    assert Pattern(2, 4).covers(pattern)
    assert Pattern(2, 8).covers(pattern)
    assert Pattern(2, 8, 32).covers(pattern)
    assert not Pattern(2, 8, 128).covers(pattern)
    assert not pattern.covers(Pattern(2, 8))
    assert not pattern.covers(Pattern(1, 8))
    assert pattern.covers(Pattern(1, 8, 128))
    assert Pattern(2, 4, 16).covers(Pattern(2, 4))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("64:4:8", "1 <= N < 4 <= M"),
        ("64:2:3", "1 <= N < 4 <= M"),
        ("0:2:8", "a V of 1 or more"),
        ("99999:2:8", "1 <= V <= 65536"),
        ("64:2:8:1", "expected N:M"),
        (":2:8", "expected N:M"),
        ("64:0:8", "expected N:M"),
        ("-1:2:8", "expected N:M"),
        ("64:2:2048", "M <= 1024"),
    ],
)
def test_bad_patterns_get_one_line(command, text, why):
    with pytest.raises(PatternError):
        Pattern.parse(text)
    status, out, err = command("simulate", "gemm:64x64x64", "--recipe", "asp", "--pattern", text)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert why in err


@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        ("transposable", "prunes N:M, expected magnitude, venom or given for V:N:M"),
        ("activation", "V:N:M is of weights, expected N:M for the activation"),
        ("probabilities", "V:N:M is of weights, expected N:M for the probabilities"),
    ],
)
def test_other_masks_are_refused(command, tmp_path, recipe, why):
    if recipe != "transposable":
        offer = f"operands: [{{role: {recipe}, phases: [forward], pruner: magnitude}}]\n"
        (tmp_path / "own.yaml").write_text("summary: s\nsource: s\n" + offer)
        recipe = tmp_path / "own.yaml"
    network = ("simulate", "bert-base", "--recipe", recipe, "--pattern", "16:2:8")
    options = ("--phase", "forward", "--no-compare", "--batch", 1, "--hardware", "ideal")
    status, _, err = command(*network, *options)
    assert (status, err.count("\n")) == (2, 1)
    assert why in err


def test_what_cannot_be_pruned_so_is_refused():
    with pytest.raises(ShapeError, match="works on vectors of rows, expected two axes"):
        prune(np.ones(8), "2:2:8")
    values = np.random.default_rng(3).integers(-3, 4, (9, 21))
    assert (prune(values, "5:8", "venom").mask == prune(values, "5:8").mask).all()
    with pytest.raises(PatternError, match="sparsifies to N:M, not to V:N:M"):
        schedule("sdgf-stepwise", "64:1:4", 350)


def ran(hardware, pattern, fidelity="analytical", size=4096):
    work = nmsim.simulate(
        f"gemm:{size}x{size}x{size}",
        recipe="asp",
        pattern=pattern,
        hardware=hardware,
        fidelity=fidelity,
    )
    return work.iloc[0]


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_gpu_with_such_kernels_shrinks_k(fidelity):
    plain = ran("rtx3090", "2:4", fidelity)
    for group in (8, 16, 32):
        row = ran("rtx3090", f"128:2:{group}", fidelity)
        assert row["kernel"] == "spatha 64x128x32_2"  # 128 of the weights' rows
        assert row["macs_issued"] == row["macs_useful"] == 4096**3 * 2 // group
        assert row["metadata_bytes"] == 4096 * 4096 * 2 // group * 2 // 8
        assert plain["speedup"] < row["speedup"] < group / 2
        assert row["note"] == ""
        plain = row
    assert ran("rtx3090", "64:2:8")["kernel"] == "spatha 64x64x32_2"


def test_a_row_is_what_a_table_of_measured_times_predicts():
    call = Call("fp16", Pattern(2, 8), "b", "spatha", vector_length=128)
    us = call_times(load_hardware("rtx3090"), call, np.array([[4096.0, 4096, 4096, 1]]))[0]
    assert ran("rtx3090", "128:2:8")["time_us"] == pytest.approx(us, rel=1e-3)


@pytest.mark.parametrize(
    ("hardware", "pattern", "note"),
    [
        ("v100", "64:2:8", "runs dense: the GPU has no sparse instruction"),
        ("a100-sxm4-80gb", "64:2:8", "64:2:8 runs as 2:4"),
        ("a100-sxm4-80gb", "64:3:8", "runs dense"),
        ("rtx3090", "48:2:8", "48:2:8 runs as 2:4"),  # tiles have 64 or 128 rows
        ("systolic-128x128-2to4", "64:2:8", "64:2:8 runs as 2:4"),
        ("systolic-128x128", "64:2:8", "the array has no selectors"),
    ],
)
def test_other_machines_run_it_as_they_can_and_say_so(hardware, pattern, note):
    row = ran(hardware, pattern, size=1024)
    assert note in row["note"]
    assert row["b_pattern"] == pattern
    assert (row["speedup"] == 1.0) == ("dense" in note or "no selectors" in note)


def test_a_network_a_sweep_and_a_trace_take_it(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = ("bert-base", "--recipe", "asp", "--batch", 1, "--layer", "*output.dense")
    of_it = ("--pattern", "64:2:8", "--phase", "forward")
    status, _, err = command("trace", "record", *network, *of_it, "--out", "v.safetensors")
    assert status == 0, err
    status, _, err = command("trace", "check", "v.safetensors")
    assert status == 0, err
    always = load_hardware("rtx3090", masks="always")
    rows = nmsim.simulate(str(tmp_path / "v.safetensors"), hardware=always)
    assert rows["kernel"].str.startswith("spatha").all()
    document = "title: t\nmodels: ['gemm:512x512x512']\nrecipes: [asp]\nhardware: [rtx3090]\n"
    document += "patterns: [dense, 2:4, 64:2:8]\nfidelities: [analytical]\n"
    (tmp_path / "x.yaml").write_text(document)
    status, _, err = command("sweep", "x.yaml", "--out", "o", "--workers", 1)
    assert status == 0, err
    assert "64:2:8" in (tmp_path / "o" / "results.csv").read_text()


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_mask_without_kernels_is_not_slower_for_being_told_more(fidelity):
    """64:2:8 is 2:8 as well: a machine that cannot use the vectors runs it as that."""
    machine = load_hardware("a100-sxm4-80gb")

    def cycles(pattern):
        mask = Mask.promising(Pattern.parse(pattern), 512, 512, regular=True, source=pytest.fail)
        work = SparseGemm(Gemm(512, 512, 512), Mask.dense(512, 512), mask)
        return simulate(machine, work, fidelity).cycles

    assert cycles("64:2:8") == cycles("2:8")
