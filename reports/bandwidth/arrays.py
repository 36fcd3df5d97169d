"""What one layer asks of the buffers and gains, with one operand pruned and with both."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import nmsim
from nmsim.machines import simulate
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.mask import SparseGemm
from nmsim.result import Survivors
from nmsim.run.point import Point

__all__ = ["PATTERNS", "PRUNED", "measure_delivery", "measure_products", "measure_words"]

Figures = dict[str, Any]

PRUNED: Mapping[str, str | Path] = {
    "weights": "asp",
    "both": Path(__file__).with_name("both.yaml"),
}
"""Recipes by what they prune in the forward GEMM."""

PATTERNS = ("1:2", "2:4", "4:8", "1:4", "1:8", "1:16")
LAYER: Mapping[str, Any] = {"model": "bert-base", "layers": "encoder.layer.[*].output.dense"}
"""Its K, 3072, is a multiple of all groups. ``[*]`` is the block's own ``*``: attention's output
has a name that a bare one would match."""
BATCH, FEW = 32, 4
"""Sequences of 128 tokens; few where bits are counted."""
LOOKAHEADS = (0, 4)

_FLEXIBLE = "systolic-128x128-flexible"
_INTERSECTING = "systolic-128x128-intersecting"
_AS_GIVEN = {"order": "fixed", "masks": "always", "sparse_operand": "b"}
"""Weights meet the selectors, whether that pays or not: what a path does to it is the question."""
_FED = {"dataflow": "os", "feed": "broadcast", "drain": "overlapped"}
"""Folds of these arrays do nothing but stream."""


def gemm_of(recipe: str | Path, pattern: str, batch: int) -> SparseGemm:
    """The layer's forward GEMM with a recipe's masks; bits are drawn only if they are asked for."""
    point = Point(recipe=recipe, pattern=pattern, batch=batch, phases=["forward"], **LAYER)
    return next(iter(point.sparse_gemms()))


def _works(batch: int) -> dict[tuple[str, str], SparseGemm]:
    return {
        (pattern, name): gemm_of(recipe, pattern, batch)
        for pattern in PATTERNS
        for name, recipe in PRUNED.items()
    }


def _asked(machine: SystolicArray, work: SparseGemm) -> Figures:
    """Words per cycle of each operand, of values alone and of metadata in words of values."""
    found = simulate(machine, work)
    result = {}
    for name, mask, bits in (
        ("activations", work.a, found.a_bits_per_cycle),
        ("weights", work.b, found.b_bits_per_cycle),
    ):
        words = (bits or 0.0) / machine.operand_bits
        index = mask.pattern.metadata_bits / machine.operand_bits
        values = words / (1 + index)
        result[name] = {"values": values, "metadata": words - values}
    return result


def measure_words() -> Figures:
    """What an output-stationary array asks of both buffers while it streams."""
    machine = nmsim.load_hardware(_FLEXIBLE, dataflow="os", **_AS_GIVEN)
    dense = gemm_of("dense", "dense", BATCH)
    asked: Figures = {"dense": dict.fromkeys(PRUNED, _asked(machine, dense))}
    for (pattern, name), work in _works(BATCH).items():
        asked.setdefault(pattern, {})[name] = _asked(machine, work)
    return {
        "machine": f"{_FLEXIBLE}, dataflow os",
        "word_bits": machine.operand_bits,
        **_layer(dense),
        "asked": asked,
    }


def _layer(work: SparseGemm) -> Figures:
    g = work.gemm
    return {"layer": f"{LAYER['model']}, {g.layer}", "size": [g.m, g.n, g.k]}


def _gains(
    free: SystolicArray, narrow: SystolicArray, dense: SparseGemm, work: SparseGemm
) -> Figures:
    """Speed-up with a path of any width, and with one as wide as the dense GEMM needs."""
    base, wide, held = simulate(free, dense), simulate(free, work), simulate(narrow, work)
    own = max(
        (wide.a_bits_per_cycle or 0.0) / (base.a_bits_per_cycle or 1.0),
        (wide.b_bits_per_cycle or 0.0) / (base.b_bits_per_cycle or 1.0),
    )
    unlimited = base.compute_cycles / wide.compute_cycles
    return {
        "compute_cycles": wide.compute_cycles,
        "any width": unlimited,
        "as dense": base.compute_cycles / held.compute_cycles,
        "as dense, analytical": base.compute_cycles
        / simulate(narrow, work, "analytical").compute_cycles,
        "a path each": unlimited / max(1.0, own),
        "waited": held.delivery_cycles / held.compute_cycles,
    }


def measure_delivery() -> Figures:
    """Speed-up where the path from the buffers is as wide as the dense GEMM needs it."""
    arrays: Figures = {}
    dense, works = gemm_of("dense", "dense", BATCH), _works(BATCH)
    for dataflow, fields in (("os", _FED), ("ws", {})):
        options = {**fields, **_AS_GIVEN}
        free = nmsim.load_hardware(_FLEXIBLE, **options)
        asked = _asked(free, dense)
        a, b = (asked[name]["values"] for name in ("activations", "weights"))
        # Under ws the stationary operand, a row a cycle, is in before the other one streams.
        supply = a + b if dataflow == "os" else max(a, float(free.cols))
        path = {"words_per_cycle": supply, "word_bits": free.operand_bits}
        narrow = nmsim.load_hardware(_FLEXIBLE, delivery=path, **options)
        gains: Figures = {pattern: {} for pattern in PATTERNS}
        for (pattern, name), work in works.items():
            gains[pattern][name] = _gains(free, narrow, dense, work)
        arrays[dataflow] = {
            "words_per_cycle": supply,
            "dense_waits": simulate(narrow, dense).delivery_cycles,
            "speedup": gains,
        }
    return {"machine": _FLEXIBLE, "os": _FED, **_layer(dense), "arrays": arrays}


def measure_products(patterns: tuple[str, ...] = PATTERNS) -> Figures:
    """Products that two masks leave of a group, and what skipping the others gains.

    ``gain`` is the cycles with the weights pruned over those with both pruned, by the number of
    groups that a PE may run ahead.
    """
    found: Figures = {}
    for text in patterns:
        pattern = nmsim.Pattern.parse(text)
        one, both = (gemm_of(recipe, text, FEW) for recipe in PRUNED.values())
        gains = {}
        for lookahead in LOOKAHEADS:
            pe = {"group": pattern.group, "lookahead": lookahead}
            machine = nmsim.load_hardware(_INTERSECTING, intersecting=pe)
            last = simulate(machine, both)
            gains[str(lookahead)] = simulate(machine, one).compute_cycles / last.compute_cycles
        shares = last.survivors.measured if last.survivors else ()
        found[text] = {
            "keep": pattern.keep,
            "group": pattern.group,
            "mean": Survivors.mean(shares),
            "expected": float(Fraction(pattern.keep**2, pattern.group)),
            "shares": list(shares),
            "expected_shares": list(last.survivors.expected) if last.survivors else [],
            "gain": gains,
        }
    return {"machine": _INTERSECTING, **_layer(both), "patterns": found}
