"""Energy of runs: components are counts times prices, and add up; prices stand in order."""

import dataclasses
import math
import re

import numpy as np
import pytest

import nmsim
from nmsim.cost.energy import PARTS, Counters, energy_of, prices_of
from nmsim.cost.pe.built import bill_of
from nmsim.cost.pe.delay import delay_of
from nmsim.cost.technology import load_technology
from nmsim.errors import SpecError
from nmsim.machines import chip_of, load_hardware, simulate
from nmsim.machines.gpu.energy import pricing as gpu_pricing
from nmsim.machines.gpu.energy import system_energies
from nmsim.machines.systolic.traffic.energy import counters_of, pricing
from nmsim.mask import SparseGemm
from nmsim.result import ENERGY_COLUMNS
from nmsim.run.answer import answer
from nmsim.run.point import Point

NAMES = [f"energy_{name}_pj" for name in PARTS]


def rows(hardware="systolic-128x128-2to4", **fields):
    given = {"recipe": "asp", "fidelity": "analytical", "cost": True, **fields}
    gemms = [nmsim.Gemm(300, 200, 260, layer="one"), nmsim.Gemm(64, 512, 128, layer="two")]
    return nmsim.simulate(gemms, hardware=hardware, **given).to_dict("records")


@pytest.mark.parametrize("fidelity", ["cycle", "analytical"])
@pytest.mark.parametrize(
    "hardware",
    [
        "systolic-128x128-2to4",
        "systolic-32x32-beats",
        "systolic-16x16",
        "eyeriss",
        "a100-sxm4-80gb",
    ],
)
def test_components_add_up_to_the_total(hardware, fidelity):
    for row in rows(hardware, fidelity=fidelity):
        assert row["energy_pj"] == pytest.approx(sum(row[name] for name in NAMES), rel=1e-12)
        assert row["energy_low_pj"] < row["energy_pj"] < row["energy_high_pj"]
        assert all(row[name] >= 0 for name in NAMES)


def test_totals_are_sums_of_rows_by_phase():
    found = nmsim.simulate(
        "vgg11", hardware="systolic-16x16", fidelity="analytical", cost=True, batch=1
    )
    total, table = found.total, found.to_dict("records")
    for name in (one.name for one in ENERGY_COLUMNS):
        assert total["all"][name] == pytest.approx(sum(row[name] for row in table))
        by_phase = [total[phase][name] for phase in ("forward", "backward", "update")]
        assert total["all"][name] == pytest.approx(sum(by_phase))


def test_each_component_is_a_count_times_its_price():
    machine = load_hardware("systolic-128x128-2to4")
    table = load_technology()
    (work, *_) = Point([nmsim.Gemm(300, 200, 260)], hardware=machine, recipe="asp").works()
    result = simulate(machine, work, "analytical")
    found, own = pricing(machine, table)(result), result.own
    mac = table.mac_pj(16, floating=True).value
    assert found.mac.value == pytest.approx(result.macs_issued * mac)
    pes, bits = 128 * 128, chip_of(machine).pe.registers.bits
    clocked = pes * bits * result.compute_cycles
    assert found.register.value == pytest.approx(clocked * 0.009)
    read = {
        name: 8 * (own[f"sram_{name}_read_bytes"] + own[f"sram_{name}_write_bytes"])
        for name in "abc"
    }
    sizes = {"a": 8192, "b": 4096, "c": 4096}
    metadata = 8 * own["sram_metadata_read_bytes"]
    assert result.compressed == "b"
    of_b = table.sram_read_pj(4096).value
    assert found.metadata.value == pytest.approx(metadata * of_b)
    both = sum(read[name] * table.sram_read_pj(sizes[name]).value for name in "abc")
    assert found.sram.value + found.metadata.value == pytest.approx(both)
    moved = 8 * (result.dram_read_bytes + result.dram_write_bytes)
    assert found.dram.value == pytest.approx(moved * 3.97)
    hops = own["passed_bits"] + 32 * own["passed_sums"]
    pe_um2 = 0.798 * nmsim_ge(machine, table)
    assert found.hop.value == pytest.approx(hops * 0.121 * math.sqrt(pe_um2) * 1e-3)
    assert found.static.value == pytest.approx(
        prices_of(chip_of(machine), table).static.value * result.time_us
    )


def nmsim_ge(machine, table):
    return table.ge(bill_of(chip_of(machine).pe).cells())


def test_what_a_mask_saves_is_what_it_leaves_of_macs_and_bytes():
    dense, masked = (rows(recipe=recipe)[0] for recipe in ("dense", "asp"))
    assert masked["energy_mac_pj"] == pytest.approx(dense["energy_mac_pj"] / 2)
    assert masked["energy_mux_pj"] == pytest.approx(dense["energy_mux_pj"] / 2)
    assert masked["energy_metadata_pj"] > 0 == dense["energy_metadata_pj"]
    assert masked["energy_dram_pj"] < dense["energy_dram_pj"]
    assert masked["energy_pj"] < dense["energy_pj"]


def test_a_selecting_array_costs_a_dense_gemm_more():
    """Multiplexers and wider registers are there whatever runs."""
    plain, selecting = (
        rows(hardware, recipe="dense")[0]
        for hardware in ("systolic-128x128", "systolic-128x128-2to4")
    )
    assert plain["cycles"] == selecting["cycles"]
    assert plain["energy_mux_pj"] == 0 < selecting["energy_mux_pj"]
    assert selecting["energy_register_pj"] > 1.5 * plain["energy_register_pj"]
    for same in ("energy_mac_pj", "energy_sram_pj", "energy_dram_pj"):
        assert plain[same] == selecting[same]


@pytest.mark.parametrize("memory", ["hbm2", "lpddr4"])
def test_accesses_stand_in_the_order_of_eyeriss(memory):
    """Chen et al., ISCA 2016: DRAM 200, buffer 6, PE to PE 2, register file 1, for 16 bits.

    A register file of 0.5 KiB, a buffer of 108 KiB, and PEs 0.27 mm apart, which are written to a
    register and read from one: within two times of these, whatever the unit. DDR3, as Horowitz has
    it, is four times dearer than that.
    """
    table = load_technology()
    own = table.energies
    file = 16 * table.sram_read_pj(0.5).value
    hop = 16 * (2 * own.register_bit.value + 0.27 * own.wire_bit_mm.value)
    accesses = {
        200: 16 * own.dram[memory].value,
        6: 16 * table.sram_read_pj(108).value,
        2: hop,
        1: file,
    }
    found = [value for _, value in sorted(accesses.items(), reverse=True)]
    assert found[0] > found[1] > found[2] >= found[3]
    ratios = [value / weight for weight, value in accesses.items()]
    assert max(ratios) / min(ratios) < 4  # each within two times of their middle


def test_a_run_that_does_not_ask_has_no_energies():
    (row, _) = rows(cost=False)
    assert all(row[name] is None or math.isnan(row[name]) for name in NAMES)


def test_other_machines_have_none():
    for hardware in ("ideal", "h100-sxm"):
        (row, _) = rows(hardware)
        assert row["energy_pj"] is None or math.isnan(row["energy_pj"])
    assert gpu_pricing(load_hardware("h100-sxm")) is None


def test_a_gpu_is_priced_by_published_figures():
    """HBM 13.11 and L1 1.59 pJ a bit; a large dense GEMM draws the sheet's 400 W."""
    (row,) = nmsim.simulate(
        "gemm:4096x4096x4096", hardware="a100-sxm4-80gb", recipe="dense", cost=True,
        fidelity="analytical",
    ).to_dict("records")  # fmt: skip
    moved = row["dram_read_bytes"] + row["dram_write_bytes"]
    assert row["energy_dram_pj"] == pytest.approx(8 * 13.11 * moved)
    again = row["sram_read_bytes"] - row["dram_read_bytes"]  # HBM's figure has L1 in it
    assert row["energy_sram_pj"] == pytest.approx(8 * 1.59 * again)
    assert row["energy_static_pj"] == pytest.approx(54e6 * row["time_us"])
    assert row["energy_pj"] / row["time_us"] * 1e-6 == pytest.approx(400, rel=0.05)
    assert row["energy_low_pj"] == pytest.approx(0.86 * row["energy_pj"])
    assert row["energy_high_pj"] == pytest.approx(1.14 * row["energy_pj"])
    assert system_energies().band >= 0.14


def test_narrower_operands_take_less():
    machine = load_hardware("systolic-16x16")
    table = load_technology()
    counted = Counters(1e6, 1e3, {"A": 1e5}, {}, 1e5, 1e6, 1.0)
    whole, narrow = (
        energy_of(prices_of(dataclasses.replace(chip_of(machine), pe=pe), table), counted)
        for pe in (
            chip_of(machine).pe, dataclasses.replace(chip_of(machine).pe, operand_bits=4)
        )
    )  # fmt: skip
    assert narrow.mac.value < whole.mac.value
    assert narrow.dram == whole.dram


def test_a_kind_of_memory_that_nobody_prices_is_refused_in_a_line():
    with pytest.raises(SpecError, match=r"dram\.memory is 'ddr9', expected one of"):
        rows(overrides={"dram.memory": "ddr9"})
    with pytest.raises(SpecError, match="technology generic: has no energies"):
        rows(technology="generic")


def test_memory_of_another_kind_has_its_price():
    cheap, dear = (
        rows(overrides={"dram.memory": memory})[0]["energy_dram_pj"] for memory in ("hbm2", "ddr3")
    )
    assert dear / cheap == pytest.approx(30 / 3.97)


def test_fused_attention_has_energies_too():
    found = nmsim.simulate(
        "bert-base", hardware="systolic-128x128", fidelity="analytical", batch=1, cost=True,
        overrides={"fused_attention": True}, scenario="infer",
    ).to_dict("records")  # fmt: skip
    fused = [row for row in found if row["kind"] == "attention"]
    assert fused
    assert all(row["energy_pj"] > 0 for row in fused)


def test_counters_are_those_of_the_row():
    machine = load_hardware("systolic-16x16")
    result = simulate(machine, SparseGemm.dense(nmsim.Gemm(40, 30, 50)), "cycle")
    counted = counters_of(machine, result)
    assert counted.macs == 40 * 30 * 50
    assert counted.cycles == result.compute_cycles
    assert counted.dram_bits == 8 * (result.dram_read_bytes + result.dram_write_bytes)
    assert counted.metadata_bits == {}


def test_metadata_of_two_masks_is_each_buffers_own():
    """Where one operand has far more of it, half of it is more than the other one reads."""
    machine = load_hardware("systolic-16x16", native=("2:4",), sparse_operand="either")
    rng = np.random.default_rng(3)
    a, b = (
        nmsim.Mask(nmsim.prune(rng.standard_normal((rows, 64)), pattern).mask, pattern)
        for rows, pattern in ((512, "1:16"), (4, "2:4"))
    )
    result = simulate(machine, SparseGemm(nmsim.Gemm(512, 4, 64), a, b), "analytical")
    counted, own = counters_of(machine, result), result.own
    for name in "ab":
        bits = counted.metadata_bits.get(name.upper(), 0.0)
        assert bits == 8 * own[f"sram_{name}_metadata_read_bytes"]
        assert bits <= counted.sram_bits[name.upper()]
    found = pricing(machine, load_technology())(result)
    assert all(band.value >= 0 for band in found)


def served(scenario, **fields):
    own = {"hardware": "systolic-128x128-2to4", "recipe": "asp", "fidelity": "analytical"}
    return nmsim.simulate(
        fields.pop("model", "bert-base"), scenario=scenario, cost=True, **own, **fields
    )


@pytest.mark.parametrize(("scenario", "tokens"), [("infer", 2 * 64), ("train", 2 * 64)])
def test_energy_is_told_a_token_and_with_its_delay(scenario, tokens):
    found = served(scenario, batch=2, tokens=64)
    total = found.total["all"]
    assert total["energy_per_token_pj"] == pytest.approx(total["energy_pj"] / tokens)
    step = total["step_us"] or total["time_us"]
    assert total["energy_delay_pj_us"] == pytest.approx(total["energy_pj"] * step)
    said = answer(found.to_dict("records"), found.manifest)
    assert re.search(r"Its GEMMs take [\d.,]+ m?J, [\d.,]+ [mu]J a token\.", said)


def test_machines_that_share_a_network_take_the_energy_of_all():
    one, two = (
        served("prefill", model="gpt2", batch=1, tokens=64, tp=tp).total["all"] for tp in (1, 2)
    )
    assert two["energy_per_token_pj"] == pytest.approx(2 * two["energy_pj"] / 64)
    assert two["energy_pj"] < one["energy_pj"]


def test_no_energy_a_token_where_nobody_asks_or_nothing_is_read():
    quiet = nmsim.simulate(
        "bert-base", scenario="infer", batch=1, tokens=64, fidelity="analytical"
    ).total["all"]
    assert quiet["energy_per_token_pj"] is quiet["energy_delay_pj_us"] is None
    image = nmsim.simulate("vgg11", fidelity="analytical", cost=True, batch=1).total["all"]
    assert image["energy_per_token_pj"] is None
    assert image["energy_delay_pj_us"] > 0


def test_a_machine_may_take_the_clock_that_it_reaches():
    """As many cycles, each longer by the levels of the multiplexer; a dense array loses nothing."""
    given, reached = (
        rows(overrides={"clock": clock})[0] for clock in ("as_given", "as_synthesised")
    )
    share = delay_of(chip_of(load_hardware("systolic-128x128-2to4")).pe).clock_share
    assert share > 0.02
    assert reached["time_us"] > given["time_us"]
    compute = {row["compute_cycles"] for row in (given, reached)}
    assert len(compute) == 1
    assert reached["time_us"] / reached["cycles"] == pytest.approx(
        (1 + share) * given["time_us"] / given["cycles"]
    )
    plain = [
        rows("systolic-128x128", recipe="dense", overrides={"clock": clock})[0]["time_us"]
        for clock in ("as_given", "as_synthesised")
    ]
    assert plain[0] == plain[1]
