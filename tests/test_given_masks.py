"""Masks and traces that a user brings: what is promised is checked, and nothing of it is lost."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nmsim
from nmsim.errors import NmsimError
from nmsim.gemm import Gemm
from nmsim.machines import FIDELITIES, load_hardware, simulate
from nmsim.mask import Share
from nmsim.pattern import UNSTRUCTURED, Pattern
from nmsim.run.point import Point
from nmsim.run.trace import check

RNG = np.random.default_rng(0)


class Tensor:
    """What a tensor of torch answers."""

    def __init__(self, values):
        self.values = values

    def detach(self):
        return self

    def cpu(self):
        return self.values


@pytest.mark.parametrize("made", [list, np.array, Tensor, lambda bits: np.array(bits, np.uint8)])
def test_bits_are_read_with_k_last(made):
    bits = [[True, False, False, True, True], [False, True, False, False, False]]
    mask = nmsim.Mask(made(bits), "2:4")
    assert (mask.rows, mask.k, mask.kept, str(mask.pattern)) == (2, 5, 4, "2:4")
    assert (mask.bits() == bits).all()
    assert mask.fits
    assert not mask.regular
    deep = nmsim.Mask(np.array([bits, bits]), (2, 4))
    assert (deep.rows, deep.k) == (4, 5)


@pytest.mark.parametrize(
    ("bits", "pattern", "said"),
    [
        (
            [[1, 0, 0, 1], [1, 1, 1, 0]],
            "2:4",
            r"mask of 2 x 4: row 1 keeps 3 of columns 0 to 3, expected at most 2 \(2:4 along K",
        ),
        ([[0, 0, 0, 0, 1, 1]], "1:4", "row 0 keeps 2 of columns 4 to 5, expected at most 1"),
        ([[1, 1], [0, 1]], "dense", "row 1 keeps 0 of columns 0 to 0, expected all"),
        ([[1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0, 0, 0]], "2:2:8", "row 1 keeps 3"),
        ([[1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 1, 0, 0, 0]], "2:1:8", "row 0 keeps 2"),
        ([[1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 0, 0]], "2:3:6", "keep anything of more than 4"),
        ([1, 0], "2:4", r"shape is \(2,\), expected rows x K, K last"),
        (np.zeros((0, 4)), "2:4", "expected rows x K"),
        ([[2, 1]], "2:4", "expected booleans or zeros and ones, not int64"),
        (["ab"], "2:4", "expected rows x K"),
        ([["a", "b"]], "2:4", "expected booleans or zeros and ones, not <U1"),
        ([[1, 0], [1]], "2:4", "expected rows of one length"),
        ([[1, 0]], "5:4", "expected N:M"),
        ([[1, 0]], (2, 4, 8), "expected N:M"),
        ([[1, 0]], 24, "expected N:M"),
    ],
)
def test_what_is_no_mask_of_the_pattern_is_refused_in_a_line(bits, pattern, said):
    with pytest.raises(NmsimError, match=said) as refused:
        nmsim.Mask(bits, pattern)
    assert len(str(refused.value).splitlines()) == 1


@given(st.integers(1, 40), st.integers(1, 200), st.integers(0, 99))
def test_a_mask_is_refused_where_a_group_breaks_its_promise(rows, k, seed):
    rng = np.random.default_rng(seed)
    bits = rng.random((rows, k)) < rng.choice([0.05, 0.3, 0.6])
    whole = np.pad(bits, ((0, 0), (0, -k % 4))).reshape(rows, -1, 4).sum(axis=2)
    if (whole <= 2).all():
        assert nmsim.Mask(bits, "2:4").kept == bits.sum()
        return
    row, group = np.argwhere(whole > 2)[0]
    said = f"row {row} keeps {whole[row, group]} of columns {4 * group} to"
    with pytest.raises(NmsimError, match=said):
        nmsim.Mask(bits, "2:4")


def unpromised(rows=64, k=256):
    return nmsim.Mask(RNG.random((rows, k)) < 0.3, None)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_mask_that_promises_nothing_runs_dense_where_bits_are_not_skipped(fidelity):
    work = nmsim.SparseGemm(Gemm(96, 64, 256), nmsim.Mask.dense(96, 256), unpromised())
    dense = nmsim.SparseGemm.dense(work.gemm)
    for name in ("systolic-128x128", "a100-sxm4-80gb", "ideal"):
        machine = load_hardware(name)
        run = simulate(machine, work, fidelity)
        assert run.cycles == simulate(machine, dense, fidelity).cycles
        assert run.note
    assert simulate(load_hardware("ideal"), work, fidelity).note == (
        "runs dense: the mask of B promises nothing"
    )
    skipping = load_hardware("systolic-128x128-intersecting")
    run = simulate(skipping, work, fidelity)
    assert run.cycles < simulate(skipping, dense, fidelity).cycles


@st.composite
def sparse_gemms(draw):
    """A sparse GEMM with whatever its fields may hold."""
    m, n, k = (draw(st.integers(1, 20)) for _ in range(3))
    gemm = Gemm(m, n, k, count=draw(st.integers(1, 3)), layer=draw(st.text(max_size=5)))
    masks = []
    for rows in (m * gemm.count, n * gemm.count):
        bits = np.random.default_rng(draw(st.integers(0, 99))).random((rows, k)) < 0.3
        how = draw(st.sampled_from(["dense", "given", "nothing", "told"]))
        if how == "dense":
            masks.append(nmsim.Mask.dense(rows, k))
        elif how == "nothing":
            masks.append(nmsim.Mask(bits, None))
        else:
            of = nmsim.Mask.of(bits, Pattern(7, 8))
            told = {
                "fits": draw(st.booleans()),
                "indexed": draw(st.booleans()),
                "tighter": draw(st.sampled_from([None, Pattern(7, 8)])),
                "known_kept": draw(st.sampled_from([None, int(bits.sum())])),
            }
            masks.append(of.but(**told) if how == "told" and not of.is_dense else of)
    share = draw(st.sampled_from([None, Share(Gemm(3, 4, 5, layer="whole"), 1, 2, 7)]))
    formats = draw(st.sampled_from(["", "fp8", "int8"]))
    return nmsim.SparseGemm(gemm, *masks, draw(st.text(max_size=9)), formats, share)


@settings(max_examples=60)
@given(st.lists(sparse_gemms(), min_size=1, max_size=3))
def test_a_trace_gives_back_every_field(tmp_path_factory, gemms):
    path = tmp_path_factory.mktemp("traces") / "t.safetensors"
    nmsim.Trace(gemms, {"made": "by hand"}).save(path)
    again = check(path)
    assert again.provenance == {"made": "by hand"}
    assert again.path == path
    for one, other in zip(gemms, again.gemms, strict=True):
        for part in fields(one):
            if part.name not in ("a", "b"):
                assert getattr(one, part.name) == getattr(other, part.name)
        for mask, read in ((one.a, other.a), (one.b, other.b)):
            for part in fields(mask):
                if part.name != "source":
                    assert getattr(mask, part.name) == getattr(read, part.name), part.name
            assert (mask.words == read.words).all()


def test_a_recorded_step_in_8_bits_is_replayed_in_8_bits(tmp_path):
    point = Point(model="resnet18", layers="layer1.0.conv1", recipe="transposable+mvue-8bit")
    gemms = list(point.sparse_gemms())
    nmsim.Trace(gemms).save(tmp_path / "t.safetensors")
    direct = nmsim.simulate("resnet18", layers="layer1.0.conv1", recipe="transposable+mvue-8bit")
    again = nmsim.simulate(tmp_path / "t.safetensors")
    for column in ("cycles", "number_format", "dram_read_bytes"):
        assert again[column].tolist() == direct[column].tolist()


def test_gemms_with_masks_run_from_memory(tmp_path):
    mask = nmsim.prune(RNG.normal(size=(128, 256)), "2:4").mask
    dense = nmsim.Mask.dense(512, 256)
    work = nmsim.SparseGemm(Gemm(512, 128, 256, layer="own"), dense, nmsim.Mask(mask, "2:4"))
    table = nmsim.simulate([work])
    assert (table.layer[0], table.b_pattern[0]) == ("own", "2:4")
    assert table["speedup"][0] > 1.2
    kept = nmsim.Trace([work])
    kept.save(tmp_path / "here.safetensors")
    kept.save(tmp_path / "there.safetensors")
    here, there = ((tmp_path / f"{n}.safetensors").read_bytes() for n in ("here", "there"))
    assert here == there
    assert nmsim.simulate(kept).equals(table)


@pytest.mark.parametrize("model", [[], [Gemm(1, 1, 1), 3], 7, None, [None]])
def test_what_is_no_model_is_refused_in_a_line(model):
    with pytest.raises(NmsimError, match=r"model.*expected a name, a path") as refused:
        nmsim.simulate(model)
    assert len(str(refused.value).splitlines()) == 1


def test_no_pattern_is_spelt_as_what_promises_nothing():
    assert str(UNSTRUCTURED) == "unstructured"
    with pytest.raises(NmsimError):
        Pattern.parse("unstructured")
