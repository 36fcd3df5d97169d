"""What N:M costs and gains in silicon: areas of PEs, steps at equal area, energy."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

import nmsim
from nmsim.cost.chip import Chip
from nmsim.cost.pe.delay import delay_of
from nmsim.cost.pe.mac import Multiplier
from nmsim.cost.price import per_dense_mac
from nmsim.cost.technology import load_technology
from nmsim.cost.worth import Step, columns_within, logic_ge, worth
from nmsim.machines import Machine, chip_of, load_hardware
from nmsim.pattern import Pattern
from nmsim.recipes.statistics import mask_diversity, retained_l1

__all__ = ["NETWORKS", "PATTERNS", "STRUCTURES", "VARIANTS", "machine_of", "measure"]

Figures = dict[str, Any]

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE.parents[1] / "traces" / "digits.safetensors"

PATTERNS = ("1:2", "2:4", "4:8", "8:16", "16:32", "1:4", "2:8", "1:8", "1:16", "1:32")
STEPPED = ("2:4", "4:8", "16:32", "1:4")
"""Those whose training step is run."""

STRUCTURES = ("lone", "shared")
"""A PE has one multiplier with a group of its own, or N that share a group."""

NETWORKS = ("resnet50", "bert-large")
RECIPE = "transposable+mvue"
BATCH = 32

VARIANTS: Mapping[str, tuple[int, str, Multiplier]] = {
    "bf16, 45 nm": (16, "45nm", "booth"),
    "int8, 45 nm": (8, "45nm", "booth"),
    "bf16, transistors": (16, "generic", "booth"),
    "int8, transistors": (8, "generic", "booth"),
    "int8, 45 nm, other multiplier": (8, "45nm", "default"),
}
"""Width, technology, and the flow's multiplier; the first is the answer, the others move it."""

RUN = ("bf16, 45 nm", "int8, 45 nm", "int8, 45 nm, other multiplier")
"""Variants of which training steps are run."""


def machine_of(pattern: str, structure: str, bits: int = 16, cols: int = 128) -> Machine:
    """An array of 128 slots along K by so many columns, dense or for a pattern."""
    keep = Pattern.parse(pattern).keep if pattern != "dense" else 1
    pe: Figures = {"arithmetic": "float" if bits == 16 else "int"}
    fields: Figures = {"cols": cols, "operand_bits": bits, "output_bits": bits, "pe": pe}
    if pattern != "dense":
        fields |= {"native": (pattern,), "sparse_operand": "b"}
    if structure == "shared" and keep > 1:
        pe["macs_per_group"] = keep
        fields |= {"dot_width": keep, "rows": 128 // keep}
    return load_hardware("systolic-128x128", **fields)


def measure() -> Figures:
    """All figures of the page."""
    return {
        "patterns": {pattern: _of_pattern(pattern) for pattern in PATTERNS},
        "pes": _pes(),
        "steps": {name: _steps(name) for name in NETWORKS},
        "intersecting": _intersecting(),
        "gpu": _gpu(),
    }


def _of_pattern(pattern: str) -> Figures:
    """Which share of the L1 norm of trained weights is kept, and how many masks there are."""
    known = Pattern.parse(pattern)
    kept = []
    for values in load_file(WEIGHTS).values():
        if values.ndim == 2 and values.shape[1] >= known.group:
            whole = values[:, : values.shape[1] // known.group * known.group]
            mask = nmsim.prune(whole, pattern, "magnitude").mask
            kept.append((float(abs(whole).sum()), float(retained_l1(whole, mask))))
    masks = mask_diversity(known, (1, known.group))
    return {
        "density": known.density,
        "kept_l1": sum(share for _, share in kept) / sum(size for size, _ in kept),
        "bits_of_diversity": math.log2(masks) / known.group,
    }


def _pes() -> list[Figures]:
    found = []
    for variant, (bits, table, multiplier) in VARIANTS.items():
        if multiplier != "booth":
            continue
        for pattern in PATTERNS:
            for structure in STRUCTURES:
                chip = chip_of(machine_of(pattern, structure, bits))
                found.append(_pe(chip, variant, pattern, structure, table))
    return found


def _pe(chip: Chip, variant: str, pattern: str, structure: str, table: str) -> Figures:
    technology = load_technology(table)
    return {
        "variant": variant,
        "pattern": pattern,
        "structure": structure,
        "per_dense_mac": per_dense_mac(chip, technology),
        "clock_share": delay_of(chip.pe).clock_share,
    }


def _steps(name: str) -> list[Figures]:
    """A training step on dense and selecting arrays of one area, by variant."""
    found = []
    for variant in RUN:
        bits, table, multiplier = VARIANTS[variant]
        technology = load_technology(table)
        area = logic_ge(chip_of(machine_of("dense", "lone", bits)), technology, multiplier)
        dense = _step(name, "dense", "lone", bits, 128, area)
        for pattern in STEPPED if multiplier == "booth" else ("4:8", "16:32"):
            for structure in STRUCTURES:
                chip = chip_of(machine_of(pattern, structure, bits))
                columns = columns_within(chip, area, technology, multiplier)
                own = _step(name, pattern, structure, bits, columns, area)
                gain = worth(own, dense)
                found.append(
                    {
                        "variant": variant,
                        "pattern": pattern,
                        "structure": structure,
                        "columns": columns,
                        "at_equal_area": gain.speedup,
                        "at_equal_power": gain.at_equal_power,
                        "energy_delay": gain.energy_delay,
                        "energy_mj": own.energy_pj * 1e-9,
                        "dense_energy_mj": dense.energy_pj * 1e-9,
                    }
                )
    return found


_KNOWN: dict[Any, Step] = {}


def _step(name: str, pattern: str, structure: str, bits: int, columns: int, area: float) -> Step:
    """GEMMs of a training step, at the clock that the PE reaches; energy of 45 nm."""
    key = (name, pattern, structure, bits, columns)
    if key not in _KNOWN:
        machine = machine_of(pattern, structure, bits, columns)
        run = nmsim.simulate(
            name,
            hardware=machine,
            recipe="dense" if pattern == "dense" else RECIPE,
            pattern="2:4" if pattern == "dense" else pattern,
            batch=BATCH,
            fidelity="analytical",
            compare=False,
            elementwise=False,
            cost=True,
        )
        total = run.total["all"]
        slower = 1 + delay_of(chip_of(machine).pe).clock_share
        _KNOWN[key] = Step(total["time_us"] * slower, total["energy_pj"], 0.0)
    return _KNOWN[key]._replace(area_ge=area)


def _intersecting() -> Figures:
    """An array that skips products with a zero in either operand against a dense one as large."""
    technology = load_technology()
    machine = load_hardware("systolic-128x128-intersecting")
    dense = load_hardware("systolic-128x128")
    chip = chip_of(machine)
    ratio = logic_ge(chip, technology) / logic_ge(chip_of(dense), technology)
    slower = 1 + delay_of(chip.pe).clock_share
    columns = columns_within(chip, logic_ge(chip_of(dense), technology), technology)
    runs = []
    for keep, group in ((3, 4), (1, 2), (3, 8), (1, 4), (3, 16), (1, 8), (1, 16)):
        rows = {}
        for name, one in (("own", machine), ("dense", dense)):
            own = one if name == "dense" else load_hardware(one, cols=columns)
            rows[name] = nmsim.simulate(
                [nmsim.Gemm(1024, 1024, 1024)],
                hardware=own,
                recipe=HERE / "both.yaml" if name == "own" else "dense",
                pattern=f"{keep}:{group}",
                fidelity="analytical",
                compare=False,
            )["time_us"].sum()
        runs.append(
            {"density": keep / group, "at_equal_area": float(rows["dense"] / rows["own"] / slower)}
        )
    return {"area": ratio, "columns": columns, "clock_share": slower - 1, "runs": runs}


def _gpu() -> Figures:
    """Energy of a training step's GEMMs on an A100, dense and with 2:4 masks in all phases."""
    energies = {
        recipe: nmsim.simulate(
            "bert-large",
            hardware="a100-sxm4-80gb",
            recipe=recipe,
            batch=BATCH,
            fidelity="analytical",
            compare=False,
            elementwise=False,
            cost=True,
        ).total["all"]
        for recipe in ("dense", RECIPE)
    }
    dense, masked = (energies[recipe]["energy_pj"] for recipe in ("dense", RECIPE))
    return {
        "dense_mj": dense * 1e-9,
        "masked_mj": masked * 1e-9,
        "saved": 1 - masked / dense,
        "band": energies["dense"]["energy_high_pj"] / dense - 1,
    }
