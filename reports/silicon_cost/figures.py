"""What N:M costs and gains in silicon: areas of PEs, steps at equal area, energy."""

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

import nmsim
from nmsim.cost.chip import Chip
from nmsim.cost.pe.mac import Multiplier
from nmsim.cost.price import per_dense_mac
from nmsim.cost.technology import load_technology
from nmsim.cost.worth import Size, Step, gain, logic_ge, sized
from nmsim.machines import Machine, chip_of, load_hardware
from nmsim.pattern import Pattern
from nmsim.recipes.statistics import mask_diversity, retained_l1

__all__ = ["NETWORKS", "PATTERNS", "STRUCTURES", "VARIANTS", "machine_of", "measure"]

Figures = dict[str, Any]

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE.parents[1] / "traces" / "digits.safetensors"

PATTERNS = ("1:2", "2:4", "4:8", "8:16", "16:32", "1:4", "2:8", "1:8", "1:16", "1:32")
STEPPED = ("2:4", "4:8", "8:16", "16:32", "1:4")
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


def machine_of(
    pattern: str,
    structure: str,
    bits: int = 16,
    size: Size = Size(128),  # noqa: B008, it is frozen
) -> Machine:
    """An array of 128 slots along K by so many columns, dense or for a pattern.

    It runs at the clock that its PEs reach: cycles are longer, and memory is as fast as it was.
    """
    keep = Pattern.parse(pattern).keep if pattern != "dense" else 1
    pe: Figures = {"arithmetic": "float" if bits == 16 else "int"}
    fields: Figures = {"cols": size.cols, "operand_bits": bits, "output_bits": bits, "pe": pe}
    fields["clock"] = "as_synthesised"
    if size.path_bits is not None:
        words = size.path_bits / bits
        fields["delivery"] = {"words_per_cycle": words, "word_bits": bits}
    if pattern != "dense":
        fields |= {"native": (pattern,), "sparse_operand": "b"}
    if structure == "shared" and keep > 1:
        pe["macs_per_group"] = keep
        fields |= {"dot_width": keep, "rows": 128 // keep}
    found: Machine = load_hardware("systolic-128x128", **fields)
    return found


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
        "clock_share": chip.delay.clock_share,
    }


def _steps(name: str) -> list[Figures]:
    """A training step on dense and selecting arrays of one area, by variant."""
    found = []
    for variant in RUN:
        for pattern in STEPPED:
            found += [_run(name, variant, pattern, structure) for structure in STRUCTURES]
    return found


def _run(name: str, variant: str, pattern: str, structure: str) -> Figures:
    """What a pattern and structure gain at equal area and power, and at equal bandwidth."""
    bits, table, multiplier = VARIANTS[variant]
    technology = load_technology(table)
    base, chip = (
        chip_of(machine_of(*one, bits)) for one in (("dense", "lone"), (pattern, structure))
    )
    size = sized("area", chip, base, technology, multiplier)
    area = logic_ge(base, technology, multiplier)
    own = _step(name, pattern, structure, bits, size, area)
    dense = _step(name, "dense", "lone", bits, Size(128), area)
    found = {
        "variant": variant,
        "pattern": pattern,
        "structure": structure,
        "columns": size.cols,
        "at_equal_area": gain("area", own, dense).speedup,
        "at_equal_power": gain("power", own, dense).speedup,
        "energy_delay": gain("area", own, dense).energy_delay,
        "energy_mj": own.energy_pj * 1e-9,
        "dense_energy_mj": dense.energy_pj * 1e-9,
        "at_equal_bandwidth": None,
        "per_area_at_equal_bandwidth": None,
    }
    if variant == RUN[0]:
        path = sized("bandwidth", chip, base, technology)
        wide = _step(name, pattern, structure, bits, path, logic_ge(chip, technology))
        fed = gain("bandwidth", wide, _step(name, "dense", "lone", bits, path, area))
        found["at_equal_bandwidth"] = fed.speedup
        found["per_area_at_equal_bandwidth"] = fed.per_area
    return found


_KNOWN: dict[Any, Step] = {}


def _step(name: str, pattern: str, structure: str, bits: int, size: Size, area: float) -> Step:
    """GEMMs of a training step, at the clock that the PE reaches; energy of 45 nm."""
    key = (name, pattern, structure, bits, size)
    if key not in _KNOWN:
        run = nmsim.simulate(
            name,
            hardware=machine_of(pattern, structure, bits, size),
            recipe="dense" if pattern == "dense" else RECIPE,
            pattern="2:4" if pattern == "dense" else pattern,
            batch=BATCH,
            fidelity="analytical",
            compare=False,
            elementwise=False,
            cost=True,
        )
        total = run.total["all"]
        _KNOWN[key] = Step(total["time_us"], total["energy_pj"], 0.0)
    return _KNOWN[key]._replace(area_ge=area)


TWO = ("3:4", "1:2", "3:8", "1:4", "3:16", "1:8", "1:16")
"""Patterns of both operands of a GEMM, by falling density."""


def _intersecting() -> Figures:
    """An array that skips products with a zero in either operand against those as large.

    These are a dense one, and for each pattern one that follows the mask of one operand.
    """
    technology = load_technology()
    machine = load_hardware("systolic-128x128-intersecting", clock="as_synthesised")
    dense = machine_of("dense", "lone")
    chip, base = chip_of(machine), chip_of(dense)
    columns = sized("area", chip, base, technology).cols
    narrow, dense_us = load_hardware(machine, cols=columns), _gemm_us(dense, "2:4", "dense")
    runs = []
    for pattern in TWO:
        known = Pattern.parse(pattern)
        both = dense_us / _gemm_us(narrow, pattern)
        one = {
            structure: dense_us / _gemm_us(_as_large(pattern, structure), pattern)
            for structure in STRUCTURES
            if structure == "lone" or known.group % known.keep == 0
        }
        runs.append(
            {
                "pattern": pattern,
                "density": known.density,
                "at_equal_area": both,
                "one_operand": max(one.values()),
                "structure": max(one, key=lambda name: one[name]),
            }
        )
    return {
        "area": logic_ge(chip, technology) / logic_ge(base, technology),
        "columns": columns,
        "clock_share": chip.delay.clock_share,
        "runs": runs,
        "crosses_dense": _crossing(runs),
    }


def _as_large(pattern: str, structure: str) -> Machine:
    """An array that follows one operand's mask, as large as the dense one."""
    base, chip = (chip_of(machine_of(*one)) for one in (("dense", "lone"), (pattern, structure)))
    return machine_of(pattern, structure, size=sized("area", chip, base, load_technology()))


def _gemm_us(machine: Machine, pattern: str, recipe: Path | str = HERE / "both.yaml") -> float:
    """Microseconds of the forward GEMM of 1024 cubed, unless dense with both operands masked."""
    table = nmsim.simulate(
        [nmsim.Gemm(1024, 1024, 1024)],
        hardware=machine,
        recipe=recipe,
        pattern=pattern,
        fidelity="analytical",
        compare=False,
    )
    return float(table["time_us"].sum())


def _crossing(runs: list[Figures]) -> float | None:
    """The density below which intersecting gains over a dense array; None: nowhere between these.

    Between two patterns the gain goes with a power of the density.
    """
    for high, low in pairwise(runs):
        before, after = (math.log(one["at_equal_area"]) for one in (high, low))
        if before < 0 <= after:
            exponent = before / (before - after)
            return float(high["density"] * (low["density"] / high["density"]) ** exponent)
    return None


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
