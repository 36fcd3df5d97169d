"""Are the layers of a ZigZag workload its loops, or refused by name?"""

import re

import pytest

from nmsim.errors import NmsimError
from nmsim.importing import import_document, importer_of
from nmsim.network.catalog import Network
from nmsim.network.layer import lowered
from nmsim.run.point import Point, rows
from nmsim.spec import validate

CONV = """
- id: 0  # a strided stem
  operator_type: Conv
  equation: O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]
  dimension_relations: [ix=2*ox+1*fx, iy=3*oy+2*fy]
  loop_dims: [B, K, C, OY, OX, FY, FX]
  loop_sizes: [2, 16, 3, 11, 7, 5, 4]
  operand_precision: {W: 8, I: 8, O: 16, O_final: 8}
  operand_source: {I: 0, W: 0}
"""
PADDED = """
- id: 1
  name: dw
  operator_type: Conv
  equation: O[b][g][oy][ox]+=W[g][fy][fx]*I[b][g][iy][ix]
  dimension_relations: [ix=1*ox+1*fx, iy=1*oy+1*fy]
  loop_dims: [B, G, OY, OX, FY, FX]
  loop_sizes: [2, 16, 11, 7, 3, 3]
  pr_loop_dims: [IX, IY]
  pr_loop_sizes: [7, 11]
  padding: [[1, 1], [0, 2]]
  operand_precision: {W: 4, I: 16, O: 16}
  operand_source: {I: 0, W: 1}
"""
REST = """
- {id: 2, operator_type: Pooling, equation: "O[b][g][oy][ox]+=W[fx][fy]*I[b][g][iy][ix]",
   dimension_relations: [ix=7*ox+1*fx, iy=7*oy+1*fy], loop_dims: [B, G, OY, OX, FX, FY],
   loop_sizes: [2, 16, 1, 1, 7, 7], operand_precision: {I: 8, W: 0, O: 16},
   operand_source: {I: 1, W: 2}}
- {id: 3, operator_type: Add, equation: "O[b][g]=W[b][g]+I[b][g]", loop_dims: [B, G],
   loop_sizes: [2, 16], operand_precision: {W: 8, I: 8, O: 16}, operand_source: {W: 2, I: 2}}
- {id: 4, operator_type: Gemm, equation: "O[b][d][k] += W[k][c] * I[b][d][c]",
   loop_dims: [B, D, K, C], loop_sizes: [2, 5, 10, 16],
   operand_precision: {W: 16, I: 16, O: 16}, operand_source: {I: 3, W: 4}}
- {id: 5, operator_type: Gemm, equation: "O[b][h][d][e]+=W[b][h][c][e]*I[b][h][d][c]",
   loop_dims: [B, H, D, E, C], loop_sizes: [2, 3, 5, 6, 8],
   operand_precision: {W: 8, I: 8, O: 16}, operand_source: {I: 3, W: 4}}
"""


@pytest.fixture
def read(tmp_path):
    def layers(text):
        path = tmp_path / "w.yaml"
        path.write_text(text)
        assert importer_of(path).name == "zigzag"
        _, found = import_document(path, "", {})
        return validate(Network, found.content, str(path)), found

    return layers


def test_layers_are_the_loops_of_their_equations(read):
    network, found = read(CONV + PADDED + REST)
    every = (one.gemm for layer in network.layers for one in lowered(layer, network.batch))
    sizes = [(g.layer, g.m, g.n, g.k, g.count) for g in every if g.phase == "forward"]
    assert sizes == [
        ("Layer0", 2 * 77, 16, 3 * 20, 1),
        ("dw", 2 * 77, 1, 9, 16),
        ("Layer4", 2 * 5, 10, 16, 1),
        ("Layer5", 5, 6, 8, 2 * 3),
    ]
    stem, depthwise, gemm, product = found.content["layers"]
    assert stem == {
        "name": "Layer0",
        "type": "conv",
        "in_channels": 3,
        "out_channels": 16,
        "kernel": [5, 4],
        "stride": [3, 2],
        "dilation": [2, 1],
        "input_size": [10 * 3 + 9, 6 * 2 + 4],
        "input": "data",
        "number_format": "int8",
    }
    assert (depthwise["padding"], depthwise["input_size"]) == ([[0, 2], [1, 1]], [11, 7])
    assert (depthwise["groups"], depthwise["number_format"]) == (16, "w4a16")
    assert "number_format" not in gemm
    assert (product["type"], product["heads"]) == ("matmul", 3)
    assert "2 operations without two matrices: Pooling 1, Add 1" in found.told[0]
    assert any("16 bits run in the machine's own" in line for line in found.told)


def test_a_workload_runs_as_it_is(tmp_path):
    (tmp_path / "w.yaml").write_text(CONV)
    (row,) = rows(Point(tmp_path / "w.yaml", phases=("forward",), compare=False, recipe="asp"))
    assert (row["macs_dense"], row["number_format"]) == (2 * 16 * 3 * 77 * 20, "int8")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("[2, 16, 3, 11, 7, 5, 4]", "[2, 16, 3, 11, 7, 5]", "[0].loop_sizes: 6 values of 7"),
        ("W[k][c][fy][fx]", "W[k][c][fy][fz]", "[0]: dimension fz is in no loop_dims"),
        ("W: 8", "W: 6", "[0].operand_precision: I has 8 bits and W 6, which no number format"),
        ("ix=2*ox+1*fx", "ix=2*ox-fx", "[0].dimension_relations: 'ix=2*ox-fx', expected ix=2"),
        ("ix=2*ox+1*fx", "ix=0*ox+1*fx", "'ix=0*ox+1*fx', expected steps of 1 or more"),
        ("operator_type: Conv", "time_dim: x\n  operator_type: Conv", "[0]: unknown field"),
        ("[2, 16, 3, 11, 7, 5, 4]", "[2, 16, 3, 11, 7, 0, 4]", "loop_sizes"),
        ("O[b][k][oy][ox]+=", "O[b][oy][ox]+=", "[0]: dimension k is of one operand alone"),
        ("+=W", "-=W", "[0].equation is 'O[b][k][oy][ox]-=W"),
    ],
)
def test_what_no_layer_says_is_refused_by_place(read, old, new, why):
    with pytest.raises(NmsimError, match=re.escape(why)):
        read(CONV.replace(old, new, 1))


def test_sizes_of_images_are_held_to_their_outputs(read):
    why = "ix of 8 padded by 1 and 1 has 8 outputs, expected 7, its ox"
    with pytest.raises(NmsimError, match=why):
        read(PADDED.replace("[7, 11]", "[8, 11]"))
    with pytest.raises(NmsimError, match=r"padding: 1 values of 2 dimensions"):
        read(PADDED.replace("[[1, 1], [0, 2]]", "[[1, 1]]"))
    with pytest.raises(NmsimError, match="B is 2 and 3, expected one"):
        read(CONV + PADDED.replace("[2, 16, 11", "[3, 16, 11"))


def test_samples_that_are_summed_over_are_no_samples(read):
    summed = """
- id: 0
  operator_type: Gemm
  equation: O[k][c]+=W[b][k]*I[b][c]
  loop_dims: [B, K, C]
  loop_sizes: [32, 64, 48]
  operand_precision: {W: 8, I: 8, O: 16}
  operand_source: {I: 0, W: 0}
"""
    with pytest.raises(NmsimError, match=r"\[0\]: dimension b is summed over"):
        read(summed)
    read(summed.replace("[32, 64, 48]", "[1, 64, 48]"))
