"""What the figures say of serving, each statement with what contradicts it."""

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from nmsim.report.claims import Verdict, judged

__all__ = ["error", "judge"]

Figures = Mapping[str, Any]

NEAR = 0.12
"""How far the median printed figure may be off."""


def error(rows: Iterable[Figures]) -> float:
    """The median of how far computed speeds are off the printed ones."""
    return median(abs(row["speed_ratio"] - 1) for row in rows)


def _printed(figures: Figures) -> Verdict:
    rows = figures["printed"]
    found = error(rows)
    wrong = [] if found <= NEAR else [f"the median is off by {found:.1%}"]
    return judged(
        "Speeds that others printed of dense networks are met",
        f"{len(rows)} figures, their median",
        f"within {NEAR:.0%}",
        f"{found:.1%}",
        wrong,
    )


def _pairs(figures: Figures, name: str) -> list[tuple[Figures, Figures]]:
    """Rows with 2:4 weights, each with the dense one beside it."""
    keys = ("model", "hardware", "step") if name == "steps" else ("model", "hardware")
    dense = {
        tuple(row[key] for key in keys): row for row in figures[name] if row["weights"] == "dense"
    }
    others = (row for row in figures[name] if row["weights"] != "dense")
    return [(dense[tuple(row[key] for key in keys)], row) for row in others]


def _same_dense(figures: Figures) -> Verdict:
    pairs = _pairs(figures, "steps")
    wrong = [
        f"{row['model']}, {row['hardware']}, {row['step']}"
        for dense, row in pairs
        if abs(row["dense_ms"] / dense["ms"] - 1) > 1e-9
    ]
    return judged(
        "A speed-up is over the dense step, whatever the weights",
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
        (row["model"], row["hardware"], row["step"]): row for _, row in _pairs(figures, "steps")
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
        "16 sequences",
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


def judge(figures: Figures) -> list[Verdict]:
    """Every statement, judged by the figures."""
    checks = (_printed, _never_slower, _decode_over_prefill, _same_dense, _requests)
    return [check(figures) for check in checks]
