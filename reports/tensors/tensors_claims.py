"""Whether synthetic tensors stand near recorded ones: verdicts that follow from the figures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from reports.claims import Verdict, judged
from reports.tensors.tensors_figures import KINDS, NETWORKS

__all__ = ["CONSTANTS", "UNIT", "far_of", "judge_constants", "judge_sensitivity", "swing_of"]

Figures = Mapping[str, Any]

CONSTANTS = {
    "gradient_sigma": "σ of ln |gradient|",
    "channel_sigma": "σ of ln(scale of a channel)",
    "correlation": "correlation of neighbours in images",
    "logit_sigma": "σ of attention's logits",
    "tokens": "correlation of neighbouring tokens",
    "gradient_zeros": "share of gradients that are zero",
    "weight_sigma": "σ of ln |weight|",
}
"""What synthetic tensors assume, in words."""

UNIT = {"across": "points", "narrow": "points", "survivors": "%"}
POINTS = 5.0
"""Within so many points, of survivors per cent, synthetic figures pass for recorded ones."""

ABSENT = 0.1
"""What synthetic tensors have none of may be so large in real ones, on average over layers."""


def judge_constants(figures: Figures) -> list[Verdict]:
    """Whether each constant lies between the layers' least and largest, or is absent as assumed."""
    verdicts = []
    for constant, of in figures["constants"].items():
        ranges = {NETWORKS[name]: one["recorded"] for name, one in of["networks"].items()}
        assumed = of["assumed"]
        said = "as in real layers" if assumed else "real layers have none"
        told = ", ".join(f"{name} {r[0]:.2f} to {r[2]:.2f}" for name, r in ranges.items())
        failures = [f"{name}: {why}" for name, r in ranges.items() if (why := _outside(assumed, r))]
        verdicts.append(
            judged(
                f"{CONSTANTS[constant]}: {said}",
                "nmsim.network.tensors",
                f"{assumed:.2f}",
                told,
                failures,
                "measurement",
            )
        )
    return verdicts


def _outside(assumed: float, found: Sequence[float]) -> str:
    """Why a constant is not that of layers with this least, mean and largest; "": it may be."""
    least, mean, largest = (round(one, 2) for one in found)
    if not assumed:
        return f"{mean:.2f} on average" if abs(mean) > ABSENT else ""
    if least <= round(assumed, 2) <= largest:
        return ""
    return f"at least {least:.2f}" if assumed < least else f"at most {largest:.2f}"


def far_of(kind: str) -> Callable[[Mapping[str, float]], float]:
    """How far a figure of synthetic tensors lies from the recorded one, in the kind's unit."""
    return lambda of: _distance(kind, of["synthetic"], of["recorded"])


def swing_of(kind: str) -> Callable[[Mapping[str, float]], float]:
    """How far constants at the least and largest of any layer move a synthetic figure."""
    return lambda of: max(_distance(kind, of["synthetic"], of[end]) for end in ("least", "largest"))


def _distance(kind: str, one: float, other: float) -> float:
    return 100 * (abs(other / one - 1) if kind == "survivors" else abs(other - one))


def judge_sensitivity(figures: Figures) -> list[Verdict]:
    """Whether masks of synthetic tensors look like those of real ones, by kind."""
    verdicts = []
    for kind, told in KINDS.items():
        verdicts += [
            _judge(
                figures, kind, f"{told}: recorded tensors are near synthetic ones", far_of(kind)
            ),
            _judge(figures, kind, f"{told}: it depends little on the constants", swing_of(kind)),
        ]
    return verdicts


def _judge(
    figures: Figures, kind: str, statement: str, far: Callable[[Mapping[str, float]], float]
) -> Verdict:
    """One verdict; what is furthest off in each network is named."""
    most = {
        NETWORKS[name]: max(_all_of(kind, patterns, far))
        for name, patterns in figures["networks"].items()
    }
    unit = UNIT[kind]
    return judged(
        statement,
        "largest difference, all patterns",
        f"within {POINTS:g} {unit}",
        ", ".join(f"{name} {value:.1f} {unit} ({where})" for name, (value, where) in most.items()),
        [
            f"{name}: {value:.1f} {unit}"
            for name, (value, _) in most.items()
            if round(value, 1) > POINTS
        ],
        "measurement",
    )


def _all_of(
    kind: str, patterns: Figures, far: Callable[[Mapping[str, float]], float]
) -> Iterator[tuple[float, str]]:
    for pattern, kinds in patterns.items():
        for role, of in kinds.get(kind, {}).items():
            yield far(of), f"{role}, {pattern}"
