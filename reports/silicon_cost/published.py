"""What others printed of multiplexers, area and energy, and what nmsim's tables and counts make."""

from collections.abc import Mapping
from typing import Any

from nmsim.cost.chip import Chip
from nmsim.cost.multiplexer import Multiplexer, fan_in
from nmsim.cost.pe.built import bill_of
from nmsim.cost.pe.structure import PeStructure
from nmsim.cost.price import per_dense_mac
from nmsim.cost.technology import load_technology
from nmsim.machines import chip_of, load_hardware
from nmsim.pattern import Pattern
from reports.claims import Verdict, judged

__all__ = ["judge_published", "measure_published"]

Figures = Mapping[str, Any]


def measure_published() -> dict[str, Any]:
    """Every figure that a printed one is held against."""
    table, own = load_technology(), load_technology().energies
    mac = bill_of(PeStructure()).components[0]
    return {
        "fan_in": [fan_in(Pattern(n, 2 * n), ordered=True) for n in (2, 4)],
        "mux_bits": [Multiplexer(m, 1).two_input for m in (3, 5, 9, 17)],
        "mux_depth": [Multiplexer(m, 1).depth for m in (3, 5, 9, 17)],
        "metadata_share": Pattern(2, 4).metadata_bits / 16,
        "growth": [_growth(PeStructure.selecting(n, 2 * n)) for n in (2, 4, 8, 16)],
        "lone": [_per_mac(n, shared=False) for n in (2, 4, 8, 16)],
        "shared": [_per_mac(n, shared=True) for n in (2, 4, 8, 16)],
        "queue": [
            _growth(PeStructure.intersecting(group, depth))
            for group in (4, 8)
            for depth in (1, 4, 8)
        ],
        "eyeriss": {
            "DRAM": 16 * own.dram["lpddr4"].value,
            "buffer": 16 * table.sram_read_pj(108).value,
            "PE to PE": 16 * (2 * own.register_bit.value + 0.27 * own.wire_bit_mm.value),
            "register file": 16 * table.sram_read_pj(0.5).value,
        },
        "sram_64": [64 * table.sram_read_pj(kib).value for kib in (8, 32, 1024)],
        "register_um2": table.area("dff"),
        "mac_um2": table.um2(table.ge(mac.cells)),
        "hbm2": own.dram["hbm2"].value,
        "tensordash": _tensordash(),
        "sta": 1 / (_dot(32) / _dot(1)),
        "flexible": _flexible(),
    }


def _growth(pe: PeStructure) -> float:
    table = load_technology()
    return table.ge(bill_of(pe).cells()) / table.ge(bill_of(pe.dense).cells())


def _per_mac(keep: int, *, shared: bool) -> float:
    lanes = {"macs": keep, "macs_per_group": keep} if shared else {}
    pe = PeStructure.selecting(keep, 2 * keep, **lanes)
    return per_dense_mac(Chip(pe, 1, 1, density=0.5), load_technology()) or 0.0


def _tensordash() -> float:
    """Area of the 8:1 multiplexers in a PE of 16 lanes, bf16: one a lane for each operand."""
    table = load_technology()
    lanes = PeStructure(operand_bits=16, floating=True, macs=16)
    muxes = 2 * 16 * table.ge({"mux2": Multiplexer(8, 16).two_input})
    return muxes / (muxes + table.ge(bill_of(lanes).cells()))


def _dot(macs: int) -> float:
    """Area for each MAC of an int8 PE that adds up so many products."""
    return load_technology().ge(bill_of(PeStructure(macs=macs)).cells()) / macs


def _flexible() -> float:
    """PEs of a sparse tensor core for 2:4, 2:6 and 2:8 over those for 2:4 alone."""
    table = load_technology()
    one, other = (
        table.ge(bill_of(chip_of(load_hardware(f"sparseloop-stc{name}")).pe).cells())
        for name in ("-flexible", "")
    )
    return one / other


def judge_published(figures: Figures) -> list[Verdict]:
    """A verdict a printed figure, of what the model makes of it."""
    return [
        *_multiplexers(figures),
        *_synthesis(figures),
        *_tables(figures),
        *_machines(figures),
    ]


def _within(found: list[float], printed: list[float], share: float) -> list[str]:
    return [
        f"{one:.3g} for {other:.3g}"
        for one, other in zip(found, printed, strict=True)
        if not abs(one / other - 1) <= share
    ]


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


def _multiplexers(figures: Figures) -> list[Verdict]:
    bits, depth = figures["mux_bits"], figures["mux_depth"]
    linear = [b == m - 1 for b, m in zip(bits, (3, 5, 9, 17), strict=True)]
    return [
        judged(
            "Kept elements in order need N+1 inputs: 3:1 for 2:4, 5:1 for 4:8",
            "Hubara et al., NeurIPS 2021, A.5", "3, 5", _listed(figures["fan_in"]),
            [f"{figures['fan_in']}"] if figures["fan_in"] != [3, 5] else [],
        ),
        judged(
            "“the area required for the multiplexers scale logarithmicly with the number of zeros "
            "in the block (N)”",
            "Hubara et al., NeurIPS 2021, A.5", "logarithmic",
            f"area {_listed(bits)}, depth {_listed(depth)} two-input multiplexers",
            ["the depth does; the area is linear"] if all(linear) else [],
        ),
        judged(
            "Metadata of 2:4 is 1/8 of compressed 16-bit data",
            "NVIDIA A100", "0.125", f"{figures['metadata_share']:.3g}",
            _within([figures["metadata_share"]], [0.125], 0.0),
        ),
    ]  # fmt: skip


def _synthesis(figures: Figures) -> list[Verdict]:
    of = "another synthesis at 45 nm: int8, weight-stationary"
    return [
        judged(
            "A PE of one multiplier grows at 2:4, 4:8, 8:16, 16:32",
            of, "1.18, 1.43, 1.86, 2.74 (within 15%)", _listed(figures["growth"]),
            _within(figures["growth"], [1.18, 1.43, 1.86, 2.74], 0.15),
        ),
        judged(
            "For each dense MAC a lone multiplier takes more with the group, and loses at 16:32",
            of, "0.59, 0.72, 0.93, 1.37 (within 15%)", _listed(figures["lone"]),
            _within(figures["lone"], [0.59, 0.72, 0.93, 1.37], 0.15),
        ),
        judged(
            "N multipliers that share a group do not",
            of, "0.61, 0.57, 0.60, 0.70 (within 20%)", _listed(figures["shared"]),
            _within(figures["shared"], [0.61, 0.57, 0.60, 0.70], 0.20),
        ),
        judged(
            "A PE that intersects is its queue: groups of 4 and 8, depth 1, 4, 8",
            of, "2.0, 3.7, 5.9, 2.9, 6.3, 11 (within 20%)", _listed(figures["queue"]),
            _within(figures["queue"], [2.0, 3.7, 5.9, 2.9, 6.3, 11], 0.20),
        ),
    ]  # fmt: skip


def _tables(figures: Figures) -> list[Verdict]:
    names, weights = list(figures["eyeriss"]), [200, 6, 2, 1]
    energies = [figures["eyeriss"][name] for name in names]
    units = [energy / weight for energy, weight in zip(energies, weights, strict=True)]
    wrong = [] if energies == sorted(energies, reverse=True) else ["not in this order"]
    wrong += [f"{max(units) / min(units):.2g} times apart"] if max(units) > 4 * min(units) else []
    return [
        judged(
            "DRAM : buffer : PE to PE : register file = 200 : 6 : 2 : 1, within two times",
            "Chen et al., ISCA 2016 (Eyeriss), 65 nm", "200 : 6 : 2 : 1",
            " : ".join(f"{energy / energies[-1]:.3g}" for energy in energies), wrong,
        ),
        judged(
            "A read of 64 bits of 8, 32 and 1024 KiB, within two times",
            "Horowitz, ISSCC 2014, 45 nm", "10, 20, 100 pJ", _listed(figures["sram_64"]),
            _within(figures["sram_64"], [10, 20, 100], 0.5),
        ),
        judged(
            "HBM2 is activation, transfer and I/O",
            "O'Connor et al., MICRO 2017", "1.21 + 2.54 + 0.22 pJ a bit", f"{figures['hbm2']:.3g}",
            _within([figures["hbm2"]], [1.21 + 2.54 + 0.22], 0.001),
        ),
        judged(
            "A bit of a register, within 1.5 times",
            "Shao et al., ISCA 2014, 40 nm", "5.98 um2", f"{figures['register_um2']:.3g}",
            _within([figures["register_um2"]], [5.98], 0.5),
        ),
        judged(
            "An int8 MAC, within 4 times, as tables differ",
            "Sparseloop's artefact, 45 nm", "332 um2", f"{figures['mac_um2']:.3g}",
            [] if 332.25 / 4 <= figures["mac_um2"] <= 332.25 * 4 else ["further off"],
        ),
    ]  # fmt: skip


def _machines(figures: Figures) -> list[Verdict]:
    share, sta, flexible = (figures[name] for name in ("tensordash", "sta", "flexible"))
    return [
        judged(
            "8:1 multiplexers take less than 5% of a tile",
            "TensorDash, MICRO 2020", "< 5%", f"{share:.0%} of a bf16 PE of 16 lanes",
            ["its tile has fp32 MACs, buffers and transposers, and shares one side's multiplexers"]
            if share >= 0.05 else [],
        ),
        judged(
            "A tensor PE that shares operands and sums is half as large for each MAC",
            "Systolic Tensor Array, arXiv 2005.08098, 16 nm", "2.08 times smaller",
            f"{sta:.2f} times, of products that share a sum",
            _within([sta], [2.08], 0.15) and ["it shares operands in two dimensions, ours in one"],
        ),
        judged(
            "A tensor core for 2:4, 2:6 and 2:8 is as large as one for 2:4",
            "Sparseloop's artefact, 45 nm", "1", f"{flexible:.2f}",
            _within([flexible], [1.0], 0.02) and ["no multiplexer is in its areas"],
        ),
    ]  # fmt: skip
