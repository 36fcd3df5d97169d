"""Traces: the same rows as the run that they record, and nothing that was altered is read."""

import json
import struct

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from tiers import fast_first

import nmsim
from nmsim.errors import ShapeError, TraceError
from nmsim.gemm import Gemm
from nmsim.mask import Mask, SparseGemm
from nmsim.run import trace
from nmsim.run.point import Point
from nmsim.step.masks import MASK_COLUMNS

MODEL = """
layers:
- {name: data, type: conv, in_channels: 3, out_channels: 8, kernel: 3, input_size: 9, input: data}
- {name: wide, type: conv, in_channels: 16, out_channels: 24, kernel: 3, stride: 2, padding: 1,
   input_size: [7, 9], groups: 2}
- {name: deep, type: conv, in_channels: 8, out_channels: 8, kernel: 3, groups: 8, input_size: 6}
- {name: head, type: linear, in_features: 70, out_features: 37, tokens: 5, repeat: 2}
- {name: attend, type: matmul, m: 6, n: 5, k: 7, heads: 3}
"""
RECIPE = """
summary: masks on every operand
source: this test
operands:
- {role: weight, phases: [forward], pruner: magnitude}
- {role: weight, phases: [backward], pruner: random, pattern: 1:4}
- {role: activation, phases: [forward], pruner: magnitude, pattern: 4:8}
- {role: activation, phases: [update], pruner: random}
- {role: gradient, phases: [backward, update], pruner: magnitude, allow_unfit: true}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("trace")
    (path / "model.yaml").write_text(MODEL)
    (path / "recipe.yaml").write_text(RECIPE)
    return path


def record(folder, **settings):
    path = folder / "recorded.safetensors"
    point = Point(folder / "model.yaml", **settings)
    trace.record(path, point.sparse_gemms(), {"model": "model"})
    return path


@pytest.fixture(scope="module")
def recorded(folder):
    return record(folder, recipe="sr-ste").read_bytes()


@pytest.fixture
def refused(tmp_path):
    """Write a file and check that it is refused in one line; the line."""

    def refused(content, read=trace.check):
        path = tmp_path / "t.safetensors"
        path.write_bytes(content)
        with pytest.raises(TraceError) as error:
            read(path)
        assert "\n" not in str(error.value)
        assert str(error.value).startswith(f"{path}: ")
        return str(error.value)

    return refused


def header_length(content):
    return struct.unpack("<Q", content[:8])[0]


def simulate_all(path):
    nmsim.simulate(path, hardware="systolic-16x16", fidelity="analytical", compare=False)


@pytest.mark.parametrize("fidelity", ["cycle", "analytical"])
@pytest.mark.parametrize(
    ("recipe", "pattern", "hardware"),
    [
        ("dense", "2:4", "systolic-16x16"),
        ("sr-ste", "2:4", "systolic-128x128-2to4"),
        ("sr-ste", "4:8", "systolic-128x128-2to4"),
        ("own", "2:4", "systolic-128x128-2to4"),
        ("own", "3:8", "systolic-128x128-flexible"),
    ],
)
def test_a_trace_gives_the_rows_of_the_direct_run(folder, recipe, pattern, hardware, fidelity):
    made_by = {
        "recipe": folder / "recipe.yaml" if recipe == "own" else recipe,
        "pattern": pattern,
        "batch": 3,
        "seed": 7,
    }
    # Small, so that lock-step spans a few lanes and the bits of a mask tell.
    machine = nmsim.load_hardware(hardware, rows=5, cols=3)
    # A trace is of GEMMs: nothing is estimated beside them.
    direct = nmsim.simulate(
        folder / "model.yaml",
        hardware=machine,
        fidelity=fidelity,
        elementwise=False,
        **made_by,
    )
    path = record(folder, **made_by)
    again = nmsim.simulate(path, hardware=machine, fidelity=fidelity)
    # What making masks costs depends on the recipe, which a trace does not hold.
    columns = list(MASK_COLUMNS)
    assert direct.drop(columns=columns).to_csv() == again.drop(columns=columns).to_csv()
    assert again.mask_us.isna().all()
    assert trace.check(path).provenance == {"model": "model"}


def test_a_trace_can_be_read_in_part(folder):
    path = record(folder, recipe="sr-ste")
    part = nmsim.simulate(path, layers="he*", phases=["update", "forward"])
    assert part[["layer", "phase"]].values.tolist() == [["head", "forward"], ["head", "update"]]


def test_a_trace_opens_in_any_reader_and_holds_the_bits(folder):
    path = record(folder, recipe="sr-ste")
    gemms = list(Point(folder / "model.yaml", recipe="sr-ste").sparse_gemms())
    with safe_open(path, framework="numpy") as file:
        document = json.loads(file.metadata()["nmsim"])
        assert len(document["gemms"]) == len(gemms)
        masked = {f"{i}.b" for i, work in enumerate(gemms) if not work.b.is_dense}
        assert set(file.keys()) == masked
        for name in masked:
            stored, mask = file.get_tensor(name), gemms[int(name.split(".")[0])].b
            assert stored.dtype == np.uint8
            bits = np.unpackbits(stored, axis=1, count=mask.k, bitorder="little")
            assert (bits == mask.bits()).all()


def test_a_truncated_trace_is_refused(refused, recorded):
    length = header_length(recorded)
    edges = {0, 1, 7, 8, 9, length, 8 + length, 9 + length, len(recorded) - 1}
    for cut in sorted(edges | set(range(0, len(recorded), 131))):
        refused(recorded[:cut])


def test_a_flipped_bit_anywhere_in_the_header_is_refused(refused, recorded):
    # Every kind of byte, in a step that meets every bit: names, digests, numbers, padding.
    end = 8 + header_length(recorded)
    for place in sorted({*range(16), *range(16, end, 13), *range(end - 8, end)}):
        altered = bytearray(recorded)
        altered[place] ^= 1 << place % 8
        refused(bytes(altered), trace.load)


@pytest.mark.parametrize(
    ("read", "step"),
    fast_first([(trace.check, 7), (simulate_all, 151), (trace.check, 1), (simulate_all, 37)], 2),
)
def test_a_flipped_bit_anywhere_in_the_masks_is_refused(refused, recorded, read, step):
    for place in range(8 + header_length(recorded), len(recorded), step):
        altered = bytearray(recorded)
        altered[place] ^= 1 << place % 8
        assert "does not match its digest" in refused(bytes(altered), read)


def test_padding_of_the_header_is_part_of_it(refused, recorded):
    length = header_length(recorded)
    padded = struct.pack("<Q", length + 8) + recorded[8 : 8 + length] + b" " * 8
    assert "digest" in refused(padded + recorded[8 + length :], trace.load)
    refused(recorded + b"\0")


def forged(tmp_path, recorded, edit=None, tensors=None):
    """The trace with its document or its tensors changed, and a digest that matches."""
    source = tmp_path / "source.safetensors"
    source.write_bytes(recorded)
    with safe_open(source, framework="numpy") as file:
        document = json.loads(file.metadata()["nmsim"])
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    document["sha256"] = "0" * 64
    if edit:
        edit(document)
    save_file(tensors(held) if tensors else held, source, {"nmsim": json.dumps(document)})
    trace._seal(source)
    return source.read_bytes()


def test_forging_alone_changes_nothing(tmp_path, recorded):
    path = tmp_path / "t.safetensors"
    path.write_bytes(forged(tmp_path, recorded))
    assert trace.check(path).gemms[0].b.pattern == nmsim.Pattern(2, 4)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda tensor: tensor[:-1], "expected 8 x 4 of U8"),
        (lambda tensor: tensor.T.copy(), "expected 8 x 4 of U8"),
        (lambda tensor: tensor.astype(np.uint16), "8 x 4 of U16, expected"),
        (lambda tensor: tensor.view(np.int8), "8 x 4 of I8, expected"),
        (lambda tensor: tensor ^ np.uint8(1), "does not match its digest"),
    ],
)
def test_a_wrong_tensor_is_refused(refused, tmp_path, recorded, change, named):
    def change_all(tensors):
        return {name: change(tensor) for name, tensor in tensors.items()}

    line = refused(forged(tmp_path, recorded, tensors=change_all))
    assert named in line
    assert "'0.b'" in line


def test_a_missing_tensor_is_refused(refused, tmp_path, recorded):
    assert "'0.b'" in refused(forged(tmp_path, recorded, tensors=lambda _: {}), trace.load)


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda d: d.update(schema=3), "schema is 3, expected 2 or older: upgrade nmsim"),
        (lambda d: d.update(schema="1"), "schema is '1'"),
        (lambda d: d.update(schema=True), "schema is True"),
        (lambda d: d.update(schema=0), "schema is 0"),
        (lambda d: d.pop("schema"), "schema"),
        (lambda d: d.pop("provenance"), "provenance is missing"),
        (lambda d: d.update(provenance=3), "provenance is 3"),
        (lambda d: d.update(gemms=[]), "gemms is []"),
        (lambda d: d.update(gemms=[3]), "gemms[0] is 3"),
        (lambda d: d["gemms"][0].pop("a"), "gemms[0].a is missing"),
        (lambda d: d["gemms"][0].update(note=3), "gemms[0].note is 3"),
        (lambda d: d["gemms"][0]["gemm"].update(m=0), "m is 0"),
        (lambda d: d["gemms"][0]["gemm"].update(m="3"), "gemms[0].gemm.m is '3'"),
        (lambda d: d["gemms"][0]["gemm"].update(layer=3), "gemms[0].gemm.layer is 3"),
        (lambda d: d["gemms"][0]["gemm"].update(phase="x"), "gemms[0].gemm.phase is 'x'"),
        (lambda d: d["gemms"][0]["gemm"].update(a_elements=0), "a_elements is 0"),
        (lambda d: d["gemms"][0]["b"].update(pattern="5:4"), "gemms[0].b.pattern is '5:4'"),
        (lambda d: d["gemms"][0]["b"].update(regular=3), "gemms[0].b.regular is 3"),
        (lambda d: d["gemms"][0]["b"].update(pattern="1:4"), "groups break 1:4"),
        (lambda d: d["gemms"][0]["b"].update(pattern="3:4"), "keeps"),
    ],
)
def test_a_wrong_header_is_refused(refused, tmp_path, recorded, edit, named):
    assert named in refused(forged(tmp_path, recorded, edit))


@pytest.mark.parametrize("metadata", [None, {"x": "y"}, {"nmsim": "{"}, {"nmsim": "3"}])
def test_a_file_of_other_tensors_is_refused(refused, tmp_path, metadata):
    path = tmp_path / "other.safetensors"
    save_file({"w": np.zeros((2, 3))}, path, metadata)
    assert "not a trace" in refused(path.read_bytes(), trace.load)


def test_an_interrupted_recording_leaves_the_old_trace(folder, tmp_path):
    path = tmp_path / "t.safetensors"
    path.write_bytes(b"old")

    def interrupted():
        yield from Point(folder / "model.yaml", recipe="sr-ste", layers="head").sparse_gemms()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trace.record(path, interrupted(), {})
    with pytest.raises(TraceError, match="nothing to record"):
        trace.record(path, [], {})
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_masks_that_do_not_fit_pass_the_check_as_what_they_are(tmp_path):
    recipe = tmp_path / "unfit.yaml"
    recipe.write_text(
        "{summary: s, source: t, operands: [{role: weight, phases: [forward, backward], "
        "pruner: magnitude, allow_unfit: true}]}"
    )
    point = Point(model="resnet18", recipe=recipe, layers="fc")
    trace.record(tmp_path / "t.safetensors", point.sparse_gemms(), {})
    checked = trace.check(tmp_path / "t.safetensors")
    assert [work.b.fits for work in checked.gemms] == [True, False, True]


@pytest.mark.parametrize("gemms", [3, [3], [Gemm(1, 2, 3)], iter([])])
def test_a_trace_is_of_sparse_gemms(gemms):
    with pytest.raises(TraceError, match="trace: expected a list of SparseGemm"):
        trace.Trace(gemms)


@pytest.mark.parametrize("value", [object(), float("nan")])
def test_what_made_a_trace_is_json(tmp_path, value):
    whole = trace.Trace([SparseGemm.dense(Gemm(1, 2, 3))], {"made by": value})
    with pytest.raises(TraceError, match="provenance: expected JSON values"):
        whole.save(tmp_path / "t.safetensors")


def test_a_sparse_gemm_has_a_gemm_and_two_masks():
    with pytest.raises(ShapeError, match="sparse GEMM of Gemm, Mask, NoneType: expected a Gemm"):
        SparseGemm(Gemm(1, 2, 3), Mask.dense(1, 3), None)
