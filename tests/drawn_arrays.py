"""Arrays of every kind that a file can say, and sparse GEMMs for them, drawn at random."""

import numpy as np
from drawn_convolutions import drawn_layer

from nmsim.errors import SpecError
from nmsim.gemm import Gemm
from nmsim.machines import load_hardware
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import Pattern

PATTERNS = ("2:4", "2:4", "1:4", "4:8", "2:8", "1:2", "3:5", "1:16")
CATALOG = ("systolic-128x128", "vegeta-like-32x16", "scale-sim", "sparseloop-stc", "tpu-v1")


def some(rng, *values):
    return values[rng.integers(len(values))]


def size(rng, most):
    """Small sizes as often as large ones."""
    return int(2 ** rng.uniform(0, np.log2(most)))


def fields_of(rng):
    """Fields of an array, not all of which fit together."""
    fields = {
        "rows": size(rng, 40),
        "cols": size(rng, 40),
        "dataflow": some(rng, "os", "ws", "is"),
        "fold_period": some(rng, "exposed", "preload_hidden", "back_to_back", "uncounted"),
        "drain": some(rng, "exposed", "overlapped", "back_to_back", "uncounted"),
        "partial_sums": some(rng, "split", "split", "spill"),
        "order": some(rng, "best", "best", "fixed"),
        "masks": some(rng, "where_they_pay", "where_they_pay", "always"),
        "im2col": some(rng, "implicit", "implicit", "explicit"),
        "sparse_operand": some(rng, "a", "b", "either"),
        "operand_bits": some(rng, 8, 16),
        "accumulator_bits": some(rng, 24, 32),
        "dot_width": some(rng, 1, 1, 2, 4),
        "pad_groups": bool(rng.random() < 0.2),
        "dram.gbps": None if rng.random() < 0.1 else float(2 ** rng.uniform(-3, 8)),
        "dram.latency_ns": some(rng, 0.0, 30.0, 300.0, 3000.0),
    }
    if rng.random() < 0.3:
        fields["delivery"] = {"words_per_cycle": float(2 ** rng.uniform(-1, 6)), "word_bits": 16}
    for buffer in "abc":
        fields[f"sram.{buffer}_kib"] = float(2 ** rng.uniform(-5, 8))
    return fields | selectors(rng) | sorts(rng)


def selectors(rng):
    if rng.random() < 0.2:
        return {"native": (), "flexible_group": some(rng, 0, 4, 16)}
    natives = some(rng, ("2:4",), ("2:4", "1:4"), ("4:8",), ("1:2", "2:8"))
    return {"native": natives, "flexible_group": some(rng, 0, 0, 2)}


def sorts(rng):
    """Arrays of special sorts: they intersect, hold groups, broadcast, or are several."""
    sort = rng.random()
    if sort < 0.12:
        own = {"group": some(rng, 2, 4, 8), "lookahead": some(rng, 0, 2, None)}
        fields = {"dataflow": "os", "feed": "broadcast", "dot_width": 1, "native": ()}
        return fields | {"flexible_group": 0, "intersecting": own}
    if sort < 0.24:
        return {"native": ("2:4",), "flexible_group": 0, "pe": {"holds": "group"}}
    if sort < 0.32:
        return {"native": ("2:4",), "flexible_group": 0, "dot_width": 2} | {
            "pe": {"holds": some(rng, "slots", "group"), "macs_per_group": 2}
        }
    if sort < 0.4:
        return {"dataflow": "os", "feed": "broadcast"}
    if sort < 0.5:
        by = some(rng, "best", "m", "n", "k", "copies")
        many = {"arrays": some(rng, 2, 3, 8), "buffers": some(rng, "private", "shared")}
        return many | {"partition": by}
    return {"pad_slots": some(rng, 2, 6)} if sort < 0.56 else {}


def drawn_array(rng):
    """An array whose fields fit together."""
    while True:
        try:
            return load_hardware(some(rng, *CATALOG), **fields_of(rng))
        except SpecError:
            continue


def drawn_mask(rng, rows, k):
    """A mask of rows x K; its bits obey what it promises, if it says so."""
    if rng.random() < 0.4:
        return Mask.dense(rows, k)
    pattern = Pattern.parse(some(rng, *PATTERNS))
    seed = int(rng.integers(2**31))
    bits = np.random.default_rng(seed).random((rows, k))
    kept = np.zeros((rows, k), np.bool_)
    for start in range(0, k, pattern.group):
        part = bits[:, start : start + pattern.group]
        kept[:, start : start + pattern.group] = part.argsort(axis=1).argsort(axis=1) < pattern.keep
    mask = Mask.of(kept, pattern).but(regular=bool(rng.random() < 0.8))
    sort = rng.random()
    if sort < 0.2:  # as of one that was made along another axis
        return Mask.of(bits < pattern.density, pattern).but(fits=False)
    if sort < 0.3:
        return mask.but(indexed=False)
    if sort < 0.4 and pattern.keep % 2 == 0:
        return mask.but(tighter=Pattern(pattern.keep // 2, pattern.group // 2))
    return mask


def drawn_gemm(rng):
    """A GEMM of its sizes alone, or one of a convolution."""
    if rng.random() < 0.4:
        layer = drawn_layer(int(rng.integers(100_000)), bool(rng.random() < 0.5))
        gemms = [one.gemm for one in layer.lower(int(rng.integers(1, 4)))]
        found = some(rng, *gemms)
        if found.macs:
            return found
    sizes = (size(rng, 400), size(rng, 400), size(rng, 400))
    gemm = {"count": some(rng, 1, 1, 1, 3), "repeat": some(rng, 1, 1, 2)}
    if rng.random() < 0.2:
        gemm["a_elements"] = max(1, sizes[0] * sizes[2] // some(rng, 1, 2, 9))
    return Gemm(*sizes, **gemm)


def drawn_work(rng):
    gemm = drawn_gemm(rng)
    k = gemm.k + (int(rng.integers(1, 4)) if rng.random() < 0.05 else 0)
    a, b = (drawn_mask(rng, gemm.count * rows, k) for rows in (gemm.m, gemm.n))
    if a.is_dense and b.is_dense and k != gemm.k:
        return SparseGemm.dense(gemm)
    return SparseGemm(gemm, a, b)
