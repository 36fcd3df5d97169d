"""The ideal machine: the papers' MAC ratios, from layers by hand and from runs."""

import math
from fractions import Fraction

import numpy as np
import pytest

from nmsim import machines
from nmsim.errors import SpecError
from nmsim.gemm import Gemm
from nmsim.machines import load_hardware
from nmsim.mask import Mask, SparseGemm
from nmsim.network.catalog import MODELS, load_model
from nmsim.network.layer import AttentionLayer, Embedding, Experts
from nmsim.network.layers.convolution import Convolution
from nmsim.network.lowering import Lowering
from nmsim.network.tensors import Synthetic
from nmsim.pattern import Pattern
from nmsim.recipes.masking import Setting
from nmsim.recipes.recipe import load_recipe
from nmsim.result import totals
from nmsim.run.point import Point, rows
from nmsim.run.workload import load_workload

IDEAL = load_hardware("ideal")
TWO_FOUR = Pattern(2, 4)
GAINS = {
    "asp": {"forward"},
    "transposable": {"forward", "backward"},
    "fst": {"forward", "backward", "update"},
}
"""Phases that each recipe offers a mask in."""


def kept(k):
    """Of K elements at 2:4: half, and of a short last group at most two."""
    return k // 4 * 2 + min(2, k % 4)


def spent(layer, batch, phases):
    """MACs that a layer's GEMMs have, and that 2:4 leaves of them, by phase; by hand."""
    if isinstance(layer, Embedding):
        return dict.fromkeys(GAINS["fst"], (0, 0))
    if isinstance(layer, AttentionLayer):
        square = batch * layer.windows * layer.heads * layer.queries * layer.keys
        macs = square * (layer.head_dim + layer.values) * layer.repeat
        return {"forward": (macs, macs), "backward": (2 * macs, 2 * macs), "update": (0, 0)}
    if isinstance(layer, Experts):
        return experts(layer, batch, phases)
    groups = layer.groups if isinstance(layer, Convolution) else 1
    columns, rows = layer.columns, layer.samples(batch) * layer.columns
    out, *window = layer.shape("weight", batch)
    inner = math.prod(window)
    k = {"forward": inner, "backward": out // groups, "update": rows}
    left = {phase: kept(length) for phase, length in k.items()}
    # FST pads a sample of an odd number of columns by one.
    left["update"] = kept(rows // columns * (columns + columns % 2 if columns > 1 else 1))
    whole = out * inner * rows * layer.repeat
    counted = {
        phase: (whole, whole // k[phase] * left[phase] if phase in phases else whole) for phase in k
    }
    if layer.input == "data":
        counted["backward"] = (0, 0)
    return counted


def passed_over(layer):
    """Whether NVIDIA's apex prunes no weight of a layer: sort and sizes, as its code has them."""
    if layer.type not in ("linear", "conv"):
        return True
    first, *_, second = layer.shape("weight", 1)
    return first % 8 != 0 or second % 16 != 0


def experts(layer, batch, phases):
    """Of experts, whose rows no mask is made for."""
    o, i = layer.out_features, layer.in_features
    whole = batch * layer.tokens * layer.per_token * o * i * layer.repeat
    k = {"forward": i, "backward": o}
    return {"update": (whole, whole)} | {
        phase: (whole, whole // k[phase] * kept(k[phase]) if phase in phases else whole)
        for phase in k
    }


def ran(model, recipe, batch):
    """The same from runs, of backward as columns."""
    columns = Lowering.parse("columns")
    setting = Setting(load_recipe(recipe), TWO_FOUR, Synthetic(0), batch, lowering=columns)
    found = {}
    for work in load_workload(model).sparse_gemms(setting):
        run = machines.simulate(IDEAL, work)
        dense, left = found.get(work.gemm.phase, (0, 0))
        found[work.gemm.phase] = dense + work.gemm.macs, left + run.cycles
    return found


@pytest.mark.parametrize("recipe", list(GAINS))
@pytest.mark.parametrize("model", list(MODELS))
def test_a_network_gains_what_its_layers_allow(model, recipe):
    layers = [
        spent(layer, 3, set() if recipe == "asp" and passed_over(layer) else GAINS[recipe])
        for layer in load_model(model).layers
    ]
    for phase, found in ran(model, recipe, 3).items():
        assert found == tuple(sum(own[phase][i] for own in layers) for i in (0, 1)), phase


@pytest.mark.parametrize(
    ("recipe", "speedup", "share"),
    [
        ("asp", Fraction(6, 5), Fraction(1, 3)),
        ("transposable", Fraction(3, 2), Fraction(2, 3)),
        ("fst", Fraction(2), Fraction(1)),
        ("mvue", Fraction(6, 5), Fraction(1, 3)),
        ("transposable+mvue", Fraction(2), Fraction(1)),
    ],
)
def test_one_linear_layer_gains_what_the_papers_print(tmp_path, recipe, speedup, share):
    # Xu et al., AAAI 2022, table 3: 1.2, 1.5 and 2; Hubara et al., NeurIPS 2021, tables 3 and 4:
    # 33 and 66 % of the sparse tensor cores, cut off after two digits.
    path = tmp_path / "linear.yaml"
    path.write_text(
        "layers: [{name: fc, type: linear, in_features: 64, out_features: 32, tokens: 8}]"
    )
    for fidelity in machines.FIDELITIES:
        table = list(
            rows(Point(model=path, recipe=recipe, hardware="ideal", fidelity=fidelity, batch=2))
        )
        total = totals(table)["all"]
        assert total["speedup"] == float(speedup)
        assert total["sparse_share"] == pytest.approx(float(share))


def masks(seed, *shape):
    """Two masks of 2:4 with gaps, M x K and N x K."""
    rng = np.random.default_rng(seed)
    m, n, k = shape
    found = []
    for lanes in (m, n):
        bits = rng.random((lanes, k // 4, 4)).argsort(axis=2) < 2
        found.append(bits.reshape(lanes, k) & (rng.random((lanes, k)) < 0.9))
    return found


def test_two_masks_leave_pairs_of_kept_elements_or_the_sparser_mask_s_slots():
    a, b = masks(0, 5, 7, 24)
    work = SparseGemm(Gemm(5, 7, 24), Mask.of(a, TWO_FOUR), Mask.of(b, TWO_FOUR))
    pairs = int((a[:, None] & b[None]).sum())
    assert machines.simulate(IDEAL, work).macs_issued == pairs
    one = load_hardware("ideal", two_masks="one")
    assert machines.simulate(one, work).macs_issued == 5 * 7 * 12
    sparser = SparseGemm(
        Gemm(5, 7, 24), Mask.of(a & (np.arange(24) % 4 < 1), Pattern(1, 4)), Mask.of(b, TWO_FOUR)
    )
    assert machines.simulate(one, sparser).macs_issued == 5 * 7 * 6
    assert work.macs_useful == pairs


def test_a_mask_that_breaks_its_pattern_gains_nothing():
    bits = np.zeros((6, 16), np.bool_)
    bits[:, :3] = True
    mask = Mask.promising(
        TWO_FOUR, 6, 16, regular=False, source=Mask.of(bits, TWO_FOUR).source, fits=False
    )
    run = machines.simulate(IDEAL, SparseGemm(Gemm(4, 6, 16), Mask.dense(4, 16), mask))
    assert run.macs_issued == 4 * 6 * 16
    assert run.misfit_share == 0.25
    assert run.note == "runs dense: 25.0% of the groups of B break 2:4"
    assert run.compressed == ""


def test_bytes_are_compulsory_traffic_and_take_no_time():
    b = Mask.promising(TWO_FOUR, 6, 18, regular=True, source=lambda: np.zeros((6, 1), np.uint64))
    run = machines.simulate(IDEAL, SparseGemm(Gemm(4, 6, 18), Mask.dense(4, 18), b))
    kept_b = 6 * 10
    assert run.metadata_bytes == kept_b * 2 / 8
    assert run.dram_read_bytes == 4 * 18 * 2 + kept_b * 18 / 8
    assert run.dram_write_bytes == 4 * 6 * 2
    groups = machines.simulate(IDEAL, SparseGemm.dense(Gemm(4, 6, 18, count=3)))
    assert groups.dram_read_bytes == 3 * (4 + 6) * 18 * 2
    assert (run.cycles, run.stall_cycles, run.utilization) == (4 * 6 * 10, 0, 1.0)
    faster = load_hardware("ideal", macs_per_cycle=5, clock_mhz=500)
    slow = machines.simulate(faster, SparseGemm.dense(Gemm(4, 6, 18, repeat=3)))
    assert slow.cycles == 3 * 87
    assert slow.time_us == 3 * 87 / 500


def test_a_field_out_of_range_is_refused():
    with pytest.raises(SpecError, match="two_masks"):
        load_hardware("ideal", two_masks="both")


def test_four_bits_at_2to4_and_4to8_are_equivalent_to_two_bits(tmp_path):
    # Chmiel et al., ICLR 2023, section 6: N/2 MACs a block on average, so a quarter of 4 x 4 bits.
    recipe = tmp_path / "inference.yaml"
    recipe.write_text(
        "summary: s\nsource: s\noperands:\n"
        "  - {role: weight, phases: [forward], pruner: magnitude, pattern: 2:4}\n"
        "  - {role: activation, phases: [forward], pruner: magnitude, pattern: 4:8}\n"
    )
    four_bits = load_hardware("ideal", operand_bits=4)
    table = list(
        rows(
            Point(
                model="resnet18",
                recipe=recipe,
                hardware=four_bits,
                phases=("forward",),
                layers="layer[34]*",
            )
        )
    )
    total = totals(table)["all"]
    assert total["bit_operations_useful"] == 16 * total["macs_useful"]
    assert total["bit_operations_issued"] == total["bit_operations_useful"]
    # Padding of the images is pruned too, so a little less than 2 x 2 bits.
    assert 3.4 < total["bit_operations_useful"] / total["macs_dense"] < 4.0
    inner = [row for row in table if row["kind"] == "conv" and "downsample" in row["layer"]]
    assert len(inner) == 2
    for row in inner:
        assert row["bit_operations_useful"] / row["macs_dense"] == pytest.approx(4.0, rel=0.02)
