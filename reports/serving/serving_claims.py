"""What the figures say of serving, each statement with what contradicts it."""

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from reports.claims import Verdict, judged

__all__ = ["DENSE_OF", "error", "judge", "judged_rows"]

Figures = Mapping[str, Any]

NEAR = 0.12
"""How far the median printed figure may be off."""


DENSE_OF = {"2:4": "16 bits", "2:4 + int4": "int4"}
"""Sorts of weights with 2:4, and the dense sort of the same number format."""


def judged_rows(rows: Iterable[Figures]) -> list[Figures]:
    """Printed figures of one GPU; those of several rest on an estimate of communication too."""
    return [row for row in rows if row["tp"] == 1]


def error(rows: Iterable[Figures]) -> float:
    """The median of how far computed speeds are off the printed ones."""
    return float(median(abs(row["speed_ratio"] - 1) for row in rows))


def _printed(figures: Figures) -> Verdict:
    rows = judged_rows(figures["printed"])
    found = error(rows)
    wrong = [] if found <= NEAR else [f"the median is off by {found:.1%}"]
    return judged(
        "Speeds that others printed of dense networks are met",
        f"{len(rows)} figures of one GPU, their median",
        f"within {NEAR:.0%}",
        f"{found:.1%}",
        wrong,
    )


def _each(figures: Figures, statement: str, dtypes: tuple[str, ...], because: str = "") -> Verdict:
    """Decode by torch.compile, each figure for itself."""
    rows = [
        row
        for row in judged_rows(figures["printed"])
        if row["library"] == "torch.compile" and row["dtype"] in dtypes
    ]
    far = [row for row in rows if abs(row["speed_ratio"] - 1) > NEAR]
    wrong = [f"{row['model']}: {row['value']:g} printed" for row in far]
    return judged(
        statement,
        ", ".join(f"{row['model']} {row['value']:g}" for row in rows),
        f"each within {NEAR:.0%}",
        ", ".join(f"{row['speed_ratio'] - 1:+.1%}" for row in rows),
        [*wrong, because] if wrong and because else wrong,
    )


def _sixteen_bits(figures: Figures) -> Verdict:
    return _each(figures, "Decode of one sequence, 16 bits, torch.compile, A100", ("fp16", "bf16"))


def _eight_bits(figures: Figures) -> Verdict:
    return _each(figures, "The same with weights of 8 bits", ("w8a16",))


def _four_bits(figures: Figures) -> Verdict:
    because = (
        "a warp of tinygemm loads weights only after it has multiplied the last ones; computed are "
        "loads that come in meanwhile"
    )
    return _each(figures, "The same with weights of 4 bits", ("w4a16",), because)


def _pairs(figures: Figures, name: str) -> list[tuple[Figures, Figures]]:
    """Rows with 2:4 weights, each with the dense one of its number format."""
    keys = ("model", "hardware", "step") if name == "steps" else ("model", "hardware")

    def found(row: Figures, weights: str) -> tuple[str, ...]:
        return (weights, *(row[key] for key in keys))

    dense = {found(row, row["weights"]): row for row in figures[name]}
    others = (row for row in figures[name] if row["weights"] in DENSE_OF)
    return [(dense[found(row, DENSE_OF[row["weights"]])], row) for row in others]


def _same_dense(figures: Figures) -> Verdict:
    pairs = _pairs(figures, "steps")
    wrong = [
        f"{row['model']}, {row['hardware']}, {row['step']}"
        for dense, row in pairs
        if abs(row["dense_ms"] / dense["ms"] - 1) > 1e-9
    ]
    return judged(
        "A speed-up is over the dense step of the same number format",
        "all steps",
        "always",
        f"{len(pairs)} steps",
        wrong,
    )


def _never_slower(figures: Figures) -> Verdict:
    pairs = _pairs(figures, "steps")
    wrong = [f"{row['answer']}" for _, row in pairs if row["speedup"] < 1]
    least = min(row["speedup"] for _, row in pairs)
    return judged(
        "No step of served 2:4 weights is slower than dense",
        "all steps",
        "1.00 or more",
        f"{least:.2f} and more",
        wrong,
    )


def _decode_over_prefill(figures: Figures) -> Verdict:
    gains = {
        (row["model"], row["hardware"], row["step"]): row
        for _, row in _pairs(figures, "steps")
        if row["weights"] == "2:4"
    }
    wrong, compared = [], 0
    for (model, hardware, step), row in gains.items():
        if step == "prefill, 16 prompts" and hardware == "h100-sxm":
            compared += 1
            one = gains[model, hardware, "decode, 16 sequences"]
            if row["speedup"] >= one["speedup"]:
                wrong.append(f"{model}: {row['speedup']:.2f} against {one['speedup']:.2f}")
    return judged(
        "On an H100, 2:4 gains more in decode, by bytes, than in prefill, at half its rate",
        "16 sequences, 16 bits",
        "always",
        f"{compared} networks",
        wrong,
    )


def _requests(figures: Figures) -> Verdict:
    pairs = _pairs(figures, "requests")
    wrong = [
        f"{row['model']}, {row['hardware']}"
        for dense, row in pairs
        if abs(dense["seconds"] / row["seconds"] / row["speedup"] - 1) > 1e-9
    ]
    gains = sorted(row["speedup"] for _, row in pairs)
    return judged(
        "What whole requests gain is their dense time over their own",
        "all requests",
        "always",
        f"{gains[0]:.2f} to {gains[-1]:.2f}",
        wrong,
    )


def _int4_takes_most(figures: Figures) -> Verdict:
    gains = {
        (row["model"], row["hardware"], row["step"], row["weights"]): row["speedup"]
        for _, row in _pairs(figures, "steps")
        if row["step"].startswith("decode")
    }
    packed = {key[:3]: gain for key, gain in gains.items() if key[3] == "2:4 + int4"}
    wrong = [
        f"{', '.join(key)}: {gain:.2f} against {gains[*key, '2:4']:.2f}"
        for key, gain in packed.items()
        if gain >= gains[*key, "2:4"]
    ]
    return judged(
        "In decode 2:4 adds less to weights of 4 bits than to those of 16",
        "all decode steps",
        "always",
        f"{min(packed.values()):.2f} to {max(packed.values()):.2f}",
        wrong,
    )


def judge(figures: Figures) -> list[Verdict]:
    """Every statement, judged by the figures."""
    checks = (
        _printed,
        _sixteen_bits,
        _eight_bits,
        _four_bits,
        _never_slower,
        _decode_over_prefill,
        _int4_takes_most,
        _same_dense,
        _requests,
    )
    return [check(figures) for check in checks]
